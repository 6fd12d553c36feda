"""Who is believed to be around a vehicle, on its own lane and the two beside it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.driving.neighbours import FAR, HOPS, NOBODY
from foresee.driving.reactive import OVER
from foresee.driving.road import Road
from foresee.driving.sensing import Beliefs
from foresee.driving.steering import half_body
from foresee.driving.world import World
from foresee.linalg import wrap_angle

DOUBTED = 10.0  # a velocity's variance counts so much against the direction that it shows
PLACES = ("ahead", "behind", "left_ahead", "left_behind", "right_ahead", "right_behind")


class Neighbour(eqx.Module):
    """One of the vehicles around, as it is believed to be; with a leading axis, all six of `PLACES`.

    Where nobody is, the gap is `FAR`, nothing is closing in and all else is 0.

    Attributes:
        exists: whether anybody is believed to be there.
        gap: along the lane from bumper to bumper, negative side by side [m].
        lateral: how far its centre is to the left of the ego's, across the lane [m].
        speed: along the lane [m/s].
        closing: how fast the gap becomes smaller [m/s].
        gap_sd: standard deviation of the gap [m].
        lateral_sd: that of `lateral` [m].
        speed_sd: that of `speed` and of `closing` [m/s].
        slot: number of the vehicle, -1 for nobody.
    """

    exists: Bool[Array, "*b"]
    gap: Float[Array, "*b"]
    lateral: Float[Array, "*b"]
    speed: Float[Array, "*b"]
    closing: Float[Array, "*b"]
    gap_sd: Float[Array, "*b"]
    lateral_sd: Float[Array, "*b"]
    speed_sd: Float[Array, "*b"]
    slot: Int[Array, "*b"]


class Whereabouts(eqx.Module):
    """Where on the road the vehicle of every slot is believed to be; meaningless where nothing is known.

    Attributes:
        lane: number of the lane.
        along: arc length on it [m].
        offset: to the left of its middle [m].
        heading: direction of the lane there [rad].
    """

    lane: Int[Array, "*b V"]
    along: Float[Array, "*b V"]
    offset: Float[Array, "*b V"]
    heading: Float[Array, "*b V"]


class _Spots(eqx.Module):
    """One spot for every lane that a vehicle takes room on: twice as many as slots, lane -1 for none."""

    lane: Int[Array, " E"]
    along: Float[Array, " E"]
    offset: Float[Array, " E"]


def believed_around(
    world: World,
    ego: Int[Array, ""] | int,
    beliefs: Beliefs,
    where: Whereabouts,
    own_speed: Float[Array, ""],
) -> Neighbour:
    """Return who is around the ego, in the order of `PLACES`.

    Args:
        world: the traffic, of which only the ego's own state and the sizes are used.
        ego: slot of the ego.
        beliefs: what it believes.
        where: what follows from that about lanes.
        own_speed: of the ego along its lane [m/s].
    """
    spots, count = _spots(world, beliefs, where), world.vehicles
    cross = world.road.cross(world.lane[ego], world.along[ego])
    lanes = jnp.stack([world.lane[ego], cross.left, cross.right])
    places = jnp.stack([world.along[ego], cross.along_left, cross.along_right])
    widths = world.road.cross(jnp.maximum(lanes, 0), places).width
    between = 0.5 * (widths[0] + widths) * jnp.asarray([0.0, 1.0, -1.0], widths.dtype)

    def around(lane: Array, along: Array) -> tuple[Array, Array]:
        ahead, behind = _distances(world.road, lane, along, spots)
        return jnp.stack([jnp.argmin(ahead), jnp.argmin(behind)]), jnp.stack([ahead.min(), behind.min()])

    spot, distance = (values.reshape(-1) for values in jax.vmap(around)(lanes, places))
    exists = distance < FAR
    who = spot % count
    half = 0.5 * (world.length[ego] + world.length[who])
    lateral = spots.offset[spot] + jnp.repeat(between, 2) - world.offset[ego]
    forward = jnp.stack([jnp.cos(where.heading[who]), jnp.sin(where.heading[who])], axis=-1)
    left = jnp.stack([-forward[:, 1], forward[:, 0]], axis=-1)
    covariance = beliefs.covariance[who]
    speed = jnp.sum(forward * beliefs.mean[who, 2:], axis=-1)
    closing = (own_speed - speed) * jnp.asarray([1.0, -1.0] * 3, speed.dtype)

    def there(values: Array) -> Array:
        return jnp.where(exists, values, 0.0)

    return Neighbour(
        exists,
        jnp.where(exists, distance - half, FAR),
        there(lateral),
        there(speed),
        there(closing),
        there(_sd(covariance[:, :2, :2], forward)),
        there(_sd(covariance[:, :2, :2], left)),
        there(_sd(covariance[:, 2:, 2:], forward)),
        jnp.where(exists, who, NOBODY).astype(jnp.int32),
    )


def _sd(covariance: Float[Array, "N 2 2"], direction: Float[Array, "N 2"]) -> Float[Array, " N"]:
    """Return standard deviations in given directions; with derivative 0 where nothing is in doubt."""
    variance = jnp.einsum("ni,nij,nj->n", direction, covariance, direction)
    return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)


def believed_places(world: World, beliefs: Beliefs) -> Whereabouts:
    """Return where on the road the believed positions are.

    The simulator's lane and arc length tell the search where to begin; what it finds is where the belief is.
    """
    road = world.road
    x, y = beliefs.mean[:, 0], beliefs.mean[:, 1]
    lane = world.lane
    along, offset = road.track(x, y, lane, world.along)
    for _ in range(2):
        cross = road.cross(lane, along)
        to_left = (offset > 0.5 * cross.width) & (cross.left >= 0)
        to_right = (offset < -0.5 * cross.width) & (cross.right >= 0)
        lane = jnp.where(to_left, cross.left, jnp.where(to_right, cross.right, lane))
        along = jnp.where(to_left, cross.along_left, jnp.where(to_right, cross.along_right, along))
        offset = offset - cross.width * to_left + cross.width * to_right
    along, offset = road.track(x, y, lane, along)
    return Whereabouts(lane, along, offset, road.at(lane, along).heading)


def _spots(world: World, beliefs: Beliefs, where: Whereabouts) -> _Spots:
    """Return on which lanes vehicles take room: their own, and one that their body reaches into."""
    cross = world.road.cross(where.lane, where.along)
    on_left = where.offset > 0
    reach = jnp.abs(where.offset) + half_body(world.length, world.width, _angles(beliefs, where))
    reach = reach - 0.5 * cross.width - OVER
    second = jnp.where(reach > 0, jnp.where(on_left, cross.left, cross.right), NOBODY)
    along = jnp.where(on_left, cross.along_left, cross.along_right)
    between = 0.5 * (cross.width + world.road.cross(jnp.maximum(second, 0), along).width)
    lanes = [jnp.where(beliefs.known, one, NOBODY) for one in (where.lane, second)]
    return _Spots(
        jnp.concatenate(lanes),
        jnp.concatenate([where.along, along]),
        jnp.concatenate([where.offset, where.offset - jnp.where(on_left, between, -between)]),
    )


def _angles(beliefs: Beliefs, where: Whereabouts) -> Float[Array, " V"]:
    """Return at which angle bodies stand on their lanes, as far as their velocities tell [rad].

    The direction of a slow or little known velocity says nothing: the angle shrinks with its doubt.
    """
    vx, vy = beliefs.mean[:, 2], beliefs.mean[:, 3]
    square = vx**2 + vy**2
    moving = square > 1e-6
    angle = wrap_angle(jnp.arctan2(jnp.where(moving, vy, 0.0), jnp.where(moving, vx, 1.0)) - where.heading)
    doubt = jnp.trace(beliefs.covariance[:, 2:, 2:], axis1=1, axis2=2)
    return jnp.where(moving, angle * square / (square + DOUBTED * doubt + 1e-6), 0.0)


def _distances(
    road: Road, lane: Int[Array, ""], along: Float[Array, ""], spots: _Spots
) -> tuple[Float[Array, " E"], Float[Array, " E"]]:
    """Return how far every spot is ahead of and behind a place, along its lane and those it leads to [m].

    `FAR` where no way leads there within `HOPS` lanes.
    """
    here = jnp.arange(road.lanes) == lane
    ahead = jnp.full(road.lanes, FAR, along.dtype)
    behind = ahead
    # How far the beginnings of lanes are ahead; how far their beginnings are behind.
    to_start, from_start = jnp.where(here, -along, FAR), jnp.where(here, along, FAR)
    for _ in range(HOPS):
        to_start = _nearest(to_start + road.length, road.predecessors)
        from_end = _nearest(from_start, road.successors)
        from_start = from_end + road.length
        ahead, behind = jnp.minimum(ahead, to_start), jnp.minimum(behind, from_start)
    apart = spots.along - along
    onward = jnp.minimum(ahead[spots.lane] + spots.along, FAR)
    backward = jnp.where(behind[spots.lane] < FAR, behind[spots.lane] - spots.along, FAR)
    same, present = spots.lane == lane, spots.lane >= 0
    onward = jnp.minimum(onward, jnp.where(same & (apart >= 0), apart, FAR))
    backward = jnp.minimum(backward, jnp.where(same & (apart < 0), -apart, FAR))
    return jnp.where(present, onward, FAR), jnp.where(present, backward, FAR)


def _nearest(distance: Float[Array, " L"], links: Int[Array, "L K"]) -> Float[Array, " L"]:
    """Return, for every lane, the smallest distance of those it is linked to."""
    return jnp.minimum(jnp.where(links >= 0, distance[links], FAR).min(axis=1), FAR)
