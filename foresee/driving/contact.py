"""Who touched the ego, how, and whose fault it was; and when somebody would if nobody did anything."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.driving.overlap import Box, separation
from foresee.linalg import wrap_angle

NOTHING, STOPPED_EGO, STOPPED_OTHER, FRONT, SIDE, REAR = range(6)
WORDS = ("nothing", "hit while stopped", "hit a stopped vehicle", "hit with the front", "hit at the side",
         "hit from behind")  # fmt: skip
STOPPED = 0.05  # who is slower has stopped [m/s]
CONE = 0.5235988  # ahead and behind are within 30 degrees of the heading, seen from the rear axle [rad]
REAR_AXLE = 0.28  # of the length, from the centre back
NEVER = 1e6


class Contacts(eqx.Module):
    """What the ego touched.

    Attributes:
        touching: who touches the ego in which frame.
        first: the frame in which each vehicle first touches it.
        kind: of every vehicle's first contact, one of `WORDS`; 0 for who never touches it.
        at_fault: whether that was the ego's fault.
    """

    touching: Bool[Array, "T V"]
    first: Bool[Array, "T V"]
    kind: Int[Array, " V"]
    at_fault: Bool[Array, " V"]


def contacts(
    ego: Box,
    others: Box,
    ego_speed: Float[Array, " T"],
    speed: Float[Array, "T V"],
    there: Bool[Array, "T V"],
    astray: Bool[Array, " T"],
) -> Contacts:
    """Find every vehicle's first contact with the ego and say whose fault it was, as nuPlan does.

    The first of these that is true decides: the ego stood (not its fault); the other stood (its fault); the
    other was behind, within 30 degrees of straight back from the rear axle (not its fault); the other was
    touched by the front bumper (its fault); else they met side by side, which is its fault if it was astray.

    Args:
        ego: the ego's box, (T, 1) each.
        others: everybody's boxes, (T, V) each.
        ego_speed: [m/s].
        speed: the others' speed [m/s].
        there: which vehicles count in which frame.
        astray: whether the ego was on two lanes, or not on the road.
    """
    touching = there & (separation(ego, others) <= 0)
    first = touching & (jnp.cumsum(touching, axis=0) == 1)
    x, y, heading, length, width = ego
    ahead = 0.5 * length
    bumper = (
        x + ahead * jnp.cos(heading),
        y + ahead * jnp.sin(heading),
        heading,
        jnp.zeros_like(length),
        width,
    )
    kinds = jnp.select(
        [
            ego_speed[:, None] <= STOPPED,
            speed <= STOPPED,
            jnp.abs(bearing(ego, others)) > jnp.pi - CONE,
            separation(bumper, others) <= 0,
        ],
        [STOPPED_EGO, STOPPED_OTHER, REAR, FRONT],
        SIDE,
    )
    fault = (kinds == STOPPED_OTHER) | (kinds == FRONT) | ((kinds == SIDE) & astray[:, None])
    return Contacts(touching, first, jnp.sum(first * kinds, axis=0), jnp.any(first & fault, axis=0))


def bearing(ego: Box, others: Box) -> Float[Array, "..."]:
    """Return in which direction the others' centres are, from the ego's rear axle; 0 is ahead [rad]."""
    back = REAR_AXLE * ego[3]
    x, y = ego[0] - back * jnp.cos(ego[2]), ego[1] - back * jnp.sin(ego[2])
    return wrap_angle(jnp.arctan2(others[1] - y, others[0] - x) - ego[2])


def time_to_contact(
    ego: Box, others: Box, ego_speed: Float[Array, "*#v"], speed: Float[Array, "*#v"]
) -> Float[Array, "..."]:
    """Return when boxes that keep their headings and speeds touch [s]; `NEVER` if they do not.

    Exact: on each of the four axes of two boxes their shadows overlap during one interval of time, and the
    boxes touch while all four do.

    Args:
        ego: one box.
        others: other boxes.
        ego_speed: of the one [m/s].
        speed: of the others [m/s].
    """
    dx, dy = others[0] - ego[0], others[1] - ego[1]
    vx = speed * jnp.cos(others[2]) - ego_speed * jnp.cos(ego[2])
    vy = speed * jnp.sin(others[2]) - ego_speed * jnp.sin(ego[2])
    turn = others[2] - ego[2]
    c, s = jnp.abs(jnp.cos(turn)), jnp.abs(jnp.sin(turn))
    enter, leave = -NEVER, NEVER
    for one, other in ((ego, others), (others, ego)):
        cos, sin = jnp.cos(one[2]), jnp.sin(one[2])
        long = 0.5 * (one[3] + other[3] * c + other[4] * s)
        wide = 0.5 * (one[4] + other[3] * s + other[4] * c)
        for place, rate, reach in (
            (cos * dx + sin * dy, cos * vx + sin * vy, long),
            (cos * dy - sin * dx, cos * vy - sin * vx, wide),
        ):
            rate = jnp.where(jnp.abs(rate) < 1e-6, 1e-6, rate)
            one_end, other_end = (-reach - place) / rate, (reach - place) / rate
            enter = jnp.maximum(enter, jnp.minimum(one_end, other_end))
            leave = jnp.minimum(leave, jnp.maximum(one_end, other_end))
    return jnp.where((enter <= leave) & (leave >= 0), jnp.clip(enter, 0.0, NEVER), NEVER)
