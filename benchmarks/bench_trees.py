"""Planners that sample, among discs: how soon is there a path, and how near to the exact optimum in a second?

Every path is checked against the discs, and against the exact optimum, before its figures count.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks import measure
from benchmarks.peers import discs as ompl
from foresee.planning import (
    Obstacles,
    TreePath,
    batch_informed,
    rrt,
    rrt_connect,
    rrt_star,
    shortest_among_discs,
)

CLAIM = (
    "a first path in a tenth of the time OMPL takes, and in one second one shorter than its best, within 1 % "
    "of the exact optimum"
)
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "problems" / "rrt_discs.json"
Planner = Callable[[int], TreePath]


def random_problem(seed: int, count: int = 70) -> dict[str, Any]:
    """Return discs at random that leave start and goal free."""
    random = np.random.default_rng(seed)
    found = np.column_stack([random.uniform(5, 95, (count, 2)), random.uniform(2, 6.5, count)])
    ends = np.array([[2.0, 2.0], [98.0, 98.0]])
    free = [np.hypot(*(found[:, :2] - end).T) > found[:, 2] + 0.5 for end in ends]
    kept = found[free[0] & free[1]]
    return {"bounds": [0, 100], "start": [2, 2], "goal": [98, 98], "discs_x_y_radius": kept.tolist()}


def obstacles_of(problem: dict[str, Any]) -> tuple[Obstacles, np.ndarray, np.ndarray]:
    """Return the problem as foresee takes it."""
    low, high = problem["bounds"]
    found = Obstacles(
        np.full(2, float(low)), np.full(2, float(high)), np.array(problem["discs_x_y_radius"], float)
    )
    return found, np.array(problem["start"], float), np.array(problem["goal"], float)


def touches(discs: np.ndarray, points: np.ndarray) -> bool:
    """Return whether any segment of a path touches a disc, in exact arithmetic up to rounding."""
    one, two = points[:-1, None], points[1:, None]
    steps = two - one
    squares = np.maximum((steps**2).sum(axis=-1), 1e-300)
    along = np.clip(((discs[:, :2] - one) * steps).sum(axis=-1) / squares, 0, 1)
    gaps = np.linalg.norm(one + along[..., None] * steps - discs[:, :2], axis=-1) - discs[:, 2]
    return bool(gaps.min() < -1e-9)


def gate_paths(
    report: measure.Report, name: str, paths: list[TreePath], discs: np.ndarray, best: float
) -> None:
    """Gate that paths are free and none is shorter than the shortest."""
    found = [path for path in paths if path.found]
    wrong = sum(touches(discs, path.points) for path in found)
    report.gate(f"{name}: no path touches a disc", wrong == 0, f"{wrong} of {len(found)} do")
    least = min((path.length for path in found), default=np.inf)
    report.gate(
        f"{name}: none is shorter than the optimum", least >= best * (1 - 1e-9), f"{least} and {best}"
    )


def with_interval(hits: int, count: int) -> str:
    """Return a share with its 95 % interval (Wilson)."""
    ends = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{hits / count:.2f} [{ends.low:.2f}, {ends.high:.2f}]"


def first_paths(report: measure.Report, problem: dict[str, Any], file: Path) -> None:
    """Compare how soon there is a path."""
    seeds, theirs = (3, 2) if report.options.quick else (100, 10)
    obstacles, start, goal = obstacles_of(problem)
    best = shortest_among_discs(obstacles, start, goal).length
    planners: dict[str, Planner] = {
        "foresee RRT-Connect": lambda seed: rrt_connect(obstacles, start, goal, seed=seed, seconds=1.0),
        "foresee RRT": lambda seed: rrt(obstacles, start, goal, seed=seed, seconds=1.0),
    }
    lines, medians = [], {}
    for name, planner in planners.items():
        planner(0)
        paths = [planner(seed) for seed in range(seeds)]
        gate_paths(report, name, paths, obstacles.discs, best)
        times = [path.milliseconds for path in paths]
        medians[name] = float(np.median(times))
        found = with_interval(sum(path.found for path in paths), seeds)
        length = float(np.median([path.length for path in paths]))
        lines.append([name, medians[name], float(np.quantile(times, 0.9)), None, found, length, ""])
    for planner in ("RRTConnect", "RRT", "RRTstar", "BITstar"):
        name = f"OMPL {planner}"
        if not report.wanted(measure.Entry(name, lambda problem: None)):
            continue
        try:
            rows = ompl.run(file, planner, 5.0, theirs, True)
        except ImportError as error:
            lines.append([name, None, None, None, None, None, f"not run: {error}"])
            continue
        times = np.array([1e3 * float(row[1] or 0) for row in rows])
        alone = times - np.array([1e3 * float(row[2] or 0) for row in rows])
        lengths = [row[0] for row in rows if row[0] is not None]
        medians[name] = float(np.median(times))
        found = with_interval(len(lengths), len(rows))
        length = float(np.median(lengths)) if lengths else None
        numbers = [medians[name], float(np.quantile(times, 0.9)), float(np.median(alone))]
        lines.append([name, *numbers, found, length, "Python callback"])
    columns = [
        "",
        "median ms",
        "90 % ms",
        "less the callback ms",
        "found, 95 % interval",
        "median length",
        "note",
    ]
    report.table(f"The first path, {seeds} seeds, OMPL {theirs}", columns, lines)
    if "OMPL RRTConnect" in medians:
        share = medians["foresee RRT-Connect"] / medians["OMPL RRTConnect"]
        report.target("first path: share of OMPL RRTConnect's time", share, 0.1)
        alone = next(line[3] for line in lines if line[0] == "OMPL RRTConnect")
        report.target(
            "first path: share of that less its callback", medians["foresee RRT-Connect"] / alone, 1.0
        )


def in_one_second(report: measure.Report, problem: dict[str, Any], file: Path) -> None:
    """Compare how short paths are when the time is up."""
    quick = report.options.quick
    seconds, seeds, theirs = (0.05, 2, 2) if quick else (1.0, 15, 8)
    obstacles, start, goal = obstacles_of(problem)
    shortest_among_discs(obstacles, start, goal)
    begun = time.perf_counter()
    best = shortest_among_discs(obstacles, start, goal).length
    exact_ms = 1e3 * (time.perf_counter() - begun)
    planners: dict[str, Planner] = {
        "foresee informed batches": lambda seed: batch_informed(
            obstacles, start, goal, seed=seed, seconds=seconds
        ),
        "foresee Informed RRT*": lambda seed: rrt_star(obstacles, start, goal, seed=seed, seconds=seconds),
        "foresee RRT*": lambda seed: rrt_star(
            obstacles, start, goal, seed=seed, seconds=seconds, informed=False
        ),
    }
    lines: list[list[Any]] = [["exact among discs", best, best, 0.0, None, f"proved, in {exact_ms:.1f} ms"]]
    medians = {}
    for name, planner in planners.items():
        planner(0)
        paths = [planner(seed) for seed in range(seeds)]
        gate_paths(report, name, paths, obstacles.discs, best)
        lengths = np.array([path.length for path in paths])
        medians[name] = float(np.median(lengths))
        over = max(path.milliseconds for path in paths) / 1e3 / seconds - 1
        note = f"longest run {100 * over:+.1f} % of the time allowed"
        near = with_interval(int((lengths < 1.01 * best).sum()), seeds)
        lines.append(
            [name, medians[name], float(lengths.max()), 100 * (medians[name] / best - 1), near, note]
        )
    for planner in ("BITstar", "InformedRRTstar", "RRTstar"):
        name = f"OMPL {planner}"
        if not report.wanted(measure.Entry(name, lambda problem: None)):
            continue
        try:
            rows = ompl.run(file, planner, seconds, theirs, False)
        except ImportError as error:
            lines.append([name, None, None, None, None, f"not run: {error}"])
            continue
        lengths = np.array([np.inf if row[0] is None else row[0] for row in rows])
        medians[name] = float(np.median(lengths))
        near = with_interval(int((lengths < 1.01 * best).sum()), len(rows))
        numbers = [medians[name], float(lengths.max()), 100 * (medians[name] / best - 1)]
        lines.append([name, *numbers, near, "Python callback"])
    columns = ["", "median length", "longest", "% above the optimum", "within 1 %, 95 % interval", "note"]
    report.table(f"Length after {seconds:g} s, {seeds} seeds, OMPL {theirs}", columns, lines)
    ours = medians["foresee informed batches"]
    report.target("length after the time against the exact optimum", ours / best, 1.01)
    if "OMPL BITstar" in medians:
        report.target("length after the time against OMPL's BIT*", ours / medians["OMPL BITstar"], 1.0)


def anytime(report: measure.Report, problem: dict[str, Any]) -> None:
    """Count how often informed batches are near the optimum after how long."""
    seeds = 3 if report.options.quick else 100
    obstacles, start, goal = obstacles_of(problem)
    best = shortest_among_discs(obstacles, start, goal).length
    seconds = 0.05 if report.options.quick else 0.4
    paths = [batch_informed(obstacles, start, goal, seed=seed, seconds=seconds) for seed in range(seeds)]
    gate_paths(report, "informed batches, 100 seeds", paths, obstacles.discs, best)
    lines = []
    for after in np.array([0.0125, 0.05, 0.1, 0.2, 0.4]) * seconds / 0.4:
        lengths = np.array(
            [min(path.history[path.history[:, 0] <= after, 1], default=np.inf) for path in paths]
        )
        shares = [
            with_interval(int((lengths < limit * best).sum()), seeds) for limit in (np.inf, 1.05, 1.01, 1.001)
        ]
        lines.append([f"{1e3 * after:.0f} ms", *shares])
    columns = ["", "found", "within 5 %", "within 1 %", "within .1 %"]
    report.table(f"Informed batches, share of {seeds} seeds with 95 % intervals", columns, lines)


def other_fields(report: measure.Report) -> None:
    """Compare with the optimum among other discs."""
    fields, seconds = (2, 0.05) if report.options.quick else (20, 0.5)
    gaps, worst = [], 0.0
    for seed in range(fields):
        obstacles, start, goal = obstacles_of(random_problem(seed))
        exact = shortest_among_discs(obstacles, start, goal)
        path = batch_informed(obstacles, start, goal, seed=seed, seconds=seconds)
        if not exact.found:
            report.gate(f"field {seed}: nothing is found where there is no path", not path.found)
            continue
        gate_paths(report, f"field {seed}", [path], obstacles.discs, exact.length)
        gaps.append(100 * (path.length / exact.length - 1))
        worst = max(worst, gaps[-1])
    line = [f"{len(gaps)} with a path", float(np.median(gaps)), worst]
    report.table(
        f"Other fields of discs, {seconds:g} s each", ["", "median % above the optimum", "largest %"], [line]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the case."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("trees", CLAIM, options)
    problem = json.loads(DATA.read_text()) if DATA.exists() else random_problem(100)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "problem.json"
        file.write_text(json.dumps(problem))
        first_paths(report, problem, file)
        in_one_second(report, problem, file)
    anytime(report, problem)
    other_fields(report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
