"""How good predicted class probabilities are. Start with `calibration_error` and `reliability`.

Every score takes a table of probabilities (rows × classes) and the true labels, and is a function of arrays
that can be compiled, batched and, where it is smooth, differentiated.
"""

from statistics import NormalDist
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from foresee.calibration.check import (
    check_choice,
    check_labels,
    check_logits,
    check_probabilities,
    check_share,
)
from foresee.errors import OptionError

Binning = Literal["width", "mass"]


class Reliability(eqx.Module):
    """The bins behind a reliability diagram.

    Attributes:
        edges: borders of the bins, from the lowest to the highest confidence.
        confidence: mean confidence in every bin; the middle of an empty bin.
        frequency: how often the prediction was right in every bin; 0 in an empty bin.
        low: lower end of the interval of that frequency (Wilson 1927); 0 in an empty bin.
        high: upper end; 1 in an empty bin.
        count: rows in every bin.
    """

    edges: Float[Array, " edges"]
    confidence: Float[Array, " bins"]
    frequency: Float[Array, " bins"]
    low: Float[Array, " bins"]
    high: Float[Array, " bins"]
    count: Float[Array, " bins"]

    def gaps(self) -> Float[Array, " bins"]:
        """Return mean confidence minus frequency in every bin; positive is overconfident."""
        return jnp.where(self.count > 0, self.confidence - self.frequency, 0.0)

    def shares(self) -> Float[Array, " bins"]:
        """Return the share of the rows in every bin."""
        return self.count / jnp.sum(self.count)


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> Float[Array, ""]:
    """Return the mean of −log p(label) in nats; infinite where a label was held impossible.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
    """
    table, labels = _checked(probabilities, labels, "negative_log_likelihood")
    return -jnp.mean(jnp.log(_picked(table, labels)))


def negative_log_likelihood_of_logits(logits: ArrayLike, labels: ArrayLike) -> Float[Array, ""]:
    """Return the mean of −log softmax(logits)[label] in nats, without leaving the logarithms.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a logit is not finite or a label out of range.
    """
    owner = "negative_log_likelihood_of_logits"
    table = check_logits(logits, owner)
    return -jnp.mean(
        _picked(jax.nn.log_softmax(table), check_labels(labels, table.shape[0], table.shape[1], owner))
    )


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> Float[Array, ""]:
    """Return the mean squared distance of the probabilities from the truth, 0 to 2 (Brier 1950).

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
    """
    table, labels = _checked(probabilities, labels, "brier_score")
    return jnp.mean(jnp.sum((table - jax.nn.one_hot(labels, table.shape[1], dtype=table.dtype)) ** 2, axis=1))


def accuracy(probabilities: ArrayLike, labels: ArrayLike) -> Float[Array, ""]:
    """Return the share of rows whose most probable class is the true one.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
    """
    table, labels = _checked(probabilities, labels, "accuracy")
    return jnp.mean((jnp.argmax(table, axis=1) == labels).astype(table.dtype))


def sharpness(probabilities: ArrayLike) -> Float[Array, ""]:
    """Return the mean of Σ p², from 1/classes (knows nothing) to 1 (is certain), whatever is true.

    One minus it is the Brier score that is to be expected if the probabilities are right.

    Raises:
        ShapeError: if the probabilities are no table of at least two columns.
        CalibrationError: if a row is no distribution.
    """
    return jnp.mean(jnp.sum(check_probabilities(probabilities, "sharpness") ** 2, axis=1))


def reliability(
    probabilities: ArrayLike,
    labels: ArrayLike,
    bins: int = 15,
    binning: Binning = "width",
    level: float = 0.95,
) -> Reliability:
    """Return how often the most probable class was right, by how probable it was said to be.

    Args:
        probabilities: shape (rows, classes).
        labels: shape (rows,).
        bins: number of bins.
        binning: "width" for bins of equal width over 0 to 1, closed at their upper ends (Guo 2017); "mass"
            for bins that hold equally many rows (adaptive binning, Nguyen and O'Connor 2015), where rows of
            equal confidence may fall on both sides of a border.
        level: of the intervals.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
        OptionError: if bins, binning or level are nothing that bins can be made with.
    """
    confidence, right = top_label(probabilities, labels)
    return binned(confidence, right, bins, binning, level)


def top_label(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[Float[Array, " rows"], Bool[Array, " rows"]]:
    """Return how probable the most probable class of every row is, and whether it is the true one.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
    """
    table, labels = _checked(probabilities, labels, "top_label")
    return jnp.max(table, axis=1), jnp.argmax(table, axis=1) == labels


def binned(
    confidence: Float[Array, " rows"],
    happened: Bool[Array, " rows"],
    bins: int = 15,
    binning: Binning = "width",
    level: float = 0.95,
) -> Reliability:
    """Return the bins of any event's probability and of whether it happened; arguments as `reliability`."""
    if bins < 1:
        raise OptionError(f"reliability: expected at least 1 bin, got {bins}")
    check_choice(binning, ("width", "mass"), "reliability", "binning")
    check_share(level, "reliability", "level")
    return _binned(confidence, happened, bins, binning, level)


def wilson_interval(
    frequency: Float[Array, "..."], count: Float[Array, "..."], level: float = 0.95
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return the interval of a probability from a frequency among `count` rows (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    scale = count + z**2
    centre = (frequency * count + z**2 / 2) / scale
    # Not divided by the count, which may be 0.
    half = z * jnp.sqrt(count * frequency * (1 - frequency) + z**2 / 4) / scale
    return jnp.clip(centre - half, 0.0, 1.0), jnp.clip(centre + half, 0.0, 1.0)


def calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15, binning: Binning = "width"
) -> Float[Array, ""]:
    """Return the expected calibration error, the mean |confidence − frequency| over bins (Naeini 2015).

    It is never below zero, so a perfect model of few rows has a positive one: compare models on the same
    rows, or take `debiased_calibration_error`.

    Args:
        probabilities: shape (rows, classes).
        labels: shape (rows,).
        bins: number of bins.
        binning: "width" or "mass", as for `reliability`.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
        OptionError: if bins or binning are nothing that bins can be made with.
    """
    return event_calibration_error(*top_label(probabilities, labels), bins, binning)


def event_calibration_error(
    probability: Float[Array, " rows"],
    happened: Bool[Array, " rows"],
    bins: int = 15,
    binning: Binning = "width",
) -> Float[Array, ""]:
    """Return the expected calibration error of any event's probability.

    With `top_label` it is `calibration_error`, in a form that is quick to draw again, many times, from many
    classes.

    Raises:
        OptionError: if bins or binning are nothing that bins can be made with.
    """
    made = binned(probability, happened, bins, binning)
    return jnp.sum(made.shares() * jnp.abs(made.gaps()))


def debiased_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15
) -> Float[Array, ""]:
    """Return the root mean squared gap of bins with equally many rows, less what chance adds to it.

    From every squared gap the estimated variance of the frequency, f (1 − f) / (count − 1), is taken away
    (Kumar, Liang and Ma 2019, definition 5.1; for the Brier score's reliability part it is that of Ferro and
    Fricker 2012). A sum below zero counts as zero; bins of a single row say nothing and are left out.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
        OptionError: if bins is less than 1.
    """
    made = reliability(probabilities, labels, bins, "mass")
    chance = made.frequency * (1 - made.frequency) / jnp.maximum(made.count - 1, 1)
    squares = jnp.where(made.count > 1, made.gaps() ** 2 - chance, 0.0)
    total = jnp.sum(made.shares() * squares)
    return jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1.0)), 0.0)


def classwise_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15, binning: Binning = "width"
) -> Float[Array, ""]:
    """Return the calibration error of every class's probability, averaged over classes (Kull 2019).

    Args:
        probabilities: shape (rows, classes).
        labels: shape (rows,).
        bins: number of bins.
        binning: "width" or "mass", as for `reliability`.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if probabilities or labels are none.
        OptionError: if bins or binning are nothing that bins can be made with.
    """
    table, labels = _checked(probabilities, labels, "classwise_calibration_error")

    def error(index: Int[Array, ""], column: Float[Array, " rows"]) -> Float[Array, ""]:
        return event_calibration_error(column, labels == index, bins, binning)

    return jnp.mean(jax.vmap(error)(jnp.arange(table.shape[1]), table.T))


def _checked(
    probabilities: ArrayLike, labels: ArrayLike, owner: str
) -> tuple[Float[Array, "rows classes"], Int[Array, " rows"]]:
    table = check_probabilities(probabilities, owner)
    return table, check_labels(labels, table.shape[0], table.shape[1], owner)


def _picked(table: Float[Array, "rows classes"], labels: Int[Array, " rows"]) -> Float[Array, " rows"]:
    return jnp.take_along_axis(table, labels[:, None], axis=1)[:, 0]


@eqx.filter_jit
def _binned(
    confidence: Float[Array, " rows"], happened: Bool[Array, " rows"], bins: int, binning: str, level: float
) -> Reliability:
    rows = confidence.shape[0]
    if binning == "width":
        index = jnp.clip(jnp.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        edges = jnp.linspace(0.0, 1.0, bins + 1, dtype=confidence.dtype)
    else:
        order = jnp.argsort(confidence)
        rank = jnp.zeros(rows, int).at[order].set(jnp.arange(rows))
        index = rank * bins // rows
        first = [min(-(-bin * rows // bins), rows - 1) for bin in range(bins)]
        edges = confidence[order][jnp.asarray([*first, rows - 1])]
    # A product with a matrix of zeros and ones; adding into bins one by one is slower in a batch.
    member = (index == jnp.arange(bins)[:, None]).astype(confidence.dtype)
    values = jnp.stack(
        [jnp.ones(rows, confidence.dtype), confidence, happened.astype(confidence.dtype)], axis=1
    )
    count, total, hits = jnp.matmul(member, values, precision="highest").T
    some = jnp.maximum(count, 1)
    mean = jnp.where(count > 0, total / some, 0.5 * (edges[1:] + edges[:-1]))
    frequency = hits / some
    low, high = wilson_interval(frequency, count, level)
    return Reliability(edges, mean, frequency, low, high, count)
