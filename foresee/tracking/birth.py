"""Birth: what a first detection says of a new object, and how often new objects appear."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee import linalg
from foresee.beliefs import AbstractConditional, Gaussian
from foresee.beliefs.gaussian import DiagonalGaussian, as_float
from foresee.dynamics.check import check_not_negative, check_positive
from foresee.dynamics.linear import AbstractLinear
from foresee.errors import ShapeError, TrackingError


class Birth(eqx.Module):
    """New objects: a uniform Poisson process, and a prior of what the sensor does not measure.

    Objects that are there but were never detected are kept as a density (Williams 2015, section III): it
    grows by `rate`, and shrinks where the sensor looks.

    Args:
        spread: prior standard deviation of every component of the state; infinite for what the first
            detection alone has to tell, as the position.
        rate: new objects per second, per unit of what the sensor measures (per m² for a position). Objects
            whose track was lost have to come in here again: zero is seldom right, even where nobody appears.
        undetected: objects before the first scan, per the same unit. None for those of ten seconds of `rate`.
        mean: prior mean; None for zeros.
        start: for curved sensors, a function from a detection to a state around which the sensor is
            linearised.

    Raises:
        ForeseeError: if a spread is not positive, or a rate is negative.
        ShapeError: if spread and mean have different sizes.
    """

    spread: Float[Array, " n"] = eqx.field(converter=as_float)
    rate: Float[Array, ""] = eqx.field(converter=as_float)
    undetected: Float[Array, ""]
    mean: Float[Array, " n"]
    start: Callable[[Array], Array] | None = eqx.field(static=True, default=None)

    def __init__(
        self,
        spread: Any,
        rate: Any,
        undetected: Any = None,
        mean: Any = None,
        start: Callable[[Array], Array] | None = None,
    ):
        self.spread, self.rate = as_float(spread), as_float(rate)
        self.undetected = 10 * self.rate if undetected is None else as_float(undetected)
        self.mean = jnp.zeros_like(self.spread) if mean is None else as_float(mean)
        self.start = start

    def __check_init__(self) -> None:
        """Check sizes and signs."""
        if self.spread.ndim != 1 or self.mean.shape != self.spread.shape:
            raise ShapeError(
                f"Birth: expected spread and mean of one size, got {self.spread.shape} and {self.mean.shape}"
            )
        check_positive(self, "spread")
        check_not_negative(self, "rate", "undetected")

    def __call__(self, y: Float[Array, " m"], sensor: AbstractConditional) -> Gaussian:
        """Return the belief about an object of which only `y` is known: the prior conditioned on it.

        In information form, so that nothing at all may be known before.

        Raises:
            TrackingError: if the sensor is curved and there is no `start`.
        """
        if isinstance(sensor, AbstractLinear):
            around = jnp.zeros_like(self.spread)
        elif self.start is None:
            raise TrackingError(
                f"Birth: expected start, a function from a detection to a state, for {type(sensor).__name__}"
            )
        else:
            around = self.start(y)

        def measured(x: Float[Array, " n"]) -> tuple[Array, Any]:
            outcome: Any = sensor(x)
            return outcome.vector(), outcome

        slope, outcome = jax.jacfwd(measured, has_aux=True)(around)
        noise = jnp.diag(outcome.variances()) if isinstance(outcome, DiagonalGaussian) else outcome.covariance
        residual = outcome.residual(y) + linalg.matvec(slope, around)
        weighted = linalg.solve_spd(noise, slope)
        precision = 1.0 / self.spread**2
        information = linalg.symmetrize(linalg.matmul(slope.T, weighted)) + jnp.diag(precision)
        covariance = linalg.symmetrize(
            linalg.solve_spd(information, jnp.eye(len(self.spread), dtype=y.dtype))
        )
        pull = precision * self.mean + linalg.matvec(weighted.T, residual)
        return Gaussian(linalg.matvec(covariance, pull), covariance)
