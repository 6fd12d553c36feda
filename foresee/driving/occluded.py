"""A stopped car behind the vehicle ahead, which changes lanes late and so reveals it."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.driving.rare_events import (
    CHANGE_TIME,
    Actor,
    Chance,
    Ego,
    Parameters,
    between,
    car_size,
    least_gap,
    left_alone,
    to_side,
)
from foresee.driving.steering import half_body

LANE = 3.5  # how far one swerves to the side [m]
CLEARLY = 0.05  # so far beside a line one is no longer on it, whatever the size of a step [m]
POINTS = 128  # of the way, on which it is looked up when a swerving body lays open what is behind it


class Swerve(NamedTuple):
    """A change of lanes at constant speed whose sideways acceleration is one period of a sine.

    Attributes:
        curvature: of the path at every step, positive to the left [1/m].
        open: time after the beginning when the body has left the lane's middle [s].
        clear: time when it is past a body of the given width there [s].
    """

    curvature: Float[Array, " T"]
    open: Float[Array, ""]
    clear: Float[Array, ""]


def swerve(
    since: Float[Array, " T"],
    lasting: Float[Array, ""],
    side: Float[Array, ""],
    speed: Float[Array, ""],
    size: tuple[Array, Array],
    width: Float[Array, ""],
) -> Swerve:
    """Return how a vehicle swerves by one lane.

    Args:
        since: time since the beginning, in the middle of every step [s].
        lasting: duration [s].
        side: 1 to the left, -1 to the right.
        speed: of the vehicle [m/s].
        size: its length and width [m].
        width: of what it passes by [m].
    """
    turn = 2 * jnp.pi
    there = (since >= 0) & (since < lasting)
    push = turn * LANE / lasting**2 * jnp.sin(turn * jnp.clip(since / lasting, 0.0, 1.0))
    share = jnp.linspace(0.0, 1.0, POINTS)
    aside = LANE * (share - jnp.sin(turn * share) / turn)
    angle = LANE / lasting * (1 - jnp.cos(turn * share)) / speed
    beside = aside - half_body(*size, angle)

    def when(reached: Array) -> Array:
        return lasting * share[jnp.argmax(reached)]

    curvature = jnp.where(there, side * push / speed**2, 0.0)
    return Swerve(curvature, when(beside > CLEARLY), when(beside > 0.5 * width + CLEARLY))


def occluded(ego: Ego, times: Float[Array, " T"], p: Parameters, chance: Chance) -> tuple[Actor, Actor]:
    """Return a stopped car in the ego's lane, and the vehicle before it that swerves around it late.

    The one that swerves keeps its speed, and to its new lane for a while. What it hides can be seen from the
    first frame in which its body has left the lane's middle; from then on an alert driver can stop, and the
    one that swerves does not touch what it passes either.
    """
    side, begins, reveals, headway, swerves, _ = chance.uniform
    size = car_size(p, chance.normal[:2])
    length, width = car_size(p, chance.normal[2:].repeat(2))
    still, dt = jnp.zeros(()), times[:2].sum()  # the first time is 0
    lasting, begin = between(p.swerve_time, swerves), between(p.begin, begins)
    lane = to_side(ego, side)
    way = swerve(times + 0.5 * dt - begin, lasting, ego.lane - lane + 0.0, ego.speed, size, width)
    seen_at = dt * jnp.ceil((begin + way.open) / jnp.maximum(dt, 1e-6))

    before = between(p.occluded_headway, headway) * ego.speed  # from the ego's bumper to that of the next one
    passing = before + size[0] + ego.speed * jnp.maximum(begin + way.clear - seen_at, 0.0)
    least = jnp.maximum(least_gap(ego.speed, still, still), passing) + p.margin
    gap = jnp.maximum(between(p.reveal_headway, reveals) * ego.speed, least)
    ahead = ego.speed * seen_at + gap + 0.5 * (length + ego.length)
    stopped = left_alone(ego.lane, ahead, still, length, width, times)
    stopped = stopped._replace(
        scripted=jnp.ones_like(stopped.scripted), target=jnp.full_like(stopped.target, ego.lane)
    )
    leader = left_alone(ego.lane, before + 0.5 * (size[0] + ego.length), ego.speed, *size, times)
    # Those on the other lane know from the beginning that somebody will come, and leave it room.
    over = begin + lasting
    return stopped, leader._replace(
        curvature=way.curvature,
        scripted=times < over,
        target=jnp.where(times < over + CHANGE_TIME, lane, -1),
    )
