"""What a network that foretells is told of the lane that a vehicle is on."""

import jax.numpy as jnp
from jaxtyping import Array

from foresee.driving.road import Road

AHEAD = (0.0, 20.0, 40.0)  # where a lane's curvature is averaged [m]
OPEN = 200.0  # how much is left of a lane that another one follows, or that leads out of the map [m]


def lane_numbers(road: Road, lane: Array, along: Array) -> dict[str, Array]:
    """Return what a `Snapshot` holds of the lanes at places."""
    line, cross = road.at(lane, along), road.cross(lane, along)
    bends = jnp.stack([road.at(lane, along + further).curvature for further in AHEAD])
    ends = road.closed[lane]
    return {
        "lane_heading": line.heading,
        "lane_curvature": bends.mean(axis=0),
        "lane_width": cross.width,
        "has_left": cross.left >= 0,
        "has_right": cross.right >= 0,
        "closed": ends,
        "to_end": jnp.where(ends, road.length[lane] - along, OPEN),
    }
