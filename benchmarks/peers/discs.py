"""OMPL among discs, in a process of its own, because its wheels have been known to crash.

python -m benchmarks.peers.discs PROBLEM PLANNER SECONDS SEEDS FIRST prints a JSON list, one entry per seed:
[length or null, seconds, seconds in the Python callback]. With FIRST = 1 the planner stops at its first path.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RESOLUTION = 0.002  # of the bounds' diagonal: OMPL checks a motion at points so far apart


def run(problem: Path, planner: str, seconds: float, seeds: int, first: bool) -> list[list[float | None]]:
    """Return what the process prints.

    Raises:
        ImportError: if OMPL is not installed, or crashed.
    """
    words = [str(problem), planner, str(seconds), str(seeds), str(int(first))]
    limit = 60 + 3 * seconds * seeds
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.discs", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ImportError(f"status {done.returncode}: {last[:90]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Solve a problem for several seeds."""
    problem = json.loads(Path(sys.argv[1]).read_text())
    planner, seconds, seeds, first = sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1"
    from ompl import util

    util.setLogLevel(util.LogLevel.LOG_NONE)
    util.RNG.setSeed(1)  # seeds what follows, in turn
    print(json.dumps([solve(problem, planner, seconds, first) for _ in range(seeds)]))


def solve(problem: dict, planner: str, seconds: float, first: bool) -> list[float | None]:
    """Return length, seconds, and seconds spent in the callback."""
    from ompl import base, geometric

    discs = [tuple(disc) for disc in problem["discs_x_y_radius"]]
    spent = 0.0

    def valid(state) -> bool:
        nonlocal spent
        begun = time.perf_counter()
        x, y = state[0], state[1]
        free = True
        for cx, cy, radius in discs:
            if (x - cx) ** 2 + (y - cy) ** 2 <= radius * radius:
                free = False
                break
        spent += time.perf_counter() - begun
        return free

    space = base.RealVectorStateSpace(2)
    bounds = base.RealVectorBounds(2)
    bounds.setLow(problem["bounds"][0])
    bounds.setHigh(problem["bounds"][1])
    space.setBounds(bounds)
    setup = geometric.SimpleSetup(space)
    setup.setStateValidityChecker(valid)
    information = setup.getSpaceInformation()
    information.setStateValidityCheckingResolution(RESOLUTION)
    ends = [space.allocState(), space.allocState()]
    for state, place in zip(ends, (problem["start"], problem["goal"]), strict=True):
        state[0], state[1] = float(place[0]), float(place[1])
    setup.setStartAndGoalStates(ends[0], ends[1])
    objective = base.PathLengthOptimizationObjective(information)
    if first:
        objective.setCostThreshold(base.Cost(1e9))
    setup.setOptimizationObjective(objective)
    setup.setPlanner(getattr(geometric, planner)(information))
    setup.setup()
    begun = time.perf_counter()
    solved = setup.solve(seconds)
    lasted = time.perf_counter() - begun
    length = setup.getSolutionPath().length() if solved and setup.haveExactSolutionPath() else None
    return [length, lasted, spent]


if __name__ == "__main__":
    main()
