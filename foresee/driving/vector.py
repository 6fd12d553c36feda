"""An observation as one vector of numbers of order one, for a network without structure.

The first 29 numbers are the plain state: own speed, offset, angle and whether there are lanes beside; then
for each of the six places around whether somebody is there, gap, offset across and difference of speeds. Then
come the standard deviations of what is only believed, three for each place, and what else there is to know
about the own motion and the road.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.driving.believed import PLACES
from foresee.driving.observe import POINTS_AHEAD, Observation

FARTHEST = 100.0  # what is farther away counts as this far [m]
FASTEST = 50.0  # a higher speed limit is none [m/s]
SPEED, DISTANCE, ACROSS, ANGLE, ACCELERATION, CURVATURE = 10.0, 50.0, 3.5, 0.1, 3.0, 0.02
PLAIN = 29  # how many numbers the state without doubt has


def vector(view: Observation) -> Float[Array, "59"]:
    """Return the observation as 59 numbers, named by `layout` and divided by the scales given there."""
    around = view.neighbours
    near = jnp.clip(around.gap, -FARTHEST, FARTHEST)
    plain = jnp.stack(
        [
            around.exists.astype(view.speed.dtype),
            near / DISTANCE,
            around.lateral / ACROSS,
            around.closing / SPEED,
        ],
        axis=-1,
    )
    doubt = jnp.stack(
        [around.gap_sd / DISTANCE, around.lateral_sd / ACROSS, around.speed_sd / SPEED], axis=-1
    )
    own = [
        view.speed / SPEED,
        view.offset / ACROSS,
        view.angle / ANGLE,
        view.has_left.astype(view.speed.dtype),
        view.has_right.astype(view.speed.dtype),
    ]
    rest = [
        view.acceleration / ACCELERATION,
        view.curvature / CURVATURE,
        view.lane_curvature / CURVATURE,
        *(view.curvature_ahead / CURVATURE),
        view.lane_width / ACROSS,
        view.edge_left / ACROSS,
        view.edge_right / ACROSS,
        jnp.where(view.continues, 1.0, jnp.clip(view.to_end / FARTHEST, 0.0, 1.0)),
        jnp.minimum(view.speed_limit, FASTEST) / SPEED,
    ]
    return jnp.concatenate([jnp.stack(own), plain.ravel(), doubt.ravel(), jnp.stack(rest)])


def layout() -> tuple[str, ...]:
    """Return the names of the numbers of `vector`, each with the unit that it is divided by."""
    own = ["speed [10 m/s]", "offset [3.5 m]", "angle [0.1 rad]", "has_left", "has_right"]
    plain = ["exists", "gap [50 m]", "lateral [3.5 m]", "closing [10 m/s]"]
    doubt = ["gap_sd [50 m]", "lateral_sd [3.5 m]", "speed_sd [10 m/s]"]
    return (
        *own,
        *(f"{place}.{name}" for place in PLACES for name in plain),
        *(f"{place}.{name}" for place in PLACES for name in doubt),
        "acceleration [3 m/s²]",
        "curvature [0.02 1/m]",
        "lane_curvature [0.02 1/m]",
        *(f"lane_curvature {ahead:.0f} m ahead [0.02 1/m]" for ahead in POINTS_AHEAD),
        "lane_width [3.5 m]",
        "edge_left [3.5 m]",
        "edge_right [3.5 m]",
        "to_end [100 m], 1 where a lane follows",
        "speed_limit [10 m/s], at most 50 m/s",
    )
