"""Lines of straight pieces in the plane: their length, their points, and what lies beside them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Polyline = Float[np.ndarray, "_ 2"]


def total_length(line: Polyline) -> float:
    """Length of a line [m]."""
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def joined(lines: Sequence[Polyline]) -> Polyline:
    """One line of several that follow each other, without repeated points."""
    points = np.concatenate(lines)
    keep = np.r_[True, np.hypot(*np.diff(points, axis=0).T) > 1e-6]
    return points[keep]


def resample(line: Polyline, count: int) -> Polyline:
    """Points at equal distances along a line."""
    arc = np.r_[0.0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))]
    where = np.linspace(0.0, arc[-1], count)
    return np.stack([np.interp(where, arc, line[:, k]) for k in (0, 1)], axis=1)


def sampled(points: Polyline, along: np.ndarray, *, ring: bool) -> Float[np.ndarray, "M 4"]:
    """x, y, heading and curvature of a line at arc lengths, straight on beyond its end."""
    arc = np.r_[0.0, np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
    length, step = arc[-1], along[1] - along[0]

    def at(where: np.ndarray) -> Polyline:
        inside = where % length if ring else np.clip(where, 0.0, length)
        place = np.stack([np.interp(inside, arc, points[:, k]) for k in (0, 1)], axis=1)
        if ring:
            return place
        first, last = points[1] - points[0], points[-1] - points[-2]
        before, after = np.minimum(where, 0.0)[:, None], np.maximum(where - length, 0.0)[:, None]
        return place + before * first / np.hypot(*first) + after * last / np.hypot(*last)

    ahead = at(along + 0.5 * step) - at(along - 0.5 * step)
    heading = np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0]))
    # Points of maps are rounded to centimetres, which a second difference would magnify.
    smooth = np.convolve(np.pad(np.gradient(heading, step), 2, "edge"), np.full(5, 0.2), "valid")
    return np.column_stack([at(along), heading, smooth])


def foot(points: Polyline, line: Polyline) -> tuple[np.ndarray, np.ndarray]:
    """Arc length of the nearest point of a line, counted on beyond its ends, and the distance to it."""
    start, step = line[:-1], np.diff(line, axis=0)
    arc = np.r_[0.0, np.cumsum(np.hypot(*step.T))]
    square = np.maximum((step**2).sum(axis=1), 1e-18)
    out = np.empty((2, len(points)))
    for first in range(0, len(points), 256):  # bounds the memory on long roads
        block = points[first : first + 256, None] - start
        free = (block * step).sum(axis=2) / square
        part = np.clip(free, 0.0, 1.0)
        apart = np.hypot(*np.moveaxis(block - part[..., None] * step, 2, 0))
        best = apart.argmin(axis=1)
        rows = np.arange(len(best))
        at_end = ((best == 0) & (free[rows, best] < 0)) | ((best == len(step) - 1) & (free[rows, best] > 1))
        share = np.where(at_end, free[rows, best], part[rows, best])
        out[0, first : first + 256] = arc[best] + share * np.diff(arc)[best]
        out[1, first : first + 256] = apart[rows, best]
    return out[0], out[1]


def distance(points: Polyline, line: Polyline) -> np.ndarray:
    """Distance of points to a line [m]."""
    return foot(points, line)[1]
