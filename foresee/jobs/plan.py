"""A map and two places in; a path out, drawn and timed, or the proof that there is none."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from foresee import __version__
from foresee.errors import OptionError, PlaceError
from foresee.jobs.folder import writable_folder
from foresee.jobs.summary import Summary, plain, write_summary
from foresee.jobs.terminal import Terminal
from foresee.planning import (
    Grid,
    GridPath,
    Map,
    cheapest_path,
    clearance,
    distance_field,
    expected_costs,
    inflate,
    read_map,
    shortest_path,
)
from foresee.report.plan import PlanFindings, draw_plan, plan_headlines, plan_page
from foresee.storage import whole_file

METHODS = ("jump_point", "astar", "any_angle")
RESULTS = ("report.html", "path.csv", "map.svg", "summary.json")
REPEATS, LONGEST = 5, 2.0  # timed queries, and how long they may take together [s]


def plan(
    path: Path,
    *,
    start: tuple[int, int],
    goal: tuple[int, int],
    out: Path,
    method: str = "jump_point",
    threshold: float = 0.5,
    radius: float = 0.0,
    collision: float | None = None,
    seconds: float | None = None,
    quiet: bool = False,
) -> Path:
    """Find a path on a map and write path.csv, map.svg, report.html and summary.json.

    That there is no path is a result, not an error; then path.csv has no rows.

    Args:
        path: the map: MovingAI's .map, a picture, or an array of occupancy.
        start: column and row, from the top left.
        goal: column and row.
        out: folder for the results, made if it is not there.
        method: "jump_point", "astar" or "any_angle"; not used where there is a cost of collision.
        threshold: cells at least so probably occupied are obstacles.
        radius: of the robot [cells].
        collision: what a cell's length inside an obstacle costs, in cells of free length; the path is then
            the one with the least expected cost.
        seconds: the search stops after so long.
        quiet: no progress, no table.

    Returns:
        The folder with the results.

    Raises:
        OptionError: if the method is unknown.
        MapError: if the file cannot be read as a map.
        PlaceError: if start or goal are off the map or inside an obstacle.
        OSError: if the folder cannot be written.
    """
    started = perf_counter()
    if method not in METHODS:
        raise OptionError(f"expected a method out of {', '.join(METHODS)}, got {method!r}")
    terminal = Terminal(quiet)
    with writable_folder(out):
        with terminal.step("read"):
            found_map = read_map(path)
            grid = _with_room(found_map.grid(threshold), radius, start, goal)
        with terminal.step("search"):
            query = _query(found_map, grid, start, goal, method, collision, seconds)
            result, milliseconds = _timed(query)
        with terminal.step("report"):
            summary = _numbers(found_map, grid, result, milliseconds)
            summary |= {
                "start": list(start),
                "goal": list(goal),
                "octile": _octile(start, goal),
                "method": method if collision is None else "cheapest",
                "threshold": threshold,
                "radius": radius,
                "collision": collision,
                "seconds.allowed": seconds,
            }
            findings = _findings(found_map, grid, result, start, summary)
            _write(out, findings, result)
            seconds_taken = {f"seconds.{name}": value for name, value in terminal.seconds.items()}
            findings.summary.update(seconds_taken, **{"seconds.total": perf_counter() - started})
            write_summary(out / "summary.json", findings.summary)
    terminal.table(str(path), plan_headlines(findings.summary))
    if result.outcome == "no path":
        terminal.result(
            f"There is no path: {findings.summary['reached']:,} cells can be reached from the start, and the "
            "goal is not among them."
        )
    elif not result.found:
        terminal.result("The time was up before a path was found; whether there is one is not known.")
    terminal.result(f"results in {out}: {', '.join(RESULTS)}")
    return out


def _with_room(grid: Grid, radius: float, start: tuple[int, int], goal: tuple[int, int]) -> Grid:
    """Return the map for the middle of the robot, if it has room where it is to begin and end."""
    roomy = inflate(grid, radius)
    for name, (column, row) in (("start", start), ("goal", goal)):
        grid.cell((column, row), name)
        if not roomy.free[row, column]:
            raise PlaceError(
                f"{name}: expected room for a radius of {radius:g} cells, got {column},{row}, which is "
                f"{clearance(grid)[row, column]:.1f} cells from an obstacle or the rim"
            )
    return roomy


def _query(
    found_map: Map,
    grid: Grid,
    start: tuple[int, int],
    goal: tuple[int, int],
    method: str,
    collision: float | None,
    seconds: float | None,
) -> Callable[[], GridPath]:
    if collision is None:
        return lambda: shortest_path(grid, start, goal, method=method, seconds=seconds)
    costs = np.where(grid.free, expected_costs(found_map.occupancy, collision=collision), np.inf)
    return lambda: cheapest_path(costs, start, goal, seconds=seconds)


def _timed(query: Callable[[], GridPath]) -> tuple[GridPath, list[float]]:
    """Return the path and the milliseconds of queries after the first, which compiles."""
    result = query()
    if result.outcome == "out of time":
        result = query()
        return result, [result.milliseconds]
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < 1e3 * LONGEST:
        times.append(query().milliseconds)
    return result, times


def _numbers(found_map: Map, grid: Grid, result: GridPath, milliseconds: list[float]) -> Summary:
    return {
        "version": __version__,
        "found": result.found,
        "outcome": result.outcome,
        "length": result.length,
        "cost": result.cost,
        "milliseconds": median(milliseconds),
        "repeats": len(milliseconds),
        "expanded": result.expanded,
        "reached": None,
        "map.source": found_map.source,
        "map.kind": found_map.kind,
        "map.columns": grid.columns,
        "map.rows": grid.rows,
        "map.free": int(grid.free.sum()),
    }


def _octile(start: tuple[int, int], goal: tuple[int, int]) -> float:
    """Return the length of a shortest path on an empty map."""
    right, down = abs(goal[0] - start[0]), abs(goal[1] - start[1])
    return max(right, down) + (2**0.5 - 1) * min(right, down)


def _findings(
    found_map: Map, grid: Grid, result: GridPath, start: tuple[int, int], summary: Summary
) -> PlanFindings:
    reached = None
    if result.outcome == "no path":
        reached = np.isfinite(distance_field(grid, np.array([start])))
        summary["reached"] = int(reached.sum())
    room = clearance(found_map.grid(summary["threshold"]))
    clearances = room[result.cells[:, 1], result.cells[:, 0]]
    summary["clearance.least"] = float(clearances.min()) if len(clearances) else None
    return PlanFindings(plain(summary), found_map.occupancy, grid.free, result.cells, clearances, reached)


def _write(out: Path, findings: PlanFindings, result: GridPath) -> None:
    for stale in RESULTS:
        (out / stale).unlink(missing_ok=True)
    lines = ["column,row", *(f"{column},{row}" for column, row in result.cells.tolist())]
    texts = {
        "path.csv": "\n".join(lines) + "\n",
        "map.svg": draw_plan(findings).svg,
        "report.html": plan_page(findings).html(),
    }
    for name, text in texts.items():
        with whole_file(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
