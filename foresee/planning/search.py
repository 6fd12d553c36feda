"""The front door of search on grids: one path, or many on all cores."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Int

from foresee.errors import OptionError, ShapeError
from foresee.planning.astar import astar
from foresee.planning.grid import Grid, Place
from foresee.planning.jump_point import jump_point
from foresee.planning.path import GridPath
from foresee.planning.prepared import Prepared
from foresee.planning.theta import any_angle

METHODS: dict[str, Callable[..., GridPath]] = {
    "any_angle": any_angle,
    "astar": astar,
    "jump_point": jump_point,
}


def shortest_path(
    grid: Grid, start: Place, goal: Place, *, method: str = "jump_point", seconds: float | None = None
) -> GridPath:
    """Find a shortest path on a map: the function to call first.

    Args:
        grid: the map.
        start: column and row, from the top left.
        goal: column and row.
        method: "jump_point" or "astar", both exact, or "any_angle".
        seconds: the search stops after so long, with the outcome "out of time"; by default never. What is
            made once, for a new map and in a new installation, is not counted.

    Raises:
        OptionError: if there is no such method.
        PlaceError: if start or goal are off the map or inside an obstacle.
        BudgetError: if the time is not above 0.
    """
    if method not in METHODS:
        raise OptionError(f"expected a method out of {', '.join(METHODS)}, got {method!r}")
    return METHODS[method](grid, start, goal, seconds=seconds)


def shortest_paths(
    on: Grid | Prepared,
    starts: Int[np.ndarray, "starts 2"],
    goals: Int[np.ndarray, "goals 2"],
    *,
    method: str = "jump_point",
    workers: int | None = None,
) -> list[GridPath]:
    """Find many shortest paths side by side; the compiled part of each runs beside those of the others.

    Args:
        on: a map, or one that `prepare` has prepared.
        starts: columns and rows.
        goals: columns and rows.
        method: as for `shortest_path`; a prepared map has its own.
        workers: threads; by default one per core.

    Raises:
        ShapeError: if there are not as many goals as starts.
        OptionError: if there is no such method, or fewer than one worker.
        PlaceError: if a start or goal is off the map or inside an obstacle.
    """
    if len(starts) != len(goals):
        raise ShapeError(f"expected as many goals as starts, got {len(goals)} and {len(starts)}")
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise OptionError(f"expected at least 1 worker, got {workers}")
    if method not in METHODS:
        raise OptionError(f"expected a method out of {', '.join(METHODS)}, got {method!r}")

    def one(query: int) -> GridPath:
        if isinstance(on, Prepared):
            return on.path(starts[query], goals[query])
        return METHODS[method](on, starts[query], goals[query])

    def some(queries: np.ndarray) -> list[GridPath]:
        return [one(int(query)) for query in queries]

    # The first query makes what is kept with the map, so that no two threads do.
    begun = [one(0)] if len(starts) else []
    parts = np.array_split(np.arange(1, len(starts)), 8 * workers) if len(starts) > 1 else []
    with ThreadPoolExecutor(workers) as pool:
        return begun + [path for part in pool.map(some, parts) for path in part]
