"""Quantile recalibration of predicted distributions of numbers. Start with `fit_quantiles`."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from foresee.calibration.check import check_share, check_vector, is_concrete
from foresee.errors import CalibrationError

Quantile = Callable[[Float[Array, ""]], ArrayLike]


class QuantileMap(eqx.Module):
    """An increasing map from the probability that a model gives to how often it came true.

    Attributes:
        predicted: probabilities as the model gives them, increasing from 0 to 1.
        observed: how often targets were below the quantiles of these probabilities.
    """

    predicted: Float[Array, " knots"]
    observed: Float[Array, " knots"]

    def __call__(self, probability: ArrayLike) -> Float[Array, "..."]:
        """Return how often targets are below the quantile of a probability: the recalibrated distribution."""
        return jnp.interp(jnp.asarray(probability, self.predicted.dtype), self.predicted, self.observed)

    def level(self, probability: ArrayLike) -> Float[Array, "..."]:
        """Return which quantile to ask the model for, so that targets are below it as often as stated."""
        return jnp.interp(jnp.asarray(probability, self.predicted.dtype), self.observed, self.predicted)

    def quantile(self, quantile: Quantile, probability: ArrayLike) -> Array:
        """Return the recalibrated quantile of a probability.

        Args:
            quantile: the model's own quantile function, of a probability.
            probability: between 0 and 1.
        """
        return jnp.asarray(quantile(self.level(probability)))

    def interval(self, quantile: Quantile, coverage: float) -> tuple[Array, Array]:
        """Return the recalibrated central interval that holds a share of the targets.

        Args:
            quantile: the model's own quantile function, of a probability.
            coverage: share of the targets that the interval is to hold.

        Raises:
            OptionError: if the coverage is not between 0 and 1.
        """
        check_share(coverage, "QuantileMap.interval", "coverage")
        return self.quantile(quantile, 0.5 - coverage / 2), self.quantile(quantile, 0.5 + coverage / 2)


def fit_quantiles(pit: ArrayLike) -> QuantileMap:
    """Return the map from predicted to observed probabilities (Kuleshov, Fenner and Ermon 2018, algorithm 1).

    The isotonic regression of the shares P̂(p) = |{PIT ≤ p}| / n on p is the empirical distribution function
    of the PIT itself; knots are put at its i-th order statistic with height i / (n + 1), between (0, 0) and
    (1, 1).

    Args:
        pit: probability that the model gave to being at or below each held-out target, shape (rows,);
            `pit_gaussian`, `pit_mixture` and `pit_samples` return it.

    Raises:
        ShapeError: if it is no vector.
        CalibrationError: if a number in it is not between 0 and 1.
    """
    values = check_vector(pit, "fit_quantiles", "PIT")
    if is_concrete(values):
        numbers = np.asarray(values)
        if (numbers < 0).any() or (numbers > 1).any():
            raise CalibrationError(
                "fit_quantiles: expected PIT values from 0 to 1, "
                f"got {numbers.min():.4g} to {numbers.max():.4g}"
            )
    rows = values.shape[0]
    zero, one = jnp.zeros(1, values.dtype), jnp.ones(1, values.dtype)
    heights = jnp.arange(rows + 2, dtype=values.dtype) / (rows + 1)
    return QuantileMap(jnp.concatenate([zero, jnp.sort(values), one]), heights)
