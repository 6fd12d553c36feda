"""An observation as sets: vehicles, and pieces of lanes, all seen from the ego; for networks with attention.

Everything is in the ego's frame, x ahead and y to the left, in plain units (m, m/s, rad).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.driving.observe import Observation
from foresee.linalg import wrap_angle

AGENT = ("x", "y", "vx", "vy", "angle", "length", "width", "x_sd", "y_sd", "vx_sd", "vy_sd")
POINT = ("x", "y", "cos", "sin", "width", "has_left", "has_right", "closed", "speed_limit")
OWN = ("speed", "acceleration", "curvature", "length", "width")
FASTEST = 50.0  # a higher speed limit is none [m/s]


class Polylines(eqx.Module):
    """The vehicles and the pieces of lanes that are nearest to the ego.

    Attributes:
        own: the ego's numbers, named by `OWN`.
        agents: the others, nearest first, named by `AGENT`: velocity over ground, angle of the lane there,
            standard deviations along and across the ego's direction.
        agent_there: which rows hold a vehicle.
        lanes: points along pieces of lanes, nearest piece first, named by `POINT`.
        point_there: which points are on their lane; a piece without any is none.
    """

    own: Float[Array, "*b 5"]
    agents: Float[Array, "*b A 11"]
    agent_there: Bool[Array, "*b A"]
    lanes: Float[Array, "*b K P 9"]
    point_there: Bool[Array, "*b K P"]


def polylines(
    view: Observation, *, agents: int = 24, pieces: int = 32, points: int = 6, stride: int = 2
) -> Polylines:
    """Return the observation as sets of vehicles and pieces of lanes in the ego's frame.

    Args:
        view: the observation.
        agents: how many vehicles at most.
        pieces: how many pieces of lanes at most.
        points: points per piece; the last one is the first of the piece that follows.
        stride: distance between points, in samples of the road.
    """
    own = jnp.stack([view.speed, view.acceleration, view.curvature, view.length, view.width])
    who, agents_found = nearest_agents(view, agents)
    lanes, there = nearest_pieces(view, pieces, points, stride)
    return Polylines(own, who, agents_found, lanes, there)


def nearest_agents(view: Observation, count: int) -> tuple[Float[Array, "A 11"], Bool[Array, " A"]]:
    """Return the believed vehicles nearest to the ego, in its frame, and which rows hold one."""
    beliefs, turn = view.beliefs, _rotation(view)
    square = (beliefs.mean[:, 0] - view.x) ** 2 + (beliefs.mean[:, 1] - view.y) ** 2
    order = _smallest(jnp.where(beliefs.known, square, jnp.inf), count)
    mean, covariance = beliefs.mean[order], beliefs.covariance[order]
    position = (mean[:, :2] - jnp.stack([view.x, view.y])) @ turn.T
    variances = [
        jnp.einsum("ij,njk,ik->ni", turn, covariance[:, part, part], turn)
        for part in (slice(0, 2), slice(2, 4))
    ]
    angle = wrap_angle(view.places.heading[order] - view.heading)
    rows = jnp.concatenate(
        [
            position,
            mean[:, 2:] @ turn.T,
            jnp.stack([angle, view.lengths[order], view.widths[order]], axis=-1),
            *(_root(variance) for variance in variances),
        ],
        axis=-1,
    )
    there = beliefs.known[order]
    return _padded(jnp.where(there[:, None], rows, 0.0), count), _padded(there, count)


def nearest_pieces(
    view: Observation, count: int, points: int, stride: int
) -> tuple[Float[Array, "K P 9"], Bool[Array, "K P"]]:
    """Return the pieces of lanes nearest to the ego, in its frame, and which of their points are there."""
    road = view.road
    samples = road.line.shape[1]
    starts = jnp.arange(0, samples, (points - 1) * stride)
    index = starts[:, None] + stride * jnp.arange(points)  # one row per piece
    along = index * road.spacing
    # The last piece of a lane ends where the lane does.
    ends = road.length[:, None, None]
    there = (along[:, :1] < ends) & (along - stride * road.spacing < ends)
    along = jnp.minimum(along, ends)
    lane = jnp.broadcast_to(jnp.arange(road.lanes)[:, None, None], along.shape)
    line = road.at(lane.ravel(), along.ravel())
    place = jnp.stack([line.x - view.x, line.y - view.y], axis=-1).reshape(*along.shape, 2)
    square = jnp.where(there, jnp.sum(place**2, axis=-1), jnp.inf).min(axis=-1).ravel()
    order = _smallest(square, count)

    def chosen(values: Array) -> Array:
        return values.reshape(-1, *values.shape[2:])[order]

    place, there, along, lane = (chosen(values) for values in (place, there, along, lane))
    heading = chosen(line.heading.reshape(road.lanes, -1, points)) - view.heading
    cross = road.cross(lane.ravel(), along.ravel())
    rest = jnp.stack(
        [
            cross.width,
            cross.left >= 0,
            cross.right >= 0,
            road.closed[lane.ravel()],
            jnp.minimum(road.speed_limit[lane.ravel()], FASTEST),
        ],
        axis=-1,
    )
    direction = jnp.stack([jnp.cos(heading), jnp.sin(heading)], axis=-1)
    rows = jnp.concatenate([place @ _rotation(view).T, direction, rest.reshape(*lane.shape, 5)], axis=-1)
    return _padded(jnp.where(there[..., None], rows, 0.0), count), _padded(there, count)


def _rotation(view: Observation) -> Float[Array, "2 2"]:
    """Return the matrix that turns directions of the map into the ego's frame."""
    c, s = jnp.cos(view.heading), jnp.sin(view.heading)
    return jnp.stack([jnp.stack([c, s]), jnp.stack([-s, c])])


def _root(variance: Array) -> Array:
    """Return square roots, with derivative 0 at 0."""
    return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)


def _smallest(values: Float[Array, " N"], count: int) -> Any:
    return jax.lax.top_k(-jax.lax.stop_gradient(values), min(count, values.shape[0]))[1]


def _padded(rows: Array, count: int) -> Array:
    return jnp.concatenate([rows, jnp.zeros((count - rows.shape[0], *rows.shape[1:]), rows.dtype)])
