import heapq
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from foresee.errors import BudgetError, MapError, OptionError, PlaceError, ShapeError
from foresee.planning import (
    Grid,
    cheapest_path,
    clearance,
    cost_field,
    distance_field,
    expected_costs,
    inflate,
    prepare,
    pull_tight,
    read_map,
    read_prepared,
    read_scenarios,
    shortest_path,
    shortest_paths,
    write_prepared,
)

EXACT = ("astar", "jump_point")


def neighbours(free, place):
    """Textbook: eight neighbours, diagonals only between two free cells."""
    rows, columns = free.shape
    column, row = place
    for right in (-1, 0, 1):
        for down in (-1, 0, 1):
            x, y = column + right, row + down
            if (right or down) and 0 <= x < columns and 0 <= y < rows and free[y, x]:
                if right and down and not (free[row, x] and free[y, column]):
                    continue
                yield (x, y), math.hypot(right, down)


def dijkstra(free, start, costs=None):
    """Textbook Dijkstra over all cells that can be reached."""
    costs = np.ones(free.shape) if costs is None else costs
    best: dict[Any, Any] = {start: 0.0}
    queue: list[Any] = [(0.0, start)]
    while queue:
        here, place = heapq.heappop(queue)
        if here > best[place]:
            continue
        for other, step in neighbours(free, place):
            there = here + step * (costs[place[1], place[0]] + costs[other[1], other[0]]) / 2
            if there < best.get(other, math.inf):
                best[other] = there
                heapq.heappush(queue, (there, other))
    return best


def assert_walkable(free, path, start, goal):
    cells = path.cells
    assert tuple(cells[0]) == tuple(start)
    assert tuple(cells[-1]) == tuple(goal)
    length = 0.0
    for one, two in pairwise(cells):
        steps: dict[Any, float] = dict(neighbours(free, tuple(map(int, one))))
        length += steps[tuple(map(int, two))]
    assert path.length == pytest.approx(length, abs=1e-9)


def random_map(random, largest=24):
    rows, columns = random.integers(1, largest, size=2)
    return random.random((rows, columns)) > random.choice([0.05, 0.15, 0.3, 0.45])


def places_of(free):
    return [(int(column), int(row)) for row, column in np.argwhere(free)]


@pytest.mark.parametrize("seed", range(40))
def test_every_method_equals_dijkstra_on_random_maps(seed):
    random = np.random.default_rng(seed)
    free = random_map(random)
    places = places_of(free)
    if not places:
        return
    grid = Grid(free)
    ready = prepare(grid)
    start = places[random.integers(len(places))]
    best = dijkstra(free, start)
    for index in random.integers(len(places), size=6):
        goal = places[index]
        for path in [shortest_path(grid, start, goal, method=name) for name in EXACT] + [
            ready.path(start, goal)
        ]:
            assert path.found == (goal in best)
            if path.found:
                assert path.length == pytest.approx(best[goal], abs=1e-9)
                assert path.cost == path.length
                assert_walkable(free, path, start, goal)
            else:
                assert path.outcome == "no path"
                assert ready.lengths(np.array([start]), np.array([goal]), workers=1) == math.inf
                assert not len(path.cells)
        assert shortest_path(grid, start, goal, method="any_angle").found == (goal in best)


@pytest.mark.parametrize("bits", range(0, 512, 5))
def test_every_pair_on_tiny_maps(bits):
    free = ~np.array([(bits >> k) & 1 for k in range(9)], bool).reshape(3, 3)
    grid, ready = Grid(free), prepare(Grid(free))
    for start in places_of(free):
        best = dijkstra(free, start)
        for goal in places_of(free):
            lengths = [shortest_path(grid, start, goal, method=name).length for name in EXACT]
            lengths += [ready.path(start, goal).length]
            assert lengths == pytest.approx([best.get(goal, math.inf)] * 3, abs=1e-12)


def test_no_path_is_proved_by_searching_all_that_can_be_reached():
    free = np.ones((9, 9), bool)
    free[:, 4] = False
    path = shortest_path(Grid(free), (0, 0), (8, 8), method="astar")
    assert (path.found, path.outcome, path.length, path.expanded) == (False, "no path", math.inf, 9 * 4)


@pytest.mark.parametrize("name", ["AR0011SR.map", "Berlin_0_512.map", "Boston_0_512.map", "maze512-8-0.map"])
def test_published_lengths(shared_data, name):
    folder = shared_data / "gridmaps"
    grid, scenarios = read_map(folder / name).grid(), read_scenarios(folder / f"{name}.scen")
    for query in range(0, len(scenarios), 31):
        slack = 10.0 ** -scenarios.digits[query] + 1e-4
        for method in EXACT:
            path = shortest_path(grid, scenarios.starts[query], scenarios.goals[query], method=method)
            assert abs(path.length - scenarios.lengths[query]) < slack


def test_published_lengths_prepared_and_side_by_side(shared_data, tmp_path):
    folder = shared_data / "gridmaps"
    grid = read_map(folder / "AR0011SR.map").grid()
    scenarios = read_scenarios(folder / "AR0011SR.map.scen")
    write_prepared(tmp_path / "ready.npz", prepare(grid))
    ready = read_prepared(tmp_path / "ready.npz", grid)
    for on in (grid, ready):
        paths = shortest_paths(on, scenarios.starts, scenarios.goals, workers=2)
        lengths = np.array([path.length for path in paths])
        assert np.abs(lengths - scenarios.lengths).max() < 0.0051
    assert ready.lengths(scenarios.starts, scenarios.goals, workers=2) == pytest.approx(lengths, abs=1e-8)
    with pytest.raises(PlaceError, match=r"goal 1: .* off the map"):
        ready.lengths(scenarios.starts[:2], np.array([scenarios.goals[0], [512, 0]]))


def test_gzipped_maps_are_read_as_they_are(shared_data):
    folder = shared_data / "gridmaps"
    grid = read_map(folder / "Berlin_1_1024.map.gz").grid()
    scenarios = read_scenarios(folder / "Berlin_1_1024.map.scen.gz")
    for query in range(0, len(scenarios), 401):
        path = shortest_path(grid, scenarios.starts[query], scenarios.goals[query])
        assert path.length == pytest.approx(scenarios.lengths[query], abs=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_costs_equal_dijkstra_and_a_weight_bounds_what_is_lost(seed):
    random = np.random.default_rng(seed)
    free = random_map(random)
    free[0, 0] = True
    costs = random.uniform(0.5, 9.0, free.shape)
    blocked = np.where(free, costs, np.inf)
    best = dijkstra(free, (0, 0), costs)
    field = cost_field(blocked, np.array([[0, 0]]))
    lengths = distance_field(Grid(free), np.array([[0, 0]]))
    plain = dijkstra(free, (0, 0))
    for goal in places_of(free):
        column, row = goal
        assert field[row, column] == pytest.approx(best.get(goal, math.inf))
        assert lengths[row, column] == pytest.approx(plain.get(goal, math.inf))
        path = cheapest_path(blocked, (0, 0), goal)
        assert path.cost == pytest.approx(best.get(goal, math.inf))
        if path.found:
            assert_walkable(free, path, (0, 0), goal)
            assert cheapest_path(blocked, (0, 0), goal, weight=2.0).cost <= 2.0 * path.cost + 1e-9


def test_expected_costs_go_round_what_is_likely_in_the_way():
    occupancy = np.zeros((5, 9))
    occupancy[1:4, 4] = 0.4
    for collision, rows in ((0.1, {2}), (1000.0, {0, 2, 4, 1, 3})):
        path = cheapest_path(expected_costs(occupancy, collision=collision), (0, 2), (8, 2))
        along = occupancy[path.cells[:, 1], path.cells[:, 0]]
        steps = np.hypot(*np.diff(path.cells, axis=0).T)
        expected = (steps * (1 + collision * (along[:-1] + along[1:]) / 2)).sum()
        assert path.cost == pytest.approx(expected)
        assert set(path.cells[:, 1]) <= rows
    assert along.max() == 0


def test_any_angle_is_between_the_straight_line_and_the_grid():
    random = np.random.default_rng(3)
    free = random.random((60, 60)) > 0.12
    free[0, 0] = free[59, 59] = True
    grid = Grid(free)
    octile = shortest_path(grid, (0, 0), (59, 59))
    angled = shortest_path(grid, (0, 0), (59, 59), method="any_angle")
    tight = pull_tight(grid, octile)
    for path in (angled, tight):
        assert math.hypot(59, 59) <= path.length <= octile.length + 1e-9
        for one, two in pairwise(path.cells):
            for share in np.linspace(0, 1, 400):  # a point every so often along the segment
                column, row = np.round(one + share * (two - one)).astype(int)
                assert free[row, column]
    assert angled.length < octile.length
    empty = shortest_path(Grid(np.ones((30, 50), bool)), (0, 0), (49, 20), method="any_angle")
    assert empty.length == pytest.approx(math.hypot(49, 20))
    assert len(empty.cells) == 2


def test_a_robot_needs_room():
    free = np.ones((9, 9), bool)
    free[4, :4] = free[4, 5:] = False
    grid = Grid(free)
    assert shortest_path(grid, (4, 1), (4, 7)).found
    assert inflate(grid, 0.5) is grid
    wide = inflate(grid, 0.7)
    assert not shortest_path(wide, (4, 1), (4, 7)).found
    places = np.argwhere(np.pad(~free, 1, constant_values=True)) - 1
    away = [[np.hypot(*(places - (row, column)).T).min() for column in range(9)] for row in range(9)]
    assert np.allclose(clearance(grid), away)
    assert np.array_equal(wide.free, free & (np.array(away) >= 1.2))


@pytest.mark.parametrize("method", ["astar", "jump_point", "any_angle"])
def test_the_time_is_kept(method):
    random = np.random.default_rng(0)
    free = random.random((1500, 1500)) > 0.35
    free[0, 0] = free[-1, -1] = True
    grid = Grid(free)
    shortest_path(grid, (0, 0), (0, 0), method=method)
    path = shortest_path(grid, (0, 0), (1499, 1499), method=method, seconds=0.02)
    assert path.outcome in ("out of time", "no path", "found")
    assert path.milliseconds < 100  # a busy machine may take its own share


def test_wrong_places_and_options():
    free = np.ones((4, 6), bool)
    free[2, 3] = False
    grid = Grid(free)
    for start, said in (((6, 0), "off the map"), ((-1, 0), "off the map"), ((3, 2), "inside an obstacle")):
        for method in ("astar", "jump_point", "any_angle"):
            with pytest.raises(PlaceError, match=f"start.*{said}"):
                shortest_path(grid, start, (0, 0), method=method)
            with pytest.raises(PlaceError, match=f"goal.*{said}"):
                shortest_path(grid, (0, 0), start, method=method)
        with pytest.raises(PlaceError, match=said):
            prepare(grid).path((0, 0), start)
    with pytest.raises(PlaceError, match="whole numbers"):
        shortest_path(grid, np.array([0.5, 1.0]), (0, 0))
    with pytest.raises(OptionError, match="jump_point"):
        shortest_path(grid, (0, 0), (1, 1), method="magic")
    for seconds in (0.0, -1.0, math.nan):
        with pytest.raises(BudgetError):
            shortest_path(grid, (0, 0), (1, 1), seconds=seconds)
    with pytest.raises(ShapeError):
        shortest_paths(grid, np.zeros((2, 2), int), np.zeros((1, 2), int))
    with pytest.raises(MapError):
        Grid(np.zeros((0, 3), bool))
    with pytest.raises(MapError):
        inflate(grid, -1)
    for costs in (np.full((2, 2), np.nan), np.zeros((2, 2)), -np.ones((2, 2))):
        with pytest.raises(MapError):
            cheapest_path(costs, (0, 0), (1, 1))
    with pytest.raises(MapError):
        expected_costs(np.array([[1.5]]), collision=1.0)
    with pytest.raises(MapError):
        distance_field(grid, np.zeros((0, 2), int))


def test_what_was_prepared_belongs_to_its_map(tmp_path):
    free = np.random.default_rng(0).random((12, 12)) > 0.2
    path = tmp_path / "ready.npz"
    write_prepared(path, prepare(Grid(free)))
    with pytest.raises(MapError, match="another"):
        read_prepared(path, Grid(~free))
    path.write_text("nothing")
    with pytest.raises(MapError, match="write_prepared"):
        read_prepared(path, Grid(free))
