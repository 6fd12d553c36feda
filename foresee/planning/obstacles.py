"""Obstacles in the plane: discs, polygons and cells, and whether a point or a segment touches them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float
from numba import njit

from foresee.errors import MapError, PlaceError


@dataclass(frozen=True, eq=False)
class Obstacles:
    """A rectangle of the plane and what stands in it; touching an obstacle is a collision.

    Attributes:
        low: least x and y.
        high: largest x and y.
        discs: x, y and radius.
        polygons: corners of each in order, either way round; they may overlap.
        blocked: whether a cell is an obstacle, rows from the top; the cell (column, row) is the square of
            side 1 around that point, as x and y.

    Raises:
        MapError: if a number is not finite, a radius negative, a polygon has fewer than three corners, or
            the rectangle is empty.
    """

    low: Float[np.ndarray, "2"]
    high: Float[np.ndarray, "2"]
    discs: Float[np.ndarray, "discs 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    polygons: tuple[Float[np.ndarray, "_ 2"], ...] = ()
    blocked: Bool[np.ndarray, "rows columns"] | None = None

    def __post_init__(self) -> None:
        numbers = [self.low, self.high, self.discs.ravel(), *(each.ravel() for each in self.polygons)]
        if not np.isfinite(np.concatenate(numbers)).all():
            raise MapError("expected finite numbers in obstacles and bounds, got one that is not")
        if not (self.low < self.high).all():
            raise MapError(f"expected bounds with low below high, got {self.low} and {self.high}")
        if (self.discs[:, 2] < 0).any():
            raise MapError(f"expected radii of 0 or more, got {self.discs[:, 2].min()}")
        if any(len(each) < 3 for each in self.polygons):
            raise MapError("expected polygons of at least three corners, got one with fewer")

    @cached_property
    def room(self) -> tuple[np.ndarray, ...]:
        """The same as arrays for compiled code: bounds, discs, sides, first side of each polygon, cells."""
        sides = [np.hstack([each, np.roll(each, -1, axis=0)]) for each in self.polygons]
        first = np.concatenate([[0], np.cumsum([len(each) for each in self.polygons])]).astype(np.int64)
        cells = np.zeros((0, 0), np.bool_) if self.blocked is None else np.ascontiguousarray(self.blocked)
        return (
            np.concatenate([self.low, self.high]).astype(float),
            np.ascontiguousarray(self.discs, dtype=float),
            np.vstack(sides) if sides else np.zeros((0, 4)),
            first,
            cells,
        )

    def check(self, point: np.ndarray, name: str) -> np.ndarray:
        """Return a start or a goal as two floats.

        Raises:
            PlaceError: if it is no point, or not free.
        """
        place = np.asarray(point, float)
        if place.shape != (2,) or not np.isfinite(place).all():
            raise PlaceError(f"{name}: expected x and y as finite numbers, got {point}")
        if not ((place >= self.low) & (place <= self.high)).all():
            raise PlaceError(f"{name}: expected a point between {self.low} and {self.high}, got {place}")
        if not free_point(place[0], place[1], self.room):
            raise PlaceError(f"{name}: expected a free point, got {place}, which is inside an obstacle")
        return place


@njit(cache=True, nogil=True)
@no_type_check
def free_point(x, y, room):
    """Return whether a point is within the bounds and touches nothing."""
    bounds, discs, sides, first, cells = room
    if not (bounds[0] <= x <= bounds[2] and bounds[1] <= y <= bounds[3]):
        return False
    for disc in range(len(discs)):
        if (x - discs[disc, 0]) ** 2 + (y - discs[disc, 1]) ** 2 <= discs[disc, 2] ** 2:
            return False
    for polygon in range(len(first) - 1):
        inside = False
        for side in range(first[polygon], first[polygon + 1]):
            ax, ay, bx, by = sides[side]
            if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
                inside = not inside
        if inside:
            return False
    if cells.size:
        row, column = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        if 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1] and cells[row, column]:
            return False
    return True


@njit(cache=True, nogil=True)
@no_type_check
def free_segment(ax, ay, bx, by, room):
    """Return whether a segment between two points of which the first is free touches nothing."""
    bounds, discs, sides, _, cells = room
    if not (bounds[0] <= bx <= bounds[2] and bounds[1] <= by <= bounds[3]):
        return False
    ux, uy = bx - ax, by - ay
    square = ux * ux + uy * uy
    for disc in range(len(discs)):
        px, py = discs[disc, 0] - ax, discs[disc, 1] - ay
        along = 0.0 if square == 0 else min(1.0, max(0.0, (px * ux + py * uy) / square))
        if (px - along * ux) ** 2 + (py - along * uy) ** 2 <= discs[disc, 2] ** 2:
            return False
    for side in range(len(sides)):
        if _cross(ax, ay, bx, by, sides[side]):
            return False
    return not cells.size or _free_cells(ax, ay, bx, by, cells)


@njit(cache=True, nogil=True)
@no_type_check
def _cross(ax, ay, bx, by, side):
    """Return whether a segment touches a side."""
    cx, cy, dx, dy = side
    if max(ax, bx) < min(cx, dx) or max(cx, dx) < min(ax, bx):
        return False
    if max(ay, by) < min(cy, dy) or max(cy, dy) < min(ay, by):
        return False
    one = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    two = (bx - ax) * (dy - ay) - (by - ay) * (dx - ax)
    three = (dx - cx) * (ay - cy) - (dy - cy) * (ax - cx)
    four = (dx - cx) * (by - cy) - (dy - cy) * (bx - cx)
    return one * two <= 0 and three * four <= 0


@njit(cache=True, nogil=True)
@no_type_check
def _free_cells(ax, ay, bx, by, cells):
    """Return whether all cells that a segment enters are free (Amanatides and Woo 1987)."""
    column, row = int(np.floor(ax + 0.5)), int(np.floor(ay + 0.5))
    last_column, last_row = int(np.floor(bx + 0.5)), int(np.floor(by + 0.5))
    across, down = (1 if bx > ax else -1), (1 if by > ay else -1)
    long_x = np.inf if bx == ax else 1.0 / abs(bx - ax)
    long_y = np.inf if by == ay else 1.0 / abs(by - ay)
    next_x = np.inf if bx == ax else (column + 0.5 * across - ax) / (bx - ax)
    next_y = np.inf if by == ay else (row + 0.5 * down - ay) / (by - ay)
    for _ in range(abs(last_column - column) + abs(last_row - row) + 1):
        if 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1] and cells[row, column]:
            return False
        if column == last_column and row == last_row:
            return True
        if next_x < next_y:
            column += across
            next_x += long_x
        else:
            row += down
            next_y += long_y
    return True
