"""Motion along a circular arc, smooth through the straight line and through standstill."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float


def sinc(angle: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return sin(θ)/θ, with correct derivatives at zero too."""
    small = jnp.abs(angle) < 0.02
    safe = jnp.where(small, 1.0, angle)
    square = angle**2
    return jnp.where(small, 1 - square / 6 * (1 - square / 20 * (1 - square / 42)), jnp.sin(safe) / safe)


def arc(
    x: Float[Array, "*shape"],
    y: Float[Array, "*shape"],
    heading: Float[Array, "*shape"],
    length: Any,
    turn: Any,
    middle: Any = 0.5,
) -> tuple[Array, Array, Array]:
    """Return position in m and heading in rad at the end of an arc.

    Args:
        x: start in m.
        y: start in m.
        heading: heading at the start in rad.
        length: length of the arc in m, negative backwards.
        turn: change of heading along it in rad.
        middle: fraction of the turn that has been made where the heading is that of the chord.
    """
    chord = length * sinc(0.5 * turn)
    direction = heading + middle * turn
    return x + chord * jnp.cos(direction), y + chord * jnp.sin(direction), heading + turn
