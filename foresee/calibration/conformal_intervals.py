"""Intervals that hold the true number as often as stated. Start with `conformal_intervals`."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from foresee.calibration.check import check_share, check_vector, is_concrete
from foresee.calibration.conformal import conformal_quantile
from foresee.errors import CalibrationError


class ConformalIntervals(eqx.Module):
    """Intervals around predictions.

    Attributes:
        width: half the width of an interval, in units of the prediction's scale.
        level: share of intervals that hold the true number.
        rows: number of rows it was fitted to.
    """

    width: Float[Array, ""]
    level: float = eqx.field(static=True)
    rows: int = eqx.field(static=True)

    def __call__(
        self, predictions: ArrayLike, scales: ArrayLike | None = None
    ) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
        """Return the lower and upper ends.

        Args:
            predictions: shape (rows,).
            scales: how uncertain each is, shape (rows,), if scales were given for fitting.

        Raises:
            ShapeError: if the two are not vectors of one length.
            CalibrationError: if a number is not finite, or a scale not positive.
        """
        centre = check_vector(predictions, "ConformalIntervals", "predictions")
        half = self.width * _scales(scales, centre, "ConformalIntervals")
        return centre - half, centre + half


class ConformalQuantiles(eqx.Module):
    """Predicted quantiles moved apart, or together, by the same amount (CQR).

    Attributes:
        shift: by which both ends move outwards; negative where the predicted quantiles were too far apart.
        level: share of intervals that hold the true number.
        rows: number of rows it was fitted to.
    """

    shift: Float[Array, ""]
    level: float = eqx.field(static=True)
    rows: int = eqx.field(static=True)

    def __call__(
        self, low: ArrayLike, high: ArrayLike
    ) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
        """Return the lower and upper ends; where they would cross, both are their middle.

        Raises:
            ShapeError: if the two are not vectors of one length.
            CalibrationError: if a number is not finite.
        """
        below = check_vector(low, "ConformalQuantiles", "lower quantiles")
        above = check_vector(high, "ConformalQuantiles", "upper quantiles", below.shape[0])
        middle = 0.5 * (below + above)
        crossed = above - below + 2 * self.shift < 0
        low_end, high_end = below - self.shift, above + self.shift
        return jnp.where(crossed, middle, low_end), jnp.where(crossed, middle, high_end)


def conformal_intervals(
    predictions: ArrayLike,
    targets: ArrayLike,
    level: float = 0.9,
    scales: ArrayLike | None = None,
) -> ConformalIntervals:
    """Return intervals around predictions that hold the target with at least a stated probability.

    The strangeness of a target is its distance from the prediction (Lei et al. 2018), divided by the
    prediction's scale where there is one: then hard rows get wide intervals.

    Args:
        predictions: of held-out rows used for nothing else, shape (rows,).
        targets: shape (rows,).
        level: share of intervals that are to hold the target.
        scales: how uncertain each prediction is, as a rule its standard deviation, shape (rows,).

    Raises:
        ShapeError: if the arrays are not vectors of one length.
        CalibrationError: if a number is not finite, a scale not positive, or if there are too few rows for
            the level.
        OptionError: if the level is not between 0 and 1.
    """
    check_share(level, "conformal_intervals", "level")
    centre = check_vector(predictions, "conformal_intervals", "predictions")
    targets = check_vector(targets, "conformal_intervals", "targets", centre.shape[0])
    strange = jnp.abs(targets - centre) / _scales(scales, centre, "conformal_intervals")
    width = conformal_quantile(strange, level, "conformal_intervals")
    return ConformalIntervals(width, level, centre.shape[0])


def conformal_quantiles(
    low: ArrayLike, high: ArrayLike, targets: ArrayLike, level: float = 0.9
) -> ConformalQuantiles:
    """Return corrected quantiles that hold the target with at least a stated probability.

    Conformalised quantile regression (Romano, Patterson and Candès 2019, equation 6).

    Args:
        low: predicted lower quantiles of held-out rows used for nothing else, shape (rows,).
        high: predicted upper quantiles, shape (rows,).
        targets: shape (rows,).
        level: share of intervals that are to hold the target.

    Raises:
        ShapeError: if the arrays are not vectors of one length.
        CalibrationError: if a number is not finite, or if there are too few rows for the level.
        OptionError: if the level is not between 0 and 1.
    """
    check_share(level, "conformal_quantiles", "level")
    below = check_vector(low, "conformal_quantiles", "lower quantiles")
    above = check_vector(high, "conformal_quantiles", "upper quantiles", below.shape[0])
    targets = check_vector(targets, "conformal_quantiles", "targets", below.shape[0])
    strange = jnp.maximum(below - targets, targets - above)
    return ConformalQuantiles(
        conformal_quantile(strange, level, "conformal_quantiles"), level, below.shape[0]
    )


def _scales(scales: ArrayLike | None, centre: Float[Array, " rows"], owner: str) -> Float[Array, " rows"]:
    if scales is None:
        return jnp.ones_like(centre)
    values = check_vector(scales, owner, "scales", centre.shape[0])
    if is_concrete(values) and not (np.asarray(values) > 0).all():
        raise CalibrationError(f"{owner}: expected positive scales, got {np.asarray(values).min():.4g}")
    return values
