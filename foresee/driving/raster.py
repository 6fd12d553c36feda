"""An observation as a small picture around the ego, for convolutional networks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.driving.observe import Observation
from foresee.driving.polylines import nearest_agents, nearest_pieces

CHANNELS = ("markings", "others", "ego", "drivable")
MARKING = 0.3  # width of a drawn marking [m]


def raster(
    view: Observation,
    *,
    height: int = 117,
    width: int = 24,
    cell: float | int | Float[Array, ""] = 0.6,
    agents: int = 16,
    pieces: int = 20,
) -> Float[Array, "4 H W"]:
    """Return a picture of what is around the ego: markings, other vehicles, the ego and the drivable area.

    The ego is in the middle and drives upwards: row 0 is the farthest ahead, column 0 the farthest to the
    left. The channel of the other vehicles holds the probability that a cell is taken, under the beliefs,
    errors along and across a vehicle taken as independent. Edges are as soft as a cell is large, so all is
    differentiable. The first three channels and the default size are those of Henaff, Canziani and LeCun
    2019, "Model-predictive policy learning with uncertainty regularization for driving in dense traffic".

    Args:
        view: the observation.
        height: number of rows.
        width: number of columns.
        cell: size of a cell [m].
        agents: how many of the nearest vehicles are drawn.
        pieces: how many of the nearest pieces of lanes, of about 30 m each, are drawn.
    """
    ahead = (0.5 * (height - 1) - jnp.arange(height)) * cell
    left = (0.5 * (width - 1) - jnp.arange(width)) * cell
    x, y = (values.ravel() for values in jnp.meshgrid(ahead, left, indexing="ij"))
    soft = 0.5 * cell
    markings, drivable = _road(view, x, y, pieces, jnp.asarray(cell, x.dtype))
    ego = _inside(x, view.length, soft) * _inside(y, view.width, soft)
    channels = jnp.stack([markings, _others(view, x, y, agents, soft), ego, drivable])
    return channels.reshape(4, height, width)


def _inside(offset: Array, size: Array, sd: Array | float) -> Array:
    """Return the probability that a normally distributed offset is within ± size / 2."""
    cdf = jax.scipy.stats.norm.cdf
    return cdf((0.5 * size - offset) / sd) - cdf((-0.5 * size - offset) / sd)


def _others(view: Observation, x: Array, y: Array, agents: int, soft: Array | float) -> Float[Array, " C"]:
    rows, there = nearest_agents(view, agents)

    def taken(row: Array, there: Array) -> Array:
        c, s = jnp.cos(row[4]), jnp.sin(row[4])
        dx, dy = x - row[0], y - row[1]
        along_sd = jnp.sqrt((c * row[7]) ** 2 + (s * row[8]) ** 2 + soft**2)
        across_sd = jnp.sqrt((s * row[7]) ** 2 + (c * row[8]) ** 2 + soft**2)
        covered = _inside(c * dx + s * dy, row[5], along_sd) * _inside(c * dy - s * dx, row[6], across_sd)
        return jnp.where(there, covered, 0.0)

    return 1 - jnp.prod(1 - jax.vmap(taken)(rows, there), axis=0)


def _road(
    view: Observation, x: Array, y: Array, pieces: int, cell: Float[Array, ""]
) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Return how much of every cell is marking and how much is drivable, from segments of centre lines."""
    points, there = nearest_pieces(view, pieces, 6, 3)
    # One row per segment, one column per cell: so the smallest of all segments is found fastest.
    start, end = (part.reshape(-1, 9).T[..., None] for part in (points[:, :-1], points[:, 1:]))
    there = (there[:, :-1] & there[:, 1:]).reshape(-1, 1)
    step = end[:2] - start[:2]
    length = jnp.sqrt(jnp.maximum(jnp.sum(step**2, axis=0), 1e-9))
    there &= length > 1e-3
    step = step / length
    dx, dy = x - start[0], y - start[1]
    along = dx * step[0] + dy * step[1]
    offset = dy * step[0] - dx * step[1]
    part = jnp.clip(along / length, 0.0, 1.0)
    half = 0.5 * ((1 - part) * start[4] + part * end[4])
    # Where segments meet in a bend there is a wedge that belongs to neither; both reach a bit further.
    beyond = jnp.maximum(-along, along - length) - cell
    # So do lanes beside each other, whose seam is no edge.
    has_left, has_right = start[5], start[6]
    aside = jnp.maximum(offset - cell * has_left, -offset - cell * has_right) - half
    outside = jnp.where(there, jnp.maximum(aside, beyond), jnp.inf).min(axis=0)
    off_line = jnp.abs(jnp.abs(offset) - half) - 0.5 * MARKING
    off_line = jnp.where(there, jnp.maximum(off_line, beyond), jnp.inf).min(axis=0)
    markings, drivable = (jnp.clip(0.5 - distance / cell, 0.0, 1.0) for distance in (off_line, outside))
    return markings, drivable
