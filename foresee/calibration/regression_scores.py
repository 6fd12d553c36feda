"""How good predicted distributions of numbers are. Start with `crps_gaussian` and `coverage`.

Predictions and targets are vectors, one number per row; a score is a mean over rows in the targets' unit
unless it says otherwise.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from foresee.calibration.check import check_share, check_table, check_vector, is_concrete
from foresee.errors import CalibrationError, ShapeError


def coverage(low: ArrayLike, high: ArrayLike, targets: ArrayLike) -> Float[Array, ""]:
    """Return the share of targets inside their intervals, ends included.

    Raises:
        ShapeError: if the three are not vectors of one length.
        CalibrationError: if a target is not finite. Ends may be infinite.
    """
    targets = check_vector(targets, "coverage", "targets")
    low, high = _ends(low, high, targets, "coverage")
    return jnp.mean(((low <= targets) & (targets <= high)).astype(targets.dtype))


def interval_score(low: ArrayLike, high: ArrayLike, targets: ArrayLike, level: float) -> Float[Array, ""]:
    """Return the mean interval score of central intervals of a level (Winkler 1972): less is better.

    It is the width plus 2/(1 − level) times the distance by which a target is outside.

    Raises:
        ShapeError: if the three are not vectors of one length.
        CalibrationError: if a target is not finite.
        OptionError: if the level is not between 0 and 1.
    """
    penalty = 2 / (1 - check_share(level, "interval_score", "level"))
    targets = check_vector(targets, "interval_score", "targets")
    low, high = _ends(low, high, targets, "interval_score")
    outside = jnp.maximum(low - targets, 0) + jnp.maximum(targets - high, 0)
    return jnp.mean(high - low + penalty * outside)


def pinball_loss(quantiles: ArrayLike, targets: ArrayLike, level: float) -> Float[Array, ""]:
    """Return the mean pinball loss of predicted quantiles of a level (Koenker and Bassett 1978).

    Raises:
        ShapeError: if the two are not vectors of one length.
        CalibrationError: if a number is not finite.
        OptionError: if the level is not between 0 and 1.
    """
    level = check_share(level, "pinball_loss", "level")
    targets = check_vector(targets, "pinball_loss", "targets")
    error = targets - check_vector(quantiles, "pinball_loss", "quantiles", targets.shape[0])
    return jnp.mean(jnp.maximum(level * error, (level - 1) * error))


def mean_width(low: ArrayLike, high: ArrayLike) -> Float[Array, ""]:
    """Return the mean width of intervals, the sharpness of a prediction.

    Raises:
        ShapeError: if the two are not vectors of one length.
    """
    low = check_vector(low, "mean_width", "lower ends")
    return jnp.mean(check_vector(high, "mean_width", "upper ends", low.shape[0]) - low)


def crps_gaussian(means: ArrayLike, deviations: ArrayLike, targets: ArrayLike) -> Float[Array, ""]:
    """Return the mean continuous ranked probability score of normal distributions.

    Gneiting and Raftery (2007), equation 21.

    Raises:
        ShapeError: if the three are not vectors of one length.
        CalibrationError: if a number is not finite, or a standard deviation not positive.
    """
    means, deviations, targets = _gaussian(means, deviations, targets, "crps_gaussian")
    z = (targets - means) / deviations
    return jnp.mean(deviations * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi)))


def crps_samples(samples: ArrayLike, targets: ArrayLike, fair: bool = False) -> Float[Array, ""]:
    """Return the mean continuous ranked probability score of samples, mean |x − y| − ½ mean |x − x'|.

    Sorting takes the place of comparing all pairs (Jordan, Krüger and Lerch 2019, section 2).

    Args:
        samples: shape (rows, samples).
        targets: shape (rows,).
        fair: whether to correct for the number of samples (Ferro 2014), so that the expected score does not
            depend on it; at least two samples are needed.

    Raises:
        ShapeError: if the shapes do not fit together, or a fair score is asked of one sample.
        CalibrationError: if a number is not finite.
    """
    targets = check_vector(targets, "crps_samples", "targets")
    table = _check_rows(samples, targets, "crps_samples", "samples")
    number = table.shape[1]
    if fair and number < 2:
        raise ShapeError("crps_samples: expected at least 2 samples for a fair score, got 1")
    distance = jnp.mean(jnp.abs(table - targets[:, None]), axis=1)
    # Centred at the target: the sum below cancels large values that all samples share.
    ordered = jnp.sort(table - targets[:, None], axis=1)
    ranks = 2 * jnp.arange(1, number + 1, dtype=table.dtype) - number - 1
    pairs = number * (number - 1 if fair else number)
    return jnp.mean(distance - jnp.sum(ranks * ordered, axis=1) / pairs)


def crps_mixture(
    weights: ArrayLike, means: ArrayLike, deviations: ArrayLike, targets: ArrayLike
) -> Float[Array, ""]:
    """Return the mean continuous ranked probability score of mixtures of normal distributions.

    Grimit et al. (2006), equation 5. Equal weights are those of an ensemble.

    Args:
        weights: shape (rows, components); they are normalised here.
        means: shape (rows, components).
        deviations: shape (rows, components).
        targets: shape (rows,).

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a number is not finite, a weight negative or a deviation not positive.
    """
    weights, means, deviations, targets = _mixture(weights, means, deviations, targets, "crps_mixture")

    def distance(shift: Float[Array, " *k"], variance: Float[Array, " *k"]) -> Float[Array, " *k"]:
        scale = jnp.sqrt(variance)
        return 2 * scale * norm.pdf(shift / scale) + shift * (2 * norm.cdf(shift / scale) - 1)

    variances = deviations**2
    away = jnp.sum(weights * distance(targets[:, None] - means, variances), axis=1)
    between = distance(means[:, :, None] - means[:, None, :], variances[:, :, None] + variances[:, None, :])
    return jnp.mean(away - 0.5 * jnp.einsum("ri,rj,rij->r", weights, weights, between))


def nll_gaussian(means: ArrayLike, deviations: ArrayLike, targets: ArrayLike) -> Float[Array, ""]:
    """Return the mean of −log p(target) in nats under normal distributions.

    Raises:
        ShapeError: if the three are not vectors of one length.
        CalibrationError: if a number is not finite, or a standard deviation not positive.
    """
    means, deviations, targets = _gaussian(means, deviations, targets, "nll_gaussian")
    return -jnp.mean(norm.logpdf(targets, means, deviations))


def nll_mixture(
    weights: ArrayLike, means: ArrayLike, deviations: ArrayLike, targets: ArrayLike
) -> Float[Array, ""]:
    """Return the mean of −log p(target) in nats under mixtures of normal distributions.

    Arguments and errors are those of `crps_mixture`.
    """
    weights, means, deviations, targets = _mixture(weights, means, deviations, targets, "nll_mixture")
    return -jnp.mean(logsumexp(norm.logpdf(targets[:, None], means, deviations), b=weights, axis=1))


def pit_gaussian(means: ArrayLike, deviations: ArrayLike, targets: ArrayLike) -> Float[Array, " rows"]:
    """Return every target's probability integral transform: uniform over 0 to 1 if the predictions are right.

    Raises:
        ShapeError: if the three are not vectors of one length.
        CalibrationError: if a number is not finite, or a standard deviation not positive.
    """
    means, deviations, targets = _gaussian(means, deviations, targets, "pit_gaussian")
    return norm.cdf((targets - means) / deviations)


def pit_mixture(
    weights: ArrayLike, means: ArrayLike, deviations: ArrayLike, targets: ArrayLike
) -> Float[Array, " rows"]:
    """Return every target's probability integral transform under mixtures of normal distributions.

    Arguments and errors are those of `crps_mixture`.
    """
    weights, means, deviations, targets = _mixture(weights, means, deviations, targets, "pit_mixture")
    return jnp.sum(weights * norm.cdf((targets[:, None] - means) / deviations), axis=1)


def pit_samples(samples: ArrayLike, targets: ArrayLike) -> Float[Array, " rows"]:
    """Return the share of samples (rows × samples) below every target, those equal to it counting half.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a number is not finite.
    """
    targets = check_vector(targets, "pit_samples", "targets")
    table = _check_rows(samples, targets, "pit_samples", "samples")
    below = (table < targets[:, None]).astype(table.dtype) + 0.5 * (table == targets[:, None])
    return jnp.mean(below, axis=1)


def _ends(low: ArrayLike, high: ArrayLike, targets: Float[Array, " rows"], owner: str) -> tuple[Array, Array]:
    """Return the ends of intervals, which may be infinite but not NaN."""
    ends = tuple(jnp.asarray(end, targets.dtype) for end in (low, high))
    for end in ends:
        if end.shape != targets.shape:
            raise ShapeError(f"{owner}: expected ends of shape {targets.shape}, got {end.shape}")
        if is_concrete(end) and np.isnan(np.asarray(end)).any():
            raise CalibrationError(f"{owner}: expected ends of intervals that are numbers, got NaN")
    return ends[0], ends[1]


def _gaussian(
    means: ArrayLike, deviations: ArrayLike, targets: ArrayLike, owner: str
) -> tuple[Float[Array, " rows"], Float[Array, " rows"], Float[Array, " rows"]]:
    targets = check_vector(targets, owner, "targets")
    means = check_vector(means, owner, "means", targets.shape[0])
    deviations = check_vector(deviations, owner, "standard deviations", targets.shape[0])
    _check_positive(deviations, owner)
    return means, deviations, targets


def _mixture(
    weights: ArrayLike, means: ArrayLike, deviations: ArrayLike, targets: ArrayLike, owner: str
) -> tuple[Array, Array, Array, Float[Array, " rows"]]:
    targets = check_vector(targets, owner, "targets")
    tables = [
        _check_rows(values, targets, owner, what)
        for values, what in ((weights, "weights"), (means, "means"), (deviations, "standard deviations"))
    ]
    if len({table.shape for table in tables}) != 1:
        raise ShapeError(
            f"{owner}: expected weights, means and standard deviations of one shape, "
            f"got {', '.join(str(table.shape) for table in tables)}"
        )
    _check_positive(tables[2], owner)
    if is_concrete(tables[0]):
        numbers = np.asarray(tables[0])
        if (numbers < 0).any() or (numbers.sum(1) <= 0).any():
            raise CalibrationError(f"{owner}: expected weights ≥ 0 with a positive sum in every row")
    return tables[0] / jnp.sum(tables[0], axis=1, keepdims=True), tables[1], tables[2], targets


def _check_rows(
    values: ArrayLike, targets: Float[Array, " rows"], owner: str, what: str
) -> Float[Array, "rows columns"]:
    table = check_table(values, owner, what)
    if table.shape[0] != targets.shape[0]:
        raise ShapeError(f"{owner}: expected {what} of {targets.shape[0]} rows, got {table.shape}")
    return table


def _check_positive(deviations: jax.Array, owner: str) -> None:
    if is_concrete(deviations) and not (np.asarray(deviations) > 0).all():
        raise CalibrationError(
            f"{owner}: expected positive standard deviations, got {np.asarray(deviations).min():.4g}"
        )
