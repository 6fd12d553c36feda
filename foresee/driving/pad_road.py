"""Roads of the same shape, so that they can be stacked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from foresee.driving.road import Road
from foresee.errors import OptionError


def pad_road(road: Road, *, lanes: int, samples: int, successors: int = 1, predecessors: int = 1) -> Road:
    """Give a road more lanes and samples, without length and never followed, so that roads can be stacked.

    Args:
        road: the road.
        lanes: number of lanes to come to.
        samples: number of samples per lane to come to.
        successors: number of successors per lane to come to.
        predecessors: number of predecessors per lane to come to.

    Raises:
        OptionError: if the road is larger already.
    """
    there = (*road.line.shape[:2], road.successors.shape[1], road.predecessors.shape[1])
    wanted = (lanes, samples, successors, predecessors)
    if any(old > new for old, new in zip(there, wanted, strict=True)):
        raise OptionError(f"expected to pad a road to at least {there}, got {wanted}")
    more, longer, ahead, behind = (new - old for old, new in zip(there, wanted, strict=True))

    def widen(values: Any, *extra: int, by: Any = None) -> jax.Array:
        pads = [(0, n) for n in extra] + [(0, 0)] * (values.ndim - len(extra))
        kept = np.pad(np.asarray(values), [(0, 0), *pads[1:]], "edge")
        return jnp.asarray(np.pad(kept, [pads[0], *[(0, 0)] * (values.ndim - 1)], constant_values=by))

    return Road(
        widen(road.line, more, longer, by=0.0),
        widen(road.across, more, longer, by=0.0),
        widen(road.beside, more, longer, by=-1),
        widen(road.length, more, by=0.0),
        road.spacing,
        jnp.pad(road.successors, ((0, more), (0, ahead)), constant_values=-1),
        jnp.pad(road.predecessors, ((0, more), (0, behind)), constant_values=-1),
        widen(road.speed_limit, more, by=np.inf),
        widen(road.closed, more, by=False),
    )
