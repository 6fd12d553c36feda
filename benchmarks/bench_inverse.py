"""Inverse problems: is the posterior right, what costs a second observation, are separated modes found?"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import t as student

from benchmarks import measure
from foresee.beliefs import DiagonalGaussian
from foresee.posteriors.hamiltonian import Hmc, Nuts
from foresee.posteriors.inverse import Box, InverseProblem, infer, mode_by_kde, probability
from foresee.posteriors.priors import Independent, Laplace, Uniform
from foresee.posteriors.proposal import GlobalLocal

CLAIM = "posteriors agree with quadrature, a second observation compiles nothing, separated modes are found"
OBSERVED, SECOND = 10.0, 10.5
CHAINS, DRAWS, WARMUP = 4, 2000, 500
REGION = Box([-1.5, -0.5], [-0.5, 0.5])
BEACONS, DISTANCES = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([2.3, 2.2])
TIMES = 5  # timed calls per seed
PUBLISHED = {"flat prior": 0.156106, "peaked prior": 0.045622}


class Thermometer(eqx.Module):
    """Feels an uncertain signal times the distance."""

    noise: jax.Array

    def __call__(self, x):
        return DiagonalGaussian(x["signal"] * jnp.sqrt(jnp.sum(x["place"] ** 2)), self.noise**2)


class Beacons(eqx.Module):
    """Distances to two beacons: a mirrored place fits as well."""

    places: jax.Array
    noise: jax.Array

    def __call__(self, x):
        return DiagonalGaussian(jnp.sqrt(jnp.sum((x - self.places) ** 2, axis=1)), self.noise**2)


def den(place: Any) -> InverseProblem:
    """Return the smuggler's den with a prior of the place."""
    signal = DiagonalGaussian(jnp.asarray(9.5), jnp.asarray(0.25))
    return InverseProblem(Independent({"place": place, "signal": signal}), Thermometer(jnp.asarray(1.5)))


@dataclass
class Truth:
    """What quadrature says."""

    probability: float
    log_evidence: float
    mean: np.ndarray
    deviation: np.ndarray
    mode: np.ndarray


def quadrature(log_joint: Callable, inside: Callable, half: float, cells: int) -> Truth:
    """Integrate over a square by the midpoint rule, a strip at a time."""
    edge = 2 * half / cells
    axis = -half + edge * (np.arange(cells) + 0.5)
    sums, best, mode = np.zeros(6), -np.inf, np.zeros(2)
    for rows in np.array_split(axis, max(1, cells // 100)):
        x1, x2 = rows[:, None], axis[None, :]
        logs = log_joint(x1, x2)
        top = np.unravel_index(np.argmax(logs), logs.shape)
        if logs[top] > best:
            best, mode = logs[top], np.array([rows[top[0]], axis[top[1]]])
        joint = np.exp(logs) * edge**2
        sums += [
            joint.sum(),
            joint[np.broadcast_to(inside(x1, x2), joint.shape)].sum(),
            (joint * x1).sum(),
            (joint * x2).sum(),
            (joint * x1**2).sum(),
            (joint * x2**2).sum(),
        ]
    mean = sums[2:4] / sums[0]
    return Truth(sums[1] / sums[0], np.log(sums[0]), mean, np.sqrt(sums[4:] / sums[0] - mean**2), mode)


def felt(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """Return log p(observed | place), the signal integrated out."""
    square = x1**2 + x2**2
    variance = 1.5**2 + 0.5**2 * square
    return -0.5 * ((OBSERVED - 9.5 * np.sqrt(square)) ** 2 / variance + np.log(2 * np.pi * variance))


def in_region(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """Return whether a place lies in the region asked about."""
    return (x1 > -1.5) & (x1 < -0.5) & (x2 > -0.5) & (x2 < 0.5)


def problems(cells: int) -> dict[str, tuple[InverseProblem, Truth]]:
    """Return both versions with their truth."""
    flat = quadrature(lambda x1, x2: felt(x1, x2) - np.log(16.0), in_region, 2.0, cells)
    peaked = quadrature(
        lambda x1, x2: felt(x1, x2) - 10 * (abs(x1 + 1.5) + abs(x2 - 1.0)) - 2 * np.log(0.2),
        in_region,
        4.0,
        2 * cells,
    )
    return {
        "flat prior": (den(Uniform([-2.0, -2.0], [2.0, 2.0])), flat),
        "peaked prior": (den(Laplace([-1.5, 1.0], [0.1, 0.1])), peaked),
    }


def with_interval(values: list[float]) -> str:
    """Return the mean over seeds and the half width of its 95 % interval."""
    if len(values) < 2:
        return f"{values[0]:.4f}"
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.4f} ± {half:.4f}"


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return a finished result and the seconds it took."""
    begin = time.perf_counter()
    result = jax.block_until_ready(run())
    return result, time.perf_counter() - begin


def den_row(name: str, kind: str, model: InverseProblem, truth: Truth, sampler: Any, report: Any, seeds: int):
    """Return one row of the table, and gate what it says."""
    found, means, deviations, modes, evidences, warm, least = [], [], [], [], [], [], []

    def run(y: float, seed: int):
        return infer(model, y, sampler=sampler, chains=CHAINS, draws=DRAWS, key=jax.random.key(seed))

    _, cold = timed(lambda: run(OBSERVED, 0))
    _, second = timed(lambda: run(SECOND, 1))
    for seed in range(seeds):
        for _ in range(1 if report.options.quick else TIMES):
            samples, seconds = timed(lambda seed=seed: run(OBSERVED, seed))
            warm.append(seconds)
        place = samples.belief().push(lambda x: x["place"])
        found.append(probability(samples, lambda x: REGION(x["place"])))
        means.append(np.asarray(place.mean()))
        deviations.append(np.sqrt(np.diagonal(place.covariance())))
        modes.append(np.asarray(mode_by_kde(place, 0.6)))
        least.append(float(min(jnp.min(leaf) for leaf in jax.tree.leaves(samples.ess_bulk))))
        if samples.log_evidence is not None:
            evidences.append(samples.log_evidence)
    values = [float(one.value) for one in found]
    off = max(abs(one.value - truth.probability) / one.standard_error for one in found)
    title = f"{kind}, {name}"
    report.gate(f"{title}: P within 4 standard errors in every seed", off < 4, f"{off:.2f}")
    error = abs(np.mean(values) - truth.probability)
    report.gate(f"{title}: P over the seeds within .01 of quadrature", error < 0.01, f"{error:.4f}")
    error = float(abs(np.mean(means, axis=0) - truth.mean).max())
    report.gate(f"{title}: means over the seeds within .03", error < 0.03, f"{error:.4f}")
    error = float(abs(np.mean(deviations, axis=0) - truth.deviation).max())
    report.gate(f"{title}: deviations over the seeds within .02", error < 0.02, f"{error:.4f}")
    if evidences:
        off = max(abs(one.value - truth.log_evidence) / one.standard_error for one in evidences)
        report.gate(f"{title}: log evidence within 4 standard errors in every seed", off < 4, f"{off:.2f}")
    if name == "NUTS":
        report.target(f"{title}: a second observation [s]", second, 0.35)
    ring = kind == "flat prior"
    mode = np.linalg.norm(modes, axis=1) if ring else np.linalg.norm(modes - truth.mode, axis=1)
    return {
        "": f"foresee {name}",
        "P": with_interval(values),
        "worst |P - truth|": float(max(abs(np.array(values) - truth.probability))),
        "mean x1": with_interval([one[0] for one in means]),
        "mean x2": with_interval([one[1] for one in means]),
        "sd x1": with_interval([one[0] for one in deviations]),
        "sd x2": with_interval([one[1] for one in deviations]),
        "radius of the mode" if ring else "distance to the mode": with_interval(list(mode)),
        "log evidence": with_interval([float(one.value) for one in evidences]) if evidences else None,
        "first [s]": cold,
        "second y [s]": second,
        "warm [s]": float(np.median(warm)),
        "min ESS": float(np.mean(least)),
        "min ESS/s": float(np.mean(least) / np.median(warm)),
    }


def truth_row(kind: str, truth: Truth, columns: list[str]) -> dict:
    """Return what quadrature says as a row of the same table."""
    numbers = [truth.probability, 0.0, *truth.mean, *truth.deviation]
    numbers.append(float(np.linalg.norm(truth.mode)) if kind == "flat prior" else 0.0)
    numbers.append(truth.log_evidence)
    texts = [f"{number:.4f}" for number in numbers]
    return dict(zip(columns, ["quadrature", *texts, *[None] * (len(columns) - 9)], strict=True))


def numpyro_row(kind: str, truth: Truth, columns: list[str], seeds: int) -> dict:
    """Return the same of NumPyro, whose users make a new `MCMC` for every observation."""
    from benchmarks.peers.inverse import effective_size, numpyro_run

    def run(y: float, seed: int):
        return numpyro_run(kind, y, seed, chains=CHAINS, draws=DRAWS, warmup=WARMUP)

    _, cold = timed(lambda: run(OBSERVED, 0))
    _, second = timed(lambda: run(SECOND, 1))
    values, means, deviations, least, warm = [], [], [], [], []
    for seed in range(seeds):
        draws, seconds = timed(lambda seed=seed: run(OBSERVED, seed))
        warm.append(seconds)
        place = np.asarray(draws["place"]).reshape(-1, 2)
        values.append(float(in_region(place[:, 0], place[:, 1]).mean()))
        means.append(place.mean(axis=0))
        deviations.append(place.std(axis=0))
        least.append(effective_size(draws))
    cells = ["NumPyro MCMC.run", with_interval(values), float(max(abs(np.array(values) - truth.probability)))]
    cells += [with_interval([one[i] for one in block]) for block in (means, deviations) for i in (0, 1)]
    cells += [None, None, cold, second, float(np.median(warm)), float(np.mean(least))]
    cells.append(float(np.mean(least) / np.median(warm)))
    return dict(zip(columns, cells, strict=True))


def dens(report: measure.Report) -> None:
    """Compare both versions with quadrature and with NumPyro."""
    quick = report.options.quick
    seeds = 1 if quick else 5
    samplers = {"HMC": Hmc()} if quick else {"NUTS": Nuts(WARMUP), "HMC": Hmc(), "GlobalLocal": GlobalLocal()}
    numpyro = report.wanted(measure.Entry("NumPyro", lambda _: lambda: None))
    for kind, (model, truth) in problems(400 if quick else 4000).items():
        off = abs(truth.probability - PUBLISHED[kind])
        report.gate(f"{kind}: quadrature gives the published P", off < 1e-4, f"{off:.1e}")
        if quick and kind != "flat prior":
            continue
        rows = [
            den_row(name, kind, model, truth, sampler, report, seeds) for name, sampler in samplers.items()
        ]
        columns = list(rows[0])
        if numpyro:
            try:
                rows.append(numpyro_row(kind, truth, columns, seeds))
                ratio = rows[-1]["second y [s]"] / rows[0]["second y [s]"]
                report.facts[f"{kind}: NumPyro's time for a second observation over foresee's"] = ratio
            except ImportError as error:
                rows.append(dict.fromkeys(columns) | {"": f"NumPyro: {error}"})
        rows.append(truth_row(kind, truth, columns))
        report.table(
            f"smuggler's den, {kind}: {CHAINS} chains × {DRAWS} draws, {seeds} seeds",
            columns,
            [tuple(row.values()) for row in rows],
        )


def two_modes(report: measure.Report) -> None:
    """Compare local moves alone and with jumps where two separated modes have unequal weights."""
    model = InverseProblem(
        DiagonalGaussian([0.0, 0.5], [4.0, 4.0]), Beacons(jnp.asarray(BEACONS), jnp.full(2, 0.1))
    )

    def log_joint(x1, x2):
        logs = -0.5 * (x1**2 + (x2 - 0.5) ** 2) / 4 - np.log(8 * np.pi)
        for (a, b), distance in zip(BEACONS, DISTANCES, strict=True):
            misfit = (np.hypot(x1 - a, x2 - b) - distance) / 0.1
            logs = logs - 0.5 * misfit**2 - np.log(0.1 * np.sqrt(2 * np.pi))
        return logs

    quick, rows = report.options.quick, []
    truth = quadrature(log_joint, lambda x1, x2: (x2 > 0) & (x1 < np.inf), 6.0, 1200 if quick else 2400)
    seeds = 4 if quick else 10
    samplers = {"local moves alone": Hmc() if quick else Nuts(WARMUP)}
    if not quick:  # compiling it takes longer than all the rest
        samplers["GlobalLocal"] = GlobalLocal()
    for name, sampler in samplers.items():
        found, fine, seconds = [], 0, []
        for seed in range(seeds):
            samples, took = timed(
                lambda s=sampler, k=seed: infer(
                    model, DISTANCES, sampler=s, draws=DRAWS, key=jax.random.key(k)
                )
            )
            found.append(probability(samples, lambda x: x[1] > 0))
            fine += int(samples.converged)
            seconds.append(took)
        off = [abs(float(one.value) - truth.probability) for one in found]
        errors = max(distance / one.standard_error for distance, one in zip(off, found, strict=True))
        if name == "GlobalLocal":
            report.gate(
                "two modes: GlobalLocal within 4 standard errors in every seed", errors < 4, f"{errors:.2f}"
            )
        else:
            report.gate("two modes: local moves alone are wrong", np.mean(off) > 0.05, f"{np.mean(off):.3f}")
        values = [float(one.value) for one in found]
        stated = float(np.mean([float(one.standard_error) for one in found]))
        rows.append(
            (
                name,
                with_interval(values),
                float(np.mean(off)),
                float(max(off)),
                stated,
                fine,
                float(np.median(seconds)),
            )
        )
    rows.append(("quadrature", f"{truth.probability:.4f}", *[None] * 5))
    columns = ["", "P(north)", "mean |error|", "worst", "stated error", "said to be converged", "warm [s]"]
    report.table(f"two beacons, two separated modes, {seeds} seeds", columns, rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the dens and the two modes."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("inverse", CLAIM, options)
    dens(report)
    two_modes(report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
