"""Queries on a prepared map: the corners around both ends, and the best hub that two of them share."""

from typing import no_type_check

import numpy as np
from numba import njit

from foresee.planning.astar import STRAIGHT, octile
from foresee.planning.jump_point import walk
from foresee.planning.path import measure
from foresee.planning.subgoals import reachable, straight_shot


@njit(cache=True, nogil=True)
@no_type_check
def look_up(
    first, last, moves, stride, cells, number, across, down, starts, hubs, lengths, onward
):  # fmt: skip
    """Return places and length of a shortest path, no places if there is none, and the entries read."""
    if first == last:
        return measure(np.array([first]), stride), 0
    if straight_shot(first, last, moves, stride):
        return measure(walk(np.array([first, last]), stride), stride), 0
    best, read, hub, out, into = _over_corners(
        first, last, moves, stride, cells, number, across, down, starts, hubs, lengths
    )
    if best < 0:
        return measure(np.empty(0, np.int64), stride), read
    turns = _unpack(first, last, out, into, hub, cells, starts, hubs, onward)
    return measure(walk(turns, stride), stride), read


@njit(cache=True, nogil=True)
@no_type_check
def look_up_many(
    firsts, lasts, found, moves, stride, cells, number, across, down, starts, hubs, lengths
):  # fmt: skip
    """Write the lengths of shortest paths."""
    for query in range(len(firsts)):
        first, last = firsts[query], lasts[query]
        if straight_shot(first, last, moves, stride):
            best = octile(first, last // stride, last % stride, stride)
        else:
            best, _, _, _, _ = _over_corners(
                first, last, moves, stride, cells, number, across, down, starts, hubs, lengths
            )
        found[query] = best / STRAIGHT if best >= 0 else np.inf


@njit(cache=True, nogil=True)
@no_type_check
def _over_corners(
    first, last, moves, stride, cells, number, across, down, starts, hubs, lengths
):  # fmt: skip
    """Return the length of a shortest path that turns at a corner, entries read, its hub, the outer corners.

    The length is −1 if there is no such path.
    """
    room = 4 * (stride + len(moves) // stride) + 8
    from_start, far_start = np.empty(room, np.int32), np.empty(room, np.int64)
    from_goal, far_goal = np.empty(room, np.int32), np.empty(room, np.int64)
    many = _around(first, moves, stride, number, across, down, from_start, far_start)
    few = _around(last, moves, stride, number, across, down, from_goal, far_goal)
    one = _promising(from_start, far_start, many, last, cells, stride)
    two = _promising(from_goal, far_goal, few, first, cells, stride)
    read = 0
    if one >= 0 and two >= 0:
        # Any path bounds what the others may cost, and most corners around need not be looked up.
        bound, read = _meet(from_start[one], from_goal[two], starts, hubs, lengths)
        if bound >= 0:
            bound += far_start[one] + far_goal[two]
            many = _keep(from_start, far_start, many, last, cells, stride, bound)
            few = _keep(from_goal, far_goal, few, first, cells, stride, bound)
    best, middle, out, into, more = _join(
        from_start[:many], far_start, from_goal[:few], far_goal, starts, hubs, lengths
    )
    return best, read + more, middle, out, into


@njit(cache=True, nogil=True)
@no_type_check
def _join(from_start, far_start, from_goal, far_goal, starts, hubs, lengths):
    """Return the shortest length over all corners around both ends, its hub, the corners, entries read."""
    best, middle, out, into, read = np.int64(-1), -1, -1, -1, 0
    reach = np.full(len(starts) - 1, -1, np.int64)
    via = np.empty(len(starts) - 1, np.int32)
    for each in range(len(from_start)):
        corner = from_start[each]
        for entry in range(starts[corner], starts[corner + 1]):
            there, hub = far_start[each] + lengths[entry], hubs[entry]
            if reach[hub] < 0 or there < reach[hub]:
                reach[hub], via[hub] = there, corner
        read += starts[corner + 1] - starts[corner]
    for each in range(len(from_goal)):
        corner = from_goal[each]
        for entry in range(starts[corner], starts[corner + 1]):
            hub = hubs[entry]
            if reach[hub] >= 0:
                there = reach[hub] + lengths[entry] + far_goal[each]
                if best < 0 or there < best:
                    best, middle, out, into = there, hub, via[hub], corner
        read += starts[corner + 1] - starts[corner]
    return best, middle, out, into, read


@njit(cache=True, nogil=True)
@no_type_check
def _promising(corners, lengths, count, last, cells, stride):
    """Return which of the corners may be on the shortest path, by a lower bound; −1 if there are none."""
    row, column = last // stride, last % stride
    best, chosen = np.int64(-1), -1
    for each in range(count):
        bound = lengths[each] + octile(cells[corners[each]], row, column, stride)
        if best < 0 or bound < best:
            best, chosen = bound, each
    return chosen


@njit(cache=True, nogil=True)
@no_type_check
def _keep(corners, lengths, count, last, cells, stride, bound):
    """Move the corners that may be on a path no longer than the bound to the front; return how many."""
    row, column = last // stride, last % stride
    kept = 0
    for each in range(count):
        if lengths[each] + octile(cells[corners[each]], row, column, stride) <= bound:
            corners[kept], lengths[kept] = corners[each], lengths[each]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
@no_type_check
def _meet(one, two, starts, hubs, lengths):
    """Return how far two corners are from each other, −1 if there is no way, and the entries read."""
    left, right = starts[one], starts[two]
    best = np.int64(-1)
    while left < starts[one + 1] and right < starts[two + 1]:
        if hubs[left] == hubs[right]:
            there = lengths[left] + lengths[right]
            if best < 0 or there < best:
                best = there
            left += 1
            right += 1
        elif hubs[left] < hubs[right]:
            left += 1
        else:
            right += 1
    return best, left - starts[one] + right - starts[two]


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _around(cell, moves, stride, number, across, down, corners, lengths):
    """Write the corners at which a path from this cell may first turn; return how many."""
    if number[cell] >= 0:
        corners[0], lengths[0] = number[cell], 0
        return 1
    return reachable(cell, moves, stride, number, across, down, corners, lengths)


@njit(cache=True, nogil=True)
@no_type_check
def _unpack(first, last, out, into, hub, cells, starts, hubs, onward):
    """Return start, the corners on the way over a hub, and goal."""
    turns = np.empty(64, np.int64)
    turns[0], count = first, 1
    node = out
    while True:
        if count == len(turns):
            turns = np.concatenate((turns, np.empty(count, np.int64)))
        turns[count] = cells[node]
        count += 1
        step = onward[_entry(node, hub, starts, hubs)]
        if step == node:
            break
        node = step
    middle = count
    node = into
    while True:
        step = onward[_entry(node, hub, starts, hubs)]
        if step == node:
            break
        if count == len(turns):
            turns = np.concatenate((turns, np.empty(count, np.int64)))
        turns[count] = cells[node]
        count += 1
        node = step
    turns[middle:count] = turns[middle:count][::-1].copy()
    return np.concatenate((turns[:count], np.array([last])))


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _entry(node, hub, starts, hubs):
    """Return where a hub stands in the label of a node."""
    low, high = starts[node], starts[node + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        if hubs[middle] <= hub:
            low = middle
        else:
            high = middle
    return low
