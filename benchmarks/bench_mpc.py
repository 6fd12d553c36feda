"""Twenty parking problems from a cold start, beside casadi's solvers, and a thousand of them at once."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.peers import parking_casadi
from foresee.planning import Ilqr, Problem, Quadratic, SoftDiscs, Total, compiled

CLAIM = (
    "a quarter of fatrop's time at IPOPT's cost, a thousand problems in half a second, all inputs in bounds"
)
STATED = Path(__file__).resolve().parents[2] / "shared" / "data" / "problems" / "mpc_cold_starts.json"
# Used where the stated problems are not at hand, with starts drawn from the same ranges.
OTHERWISE = {
    "horizon": 40, "dt": 0.15, "wheelbase": 2.5, "control_limits": [3.0, 0.6], "goal": [9.0, 3.0, 0.0, 0.0],
    "obstacle": {"centre": [4.5, 1.5], "radius": 1.2, "weight": 50.0},
    "stage_weights_state": [0.1, 0.1, 0.1, 0.02], "stage_weights_control": [0.05, 0.5],
    "terminal_weights_state": [50.0, 50.0, 50.0, 10.0],
}  # fmt: skip
LOWEST, HIGHEST = [-1.0, -1.0, -0.45, 0.1], [1.0, 1.0, 0.45, 2.0]
ROUNDS = 5
CASADI = ("casadi fatrop", "casadi fatrop, tolerance 1e-4", "casadi IPOPT")


class Car(eqx.Module):
    """A kinematic bicycle in Euler's steps."""

    wheelbase: jax.Array
    dt: jax.Array

    def __call__(self, x: jax.Array, u: jax.Array) -> jax.Array:
        turn = x[3] / self.wheelbase * jnp.tan(u[1])
        rates = jnp.stack([x[3] * jnp.cos(x[2]), x[3] * jnp.sin(x[2]), turn, u[0]])
        return x + self.dt * rates


def problem_of(stated: dict[str, Any], dtype: Any = float) -> Problem:
    """Return the stated problem in foresee's words."""

    def number(value: Any) -> jax.Array:
        return jnp.asarray(value, dtype)

    disc = stated["obstacle"]
    soft = SoftDiscs(number([disc["centre"]]), number([disc["radius"]]), number(disc["weight"]))
    goal, limits = number(stated["goal"]), number(stated["control_limits"])
    stage = Quadratic(number(stated["stage_weights_state"]), number(stated["stage_weights_control"]), goal)
    end = Quadratic(number(stated["terminal_weights_state"]), goal=goal)
    car = Car(number(stated["wheelbase"]), number(stated["dt"]))
    return Problem(car, Total(stage, soft), Total(end, soft), -limits, limits, stated["horizon"])


def ours(stated: dict[str, Any], planner: Ilqr, dtype: Any = float) -> Any:
    """Return a function of a start that returns actions."""
    problem = problem_of(stated, dtype)
    solve = compiled(lambda problem, x: planner(problem, x))
    return lambda x: jax.block_until_ready(solve(problem, jnp.asarray(x, dtype))).actions


def alone(report: measure.Report, stated: dict[str, Any], starts: np.ndarray) -> None:
    """Compare solvers one problem at a time, in turns."""
    candidates = {
        "foresee": lambda: ours(stated, Ilqr()),
        "foresee, tolerance 1e-4": lambda: ours(stated, Ilqr(tolerance=1e-4)),
        "foresee, float32": lambda: ours(stated, Ilqr(), jnp.float32),
    }
    wanted = [name for name in CASADI if report.wanted(measure.Entry(name, lambda _: None))]
    for name in wanted:
        candidates[name] = lambda name=name: parking_casadi.solver(stated, name)
    ready, missing = {}, {}
    for name, make in candidates.items():
        try:
            begin = time.perf_counter()
            work = make()
            work(starts[0])
            ready[name] = (work, time.perf_counter() - begin)
        except ImportError as error:
            missing[name] = f"not run: {error}"
    times = {name: np.full((len(starts), ROUNDS), np.inf) for name in ready}
    found = {name: [np.zeros(0)] * len(starts) for name in ready}
    for turn in range(1 if report.options.quick else ROUNDS):
        for index, x in enumerate(starts):
            for name, (work, _) in ready.items():
                begin = time.perf_counter()
                actions = work(x)
                times[name][index, turn] = time.perf_counter() - begin
                found[name][index] = np.asarray(actions, float)
    judge(report, stated, starts, ready, times, found, missing)


def judge(report, stated, starts, ready, times, found, missing) -> None:
    """Recompute every cost by one and the same function, print the table, and hold the gates."""
    problem = problem_of(stated)
    cost = jax.jit(lambda x, u: problem.cost(problem.rollout(x, u), u))
    limits = np.asarray(stated["control_limits"])
    lines, medians, costs = [], {}, {}
    for name, (_, first) in ready.items():
        costs[name] = np.array(
            [float(cost(x, u)) for x, u in zip(jnp.asarray(starts), found[name], strict=True)]
        )
        finite = np.where(np.isfinite(times[name]), times[name], np.nan)
        least = np.nanmin(finite, axis=1)
        medians[name] = float(np.median(least) * 1e3)
        inside = np.mean([bool((np.abs(u) <= limits * (1 + 1e-6)).all()) for u in found[name]])
        lines.append(
            [name, medians[name], float(np.nanmedian(finite) * 1e3), float(np.median(costs[name])),
             float(costs[name].mean()), float(inside), first]
        )  # fmt: skip
    lines += [[name, None, None, None, None, None, reason] for name, reason in missing.items()]
    columns = [
        "name",
        "ms (median of minima)",
        "ms (median)",
        "median cost",
        "mean cost",
        "share in bounds",
        "first call s",
    ]
    report.table(f"{len(starts)} cold starts, one at a time, float64", columns, lines)
    for name in ("foresee", "foresee, tolerance 1e-4", "foresee, float32"):
        inside = next(line[5] for line in lines if line[0] == name)
        report.gate(f"{name}: every input in its bounds", inside == 1.0, f"{inside}")
    if "casadi IPOPT" in costs:
        ratio = costs["foresee"] / costs["casadi IPOPT"]
        report.facts["cost over IPOPT's"] = {"median": float(np.median(ratio)), "largest": float(ratio.max())}
        report.gate(
            "mean cost at most 1.01 of IPOPT's",
            bool(costs["foresee"].mean() <= 1.01 * costs["casadi IPOPT"].mean()),
            f"{ratio}",
        )
        report.gate("median of costs over IPOPT's at most 1.01", float(np.median(ratio)) <= 1.01, f"{ratio}")
    if "casadi fatrop" in medians:
        report.target("time over fatrop's", medians["foresee"] / medians["casadi fatrop"], 0.25)
        same = "casadi fatrop, tolerance 1e-4"
        report.target(
            "time over fatrop's, both at 1e-4", medians["foresee, tolerance 1e-4"] / medians[same], 0.25
        )
    report.target("seconds to compile and run one", ready["foresee"][1], 5.0)


def together(report: measure.Report, stated: dict[str, Any], count: int) -> None:
    """Solve many problems in one call."""
    starts = np.random.default_rng(0).uniform(LOWEST, HIGHEST, (count, 4))
    limits = np.asarray(stated["control_limits"])
    lines = []
    for name, planner, dtype in (
        ("float64", Ilqr(), jnp.float64),
        ("float64, tolerance 1e-4", Ilqr(tolerance=1e-4), jnp.float64),
        ("float32", Ilqr(), jnp.float32),
    ):
        problem = problem_of(stated, dtype)
        solve = compiled(jax.vmap(lambda problem, x, planner=planner: planner(problem, x), in_axes=(None, 0)))
        rows = jnp.asarray(starts, dtype)
        begin = time.perf_counter()
        plans = jax.block_until_ready(solve(problem, rows))
        first = time.perf_counter() - begin
        wall, cpu = [], []
        for _ in range(1 if report.options.quick else ROUNDS):
            begin, used = time.perf_counter(), time.process_time()
            jax.block_until_ready(solve(problem, rows))
            wall.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - used)
        inside = bool((np.abs(np.asarray(plans.actions)) <= limits * (1 + 1e-6)).all())
        converged = float(np.mean(plans.converged))
        lines.append(
            [name, min(wall) / count * 1e3, min(cpu) / count * 1e3, float(np.mean(plans.cost)), converged,
             float(np.mean(plans.iterations)), int(np.max(plans.iterations)), first]
        )  # fmt: skip
        report.gate(f"{count} problems, {name}: every input in its bounds", inside)
        report.gate(f"{count} problems, {name}: 99 % converged", converged >= 0.99, f"{converged}")
    columns = [
        "name",
        "ms per problem",
        "CPU ms per problem",
        "mean cost",
        "converged",
        "mean steps",
        "most steps",
        "first call s",
    ]
    report.table(f"{count:,} problems at once", columns, lines)
    report.target("ms per problem of a thousand, float64", lines[0][1], 0.5)
    report.target("CPU ms per problem of a thousand, float64", lines[0][2], 0.5)
    report.target("ms per problem of a thousand, float32", lines[2][1], 0.5)


def main(arguments: list[str] | None = None) -> int:
    """Run both comparisons."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("mpc", CLAIM, options)
    stated = json.loads(STATED.read_text()) if STATED.exists() else OTHERWISE
    starts = np.asarray(stated.get("starts", np.random.default_rng(1).uniform(LOWEST, HIGHEST, (20, 4))))
    if options.quick:
        stated, starts = stated | {"horizon": 10, "dt": 0.4}, starts[:2]
    alone(report, stated, starts)
    together(report, stated, 12 if options.quick else 1_000)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
