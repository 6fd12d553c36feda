"""What makes a situation on the highway rare: somebody cuts in, brakes hard, lies in the lane or must merge.

Every event has one vehicle beside the ego, the actor, with a place, a speed, and what is forced on it; that
of `foresee.driving.occluded` has two. All are drawn so that a driver who keeps its speed until the event,
then reacts within `REACTION` and brakes with `HARDEST_BRAKE`, touches nobody.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

REACTION = 0.5  # of an alert driver [s]
HARDEST_BRAKE = 8.0  # of every vehicle [m/s²]
CHANGE_TIME = 6.0  # a change of lanes is forced for so long [s]
RAMP = 4  # number of the ramp's lane
CHANCES = (6, 3)  # how many uniform and cut normal numbers an event may take


def _pair(value: object) -> Array:
    return jnp.asarray(value, float)


class Parameters(eqx.Module):
    """How situations are distributed; pairs are the ends of a uniform distribution.

    "Log-normal" is median · exp(spread · z), "normal" is mean · (1 + spread · z), with z standard normal but
    cut at two standard deviations.

    Attributes:
        speed: of the ego and mean speed of its lane [m/s].
        jam_speed: the same in a jam [m/s].
        faster_left: how much faster each lane is than the next one on its right, except in a jam [m/s].
        speed_spread: share; speeds of the others in their lane are normal.
        headway, headway_spread: median [s] and spread of the log-normal time gaps between vehicles.
        standstill: added to every gap between bumpers [m].
        truck_share: probability that a vehicle other than ego and actor is a truck.
        car_length, car_width: mean size of cars [m], normal with `size_spread`.
        size_spread: share.
        truck_length, truck_width: of trucks [m].
        eager: the others' desired speed over that of the ego's lane.
        begin: when an event begins [s].
        cut_in_headway: time gap, bumper to bumper, in front of the ego at the beginning of a cut-in [s].
        cut_in_slower: how much slower than the ego somebody cuts in [m/s].
        braking_headway: time gap to the vehicle ahead that will brake [s].
        braking: how hard it brakes [m/s²].
        braking_to: its speed after braking, as a share of that before.
        braking_hold: how long it keeps that speed [s].
        debris_time: time to the obstacle at the start [s].
        debris_length, debris_width: its size [m].
        merge_ahead: how far the centre of a merging vehicle is ahead of the ego's at the start [m].
        merge_slower: its speed, as a share of the ego's.
        occluded_headway: time gap to the vehicle ahead that hides a stopped car [s].
        reveal_headway: time gap to the stopped car when it can first be seen [s].
        swerve_time: how long the one that hid it takes to change lanes [s].
        wave_time: period with which the first vehicles of a jam stop and go [s].
        wave_depth: amplitude of their speed, as a share of the mean.
        margin: added to the least gap from which a collision can be avoided [m].
    """

    speed: Float[Array, "2"] = eqx.field(converter=_pair, default=(20.0, 33.0))
    jam_speed: Float[Array, "2"] = eqx.field(converter=_pair, default=(3.0, 8.0))
    faster_left: Float[Array, ""] = eqx.field(converter=_pair, default=1.0)
    speed_spread: Float[Array, ""] = eqx.field(converter=_pair, default=0.02)
    headway: Float[Array, ""] = eqx.field(converter=_pair, default=1.6)
    headway_spread: Float[Array, ""] = eqx.field(converter=_pair, default=0.25)
    standstill: Float[Array, ""] = eqx.field(converter=_pair, default=2.0)
    truck_share: Float[Array, ""] = eqx.field(converter=_pair, default=0.1)
    car_length: Float[Array, ""] = eqx.field(converter=_pair, default=4.7)
    car_width: Float[Array, ""] = eqx.field(converter=_pair, default=1.85)
    size_spread: Float[Array, ""] = eqx.field(converter=_pair, default=0.06)
    truck_length: Float[Array, "2"] = eqx.field(converter=_pair, default=(8.0, 14.0))
    truck_width: Float[Array, "2"] = eqx.field(converter=_pair, default=(2.3, 2.55))
    eager: Float[Array, "2"] = eqx.field(converter=_pair, default=(1.05, 1.25))
    begin: Float[Array, "2"] = eqx.field(converter=_pair, default=(1.0, 4.0))
    cut_in_headway: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.2, 0.8))
    cut_in_slower: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.0, 6.0))
    braking_headway: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.6, 1.5))
    braking: Float[Array, "2"] = eqx.field(converter=_pair, default=(4.0, 8.0))
    braking_to: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.0, 0.5))
    braking_hold: Float[Array, "2"] = eqx.field(converter=_pair, default=(1.0, 3.0))
    debris_time: Float[Array, "2"] = eqx.field(converter=_pair, default=(4.0, 8.0))
    debris_length: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.5, 2.5))
    debris_width: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.5, 2.0))
    merge_ahead: Float[Array, "2"] = eqx.field(converter=_pair, default=(-20.0, 40.0))
    merge_slower: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.6, 1.0))
    occluded_headway: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.6, 1.2))
    reveal_headway: Float[Array, "2"] = eqx.field(converter=_pair, default=(2.0, 4.0))
    swerve_time: Float[Array, "2"] = eqx.field(converter=_pair, default=(2.4, 3.2))
    wave_time: Float[Array, "2"] = eqx.field(converter=_pair, default=(15.0, 30.0))
    wave_depth: Float[Array, "2"] = eqx.field(converter=_pair, default=(0.6, 1.0))
    margin: Float[Array, ""] = eqx.field(converter=_pair, default=1.0)


class Ego(NamedTuple):
    """The ego at the start: number of its lane, speed [m/s] and length [m]."""

    lane: Int[Array, ""]
    speed: Float[Array, ""]
    length: Float[Array, ""]


class Actor(NamedTuple):
    """The vehicle of the event, and what is forced on it.

    Attributes:
        lane: its lane at the start.
        ahead: distance of its centre before the ego's [m].
        speed: at the start [m/s].
        length, width: size [m].
        acceleration, curvature: what is forced on it at every step [m/s², 1/m].
        scripted: at which steps.
        target: forced lane at every step, -1 for none.
    """

    lane: Int[Array, ""]
    ahead: Float[Array, ""]
    speed: Float[Array, ""]
    length: Float[Array, ""]
    width: Float[Array, ""]
    acceleration: Float[Array, " T"]
    curvature: Float[Array, " T"]
    scripted: Bool[Array, " T"]
    target: Int[Array, " T"]


def least_gap(
    speed: Float[Array, "*v"], ahead: Float[Array, "*v"], braking: Float[Array, "*v"]
) -> Float[Array, "*v"]:
    """Return the least gap between bumpers from which an alert driver does not touch the one ahead [m].

    The driver keeps its speed for `REACTION`, then brakes with `HARDEST_BRAKE`; the one ahead brakes from the
    beginning until it stands. The gap is smallest when both are equally fast or, if the one ahead has stopped
    before that, at the end.

    Args:
        speed: of the driver [m/s].
        ahead: speed of the one ahead [m/s].
        braking: its deceleration, from 0 to `HARDEST_BRAKE` [m/s²].
    """
    faster = speed - ahead + braking * REACTION
    later = jnp.maximum(faster, 0.0) / jnp.maximum(HARDEST_BRAKE - braking, 1e-6)
    together = REACTION + later
    moving = ahead - braking * together > 0
    equal = speed * together - 0.5 * HARDEST_BRAKE * later**2 - (ahead - 0.5 * braking * together) * together
    stops = jnp.where(ahead > 0, ahead**2 / (2 * jnp.maximum(braking, 1e-6)), 0.0)
    stopped = speed * REACTION + speed**2 / (2 * HARDEST_BRAKE) - stops
    return jnp.maximum(jnp.where(moving, equal, stopped), 0.0)


class Chance(NamedTuple):
    """The luck of an event: independent numbers, uniform from 0 to 1, and standard normal cut at ±2.

    All are drawn at once: many small draws would take long to compile.
    """

    uniform: Float[Array, "6"]
    normal: Float[Array, "3"]


def between(ends: Float[Array, "2"], share: Float[Array, "*v"]) -> Float[Array, "*v"]:
    """Return what lies at a share of the way from one number to another."""
    return ends[0] + share * (ends[1] - ends[0])


def ordinary(ego: Ego, times: Float[Array, " T"], p: Parameters, chance: Chance) -> Actor:
    """Nothing happens: the actor is the vehicle ahead, as fast as the ego."""
    length, width = car_size(p, chance.normal[:2])
    gap = p.standstill + ego.speed * p.headway * jnp.exp(p.headway_spread * chance.normal[2])
    return left_alone(ego.lane, gap + 0.5 * (length + ego.length), ego.speed, length, width, times)


def cut_in(ego: Ego, times: Float[Array, " T"], p: Parameters, chance: Chance) -> Actor:
    """Somebody on a lane beside changes to the ego's, close in front of it, and is slower."""
    side, begins, slower, headway, *_ = chance.uniform
    lane = to_side(ego, side)
    begin, speed = between(p.begin, begins), ego.speed - between(p.cut_in_slower, slower)
    length, width = car_size(p, chance.normal[:2])
    least = least_gap(ego.speed, speed, jnp.zeros(())) + p.margin
    gap = jnp.maximum(between(p.cut_in_headway, headway) * ego.speed, least)
    ahead = gap + 0.5 * (length + ego.length) + (ego.speed - speed) * begin
    actor = left_alone(lane, ahead, speed, length, width, times)
    target = jnp.where(times < begin, lane, jnp.where(times < begin + CHANGE_TIME, ego.lane, -1))
    return actor._replace(target=target)


def hard_braking(ego: Ego, times: Float[Array, " T"], p: Parameters, chance: Chance) -> Actor:
    """The vehicle ahead brakes hard, drives on slowly for a while, and then as it likes."""
    begins, brakes, ends, holds, headway, _ = chance.uniform
    begin, braking, share = between(p.begin, begins), between(p.braking, brakes), between(p.braking_to, ends)
    length, width = car_size(p, chance.normal[:2])
    least = least_gap(ego.speed, ego.speed, braking) + p.margin
    gap = jnp.maximum(between(p.braking_headway, headway) * ego.speed, least)
    slow_from = begin + ego.speed * (1 - share) / braking
    actor = left_alone(ego.lane, gap + 0.5 * (length + ego.length), ego.speed, length, width, times)
    return actor._replace(
        acceleration=jnp.where((times >= begin) & (times < slow_from), -braking, 0.0),
        scripted=(times >= begin) & (times < slow_from + between(p.braking_hold, holds)),
        target=jnp.full_like(actor.target, ego.lane),
    )


def debris(ego: Ego, times: Float[Array, " T"], p: Parameters, chance: Chance) -> Actor:
    """Something lies in the ego's lane."""
    away, long, wide, *_ = chance.uniform
    length, width = between(p.debris_length, long), between(p.debris_width, wide)
    still = jnp.zeros(())
    gap = jnp.maximum(between(p.debris_time, away) * ego.speed, least_gap(ego.speed, still, still) + p.margin)
    actor = left_alone(ego.lane, gap + 0.5 * (length + ego.length), still, length, width, times)
    return actor._replace(
        scripted=jnp.ones_like(actor.scripted), target=jnp.full_like(actor.target, ego.lane)
    )


def merge(ego: Ego, times: Float[Array, " T"], p: Parameters, chance: Chance) -> Actor:
    """Somebody comes up the ramp beside the ego and must find a gap before the ramp ends."""
    place, slower, *_ = chance.uniform
    length, width = car_size(p, chance.normal[:2])
    speed = ego.speed * between(p.merge_slower, slower)
    return left_alone(jnp.asarray(RAMP), between(p.merge_ahead, place), speed, length, width, times)


def to_side(ego: Ego, side: Float[Array, ""]) -> Int[Array, ""]:
    """Return the number of a lane beside the ego's, either one as likely where there are two."""
    drawn = ego.lane + jnp.where(side < 0.5, 1, -1)
    return jnp.where(ego.lane == 0, 1, jnp.where(ego.lane == 3, 2, drawn))


def car_size(p: Parameters, normal: Float[Array, "2 *v"]) -> tuple[Array, Array]:
    """Return length and width of cars [m] from two cut normal numbers."""
    spread = 1 + p.size_spread * normal
    return p.car_length * spread[0], p.car_width * spread[1]


def stop_and_go(ego: Ego, times: Float[Array, " T"], p: Parameters, chance: Chance) -> Float[Array, " T"]:
    """Return accelerations with which the speed is a sine around the ego's, up or down at first [m/s²]."""
    period, depth, sign, *_ = chance.uniform
    rate = 2 * jnp.pi / between(p.wave_time, period)
    swing = jnp.where(sign < 0.5, 1.0, -1.0) * between(p.wave_depth, depth) * ego.speed
    return swing * rate * jnp.cos(rate * times)


def left_alone(
    lane: Array, ahead: Array, speed: Array, length: Array, width: Array, times: Float[Array, " T"]
) -> Actor:
    """Return an actor on which nothing is forced."""
    free, none = jnp.zeros(times.shape, bool), jnp.full(times.shape, -1)
    zero = jnp.zeros_like(times)
    return Actor(lane, ahead, speed, length, width, zero, zero, free, none)
