"""The convex corners of obstacles, where shortest paths turn, and lines of bits in which they are found fast.

A free cell is a corner in the direction of a diagonal if the diagonal neighbour is blocked and the two cells
beside that step are free. A shortest path need only turn at corners.
"""

from dataclasses import dataclass
from typing import no_type_check
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Int, Int16, UInt8, UInt64
from numba import njit

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
        leaps: for each diagonal and cell, how many steps to the next cell from which a straight jump ends at
            a corner; if there is none, how many steps there are at all, negative.
    """

    cells: Int[np.ndarray, " corners"]
    kinds: UInt8[np.ndarray, " corners"]
    number: Int[np.ndarray, " cells"]
    across: UInt64[np.ndarray, "4 rows words"]
    down: UInt64[np.ndarray, "4 columns words"]
    leaps: Int16[np.ndarray, "4 cells"]


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
    ends = np.zeros(free.shape, np.uint8)
    for way in range(4):
        ends |= _looks(kinds, way).astype(np.uint8) << np.uint8(way)
    leaps = _leaps(grid.moves, ends.ravel(), grid.stride)
    return Corners(cells.astype(np.int32), flat[cells], number, across, down, leaps)


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


@njit(cache=True, nogil=True)
@no_type_check
def _leaps(moves, ends, stride):
    """Return the leaps along diagonals; bit k of `ends` says that a jump along straight way k ends there."""
    offsets = (1, stride, -1, -stride)
    cells = len(moves)
    sees = np.zeros(cells, np.uint8)  # bit k: a jump along way k ends at a corner
    for way in range(4):
        bit = np.uint8(1 << way)
        for index in range(cells):
            cell = cells - 1 - index if way < 2 else index
            if moves[cell] & bit and (ends[cell + offsets[way]] | sees[cell + offsets[way]]) & bit:
                sees[cell] |= bit
    leaps = np.zeros((4, cells), np.int16)
    for way in range(4):
        bits = np.uint8((1 << way) | (1 << ((way + 1) & 3)))
        offset = offsets[way] + offsets[(way + 1) & 3]
        for index in range(cells):
            cell = cells - 1 - index if offset > 0 else index
            if not (moves[cell] >> (4 + way)) & 1:
                continue
            onward = leaps[way, cell + offset]
            if sees[cell + offset] & bits:
                leaps[way, cell] = 1
            elif onward > 0:
                leaps[way, cell] = onward + 1 if onward < 32767 else -1
            else:
                leaps[way, cell] = max(onward - 1, -32767)
    return leaps
