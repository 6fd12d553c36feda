"""Fifty networks with randomized priors trained side by side; PyTorch one by one, and with torch.func."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure
from foresee.posteriors.ensemble import ensemble
from foresee.posteriors.likelihood import GaussianLikelihood
from foresee.posteriors.randomized_prior import RandomizedPrior

CLAIM = "foresee trains 50 networks with randomized priors in a second, twenty times as fast as one by one"
ROWS, HIDDEN, MEMBERS, STEPS, RATE, SCALE = 100, 20, 50, 1000, 1e-2, 3.0
QUICK = (4, 60)  # members and steps of a quick run
ADAM = optax.adam(RATE)
LOOP, TOGETHER = "PyTorch, one by one", "PyTorch, torch.func.vmap"
GRID = np.linspace(-3, 3, 61, dtype=np.float32)[:, None]  # rows are between −1 and 1


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Return noisy rows of a sine."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (ROWS, 1))
    return x.astype(np.float32), (np.sin(3 * x) + 0.1 * rng.normal(size=x.shape)).astype(np.float32)


def network(key) -> eqx.nn.MLP:
    """Return a network 1-20-20-1."""
    return eqx.nn.MLP(1, 1, HIDDEN, 2, jax.nn.selu, key=key)


def with_prior(key) -> RandomizedPrior:
    """Return a network with a random one added."""
    base, prior = jax.random.split(key)
    return RandomizedPrior(network(base), network(prior), SCALE)


def foresee(members: int, steps: int, seed: int) -> np.ndarray:
    """Train by `ensemble` and return the members' outputs on the grid."""
    likelihood = GaussianLikelihood(1.0)  # its loss is half the squared error and a constant
    data = jax.tree.map(jnp.asarray, rows())
    options: dict[str, Any] = {"epochs": steps, "batch_size": ROWS, "optimizer": ADAM}
    belief = ensemble(
        with_prior, likelihood, data, key=jax.random.key(seed), members=members, bootstrap=True, **options
    )
    return np.asarray(_outputs(belief))


@eqx.filter_jit
def _outputs(belief) -> jax.Array:
    return belief.push(lambda net: jax.vmap(net)(jnp.asarray(GRID))).values[..., 0]


def _torch(threads: int) -> Any:
    """Return PyTorch, set to use so many threads.

    Raises:
        ImportError: if it is not installed.
    """
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    return torch


def _torch_network(torch: Any) -> Any:
    nn = torch.nn
    layers = (nn.Linear(1, HIDDEN), nn.SELU(), nn.Linear(HIDDEN, HIDDEN), nn.SELU(), nn.Linear(HIDDEN, 1))
    return nn.Sequential(*layers)


def one_by_one(members: int, steps: int, seed: int) -> np.ndarray:
    """Train in a loop over members, on one thread, which for such small matrices is the fastest."""
    torch = _torch(1)
    torch.manual_seed(seed)
    x, y = (torch.from_numpy(values) for values in rows())
    outputs = []
    for _ in range(members):
        base, prior = _torch_network(torch), _torch_network(torch)
        chosen = torch.randint(0, ROWS, (ROWS,))
        own_x, own_y = x[chosen], y[chosen]
        with torch.no_grad():
            offset = SCALE * prior(own_x)  # the prior never changes, so once is enough
        optimizer = torch.optim.Adam(base.parameters(), RATE)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = 0.5 * ((base(own_x) + offset - own_y) ** 2).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            grid = torch.from_numpy(GRID)
            outputs.append((base(grid) + SCALE * prior(grid))[:, 0].numpy())
    return np.stack(outputs)


def together(members: int, steps: int, seed: int) -> np.ndarray:
    """Train all members at once by torch.func, on all cores."""
    torch = _torch(os.cpu_count() or 1)
    torch.manual_seed(seed)
    x, y = (torch.from_numpy(values) for values in rows())
    stacks = [
        torch.func.stack_module_state([_torch_network(torch) for _ in range(members)])[0] for _ in range(2)
    ]
    base, prior = ({name: leaf.detach() for name, leaf in stack.items()} for stack in stacks)
    shell = _torch_network(torch).to("meta")

    def apply(parameters, x):
        return torch.func.functional_call(shell, parameters, (x,))

    chosen = torch.randint(0, ROWS, (members, ROWS))
    own_x, own_y = x[chosen], y[chosen]
    every = torch.func.vmap(apply)
    offset = SCALE * every(prior, own_x)
    learned = {name: leaf.requires_grad_() for name, leaf in base.items()}
    optimizer = torch.optim.Adam(learned.values(), RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        # The sum over members gives every member the gradient of its own mean.
        loss = 0.5 * ((every(learned, own_x) + offset - own_y) ** 2).mean(dim=(1, 2)).sum()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        grid = torch.from_numpy(GRID).expand(members, -1, -1)
        return (every(learned, grid) + SCALE * every(prior, grid))[..., 0].numpy()


def check(name: str, outputs: np.ndarray, report: measure.Report) -> None:
    """Gate that the members follow the data where there are some and part where there are none."""
    inside = np.abs(GRID[:, 0]) <= 0.9
    error = float(np.sqrt(np.mean((outputs.mean(0) - np.sin(3 * GRID[:, 0]))[inside] ** 2)))
    spread = outputs.std(0)
    close, far = float(spread[inside].mean()), float(spread[np.abs(GRID[:, 0]) >= 2].mean())
    holds = bool(np.isfinite(outputs).all()) and far > 2 * close and (report.options.quick or error < 0.15)
    detail = f"error {error:.3f}, spread {close:.3f} inside and {far:.3f} outside"
    report.gate(f"{name}: members agree on the data and differ elsewhere", holds, detail)


def timed(candidates: dict[str, Callable], sizes: tuple[int, int], report: measure.Report) -> dict[str, dict]:
    """Run every candidate once, check it, then let all take turns."""
    lines: dict[str, dict] = {}
    for name, run in candidates.items():
        begin = time.perf_counter()
        try:
            outputs = run(*sizes, 0)
        except ImportError as error:
            lines[name] = {"note": f"not run: {error}"}
            continue
        lines[name] = {"first call [s]": time.perf_counter() - begin, "times": []}
        check(name, outputs, report)
    rounds = 1 if report.options.quick else 7
    for seed in range(1, rounds + 1):
        for name, line in lines.items():
            if "times" not in line or (name == LOOP and seed > 2):
                continue
            begin = time.perf_counter()
            candidates[name](*sizes, seed)
            line["times"].append(time.perf_counter() - begin)
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Time all candidates in turns and compare their medians."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("randomized_prior", CLAIM, options)
    entries = {"foresee": foresee, LOOP: one_by_one, TOGETHER: together}
    wanted = {
        name: run
        for name, run in entries.items()
        if name == "foresee"
        or options.peers is None
        or any(peer.lower() in name.lower() for peer in options.peers)
    }
    sizes = QUICK if options.quick else (MEMBERS, STEPS)
    with jax.enable_x64(False):
        lines = timed(wanted, sizes, report)
    medians = {name: float(np.median(line["times"])) for name, line in lines.items() if "times" in line}
    table = []
    for name, line in lines.items():
        times = line.get("times", [])
        numbers = [line.get("first call [s]"), medians.get(name), min(times, default=None), len(times)]
        ratio = medians[name] / medians["foresee"] if name in medians else None
        table.append([name, *numbers, ratio, line.get("note", "")])
    report.table(
        f"{sizes[0]} members 1-{HIDDEN}-{HIDDEN}-1, {ROWS} rows, {sizes[1]} steps of Adam",
        ["", "first call [s]", "median [s]", "minimum [s]", "repeats", "times foresee", "note"],
        table,
    )
    if not options.quick:
        report.target("trained again, seconds", medians["foresee"], 1.0)
        report.target("trained for the first time, seconds", lines["foresee"]["first call [s]"], 5.0)
        for name, least in ((LOOP, 20.0), (TOGETHER, 2.5)):
            share = medians["foresee"] / medians[name] if name in medians else None
            report.target(f"time as a share of {name}", share, 1 / least)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
