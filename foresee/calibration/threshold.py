"""Where to flag: thresholds at a stated rate of false alarms. Start with `fit_threshold`."""

import math

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float
from scipy import stats

from foresee.calibration.check import check_share, check_vector
from foresee.errors import CalibrationError


class Threshold(eqx.Module):
    """Flags scores above a value, with a guarantee on how often an in-distribution row is flagged.

    Attributes:
        value: the rank-th smallest of the scores it was made from.
        rows: number of these scores.
        rank: which of them it is.
    """

    value: Float[Array, ""]
    rows: int = eqx.field(static=True)
    rank: int = eqx.field(static=True)

    def __call__(self, scores: ArrayLike) -> Bool[Array, "..."]:
        """Return whether scores are above the threshold."""
        return jnp.asarray(scores) > self.value

    def expected_rate(self) -> float:
        """Return the rate of false alarms to be expected, over the scores it was made from, too."""
        return (self.rows + 1 - self.rank) / (self.rows + 1)

    def rate_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval in which the rate of false alarms of this very threshold is.

        With scores that are exchangeable and never equal, the rate is drawn from a beta distribution with
        parameters rows + 1 − rank and rank (Vovk 2012); equal scores only lower it.

        Raises:
            OptionError: if the confidence is not between 0 and 1.
        """
        tail = 0.5 - check_share(confidence, "Threshold.rate_interval", "confidence") / 2
        beta = stats.beta(self.rows + 1 - self.rank, self.rank)
        return float(beta.ppf(tail)), float(beta.ppf(1 - tail))


def fit_threshold(scores: ArrayLike, false_alarm: float, confidence: float | None = None) -> Threshold:
    """Return the threshold above which in-distribution rows are rarely found.

    Without a confidence, the probability that a new in-distribution row is flagged is at most `false_alarm`,
    on average over what scores one happened to have (split conformal: rank ⌈(n + 1)(1 − rate)⌉). With one,
    the rate of this very threshold is at most `false_alarm` with that confidence (Vovk 2012, proposition 2b).

    Args:
        scores: of in-distribution rows used for nothing else, shape (rows,).
        false_alarm: share of in-distribution rows that may be flagged.
        confidence: None, or how certain the rate is to be.

    Raises:
        ShapeError: if the scores are no vector.
        CalibrationError: if a score is not finite, or there are too few for the rate; the message says how
            many are needed.
        OptionError: if the rate or the confidence is not between 0 and 1.
    """
    values = check_vector(scores, "fit_threshold", "scores")
    check_share(false_alarm, "fit_threshold", "false_alarm")
    if confidence is not None:
        check_share(confidence, "fit_threshold", "confidence")
    rows = values.shape[0]
    needed = rows_needed(false_alarm, confidence)
    if rows < needed:
        certain = "" if confidence is None else f" with confidence {confidence:g}"
        raise CalibrationError(
            f"fit_threshold: a false alarm rate of {false_alarm:g}{certain} needs at least {needed} scores, "
            f"got {rows}"
        )
    rank = _rank(rows, false_alarm, confidence)
    return Threshold(jnp.sort(values)[rank - 1], rows, rank)


def rows_needed(false_alarm: float, confidence: float | None = None) -> int:
    """Return the least number of scores with which `fit_threshold` can keep a rate of false alarms."""
    if confidence is None:
        return math.ceil(1 / false_alarm - 1 - 1e-9)
    # Even the largest score is exceeded more often than allowed with probability (1 − rate)ⁿ.
    return math.ceil(math.log(1 - confidence) / math.log1p(-false_alarm) - 1e-9)


def p_values(in_distribution: ArrayLike, scores: ArrayLike) -> Float[Array, " rows"]:
    """Return how likely in-distribution rows have scores as high (conformal p-values).

    For a row from the same distribution, the probability of a value ≤ p is at most p.

    Args:
        in_distribution: scores of rows used for nothing else, shape (reference,).
        scores: shape (rows,).

    Raises:
        ShapeError: if one of them is no vector.
        CalibrationError: if a score is not finite.
    """
    reference = jnp.sort(check_vector(in_distribution, "p_values", "in-distribution scores"))
    values = check_vector(scores, "p_values", "scores").astype(reference.dtype)
    above = reference.shape[0] - jnp.searchsorted(reference, values, side="left")
    return ((above + 1) / (reference.shape[0] + 1)).astype(reference.dtype)


def _rank(rows: int, false_alarm: float, confidence: float | None) -> int:
    if confidence is None:
        return max(1, math.ceil((rows + 1) * (1 - false_alarm) - 1e-9))
    # P(rate ≤ allowed) grows with the rank: the rate of rank k is beta(n + 1 − k, k).
    low, high = 1, rows
    while low < high:
        middle = (low + high) // 2
        enough = stats.beta.cdf(false_alarm, rows + 1 - middle, middle) >= confidence
        low, high = (low, middle) if enough else (middle + 1, high)
    return low
