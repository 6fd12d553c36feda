"""Driving a way that somebody foretold: from the acceleration that one has, and never with a jerk."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.beliefs.gaussian import as_float
from foresee.driving.drivers.plan import Plan, Way
from foresee.driving.forecast import Futures
from foresee.driving.observe import CHANGE_TIME, Observation
from foresee.driving.steering import SLOWEST, steer_to
from foresee.driving.world import Limits
from foresee.dynamics.check import check_positive
from foresee.linalg import wrap_angle

MOST_STRETCHED = 1.5  # a way is followed across the lane at most so much farther than it reaches
LEAST_WAY = 1.0  # ways shorter than this count as this long when compared [m]


class Course(NamedTuple):
    """Ways along a lane, of K plans at T times from now, the first of which is 0.

    Attributes:
        times: from now on [s].
        along: arc length since now [m].
        offset: to the left of the middle of the lane [m].
        along_sd: how sure the arc length is [m].
    """

    times: Float[Array, " T"]
    along: Float[Array, "K T"]
    offset: Float[Array, "K T"]
    along_sd: Float[Array, "K T"]


def course_of(way: Way, own: Futures) -> Course:
    """Return the futures of one vehicle, which begin where it is, along and across the way."""
    along, offset = way.track(own.x[0], own.y[0])
    return Course(own.times, along, offset, own.along_sd[0])


class Tracker(eqx.Module):
    """Follows a course: smoothly along it, and steering for where it will be across the lane a bit later.

    Along the way the acceleration is a + j t + (a₀ - a) exp(-t / lag): from a₀, the present one, to a line
    in time. Here a and j are those by which position then fits that of the course best, in squares over t².
    Where a is far from a₀ the lag is longer, so that no jerk exceeds what is allowed. Who has to brake hard
    is allowed more jerk, and a shorter lag.

    Args:
        lag: in which the acceleration changes [s].
        jerk: most of what is not urgent [m/s³].
        comfort: deceleration from which on it is urgent [m/s²].
        look: how far ahead on the course the wheel aims [s].
        turn: in which the curvature changes [s].
        reach: the course counts up to here [s].
        interval: time between two decisions [s].
    """

    lag: Float[Array, ""] = eqx.field(converter=as_float, default=0.7)
    jerk: Float[Array, ""] = eqx.field(converter=as_float, default=3.0)
    comfort: Float[Array, ""] = eqx.field(converter=as_float, default=1.5)
    look: Float[Array, ""] = eqx.field(converter=as_float, default=1.5)
    turn: Float[Array, ""] = eqx.field(converter=as_float, default=0.2)
    reach: Float[Array, ""] = eqx.field(converter=as_float, default=4.0)
    interval: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "lag", "jerk", "comfort", "look", "turn", "reach", "interval")

    def fit(self, view: Observation, course: Course) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
        """Return the acceleration [m/s²] and its rate [m/s³] with which each way is followed."""
        t = course.times
        weight = jnp.where((t > 0) & (t <= self.reach), 1 / jnp.maximum(t, 0.1) ** 2, 0.0)
        fading = self.lag * (t - self.lag * (1 - jnp.exp(-t / self.lag)))
        rest = course.along - view.speed * t - view.acceleration * fading
        first, second = 0.5 * t**2 - fading, t**3 / 6
        aa, ab, bb = (jnp.sum(weight * p * q) for p, q in ((first, first), (first, second), (second, second)))
        ya, yb = (jnp.sum(weight * p * rest, axis=-1) for p in (first, second))
        determinant = jnp.maximum(aa * bb - ab * ab, 1e-9)
        return (bb * ya - ab * yb) / determinant, (aa * yb - ab * ya) / determinant

    def lags(self, view: Observation, begin: Float[Array, "*p"]) -> Float[Array, "*p"]:
        """Return in what time the acceleration changes towards another one [s]."""
        urgent = jnp.maximum(-begin / self.comfort - 1, 0.0)
        change = jnp.abs(begin - view.acceleration)
        return jnp.maximum(self.lag / (1 + urgent), change / (self.jerk * (1 + urgent) ** 2))

    def plan(
        self,
        view: Observation,
        way: Way,
        course: Course,
        begin: Float[Array, " K"],
        rate: Float[Array, " K"],
        times: Float[Array, " S"],
    ) -> Plan:
        """Return where each course leads, driven with acceleration `begin + rate t` as soon as is smooth.

        Args:
            view: what the driver knows.
            way: along the lane.
            course: what is followed across the lane; at the places, not the times, that it is foretold for.
            begin: acceleration now [m/s²].
            rate: its change [m/s³].
            times: of the points, 0 first, at regular distances [s].
        """
        t, limits = times, Limits()
        begin, rate, lag = begin[:, None], rate[:, None], self.lags(view, begin)[:, None]
        left = jnp.exp(-t / lag)
        gone = lag * (1 - left)
        asked = begin + rate * t + (view.acceleration - begin) * left
        speed = view.speed + begin * t + 0.5 * rate * t**2 + (view.acceleration - begin) * gone
        along = view.speed * t + 0.5 * begin * t**2 + rate * t**3 / 6
        along = along + (view.acceleration - begin) * lag * (t - gone)
        # Who has stopped stays where it is.
        moves = jax.lax.cummin(speed, axis=1) > 0
        along = jnp.maximum(jax.lax.cummax(along, axis=1), 0.0)
        asked = jnp.clip(jnp.where(moves, asked, 0.0), -limits.brake, limits.acceleration)
        speed = jnp.where(moves, speed, 0.0)
        foreseen, offset = (_at(course.times, values, t) for values in (course.along, course.offset))
        share = jnp.clip(along / jnp.maximum(foreseen, LEAST_WAY), 0.0, MOST_STRETCHED)
        offset = view.offset + share * (offset - view.offset)
        return _placed(view, way, along, offset, speed, asked, times)

    def action(
        self, view: Observation, course: Course, chosen: Array, begin: Array, rate: Array
    ) -> Float[Array, "2"]:
        """Return acceleration [m/s²] and curvature [1/m] that begin to follow one of the ways."""
        left = jnp.exp(-self.interval / self.lags(view, begin))
        acceleration = begin + rate * self.interval + (view.acceleration - begin) * left
        aim = jnp.interp(self.look, course.times, course.offset[chosen])
        wanted = steer_to(view.offset, view.angle, view.lane_curvature, view.speed, CHANGE_TIME, aim)
        share = 1 - jnp.exp(-self.interval / self.turn)
        return jnp.stack([acceleration, view.curvature + share * (wanted - view.curvature)])


def _at(
    times: Float[Array, " T"], values: Float[Array, "K T"], others: Float[Array, " S"]
) -> Float[Array, "K S"]:
    return jax.vmap(lambda row: jnp.interp(others, times, row))(values)


def _placed(
    view: Observation, way: Way, along: Array, offset: Array, speed: Array, asked: Array, times: Array
) -> Plan:
    """Return points along and across the way as a plan on the map."""
    step = times[1] - times[0]
    there = way.at(along)
    drift = jnp.diff(offset, axis=1) / step
    angle = jnp.arctan2(drift, jnp.maximum(speed[:, 1:], SLOWEST))
    angle = jnp.concatenate([jnp.broadcast_to(view.angle, angle[:, :1].shape), angle], axis=1)
    push = jnp.diff(drift, axis=1, prepend=view.speed * jnp.sin(view.angle)) / step
    curvature = there.curvature[:, 1:] + push / jnp.maximum(speed[:, 1:], SLOWEST) ** 2
    now = jnp.broadcast_to(view.curvature, curvature[:, :1].shape)
    return Plan(
        times,
        there.x - offset * jnp.sin(there.heading),
        there.y + offset * jnp.cos(there.heading),
        wrap_angle(there.heading + angle),
        speed,
        asked,
        jnp.concatenate([now, curvature], axis=1),
    )
