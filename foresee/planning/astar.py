"""A* on a uniform grid, exact: steps of 1 and √2, a queue of buckets, compiled."""

from typing import no_type_check

import numpy as np
from numba import njit

from foresee.planning.grid import Grid, Place
from foresee.planning.path import GridPath, Watch, compiled, sliced

# Lengths are whole numbers during the search, so that equal lengths compare as equal: √2 ≈ 665857/470832
# (a convergent of its continued fraction), off by 2e-12 per diagonal step.
STRAIGHT, DIAGONAL = 470_832, 665_857
BUCKETS = 64  # their places in the queue fit the bits of one word
SHIFT = 15  # a bucket is 2¹⁵ / 470832 ≈ .07 wide; what one step adds to a cost, at most 2√2, spans 41 of them
OPEN = 128  # the bit of `came` that says that a cell waits in the queue
START = 9
# Slots of the state that a search goes on from.
BUCKET, BEST, EXPANDED, WAITING, DONE = range(5)


def astar(grid: Grid, start: Place, goal: Place, *, seconds: float | None = None) -> GridPath:
    """Find a shortest path between two cells, and prove it, with A* and the octile distance.

    Cells whose lower bounds are less than .07 apart count as equally good when the next one is chosen, and
    are looked at again where that was wrong; the search ends when nothing shorter can be left.

    Args:
        grid: the map.
        start: column and row.
        goal: column and row.
        seconds: the search stops after so long, with the outcome "out of time"; by default never. What is
            made once, for a new map and in a new installation, is not counted.

    Raises:
        PlaceError: if start or goal are off the map or inside an obstacle.
        BudgetError: if the time is not above 0.

    Source:
        Hart, Nilsson and Raphael (1968); buckets: Dial (1969), Denardo and Fox (1979).
    """
    if seconds is not None:
        compiled(astar)
    moves = grid.moves
    watch = Watch(seconds)
    first, last = grid.cell(start, "start"), grid.cell(goal, "goal")
    length, came = np.zeros(moves.size, np.int64), np.zeros(moves.size, np.uint8)
    after, before = np.zeros(moves.size, np.int32), np.zeros(moves.size, np.int32)
    head, state = np.zeros(BUCKETS, np.int32), np.zeros(5, np.int64)
    search = (moves, grid.stride, first, last, length, came, after, before, head, state)
    _begin(*search)
    done = sliced(lambda most: _search(*search, most), watch)
    expanded = int(state[EXPANDED])
    if not done:
        return GridPath.out_of_time(expanded, watch)
    if state[BEST] < 0:
        return GridPath.none(expanded, watch)
    cells = _trace(came, grid.stride, first, last)
    return GridPath.of(grid, cells, expanded, watch)


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def octile(cell, goal_row, goal_column, stride):
    """Return the length of a shortest path if nothing stood in the way."""
    row = cell // stride
    down, right = abs(row - goal_row), abs(cell - row * stride - goal_column)
    if down < right:
        return STRAIGHT * right + (DIAGONAL - STRAIGHT) * down
    return STRAIGHT * down + (DIAGONAL - STRAIGHT) * right


@njit(cache=True, nogil=True)
@no_type_check
def _begin(moves, stride, first, last, length, came, after, before, head, state):
    bucket = octile(first, last // stride, last % stride, stride) >> SHIFT
    came[first] = START | OPEN
    head[bucket % BUCKETS] = first
    state[BUCKET], state[BEST], state[WAITING] = bucket, -1, 1
    if first == last:
        state[BEST] = 0


@njit(cache=True, nogil=True)
@no_type_check
def _search(moves, stride, first, last, length, came, after, before, head, state, most):
    """Expand up to `most` cells; return whether the search has ended.

    A bucket is a list of cells linked in both directions; place 0 is on the rim and ends it.
    """
    goal_row, goal_column = last // stride, last % stride
    offsets = (1, stride, -1, -stride, stride + 1, stride - 1, -stride - 1, 1 - stride)
    bucket, best, waiting = state[BUCKET], state[BEST], state[WAITING]
    expanded, ended = 0, False
    while expanded < most:
        if waiting == 0 or (best >= 0 and (bucket << SHIFT) >= best):
            ended = True
            break
        cell = head[bucket % BUCKETS]
        if cell == 0:
            bucket += 1
            continue
        head[bucket % BUCKETS] = after[cell]
        before[after[cell]] = 0
        waiting -= 1
        came[cell] &= 127
        here = length[cell]
        if best >= 0 and here + octile(cell, goal_row, goal_column, stride) >= best:
            continue
        expanded += 1
        allowed = moves[cell]
        for way in range(8):
            if not (allowed >> way) & 1:
                continue
            near = cell + offsets[way]
            there = here + (STRAIGHT if way < 4 else DIAGONAL)
            seen = came[near]
            if seen and length[near] <= there:
                continue
            rest = octile(near, goal_row, goal_column, stride)
            if seen & OPEN:
                _unlink(near, ((length[near] + rest) >> SHIFT) % BUCKETS, after, before, head)
                waiting -= 1
            length[near], came[near] = there, way + 1
            if near == last:
                best = there
                continue
            came[near] |= OPEN
            waiting += 1
            _link(near, ((there + rest) >> SHIFT) % BUCKETS, after, before, head)
    state[BUCKET], state[BEST], state[WAITING] = bucket, best, waiting
    state[EXPANDED] += expanded
    return ended


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _link(cell, bucket, after, before, head):
    follower = head[bucket]
    after[cell], before[cell] = follower, 0
    before[follower] = cell
    head[bucket] = cell


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _unlink(cell, bucket, after, before, head):
    if before[cell] == 0:
        head[bucket] = after[cell]
    else:
        after[before[cell]] = after[cell]
    before[after[cell]] = before[cell]


@njit(cache=True, nogil=True)
@no_type_check
def _trace(came, stride, first, last):
    """Return the cells from start to goal."""
    offsets = (1, stride, -1, -stride, stride + 1, stride - 1, -stride - 1, 1 - stride)
    count, cell = 1, last
    while cell != first:
        cell -= offsets[(came[cell] & 127) - 1]
        count += 1
    cells = np.empty(count, np.int64)
    cell = last
    for place in range(count - 1, -1, -1):
        cells[place] = cell
        if cell != first:
            cell -= offsets[(came[cell] & 127) - 1]
    return cells
