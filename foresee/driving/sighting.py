"""A vehicle together with the error of what is seen of it: motion model and sensor for recorded positions.

Recorded positions err in two ways: a little from frame to frame, and by decimetres that persist for a
second, because a box was placed on a picture and then followed. The second kind looks like motion. It is
carried as part of the state, so that the learned noise decides how much of a wiggle the vehicle did and how
much the camera.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.beliefs import AbstractConditional, DiagonalGaussian, Gaussian
from foresee.beliefs.gaussian import as_float
from foresee.dynamics.correlated import CorrelatedError
from foresee.dynamics.vehicle import VehicleMotion

SIZE = 10  # six numbers for the vehicle, then error along and across its heading, then the rates of the two


class SightedVehicle(AbstractConditional):
    """State [x, y, heading, speed, acceleration, curvature, error along, error across, their two rates].

    Args:
        vehicle: how the vehicle moves.
        error: how the error of its sightings moves, along and across its heading, in metres.
    """

    vehicle: VehicleMotion
    error: CorrelatedError

    def __call__(self, x: Float[Array, "10"], u: Any = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds."""
        moved = self.vehicle(x[:6], u, dt)
        erred = self.error.linear(u, dt)
        mean = jnp.concatenate([moved.vector(), erred.apply(x[6:])])
        covariance = jnp.zeros((SIZE, SIZE), moved.covariance.dtype)
        covariance = covariance.at[:6, :6].set(moved.covariance).at[6:, 6:].set(erred.covariance)
        return Gaussian(mean, covariance, moved.circular)


class MixedSightings(AbstractConditional):
    """The same in one of several modes whose probabilities are the input `u`; variances are averaged.

    Args:
        jerk_density: spectral density of the jerk in every mode [m²/s⁵].
        curvature_density: spectral density of the curvature's rate in every mode [1/(m² s)].
        acceleration_time: time constant of the acceleration [s].
        curvature_time: time constant of the curvature [s].
        error_deviation: standard deviation of the persistent error, along and across, in every mode [m].
        error_rate: with which that error is forgotten, along and across [1/s].
    """

    jerk_density: Float[Array, " K"]
    curvature_density: Float[Array, " K"]
    acceleration_time: Float[Array, ""]
    curvature_time: Float[Array, ""]
    error_deviation: Float[Array, "K 2"]
    error_rate: Float[Array, "2"]

    def given(self, weights: Float[Array, " K"]) -> SightedVehicle:
        """Return the motion for these probabilities of the modes."""
        jerk, bend = weights @ self.jerk_density, weights @ self.curvature_density
        vehicle = VehicleMotion(jerk, bend, self.acceleration_time, self.curvature_time)
        error = CorrelatedError(jnp.sqrt(weights @ self.error_deviation**2), self.error_rate)
        return SightedVehicle(vehicle, error)

    def __call__(self, x: Float[Array, "10"], u: Any = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds."""
        return self.given(jnp.asarray(u))(x, None, dt)


class Sighting(AbstractConditional):
    """The recorded position of a vehicle in m: the true one, the persistent error, and white noise.

    Args:
        standard_deviation: of the white noise in m.
    """

    standard_deviation: Float[Array, ""] = eqx.field(converter=as_float)

    def __call__(self, x: Float[Array, "10"], u: Any = None, dt: Any = 1.0) -> DiagonalGaussian:
        """Return the belief about the recorded position."""
        cos, sin = jnp.cos(x[2]), jnp.sin(x[2])
        along, across = x[6], x[7]
        place = jnp.stack([x[0] + cos * along - sin * across, x[1] + sin * along + cos * across])
        return DiagonalGaussian(place, jnp.full(2, self.standard_deviation**2))
