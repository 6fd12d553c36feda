"""How much boxes overlap: image boxes, boxes seen from above, boxes in space."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit


def image_overlap(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Return intersection over union of image boxes (left, top, width, height), row by row [1]."""
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(a[:, 2:], axis=1) + np.prod(b[:, 2:], axis=1) - both
    return np.where(union > 0, both / np.where(union > 0, union, 1.0), 0.0)


def share_inside(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Return how much of image box `a` lies inside `b`, row by row [1]."""
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    area = np.prod(a[:, 2:], axis=1)
    both = np.prod(np.maximum(high - low, 0), axis=1)
    return np.where(area > 0, both / np.where(area > 0, area, 1.0), 0.0)


def overlap_above(a: Float[np.ndarray, "n 5"], b: Float[np.ndarray, "n 5"]) -> Float[np.ndarray, " n"]:
    """Return intersection over union of yawed boxes seen from above, row by row [1].

    Boxes are x, y, length, width, and yaw from the x axis to the y axis [rad].
    """
    both = _areas_in_common(np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64))
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - both
    return np.where(union > 0, both / np.where(union > 0, union, 1.0), 0.0)


def overlap_in_space(a: Float[np.ndarray, "n 7"], b: Float[np.ndarray, "n 7"]) -> Float[np.ndarray, " n"]:
    """Return intersection over union of upright yawed boxes in space, row by row [1].

    Boxes are x, y, z of the centre, length, width, height, and yaw around the third axis [rad].
    """
    flat = [0, 1, 3, 4, 6]
    area = _areas_in_common(
        np.ascontiguousarray(a[:, flat], np.float64), np.ascontiguousarray(b[:, flat], np.float64)
    )
    top = np.minimum(a[:, 2] + a[:, 5] / 2, b[:, 2] + b[:, 5] / 2)
    bottom = np.maximum(a[:, 2] - a[:, 5] / 2, b[:, 2] - b[:, 5] / 2)
    both = area * np.maximum(top - bottom, 0)
    union = np.prod(a[:, 3:6], axis=1) + np.prod(b[:, 3:6], axis=1) - both
    return np.where(union > 0, both / np.where(union > 0, union, 1.0), 0.0)


@njit(cache=True)
@no_type_check  # shape checks, where they are on, would wrap it into what Numba cannot read
def _areas_in_common(a, b):
    """Clip the rectangle `a` by the four sides of `b` (Sutherland and Hodgman 1974), in the frame of `b`."""
    out = np.zeros(len(a))
    points = np.empty((16, 2))
    clipped = np.empty((16, 2))
    for row in range(len(a)):
        dx, dy = a[row, 0] - b[row, 0], a[row, 1] - b[row, 1]
        reach = np.hypot(a[row, 2], a[row, 3]) + np.hypot(b[row, 2], b[row, 3])
        if 4 * (dx * dx + dy * dy) > reach * reach:
            continue
        cos, sin = np.cos(b[row, 4]), np.sin(b[row, 4])
        x, y = dx * cos + dy * sin, dy * cos - dx * sin
        cos, sin = np.cos(a[row, 4] - b[row, 4]), np.sin(a[row, 4] - b[row, 4])
        half, side = a[row, 2] / 2, a[row, 3] / 2
        for corner in range(4):
            along = half if corner in (0, 3) else -half
            across = side if corner < 2 else -side
            points[corner, 0] = x + along * cos - across * sin
            points[corner, 1] = y + along * sin + across * cos
        count = 4
        for edge in range(4):
            axis = edge % 2
            sign = 1.0 if edge < 2 else -1.0
            limit = b[row, 2 + axis] / 2
            kept = 0
            for k in range(count):
                here, there = points[k], points[(k + 1) % count]
                inside, outside = limit - sign * here[axis], limit - sign * there[axis]
                if inside >= 0:
                    clipped[kept] = here
                    kept += 1
                if (inside > 0 and outside < 0) or (inside < 0 and outside > 0):
                    share = inside / (inside - outside)
                    clipped[kept] = here + share * (there - here)
                    kept += 1
            count = kept
            for k in range(count):
                points[k] = clipped[k]
        area = 0.0
        for k in range(count):
            following = (k + 1) % count
            area += points[k, 0] * points[following, 1] - points[following, 0] * points[k, 1]
        out[row] = abs(area) / 2
    return out
