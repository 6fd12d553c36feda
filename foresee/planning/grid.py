"""A map of free and blocked cells, and which of its eight neighbours can be stepped to from each."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import distance_transform_edt

from foresee.errors import MapError, PlaceError

# East, south, west, north, then the diagonals between each of them and the next, as (rows, columns).
# The diagonal 4 + k lies between the straight directions k and (k + 1) mod 4.
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))
MOST_CELLS = 2**30

Place = tuple[int, int] | np.ndarray


@dataclass(frozen=True, eq=False)
class Grid:
    """A map of cells of which a point robot may enter the free ones, to its eight neighbours.

    Diagonal steps need both cells beside them free: corners are not cut. Places are (column, row), counted
    from the top left, as in MovingAI's scenarios.

    Attributes:
        free: whether a cell can be entered, rows from the top.

    Raises:
        MapError: if the array has no cells, or too many to number.
    """

    free: Bool[np.ndarray, "rows columns"]
    _padded: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.free.ndim != 2 or not self.free.size:
            raise MapError(f"expected a map of rows × columns with at least one cell, got {self.free.shape}")
        padded = np.zeros((self.free.shape[0] + 2, self.free.shape[1] + 2), bool)
        if padded.size > MOST_CELLS:
            raise MapError(f"expected a map of at most {MOST_CELLS:,} cells, got {self.free.shape}")
        padded[1:-1, 1:-1] = self.free
        object.__setattr__(self, "_padded", padded)

    @property
    def rows(self) -> int:
        """How many rows the map has."""
        return self.free.shape[0]

    @property
    def columns(self) -> int:
        """How many columns the map has."""
        return self.free.shape[1]

    @property
    def stride(self) -> int:
        """Cells per row of the flat map, which has a blocked rim."""
        return self.free.shape[1] + 2

    @property
    def blocked(self) -> Bool[np.ndarray, "rows_and_2 columns_and_2"]:
        """Whether a cell cannot be entered, with a blocked rim of one cell around the map."""
        return ~self._padded

    @cached_property
    def moves(self) -> UInt8[np.ndarray, " cells"]:
        """Bit k says whether step k of `STEPS` is allowed from a cell of the flat map with its rim."""
        padded = self._padded
        moves = np.zeros(padded.shape, np.uint8)
        inner = moves[1:-1, 1:-1]
        ways = [self.free & self._beside(*step) for step in STEPS]
        for k in range(4):
            ways[4 + k] &= ways[k] & ways[(k + 1) % 4]
        for k, way in enumerate(ways):
            inner |= way.astype(np.uint8) << np.uint8(k)
        return moves.ravel()

    def _beside(self, down: int, right: int) -> Bool[np.ndarray, "rows columns"]:
        return self._padded[1 + down : 1 + down + self.rows, 1 + right : 1 + right + self.columns]

    def cell(self, place: Place, name: str = "place") -> int:
        """Return where a place (column, row) stands in the flat map with its rim.

        Raises:
            PlaceError: if it is not a pair of whole numbers, off the map, or inside an obstacle.
        """
        pair = np.asarray(place)
        if pair.shape != (2,) or not np.issubdtype(pair.dtype, np.integer):
            raise PlaceError(f"{name}: expected a column and a row as whole numbers, got {place}")
        column, row = int(pair[0]), int(pair[1])
        if not (0 <= column < self.columns and 0 <= row < self.rows):
            raise PlaceError(
                f"{name}: expected column,row within 0,0 and {self.columns - 1},{self.rows - 1}, "
                f"got {column},{row}, which is off the map"
            )
        if not self.free[row, column]:
            raise PlaceError(f"{name}: expected a free cell, got {column},{row}, which is inside an obstacle")
        return (row + 1) * self.stride + column + 1

    def cells(self, places: Int[np.ndarray, "places 2"], name: str = "place") -> Int[np.ndarray, " places"]:
        """Return where many places stand in the flat map with its rim.

        Raises:
            PlaceError: as `cell`, for the first that is wrong.
        """
        inside = np.all((places >= 0) & (places < (self.columns, self.rows)), axis=1)
        held = np.where(inside[:, None], places, 0)
        wrong = np.flatnonzero(~inside | ~self.free[held[:, 1], held[:, 0]])
        if len(wrong):
            self.cell(places[wrong[0]], f"{name} {wrong[0]}")
        return (places[:, 1] + 1) * self.stride + places[:, 0] + 1

    def places(self, cells: Int[np.ndarray, " cells"]) -> Int[np.ndarray, "cells 2"]:
        """Return the (column, row) of cells of the flat map with its rim."""
        rows, columns = np.divmod(cells, self.stride)
        return np.stack([columns - 1, rows - 1], axis=1)


def clearance(grid: Grid) -> Float[np.ndarray, "rows columns"]:
    """Return how far the middle of each cell is from that of the nearest obstacle or of the rim [cells]."""
    return distance_transform_edt(~grid.blocked)[1:-1, 1:-1]  # pyright: ignore[reportIndexIssue,reportCallIssue,reportArgumentType,reportOptionalSubscript]


def inflate(grid: Grid, radius: float | int) -> Grid:
    """Return the map for the middle of a round robot, which must stay off what a point robot may touch.

    Args:
        grid: the map for a point robot.
        radius: of the robot [cells]; a cell stays free if no obstacle's middle is nearer than radius + ½,
            and a robot of radius ½ or less fits wherever a point does.

    Raises:
        MapError: if the radius is negative or not finite.
    """
    if not (np.isfinite(radius) and radius >= 0):
        raise MapError(f"expected a robot's radius of 0 or more cells, got {radius}")
    if radius <= 0.5:
        return grid
    return Grid(grid.free & (clearance(grid) >= radius + 0.5))
