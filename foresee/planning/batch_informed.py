"""Informed sampling in batches, searched lazily and pulled tight: ever shorter paths until the time is up."""

from typing import Any, no_type_check

import numpy as np
from numba import njit
from scipy.spatial import cKDTree

from foresee.planning.obstacles import Obstacles, free_point, free_segment
from foresee.planning.path import Watch, sliced
from foresee.planning.queue import pop, push
from foresee.planning.rrt_connect import rrt_connect
from foresee.planning.tree_path import TreePath, generator, length_of, sample, uniform

SMALLEST, LARGEST = 128, 8192  # points of a batch
CORNERS = 1024  # that a path may have while it is pulled tight


def batch_informed(
    obstacles: Obstacles, start: np.ndarray, goal: np.ndarray, *, seed: int, seconds: float
) -> TreePath:
    """Find ever shorter paths until the time is up: the planner to take first.

    Two trees find some path. Then points are drawn where a shorter one may lead, half of them anywhere there
    and half near the best path, each batch twice as large as the last; their graph of nearest neighbours is
    searched by A* that checks an edge only when its turn comes; and what is found is pulled tight by
    shortcuts between random places.

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
    watch = Watch(seconds)
    begun = rrt_connect(obstacles, start, goal, seed=seed, seconds=seconds)
    if not begun.found:
        return begun
    room, random = obstacles.room, generator(seed)
    first, last = begun.points[0], begun.points[-1]
    path = begun.points
    history = [(begun.milliseconds / 1e3, begun.length)]
    nodes, parents, tried, size, lasted = begun.nodes, begun.parents, begun.expanded, SMALLEST, 0.0

    def keep(better: np.ndarray) -> np.ndarray:
        if length_of(better) < history[-1][1]:
            history.append((watch.spent, length_of(better)))
            return better
        return path

    straight = length_of(np.stack([first, last]))
    while history[-1][1] > straight * (1 + 1e-12) and watch.left > 1.1 * lasted:
        begun_at = watch.spent
        path = keep(_tightened(path, room, random, 20 * size))
        points = _draw(first, last, path, history[-1][1], size, room, random)
        found, parents = _lazily(points, history[-1][1], room, watch)
        nodes, tried = points, tried + len(points)
        if found is not None:
            path = keep(_tightened(found, room, random, 20 * size))
        lasted = watch.spent - begun_at
        if size < LARGEST and 2.5 * lasted < watch.left:
            size, lasted = 2 * size, 2.5 * lasted
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


def _lazily(points: np.ndarray, best: float, room: Any, watch: Watch) -> tuple[np.ndarray | None, np.ndarray]:
    """Return a path over the points that is shorter than the best, or None, and the tree."""
    count = len(points)
    # k ≥ e (1 + 1/d) log n keeps such graphs optimal in the limit (Karaman and Frazzoli 2011).
    neighbours = min(int(np.ceil(4.08 * np.log(count))), count - 1)
    _, near = cKDTree(points).query(points, neighbours + 1)
    far, parents = np.full(count, np.inf), np.full(count, -1, np.int64)
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
def _draw(first, last, path, best, size, room, random):
    """Return start, goal, the corners of the path, and free points over which a shorter one may lead."""
    points = np.empty((size + len(path), 2))
    points[0], points[1] = first, last
    count = 2
    for corner in range(1, len(path) - 1):
        points[count] = path[corner]
        count += 1
    spread = 0.05 * best
    for index in range(size):
        if index % 2:
            x, y = sample(room[0], first[0], first[1], last[0], last[1], best, random)
        else:
            side = int(uniform(random) * (len(path) - 1))
            share = uniform(random)
            angle = 2 * np.pi * uniform(random)
            away = spread * uniform(random) ** 3
            x = path[side, 0] + share * (path[side + 1, 0] - path[side, 0]) + away * np.cos(angle)
            y = path[side, 1] + share * (path[side + 1, 1] - path[side, 1]) + away * np.sin(angle)
        over = np.hypot(x - first[0], y - first[1]) + np.hypot(x - last[0], y - last[1])
        if over < best and free_point(x, y, room):
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
    fresh = True
    for _ in range(tries):
        if count < 3:
            break
        if fresh:
            along[0] = 0.0
            for corner in range(1, count):
                along[corner] = along[corner - 1] + np.hypot(
                    points[corner, 0] - points[corner - 1, 0], points[corner, 1] - points[corner - 1, 1]
                )
            fresh = False
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
        if two - one - np.hypot(bx - ax, by - ay) < 1e-9 or count + i + 2 - j >= CORNERS:
            continue
        if not free_segment(ax, ay, bx, by, room):
            continue
        tail = points[j + 1 : count].copy()
        points[i + 1, 0], points[i + 1, 1], points[i + 2, 0], points[i + 2, 1] = ax, ay, bx, by
        points[i + 3 : i + 3 + len(tail)] = tail
        count = i + 3 + len(tail)
        fresh = True
    return points[:count].copy()
