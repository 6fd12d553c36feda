"""The convex corners of obstacles, where shortest paths turn, and lines of bits in which they are found fast.

A free cell is a corner in the direction of a diagonal if the diagonal neighbour is blocked and the two cells
beside that step are free. A shortest path need only turn at corners.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Int, UInt8, UInt64

from foresee.planning.bits import pack
from foresee.planning.grid import STEPS, Grid


@dataclass(frozen=True, eq=False)
class Corners:
    """The corners of a map, and where walking straight ahead has to stop.

    The stops are bits, 64 cells per word: of the four straight ways those where a jump ends (a wall, or a
    corner that opens a way aside), those where a wall or any corner is, and the walls, along rows and along
    columns. For ways along a column the table is of columns.

    Attributes:
        cells: the corners' places in the flat map with its rim.
        kinds: bit k says that the corner looks in the direction of diagonal 4 + k of `STEPS`.
        number: for each cell of the flat map the number of its corner, or −1.
        across: of jumps along rows, east and west, of any corner or wall, and of walls.
        down: of jumps along columns, south and north, of any corner or wall, and of walls.
    """

    cells: Int[np.ndarray, " corners"]
    kinds: UInt8[np.ndarray, " corners"]
    number: Int[np.ndarray, " cells"]
    across: UInt64[np.ndarray, "4 rows words"]
    down: UInt64[np.ndarray, "4 columns words"]


def find_corners(grid: Grid) -> Corners:
    """Return the corners of a map."""
    blocked = grid.blocked
    free = ~blocked
    kinds = np.zeros(free.shape, np.uint8)
    inner = (slice(1, -1), slice(1, -1))
    for k in range(4):
        beside = _moved(free, *STEPS[k]) & _moved(free, *STEPS[(k + 1) % 4])
        corner = free & beside & ~_moved(free, *STEPS[4 + k])
        kinds[inner] |= corner[inner].astype(np.uint8) << np.uint8(k)
    flat = kinds.ravel()
    cells = np.flatnonzero(flat)
    number = np.full(flat.size, -1, np.int32)
    number[cells] = np.arange(len(cells), dtype=np.int32)
    jumps = [blocked | _looks(kinds, way) for way in range(4)]
    every = blocked | (kinds > 0)
    across = np.stack([pack(jumps[0]), pack(jumps[2]), pack(every), pack(blocked)])
    down = np.stack([pack(jumps[1].T), pack(jumps[3].T), pack(every.T), pack(blocked.T)])
    return Corners(cells.astype(np.int32), flat[cells], number, across, down)


_KEPT: WeakKeyDictionary[Grid, Corners] = WeakKeyDictionary()


def corners_of(grid: Grid) -> Corners:
    """Return the corners of a map, made at the first call and kept as long as the map is."""
    found = _KEPT.get(grid)
    if found is None:
        found = _KEPT[grid] = find_corners(grid)
    return found


def _moved(free, down, right):
    """Return what the neighbour in a direction is; nothing sensible on the rim."""
    return np.roll(free, (-down, -right), axis=(0, 1))


def _looks(kinds, way):
    """Return which corners open a way aside for one who comes along this straight way."""
    behind = (way + 2) % 4
    # The diagonals that contain the way back: the one after it and the one before it.
    return (kinds >> np.uint8(behind) | kinds >> np.uint8((behind - 1) % 4)) & 1 > 0
