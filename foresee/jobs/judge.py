"""What `foresee calibrate` counts: scores before and after, prediction sets, and strange rows found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from foresee.calibration import (
    AbstractDetector,
    AbstractScaler,
    AbstractStrangeness,
    Adaptive,
    Energy,
    Entropy,
    Interval,
    LeastAmbiguous,
    MaxSoftmax,
    NetworkOutputs,
    RegularisedAdaptive,
    Temperature,
    auroc_interval,
    average_precision,
    calibrate,
    coverage_band,
    false_alarm_rate,
    fit_threshold,
    risk_coverage,
    rows_for,
)
from foresee.calibration.conformal import conformal_quantile
from foresee.calibration.read import Predictions
from foresee.calibration.score_intervals import score_intervals
from foresee.calibration.threshold import rows_needed
from foresee.errors import CalibrationError

Summary = dict[str, Any]
SETS: dict[str, AbstractStrangeness] = {
    "lac": LeastAmbiguous(),
    "aps": Adaptive(),
    "raps": RegularisedAdaptive(),
}
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True, eq=False)
class Halves:
    """Predictions dealt into the rows that something is fitted to, and those it is judged on.

    Attributes:
        predictions: all of them.
        labels: true classes.
        fitted: rows to fit to, in order.
        judged: the others.
        logits: of all rows.
        before: probabilities of all rows as they came.
    """

    predictions: Predictions
    labels: Int[np.ndarray, " rows"]
    fitted: Int[np.ndarray, " fitted"]
    judged: Int[np.ndarray, " judged"]
    logits: Float[np.ndarray, "rows classes"]
    before: Float[np.ndarray, "rows classes"]


def deal(
    predictions: Predictions,
    labels: Int[np.ndarray, " rows"],
    level: float,
    false_alarm: float | None,
    seed: int,
) -> Halves:
    """Deal the rows at random into two halves; a rate of false alarms is given where there are strange rows.

    Raises:
        CalibrationError: if a half has too few rows for the level, or for the rate of false alarms.
    """
    rows = len(predictions.table)
    half = rows // 2
    needs = [(f"a level of {level:g}", rows_for(level))]
    needs += (
        [] if false_alarm is None else [(f"a false alarm rate of {false_alarm:g}", rows_needed(false_alarm))]
    )
    for what, least in needs:
        if half < least:
            raise CalibrationError(
                f"{predictions.source}: {what} cannot be attained with {half} rows, half of the {rows} "
                f"there are; it needs at least {least}, so {2 * least} in all"
            )
    order = np.random.default_rng(seed).permutation(rows)
    logits = predictions.logits()
    before = np.asarray(predictions.table if predictions.probabilities else jax.nn.softmax(logits), float)
    if predictions.probabilities:
        before = before / before.sum(axis=1, keepdims=True)
    return Halves(
        predictions,
        labels,
        np.sort(order[:half]),
        np.sort(order[half:]),
        np.asarray(logits),
        before,
    )


def fit_scaler(halves: Halves, method: str) -> tuple[AbstractScaler, Summary]:
    """Return the scaler fitted to the first half, and what there is to say of it.

    Raises:
        CalibrationError: if the method cannot work with these rows; the message names the file.
    """
    rows = halves.fitted
    try:
        scaler = calibrate(jnp.asarray(halves.logits[rows]), halves.labels[rows], method)  # pyright: ignore
    except CalibrationError as error:
        reason = str(error).removeprefix(f"fit_{method}: ")
        raise CalibrationError(f"{halves.predictions.source}: {reason}") from None
    temperature = float(scaler.temperature) if isinstance(scaler, Temperature) else None
    converged = bool(getattr(scaler, "converged", True))
    return scaler, {"temperature": temperature, "converged": converged}


def probabilities_after(scaler: AbstractScaler, logits: ArrayLike) -> Float[np.ndarray, "rows classes"]:
    """Return calibrated probabilities whose rows sum to one in double precision, too."""
    table = np.asarray(scaler(logits), float)
    return table / table.sum(axis=1, keepdims=True)


def score_numbers(halves: Halves, after: Float[np.ndarray, "rows classes"], seed: int) -> Summary:
    """Return the scores of the judged half before and after and their change, with 95 % intervals."""
    rows = halves.judged
    out: Summary = {}
    made = score_intervals(halves.before[rows], after[rows], halves.labels[rows], seed=seed)
    for name, estimates in made.items():
        for when, estimate in zip(("before", "after", "change"), estimates, strict=True):
            out[f"{name}_{when}"] = estimate.value
            out[f"{name}_{when}_ci"] = [estimate.low, estimate.high]
    for when, table in (("before", halves.before), ("after", after)):
        out[f"aurc_{when}"] = float(risk_coverage(*uncertainty(table[rows], halves.labels[rows])).area)
    return out


def uncertainty(
    table: Float[np.ndarray, "rows classes"], labels: Int[np.ndarray, " rows"]
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Return how unsure every prediction is, and whether it is wrong."""
    return 1 - table.max(axis=1), (table.argmax(axis=1) != labels).astype(float)


def strangeness_of_all(halves: Halves, seed: int) -> dict[str, Float[np.ndarray, "rows classes"]]:
    """Return how strange every class would be as the true one, in all rows, by kind of set.

    It is made from the probabilities as they came: so the half that the scaler was fitted to can serve once
    more, and the guarantee stays exact.
    """
    table = jnp.asarray(halves.before)
    draws = jax.random.uniform(jax.random.key(seed), (len(table),), table.dtype)
    ones = jnp.ones_like(draws)
    return {name: np.asarray(kind(table, draws if kind.randomised else ones)) for name, kind in SETS.items()}


def set_numbers(
    halves: Halves, strangeness: Mapping[str, Float[np.ndarray, "rows classes"]], level: float
) -> tuple[Summary, dict[str, Bool[np.ndarray, "judged classes"]]]:
    """Return coverage and size of the sets of all kinds on the judged half, and the sets themselves."""
    head = f"conformal_{100 * level:g}"
    band = coverage_band(len(halves.fitted), len(halves.judged), level)
    out: Summary = {f"{head}.band": list(band)}
    made = {}
    for name, table in strangeness.items():
        prefix = head if name == "lac" else f"{head}.{name}"
        threshold = _threshold(halves, table, level)
        made[name] = table[halves.judged] <= threshold
        out |= {
            f"{prefix}.coverage": _coverage(halves, table, level),
            f"{prefix}.size": float(made[name].sum(axis=1).mean()),
            f"{prefix}.empty": float((~made[name].any(axis=1)).mean()),
            f"{prefix}.threshold": threshold,
        }
    return out, made


def coverage_by_level(
    halves: Halves, strangeness: Mapping[str, Float[np.ndarray, "rows classes"]]
) -> dict[str, Float[np.ndarray, "levels 4"]]:
    """Return level, coverage and the ends of its exact band, for every level that the rows suffice for."""
    sizes = len(halves.fitted), len(halves.judged)
    levels = [level for level in LEVELS if rows_for(level) <= sizes[0]]
    bands = [coverage_band(*sizes, level) for level in levels]
    return {
        name: np.array(
            [
                (level, _coverage(halves, table, level), *band)
                for level, band in zip(levels, bands, strict=True)
            ]
        )
        for name, table in strangeness.items()
    }


def ood_scores(
    halves: Halves, strange: Predictions
) -> dict[str, tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " strange"]]]:
    """Return the scores of all rows and of the strange ones, by name of the detector."""
    detectors: dict[str, AbstractDetector] = {"entropy": Entropy(), "max_softmax": MaxSoftmax()}
    if not strange.probabilities:  # normalised logarithms all have the same energy
        detectors["energy"] = Energy()
    inside, outside = NetworkOutputs(halves.logits), NetworkOutputs(strange.logits())
    return {
        name: (np.asarray(_scored(make, inside)), np.asarray(_scored(make, outside)))
        for name, make in detectors.items()
    }


def ood_numbers(
    halves: Halves, scores: Mapping[str, tuple[np.ndarray, np.ndarray]], false_alarm: float
) -> Summary:
    """Return how well every score tells strange rows from those of the judged half.

    Thresholds are taken from the fitted half, so that the stated rate of false alarms holds on new rows.
    """
    out: Summary = {"ood.false_alarm": false_alarm}
    low, high = coverage_band(len(halves.fitted), len(halves.judged), 1 - false_alarm)
    for name, (inside, outside) in scores.items():
        own = inside[halves.judged]
        values = np.concatenate([own, outside])
        kinds = np.arange(len(values)) >= len(own)
        area, precision, alarms = _told_apart(jnp.asarray(values), jnp.asarray(kinds))
        threshold = fit_threshold(inside[halves.fitted], false_alarm)
        out |= {
            f"ood.{name}.auroc": float(area.value),
            f"ood.{name}.auroc_ci": [float(area.low), float(area.high)],
            f"ood.{name}.aupr": float(precision),
            f"ood.{name}.fpr95": float(alarms),
            f"ood.{name}.threshold": float(threshold.value),
            f"ood.{name}.false_alarms": float(np.mean(np.asarray(threshold(own)))),
            f"ood.{name}.false_alarms_band": [1 - high, 1 - low],
            f"ood.{name}.found": float(np.mean(np.asarray(threshold(outside)))),
        }
    return out


@eqx.filter_jit
def _scored(detector: AbstractDetector, outputs: NetworkOutputs) -> Float[Array, " rows"]:
    return detector(outputs)


@eqx.filter_jit
def _told_apart(
    values: Float[Array, " rows"], kinds: Bool[Array, " rows"]
) -> tuple[Interval, Float[Array, ""], Float[Array, ""]]:
    return auroc_interval(values, kinds), average_precision(values, kinds), false_alarm_rate(values, kinds)


def _true(halves: Halves, table: np.ndarray, rows: np.ndarray) -> Float[np.ndarray, " rows"]:
    return table[rows, halves.labels[rows]]


def _threshold(halves: Halves, table: np.ndarray, level: float) -> float:
    return float(conformal_quantile(jnp.asarray(_true(halves, table, halves.fitted)), level, "calibrate"))


def _coverage(halves: Halves, table: np.ndarray, level: float) -> float:
    return float((_true(halves, table, halves.judged) <= _threshold(halves, table, level)).mean())
