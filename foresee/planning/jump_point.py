"""Jump-point search: A* that looks around only at corners of obstacles, and finds them 64 cells at a time."""

from typing import Any, no_type_check

import numpy as np
from numba import njit

from foresee.planning.astar import DIAGONAL, STRAIGHT, octile
from foresee.planning.bits import ahead, behind, is_set
from foresee.planning.corners import corners_of
from foresee.planning.grid import Grid, Place
from foresee.planning.path import GridPath, Watch, compiled, measure, sliced
from foresee.planning.queue import pop, push

SIZE, BEST, EXPANDED, BEST_FROM = range(4)


def jump_point(grid: Grid, start: Place, goal: Place, *, seconds: float | None = None) -> GridPath:
    """Find a shortest path between two cells, and prove it, by jump-point search.

    Of the many equally long paths only those are followed that go diagonally first and turn at corners of
    obstacles. Corners ahead in a row or column are found by bit operations on words of 64 cells; corners
    reached after a diagonal are put into the queue at once, without the cell between. What a map needs for
    this is made at the first query and kept with it.

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
        Harabor and Grastien (2011, 2014), with the pruned diagonals and the blocks of the latter.
    """
    if seconds is not None:
        compiled(jump_point)
    corners = corners_of(grid)
    watch = Watch(seconds)
    first, last = grid.cell(start, "start"), grid.cell(goal, "goal")
    count = len(corners.cells) + 2
    length, came = np.zeros(count, np.int64), np.full(count, -1, np.int32)
    ways, state = np.zeros(count, np.uint8), np.zeros(4, np.int64)
    queue: list[Any] = [np.empty(1024, np.int64), np.empty(1024, np.int64)]
    state[BEST] = 0 if first == last else -1
    state[BEST_FROM] = count - 2

    def search(most: int) -> bool:
        done, queue[0], queue[1] = _search(
            grid.stride, first, last, corners.cells, corners.kinds, corners.number,
            corners.across, corners.down, corners.leaps, length, came, ways, queue[0], queue[1], state, most,
        )  # fmt: skip
        return done

    done = sliced(search, watch)
    expanded = int(state[EXPANDED])
    if not done:
        return GridPath.out_of_time(expanded, watch)
    if state[BEST] < 0:
        return GridPath.none(expanded, watch)
    measures = _finish(corners.cells, came, state[BEST_FROM], first, last, grid.stride)
    return GridPath.measured(measures, expanded, watch)


@njit(cache=True, nogil=True)
@no_type_check
def _search(
    stride, first, last, cells, kinds, number, across, down, leaps,
    length, came, ways, keys, items, state, most,
):  # fmt: skip
    """Look around from up to `most` corners; return whether the search has ended, and the queue.

    The last number but one stands for the start. The bits of `ways` are the straight ways by which a corner
    was reached at its length, and those (shifted by 4) that it has been left by.
    """
    origin = len(length) - 2
    goal_row, goal_column = last // stride, last % stride
    size, best, expanded, ended = state[SIZE], state[BEST], 0, False
    if state[EXPANDED] == 0 and came[origin] == -1:
        came[origin] = origin
        keys, items, size = push(keys, items, size, octile(first, goal_row, goal_column, stride), origin)
    longest = 2 * min(stride, leaps.shape[1] // stride) + 8  # two corners per diagonal step
    found, costs = np.empty(longest, np.int64), np.empty(longest, np.int64)
    while expanded < most:
        if size == 0 or (best >= 0 and keys[0] >= best):
            ended = True
            break
        key, item, size = pop(keys, items, size)
        cell, here, taken = first, length[item], 255
        if item != origin:
            cell = cells[item]
            fresh = ways[item] & 15 & ~(ways[item] >> 4)
            stale = here + octile(cell, goal_row, goal_column, stride) != key
            taken = 0 if stale else _onward(fresh, kinds[item])
            ways[item] |= 0 if stale else fresh << 4
        if taken == 0:
            continue
        expanded += 1
        for way in range(8):
            count = 0
            if (taken >> way) & 1:
                count = _jump(cell, way, here, stride, last, across, down, leaps, found, costs)
            for each in range(count):
                target, there = found[each] >> 2, costs[each]
                node = number[target]
                if target == last and (best < 0 or there < best):
                    best, state[BEST_FROM] = there, item
                if node < 0 or not _better(
                    node, there, item, np.uint8(1 << (found[each] & 3)), length, came, ways
                ):
                    continue
                total = there + octile(target, goal_row, goal_column, stride)
                if best < 0 or total < best:
                    keys, items, size = push(keys, items, size, total, node)
    state[SIZE], state[BEST] = size, best
    state[EXPANDED] += expanded
    return ended, keys, items


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _better(node, there, item, bit, length, came, ways):
    """Note a way to a corner that is shorter, or as short from another side; return whether it is."""
    if came[node] >= 0 and length[node] <= there:
        if length[node] < there or ways[node] & bit:
            return False
        ways[node] |= bit
    else:
        length[node], came[node], ways[node] = there, item, bit
    return True


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _onward(ways, kinds):
    """Return the ways to go on from a corner that was reached by these straight ways.

    Straight on; and where the corner looks back to one side, to that side and the diagonal between.
    """
    taken = 0
    for way in range(4):
        if not (ways >> way) & 1:
            continue
        taken |= 1 << way
        left, right = (way - 1) & 3, (way + 1) & 3
        if (kinds >> ((way + 2) & 3)) & 1:  # the diagonal between the way back and the left
            taken |= (1 << left) | (1 << (4 + left))
        if (kinds >> ((way + 1) & 3)) & 1:  # the diagonal between the right and the way back
            taken |= (1 << right) | (1 << (4 + way))
    return taken


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _straight(row, column, way, goal_row, goal_column, across, down):
    """Return how many steps it is to the corner that a jump ends at, or to the goal; 0 if to a wall."""
    if way == 0:
        stop = ahead(across[0], row, column)
        if goal_row == row and column < goal_column <= stop:
            return goal_column - column
        return 0 if is_set(across[3], row, stop) else stop - column
    if way == 1:
        stop = ahead(down[0], column, row)
        if goal_column == column and row < goal_row <= stop:
            return goal_row - row
        return 0 if is_set(down[3], column, stop) else stop - row
    if way == 2:
        stop = behind(across[1], row, column)
        if goal_row == row and stop <= goal_column < column:
            return column - goal_column
        return 0 if is_set(across[3], row, stop) else column - stop
    stop = behind(down[1], column, row)
    if goal_column == column and stop <= goal_row < row:
        return row - goal_row
    return 0 if is_set(down[3], column, stop) else row - stop


@njit(cache=True, nogil=True)
@no_type_check
def _jump(cell, way, here, stride, last, across, down, leaps, found, costs):
    """Write what is reached along one way, as 4 × cell + straight way, with its length; return how many."""
    offsets = (1, stride, -1, -stride)
    row, goal_row = cell // stride, last // stride
    column, goal_column = cell - row * stride, last - goal_row * stride
    if way < 4:
        steps = _straight(row, column, way, goal_row, goal_column, across, down)
        if steps == 0:
            return 0
        found[0], costs[0] = 4 * (cell + steps * offsets[way]) + way, here + STRAIGHT * steps
        return 1
    count, one, two = 0, way - 4, (way - 3) & 3
    offset = offsets[one] + offsets[two]
    along = 1 if (one == 0 or two == 0) else -1
    aside = 1 if (one == 1 or two == 1) else -1
    while leaps[one, cell]:
        leap = leaps[one, cell]
        far = abs(leap)
        # The goal may be seen from a cell that is leapt over, along its row or its column.
        for each in range(2):
            step = (goal_row - row) * aside if each == 0 else (goal_column - column) * along
            if 0 < step <= far:
                x, y, upon = column + step * along, row + step * aside, cell + step * offset
                side = (0 if along > 0 else 2) if each == 0 else (1 if aside > 0 else 3)
                steps = 0 if upon == last else _straight(y, x, side, goal_row, goal_column, across, down)
                if upon + steps * offsets[side] == last:
                    found[count], costs[count] = 4 * last + side, here + DIAGONAL * step + STRAIGHT * steps
                    count += 1
        cell += far * offset
        row += far * aside
        column += far * along
        here += DIAGONAL * far
        if leap < 0:
            continue
        steps = _straight(row, column, one, goal_row, goal_column, across, down)
        if steps:
            found[count], costs[count] = 4 * (cell + steps * offsets[one]) + one, here + STRAIGHT * steps
            count += 1
        steps = _straight(row, column, two, goal_row, goal_column, across, down)
        if steps:
            found[count], costs[count] = 4 * (cell + steps * offsets[two]) + two, here + STRAIGHT * steps
            count += 1
    return count


@njit(cache=True, nogil=True)
@no_type_check
def _turns(cells, came, node, first, last):
    """Return start, the corners on the way, and goal."""
    origin = len(came) - 2
    count, at = 2, node
    while at != origin:
        at = came[at]
        count += 1
    turns = np.empty(count, np.int64)
    turns[count - 1], turns[0] = last, first
    at = node
    for place in range(count - 2, 0, -1):
        turns[place] = cells[at]
        at = came[at]
    return turns


@njit(cache=True, nogil=True)
@no_type_check
def _finish(cells, came, node, first, last, stride):
    """Return the places of the path and its length."""
    return measure(walk(_turns(cells, came, node, first, last), stride), stride)


@njit(cache=True, nogil=True)
@no_type_check
def walk(turns, stride):
    """Return all cells of a path whose parts between turns go diagonally first, then straight."""
    count = 1
    for place in range(1, len(turns)):
        rows = abs(turns[place] // stride - turns[place - 1] // stride)
        columns = abs(turns[place] % stride - turns[place - 1] % stride)
        count += max(rows, columns)
    cells = np.empty(count, np.int64)
    cells[0] = turns[0]
    filled = 1
    for place in range(1, len(turns)):
        cell, end = turns[place - 1], turns[place]
        rows, columns = end // stride - cell // stride, end % stride - cell % stride
        across, along = (1 if columns > 0 else -1), (stride if rows > 0 else -stride)
        both = min(abs(rows), abs(columns))
        straight = across if abs(columns) > abs(rows) else along
        for step in range(max(abs(rows), abs(columns))):
            cell += across + along if step < both else straight
            cells[filled] = cell
            filled += 1
    return cells
