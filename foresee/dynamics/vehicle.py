"""Road vehicles: steered by an unseen driver, for tracking, or with given controls, for planning."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.beliefs.belief import AbstractConditional
from foresee.beliefs.gaussian import Gaussian, as_float
from foresee.dynamics import decay
from foresee.dynamics.arc import arc
from foresee.dynamics.check import check_not_negative, check_positive, check_size


def steering_curvature(steering: Float[Array, ""], wheelbase: Any) -> Float[Array, ""]:
    """Return the curvature in 1/m of the rear axle's path, from steering angle in rad and wheelbase in m."""
    return jnp.tan(steering) / wheelbase


class VehicleMotion(AbstractConditional):
    """A vehicle whose driver is not seen: state [x, y, heading, speed, acceleration, curvature].

    Units m, m, rad, m/s, m/s², 1/m; the heading is circular. The path turns by curvature times distance.
    Acceleration and curvature are Ornstein–Uhlenbeck processes: they wander, and return to zero within a few
    seconds as those of real drivers do, so that a prediction across a gap keeps plausible speeds (a random
    walk's speed variance grows with t³; it is the limit of infinite time constants). Their standard
    deviations in the long run are √(density · time / 2).

    The mean follows the exact arc whenever the curvature is constant, whatever the acceleration, and is
    second-order accurate in dt otherwise. The covariance is ∫ Φ G q Gᵀ Φᵀ over dt along that path: jerk acts
    along the track exactly as in the model of Singer (constant acceleration for infinite time), and on the
    heading through the curvature; curvature noise acts on the heading through the speed, and from there on
    the position, sideways. A vehicle at rest thus neither turns nor slides, however its curvature wanders.

    Args:
        jerk_density: spectral density of the jerk in m²/s⁵.
        curvature_density: spectral density of the curvature's rate in 1/(m² s).
        acceleration_time: time constant in s with which the acceleration returns to zero; may be infinite.
        curvature_time: time constant in s with which the curvature returns to zero; may be infinite.
        heading_density: spectral density of additional heading noise (side slip) in rad²/s.
        position_density: spectral density of additional position noise in m²/s, the same in x and y.

    Raises:
        ForeseeError: if a density is negative or a time constant not positive.
    """

    jerk_density: Float[Array, ""] = eqx.field(converter=as_float)
    curvature_density: Float[Array, ""] = eqx.field(converter=as_float)
    acceleration_time: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)
    curvature_time: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)
    heading_density: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)
    position_density: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)

    def __check_init__(self) -> None:
        """Check the signs of the parameters."""
        check_not_negative(self, "jerk_density", "curvature_density", "heading_density", "position_density")
        check_positive(self, "acceleration_time", "curvature_time")

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds; its heading is not wrapped."""
        check_size(self, x, 6)
        px, py, heading, speed, acceleration, curvature = x
        pedal = decay.over(self.acceleration_time, dt)
        wheel = decay.over(self.curvature_time, dt)
        length = speed * dt + acceleration * pedal.twice
        mean_speed = speed + acceleration * pedal.once * pedal.middle
        mean_curvature = curvature * wheel.kept
        turn = mean_curvature * length
        # With a finite time constant most of the turn comes early; then the chord's heading is beyond half
        # the turn.
        px, py, end = arc(px, py, heading, length, turn, wheel.middle)
        speed, acceleration = speed + acceleration * pedal.once, acceleration * pedal.process
        mean = jnp.stack([px, py, end, speed, acceleration, curvature * wheel.process])

        along = _Along(*(self.jerk_density * value for value in pedal.noise))
        across = _across(
            mean_speed, self.heading_density, dt, *(self.curvature_density * one for one in wheel.noise)
        )
        drift = self.position_density * dt
        return Gaussian(mean, _covariance(end, turn, mean_curvature, along, across, drift, 4 / 15), (2,))


class KinematicBicycle(AbstractConditional):
    """A bicycle with given controls: state [x, y, heading, speed], u = (acceleration, curvature).

    Units m, m, rad, m/s and m/s², 1/m; the heading is circular; u is held over dt. x, y is the middle of the
    rear axle; the curvature of its path follows from the steering angle by `steering_curvature`. The mean is
    the exact arc, backwards too. Without densities the motion is certain, as planners want it.

    Args:
        acceleration_density: spectral density of white noise on the acceleration in m²/s³.
        curvature_density: spectral density of white noise on the curvature in s/m².
        heading_density: spectral density of additional heading noise (side slip) in rad²/s.
        position_density: spectral density of additional position noise in m²/s, the same in x and y.

    Raises:
        ForeseeError: if a density is negative.
    """

    acceleration_density: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)
    curvature_density: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)
    heading_density: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)
    position_density: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)

    def __check_init__(self) -> None:
        """Check the signs of the parameters."""
        names = ("acceleration_density", "curvature_density", "heading_density", "position_density")
        check_not_negative(self, *names)

    def __call__(self, x: Float[Array, " n"], u: Float[Array, " k"] | None = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the state after `dt` seconds; None as the input coasts straight on."""
        check_size(self, x, 4)
        u = jnp.zeros_like(x[:2]) if u is None else u
        check_size(self, u, 2, "an input")
        px, py, heading, speed = x
        acceleration, curvature = u
        length = speed * dt + 0.5 * acceleration * dt**2
        mean_speed = speed + 0.5 * acceleration * dt
        turn = curvature * length
        px, py, end = arc(px, py, heading, length, turn)
        mean = jnp.stack([px, py, end, speed + acceleration * dt])

        density, zero = self.acceleration_density, jnp.zeros_like(turn)
        along = _Along(density * dt**3 / 3, density * dt**2 / 2, zero, density * dt, zero, zero)
        # White noise on the curvature is heading noise that grows with the speed.
        across = _across(mean_speed, self.heading_density + mean_speed**2 * self.curvature_density, dt)
        drift = self.position_density * dt
        covariance = _covariance(end, turn, curvature, along, across, drift, 3 / 8)
        return Gaussian(mean, covariance[:4, :4], (2,))


class _Along(NamedTuple):
    """Covariances of metres along the track, speed and acceleration from noise of the pedals."""

    track_track: Any
    track_speed: Any
    track_acceleration: Any
    speed_speed: Any
    speed_acceleration: Any
    acceleration_acceleration: Any


class _Across(NamedTuple):
    """Covariances of metres to the side, heading and curvature from noise of the steering."""

    side_side: Any
    side_heading: Any
    side_curvature: Any
    heading_heading: Any
    heading_curvature: Any
    curvature_curvature: Any


def _across(
    speed: Array,
    slip: Array,
    dt: Any,
    c22: Any = 0,
    c21: Any = 0,
    c20: Any = 0,
    c11: Any = 0,
    c10: Any = 0,
    c00: Any = 0,
) -> _Across:
    """Return the effect of heading noise, and of curvature noise with these covariances of its integrals."""
    square = speed**2
    return _Across(
        square * (square * c22 + slip * dt**3 / 3),
        speed * (square * c21 + slip * dt**2 / 2),
        square * c20,
        square * c11 + slip * dt,
        speed * c10,
        jnp.asarray(c00),
    )


def _covariance(
    end: Array, turn: Array, curvature: Array, along: _Along, across: _Across, drift: Array, lever: float
) -> Float[Array, "6 6"]:
    """Return the covariance of [x, y, heading, speed, acceleration, curvature].

    A metre gained by the pedals is gained in the direction of the last heading and turns the heading by the
    curvature. A steering error moves the end sideways, not to the last heading but to the one a fraction
    `lever` of the turn before it: where its lever arm has its centroid, on average over when it came.
    """
    tt, ts, ta, ss, sa, aa = along
    ee, eh, ek, across_hh, hk, kk = across
    tx, ty = jnp.cos(end), jnp.sin(end)
    aside = end - lever * turn
    ex, ey = -jnp.sin(aside), jnp.cos(aside)
    th = curvature * tt
    xx, yy = tx * tx * tt + ex * ex * ee + drift, ty * ty * tt + ey * ey * ee + drift
    xy = tx * ty * tt + ex * ey * ee
    xh, yh, hh = tx * th + ex * eh, ty * th + ey * eh, curvature * th + across_hh
    zero = jnp.zeros_like(xx)
    rows = [
        [xx, xy, xh, tx * ts, tx * ta, ex * ek],
        [xy, yy, yh, ty * ts, ty * ta, ey * ek],
        [xh, yh, hh, curvature * ts, curvature * ta, hk],
        [tx * ts, ty * ts, curvature * ts, ss, sa, zero],
        [tx * ta, ty * ta, curvature * ta, sa, aa, zero],
        [ex * ek, ey * ek, hk, zero, zero, kk],
    ]
    return jnp.stack([jnp.stack([value.astype(xx.dtype) for value in row]) for row in rows])
