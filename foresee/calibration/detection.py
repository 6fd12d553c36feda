"""How well a score tells two kinds of rows apart. Start with `auroc`.

Scores are vectors, higher where a row is more likely of the kind looked for; equal scores are never put in an
order of their own.
"""

from statistics import NormalDist

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from foresee.calibration.bootstrap import Interval
from foresee.calibration.check import check_flags, check_share, check_vector, is_concrete
from foresee.errors import CalibrationError


class Curve(eqx.Module):
    """What happens as a threshold is lowered from above all scores to the lowest.

    Attributes:
        threshold: rows with at least this score are flagged; infinite at first.
        hit: share of the rows looked for that are flagged (true positive rate, recall).
        false_alarm: share of the others that are flagged (false positive rate).
        precision: share of the flagged that are looked for; 1 while none is flagged.
    """

    threshold: Float[Array, " points"]
    hit: Float[Array, " points"]
    false_alarm: Float[Array, " points"]
    precision: Float[Array, " points"]


class RiskCoverage(eqx.Module):
    """How often predictions are wrong among those that are kept, as more and more are kept.

    Attributes:
        coverage: share of the rows kept, the least uncertain first.
        risk: mean loss of the rows kept.
        area: mean of the risk over all coverages (AURC).
    """

    coverage: Float[Array, " rows"]
    risk: Float[Array, " rows"]
    area: Float[Array, ""]


def detection_curve(scores: ArrayLike, positive: ArrayLike) -> Curve:
    """Return the points of the ROC and of the precision-recall curve; equal scores make one point, repeated.

    Args:
        scores: shape (rows,).
        positive: whether a row is of the kind looked for, shape (rows,).

    Raises:
        ShapeError: if the two are not vectors of one length.
        CalibrationError: if a score is not finite, or only one kind is present.
    """
    values, flags = _checked(scores, positive, "detection_curve")
    ordered = jnp.sort(values)
    ones, zeros = _sorted_kinds(values, flags)
    # Counted from above by searching: a point is the end of a run of equal scores, whichever row it is made
    # for.
    threshold = ordered[::-1]
    hits = jnp.sum(flags) - jnp.searchsorted(ones, threshold, side="left")
    alarms = jnp.sum(~flags) - jnp.searchsorted(zeros, threshold, side="left")
    start = jnp.zeros(1, values.dtype)
    hits, alarms = (jnp.concatenate([start, part.astype(values.dtype)]) for part in (hits, alarms))
    flagged = hits + alarms
    precision = jnp.where(flagged > 0, hits / jnp.maximum(flagged, 1), 1.0)
    threshold = jnp.concatenate([jnp.full(1, jnp.inf, values.dtype), threshold])
    return Curve(threshold, hits / hits[-1], alarms / alarms[-1], precision)


def auroc(scores: ArrayLike, positive: ArrayLike) -> Float[Array, ""]:
    """Return the area under the ROC curve, the Mann-Whitney statistic; equal scores count half.

    Raises:
        ShapeError: if the two are not vectors of one length.
        CalibrationError: if a score is not finite, or only one kind is present.
    """
    values, flags = _checked(scores, positive, "auroc")
    return jnp.sum(jnp.where(flags, _placements(values, flags), 0.0)) / jnp.sum(flags)


def auroc_interval(scores: ArrayLike, positive: ArrayLike, level: float = 0.95) -> Interval:
    """Return the area under the ROC curve with its interval (DeLong, DeLong and Clarke-Pearson 1988).

    The interval is made in log odds, so that it stays within 0 and 1; an area of exactly 0 or 1 has none of
    its own, and gets the one a single pair of rows in the wrong order would bound (rule of three).

    Raises:
        ShapeError: if the two are not vectors of one length.
        CalibrationError: if a score is not finite, only one kind is present, or one has a single row.
        OptionError: if the level is not between 0 and 1.
    """
    z = NormalDist().inv_cdf(0.5 + check_share(level, "auroc_interval", "level") / 2)
    values, flags = _checked(scores, positive, "auroc_interval")
    places = _placements(values, flags)
    ones, zeros = jnp.sum(flags), jnp.sum(~flags)
    if is_concrete(ones) and min(int(ones), int(zeros)) < 2:
        raise CalibrationError("auroc_interval: expected at least 2 rows of both kinds")
    area = jnp.sum(jnp.where(flags, places, 0.0)) / ones
    # Placements of the others count what is below them; the area is one minus their mean.
    other = 1 - places

    def variance(kind: Bool[Array, " rows"], part: Float[Array, " rows"], count: Array) -> Float[Array, ""]:
        return jnp.sum(jnp.where(kind, (part - area) ** 2, 0.0)) / jnp.maximum(count - 1, 1) / count

    deviation = jnp.sqrt(variance(flags, places, ones) + variance(~flags, other, zeros))
    inside = (area > 0) & (area < 1)
    safe = jnp.where(inside, area, 0.5)
    odds = jnp.log(safe / (1 - safe))
    half = z * deviation / (safe * (1 - safe))
    bound = -jnp.log(1 - level) / jnp.minimum(ones, zeros)
    low = jnp.where(inside, jax.nn.sigmoid(odds - half), jnp.maximum(area - bound, 0))
    high = jnp.where(inside, jax.nn.sigmoid(odds + half), jnp.minimum(area + bound, 1))
    return Interval(area, low.astype(area.dtype), high.astype(area.dtype))


def average_precision(scores: ArrayLike, positive: ArrayLike) -> Float[Array, ""]:
    """Return the area under the precision-recall curve, Σ (gain in recall) · precision, not interpolated.

    Raises:
        ShapeError: if the two are not vectors of one length.
        CalibrationError: if a score is not finite, or only one kind is present.
    """
    curve = detection_curve(scores, positive)
    return jnp.sum(jnp.diff(curve.hit) * curve.precision[1:])


def false_alarm_rate(scores: ArrayLike, positive: ArrayLike, hit: float = 0.95) -> Float[Array, ""]:
    """Return the least share of false alarms at which at least a share `hit` is found (FPR at 95 % TPR).

    Raises:
        ShapeError: if the two are not vectors of one length.
        CalibrationError: if a score is not finite, or only one kind is present.
        OptionError: if the share is not between 0 and 1.
    """
    check_share(hit, "false_alarm_rate", "hit")
    curve = detection_curve(scores, positive)
    # A hundredth of a row of slack: 0.95 of 20 rows are 19, whatever the last bit says.
    slack = 0.01 / curve.hit.shape[0]
    return jnp.min(jnp.where(curve.hit >= hit - slack, curve.false_alarm, 1.0))


def risk_coverage(uncertainty: ArrayLike, losses: ArrayLike) -> RiskCoverage:
    """Return the risk of the predictions kept if the most uncertain are refused (Geifman and El-Yaniv 2017).

    Rows of equal uncertainty share their mean loss, as if they were kept in a random order.

    Args:
        uncertainty: shape (rows,); the lowest are kept first.
        losses: what each prediction costs if kept, shape (rows,); 1 and 0 for wrong and right.

    Raises:
        ShapeError: if the two are not vectors of one length.
        CalibrationError: if a number is not finite.
    """
    values = check_vector(uncertainty, "risk_coverage", "uncertainties")
    losses = check_vector(losses, "risk_coverage", "losses", values.shape[0])
    rows = values.shape[0]
    order = jnp.argsort(values)
    ordered = values[order]
    first = jnp.searchsorted(ordered, ordered, side="left")
    last = jnp.searchsorted(ordered, ordered, side="right")
    before = jnp.concatenate([jnp.zeros(1, losses.dtype), jnp.cumsum(losses[order])])
    shared = (before[last] - before[first]) / (last - first)
    kept = jnp.arange(1, rows + 1)
    risk = jnp.cumsum(shared) / kept
    return RiskCoverage((kept / rows).astype(losses.dtype), risk, jnp.mean(risk))


def _checked(
    scores: ArrayLike, positive: ArrayLike, owner: str
) -> tuple[Float[Array, " rows"], Bool[Array, " rows"]]:
    values = check_vector(scores, owner, "scores")
    return values, check_flags(positive, values.shape[0], owner, "kinds")


def _sorted_kinds(
    values: Float[Array, " rows"], flags: Bool[Array, " rows"]
) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
    """Return the scores of both kinds in order, each padded with infinity to the number of rows."""
    return jnp.sort(jnp.where(flags, values, jnp.inf)), jnp.sort(jnp.where(flags, jnp.inf, values))


def _placements(values: Float[Array, " rows"], flags: Bool[Array, " rows"]) -> Float[Array, " rows"]:
    """Return for every row the share of the other kind with a lower score, equal scores counting half."""
    ones, zeros = _sorted_kinds(values, flags)

    def below(kind: Float[Array, " rows"], count: Array) -> Float[Array, " rows"]:
        both = jnp.searchsorted(kind, values, side="left") + jnp.searchsorted(kind, values, side="right")
        return (0.5 * both / count).astype(values.dtype)

    return jnp.where(flags, below(zeros, jnp.sum(~flags)), below(ones, jnp.sum(flags)))
