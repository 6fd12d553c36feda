"""Paths and fields of least cost, where cells cost more or less: doubt about obstacles, slow ground."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from foresee.errors import MapError
from foresee.planning.grid import Grid, Place
from foresee.planning.path import GridPath, Watch, compiled, sliced
from foresee.planning.queue import pop, push

SIZE, EXPANDED = range(2)


def expected_costs(
    occupancy: Float[np.ndarray, "rows columns"], *, collision: float | int, threshold: float | int = 1.0
) -> Float[np.ndarray, "rows columns"]:
    """Return the expected cost per cell of length, 1 + collision × P(occupied), infinite where that is sure.

    The cost of a path over these costs is its expected cost: its length, and what a collision costs for each
    cell of length inside an obstacle, averaged over what may be there.

    Args:
        occupancy: probability that a cell is occupied.
        collision: cost of a cell's length inside an obstacle, in cells of free length.
        threshold: cells at least so probably occupied are not entered at all.

    Raises:
        MapError: if a probability is outside 0 to 1 or not a number, or the cost is negative.
    """
    if not ((occupancy >= 0) & (occupancy <= 1)).all():
        raise MapError("expected probabilities of occupancy between 0 and 1, got one outside or not a number")
    if not (np.isfinite(collision) and collision >= 0):
        raise MapError(f"expected a cost of collision of 0 or more, got {collision}")
    return np.where(occupancy >= threshold, np.inf, 1 + collision * occupancy)


def cheapest_path(
    costs: Float[np.ndarray, "rows columns"],
    start: Place,
    goal: Place,
    *,
    weight: float | int = 1.0,
    seconds: float | None = None,
) -> GridPath:
    """Find a path of least cost, where a step costs its length times the mean of its two cells' costs.

    Args:
        costs: of a cell of length in each cell, above 0; infinite where the cell cannot be entered.
        start: column and row.
        goal: column and row.
        weight: 1 for the cheapest path; above, the search is faster and the path costs at most so many times
            as much as the cheapest.
        seconds: the search stops after so long, with the outcome "out of time"; by default never.

    Raises:
        MapError: if a cost is not above 0 or not a number, or the weight is below 1.
        PlaceError: if start or goal are off the map or cannot be entered.
        BudgetError: if the time is not above 0.

    Source:
        Hart, Nilsson and Raphael (1968); weighted: Pohl (1970).
    """
    if seconds is not None:
        compiled(_over_ones)
    watch = Watch(seconds)
    if not (np.isfinite(weight) and weight >= 1):
        raise MapError(f"expected a weight of 1 or more, got {weight}")
    grid, flat, least = _check(costs)
    first, last = grid.cell(start, "start"), grid.cell(goal, "goal")
    done, spent, came, expanded = _run(grid, flat, np.array([first]), last, weight * least, watch)
    if not done:
        return GridPath.out_of_time(expanded, watch)
    if not np.isfinite(spent[last]):
        return GridPath.none(expanded, watch)
    cells = trace(came, last)
    return GridPath.of(grid, cells, expanded, watch, float(spent[last]))


def _over_ones(grid: Grid, start: Place, goal: Place) -> GridPath:
    return cheapest_path(np.ones(grid.free.shape), start, goal)


def cost_field(
    costs: Float[np.ndarray, "rows columns"], goals: Int[np.ndarray, "goals 2"]
) -> Float[np.ndarray, "rows columns"]:
    """Return what the cheapest path from each cell to the nearest of the goals costs; infinite if none leads.

    Args:
        costs: of a cell of length in each cell, above 0; infinite where the cell cannot be entered.
        goals: columns and rows.

    Raises:
        MapError: if a cost is not above 0 or not a number, or there are no goals.
        PlaceError: if a goal is off the map or cannot be entered.

    Source:
        Dijkstra (1959).
    """
    grid, flat, _ = _check(costs)
    if not len(goals):
        raise MapError("expected at least one goal, got none")
    cells = np.array([grid.cell(goal, "goal") for goal in goals])
    _, spent, _, _ = _run(grid, flat, cells, -1, 0.0, Watch())
    return spent.reshape(grid.rows + 2, grid.columns + 2)[1:-1, 1:-1].copy()


def distance_field(grid: Grid, goals: Int[np.ndarray, "goals 2"]) -> Float[np.ndarray, "rows columns"]:
    """Return how far each cell is from the nearest of the goals on the shortest path; infinite if cut off.

    Args:
        grid: the map.
        goals: columns and rows.

    Raises:
        MapError: if there are no goals.
        PlaceError: if a goal is off the map or inside an obstacle.
    """
    return cost_field(np.where(grid.free, 1.0, np.inf), goals)


def _check(costs):
    """Return the grid, the costs on the flat map with its rim, and the least of them."""
    if np.isnan(costs).any() or not (costs > 0).all():
        raise MapError("expected costs above 0, infinite where a cell is blocked, got one that is not")
    grid = Grid(np.isfinite(costs))
    flat = np.pad(costs, 1, constant_values=np.inf).ravel()
    return grid, flat, float(costs.min()) if grid.free.any() else 1.0


def _run(grid, flat, sources, last, rate, watch):
    """Search from the sources to a cell, or to all if it is −1."""
    spent, came = np.full(flat.size, np.inf), np.full(flat.size, -1, np.int32)
    closed, state = np.zeros(flat.size, np.bool_), np.zeros(2, np.int64)
    queue = [np.empty(4096), np.empty(4096, np.int64)]
    for source in sources:
        spent[source] = 0.0
        queue[0], queue[1], state[SIZE] = push(queue[0], queue[1], state[SIZE], 0.0, source)

    def search(most: int) -> bool:
        done, queue[0], queue[1] = _search(
            grid.moves, grid.stride, flat, last, rate, spent, came, closed, queue[0], queue[1], state, most
        )
        return done

    done = sliced(search, watch)
    return done, spent, came, int(state[EXPANDED])


@njit(cache=True, nogil=True)
@no_type_check
def _search(moves, stride, costs, last, rate, spent, came, closed, keys, items, state, most):
    offsets = (1, stride, -1, -stride, stride + 1, stride - 1, -stride - 1, 1 - stride)
    goal_row, goal_column = last // stride, last % stride
    root = np.sqrt(2.0)
    size, expanded, ended = state[SIZE], 0, False
    while expanded < most:
        if size == 0:
            ended = True
            break
        _, cell, size = pop(keys, items, size)
        if closed[cell]:
            continue
        closed[cell] = True
        if cell == last:
            ended = True
            break
        expanded += 1
        allowed = moves[cell]
        for way in range(8):
            if not (allowed >> way) & 1:
                continue
            near = cell + offsets[way]
            there = spent[cell] + 0.5 * (costs[cell] + costs[near]) * (1.0 if way < 4 else root)
            if there >= spent[near]:
                continue
            spent[near], came[near], closed[near] = there, cell, False
            key = there
            if rate > 0:
                row = near // stride
                down, right = abs(row - goal_row), abs(near - row * stride - goal_column)
                key += rate * (max(down, right) + (root - 1) * min(down, right))
            keys, items, size = push(keys, items, size, key, np.int64(near))
    state[SIZE] = size
    state[EXPANDED] += expanded
    return ended, keys, items


@njit(cache=True, nogil=True)
@no_type_check
def trace(came, last):
    """Return the cells from where a search began to a cell."""
    count, cell = 1, last
    while came[cell] >= 0:
        cell = came[cell]
        count += 1
    cells = np.empty(count, np.int64)
    cell = last
    for place in range(count - 1, -1, -1):
        cells[place] = cell
        cell = came[cell]
    return cells
