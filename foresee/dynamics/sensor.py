"""Sensors: what is observed of a state, and with what noise."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.beliefs.belief import AbstractConditional
from foresee.beliefs.gaussian import DiagonalGaussian, Gaussian, as_float, check_covariance
from foresee.dynamics.check import check_not_negative, check_size
from foresee.dynamics.linear import AbstractLinear, LinearGaussian
from foresee.errors import ShapeError

Noise = Float[Array, "m m"] | Float[Array, " m"]


def _check_noise(sensor: Any, size: int) -> None:
    """Check that the noise is a covariance matrix or a vector of variances for `size` components."""
    name, covariance = type(sensor).__name__, sensor.covariance
    if covariance.shape not in ((size,), (size, size)):
        raise ShapeError(
            f"{name}: expected noise of shape ({size},) or ({size}, {size}), got {covariance.shape}"
        )
    if covariance.ndim == 2:
        check_covariance(covariance, name)
    else:
        check_not_negative(sensor, "covariance")


def _noisy(
    y: Float[Array, " m"], covariance: Noise, circular: tuple[int, ...] = ()
) -> Gaussian | DiagonalGaussian:
    """Return the belief about an observation with the given expectation."""
    return (Gaussian if covariance.ndim == 2 else DiagonalGaussian)(y, covariance, circular)


def _polar(offset: Float[Array, "2"]) -> tuple[Array, Array, Array]:
    """Return length, angle and direction of a vector; with gradient zero, not NaN, where it has no length."""
    square = jnp.sum(offset**2)
    nowhere = square == 0
    safe = jnp.where(nowhere, jnp.asarray([1.0, 0.0], offset.dtype), offset)
    length = jnp.sqrt(jnp.where(nowhere, 1.0, square))
    return jnp.where(nowhere, 0.0, length), jnp.arctan2(safe[1], safe[0]), safe / length


class Position(AbstractLinear):
    """Observes the first components of the state, in metres, with additive noise.

    Args:
        covariance: noise variances in m², one per observed component (independent noise, fastest), or the
            full covariance matrix.
        size: number of components of the state.

    Raises:
        ShapeError: if there is noise for more components than the state has.
        CovarianceError: if the covariance is not one.
    """

    covariance: Float[Array, "d d"] | Float[Array, " d"] = eqx.field(converter=as_float)
    size: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Check that no more components are observed than the state has."""
        if self.covariance.ndim not in (1, 2) or self.covariance.shape[0] > self.size:
            raise ShapeError(
                f"Position: expected noise of shape (d,) or (d, d) with d ≤ {self.size}, got "
                f"{self.covariance.shape}"
            )
        _check_noise(self, self.covariance.shape[0])

    def linear(self, u: Any = None, dt: Any = 1.0) -> LinearGaussian:
        """Return the matrices."""
        d = self.covariance.shape[0]
        return LinearGaussian(jnp.eye(d, self.size, dtype=self.covariance.dtype), self.covariance)

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian | DiagonalGaussian:
        """Return the belief about the observed position."""
        check_size(self, x, self.size)
        return _noisy(x[: self.covariance.shape[0]], self.covariance)


class Components(AbstractLinear):
    """Observes chosen components of the state, as speed and heading, with additive noise.

    Args:
        covariance: noise variances, one per observed component, or the full covariance matrix.
        indices: which components of the state are observed, in the order of the observation.
        size: number of components of the state.
        circular: which components of the observation are angles in radians.

    Raises:
        ShapeError: if the noise does not fit the indices, or an index is outside the state.
        CovarianceError: if the covariance is not one.
    """

    covariance: Float[Array, "m m"] | Float[Array, " m"] = eqx.field(converter=as_float)
    indices: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    size: int = eqx.field(static=True)
    circular: tuple[int, ...] = eqx.field(static=True, default=(), converter=tuple)

    def __check_init__(self) -> None:
        """Check that the indices are in the state and that there is noise for each."""
        if any(not 0 <= index < self.size for index in self.indices):
            raise ShapeError(f"Components: expected indices within 0..{self.size - 1}, got {self.indices}")
        _check_noise(self, len(self.indices))

    def linear(self, u: Any = None, dt: Any = 1.0) -> LinearGaussian:
        """Return the matrices."""
        matrix = jnp.eye(self.size, dtype=self.covariance.dtype)[jnp.asarray(self.indices)]
        return LinearGaussian(matrix, self.covariance, circular=self.circular)

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian | DiagonalGaussian:
        """Return the belief about the observed components."""
        check_size(self, x, self.size)
        return _noisy(x[jnp.asarray(self.indices)], self.covariance, self.circular)


class RangeBearing(AbstractConditional):
    """A sensor at a known place measures distance and direction of the state's first two components, x and y.

    The observation is [range in m, bearing in rad counter-clockwise from the x axis], the bearing circular.

    Args:
        covariance: noise variances in m² and rad², or the full covariance matrix.
        position: where the sensor stands in m.

    Raises:
        ShapeError: if a shape is wrong.
        CovarianceError: if the covariance is not one.
    """

    covariance: Float[Array, "2 2"] | Float[Array, "2"] = eqx.field(converter=as_float)
    position: Float[Array, "2"] = eqx.field(converter=as_float, default=(0.0, 0.0))

    def __check_init__(self) -> None:
        """Check the shapes and the covariance."""
        _check_noise(self, 2)
        check_size(self, self.position, 2, "a position")

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian | DiagonalGaussian:
        """Return the belief about range and bearing."""
        length, angle, _ = _polar(x[:2] - self.position)
        return _noisy(jnp.stack([length, angle]), self.covariance, (1,))


class LandmarkRangeBearing(AbstractConditional):
    """A sensor carried at the state's x, y and heading measures distance and direction of a landmark.

    The observation is [range in m, bearing in rad counter-clockwise from the heading], the bearing circular.

    Args:
        covariance: noise variances in m² and rad², or the full covariance matrix.
        landmark: where the landmark stands in m.
        heading: index of the heading in the state.

    Raises:
        ShapeError: if a shape is wrong.
        CovarianceError: if the covariance is not one.
    """

    covariance: Float[Array, "2 2"] | Float[Array, "2"] = eqx.field(converter=as_float)
    landmark: Float[Array, "2"] = eqx.field(converter=as_float)
    heading: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        """Check the shapes and the covariance."""
        _check_noise(self, 2)
        check_size(self, self.landmark, 2, "a landmark")

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian | DiagonalGaussian:
        """Return the belief about range and bearing."""
        length, angle, _ = _polar(self.landmark - x[:2])
        return _noisy(jnp.stack([length, angle - x[self.heading]]), self.covariance, (1,))


def _velocity(x: Float[Array, " n"], indices: tuple[int, int], polar: bool) -> Float[Array, "2"]:
    """Return the velocity in x and y from two components of the state: itself, or speed and heading."""
    first, second = x[indices[0]], x[indices[1]]
    return first * jnp.stack([jnp.cos(second), jnp.sin(second)]) if polar else jnp.stack([first, second])


class RangeRate(AbstractConditional):
    """A sensor at a known place measures the speed in m/s at which the state's x, y moves away from it.

    Args:
        covariance: noise variance in m²/s², shape (1,) or (1, 1).
        position: where the sensor stands in m.
        velocity: which two components of the state are the velocity in x and y.
        polar: whether these two are speed and heading instead.

    Raises:
        ShapeError: if a shape is wrong.
        CovarianceError: if the covariance is not one.
    """

    covariance: Float[Array, "1 1"] | Float[Array, "1"] = eqx.field(converter=as_float)
    position: Float[Array, "2"] = eqx.field(converter=as_float, default=(0.0, 0.0))
    velocity: tuple[int, int] = eqx.field(static=True, default=(2, 3))
    polar: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        """Check the shapes and the covariance."""
        _check_noise(self, 1)
        check_size(self, self.position, 2, "a position")

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian | DiagonalGaussian:
        """Return the belief about the range rate; at no distance at all it counts as that in x."""
        _, _, direction = _polar(x[:2] - self.position)
        rate = jnp.sum(direction * _velocity(x, self.velocity, self.polar))
        return _noisy(rate[None], self.covariance)


class RangeBearingRate(AbstractConditional):
    """A radar at a known place measures distance, direction and range rate of the state's position x, y.

    The observation is [range in m, bearing in rad counter-clockwise from the x axis, range rate in m/s], the
    bearing circular.

    Args:
        covariance: noise variances in m², rad² and m²/s², or the full covariance matrix.
        position: where the sensor stands in m.
        velocity: which two components of the state are the velocity in x and y.
        polar: whether these two are speed and heading instead.

    Raises:
        ShapeError: if a shape is wrong.
        CovarianceError: if the covariance is not one.
    """

    covariance: Float[Array, "3 3"] | Float[Array, "3"] = eqx.field(converter=as_float)
    position: Float[Array, "2"] = eqx.field(converter=as_float, default=(0.0, 0.0))
    velocity: tuple[int, int] = eqx.field(static=True, default=(2, 3))
    polar: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        """Check the shapes and the covariance."""
        _check_noise(self, 3)
        check_size(self, self.position, 2, "a position")

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian | DiagonalGaussian:
        """Return the belief about range, bearing and range rate."""
        length, angle, direction = _polar(x[:2] - self.position)
        rate = jnp.sum(direction * _velocity(x, self.velocity, self.polar))
        return _noisy(jnp.stack([length, angle, rate]), self.covariance, (1,))
