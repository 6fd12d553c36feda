"""Any-angle paths: Lazy Theta*, whose corners need not lie on the eight directions of the grid."""

from typing import no_type_check

import numpy as np
from numba import njit

from foresee.planning.costs import EXPANDED, SIZE, trace
from foresee.planning.grid import Grid, Place
from foresee.planning.path import GridPath, Watch, compiled, sliced
from foresee.planning.queue import pop, push


def any_angle(grid: Grid, start: Place, goal: Place, *, seconds: float | None = None) -> GridPath:
    """Find a short path of straight segments between middles of cells, at any angle.

    It is never longer than the start of its search along the grid would make it, and often the shortest at
    any angle, but that is not proved. That there is no path is.

    Args:
        grid: the map; a segment touches free cells only, and passes between two diagonal neighbours only if
            both cells beside it are free.
        start: column and row.
        goal: column and row.
        seconds: the search stops after so long, with the outcome "out of time"; by default never. What is
            made once, for a new map and in a new installation, is not counted.

    Raises:
        PlaceError: if start or goal are off the map or inside an obstacle.
        BudgetError: if the time is not above 0.

    Source:
        Nash, Koenig and Tovey (2010), "Lazy Theta*".
    """
    if seconds is not None:
        compiled(any_angle)
    moves = grid.moves
    watch = Watch(seconds)
    first, last = grid.cell(start, "start"), grid.cell(goal, "goal")
    size = moves.size
    spent, came = np.full(size, np.inf), np.full(size, -1, np.int32)
    closed, state = np.zeros(size, np.bool_), np.zeros(2, np.int64)
    spent[first] = 0.0
    keys, items, state[SIZE] = push(np.empty(4096), np.empty(4096, np.int64), 0, 0.0, first)
    queue = [keys, items]

    def search(most: int) -> bool:
        done, queue[0], queue[1] = _search(
            moves, grid.stride, last, spent, came, closed, queue[0], queue[1], state, most
        )
        return done

    done = sliced(search, watch)
    expanded = int(state[EXPANDED])
    if not done:
        return GridPath.out_of_time(expanded, watch)
    if not closed[last]:
        return GridPath.none(expanded, watch)
    return GridPath.of(grid, trace(came, last), expanded, watch)


def pull_tight(grid: Grid, path: GridPath) -> GridPath:
    """Return a path with every corner left out that need not be there, from start to goal.

    Args:
        grid: the map that the path was found on.
        path: a path on it.
    """
    if not path.found:
        return path
    watch = Watch()
    cells = np.array([grid.cell(place) for place in path.cells])
    return GridPath.of(grid, _taut(cells, grid.moves, grid.stride), path.expanded, watch)


@njit(cache=True, nogil=True)
@no_type_check
def _taut(cells, moves, stride):
    kept = np.empty(len(cells), np.int64)
    kept[0], count, at = cells[0], 1, 0
    while at < len(cells) - 1:
        far = len(cells) - 1
        while far > at + 1 and not in_sight(cells[at], cells[far], moves, stride):
            far -= 1
        at = far
        kept[count] = cells[at]
        count += 1
    return kept[:count].copy()


@njit(cache=True, nogil=True)
@no_type_check
def _away(one, two, stride):
    rows = one // stride - two // stride
    columns = one % stride - two % stride
    return np.hypot(float(rows), float(columns))


@njit(cache=True, nogil=True)
@no_type_check
def in_sight(one, two, moves, stride):
    """Return whether the segment between the middles of two cells is free.

    Cells are passed in the order in which the segment enters them; where it passes exactly through a corner,
    the step is diagonal.
    """
    rows, columns = two // stride - one // stride, two % stride - one % stride
    across, along = (1 if columns > 0 else -1), (1 if rows > 0 else -1)
    rows, columns = abs(rows), abs(columns)
    sideways, upright = (0 if across > 0 else 2), (1 if along > 0 else 3)
    diagonal = 4 if (across > 0 and along > 0) else 5 if along > 0 else 6 if across < 0 else 7
    gone, fallen, cell = 0, 0, one
    while gone < columns or fallen < rows:
        # Twice the time of leaving the cell sideways against upwards, times rows × columns.
        ahead = (1 + 2 * gone) * rows - (1 + 2 * fallen) * columns
        way = diagonal if ahead == 0 else sideways if ahead < 0 else upright
        if not (moves[cell] >> way) & 1:
            return False
        if way != upright:
            cell += across
            gone += 1
        if way != sideways:
            cell += along * stride
            fallen += 1
    return True


@njit(cache=True, nogil=True)
@no_type_check
def _search(moves, stride, last, spent, came, closed, keys, items, state, most):
    """Expand up to `most` cells; return whether the search has ended, and the queue.

    A neighbour is taken for visible from where its cell was seen from; that is checked when its turn comes.
    """
    offsets = (1, stride, -1, -stride, stride + 1, stride - 1, -stride - 1, 1 - stride)
    size, expanded, ended = state[SIZE], 0, False
    while expanded < most:
        if size == 0:
            ended = True
            break
        _, cell, size = pop(keys, items, size)
        if closed[cell]:
            continue
        origin = came[cell]
        if origin >= 0 and not in_sight(origin, cell, moves, stride):
            spent[cell] = np.inf
            for way in range(8):
                near = cell + offsets[way]
                if (moves[cell] >> way) & 1 and closed[near]:
                    there = spent[near] + (1.0 if way < 4 else np.sqrt(2.0))
                    if there < spent[cell]:
                        spent[cell], came[cell] = there, near
        closed[cell] = True
        if cell == last:
            ended = True
            break
        expanded += 1
        origin = came[cell] if came[cell] >= 0 else cell
        for way in range(8):
            near = cell + offsets[way]
            if not (moves[cell] >> way) & 1 or closed[near]:
                continue
            there = spent[origin] + _away(origin, near, stride)
            if there < spent[near]:
                spent[near], came[near] = there, origin
                key = there + _away(near, last, stride)
                keys, items, size = push(keys, items, size, key, np.int64(near))
    state[SIZE] = size
    state[EXPANDED] += expanded
    return ended, keys, items
