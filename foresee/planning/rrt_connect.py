"""RRT-Connect: two trees that grow towards each other; the fastest way to some path."""

from typing import no_type_check

import numpy as np
from numba import njit

from foresee.planning.obstacles import Obstacles, free_segment
from foresee.planning.path import Watch, sliced
from foresee.planning.tree_path import (
    TreePath,
    check_effort,
    generator,
    length_of,
    nearest,
    put,
    sample,
)

BINS = 32


def rrt_connect(
    obstacles: Obstacles,
    start: np.ndarray,
    goal: np.ndarray,
    *,
    seed: int,
    step: float | None = None,
    most: int = 100_000,
    seconds: float | None = None,
) -> TreePath:
    """Find some path between two points, soon, by two trees that grow towards each other.

    Args:
        obstacles: what must not be touched.
        start: x and y.
        goal: x and y.
        seed: of the random points.
        step: longest edge of the trees; by default a twentieth of the bounds' diagonal.
        most: points that each tree may have.
        seconds: the search stops after so long; by default only when there are no points left.

    Raises:
        PlaceError: if start or goal are out of bounds or inside an obstacle.
        BudgetError: if there is no time, no points or no step.

    Source:
        Kuffner and LaValle (2000).
    """
    watch = Watch(seconds)
    step = float(np.hypot(*(obstacles.high - obstacles.low))) / 20 if step is None else float(step)
    check_effort(most, step)
    first, last = obstacles.check(start, "start"), obstacles.check(goal, "goal")
    points = np.empty((2, most, 2))
    parents, after = np.empty((2, most), np.int64), np.empty((2, most), np.int64)
    head = np.full((2, BINS, BINS), -1, np.int64)
    counts, ends, random = np.ones(2, np.int64), np.full(3, -1, np.int64), generator(seed)
    for tree, place in enumerate((first, last)):
        points[tree, 0], parents[tree, 0] = place, -1
        put(0, place[0], place[1], obstacles.room[0], head[tree], after[tree])
    search = (obstacles.room, step, points, parents, after, head, counts, ends, random)
    done = sliced(lambda most: _grow(*search, most), watch)
    found = bool(ends[0] >= 0)
    path = np.zeros((0, 2))
    if found:
        back = [_branch(points[tree], parents[tree], int(ends[tree])) for tree in range(2)]
        met = (back[0][0] == back[1][0]).all()
        path = np.concatenate([back[0][::-1], back[1][int(met) :]])
    nodes = np.concatenate([points[tree, : counts[tree]] for tree in range(2)])
    links = parents[1, : counts[1]]
    joined = np.concatenate([parents[0, : counts[0]], np.where(links < 0, -1, links + counts[0])])
    spent = watch.spent
    length = length_of(path) if found else float("inf")
    return TreePath(
        found,
        "found" if found else "out of effort" if done else "out of time",
        length,
        path,
        nodes,
        joined,
        int(ends[2] + 1),
        1e3 * spent,
        np.array([[spent, length]] if found else []).reshape(-1, 2),
    )


def _branch(points: np.ndarray, parents: np.ndarray, node: int) -> np.ndarray:
    """Return the points from a node to the root of its tree."""
    found = []
    while node >= 0:
        found.append(points[node])
        node = int(parents[node])
    return np.array(found)


@njit(cache=True, nogil=True)
@no_type_check
def _grow(room, step, points, parents, after, head, counts, ends, random, tries):
    """Try up to so many points; return whether the trees have met or are full."""
    bounds = room[0]
    if ends[2] < 0:
        ends[2] = 0
        if free_segment(points[0, 0, 0], points[0, 0, 1], points[1, 0, 0], points[1, 0, 1], room):
            ends[0], ends[1] = 0, 0
            return True
    for _ in range(tries):
        tree = ends[2] % 2
        other = 1 - tree
        ends[2] += 1
        if counts[0] + 1 >= points.shape[1] or counts[1] + 1 >= points.shape[1]:
            return True
        x, y = sample(bounds, 0.0, 0.0, 0.0, 0.0, np.inf, random)
        new = _extend(tree, x, y, room, step, points, parents, after, head, counts)
        if new < 0:
            continue
        x, y = points[tree, new, 0], points[tree, new, 1]
        while counts[other] < points.shape[1]:
            end = _extend(other, x, y, room, step, points, parents, after, head, counts)
            if end < 0:
                break
            if points[other, end, 0] == x and points[other, end, 1] == y:
                ends[tree], ends[other] = new, end
                return True
    return False


@njit(cache=True, nogil=True)
@no_type_check
def _extend(tree, x, y, room, step, points, parents, after, head, counts):
    """Grow a tree by one step towards a point; return the new node, or −1 if something is in the way."""
    near = nearest(x, y, points[tree], room[0], head[tree], after[tree])
    px, py = points[tree, near, 0], points[tree, near, 1]
    far = np.hypot(x - px, y - py)
    if far > step:
        x, y = px + (x - px) * step / far, py + (y - py) * step / far
    if far == 0 or not free_segment(px, py, x, y, room):
        return -1
    node = counts[tree]
    points[tree, node, 0], points[tree, node, 1], parents[tree, node] = x, y, near
    put(node, x, y, room[0], head[tree], after[tree])
    counts[tree] += 1
    return node
