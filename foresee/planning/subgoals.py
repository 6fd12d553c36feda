"""The corners of a map as a graph: edges lead to where every shortest way is free and passes no other."""

from typing import no_type_check

import numpy as np
from numba import njit

from foresee.planning.astar import DIAGONAL, STRAIGHT
from foresee.planning.bits import ahead, behind, is_set
from foresee.planning.corners import Corners
from foresee.planning.grid import Grid


def subgoal_graph(grid: Grid, corners: Corners) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the graph of a map's corners in compressed rows: first edge of each corner, ends, lengths.

    A shortest path between two cells consists of steps along this graph, from one of the corners that
    `reachable` gives for the start to one of those it gives for the goal, or passes no corner at all.

    Source:
        Uras, Koenig and Hernández (2013), "Subgoal graphs for optimal pathfinding in eight-neighbor grids".
    """
    return _edges(grid.moves, grid.stride, corners.cells, corners.number, corners.across, corners.down)


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _room(row, column, way, across, down):
    """Return how many free cells there are along a straight way, up to and with the first corner.

    The second number is whether that is a corner.
    """
    if way == 0:
        stop = ahead(across[2], row, column)
        wall = is_set(across[3], row, stop)
        return stop - column - wall, not wall
    if way == 1:
        stop = ahead(down[2], column, row)
        wall = is_set(down[3], column, stop)
        return stop - row - wall, not wall
    if way == 2:
        stop = behind(across[2], row, column)
        wall = is_set(across[3], row, stop)
        return column - stop - wall, not wall
    stop = behind(down[2], column, row)
    wall = is_set(down[3], column, stop)
    return row - stop - wall, not wall


@njit(cache=True, nogil=True)
@no_type_check
def reachable(cell, moves, stride, number, across, down, corners, lengths):
    """Write the corners that are reached from a cell without passing another; return how many.

    All paths of that many straight and diagonal steps to such a corner are free. The arrays must have room
    for what is found; corners beyond that are counted, but not written.
    """
    offsets = (1, stride, -1, -stride)
    first_row = cell // stride
    first_column = cell - first_row * stride
    count = 0
    rooms = np.empty(4, np.int64)
    for way in range(4):
        steps, corner = _room(first_row, first_column, way, across, down)
        rooms[way] = steps - corner
        if corner:
            count = _note(number[cell + steps * offsets[way]], STRAIGHT * steps, corners, lengths, count)
    for way in range(4):
        one, two = way, (way + 1) & 3
        along = 1 if (one == 0 or two == 0) else -1
        aside = 1 if (one == 1 or two == 1) else -1
        offset = offsets[one] + offsets[two]
        here, row, column, gone = cell, first_row, first_column, 0
        most_one, most_two = rooms[one], rooms[two]
        while (moves[here] >> (4 + way)) & 1:
            here += offset
            row += aside
            column += along
            gone += DIAGONAL
            if number[here] >= 0:
                count = _note(number[here], gone, corners, lengths, count)
                break
            steps, corner = _room(row, column, one, across, down)
            if corner and steps <= most_one:
                end = number[here + steps * offsets[one]]
                count = _note(end, gone + STRAIGHT * steps, corners, lengths, count)
                steps -= 1
            most_one = min(most_one, steps)
            steps, corner = _room(row, column, two, across, down)
            if corner and steps <= most_two:
                end = number[here + steps * offsets[two]]
                count = _note(end, gone + STRAIGHT * steps, corners, lengths, count)
                steps -= 1
            most_two = min(most_two, steps)
    return count


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _note(corner, length, corners, lengths, count):
    if count < len(corners):
        corners[count], lengths[count] = corner, length
    return count + 1


@njit(cache=True, nogil=True)
@no_type_check
def _edges(moves, stride, cells, number, across, down):
    most = 4 * (stride + len(moves) // stride) + 8
    found, lengths = np.empty(most, np.int32), np.empty(most, np.int64)
    first = np.zeros(len(cells) + 1, np.int64)
    ends, costs = np.empty(16 * len(cells) + most, np.int32), np.empty(16 * len(cells) + most, np.int64)
    used = 0
    for corner in range(len(cells)):
        count = reachable(cells[corner], moves, stride, number, across, down, found, lengths)
        if used + count > len(ends):
            more_ends, more_costs = np.empty(2 * len(ends), np.int32), np.empty(2 * len(ends), np.int64)
            more_ends[:used], more_costs[:used] = ends[:used], costs[:used]
            ends, costs = more_ends, more_costs
        ends[used : used + count], costs[used : used + count] = found[:count], lengths[:count]
        used += count
        first[corner + 1] = used
    return first, ends[:used].copy(), costs[:used].copy()


@njit(cache=True, nogil=True)
@no_type_check
def straight_shot(one, two, moves, stride):
    """Return whether going diagonally first and then straight leads from one cell to another."""
    rows, columns = two // stride - one // stride, two % stride - one % stride
    east, south = columns > 0, rows > 0
    diagonal = 4 if (east and south) else 5 if south else 7 if east else 6
    straight = (0 if east else 2) if abs(columns) > abs(rows) else (1 if south else 3)
    offsets = (1, stride, -1, -stride, stride + 1, stride - 1, -stride - 1, 1 - stride)
    both = min(abs(rows), abs(columns))
    for step in range(max(abs(rows), abs(columns))):
        way = diagonal if step < both else straight
        if not (moves[one] >> way) & 1:
            return False
        one += offsets[way]
    return True
