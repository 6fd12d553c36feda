import heapq
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from foresee.errors import BudgetError, MapError, PlaceError
from foresee.planning import Obstacles, batch_informed, rrt, rrt_connect, rrt_star, shortest_among_discs
from foresee.planning.obstacles import free_point, free_segment

LOW, HIGH = np.array([-5.0, -5.0]), np.array([25.0, 25.0])
START, GOAL = np.array([0.0, 0.0]), np.array([20.0, 20.0])
PLANNERS = {
    "rrt": lambda obstacles, seed: rrt(obstacles, START, GOAL, seed=seed),
    "rrt_connect": lambda obstacles, seed: rrt_connect(obstacles, START, GOAL, seed=seed),
    "rrt_star": lambda obstacles, seed: rrt_star(obstacles, START, GOAL, seed=seed, seconds=0.4),
    "batch_informed": lambda obstacles, seed: batch_informed(obstacles, START, GOAL, seed=seed, seconds=0.4),
}


def some_discs(seed, count=25):
    random = np.random.default_rng(seed)
    discs = np.column_stack([random.uniform(1, 19, (count, 2)), random.uniform(0.3, 2.2, count)])
    keep = [np.hypot(*(discs[:, :2] - place).T) > discs[:, 2] + 0.1 for place in (START, GOAL)]
    return discs[keep[0] & keep[1]]


def textbook_distance(discs, one, two):
    """Least distance from the discs of points set close together on a segment."""
    points = one + np.linspace(0, 1, 2001)[:, None] * (two - one)
    return (np.hypot(*(points[:, None] - discs[:, :2]).transpose(2, 0, 1)) - discs[:, 2]).min()


def textbook_shortest(discs, corners=64):
    """Shortest path over the corners of polygons around the discs: a little longer than the optimum."""
    angles = 2 * np.pi * np.arange(corners) / corners
    ring = np.column_stack([np.cos(angles), np.sin(angles)]) / math.cos(math.pi / corners)
    points = np.vstack([START, GOAL, *[disc[:2] + 1.0001 * disc[2] * ring for disc in discs]])
    outside = (np.hypot(*(points[:, None] - discs[:, :2]).transpose(2, 0, 1)) > discs[:, 2]).all(axis=1)
    points = points[outside]

    def sees(place):
        steps = points - place
        squares = np.maximum((steps**2).sum(axis=1), 1e-30)
        away = discs[:, :2] - place
        along = np.clip(steps @ away.T / squares[:, None], 0, 1)
        gaps = np.hypot(*(away[None] - along[..., None] * steps[:, None]).transpose(2, 0, 1))
        return (gaps > discs[:, 2]).all(axis=1)

    best, queue, done = {0: 0.0}, [(0.0, 0)], set()
    while queue:
        here, node = heapq.heappop(queue)
        if node == 1:
            return here
        if node in done:
            continue
        done.add(node)
        for other in np.flatnonzero(sees(points[node])).tolist():
            there = here + float(np.hypot(*(points[other] - points[node])))
            if there < best.get(other, math.inf):
                best[other] = there
                heapq.heappush(queue, (there, other))
    return math.inf


@pytest.mark.parametrize("seed", range(6))
def test_the_shortest_among_discs_is_just_below_that_among_polygons_around_them(seed):
    discs = some_discs(seed)
    exact = shortest_among_discs(Obstacles(LOW, HIGH, discs), START, GOAL)
    around = textbook_shortest(discs)
    assert exact.length <= around
    assert exact.length == pytest.approx(around, rel=3e-3)  # corners stick out by 1/cos(π/64), .12 %
    # Its corners are on the discs and on tangents, so that it hardly enters any.
    assert min(textbook_distance(discs, one, two) for one, two in pairwise(exact.points)) > -2e-3
    steps = np.hypot(*np.diff(exact.points, axis=0).T)
    assert steps.sum() == pytest.approx(exact.length, rel=1e-4)


def test_one_disc_in_the_way_by_its_closed_form():
    obstacles = Obstacles(LOW, HIGH, np.array([[10.0, 10.0, 3.0]]))
    half = math.hypot(10, 10)
    tangent = math.sqrt(half**2 - 9)
    arc = 3 * (math.pi - 2 * math.acos(3 / half))
    assert shortest_among_discs(obstacles, START, GOAL).length == pytest.approx(2 * tangent + arc, rel=1e-12)


def test_a_ring_of_discs_lets_nobody_out():
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.column_stack([3 * np.cos(angles), 3 * np.sin(angles), np.full(12, 1.0)])
    obstacles = Obstacles(LOW, HIGH, ring)
    exact = shortest_among_discs(obstacles, START, GOAL)
    assert (exact.found, exact.outcome, exact.length) == (False, "no path", math.inf)
    for found in (
        rrt(obstacles, START, GOAL, seed=0, most=500, seconds=0.3),
        rrt_connect(obstacles, START, GOAL, seed=0, most=500, seconds=0.3),
        batch_informed(obstacles, START, GOAL, seed=0, seconds=0.1),
    ):
        assert not found.found
        assert found.outcome in ("out of time", "out of effort")
        assert found.expanded > 100
        assert not len(found.points)


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("seed", range(4))
def test_paths_are_free_and_no_shorter_than_the_shortest(name, seed):
    discs = some_discs(seed)
    obstacles = Obstacles(LOW, HIGH, discs)
    exact = shortest_among_discs(obstacles, START, GOAL).length
    path = PLANNERS[name](obstacles, seed)
    assert path.found
    assert path.outcome == "found"
    assert (path.points[0] == START).all()
    assert (path.points[-1] == GOAL).all()
    assert min(textbook_distance(discs, one, two) for one, two in pairwise(path.points)) > -1e-9
    assert path.length == pytest.approx(np.hypot(*np.diff(path.points, axis=0).T).sum())
    assert path.length >= exact * (1 - 1e-9)
    if name == "batch_informed":
        assert path.length < 1.1 * exact
    if name != "rrt_connect":
        assert path.history[-1, 1] == pytest.approx(path.length, rel=1e-9)
        assert (np.diff(path.history[:, 1]) <= 0).all()


@pytest.mark.parametrize("name", ["rrt", "rrt_connect", "rrt_star"])
def test_the_tree_is_one(name):
    obstacles = Obstacles(LOW, HIGH, some_discs(0))
    path = PLANNERS[name](obstacles, 3)
    roots = np.flatnonzero(path.parents < 0)
    assert len(roots) == (2 if name == "rrt_connect" else 1)
    for node in np.random.default_rng(0).integers(len(path.nodes), size=200):
        for _ in range(len(path.nodes)):  # every branch ends at a root
            if path.parents[node] < 0:
                break
            parent = path.parents[node]
            one, two = path.nodes[parent], path.nodes[node]
            assert free_segment(one[0], one[1], two[0], two[1], obstacles.room)
            node = parent
        assert path.parents[node] < 0


def test_the_same_seed_gives_the_same_path():
    obstacles = Obstacles(LOW, HIGH, some_discs(1))
    for planner in (rrt, rrt_connect):
        one, two, other = (planner(obstacles, START, GOAL, seed=seed) for seed in (5, 5, 6))
        assert np.array_equal(one.points, two.points)
        assert not np.array_equal(one.points, other.points)


def test_the_time_is_kept():
    obstacles = Obstacles(LOW, HIGH, some_discs(2))
    for planner in (rrt_star, batch_informed):
        planner(obstacles, START, GOAL, seed=0, seconds=0.01)
        shortest = min(
            planner(obstacles, START, GOAL, seed=seed, seconds=0.2).milliseconds for seed in range(6)
        )
        assert shortest <= 220


def test_nothing_in_the_way():
    obstacles = Obstacles(LOW, HIGH)
    for name, planner in PLANNERS.items():
        if name in ("rrt_connect", "batch_informed"):
            assert planner(obstacles, 0).length == pytest.approx(math.hypot(20, 20))
    assert shortest_among_discs(obstacles, START, GOAL).length == pytest.approx(math.hypot(20, 20))


def test_points_and_segments_among_polygons_and_cells():
    square = np.array([[5.0, 5.0], [15.0, 5.0], [15.0, 15.0], [5.0, 15.0]])
    triangle = np.array([[12.0, 12.0], [20.0, 14.0], [14.0, 18.0]])
    shapes = Obstacles(LOW, HIGH, polygons=(square, triangle))
    inside = [(10.0, 10.0), (13.0, 13.0), (16.0, 15.0)]
    outside = [(0.0, 0.0), (18.0, 18.0), (4.9, 10.0)]
    assert not any(free_point(x, y, shapes.room) for x, y in inside)
    assert all(free_point(x, y, shapes.room) for x, y in outside)
    assert not free_segment(0.0, 10.0, 20.0, 10.0, shapes.room)
    assert free_segment(0.0, 0.0, 20.0, 3.0, shapes.room)
    blocked = np.zeros((25, 25), bool)
    blocked[3:, 10] = True
    cells = Obstacles(np.array([-0.5, -0.5]), np.array([24.5, 24.5]), blocked=blocked)
    random = np.random.default_rng(0)
    for _ in range(300):
        one, two = random.uniform(0, 24, (2, 2))
        if not free_point(one[0], one[1], cells.room):
            continue
        points = one + np.linspace(0, 1, 3001)[:, None] * (two - one)
        column, row = np.round(points).astype(int).T
        assert free_segment(one[0], one[1], two[0], two[1], cells.room) == (not blocked[row, column].any())
    for obstacles, least in ((shapes, 2 * math.hypot(15, 5)), (cells, 28.0)):
        path = batch_informed(obstacles, START, GOAL, seed=0, seconds=0.2)
        assert path.found
        assert path.length > least - 1e-6 - 0.5 * (obstacles is cells)
        assert path.length < 1.15 * least


def test_wrong_places_and_numbers():
    obstacles = Obstacles(LOW, HIGH, np.array([[10.0, 10.0, 3.0]]))
    for place, said in (([10.0, 11.0], "inside"), ([30.0, 0.0], "between"), ([np.nan, 0.0], "finite")):
        for planner in (rrt, rrt_connect, lambda *args, seed: shortest_among_discs(*args)):
            with pytest.raises(PlaceError, match=said):
                planner(obstacles, np.array(place), GOAL, seed=0)
            with pytest.raises(PlaceError, match=said):
                planner(obstacles, START, np.array(place), seed=0)
    for seconds in (0.0, -1.0, math.nan):
        with pytest.raises(BudgetError):
            batch_informed(obstacles, START, GOAL, seed=0, seconds=seconds)
    with pytest.raises(BudgetError):
        rrt(obstacles, START, GOAL, seed=0, most=1)
    with pytest.raises(BudgetError):
        rrt_connect(obstacles, START, GOAL, seed=0, step=0.0)
    wrongs: tuple[dict[str, Any], ...] = (
        {"discs": np.array([[0.0, 0.0, -1.0]])},
        {"discs": np.array([[0.0, np.nan, 1.0]])},
        {"polygons": (np.zeros((2, 2)),)},
    )
    for wrong in wrongs:
        with pytest.raises(MapError):
            Obstacles(LOW, HIGH, **wrong)
    with pytest.raises(MapError):
        Obstacles(HIGH, LOW)
    with pytest.raises(MapError, match="discs only"):
        shortest_among_discs(Obstacles(LOW, HIGH, polygons=(np.eye(3)[:, :2] + 8,)), START, GOAL)
