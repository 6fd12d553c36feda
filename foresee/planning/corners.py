"""The convex corners of obstacles, where shortest paths turn, and rows of bits in which they are found fast.

A free cell is a corner in the direction of a diagonal if the diagonal neighbour is blocked and the two cells
beside that step are free. A shortest path need only turn at corners.
"""

from dataclasses import dataclass
from typing import no_type_check
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Int, UInt8, UInt64
from numba import njit

from foresee.planning.grid import STEPS, Grid


@dataclass(frozen=True, eq=False)
class Corners:
    """The corners of a map, and where walking straight ahead has to stop.

    The stops are bits, 64 cells per word: of the four straight ways those where a jump ends (a wall, or a
    corner that opens a way aside), and then those where a wall or any corner is, along rows and along
    columns. For ways along a column the table is of columns.

    Attributes:
        cells: the corners' places in the flat map with its rim.
        kinds: bit k says that the corner looks in the direction of diagonal 4 + k of `STEPS`.
        number: for each cell of the flat map the number of its corner, or −1.
        across: of jumps along rows, east and west, and of any corner or wall.
        down: of jumps along columns, south and north, and of any corner or wall.
    """

    cells: Int[np.ndarray, " corners"]
    kinds: UInt8[np.ndarray, " corners"]
    number: Int[np.ndarray, " cells"]
    across: UInt64[np.ndarray, "3 rows words"]
    down: UInt64[np.ndarray, "3 columns words"]


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
    across = np.stack([_bits(jumps[0]), _bits(jumps[2]), _bits(every)])
    down = np.stack([_bits(jumps[1].T), _bits(jumps[3].T), _bits(every.T)])
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


def _bits(flags):
    """Return rows of bits, cell c in bit c mod 64 of word c // 64; beyond the end all are set."""
    words = -(-flags.shape[1] // 64)
    padded = np.ones((flags.shape[0], 64 * words), bool)
    padded[:, : flags.shape[1]] = flags
    packed = np.packbits(padded, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64)


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def first_bit(word):
    """Return the place of the lowest bit that is set."""
    low = word & (~word + np.uint64(1))
    return np.int64(_count(low - np.uint64(1)))


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def last_bit(word):
    """Return the place of the highest bit that is set."""
    word |= word >> np.uint64(1)
    word |= word >> np.uint64(2)
    word |= word >> np.uint64(4)
    word |= word >> np.uint64(8)
    word |= word >> np.uint64(16)
    word |= word >> np.uint64(32)
    return np.int64(_count(word)) - 1


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _count(word):
    """Return how many bits are set; LLVM knows this pattern as one instruction."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def ahead(bits, line, place):
    """Return the first stop after a place on a line."""
    place += 1
    word = place >> 6
    found = bits[line, word] >> np.uint64(place & 63)
    if found:
        return place + first_bit(found)
    word += 1
    while bits[line, word] == 0:
        word += 1
    return (word << 6) + first_bit(bits[line, word])


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def behind(bits, line, place):
    """Return the last stop before a place on a line."""
    place -= 1
    word = place >> 6
    found = bits[line, word] << np.uint64(63 - (place & 63))
    if found:
        return place - 63 + last_bit(found)
    word -= 1
    while bits[line, word] == 0:
        word -= 1
    return (word << 6) + last_bit(bits[line, word])
