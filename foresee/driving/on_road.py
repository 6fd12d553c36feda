"""Where on the road a vehicle stands: how far outside of it, on how many lanes, and against which traffic."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.driving.road import Road

BESIDE_BEGIN = (
    20.0  # a lane that begins beside another one, so far behind that one's beginning, has opened [m]
)
TOLERANCE = 1e-3  # a corner this close to a marking is not across it [m]


class Standing(NamedTuple):
    """How a vehicle stands on the road, in every frame.

    Attributes:
        outside: how far the farthest corner is outside of the drivable area [m].
        astray: whether it is not with all corners on one lane.
        against: whether its centre is on lanes that all lead the other way.
    """

    outside: Float[Array, " T"]
    astray: Bool[Array, " T"]
    against: Bool[Array, " T"]


def standing(
    road: Road,
    x: Float[Array, " T"],
    y: Float[Array, " T"],
    heading: Float[Array, " T"],
    length: Float[Array, ""],
    width: Float[Array, ""],
) -> Standing:
    """Return how a vehicle of a size stands on the road at positions with headings.

    A lane that goes nowhere leads out of the map, and the road is taken to go on there; so it is before a
    lane to which none leads. This is not so where a lane ends from which one must merge, or has opened beside
    another one: there the road ends.
    """
    first, last = _open_ends(road)
    every, real = jnp.arange(road.lanes), road.length > 0

    def at(along: Array, offset: Array) -> tuple[Array, Array]:
        """How far outside of the area a place of every lane is, and whether it is on the lane itself."""
        cross = road.cross(every, along)
        beyond = jnp.maximum(offset - cross.reach_left, -offset - cross.reach_right)
        before = jnp.where(first, 0.0, -along)
        after = jnp.where(last, 0.0, along - road.length)
        short = jnp.maximum(jnp.maximum(before, after), 0.0)
        square = jnp.where(real, jnp.maximum(beyond, 0.0) ** 2 + short**2, jnp.inf).min()
        outside = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        return outside, real & (jnp.abs(offset) <= 0.5 * cross.width + TOLERANCE) & (short <= TOLERANCE)

    def one(x: Array, y: Array, heading: Array) -> tuple[Array, Array, Array]:
        near, direction = _nearest_samples(road, x, y)
        # The centre and the four corners; the lanes are searched for the centre alone.
        ahead = jnp.asarray([0.0, 0.5, 0.5, -0.5, -0.5], x.dtype)[:, None] * length
        aside = jnp.asarray([0.0, 0.5, -0.5, -0.5, 0.5], x.dtype)[:, None] * width
        point_x = x + ahead * jnp.cos(heading) - aside * jnp.sin(heading)
        point_y = y + ahead * jnp.sin(heading) + aside * jnp.cos(heading)
        turned = heading - direction
        guess = near + ahead * jnp.cos(turned) - aside * jnp.sin(turned)
        wide_x, wide_y, lanes = (
            jnp.broadcast_to(values, guess.shape) for values in (point_x, point_y, every)
        )
        outside, on = jax.vmap(at)(*road.track(wide_x, wide_y, lanes, guess))
        agrees = jnp.cos(turned) >= 0
        return outside[1:].max(), ~on[1:].all(axis=0).any(), on[0].any() & ~(on[0] & agrees).any()

    return Standing(*jax.vmap(one)(x, y, heading))


def _nearest_samples(
    road: Road, x: Float[Array, ""], y: Float[Array, ""]
) -> tuple[Float[Array, " L"], Float[Array, " L"]]:
    """Return arc length [m] and direction [rad] of the sample of every lane that is nearest to a point."""
    number = jnp.arange(road.line.shape[1])
    used = number * road.spacing < road.length[:, None] + road.spacing
    square = (road.line[..., 0] - x) ** 2 + (road.line[..., 1] - y) ** 2
    nearest = jnp.argmin(jnp.where(used, square, jnp.inf), axis=1)
    direction = jnp.take_along_axis(road.line[..., 2], nearest[:, None], axis=1)[:, 0]
    return jnp.minimum(nearest * road.spacing, road.length), direction


def _open_ends(road: Road) -> tuple[Bool[Array, " L"], Bool[Array, " L"]]:
    """Return whether the road goes on before the first and behind the last sample of every lane."""
    last = (road.successors[:, 0] < 0) & ~road.closed
    opened = (road.beside[:, 0] >= 0) & (road.across[:, 0, 3:] > BESIDE_BEGIN)
    first = (road.predecessors[:, 0] < 0) & ~opened.any(axis=-1)
    return first, last
