"""What a driver is shown: its own vehicle and lane as they are, and the others as it believes them to be."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.driving.believed import Neighbour, Whereabouts, believed_around, believed_places
from foresee.driving.neighbours import HOPS
from foresee.driving.road import Road
from foresee.driving.sensing import Beliefs
from foresee.driving.steering import steer_to
from foresee.driving.world import World
from foresee.linalg import wrap_angle

POINTS_AHEAD = (10.0, 20.0, 40.0, 80.0)  # where on its way the driver is told the curvature [m]
CHANGE_TIME = 4.0  # in which `keep_lane` moves by the width of a lane [s]


class Observation(eqx.Module):
    """What the driver of one vehicle knows; everything else in the library that drives is made of this.

    Attributes:
        speed: own speed [m/s].
        acceleration: own acceleration in the last step [m/s²].
        curvature: of the own path in the last step [1/m].
        length, width: own size [m].
        offset: of the own centre to the left of the lane's middle [m].
        angle: own direction against the lane's, positive to the left [rad].
        lane_curvature: curvature of the lane's middle here, positive to the left [1/m].
        curvature_ahead: the same `POINTS_AHEAD` metres further on, on the first lane that follows.
        lane_width: width of the lane [m].
        edge_left, edge_right: from the own centre to the edge of the road [m], negative outside of it.
        has_left, has_right: whether there is a lane beside.
        speed_limit: highest allowed speed, infinite where there is none [m/s].
        to_end: how much of this lane is left [m].
        continues: whether another lane follows at its end.
        closed: whether the lane ends beside another that goes on, so that one must change.
        neighbours: the vehicles around, in the order of `PLACES`; also by name, as in `view.ahead`.
        x, y, heading: own position [m] and direction [rad] on the map.
        lane, along: number of the own lane and arc length on it [m].
        beliefs: what is believed of every vehicle.
        places: where on the road that is.
        lengths, widths: sizes of all vehicles, which are taken as known [m].
        road: the map.
    """

    speed: Float[Array, "*b"]
    acceleration: Float[Array, "*b"]
    curvature: Float[Array, "*b"]
    length: Float[Array, "*b"]
    width: Float[Array, "*b"]
    offset: Float[Array, "*b"]
    angle: Float[Array, "*b"]
    lane_curvature: Float[Array, "*b"]
    curvature_ahead: Float[Array, "*b 4"]
    lane_width: Float[Array, "*b"]
    edge_left: Float[Array, "*b"]
    edge_right: Float[Array, "*b"]
    has_left: Bool[Array, "*b"]
    has_right: Bool[Array, "*b"]
    speed_limit: Float[Array, "*b"]
    to_end: Float[Array, "*b"]
    continues: Bool[Array, "*b"]
    closed: Bool[Array, "*b"]
    neighbours: Neighbour
    x: Float[Array, "*b"]
    y: Float[Array, "*b"]
    heading: Float[Array, "*b"]
    lane: Int[Array, "*b"]
    along: Float[Array, "*b"]
    beliefs: Beliefs
    places: Whereabouts
    lengths: Float[Array, "*b V"]
    widths: Float[Array, "*b V"]
    road: Road

    @property
    def ahead(self) -> Neighbour:
        """The next vehicle ahead on the own lane."""
        return self._neighbour(0)

    @property
    def behind(self) -> Neighbour:
        """The next vehicle behind on the own lane."""
        return self._neighbour(1)

    @property
    def left_ahead(self) -> Neighbour:
        """The next vehicle ahead, or beside, on the lane to the left."""
        return self._neighbour(2)

    @property
    def left_behind(self) -> Neighbour:
        """The next vehicle behind on the lane to the left."""
        return self._neighbour(3)

    @property
    def right_ahead(self) -> Neighbour:
        """The next vehicle ahead, or beside, on the lane to the right."""
        return self._neighbour(4)

    @property
    def right_behind(self) -> Neighbour:
        """The next vehicle behind on the lane to the right."""
        return self._neighbour(5)

    def _neighbour(self, number: int) -> Neighbour:
        return jax.tree.map(lambda leaf: leaf[..., number], self.neighbours)

    def keep_lane(self, aim: float | int | Float[Array, ""] = 0.0) -> Float[Array, ""]:
        """Return the curvature that leads to the middle of the lane, or to an offset from it, and along it.

        Args:
            aim: offset to the left of the middle [m]; with `aim=view.lane_width` one changes to the left.
        """
        return steer_to(self.offset, self.angle, self.lane_curvature, self.speed, CHANGE_TIME, aim)


def observe(world: World, ego: Int[Array, ""] | int, beliefs: Beliefs) -> Observation:
    """Return what the driver of one vehicle is shown of a world.

    The map and the own vehicle are known exactly. Where the others are and how fast comes from the beliefs
    alone, their sizes from the world.

    Args:
        world: the traffic.
        ego: slot of the driver's vehicle.
        beliefs: what it believes about the others.
    """
    road, lane, along = world.road, world.lane[ego], world.along[ego]
    places = believed_places(world, beliefs)
    line, cross = road.at(lane, along), road.cross(lane, along)
    offset, angle = world.offset[ego], wrap_angle(world.heading[ego] - line.heading)
    return Observation(
        speed=world.speed[ego],
        acceleration=world.acceleration[ego],
        curvature=world.curvature[ego],
        length=world.length[ego],
        width=world.width[ego],
        offset=offset,
        angle=angle,
        lane_curvature=line.curvature,
        curvature_ahead=_curvature_ahead(road, lane, along),
        lane_width=cross.width,
        edge_left=cross.reach_left - offset,
        edge_right=cross.reach_right + offset,
        has_left=cross.left >= 0,
        has_right=cross.right >= 0,
        speed_limit=road.speed_limit[lane],
        to_end=road.length[lane] - along,
        continues=road.successors[lane, 0] >= 0,
        closed=road.closed[lane],
        neighbours=believed_around(world, ego, beliefs, places, world.speed[ego] * jnp.cos(angle)),
        x=world.x[ego],
        y=world.y[ego],
        heading=world.heading[ego],
        lane=lane,
        along=along,
        beliefs=beliefs,
        places=places,
        lengths=world.length,
        widths=world.width,
        road=road,
    )


def _curvature_ahead(road: Road, lane: Int[Array, ""], along: Float[Array, ""]) -> Float[Array, "4"]:
    where = along + jnp.asarray(POINTS_AHEAD, along.dtype)
    lanes = jnp.broadcast_to(lane, where.shape)
    for _ in range(HOPS):
        following = road.successors[lanes, 0]
        over = (where > road.length[lanes]) & (following >= 0)
        where = jnp.where(over, where - road.length[lanes], where)
        lanes = jnp.where(over, following, lanes)
    return road.at(lanes, where).curvature
