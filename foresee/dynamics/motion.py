"""Motion of a point: constant velocity, constant or wandering acceleration, coordinated turns."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from foresee import linalg
from foresee.beliefs.belief import AbstractConditional
from foresee.beliefs.gaussian import Gaussian, as_float
from foresee.dynamics import decay
from foresee.dynamics.arc import arc, sinc
from foresee.dynamics.check import check_not_negative, check_positive, check_size
from foresee.dynamics.linear import AbstractLinear, LinearGaussian
from foresee.errors import ShapeError

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)


def _blocks(rows: list[list[Any]], dimensions: int, dtype: Any) -> Float[Array, "n n"]:
    """Return the Kronecker product of a small matrix of scalars with the identity of every dimension."""
    small = jnp.stack([jnp.stack([jnp.asarray(value, dtype) for value in row]) for row in rows])
    return jnp.kron(small, jnp.eye(dimensions, dtype=dtype))


def _scaled(noise: Float[Array, "n n"], density: Float[Array, ""] | Float[Array, " d"], order: int) -> Array:
    """Scale the noise of every dimension by its own spectral density."""
    if density.ndim == 0:
        return noise * density
    return noise * jnp.tile(density, order)[:, None]


def _check(model: Any, name: str) -> None:
    """Check the number of dimensions, and that there is one density ≥ 0 for all of them or for each."""
    who, shape = type(model).__name__, getattr(getattr(model, name), "shape", ())
    if model.dimensions < 1:
        raise ShapeError(f"{who}: expected dimensions ≥ 1, got {model.dimensions}")
    if shape not in ((), (model.dimensions,)):
        raise ShapeError(f"{who}: expected {name} of shape () or ({model.dimensions},), got {shape}")
    check_not_negative(model, name)


class ConstantVelocity(AbstractLinear):
    """Motion whose acceleration is white noise: state [positions…, velocities…] in m and m/s.

    Bar-Shalom, Li and Kirubarajan 2001, eqs. 6.2.2-9 and 6.2.2-12.

    Args:
        acceleration_density: spectral density of the acceleration in m²/s³ (the variance of the velocity
            grows by it per second); one number, or one per dimension.
        dimensions: number of dimensions of space.

    Raises:
        ForeseeError: if a density is negative, or there are not as many as dimensions.
    """

    acceleration_density: Float[Array, ""] | Float[Array, " d"] = eqx.field(converter=as_float)
    dimensions: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        """Check the density."""
        _check(self, "acceleration_density")

    def linear(self, u: Any = None, dt: Any = 1.0) -> LinearGaussian:
        """Return the matrices for a duration of `dt` seconds."""
        dtype = self.acceleration_density.dtype
        matrix = _blocks([[1, dt], [0, 1]], self.dimensions, dtype)
        noise = _blocks([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], self.dimensions, dtype)
        return LinearGaussian(matrix, _scaled(noise, self.acceleration_density, 2))

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds."""
        check_size(self, x, 2 * self.dimensions)
        model = self.linear(u, dt)
        return Gaussian(model.apply(x), model.covariance)


class ConstantAcceleration(AbstractLinear):
    """Motion whose jerk is white noise: state [positions…, velocities…, accelerations…] in m, m/s and m/s².

    Bar-Shalom, Li and Kirubarajan 2001, eqs. 6.2.3-7 and 6.2.3-9.

    Args:
        jerk_density: spectral density of the jerk in m²/s⁵ (the variance of the acceleration grows by it per
            second); one number, or one per dimension.
        dimensions: number of dimensions of space.

    Raises:
        ForeseeError: if a density is negative, or there are not as many as dimensions.
    """

    jerk_density: Float[Array, ""] | Float[Array, " d"] = eqx.field(converter=as_float)
    dimensions: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        """Check the density."""
        _check(self, "jerk_density")

    def linear(self, u: Any = None, dt: Any = 1.0) -> LinearGaussian:
        """Return the matrices for a duration of `dt` seconds."""
        dtype, t2, t3, t4 = self.jerk_density.dtype, dt**2, dt**3, dt**4
        matrix = _blocks([[1, dt, t2 / 2], [0, 1, dt], [0, 0, 1]], self.dimensions, dtype)
        moments = [[dt**5 / 20, t4 / 8, t3 / 6], [t4 / 8, t3 / 3, t2 / 2], [t3 / 6, t2 / 2, dt]]
        noise = _blocks(moments, self.dimensions, dtype)
        return LinearGaussian(matrix, _scaled(noise, self.jerk_density, 3))

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds."""
        check_size(self, x, 3 * self.dimensions)
        model = self.linear(u, dt)
        return Gaussian(model.apply(x), model.covariance)


class SingerAcceleration(AbstractLinear):
    """Motion whose acceleration wanders but returns to zero: state [positions…, velocities…, accelerations…].

    Units m, m/s and m/s². The acceleration's standard deviation in the long run is √(jerk_density · time /
    2). Singer 1970; Bar-Shalom, Li and Kirubarajan 2001, eqs. 8.2.2-7 and 8.2.2-9.

    Args:
        jerk_density: spectral density of the jerk in m²/s⁵; one number, or one per dimension.
        time: time constant in s with which the acceleration returns to zero; infinite for constant
            acceleration.
        dimensions: number of dimensions of space.

    Raises:
        ForeseeError: if a density is negative, there are not as many as dimensions, or the time is not
        positive.
    """

    jerk_density: Float[Array, ""] | Float[Array, " d"] = eqx.field(converter=as_float)
    time: Float[Array, ""] = eqx.field(converter=as_float)
    dimensions: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        """Check density and time."""
        _check(self, "jerk_density")
        check_positive(self, "time")

    def linear(self, u: Any = None, dt: Any = 1.0) -> LinearGaussian:
        """Return the matrices for a duration of `dt` seconds."""
        dtype, past = self.jerk_density.dtype, decay.over(self.time, dt)
        matrix = _blocks(
            [[1, dt, past.twice], [0, 1, past.once], [0, 0, past.process]], self.dimensions, dtype
        )
        pp, pv, pa, vv, va, aa = past.noise
        noise = _blocks([[pp, pv, pa], [pv, vv, va], [pa, va, aa]], self.dimensions, dtype)
        return LinearGaussian(matrix, _scaled(noise, self.jerk_density, 3))

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds."""
        check_size(self, x, 3 * self.dimensions)
        model = self.linear(u, dt)
        return Gaussian(model.apply(x), model.covariance)


class CoordinatedTurn(AbstractConditional):
    """Motion along arcs: state [x, y, speed, heading, turn rate], the heading circular.

    Units m, m, m/s, rad and rad/s. Speed and turn rate are random walks. The mean is the exact arc, a
    straight line at turn rate zero. The covariance is that of the equation linearised along the arc (compare
    Bar-Shalom, Li and Kirubarajan 2001, section 11.7, where the noise is put on at the end of the step).

    Args:
        speed_density: spectral density of the acceleration along the track in m²/s³.
        turn_density: spectral density of the turn rate's rate in rad²/s³.

    Raises:
        ForeseeError: if a density is negative.
    """

    speed_density: Float[Array, ""] = eqx.field(converter=as_float)
    turn_density: Float[Array, ""] = eqx.field(converter=as_float)

    def __check_init__(self) -> None:
        """Check the densities."""
        check_not_negative(self, "speed_density", "turn_density")

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds; its heading is not wrapped."""
        check_size(self, x, 5)
        px, py, speed, heading, rate = x
        turn = rate * dt
        px, py, end = arc(px, py, heading, speed * dt, turn)
        mean = jnp.stack([px, py, speed, end, rate])

        # What is pushed `left` seconds before the end acts along or across the rest of the arc; the integral
        # over these pushes is a sum over Gauss–Legendre nodes, exact where the arc is straight.
        left = 0.5 * dt * (_NODES.astype(x.dtype) + 1)
        bend, one, zero = rate * left, jnp.ones_like(left), jnp.zeros_like(left)
        along, across = left * sinc(0.5 * bend), 0.5 * speed * left**2
        push = [along * jnp.cos(end - 0.5 * bend), along * jnp.sin(end - 0.5 * bend), one, zero, zero]
        steer = [-across * jnp.sin(end - bend / 3), across * jnp.cos(end - bend / 3), zero, left, one]
        gain = jnp.concatenate([jnp.stack(push), jnp.stack(steer)], axis=1)
        weights = 0.5 * dt * _WEIGHTS.astype(x.dtype)
        weights = jnp.concatenate([self.speed_density * weights, self.turn_density * weights])
        return Gaussian(mean, linalg.symmetrize(linalg.matmul(gain * weights, gain.T)), (3,))
