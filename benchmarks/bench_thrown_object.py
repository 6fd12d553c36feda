"""A public study of a thrown object, reproduced, and what changes when its filter is put right.

The study tunes a constant-velocity filter in JAX on throws that fall: 10 rows, dx in 2..7, dy in 4..8, dy
falling by 1 per row. Where an observation is missing it feeds the filter its own prediction, as if that had
been seen. Every figure here is the error of the prediction one row ahead, of all rows, whether seen or not.
"""

import math
import sys
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from benchmarks import measure
from foresee.beliefs import AbstractFilter, Gaussian
from foresee.dynamics import LinearGaussian
from foresee.filters import (
    Evidence,
    Fixed,
    KalmanFilter,
    Positive,
    PositiveDefinite,
    PredictionError,
    run,
    tune,
)
from foresee.filters.parameters import plain

CLAIM = "the study's figures, and a fraction of its error once gaps, gravity and the prior are modelled"
ROWS, MISSING, NOISE = 10, 0.1, 0.1


class PredictionAsObservation(AbstractFilter):
    """The study's flaw: what was not seen is replaced by the prediction, and the belief is corrected with it.

    The mean stays where it is, but the covariance shrinks as if something had been learned.
    """

    def predict(self, belief, motion, u=None, dt=1.0, *, key=None):
        return KalmanFilter().predict(belief, motion, u, dt)

    def update(self, belief, sensor, y, seen=None, u=None, *, key=None):
        filled = jnp.where(True if seen is None else seen, y, sensor(belief.mean()).mean())
        return KalmanFilter().update(belief, sensor, filled)


def throw(dx: Float[Array, " n"], dy: Float[Array, " n"]) -> Float[Array, "n T 2"]:
    """Return the positions of throws that begin with these steps."""
    t = jnp.arange(float(ROWS))
    return jnp.stack([dx[:, None] * t, dy[:, None] * t - t * (t - 1) / 2], axis=-1)


def states(dx: Float[Array, " n"], dy: Float[Array, " n"]) -> Float[Array, "n T 4"]:
    """Return positions and velocities of the parabola through the rows of a throw."""
    t = jnp.arange(float(ROWS))
    velocity = jnp.stack([dx[:, None] + 0 * t, dy[:, None] + 0.5 - t], axis=-1)
    return jnp.concatenate([throw(dx, dy), velocity], axis=-1)


def grid(n: int) -> tuple[Float[Array, " nn"], Float[Array, " nn"]]:
    """Return the first steps of the study's n × n throws."""
    dx, dy = jnp.meshgrid(jnp.linspace(2, 7, n), jnp.linspace(4, 8, n), indexing="ij")
    return dx.ravel(), dy.ravel()


def fresh(n: int, key: Array) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Return the first steps of n random throws, none of which anything was tuned on."""
    first, second = jax.random.split(key)
    return jax.random.uniform(first, (n,), minval=2, maxval=7), jax.random.uniform(
        second, (n,), minval=4, maxval=8
    )


def hide(shape: tuple[int, ...], key: Array) -> Bool[Array, "n T"]:
    """Return which rows are seen."""
    return jax.random.uniform(key, shape) >= MISSING


def matrices(dt: Any) -> tuple[Float[Array, "4 4"], Float[Array, "4 2"]]:
    """Return how a state moves in `dt`, and how an acceleration during `dt` moves it."""
    dt = jnp.asarray(dt, float)
    push = jnp.kron(jnp.stack([dt**2 / 2, dt])[:, None], jnp.eye(2))
    return jnp.eye(4) + dt * jnp.eye(4, k=2), push


def from_scalars(p: dict) -> tuple:
    """The study's model out of its three numbers: dt, acceleration noise and measurement noise."""
    move, push = matrices(p["dt"])
    motion = LinearGaussian(move, push @ push.T * p["acceleration"] ** 2)
    sensor = LinearGaussian(jnp.eye(2, 4), jnp.ones(2) * p["noise"] ** 2)
    return motion, sensor, Gaussian(jnp.zeros(4), jnp.eye(4))


def from_matrices(p: dict) -> tuple:
    """The study's model with every matrix free."""
    motion = LinearGaussian(p["move"], p["process"])
    return motion, LinearGaussian(p["look"], p["noise"]), Gaussian(jnp.zeros(4), jnp.eye(4))


def from_gravity(p: dict) -> tuple:
    """A constant push on top of constant velocity, and a prior for the first row."""
    move, push = matrices(1.0)
    motion = LinearGaussian(move, push @ push.T * p["acceleration"] ** 2, offset=push @ p["gravity"])
    sensor = LinearGaussian(jnp.eye(2, 4), jnp.ones(2) * p["noise"] ** 2)
    # The start is the same in every throw; but no more than a centimetre is claimed to be known about it.
    return motion, sensor, Gaussian(p["mean"], p["covariance"] + 1e-4 * jnp.eye(4))


def starts() -> dict[str, PyTree]:
    """Return where every tuning starts: at the study's default."""
    move, push = matrices(1.0)
    scalars = {"dt": jnp.asarray(1.0), "acceleration": Positive(1.0), "noise": Positive(NOISE, floor=0.01)}
    process = PositiveDefinite(push @ push.T + 1e-4 * jnp.eye(4))
    full = {"move": move, "look": jnp.eye(2, 4), "process": process}
    full["noise"] = PositiveDefinite(NOISE**2 * jnp.eye(2))
    gravity = {"gravity": jnp.zeros(2), "acceleration": Positive(1.0), "mean": jnp.zeros(4)}
    gravity["covariance"] = PositiveDefinite(jnp.eye(4))
    stated = gravity | {"noise": Fixed(jnp.asarray(NOISE))}
    learned = gravity | {"noise": Positive(NOISE)}
    return {"scalars": scalars, "matrices": full, "stated noise": stated, "learned noise": learned}


class Scores(NamedTuple):
    """How good and how honest predictions one row ahead are.

    Attributes:
        squared_error: mean over rows, axes and throws.
        nll: negative log density of what came, in nats per number.
        nis: squared error in units of the predicted variance; 1 is right.
        coverage: share of the numbers inside their 90 % intervals.
        nees: the same as nis, of the filtered velocity; 1 is right.
    """

    squared_error: Any
    nll: Any
    nis: Any
    coverage: Any
    nees: Any


@eqx.filter_jit
def _scores(filter, model, truth, observed, seen, predict_first) -> Scores:
    motion, sensor, prior = model

    def one(truth, observed, seen):
        outcome = run(filter, motion, sensor, prior, observed, seen=seen, predict_first=predict_first)

        def row(predicted, filtered, y, x):
            noise = jnp.diag(sensor.covariance) if sensor.covariance.ndim == 1 else sensor.covariance
            spread = sensor.matrix @ predicted.covariance @ sensor.matrix.T + noise
            told = Gaussian(sensor.matrix @ predicted.location, spread)
            error = told.residual(y)
            inside = jnp.abs(error) <= 1.6448536 * told.standard_deviation()
            nees = Gaussian(filtered.location[2:], filtered.covariance[2:, 2:]).mahalanobis(x[2:]) / 2
            return Scores(
                jnp.mean(error**2), -told.log_prob(y) / 2, told.mahalanobis(y) / 2, jnp.mean(inside), nees
            )

        return jax.vmap(row)(outcome.predicted, outcome.filtered, observed, truth)

    return jax.tree.map(jnp.mean, jax.vmap(one)(truth, observed, seen))


def score(filter, model, truth, observed, seen, first_row: bool = False) -> Scores:
    """Return the scores of a filter over a batch of throws; `first_row` says that its prior holds there."""
    outcome = _scores(filter, model, truth, observed, seen, not first_row)
    return Scores(*(float(value) for value in outcome))


def textbook() -> float:
    """Return the study's error for dx = 2.8, dy = 4.8 with nothing missing."""
    dx, dy = jnp.asarray([2.8]), jnp.asarray([4.8])
    model = from_scalars(plain(starts()["scalars"]))
    everything = jnp.ones((1, ROWS), bool)
    return score(PredictionAsObservation(), model, states(dx, dy), throw(dx, dy), everything).squared_error


class Case(NamedTuple):
    """One line of the table: a filter, a model, and how its parameters are found (None: the study's
    default)."""

    name: str
    filter: AbstractFilter
    build: Any
    start: str
    objective: Any = None

    @property
    def first_row(self) -> bool:
        """Whether the prior holds at the first row, and not one row before as the study's does."""
        return self.build is from_gravity


def cases() -> list[Case]:
    """Return all lines of the table without noise."""
    flawed, right = PredictionAsObservation(), KalmanFilter()
    error = PredictionError(dropout=MISSING, draws=2)
    return [
        Case("study, default", flawed, from_scalars, "scalars"),
        Case("study, scalars tuned", flawed, from_scalars, "scalars", error),
        Case("study, matrices tuned", flawed, from_matrices, "matrices", error),
        Case("gaps skipped, default", right, from_scalars, "scalars"),
        Case("gaps skipped, scalars tuned", right, from_scalars, "scalars", error),
        Case("with gravity and prior, squared error", right, from_gravity, "stated noise", error),
        Case("with gravity and prior, evidence", right, from_gravity, "stated noise", Evidence()),
    ]


def learn(
    case: Case, observed: Float[Array, "n T 2"], seen: Bool[Array, "n T"], steps: int
) -> tuple[PyTree, Any]:
    """Return the parameters of a case and, where they were tuned, how that went."""
    start = starts()[case.start]
    if case.objective is None:
        return plain(start), None
    tuned = tune(
        start,
        case.build,
        observed,
        key=jax.random.key(1),
        filter=case.filter,
        objective=case.objective,
        seen=seen if isinstance(case.objective, Evidence) else None,
        predict_first=not case.first_row,
        steps=steps,
        errors=case.build is from_gravity,
    )
    return tuned.parameters, tuned


def without_noise(report: measure.Report, size: int, repeats: int, steps: int) -> dict[str, dict]:
    """The study's own throws: tuned on its grid, scored on it and on fresh throws."""
    dx, dy = grid(size)
    on_grid = (jnp.repeat(dx, repeats), jnp.repeat(dy, repeats))
    held_out = fresh(len(on_grid[0]), jax.random.key(2))
    masks = [hide((len(one[0]), ROWS), jax.random.key(3 + i)) for i, one in enumerate((on_grid, held_out))]
    rows = []
    for case in cases():
        parameters, tuned = learn(case, throw(dx, dy), hide((len(dx), ROWS), jax.random.key(5)), steps)
        model = case.build(parameters)
        seen, unseen = (
            score(case.filter, model, states(*one), throw(*one), mask, case.first_row)
            for one, mask in zip((on_grid, held_out), masks, strict=True)
        )
        values = {"grid MSE": seen.squared_error, "held-out MSE": unseen.squared_error, "NLL": unseen.nll}
        values |= {"NIS (1)": unseen.nis, "coverage (.9)": unseen.coverage}
        values |= {"steps": None if tuned is None else int(tuned.steps)}
        rows.append((case.name, values))
        if case.first_row and tuned is not None:
            error = float(tuned.standard_errors["gravity"][1])
            report.facts[f"gravity, {case.name}"] = [float(parameters["gravity"][1]), error]
            report.console.print(f"{case.name}: gravity {parameters['gravity'][1]:.4f} ± {error:.4f}")
    report.table(
        f"{size} × {size} × {repeats} throws without noise, a tenth of the rows missing",
        ["", *rows[0][1]],
        [(name, *values.values()) for name, values in rows],
    )
    return dict(rows)


def with_noise(report: measure.Report, size: int, steps: int) -> dict[str, dict]:
    """Throws seen through the noise that the study's sensor claims to have: is the doubt of right size?"""
    first, second = fresh(size, jax.random.key(11)), fresh(4 * size, jax.random.key(12))
    noisy = [
        throw(*one) + NOISE * jax.random.normal(jax.random.key(13 + i), (len(one[0]), ROWS, 2))
        for i, one in enumerate((first, second))
    ]
    masks = [hide(one.shape[:2], jax.random.key(15 + i)) for i, one in enumerate(noisy)]
    rows = []
    error = PredictionError(dropout=MISSING, draws=2)
    both = "with gravity and prior"
    for case in (
        Case("study, default", PredictionAsObservation(), from_scalars, "scalars"),
        Case("gaps skipped, default", KalmanFilter(), from_scalars, "scalars"),
        Case(f"{both}, squared error", KalmanFilter(), from_gravity, "stated noise", error),
        Case(f"{both}, evidence", KalmanFilter(), from_gravity, "learned noise", Evidence()),
    ):
        parameters, _ = learn(case, noisy[0], masks[0], steps)
        model = case.build(parameters)
        got = score(case.filter, model, states(*second), noisy[1], masks[1], case.first_row)
        values = {
            "held-out MSE": got.squared_error,
            "NLL": got.nll,
            "NIS (1)": got.nis,
            "velocity NEES (1)": got.nees,
        }
        rows.append((case.name, values | {"coverage (.9)": got.coverage}))
    report.table(
        f"noise of {NOISE}, tuned on {size} throws, scored on {4 * size} others",
        ["", *rows[0][1]],
        [(name, *values.values()) for name, values in rows],
    )
    return dict(rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the study and what follows from it."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("thrown_object", CLAIM, options)
    size, repeats, steps = (8, 10, 200) if options.quick else (40, 50, 400)
    twin = textbook()
    report.facts["textbook"] = twin
    report.console.print(f"dx = 2.8, dy = 4.8, nothing missing: {twin:.4f}")
    report.gate("textbook twin gives 1.872", abs(twin - 1.872) < 5e-4, f"{twin:.5f}")
    clean = {name: row["grid MSE"] for name, row in without_noise(report, size, repeats, steps).items()}
    bands = {
        "study, default": (8.8, 9.8),
        "study, scalars tuned": (5.2, 5.8),
        "study, matrices tuned": (0.0, 5.6),
        "gaps skipped, default": (4.9, 5.5),
        "with gravity and prior, squared error": (0.25, 0.31),
        "with gravity and prior, evidence": (0.25, 0.31),
    }
    if options.quick:
        bands = {name: (low / 2, 2 * high) for name, (low, high) in bands.items()}
    for name, (low, high) in bands.items():
        report.gate(f"{name}: {low} to {high}", low <= clean[name] <= high, f"{clean[name]:.4g}")
    noisy = with_noise(report, 50 if options.quick else 400, steps)["with gravity and prior, evidence"]
    report.gate("coverage of the tuned filter", math.isclose(noisy["coverage (.9)"], 0.9, abs_tol=0.05))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
