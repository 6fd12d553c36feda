"""A map with its queries prepared: corners, their hub labels, and answers in microseconds."""

import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from foresee.errors import MapError, OptionError, ShapeError
from foresee.planning.astar import STRAIGHT, octile
from foresee.planning.corners import corners_of
from foresee.planning.grid import Grid, Place
from foresee.planning.hub_labels import HubLabels, hub_labels
from foresee.planning.jump_point import walk
from foresee.planning.path import GridPath, Watch, measure
from foresee.planning.subgoals import reachable, straight_shot, subgoal_graph
from foresee.storage import whole_file


@dataclass(frozen=True, eq=False)
class Prepared:
    """A map whose shortest paths are looked up rather than searched for; from `prepare` or `read_prepared`.

    Attributes:
        grid: the map.
        labels: of its corners.
    """

    grid: Grid
    labels: HubLabels

    def path(self, start: Place, goal: Place) -> GridPath:
        """Look up a shortest path between two cells.

        Its `expanded` counts the entries of labels that were read.

        Args:
            start: column and row.
            goal: column and row.

        Raises:
            PlaceError: if start or goal are off the map or inside an obstacle.
        """
        watch = Watch()
        grid, labels, corners = self.grid, self.labels, corners_of(self.grid)
        first, last = grid.cell(start, "start"), grid.cell(goal, "goal")
        measures, read = _look_up(
            first, last, grid.moves, grid.stride, corners.cells, corners.number, corners.across, corners.down,
            labels.first, labels.hubs, labels.lengths, labels.onward,
        )  # fmt: skip
        if not len(measures[0]):
            return GridPath.none(read, watch)
        return GridPath.measured(measures, read, watch)

    def lengths(
        self,
        starts: Int[np.ndarray, "starts 2"],
        goals: Int[np.ndarray, "goals 2"],
        *,
        workers: int | None = None,
    ) -> Float[np.ndarray, " starts"]:
        """Look up only the lengths of many shortest paths, on all cores; infinite where there is no path.

        Args:
            starts: columns and rows.
            goals: columns and rows.
            workers: threads; by default one per core.

        Raises:
            ShapeError: if there are not as many goals as starts.
            OptionError: if there is no worker.
            PlaceError: if a start or goal is off the map or inside an obstacle.
        """
        if len(starts) != len(goals):
            raise ShapeError(f"expected as many goals as starts, got {len(goals)} and {len(starts)}")
        workers = (os.cpu_count() or 1) if workers is None else workers
        if workers < 1:
            raise OptionError(f"expected at least 1 worker, got {workers}")
        grid, labels, corners = self.grid, self.labels, corners_of(self.grid)
        firsts, lasts = grid.cells(starts, "start"), grid.cells(goals, "goal")
        found = np.empty(len(starts))

        def part(chosen: slice) -> None:
            _look_up_many(
                firsts[chosen], lasts[chosen], found[chosen], grid.moves, grid.stride, corners.cells,
                corners.number, corners.across, corners.down, labels.first, labels.hubs, labels.lengths,
            )  # fmt: skip

        part(slice(0, 0))  # compiles, and nothing else, before there are threads
        edges = np.linspace(0, len(starts), 8 * workers + 1).astype(int)
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(part, [slice(one, two) for one, two in pairwise(edges.tolist())]))
        return found


def prepare(grid: Grid) -> Prepared:
    """Prepare a map for many queries: seconds of work, then microseconds per exact path.

    What is kept grows with the corners of the obstacles: maps of streets and rooms are small, cells blocked
    at random are not.
    """
    corners = corners_of(grid)
    return Prepared(grid, hub_labels(*subgoal_graph(grid, corners)))


def write_prepared(path: str | Path, prepared: Prepared) -> None:
    """Keep what `prepare` has made; the file appears whole or not at all."""
    arrays = {field.name: getattr(prepared.labels, field.name) for field in fields(HubLabels)}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, map=np.array(_fingerprint(prepared.grid)), **arrays)


def read_prepared(path: str | Path, grid: Grid) -> Prepared:
    """Read what `write_prepared` has kept of this map.

    Raises:
        MapError: if the file is of another map, or of something else.
        OSError: if there is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            owner = str(stored["map"])
            labels = HubLabels(**{field.name: stored[field.name] for field in fields(HubLabels)})
    except (KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise MapError(f"{path}: expected what `write_prepared` keeps of a map, got: {error}") from error
    if owner != _fingerprint(grid):
        raise MapError(f"{path}: expected what was prepared for this map, got that of another one")
    return Prepared(grid, labels)


def _fingerprint(grid: Grid) -> str:
    return sha256(str(grid.free.shape).encode() + np.packbits(grid.free).tobytes()).hexdigest()


@njit(cache=True, nogil=True)
@no_type_check
def _look_up(
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
def _look_up_many(
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
