"""Intervals of all scores of a classifier at once, on the same drawn rows. Start with `score_intervals`.

Every score here is a sum over rows, or one over rows in order of confidence. So the rows of a draw need not
be
gathered: how often each was drawn is a weight, and a draw is a product with a matrix. That is what makes a
thousand draws of thousands of rows and hundreds of classes a matter of a second.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from foresee.calibration.check import check_labels, check_probabilities, check_share
from foresee.errors import OptionError

DRAWS_AT_ONCE = 100
SMALLEST = 1e-38  # probabilities below it, zeros among them, count as this much in the log likelihood
SCORES = ("accuracy", "nll", "brier", "ece", "ece_adaptive", "ece_debiased", "ece_classwise")
DEBIASED = SCORES.index("ece_debiased")
Weights = Float[np.ndarray, "draws rows"]


@dataclass(frozen=True)
class ScoreInterval:
    """A score with the ends of its interval."""

    value: float
    low: float
    high: float


def score_intervals(
    before: ArrayLike,
    after: ArrayLike,
    labels: ArrayLike,
    *,
    bins: int = 15,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[ScoreInterval, ...]]:
    """Return every score of two predictions of the same rows, what it changed by, and bootstrap intervals.

    The scores are those of `foresee.calibration.scores` under short names: accuracy, nll, brier, ece (equal
    width), ece_adaptive (equal mass), ece_debiased and ece_classwise. Intervals are those of
    `bootstrap_interval`; that of the change takes into account that both err on the same rows.

    Args:
        before: probabilities, shape (rows, classes).
        after: others of the same rows.
        labels: shape (rows,).
        bins: number of bins.
        draws: number of draws.
        level: of the intervals.
        seed: of the draws.

    Returns:
        By name of the score: before, after, and after minus before.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
        OptionError: if there are less than 2 draws or the level is not between 0 and 1.
    """
    owner = "score_intervals"
    check_share(level, owner, "level")
    if draws < 2 or bins < 1:
        raise OptionError(f"{owner}: expected at least 2 draws and 1 bin, got {draws} and {bins}")
    tables = [np.asarray(check_probabilities(table, owner), float) for table in (before, after)]
    truth = np.asarray(check_labels(labels, *_shape(tables[0]), owner))
    check_labels(labels, *_shape(tables[1]), owner)
    makers = [_scorer(table, truth, bins) for table in tables]
    rows = len(truth)
    values = np.stack([make(np.ones((1, rows))) for make in makers])[:, :, 0]
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, draws, DRAWS_AT_ONCE):
        number = min(DRAWS_AT_ONCE, draws - start)
        weights = random.multinomial(rows, np.full(rows, 1 / rows), size=number).astype(float)
        parts.append(np.stack([make(weights) for make in makers]))
    return _intervals(values, np.concatenate(parts, axis=2), level)


def _intervals(
    values: Float[np.ndarray, "2 numbers"], samples: Float[np.ndarray, "2 numbers draws"], level: float
) -> dict[str, tuple[ScoreInterval, ...]]:
    """Return basic intervals (Davison and Hinkley 1997, equation 5.6), stretched to hold the score itself.

    Draws spread about what is true of the rows they are drawn from. That is the score of these rows, but for
    the debiased error, whose draws spread about the squared error before chance is taken away.
    """
    quantiles = [0.5 - level / 2, 0.5 + level / 2]
    made, centre = values[:, :-1], values[:, :-1].copy()
    centre[:, DEBIASED] = values[:, -1]
    draws = samples[:, :-1]
    shown = _rooted(np.maximum(made, 0.0))
    ends = np.quantile(draws, quantiles, axis=2) - centre
    low, high = (_rooted(np.maximum(made - end, 0.0)) for end in ends[::-1])
    high[:, 0] = np.minimum(high[:, 0], 1.0)  # the accuracy
    rooted = _rooted(draws)
    change = shown[1] - shown[0]
    ends = np.quantile(rooted[1] - rooted[0], quantiles, axis=1) - (_rooted(centre)[1] - _rooted(centre)[0])
    shown, low, high = (
        np.concatenate([part, [more]])
        for part, more in ((shown, change), (low, change - ends[1]), (high, change - ends[0]))
    )
    table = np.stack([shown, np.minimum(low, shown), np.maximum(high, shown)], axis=-1)
    return {
        name: tuple(ScoreInterval(*map(float, three)) for three in table[:, k])
        for k, name in enumerate(SCORES)
    }


def _rooted(values: np.ndarray) -> np.ndarray:
    """Return scores with the debiased one as a root, which keeps its sign."""
    out = values.copy()
    out[:, DEBIASED] = np.sign(values[:, DEBIASED]) * np.sqrt(np.abs(values[:, DEBIASED]))
    return out


def _shape(table: np.ndarray) -> tuple[int, int]:
    return table.shape[0], table.shape[1]


def _scorer(
    table: Float[np.ndarray, "rows classes"], labels: Int[np.ndarray, " rows"], bins: int
) -> Callable[[Weights], Float[np.ndarray, "numbers draws"]]:
    """Return the function from weights to the scores, the debiased one squared, and that with its bias."""
    rows, classes = table.shape
    confidence = table.max(axis=1)
    right = (table.argmax(axis=1) == labels).astype(float)
    gap = confidence - right
    truth = np.eye(classes)[labels]
    likelihood = -np.log(np.maximum(table[np.arange(rows), labels], SMALLEST))
    linear = np.stack([right, likelihood, ((table - truth) ** 2).sum(axis=1)], axis=1)
    by_bin = np.where(_bins(confidence, bins)[:, None] == np.arange(bins), gap[:, None], 0.0)
    place = _bins(table, bins) + bins * np.arange(classes)
    where = (place.ravel(), np.repeat(np.arange(rows), classes))
    by_class = csr_array(((table - truth).ravel(), where), shape=(classes * bins, rows))
    order = np.argsort(confidence, kind="stable")

    def scores(weights: Weights) -> Float[np.ndarray, "numbers draws"]:
        means = weights @ linear / rows
        width = np.abs(weights @ by_bin).sum(axis=1) / rows
        single = np.abs(by_class @ weights.T).sum(axis=0)
        mass, debiased, squared = np.stack(
            [_equal_mass(w[order], confidence[order], right[order], bins) for w in weights], axis=1
        )
        return np.stack([*means.T, width, mass, debiased, single / rows / classes, squared])

    return scores


def _bins(values: np.ndarray, bins: int) -> np.ndarray:
    # Closed at their upper ends, as in `reliability`; in single precision, as probabilities are there.
    return np.clip(np.ceil(values.astype(np.float32) * np.float32(bins)).astype(int) - 1, 0, bins - 1)


def _equal_mass(
    weights: Float[np.ndarray, " rows"],
    confidence: Float[np.ndarray, " rows"],
    right: Float[np.ndarray, " rows"],
    bins: int,
) -> tuple[float, float, float]:
    """Return the adaptive error of rows in order of confidence, the debiased squared one, its biased twin.

    The debiased one is below zero where chance explains more than the gaps there are.
    """
    total = np.concatenate([[0.0], np.cumsum(weights)])
    rows = round(float(total[-1]))
    borders = np.array([-(-number * rows // bins) for number in range(bins + 1)], float)
    # A row that was drawn several times may fall on both sides of a border: so much of it goes to either.
    sums = [
        np.diff(np.interp(borders, total, np.concatenate([[0.0], np.cumsum(weights * values)])))
        for values in (confidence, right)
    ]
    count = np.diff(borders)
    some = np.maximum(count, 1)
    gap, frequency = (sums[0] - sums[1]) / some, sums[1] / some
    chance = frequency * (1 - frequency) / np.maximum(count - 1, 1)
    share = np.where(count > 1, count / rows, 0.0)
    squared = float((share * gap**2).sum())
    adaptive = float((count * np.abs(gap)).sum() / rows)
    return adaptive, squared - float((share * chance).sum()), squared
