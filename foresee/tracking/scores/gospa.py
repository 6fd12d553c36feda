"""GOSPA: what localisation, missed objects and false tracks cost, added up."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from foresee.tracking.labelled import Labelled
from foresee.tracking.scores.best_pairs import best_pairs
from foresee.tracking.scores.near import near_pairs
from foresee.tracking.scores.ospa import check


@dataclass(frozen=True)
class Gospa:
    """GOSPA with its parts; `total` is the p-th root of the sum of the three, which are powers of order p.

    Attributes:
        total: the distance, in units of position.
        localisation: Σ distance^p of the pairs.
        missed: c^p / 2 for every object without a track.
        false: c^p / 2 for every track without an object.
        pairs: how many pairs were made.
    """

    total: float
    localisation: float
    missed: float
    false: float
    pairs: int


def gospa(
    truth: Float[np.ndarray, "n d"],
    tracks: Float[np.ndarray, "m d"],
    *,
    c: float | int = 10.0,
    p: float | int = 2.0,
) -> Gospa:
    """Return the generalised OSPA of two sets of points (Rahmathullah et al. 2017, eq. 3, α = 2).

    Args:
        truth: where objects are.
        tracks: where they are said to be.
        c: distance at which a pair costs as much as one missed object and one false track.
        p: order.

    Raises:
        TrackingError: if c or p make no distance.
    """
    check(c, p)
    row, column, distance = near_pairs(truth, tracks, c)
    gain = float(c) ** p - distance**p
    chosen = best_pairs(row, column, gain)
    localisation = float(np.sum(distance[chosen] ** p))
    missed = float(c) ** p / 2 * (len(truth) - len(chosen))
    false = float(c) ** p / 2 * (len(tracks) - len(chosen))
    return Gospa((localisation + missed + false) ** (1 / p), localisation, missed, false, len(chosen))


def gospa_by_frame(
    truth: Labelled, tracks: Labelled, *, c: float | int = 10.0, p: float | int = 2.0
) -> tuple[Gospa, ...]:
    """Return GOSPA of the positions in every frame that has an object or a track."""
    frames = np.union1d(truth.frame, tracks.frame)
    pairs = zip(truth.by_frame(frames), tracks.by_frame(frames), strict=True)
    return tuple(gospa(truth.position[a], tracks.position[b], c=c, p=p) for a, b in pairs)
