"""Prediction sets that hold the true class as often as stated. Start with `conformal_sets`.

Split conformal prediction: on held-out rows, find how strange the true class may look; on new rows, keep
every class that looks no stranger. If held-out and new rows are exchangeable, the set holds the true class
with at least the stated probability, whatever the network is like (Vovk 2005; Lei et al. 2018).
"""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy import stats

from foresee.beliefs.gaussian import as_float
from foresee.calibration.check import check_labels, check_probabilities, check_share, is_concrete
from foresee.errors import CalibrationError, OptionError, ShapeError


class AbstractStrangeness(eqx.Module):
    """How strange every class would be as the true one, given the probabilities."""

    randomised: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def __call__(
        self, probabilities: Float[Array, "rows classes"], draws: Float[Array, " rows"]
    ) -> Float[Array, "rows classes"]:
        """Return the strangeness of every class; `draws` are uniform over 0 to 1, or all 1."""


class LeastAmbiguous(AbstractStrangeness):
    """One minus the probability (LAC: Sadinle, Lei and Wasserman 2019): the smallest sets on average."""

    randomised: bool = eqx.field(static=True, default=False)

    def __call__(
        self, probabilities: Float[Array, "rows classes"], draws: Float[Array, " rows"]
    ) -> Float[Array, "rows classes"]:
        """Return the strangeness of every class."""
        return 1 - probabilities


class Adaptive(AbstractStrangeness):
    """The probability of all classes that are at least as probable (APS: Romano, Sesia and Candès 2020).

    Sets are larger where a row is hard, and hold the true class about as often there as elsewhere.

    Attributes:
        randomised: whether a uniform share of the class's own probability counts, not all of it: then sets
            are no larger than they need be, and a key is needed.
    """

    randomised: bool = eqx.field(static=True, default=True)

    def __call__(
        self, probabilities: Float[Array, "rows classes"], draws: Float[Array, " rows"]
    ) -> Float[Array, "rows classes"]:
        """Return the strangeness of every class."""
        before, _ = _more_probable(probabilities)
        return before + draws[:, None] * probabilities


class RegularisedAdaptive(AbstractStrangeness):
    """As `Adaptive`, plus a penalty for every rank below the first few (RAPS: Angelopoulos et al. 2021).

    It keeps the many improbable classes of a long tail out of the sets.

    Attributes:
        penalty: added per rank; choose it, like the rank, on rows used for nothing else.
        free: ranks that cost nothing.
        randomised: as for `Adaptive`.
    """

    penalty: Float[Array, ""] = eqx.field(converter=as_float, default=0.01)
    free: Float[Array, ""] = eqx.field(converter=as_float, default=5.0)
    randomised: bool = eqx.field(static=True, default=True)

    def __call__(
        self, probabilities: Float[Array, "rows classes"], draws: Float[Array, " rows"]
    ) -> Float[Array, "rows classes"]:
        """Return the strangeness of every class."""
        before, rank = _more_probable(probabilities)
        dear = self.penalty.astype(probabilities.dtype) * jnp.maximum(rank + 1 - self.free, 0)
        return (before + draws[:, None] * probabilities + dear).astype(probabilities.dtype)


class ConformalSets(eqx.Module):
    """Prediction sets of classes, fitted by `conformal_sets`.

    Attributes:
        strangeness: how strange classes are.
        threshold: strangeness up to which a class is in the set, one for every class; all the same unless it
            was fitted by class.
        level: share of sets that hold the true class.
        rows: number of rows it was fitted to.
    """

    strangeness: AbstractStrangeness
    threshold: Float[Array, " classes"]
    level: float = eqx.field(static=True)
    rows: int = eqx.field(static=True)

    def __call__(
        self, probabilities: ArrayLike, *, key: PRNGKeyArray | None = None
    ) -> Bool[Array, "rows classes"]:
        """Return which classes are in the set of every row; a set may be empty.

        Args:
            probabilities: shape (rows, classes).
            key: source of randomness, for a strangeness that is randomised.

        Raises:
            ShapeError: if the classes are not those that were fitted.
            CalibrationError: if a row is no distribution.
            OptionError: if a key is needed and missing.
        """
        table = check_probabilities(probabilities, "ConformalSets")
        if table.shape[1] != self.threshold.shape[0]:
            raise ShapeError(f"ConformalSets: expected {self.threshold.shape[0]} classes, got {table.shape}")
        draws = _draws(self.strangeness, table, key, "ConformalSets")
        return self.strangeness(table, draws) <= self.threshold


def conformal_sets(
    probabilities: ArrayLike,
    labels: ArrayLike,
    level: float = 0.9,
    strangeness: AbstractStrangeness | None = None,
    by_class: bool = False,
    *,
    key: PRNGKeyArray | None = None,
) -> ConformalSets:
    """Return prediction sets that hold the true class with at least a stated probability.

    Args:
        probabilities: of held-out rows used for nothing else, shape (rows, classes).
        labels: shape (rows,).
        level: share of sets that are to hold the true class.
        strangeness: `LeastAmbiguous()` (the default), `Adaptive()` or `RegularisedAdaptive()`.
        by_class: whether the level is to hold for the rows of every class (Mondrian), not only for all
            together.
        key: source of randomness, for a strangeness that is randomised.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a row is no distribution, a label out of range, or if there are too few rows for
            the level, altogether or of a class; the message says how many are needed.
        OptionError: if the level is not between 0 and 1, or a key is needed and missing.
    """
    check_share(level, "conformal_sets", "level")
    strangeness = LeastAmbiguous() if strangeness is None else strangeness
    table = check_probabilities(probabilities, "conformal_sets")
    rows, classes = table.shape
    labels = check_labels(labels, rows, classes, "conformal_sets")
    scores = strangeness(table, _draws(strangeness, table, key, "conformal_sets"))
    true = jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    if not by_class:
        threshold = jnp.full(classes, conformal_quantile(true, level, "conformal_sets"))
    else:
        threshold = _class_quantiles(true, labels, classes, level)
    return ConformalSets(strangeness, threshold, level, rows)


def conformal_quantile(scores: Float[Array, " rows"], level: float, owner: str) -> Float[Array, ""]:
    """Return the ⌈(n + 1) level⌉-th smallest score, which a new one exceeds with probability ≤ 1 − level.

    Raises:
        CalibrationError: if there are too few scores for the level.
    """
    rows = scores.shape[0]
    rank = conformal_rank(rows, level)
    if rank > rows:
        raise CalibrationError(
            f"{owner}: a level of {level:g} cannot be attained with {rows} rows; "
            f"it needs at least {rows_for(level)}"
        )
    return jnp.sort(scores)[rank - 1]


def conformal_rank(rows: int, level: float) -> int:
    """Return ⌈(n + 1) level⌉, undisturbed by the last bit of the product."""
    return max(1, math.ceil((rows + 1) * level - 1e-9))


def rows_for(level: float) -> int:
    """Return the least number of rows with which a level can be attained."""
    return max(1, math.ceil(level / (1 - level) - 1e-9))


def coverage_band(
    calibration_rows: int, test_rows: int, level: float = 0.9, confidence: float = 0.95
) -> tuple[float, float]:
    """Return between which shares the coverage on test rows is, if all rows are exchangeable.

    The number of covered rows is beta-binomial with parameters k and n + 1 − k, k = ⌈(n + 1) level⌉ (Vovk
    2012): exact for scores that are never equal, and still a lower bound for others.

    Args:
        calibration_rows: rows that the threshold was taken from.
        test_rows: rows on which coverage is counted.
        level: that was asked for.
        confidence: probability of being inside the band.

    Raises:
        CalibrationError: if there are too few rows for the level.
        OptionError: if level or confidence is not between 0 and 1.
    """
    check_share(level, "coverage_band", "level")
    tail = 0.5 - check_share(confidence, "coverage_band", "confidence") / 2
    rank = conformal_rank(calibration_rows, level)
    if rank > calibration_rows:
        raise CalibrationError(
            f"coverage_band: a level of {level:g} cannot be attained with {calibration_rows} rows; "
            f"it needs at least {rows_for(level)}"
        )
    covered = stats.betabinom(test_rows, rank, calibration_rows + 1 - rank)
    return float(covered.ppf(tail)) / test_rows, float(covered.ppf(1 - tail)) / test_rows


def _class_quantiles(
    true: Float[Array, " rows"], labels: Int[Array, " rows"], classes: int, level: float
) -> Float[Array, " classes"]:
    member = labels == jnp.arange(classes)[:, None]
    counts = jnp.sum(member, axis=1)
    ranks = jnp.maximum(jnp.ceil((counts + 1) * level - 1e-6), 1).astype(int)
    if is_concrete(counts):
        few = np.flatnonzero(np.asarray(ranks > counts))
        if few.size:
            raise CalibrationError(
                f"conformal_sets: a level of {level:g} by class needs at least {rows_for(level)} rows "
                f"of every class, got {int(counts[few[0]])} of class {few[0]}"
                + (f" and {few.size - 1} others" * (few.size > 1))
            )
    ordered = jnp.sort(jnp.where(member, true, jnp.inf), axis=1)
    # Where labels are traced nothing can be raised: with too few rows of a class, all sets hold it.
    found = jnp.take_along_axis(ordered, jnp.minimum(ranks, true.shape[0])[:, None] - 1, axis=1)[:, 0]
    return jnp.where(ranks > counts, jnp.inf, found)


def _draws(
    strangeness: AbstractStrangeness,
    table: Float[Array, "rows classes"],
    key: PRNGKeyArray | None,
    owner: str,
) -> Float[Array, " rows"]:
    if not strangeness.randomised:
        return jnp.ones(table.shape[0], table.dtype)
    if key is None:
        # Without draws on one side only, the sets would hold the true class less often than stated.
        raise OptionError(f"{owner}: expected a key, as {type(strangeness).__name__} is randomised")
    return jax.random.uniform(key, (table.shape[0],), table.dtype)


def _more_probable(
    probabilities: Float[Array, "rows classes"],
) -> tuple[Float[Array, "rows classes"], Int[Array, "rows classes"]]:
    """Return how probable all classes are that come before each in the order, and its rank from 0."""
    order = jnp.argsort(-probabilities, axis=1)
    ordered = jnp.take_along_axis(probabilities, order, axis=1)
    rank = jnp.argsort(order, axis=1)
    before = jnp.cumsum(ordered, axis=1) - ordered
    return jnp.take_along_axis(before, rank, axis=1), rank
