"""RRT, RRT* and Informed RRT*: one tree from the start, the latter two with ever shorter branches."""

from functools import cache
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
    uniform,
)

BINS = 64
COUNT, TRIED, END, GOALS, STAR, INFORMED = range(6)


def rrt(
    obstacles: Obstacles,
    start: np.ndarray,
    goal: np.ndarray,
    *,
    seed: int,
    step: float | None = None,
    most: int = 100_000,
    seconds: float | None = None,
) -> TreePath:
    """Find some path between two points by a tree that grows from the start into where it has not been.

    Args:
        obstacles: what must not be touched.
        start: x and y.
        goal: x and y.
        seed: of the random points.
        step: longest edge of the tree; by default a twentieth of the bounds' diagonal.
        most: points that the tree may have.
        seconds: the search stops after so long; by default only when there are no points left.

    Raises:
        PlaceError: if start or goal are out of bounds or inside an obstacle.
        BudgetError: if there is no time, no points or no step.

    Source:
        LaValle (1998).
    """
    return _run(obstacles, start, goal, seed, step, most, Watch(seconds), star=False, informed=False)


def rrt_star(
    obstacles: Obstacles,
    start: np.ndarray,
    goal: np.ndarray,
    *,
    seed: int,
    seconds: float,
    informed: bool = True,
    step: float | None = None,
    most: int = 300_000,
) -> TreePath:
    """Find ever shorter paths between two points until the time is up.

    Args:
        obstacles: what must not be touched.
        start: x and y.
        goal: x and y.
        seed: of the random points.
        seconds: how long to go on.
        informed: once there is a path, draw only points over which a shorter one may lead.
        step: longest edge of the tree; by default a twentieth of the bounds' diagonal.
        most: points that the tree may have.

    Raises:
        PlaceError: if start or goal are out of bounds or inside an obstacle.
        BudgetError: if there is no time, no points or no step.

    Source:
        Karaman and Frazzoli (2011), algorithm 6; informed: Gammell, Srinivasa and Barfoot (2014).
    """
    return _run(obstacles, start, goal, seed, step, most, Watch(seconds), star=True, informed=informed)


@cache
def _compile() -> None:
    """Compile what is needed, so that a limit on the time is one on the search."""
    obstacles = Obstacles(np.zeros(2), np.ones(2), np.array([[0.5, 0.5, 0.1]]))
    rrt(obstacles, np.array([0.1, 0.5]), np.array([0.9, 0.5]), seed=0, most=100)


def _run(obstacles, start, goal, seed, step, most, watch, *, star, informed):
    if watch.seconds is not None:
        _compile()
        watch = Watch(watch.seconds)
    diagonal = float(np.hypot(*(obstacles.high - obstacles.low)))
    step = diagonal / 20 if step is None else float(step)
    check_effort(most, step)
    first, last = obstacles.check(start, "start"), obstacles.check(goal, "goal")
    points, costs = np.empty((most, 2)), np.empty(most)
    parents, after = np.empty(most, np.int64), np.empty(most, np.int64)
    child, sibling = np.full(most, -1, np.int32), np.full(most, -1, np.int32)
    goals, head = np.empty(most, np.int32), np.full((BINS, BINS), -1, np.int64)
    state, random, best = np.zeros(6, np.int64), generator(seed), np.array([np.inf])
    points[0], costs[0], parents[0] = first, 0.0, -1
    state[COUNT], state[END], state[STAR], state[INFORMED] = 1, -1, star, informed
    put(0, first[0], first[1], obstacles.room[0], head, after)
    search = (obstacles.room, last[0], last[1], step, points, costs, parents, child, sibling, after, head,
              goals, state, best, random)  # fmt: skip
    history: list[tuple[float, float]] = []

    def part(tries: int) -> bool:
        done = _grow(*search, min(tries, 2**14))
        if state[GOALS]:
            _shortest(last[0], last[1], points, costs, goals, state, best, True)
        if np.isfinite(best[0]) and (not history or best[0] < history[-1][1]):
            history.append((watch.spent, float(best[0])))
        return bool(done)

    if watch.seconds is None:
        while not part(2**14):
            pass
        done = True
    else:
        done = sliced(part, watch)
    count, found = int(state[COUNT]), bool(state[END] >= 0)
    path = np.zeros((0, 2))
    if found:
        places, node = [last], int(state[END])
        while node >= 0:
            places.append(points[node])
            node = int(parents[node])
        path = np.array(places[::-1])
    return TreePath(
        found,
        "found" if found else "out of effort" if done else "out of time",
        length_of(path) if found else float("inf"),
        path,
        points[:count].copy(),
        parents[:count].copy(),
        int(state[TRIED]),
        1e3 * watch.spent,
        np.array(history).reshape(-1, 2),
    )


@njit(cache=True, nogil=True)
@no_type_check
def _grow(
    room, gx, gy, step, points, costs, parents, child, sibling, after, head, goals, state, best, random, tries
):  # fmt: skip
    """Try up to so many points; return whether the tree is full, or any path is enough and there is one."""
    bounds = room[0]
    sx, sy = points[0, 0], points[0, 1]
    star = state[STAR] == 1
    area = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1])
    near = np.empty(512, np.int64)
    for _ in range(tries):
        if state[COUNT] >= len(points):
            return True
        state[TRIED] += 1
        x, y = gx, gy
        if uniform(random) > 0.05 or (star and state[END] >= 0):
            limit = best[0] if state[INFORMED] else np.inf
            x, y = sample(bounds, sx, sy, gx, gy, limit, random)
        parent = nearest(x, y, points, bounds, head, after)
        px, py = points[parent, 0], points[parent, 1]
        far = np.hypot(x - px, y - py)
        if far > step:
            x, y = px + (x - px) * step / far, py + (y - py) * step / far
        if far == 0 or not free_segment(px, py, x, y, room):
            continue
        node, many = state[COUNT], 0
        cost = costs[parent] + np.hypot(x - px, y - py)
        if star:
            # 2 √(3/2) √(area / π) is the least factor that keeps the tree optimal in the limit (theorem 38).
            radius = min(step, 2.45 * np.sqrt(area / np.pi * np.log(node + 1.0) / (node + 1.0)))
            many = _within(x, y, radius, points, bounds, head, after, near)
            parent, cost = _cheapest(x, y, parent, cost, near[:many], points, costs, room)
        points[node, 0], points[node, 1], costs[node], parents[node] = x, y, cost, parent
        sibling[node], child[parent] = child[parent], node
        put(node, x, y, bounds, head, after)
        state[COUNT] += 1
        for each in range(many):
            _rewire(node, near[each], points, costs, parents, child, sibling, room)
        if np.hypot(gx - x, gy - y) <= step and free_segment(x, y, gx, gy, room):
            goals[state[GOALS]] = node
            state[GOALS] += 1
        if state[GOALS]:
            _shortest(gx, gy, points, costs, goals, state, best, state[TRIED] % 64 == 0)
            if not star:
                return True
    return False


@njit(cache=True, nogil=True)
@no_type_check
def _shortest(gx, gy, points, costs, goals, state, best, every):
    """Note the shortest way to the goal: over the last node that sees it, and now and then over all."""
    for index in range(0 if every else state[GOALS] - 1, state[GOALS]):
        node = goals[index]
        length = costs[node] + np.hypot(gx - points[node, 0], gy - points[node, 1])
        if length < best[0]:
            best[0], state[END] = length, node


@njit(cache=True, nogil=True)
@no_type_check
def _within(x, y, radius, points, bounds, head, after, near):
    """Write the nodes within a radius, as many as fit; return how many."""
    side = head.shape[0]
    wide, high = (bounds[2] - bounds[0]) / side, (bounds[3] - bounds[1]) / side
    count = 0
    for row in range(
        max(0, int((y - radius - bounds[1]) / high)), min(side, int((y + radius - bounds[1]) / high) + 1)
    ):
        for column in range(
            max(0, int((x - radius - bounds[0]) / wide)), min(side, int((x + radius - bounds[0]) / wide) + 1)
        ):
            node = head[row, column]
            while node >= 0:
                if (points[node, 0] - x) ** 2 + (points[node, 1] - y) ** 2 <= radius * radius and count < len(
                    near
                ):
                    near[count] = node
                    count += 1
                node = after[node]
    return count


@njit(cache=True, nogil=True)
@no_type_check
def _cheapest(x, y, parent, cost, near, points, costs, room):
    """Return the node over which a new one is reached at the least cost, and that cost."""
    for node in near:
        there = costs[node] + np.hypot(points[node, 0] - x, points[node, 1] - y)
        if there < cost and free_segment(points[node, 0], points[node, 1], x, y, room):
            parent, cost = node, there
    return parent, cost


@njit(cache=True, nogil=True)
@no_type_check
def _rewire(node, other, points, costs, parents, child, sibling, room):
    """Hang a node below the new one if that is shorter, and tell all that is below it."""
    there = costs[node] + np.hypot(points[node, 0] - points[other, 0], points[node, 1] - points[other, 1])
    if there >= costs[other] or other == parents[node]:
        return
    if not free_segment(points[node, 0], points[node, 1], points[other, 0], points[other, 1], room):
        return
    old = parents[other]
    if child[old] == other:
        child[old] = sibling[other]
    else:
        before = child[old]
        while sibling[before] != other:
            before = sibling[before]
        sibling[before] = sibling[other]
    parents[other], sibling[other] = node, child[node]
    child[node] = other
    gain = costs[other] - there
    below = other
    while True:  # all nodes of the branch, depth first
        costs[below] -= gain
        if child[below] >= 0:
            below = child[below]
            continue
        while below != other and sibling[below] < 0:
            below = parents[below]
        if below == other:
            return
        below = sibling[below]
