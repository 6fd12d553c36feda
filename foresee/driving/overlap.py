"""Which vehicles touch: oriented boxes and the separating axis theorem."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.driving.world import World

Box = tuple[Any, Any, Any, Any, Any]  # x, y [m], heading [rad], length, width [m]


def separation(one: Box, other: Box) -> Float[Array, "*v"]:
    """Return the largest separation of two boxes along the four axes of their sides [m].

    Negative where they overlap, by how much; where they do not, a lower bound of their distance, exact face
    to face. Source: Gottschalk, Lin, Manocha (1996), "OBBTree", in two dimensions.
    """
    dx, dy = other[0] - one[0], other[1] - one[1]
    turn = other[2] - one[2]
    c, s = jnp.abs(jnp.cos(turn)), jnp.abs(jnp.sin(turn))

    def along(first: Box, second: Box) -> Array:
        cos, sin = jnp.cos(first[2]), jnp.sin(first[2])
        ahead, aside = jnp.abs(cos * dx + sin * dy), jnp.abs(cos * dy - sin * dx)
        length = 0.5 * (first[3] + second[3] * c + second[4] * s)
        width = 0.5 * (first[4] + second[3] * s + second[4] * c)
        return jnp.maximum(ahead - length, aside - width)

    return jnp.maximum(along(one, other), along(other, one))


def boxes(world: World) -> Box:
    """Return the boxes of all vehicles."""
    return world.x, world.y, world.heading, world.length, world.width


def overlaps(world: World) -> Bool[Array, "V V"]:
    """Return which pairs of slots overlap, dead ones too, by looking at every pair."""
    one = tuple(values[:, None] for values in boxes(world))
    other = tuple(values[None] for values in boxes(world))
    apart = separation(one, other) > 0  # pyright: ignore[reportArgumentType]
    return ~apart & ~jnp.eye(world.vehicles, dtype=bool)
