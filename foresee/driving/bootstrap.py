"""Intervals of means over scenarios that come in groups, by drawing the groups again."""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import stats

from foresee.driving.intervals import Estimate, share

DRAWS = 2_000
LEVEL = 0.95


def grouped_mean(
    values: Float[np.ndarray, " S"],
    groups: Shaped[np.ndarray, " S"],
    *,
    counted: Bool[np.ndarray, " S"] | None = None,
    is_share: bool = False,
    seed: int = 0,
) -> Estimate:
    """Return the mean over scenarios and its 95 % interval, where those of one group depend on each other.

    Whole groups are drawn with replacement. With few groups the plain percentiles of such draws are too
    close to each other, so wider ones are taken, as far out as Student's t is beyond the normal distribution
    (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.4). Drawing cannot tell how
    rare a thing is that happened hardly ever: the interval of a share holds that of
    `foresee.driving.intervals.share`, too. A single group tells nothing of how alike its scenarios are; they
    are then taken as independent, and the interval is likely too narrow.

    Args:
        values: one per scenario.
        groups: the group of each.
        counted: which scenarios count; None: all.
        is_share: whether the values are 0 and 1, so that the mean is a share.
        seed: of the draws.
    """
    counted = np.ones(len(values), bool) if counted is None else counted
    _, member = np.unique(groups[counted], return_inverse=True)
    kept = np.asarray(values, float)[counted]
    if not len(kept):
        return Estimate(np.nan, np.nan, np.nan)
    mean = float(kept.mean())
    if not member.any():
        member = np.arange(len(kept))
    number = member.max() + 1
    if number < 2:
        return Estimate(mean, np.nan, np.nan)
    totals, counts = np.bincount(member, kept), np.bincount(member)
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), DRAWS)
    means = (drawn @ totals) / (drawn @ counts)
    beyond = np.sqrt(number / (number - 1)) * stats.t.ppf(0.5 + LEVEL / 2, number - 1)
    tail = float(stats.norm.cdf(-beyond))
    low, high = np.quantile(means, [tail, 1 - tail])
    low, high = min(float(low), mean), max(float(high), mean)
    if is_share:
        wilson = share(*_by_group(kept, member, counts))
        low, high = min(low, wilson.low), max(high, wilson.high)
    return Estimate(mean, low, high)


def _by_group(values: np.ndarray, member: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put the values of every group into a row; and where the rows hold any."""
    counted = np.arange(counts.max()) < counts[:, None]
    rows = np.zeros(counted.shape)
    rows[counted] = values[np.argsort(member, kind="stable")]
    return rows, counted
