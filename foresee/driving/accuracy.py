"""How good smoothed states are: predictions against what was then seen, and estimates against the truth.

Rows of one vehicle depend on each other, so every 95 % interval here counts vehicles, not rows.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from foresee.driving.intervals import Estimate, average, share
from foresee.driving.recording import Truth
from foresee.driving.states import QUANTITIES, States, finite_differences

LEVELS = (0.5, 0.9, 0.99)
AXES = ("along", "across")
LAGS = 10
SLOWEST = 1.0  # m/s; below it the curvature of raw positions is anything
COMPARED = ("position", "heading", "speed", "acceleration", "curvature")


@dataclass(frozen=True, eq=False)
class OneStepScores:
    """How well the positions of the next frame were predicted on held-out rows.

    Attributes:
        rows: number of scored rows.
        vehicles: number of vehicles they belong to.
        coverage: per level of `LEVELS`, share of sightings inside the central interval, mean of both axes.
        coverage_by_axis: the same along and across the heading.
        reliability: nominal levels, actual coverage along and across.
        log_score: mean log density of the seen position [nats per sighting, for metres].
        compared: rows on which the naive prediction exists too.
        naive_log_score: that of constant velocity, on the compared rows.
        gain: log score of the model minus that of constant velocity, on the compared rows.
        nis: normalised innovation squared of each scored row; χ² with two degrees of freedom if all is right.
        nis_distance: largest difference between its distribution function and that of χ²₂ (Kolmogorov).
        autocorrelation: of the normal scores at lags 1 to `LAGS`, along and across.
        autocorrelation_band: what independent scores stay within with 95 % probability, per lag.
    """

    rows: int
    vehicles: int
    coverage: tuple[Estimate, ...]
    coverage_by_axis: tuple[tuple[Estimate, Estimate], ...]
    reliability: Float[np.ndarray, "levels 3"]
    log_score: Estimate
    compared: int
    naive_log_score: Estimate
    gain: Estimate
    nis: Float[np.ndarray, " rows"]
    nis_distance: float
    autocorrelation: Float[np.ndarray, "lags 2"]
    autocorrelation_band: Float[np.ndarray, " lags"]


@dataclass(frozen=True, eq=False)
class TruthScores:
    """How far raw and smoothed states are from what really happened.

    Attributes:
        rows: number of rows between first and last sighting, gaps included.
        raw: root mean square error of raw positions and their differences, per quantity of `COMPARED`.
        smoothed: that of the smoothed states on the same rows.
        everywhere: that of the smoothed states on all rows, gaps included.
        coverage: per quantity of `QUANTITIES` and level of `LEVELS`.
        nees: normalised estimation error squared of each row; χ² with six degrees of freedom if all is right.
        nees_mean: its mean.
        nees_median: its median, which a few bad vehicles do not move; 5.35 if all is right.
        nees_distance: largest difference between its distribution function and that of χ²₆.
    """

    rows: int
    raw: dict[str, float]
    smoothed: dict[str, float]
    everywhere: dict[str, float]
    coverage: dict[str, tuple[Estimate, ...]]
    nees: Float[np.ndarray, " rows"]
    nees_mean: Estimate
    nees_median: float
    nees_distance: float


@dataclass(frozen=True)
class Accelerations:
    """What a set of accelerations looks like: how wild it is [m/s²]."""

    rows: int
    deviation: float
    largest: float
    over_5: float
    over_10: float


def one_step_scores(states: States) -> OneStepScores:
    """Score the predictions one frame ahead on the held-out rows."""
    one, counted = states.one_step, states.one_step.scored
    distance = 2 * np.abs(one.ranks - 0.5)
    hits = distance[..., None] < np.array(LEVELS)
    by_axis = [[share(hits[:, :, a, k], counted) for a in (0, 1)] for k in range(len(LEVELS))]
    nominal = np.linspace(0.02, 0.98, 49)
    actual = (distance[counted] < nominal[:, None, None]).sum(axis=1) / max(int(counted.sum()), 1)
    naive = constant_velocity_log_density(states)
    common = counted & np.isfinite(naive)
    nis = np.sum(one.normal_scores[counted] ** 2, axis=-1)
    correlation, band = _autocorrelation(one.normal_scores, counted)
    return OneStepScores(
        rows=int(counted.sum()),
        vehicles=int(counted.any(axis=1).sum()),
        coverage=tuple(share(hits[:, :, :, k].mean(axis=2), counted) for k in range(len(LEVELS))),
        coverage_by_axis=tuple((along, across) for along, across in by_axis),
        reliability=np.column_stack([nominal, actual]),
        log_score=average(one.log_density, counted),
        compared=int(common.sum()),
        naive_log_score=average(naive, common),
        gain=average(one.log_density - naive, common),
        nis=nis,
        nis_distance=_distance(nis, 2),
        autocorrelation=correlation,
        autocorrelation_band=band,
    )


def truth_scores(states: States) -> TruthScores | None:
    """Compare raw and smoothed states with the truth; None where it is not known."""
    if states.recording.truth is None:
        return None
    truth, present = _true_states(states, states.recording.truth)
    rows = states.alive & present
    error = states.mean - truth
    error[..., 2] = _wrap(error[..., 2])
    raw = _raw_states(states) - truth
    raw[..., 2] = _wrap(raw[..., 2])
    squares, raw_squares = (np.stack(_by_quantity(e**2), axis=-1) for e in (error, raw))
    pairs = rows[..., None] & np.isfinite(raw_squares)
    deviation = np.maximum(states.standard_deviation, 1e-300)
    inside = np.abs(error / deviation)[..., None] < stats.norm.ppf(0.5 + np.array(LEVELS) / 2)
    nees = np.full(rows.shape, np.nan)
    nees[rows] = _squared_distance(error[rows], states.covariance[rows])
    return TruthScores(
        rows=int(rows.sum()),
        raw={q: _root_mean(raw_squares[..., k], pairs[..., k]) for k, q in enumerate(COMPARED)},
        smoothed={q: _root_mean(squares[..., k], pairs[..., k]) for k, q in enumerate(COMPARED)},
        everywhere={q: _root_mean(squares[..., k], rows) for k, q in enumerate(COMPARED)},
        coverage={
            q: tuple(share(inside[:, :, i, k], rows) for k in range(len(LEVELS)))
            for i, q in enumerate(QUANTITIES)
        },
        nees=nees[rows],
        nees_mean=average(nees, rows),
        nees_median=float(np.median(nees[rows])) if rows.any() else np.nan,
        nees_distance=_distance(nees[rows], 6),
    )


def accelerations(states: States) -> tuple[Accelerations, Accelerations]:
    """Describe accelerations before (differences of raw positions) and after smoothing, on the same rows."""
    raw = finite_differences(states.tracks, states.recording.frame_rate)["acceleration"]
    rows = np.isfinite(raw) & states.alive
    return _describe(raw[rows]), _describe(states.mean[..., 4][rows])


def reference_points(states: States) -> tuple[Float[np.ndarray, "V L"], Float[np.ndarray, "V L"]]:
    """Smoothed x and y of that point of each vehicle which the recording's positions describe."""
    ahead = 0.5 * states.recording.length[:, None] if states.recording.reference == "front" else 0.0
    x, y, heading = (states.mean[..., k] for k in range(3))
    return x + ahead * np.cos(heading), y + ahead * np.sin(heading)


def constant_velocity_log_density(states: States) -> Float[np.ndarray, "V L"]:
    """Log density of each sighting if the last two were extrapolated; NaN where one of the three is missing.

    The error is Gaussian with the mean square of the rows that the noise was learned on. This is what one
    predicts without a model.
    """
    tracks = states.tracks
    positions = np.stack([tracks.x, tracks.y], axis=-1)
    error, there = np.zeros_like(positions), np.zeros_like(tracks.seen)
    error[:, 2:] = positions[:, 2:] - 2 * positions[:, 1:-1] + positions[:, :-2]
    there[:, 2:] = tracks.seen[:, 2:] & tracks.seen[:, 1:-1] & tracks.seen[:, :-2]
    learned = error[states.one_step.learned_on & there]
    if len(learned) < 3:
        return np.full(there.shape, np.nan)
    covariance = learned.T @ learned / len(learned)
    covariance += 1e-12 * (1 + np.trace(covariance)) * np.eye(2)
    squared = np.einsum("vti,ij,vtj->vt", error, np.linalg.inv(covariance), error)
    constant = np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(covariance)[1]
    return np.where(there, -0.5 * squared - constant, np.nan)


def _autocorrelation(scores: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of each axis with itself some rows later, over pairs of counted rows of one vehicle."""
    out, band = np.full((LAGS, 2), np.nan), np.full(LAGS, np.nan)
    if not counted.any():
        return out, band
    centred = np.where(counted[..., None], scores - scores[counted].mean(axis=0), 0.0)
    variance = np.maximum((centred[counted] ** 2).mean(axis=0), 1e-300)
    for lag in range(1, min(LAGS, counted.shape[1] - 1) + 1):
        pairs = int((counted[:, lag:] & counted[:, :-lag]).sum())
        if pairs:
            out[lag - 1] = (centred[:, lag:] * centred[:, :-lag]).sum(axis=(0, 1)) / pairs / variance
            band[lag - 1] = 1.96 / np.sqrt(pairs)
    return out, band


def _true_states(states: States, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    columns = states.tracks.first[:, None] + np.arange(states.alive.shape[1])
    inside = columns < truth.present.shape[1]
    columns = np.minimum(columns, truth.present.shape[1] - 1)
    values = [np.take_along_axis(getattr(truth, name), columns, axis=1) for name in QUANTITIES]
    return np.stack(values, axis=-1), np.take_along_axis(truth.present, columns, axis=1) & inside


def _raw_states(states: States) -> np.ndarray:
    """The six quantities as raw positions and their differences give them; NaN where they do not."""
    recording, tracks = states.recording, states.tracks
    differences = finite_differences(tracks, recording.frame_rate)
    x, y = reference_points(states)
    shift_x, shift_y = states.mean[..., 0] - x, states.mean[..., 1] - y
    positions = [np.where(tracks.seen, raw, np.nan) for raw in (tracks.x + shift_x, tracks.y + shift_y)]
    others = [differences[name] for name in ("heading", "speed", "acceleration")]
    return np.stack([*positions, *others, raw_curvature(states)], axis=-1)


def raw_curvature(states: States) -> Float[np.ndarray, "V L"]:
    """Curvature [1/m] from differences of raw positions; NaN beside a missing one and below 1 m/s."""
    tracks, rate = states.tracks, states.recording.frame_rate
    out = np.full(tracks.seen.shape, np.nan)
    dx, dy = (0.5 * rate * (a[:, 2:] - a[:, :-2]) for a in (tracks.x, tracks.y))
    ax, ay = (rate**2 * (a[:, 2:] - 2 * a[:, 1:-1] + a[:, :-2]) for a in (tracks.x, tracks.y))
    speed = np.hypot(dx, dy)
    good = tracks.seen[:, 2:] & tracks.seen[:, 1:-1] & tracks.seen[:, :-2] & (speed > SLOWEST)
    out[:, 1:-1] = np.where(good, (dx * ay - dy * ax) / np.maximum(speed, SLOWEST) ** 3, np.nan)
    return out


def _by_quantity(squares: np.ndarray) -> list[np.ndarray]:
    return [squares[..., 0] + squares[..., 1], *(squares[..., k] for k in range(2, 6))]


def _squared_distance(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Error' covariance⁻¹ error, with each quantity in units of its own deviation first."""
    scale = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 1e-300))
    correlation = covariance / scale[:, :, None] / scale[:, None, :] + 1e-12 * np.eye(covariance.shape[-1])
    z = error / scale
    return np.sum(z * np.linalg.solve(correlation, z[..., None])[..., 0], axis=-1)


def _distance(values: np.ndarray, freedom: int) -> float:
    return float(stats.kstest(values, "chi2", args=(freedom,)).statistic) if len(values) else np.nan


def _describe(values: np.ndarray) -> Accelerations:
    if not len(values):
        return Accelerations(0, *(np.nan,) * 4)
    size = np.abs(values)
    shares = (float((size > limit).mean()) for limit in (5, 10))
    return Accelerations(len(values), float(values.std()), float(size.max()), *shares)


def _root_mean(squares: np.ndarray, rows: np.ndarray) -> float:
    return float(np.sqrt(squares[rows].mean())) if rows.any() else np.nan


def _wrap(angle: np.ndarray) -> np.ndarray:
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi
