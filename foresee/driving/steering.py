"""How the wheel is turned to come to a place on the lane and stay there."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

OFFSET_TIME, ANGLE_TIME = 1.0, 0.5  # how fast the offset and the sideways speed are corrected [s]
HARDEST_SIDEWAYS = 2.0  # [m/s²]
LANE_WAY = 4.4  # a sideways speed of this over the stated time crosses a lane of 3.5 m in about that time [m]
STEEPEST = 0.3  # sideways speed as a share of the speed
SLOWEST = 2.0  # below this speed the wheel is turned as at this one [m/s]


def steer_to(
    offset: Float[Array, "*v"],
    angle: Float[Array, "*v"],
    bend: Float[Array, "*v"],
    speed: Float[Array, "*v"],
    change_time: Any,
    aim: Any = 0.0,
) -> Float[Array, "*v"]:
    """Return the curvature that leads to an offset from the middle of a lane, and then along the lane [1/m].

    Args:
        offset: to the left of the middle [m].
        angle: direction against the lane's, positive to the left [rad].
        bend: curvature of the lane's middle [1/m].
        speed: speed [m/s].
        change_time: about how long a change by one lane takes [s].
        aim: the offset to come to [m].
    """
    fastest = jnp.minimum(LANE_WAY / change_time, STEEPEST * speed)
    wanted = jnp.clip((aim - offset) / OFFSET_TIME, -fastest, fastest)
    push = (wanted - speed * jnp.sin(angle)) / ANGLE_TIME
    push = jnp.clip(push, -HARDEST_SIDEWAYS, HARDEST_SIDEWAYS) / jnp.maximum(speed, SLOWEST) ** 2
    return bend * jnp.cos(angle) / jnp.maximum(1 - bend * offset, 0.2) + push


def half_body(length: Any, width: Any, angle: Float[Array, "*v"]) -> Float[Array, "*v"]:
    """Return how far a body reaches to each side of its centre across the lane, by its corners [m]."""
    return 0.5 * (length * jnp.abs(jnp.sin(angle)) + width * jnp.abs(jnp.cos(angle)))
