"""Informed sampling in batches, searched lazily and pulled tight: ever shorter paths until the time is up."""

from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any, no_type_check

import numpy as np
from numba import njit
from scipy.spatial import KDTree

from foresee.planning.obstacles import Obstacles, free_point, free_segment
from foresee.planning.path import Watch, sliced
from foresee.planning.queue import pop, push
from foresee.planning.rrt_connect import rrt_connect
from foresee.planning.tree_path import TreePath, generator, length_of, sample, uniform

SMALLEST = 128  # points of a batch
LOOSE, CLOSE = 1.05, 1.01  # how much longer than the best a path may be to be looked at, and to be worked on
ROUGHLY, FINELY = 2_000, 20_000  # shortcuts that are tried
CORNERS = 512  # that a path may have while it is pulled tight
LEAST_GAIN = 1e-7  # of its length, for a shortcut to be worth its corners


def batch_informed(
    obstacles: Obstacles, start: np.ndarray, goal: np.ndarray, *, seed: int, seconds: float
) -> TreePath:
    """Find ever shorter paths until the time is up: the planner to take first.

    Two trees find some path. Then batches of points are drawn where a shorter one may lead, small ones often
    and ever larger ones more rarely. The graph of nearest neighbours of each is searched by A* that checks an
    edge only when its turn comes, and what is found is pulled tight by shortcuts between random places.

    Args:
        obstacles: what must not be touched.
        start: x and y.
        goal: x and y.
        seed: of the random points.
        seconds: how long to go on.

    Raises:
        PlaceError: if start or goal are out of bounds or inside an obstacle.
        BudgetError: if there is no time.

    Source:
        After Gammell, Barfoot and Srinivasa (2020), "Batch Informed Trees"; lazy search: Cohen, Phillips and
        Likhachev (2014); shortcuts: Geraerts and Overmars (2007).
    """
    Watch(seconds)  # refuses what is no time
    _compile()
    watch = Watch(seconds)
    begun = rrt_connect(obstacles, start, goal, seed=seed, seconds=seconds)
    if not begun.found:
        return begun
    room, random = obstacles.room, generator(seed)
    first, last = begun.points[0], begun.points[-1]
    path = begun.points
    history = [(begun.milliseconds / 1e3, begun.length)]
    nodes, parents, tried = begun.nodes, begun.parents, begun.expanded
    slowest: dict[int, float] = {}  # seconds, by size of the batch

    def keep(better: np.ndarray) -> np.ndarray:
        if length_of(better) < history[-1][1]:
            history.append((watch.spent, length_of(better)))
            return better
        return path

    straight = length_of(np.stack([first, last]))
    path = keep(_tightened(path, room, random, ROUGHLY))
    for size in _sizes():
        lasted = slowest.get(size, 2.5 * slowest.get(size // 2, 0.0))
        if history[-1][1] <= straight * (1 + 1e-12) or watch.left < 1.1 * lasted:
            break
        begun_at = watch.spent
        # A path a little longer than the best may pass other gaps, and be the shortest once it is tight.
        bound = LOOSE * history[-1][1]
        nodes = _draw(first, last, bound, size, room, random)
        tried += len(nodes)
        found, parents = _lazily(nodes, bound, room, watch)
        if found is not None:
            found = _tightened(found, room, random, ROUGHLY)
            if length_of(found) < CLOSE * history[-1][1]:
                path = keep(_tightened(found, room, random, FINELY))
        path = keep(_tightened(path, room, random, ROUGHLY))
        slowest[size] = max(slowest.get(size, 0.0), watch.spent - begun_at)
    return TreePath(
        True,
        "found",
        history[-1][1],
        path,
        nodes,
        parents,
        tried,
        1e3 * watch.spent,
        np.array(history),
    )


@cache
def _compile() -> None:
    """Compile what is needed, so that a limit on the time is one on the search."""
    obstacles = Obstacles(np.zeros(2), np.ones(2), np.array([[0.5, 0.5, 0.1]]))
    path = rrt_connect(obstacles, np.array([0.1, 0.5]), np.array([0.9, 0.5]), seed=0).points
    random = generator(0)
    points = _draw(path[0], path[-1], 2.0, 64, obstacles.room, random)
    _lazily(points, 2.0, obstacles.room, Watch())
    _tightened(path, obstacles.room, random, 1)


def _sizes() -> Iterator[int]:
    """Give the sizes of batches: doubling runs, each one longer than the one before."""
    for longest in count(3):
        for power in range(longest):
            yield SMALLEST << power


def _lazily(points: np.ndarray, best: float, room: Any, watch: Watch) -> tuple[np.ndarray | None, np.ndarray]:
    """Return a path over the points that is shorter than the best, or None, and the tree."""
    many = len(points)
    # k ≥ e (1 + 1/d) log n keeps such graphs optimal in the limit (Karaman and Frazzoli 2011).
    neighbours = min(int(np.ceil(4.08 * np.log(many))), many - 1)
    _, near = KDTree(points).query(points, neighbours + 1)
    far, parents = np.full(many, np.inf), np.full(many, -1, np.int64)
    far[0] = 0.0
    state = np.zeros(1, np.int64)
    queue: list[Any] = [np.empty(4096), np.empty(4096, np.int64)]
    queue[0], queue[1], state[0] = push(queue[0], queue[1], 0, 0.0, 0)

    def search(most: int) -> bool:
        done, queue[0], queue[1] = _search(
            points, near, best, room, far, parents, queue[0], queue[1], state, most
        )
        return done

    sliced(search, watch)
    if parents[1] < 0:
        return None, parents
    places, node = [points[1]], 1
    while node:
        node = int(parents[node])
        places.append(points[node])
    return np.array(places[::-1]), parents


@njit(cache=True, nogil=True)
@no_type_check
def _search(points, near, best, room, far, parents, keys, items, state, most):
    """Settle up to so many points; an item is parent × points + node, its edge not yet checked."""
    count, size = len(points), state[0]
    gx, gy = points[1, 0], points[1, 1]
    ended, settled = False, 0
    while settled < most:
        if size == 0:
            ended = True
            break
        _, item, size = pop(keys, items, size)
        parent, node = item // count, item % count
        if parents[node] >= 0 or (node == 0 and item):
            continue
        x, y = points[node, 0], points[node, 1]
        if node:
            px, py = points[parent, 0], points[parent, 1]
            if not free_segment(px, py, x, y, room):
                continue
            far[node], parents[node] = far[parent] + np.hypot(x - px, y - py), parent
        settled += 1
        if node == 1:
            ended = True
            break
        for each in range(1, near.shape[1]):
            other = near[node, each]
            if other == 0 or parents[other] >= 0:
                continue
            there = far[node] + np.hypot(points[other, 0] - x, points[other, 1] - y)
            key = there + np.hypot(points[other, 0] - gx, points[other, 1] - gy)
            if key < best:
                keys, items, size = push(keys, items, size, key, node * count + other)
    state[0] = size
    return ended, keys, items


@njit(cache=True, nogil=True)
@no_type_check
def _draw(first, last, bound, size, room, random):
    """Return start, goal, and free points over which a path shorter than a bound may lead."""
    points = np.empty((size + 2, 2))
    points[0], points[1] = first, last
    count = 2
    for _ in range(size):
        x, y = sample(room[0], first[0], first[1], last[0], last[1], bound, random)
        over = np.hypot(x - first[0], y - first[1]) + np.hypot(x - last[0], y - last[1])
        if over < bound and free_point(x, y, room):
            points[count, 0], points[count, 1] = x, y
            count += 1
    return points[:count].copy()


@njit(cache=True, nogil=True)
@no_type_check
def _tightened(path, room, random, tries):
    """Return a path made shorter by shortcuts between random places on it."""
    points = np.empty((CORNERS + 2, 2))
    count = min(len(path), CORNERS)
    if count < len(path):
        return path
    points[:count] = path
    along = np.empty(CORNERS + 2)
    fresh, least = True, 0.0
    for _ in range(tries):
        if count < 3:
            break
        if fresh:
            along[0] = 0.0
            for corner in range(1, count):
                along[corner] = along[corner - 1] + np.hypot(
                    points[corner, 0] - points[corner - 1, 0], points[corner, 1] - points[corner - 1, 1]
                )
            fresh, least = False, LEAST_GAIN * along[count - 1]
        # A corner, and a place before and behind it, near ones as often as far ones.
        corner = 1 + int(uniform(random) * (count - 2))
        reach = along[count - 1] * np.exp(-9.0 * uniform(random))
        one = max(0.0, along[corner] - reach * uniform(random))
        two = min(along[count - 1], along[corner] + reach * uniform(random))
        i, j = corner - 1, corner
        while along[i] > one:
            i -= 1
        while along[j + 1] < two:
            j += 1
        s = (one - along[i]) / max(along[i + 1] - along[i], 1e-300)
        t = (two - along[j]) / max(along[j + 1] - along[j], 1e-300)
        ax, ay = points[i] + s * (points[i + 1] - points[i])
        bx, by = points[j] + t * (points[j + 1] - points[j])
        if two - one - np.hypot(bx - ax, by - ay) < least or count + i + 2 - j >= CORNERS:
            continue
        if not free_segment(ax, ay, bx, by, room):
            continue
        tail = points[j + 1 : count].copy()
        points[i + 1, 0], points[i + 1, 1], points[i + 2, 0], points[i + 2, 1] = ax, ay, bx, by
        points[i + 3 : i + 3 + len(tail)] = tail
        count = i + 3 + len(tail)
        fresh = True
    return points[:count].copy()
