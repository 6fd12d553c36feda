"""How good forecasts of many vehicles were, by horizon, with intervals from drawing the scenes again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Bool, Float, Shaped

from foresee.driving.bootstrap import grouped_mean
from foresee.driving.forecast import Futures
from foresee.driving.futures.windows import Windows
from foresee.driving.intervals import Estimate
from foresee.errors import OptionError, RecordingError
from foresee.worlds import intervals, scores
from foresee.worlds.trajectories import densest

HORIZONS = (1.0, 2.0, 4.0, 6.0)
LEVELS = (0.5, 0.9, 0.99)
SIDES = ("along", "across")
MOST = 6
MISS = 2.0  # farther than this at the horizon is a miss, as in Argoverse [m]
TOO_FAR = {1.0: 3.0, 2.0: 4.0, 4.0: 6.0, 6.0: 10.0}  # at any time up to the horizon, as in nuPlan [m]
AT_ONCE = 256  # vehicles scored at a time, which bounds the memory
SHARES = ("miss", "miss_anywhere", "coverage")


@dataclass(frozen=True, eq=False)
class ForecastScores:
    """Scores of a forecaster by name and horizon.

    Distances are in m: `ade`, `fde` of the most likely future, which is where the density of all of them is
    highest, or that of the highest probability where there is no doubt; `min_ade`, `min_fde`,
    `brier_min_fde` and the shares of misses of the best of the most likely ones. `nll` is the negative log
    density of the position [nats, for metres], `energy` the energy score [m]. `coverage_along_90` is the
    share of vehicles within the central 90 % interval along the most likely direction and `width_along_90`
    its mean width [m], `coverage_region_90` the share within the smallest region meant to hold 90 %.

    Attributes:
        horizons: how far ahead [s].
        scores: by name, one mean with its 95 % interval per horizon.
        values: what these are means of, one per vehicle and horizon.
        counted: which vehicles were there until which horizon.
        groups: the scene of every vehicle.
        ranks: probability given to smaller positions than came, along and across, at every horizon; uniform
            where the forecasts are right, NaN without doubt.
    """

    horizons: tuple[float, ...]
    scores: dict[str, tuple[Estimate, ...]]
    values: dict[str, Float[np.ndarray, "A S"]]
    counted: Bool[np.ndarray, "A S"]
    groups: Shaped[np.ndarray, " A"]
    ranks: Float[np.ndarray, "A S 2"]

    def to_frame(self) -> pl.DataFrame:
        """Return one row per score and horizon."""
        rows = [
            (name, horizon, each.value, each.low, each.high, int(count))
            for name, estimates in self.scores.items()
            for horizon, each, count in zip(self.horizons, estimates, self.counted.sum(axis=0), strict=True)
        ]
        return pl.DataFrame(rows, schema=["score", "horizon", "value", "low", "high", "count"], orient="row")

    def less_than(self, other: "ForecastScores", name: str) -> tuple[Estimate, ...]:
        """Return by how much a score is lower than another forecaster's for the same vehicles, by horizon.

        Raises:
            OptionError: if the two do not score the same vehicles.
        """
        if self.counted.shape != other.counted.shape or (self.counted != other.counted).any():
            raise OptionError("expected scores of the same vehicles to compare, got others")
        return _means(other.values[name] - self.values[name], self.counted, self.groups, False)


def counted_agents(
    futures: Futures, windows: Windows
) -> tuple[Futures, Float[np.ndarray, "A T 2"], Bool[np.ndarray, "A T"], Shaped[np.ndarray, " A"]]:
    """Return the futures of all vehicles that count, what happened, when that is known, and their scenes.

    Args:
        futures: of every slot of every window; leaves have the axes W and V.
        windows: what they are forecasts of. Times between those of the futures are interpolated.
    """
    times = jnp.asarray(windows.ahead, futures.times.dtype)
    if futures.times.shape != times.shape or not np.allclose(futures.times, times):
        futures = futures.at(times)
    w, v = np.nonzero(windows.counted)
    leaves = (futures.x, futures.y, futures.heading, futures.along_sd, futures.across_sd)
    kept = [jnp.asarray(leaf)[w, v] for leaf in (*leaves, futures.weights, futures.known)]
    truth, there = windows.future[w, v, :, :2], windows.future_there[w, v]
    return Futures(times, *kept), truth, there, windows.groups()[w]


def forecast_scores(
    futures: Futures,
    truth: Float[np.ndarray, "A T 2"],
    there: Bool[np.ndarray, "A T"],
    groups: Shaped[np.ndarray, " A"],
    *,
    horizons: Sequence[float] = HORIZONS,
    most: int = MOST,
) -> ForecastScores:
    """Score forecasts of A vehicles.

    A vehicle counts for a horizon if it was there at all times until then. Likelihood, energy score and
    intervals are left out where a standard deviation is 0.

    Args:
        futures: of every vehicle; leaves have the axis A, see `counted_agents`.
        truth: what happened at their times [m].
        there: at which of them that is known.
        groups: the scene of every vehicle.
        horizons: which of the futures' times to score at [s].
        most: how many of the most likely futures count for the best one.

    Raises:
        OptionError: if a horizon is none of the times.
        RecordingError: if there is nobody.
    """
    times = np.asarray(futures.times)
    if not len(truth):
        raise RecordingError("expected at least one vehicle to score forecasts of, got none")
    index = [int(np.argmin(np.abs(times - horizon))) for horizon in horizons]
    for horizon, i in zip(horizons, index, strict=True):
        if abs(times[i] - horizon) > 1e-3:
            raise OptionError(
                f"expected a horizon that is one of the times {times.tolist()} s, got {horizon}"
            )
    counted = np.stack([there[:, : i + 1].all(axis=1) for i in index], axis=1)
    doubt = bool(jnp.min(futures.along_sd) > 0) and bool(jnp.min(futures.across_sd) > 0)
    # The origin of single precision is where each vehicle is forecast to be first.
    centre = np.stack([np.asarray(leaf)[:, :1, :1] for leaf in (futures.x, futures.y)], -1)
    means = jnp.stack([futures.x, futures.y], -1) - centre
    spread = (futures.heading, futures.along_sd, futures.across_sd)
    agents = (means, *spread, futures.weights, jnp.asarray(truth, means.dtype) - centre[:, 0])
    radii = tuple(TOO_FAR.get(float(horizon), np.inf) for horizon in horizons)
    score = partial(_of_one, index=tuple(index), radii=radii, most=most, doubt=doubt)
    found = _mapped(score, agents)
    ranks = found.pop("ranks", np.full((*counted.shape, 2), np.nan))
    table = {name: _means(values, counted, groups, name.startswith(SHARES)) for name, values in found.items()}
    return ForecastScores(tuple(float(h) for h in horizons), table, found, counted, np.asarray(groups), ranks)


def _mapped(score: partial, agents: tuple) -> dict[str, np.ndarray]:
    """Score some vehicles at a time; the last ones are filled up, so that all have one shape."""
    total = len(agents[0])
    parts = []
    for start in range(0, total, AT_ONCE):
        chosen = np.minimum(np.arange(start, start + min(AT_ONCE, total)), total - 1)
        part = _some(score.func, tuple(score.keywords.items()), tuple(leaf[chosen] for leaf in agents))
        parts.append({name: np.asarray(values)[: total - start] for name, values in part.items()})
    return {name: np.concatenate([part[name] for part in parts]).astype(float) for name in parts[0]}


@eqx.filter_jit
def _some(score, settings: tuple, agents: tuple) -> dict[str, Array]:
    return jax.vmap(partial(score, **dict(settings)))(*agents)


def _of_one(
    means: Float[Array, "K T 2"],
    heading: Float[Array, "K T"],
    along_sd: Float[Array, "K T"],
    across_sd: Float[Array, "K T"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    *,
    index: tuple[int, ...],
    radii: tuple[float, ...],
    most: int,
    doubt: bool,
) -> dict[str, Array]:
    """Return all scores of one vehicle at every horizon."""
    out: dict[str, list[Array]] = {}
    best = _peak(means, heading, along_sd, across_sd, weights) if doubt else means[jnp.argmax(weights)]
    for i, radius in zip(index, radii, strict=True):
        given = (means, weights, truth, jnp.arange(truth.shape[0]) <= i)
        each = {
            "ade": scores.ade(best[None], jnp.ones(1, weights.dtype), *given[2:]),
            "fde": scores.fde(best[None], jnp.ones(1, weights.dtype), *given[2:]),
            "min_ade": scores.min_ade(*given, most=most),
            "min_fde": scores.min_fde(*given, most=most),
            "brier_min_fde": scores.brier_min_fde(*given, most=most),
            "miss": scores.miss(*given, MISS, most=most),
            "miss_anywhere": scores.miss(*given, radius, most=most, anywhere=True),
        }
        for name, value in each.items():
            out.setdefault(name, []).append(value)
    found = {name: jnp.stack(values) for name, values in out.items()}
    if doubt:
        at = np.asarray(index)
        spread = scores.covariances_of(heading[:, at], along_sd[:, at], across_sd[:, at])
        found |= _doubt(means[:, at], spread, weights, truth[at], heading[jnp.argmax(weights), at])
    return found


def _peak(means: Array, heading: Array, along_sd: Array, across_sd: Array, weights: Array) -> Array:
    """Return the future about which the density is highest, in the frame of the likeliest one's start."""
    turn = heading[jnp.argmax(weights), 0]
    c, s = jnp.cos(turn), jnp.sin(turn)
    rotation = jnp.stack([jnp.stack([c, s]), jnp.stack([-s, c])])
    sds = jnp.stack([along_sd, across_sd], axis=-1)
    log_weights = jnp.log(jnp.maximum(weights, 1e-12))
    return densest(means @ rotation.T, sds, log_weights) @ rotation


def _doubt(means: Array, spread: Array, weights: Array, truth: Array, heading: Array) -> dict[str, Array]:
    """Return the scores that a forecast's doubt enters, at every horizon."""
    found = {
        "nll": -scores.log_density(means, spread, weights, truth),
        "energy": scores.energy_score(means, spread, weights, truth),
    }
    ranks = intervals.ranks(means, spread, weights, truth, heading)
    widths = intervals.central_widths(means, spread, weights, heading, jnp.asarray(LEVELS, means.dtype))
    region = intervals.density_ranks(means, spread, weights, truth)
    for number, level in enumerate(LEVELS):
        name = f"{100 * level:g}"
        for axis, side in enumerate(SIDES):
            found[f"coverage_{side}_{name}"] = jnp.abs(ranks[:, axis] - 0.5) <= 0.5 * level
            found[f"width_{side}_{name}"] = widths[:, axis, number]
        found[f"coverage_region_{name}"] = region <= level
    return {**found, "ranks": ranks}


def _means(
    values: np.ndarray, counted: np.ndarray, groups: np.ndarray, is_share: bool
) -> tuple[Estimate, ...]:
    """Return the mean over the vehicles that count, for every horizon."""
    return tuple(
        grouped_mean(values[:, i], np.asarray(groups).astype(str), counted=counted[:, i], is_share=is_share)
        for i in range(values.shape[1])
    )
