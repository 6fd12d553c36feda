"""Plans to choose from: several speeds to drive at, several places across the lane, each behind who is ahead.

Source: Dauner, Hallgarten, Geiger, Chitta (2023), "Parting with misconceptions about learning-based vehicle
motion planning", section 3.
"""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.beliefs.gaussian import as_float
from foresee.driving.drivers.plan import Plan, Way, roll_out
from foresee.driving.forecast import Futures, of_slots
from foresee.driving.idm import idm_acceleration
from foresee.driving.neighbours import FAR
from foresee.driving.observe import CHANGE_TIME, Observation
from foresee.driving.steering import half_body, steer_to
from foresee.driving.world import Limits, Manners
from foresee.dynamics.check import check_positive

FASTEST = 30.0  # what is driven on an empty road, where no limit is lower [m/s]
BESIDE = 0.2  # who leaves less room than this beside the ego's body is in its way [m]
EDGE = 0.1  # so much room is left between the body and the edge of the lane [m]


def _row(*values: float) -> Float[Array, " N"]:
    return jnp.asarray(values, float)


class Nearby(eqx.Module):
    """The vehicles around that a plan is compared with.

    Attributes:
        futures: what they may do, at the times of the plan.
        lengths, widths: their sizes [m].
        slots: their numbers.
    """

    futures: Futures
    lengths: Float[Array, "*b V"]
    widths: Float[Array, "*b V"]


def nearby(view: Observation, futures: Futures, times: Float[Array, " T"], count: int) -> Nearby:
    """Return so many of the nearest vehicles, at times from now on [s]."""
    slots = of_slots(view, count)
    return Nearby(futures.select(slots).at(times), view.lengths[slots], view.widths[slots])


def likeliest(futures: Futures) -> Futures:
    """Return the most probable future of every vehicle, alone and without any doubt."""
    best = jnp.argmax(futures.weights, axis=-1)[:, None]

    def chosen(values: Array) -> Array:
        return jnp.take_along_axis(values, best[..., None], axis=1)

    x, y, heading = (chosen(values) for values in (futures.x, futures.y, futures.heading))
    sure = jnp.zeros_like(x)
    return Futures(
        futures.times, x, y, heading, sure, sure, jnp.ones_like(futures.weights[:, :1]), futures.known
    )


class Proposed(NamedTuple):
    """P plans to choose from, their share of the desired speed, place across the lane [m], and kind."""

    plans: Plan
    share: Float[Array, " P"]
    aim: Float[Array, " P"]
    braking: Bool[Array, " P"]


class Proposer(eqx.Module):
    """Makes the plans: the intelligent driver model at some shares of the desired speed, times places.

    An acceleration changes by at most `jerk` from the present one on; where the model asks for more than a
    comfortable deceleration, by the more the harder it asks. Besides there are plans that only brake.

    Args:
        shares: of the desired speed.
        aims: places across the lane, to the left of its middle [m]; reduced so that the body stays in it.
        brakes: decelerations of the plans that only brake [m/s²].
        haste: how fast each of these begins [m/s³].
        desired_speed: on an empty road, where no speed limit is lower [m/s].
        headway: time kept to the vehicle ahead [s].
        strength: highest acceleration [m/s²].
        comfort: deceleration that is not felt as hard [m/s²].
        standstill: gap kept in a queue [m].
        jerk: of what is not an emergency [m/s³].
        reaction: time in which an acceleration comes near the one that the model asks for [s]; `brakes`
            begin as fast as `haste` lets them.
        interval: time between two decisions [s].
        horizon: how far the plans reach [s].
        step: time between their points [s].
    """

    shares: Float[Array, " S"] = eqx.field(default_factory=lambda: _row(0.2, 0.4, 0.6, 0.8, 1.0))
    aims: Float[Array, " A"] = eqx.field(default_factory=lambda: _row(0.0, -1.0, 1.0))
    brakes: Float[Array, " B"] = eqx.field(default_factory=lambda: _row(8.0))
    haste: Float[Array, " B"] = eqx.field(default_factory=lambda: _row(100.0))
    desired_speed: Float[Array, ""] = eqx.field(converter=as_float, default=FASTEST)
    headway: Float[Array, ""] = eqx.field(converter=as_float, default=1.5)
    strength: Float[Array, ""] = eqx.field(converter=as_float, default=1.5)
    comfort: Float[Array, ""] = eqx.field(converter=as_float, default=3.0)
    standstill: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    jerk: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)
    reaction: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)
    interval: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)
    horizon: float = eqx.field(static=True, default=4.0)
    step: float = eqx.field(static=True, default=0.2)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "desired_speed", "headway", "strength", "comfort", "jerk", "reaction")
        check_positive(self, "horizon", "step")

    @property
    def times(self) -> Float[Array, " T"]:
        """Times of the points of a plan, from now on [s]."""
        return jnp.arange(round(self.horizon / self.step) + 1) * self.step

    def __call__(self, view: Observation, way: Way, around: Nearby) -> Proposed:
        """Return the plans behind those who are in the way in their likeliest futures.

        Args:
            view: what the driver knows.
            way: along the lane.
            around: the vehicles to stay behind, at `times`.
        """
        ahead, lateral, speeds = self._leaders(view, way, around)
        share, aim, brake, haste = self._grid(view)
        limits, limit = Limits(), jnp.minimum(self.desired_speed, view.speed_limit)
        zero = jnp.zeros_like(share)
        own = (self.headway, self.strength, self.comfort, self.standstill)
        manners = Manners(share * limit, *[zero + value for value in own], *4 * [zero])
        manners = jax.tree.map(lambda leaf: leaf[:, None], manners)
        half = 0.5 * view.width + 0.5 * around.widths + BESIDE
        bumpers = 0.5 * view.length + 0.5 * around.lengths
        room = jnp.where(view.closed, view.to_end - 0.5 * view.length, FAR)

        def advance(carry: tuple[Array, ...], now: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array]:
            along, offset, angle, speed, last = carry
            ahead, lateral, theirs, lasts = now
            hindered = (ahead > along[:, None]) & (jnp.abs(lateral - offset[:, None]) < half)
            gap = jnp.where(hindered, ahead - bumpers - along[:, None], FAR)
            gap = jnp.concatenate([gap, (room - along)[:, None]], axis=1)
            theirs = jnp.broadcast_to(jnp.pad(theirs, (0, 1)), gap.shape)
            own_speed = jnp.broadcast_to(speed[:, None], gap.shape)
            wanted = idm_acceleration(manners, own_speed, gap, theirs).min(axis=1)
            wanted = jnp.where(brake > 0, -brake, wanted)
            fall = jnp.where(brake > 0, haste, self._fall(wanted))
            nearer = (wanted - last) * jnp.where(brake > 0, 1.0, jnp.minimum(lasts / self.reaction, 1.0))
            acceleration = last + jnp.clip(nearer, -fall * lasts, self.jerk * lasts)
            acceleration = jnp.clip(acceleration, -limits.brake, limits.acceleration)
            bend = way.at(along).curvature
            curvature = steer_to(offset, angle, bend, speed, CHANGE_TIME, aim)
            ending = jnp.maximum(speed + acceleration * self.step, 0.0)
            moved = 0.5 * (speed + ending) * self.step
            turned = angle + 0.5 * curvature * moved
            onward = moved * jnp.cos(turned) / jnp.maximum(1 - bend * offset, 0.2)
            state = (
                along + onward,
                offset + moved * jnp.sin(turned),
                angle + curvature * moved - bend * onward,
            )
            return (*state, ending, acceleration), jnp.stack([acceleration, curvature], axis=-1)

        start = (zero, view.offset + zero, view.angle + zero, view.speed + zero, view.acceleration + zero)
        # The first action is carried out, and decided on anew after a shorter time.
        lasts = jnp.full(ahead.shape[0] - 1, self.step).at[0].set(self.interval)
        rows = tuple(values[:-1] for values in (ahead, lateral, speeds))
        _, actions = jax.lax.scan(advance, start, (*rows, lasts))
        plans = jax.vmap(lambda one: roll_out(view, one, self.step, limits), in_axes=1)(actions)
        plans = replace(plans, times=self.times)
        return Proposed(plans, share, aim, brake > 0)

    def _fall(self, wanted: Float[Array, " P"]) -> Float[Array, " P"]:
        """Return how fast accelerations may fall, which grows with how hard braking is asked for [m/s³]."""
        urgent = jnp.maximum(-wanted / self.comfort - 1, 0.0)
        return self.jerk * (1 + urgent) ** 2

    def _grid(self, view: Observation) -> tuple[Array, ...]:
        """Return share, aim [m], deceleration [m/s²] and haste [m/s³]; these are 0 for more than braking."""
        body = half_body(view.length, view.width, jnp.zeros_like(view.width))
        room = jnp.maximum(0.5 * view.lane_width - body - EDGE, 0.0)
        aims = jnp.clip(self.aims, -room, room)
        kinds = jnp.concatenate([self.shares, jnp.ones_like(self.brakes)])
        none, count = jnp.zeros_like(self.shares), aims.shape[0]
        brakes, haste = (jnp.concatenate([none, values]) for values in (self.brakes, self.haste))
        rows = (jnp.repeat(values, count) for values in (kinds, brakes, haste))
        share, brake, haste = rows
        return share, jnp.tile(aims, kinds.shape[0]), brake, haste

    def _leaders(self, view: Observation, way: Way, around: Nearby) -> tuple[Array, ...]:
        """Return arc length, offset and speed of everybody along the way, (T, V) each."""
        futures = likeliest(around.futures)
        along, offset = (values[:, 0].T for values in way.track(futures.x, futures.y))
        speed = jnp.asarray(jnp.gradient(along, self.step, axis=0))
        there = jnp.where(futures.known, along, -FAR)
        return there, offset, jnp.maximum(speed, 0.0)
