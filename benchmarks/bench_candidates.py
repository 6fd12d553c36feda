"""2,500 candidate trajectories of 50 steps against 50 moving obstacles."""

import sys
import time

import numpy as np

from benchmarks import measure
from foresee.planning import clearances

CLAIM = "2,500 candidates of 50 steps against 50 moving obstacles in milliseconds"
ROUNDS = 200
FIELD = 1.5  # what a production planner is reported to take on a car's computer [ms]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and compare with NumPy."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("candidates", CLAIM, options)
    candidates, steps, obstacles = (50, 10, 5) if options.quick else (2_500, 50, 50)
    random = np.random.default_rng(0)
    paths = np.cumsum(random.normal(0.5, 0.2, (candidates, steps, 2)), axis=1).astype(np.float32)
    begin, speed = random.uniform(0, 25, (obstacles, 2)), random.normal(0, 1, (obstacles, 2))
    centres = (begin + 0.1 * np.arange(steps)[:, None, None] * speed).astype(np.float32)
    radii = random.choice([0.4, 1.0, 2.5], obstacles).astype(np.float32)  # people, cars, trucks

    def by_numpy() -> np.ndarray:
        apart = paths[:, :, None] - centres[None]
        return (np.sqrt((apart**2).sum(axis=-1)) - radii).min(axis=2)

    start = time.perf_counter()
    found = clearances(paths, centres, radii)
    first = time.perf_counter() - start
    worst = float(np.abs(found - by_numpy()).max())
    report.gate("equal to NumPy within a tenth of a millimetre", worst < 1e-4, f"{worst:.1e}")
    lines = []
    for name, work, rounds in (
        ("foresee", lambda: clearances(paths, centres, radii), ROUNDS),
        ("NumPy", by_numpy, 3),
    ):
        times, used = [], time.process_time()
        for _ in range(2 if options.quick else rounds):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        cpu = (time.process_time() - used) / len(times)
        lines.append([name, min(times) * 1e3, float(np.median(times)) * 1e3, cpu * 1e3, len(times)])
    report.table(f"{candidates:,} candidates", ["name", "ms", "median ms", "mean CPU ms", "repeats"], lines)
    report.facts["first call s"] = first
    report.target("ms for all candidates", lines[0][1], FIELD)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
