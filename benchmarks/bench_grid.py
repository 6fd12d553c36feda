"""Shortest paths on grids: are all published lengths met, and what does a query cost, here and elsewhere?

Lengths are compared before a time counts. Candidates take turns, each going through all queries,
so that it meets caches as it leaves them. Per query the least of several turns counts; then medians over
queries are compared.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.peers import grids
from foresee.planning import (
    Grid,
    Prepared,
    Scenarios,
    astar,
    jump_point,
    prepare,
    read_map,
    read_scenarios,
    shortest_paths,
)

CLAIM = (
    "shortest paths on grids equal the published lengths on every scenario; plain A* 20 times as fast as "
    "Python libraries, jump points at 5 times that, prepared maps below a tenth of a millisecond"
)
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "gridmaps"
CITIES = ("Berlin", "Boston")
SIDE_BY_SIDE = "Berlin_0_512"
LEAST_TIMES = {"SciPy dijkstra": 1.5, "rustworkx A*": 20, "networkx A*": 20, "python-pathfinding A*": 20}
Query = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True, eq=False)
class Case:
    """A map with queries whose lengths are known."""

    name: str
    grid: Grid
    scenarios: Scenarios


def cases(quick: bool) -> list[Case]:
    """Return the maps at hand; where there are none, or in haste, one that is made up."""
    found = []
    for path in [] if quick else sorted([*DATA.glob("*.map"), *DATA.glob("*.map.gz")]):
        plain = path.name.removesuffix(".gz")
        scenarios = next((each for each in DATA.glob(f"{plain}.scen*")), None)
        if scenarios is not None:
            grid = read_map(path).grid()
            found.append(Case(plain.removesuffix(".map"), grid, read_scenarios(scenarios)))
    return found or [made_up(64 if quick else 512)]


def made_up(size: int, queries: int = 40) -> Case:
    """Return a city of blocks with yards, its lengths by SciPy."""
    random = np.random.default_rng(0)
    free = np.ones((size, size), bool)
    for _ in range(20 + size * size // 2500):
        row, column = random.integers(0, size, 2)
        high, wide = random.integers(4, 18, 2)
        free[row : row + high, column : column + wide] = False
        free[row + 2 : row + high - 2, column + 2 : column + wide] = True
    far = grids.scipy_dijkstra(free)
    places = np.argwhere(free)[:, ::-1]
    pairs = random.permutation(places)[: 2 * queries].reshape(queries, 2, 2)
    lengths = np.array([far(tuple(one), tuple(two)) for one, two in pairs])
    return Case(
        f"made up {size}", Grid(free), Scenarios(pairs[:, 0], pairs[:, 1], lengths, np.full(queries, 8))
    )


def check(report: measure.Report, case: Case, methods: dict[str, Query]) -> None:
    """Gate the length of every query by every method."""
    slack = 0.51 * 10.0**-case.scenarios.digits + 1e-5  # published lengths are rounded, some in float32
    for name, method in methods.items():
        got = np.array(
            [method(*pair) for pair in zip(case.scenarios.starts, case.scenarios.goals, strict=True)]
        )
        known = case.scenarios.lengths
        with np.errstate(invalid="ignore"):  # infinite where there is no path
            wrong = int((~(np.abs(got - known) <= slack) & (got != known)).sum())
        report.gate(
            f"{case.name}: every length by {name}", wrong == 0, f"{len(got) - wrong} of {len(got)} equal"
        )


def some(case: Case, count: int) -> np.ndarray:
    """Return queries from the easiest to the hardest, spread evenly."""
    order = np.argsort(case.scenarios.lengths)
    order = order[np.isfinite(case.scenarios.lengths[order])]
    return order[np.unique(np.linspace(0, len(order) - 1, count).astype(int))]


def least_times(
    case: Case, methods: dict[str, Query], queries: np.ndarray, turns: int
) -> dict[str, np.ndarray]:
    """Return the least milliseconds of each query by each method, taking turns."""
    best = {name: np.full(len(queries), np.inf) for name in methods}
    for _ in range(turns):
        for name, method in methods.items():
            for index, query in enumerate(queries):
                begun = time.perf_counter()
                method(case.scenarios.starts[query], case.scenarios.goals[query])
                best[name][index] = min(best[name][index], 1e3 * (time.perf_counter() - begun))
    return best


def ours(case: Case) -> tuple[dict[str, Query], Prepared, float]:
    """Return the methods of foresee, the prepared map, and how many seconds that took."""
    warm = Grid(np.ones((70, 70), bool))
    prepare(warm).path((0, 0), (69, 69))
    begun = time.perf_counter()
    ready = prepare(case.grid)
    seconds = time.perf_counter() - begun
    methods: dict[str, Query] = {
        "A*": lambda start, goal: astar(case.grid, start, goal).length,
        "jump points": lambda start, goal: jump_point(case.grid, start, goal).length,
        "prepared": lambda start, goal: ready.path(start, goal).length,
    }
    for method in methods.values():
        method(case.scenarios.starts[0], case.scenarios.goals[0])
    return methods, ready, seconds


def by_map(report: measure.Report, all_cases: list[Case]) -> None:
    """Check everything, and time foresee's methods on every map."""
    quick, lines = report.options.quick, []
    for case in all_cases:
        methods, ready, seconds = ours(case)
        check(report, case, methods)
        best = least_times(case, methods, some(case, 10 if quick else 100), 2 if quick else 5)
        plain, jumps, looked = best.values()
        size = f"{case.grid.columns} × {case.grid.rows}"
        labels = sum(array.nbytes for array in vars(ready.labels).values()) / 2**20
        lines.append(
            [case.name, size, len(case.scenarios)]
            + [float(np.median(each)) for each in (plain, jumps, looked)]
            + [
                float(np.quantile(looked, 0.99)),
                float(np.median(plain / jumps)),
                float(plain.sum() / jumps.sum()),
            ]
            + [seconds, labels]
        )
        if case.name.startswith(CITIES):
            report.target(
                f"{case.name}: jump points against A*, median of ratios", 5 / np.median(plain / jumps), 1
            )
        report.target(f"{case.name}: prepared, median ms", float(np.median(looked)), 0.1)
    columns = ["", "cells", "scenarios", "A* ms", "jump points ms", "prepared ms", "prepared 99 % ms"]
    columns += ["A* / jump points", "of sums", "preparing s", "labels MiB"]
    report.table("foresee on every map: median over queries of their least times", columns, lines)


def beside_others(report: measure.Report, case: Case) -> None:
    """Time foresee and the peers on the same queries."""
    quick = report.options.quick
    methods, _, _ = ours(case)
    named = {f"foresee {name}": method for name, method in methods.items()}
    notes = {}
    for name, make in grids.PEERS.items():
        if not report.wanted(measure.Entry(name, make)):
            continue
        try:
            query = make(case.grid.free)
            named[name] = lambda start, goal, query=query: query(
                tuple(map(int, start)), tuple(map(int, goal))
            )
        except ImportError as error:
            notes[name] = f"not run: {error}"
    queries = some(case, 4 if quick else 11)
    for name, method in named.items():
        got = [method(case.scenarios.starts[query], case.scenarios.goals[query]) for query in queries]
        wrong = int((np.abs(np.array(got) - case.scenarios.lengths[queries]) > 1e-4).sum())
        notes[name] = f"{wrong} of {len(queries)} lengths differ" if wrong else ""
        if name not in grids.CUTS_CORNERS:
            report.gate(f"side by side: lengths of {name}", wrong == 0, notes[name])
    slow = {name for name in named if name.split()[0] in ("networkx", "python-pathfinding", "rustworkx")}
    best = least_times(case, named, queries, 1)
    fast = {name: method for name, method in named.items() if name not in slow}
    again = least_times(case, fast, queries, 1 if quick else 6)
    best |= {name: np.minimum(best[name], again[name]) for name in fast}
    plain = best["foresee A*"]
    lines = []
    for name in sorted(best, key=lambda name: np.median(best[name])):
        ratio = float(np.median(best[name] / plain))
        lines.append([name, float(np.median(best[name])), float(best[name].mean()), ratio, notes[name]])
        if name in LEAST_TIMES:
            report.target(f"{name}: least ratio to A*, over the median ratio", LEAST_TIMES[name] / ratio, 1)
    lines += [[name, None, None, None, note] for name, note in notes.items() if name not in best]
    columns = ["", "median ms", "mean ms", "median ratio to A*", "note"]
    report.table(f"The same {len(queries)} queries on {case.name}, from short to long", columns, lines)


def many_and_large(report: measure.Report, case: Case) -> None:
    """Time many queries on one core and on two, and a map of 2048 × 2048 cells."""
    quick = report.options.quick
    _, ready, _ = ours(case)
    picked = some(case, 20 if quick else 500)
    starts, goals = case.scenarios.starts[picked], case.scenarios.goals[picked]
    lines = []
    kinds = (
        ("A*", case.grid, "astar"),
        ("jump points", case.grid, "jump_point"),
        ("prepared", ready, "jump_point"),
    )
    for name, on, method in kinds:
        rates = []
        for workers in (1, 2):
            seconds = []
            for _ in range(1 if quick else 3):
                begun = time.perf_counter()
                shortest_paths(on, starts, goals, method=method, workers=workers)
                seconds.append(time.perf_counter() - begun)
            rates.append(len(starts) / min(seconds))
        lines.append([name, *rates, rates[1] / rates[0]])
    rates = []
    for workers in (1, 2):
        seconds = []
        for _ in range(1 if quick else 5):
            begun = time.perf_counter()
            ready.lengths(starts, goals, workers=workers)
            seconds.append(time.perf_counter() - begun)
        rates.append(len(starts) / min(seconds))
    lines.append(["prepared, lengths only", *rates, rates[1] / rates[0]])
    report.table(f"Queries per second on {case.name}", ["", "one core", "two cores", "ratio"], lines)
    large = made_up(256 if quick else 2048, 8)
    methods, _, seconds = ours(large)
    check(report, large, methods)
    best = least_times(large, methods, some(large, 20), 1 if quick else 3)
    rows = [[name, float(np.median(each)), float(each.max())] for name, each in best.items()]
    title = (
        f"A city of {large.grid.columns} × {large.grid.rows} cells, made up; preparing took {seconds:.0f} s"
    )
    report.table(title, ["", "median ms", "largest ms"], rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the case."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("grid", CLAIM, options)
    all_cases = cases(options.quick)
    by_map(report, all_cases)
    chosen = next((case for case in all_cases if case.name == SIDE_BY_SIDE), all_cases[0])
    beside_others(report, chosen)
    many_and_large(report, chosen)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
