"""The bootstrap particle filter with 1,000 particles, where the Kalman filter knows the exact answer.

Before a time counts, the evidences of several seeds must agree with the exact one within three standard
errors, and the means must lie near the exact ones.
"""

import sys
from collections.abc import Callable

import numpy as np

from benchmarks import measure
from benchmarks.measure import Entry, Filtered, Report, Row
from benchmarks.peers import references, sampling
from benchmarks.peers.problem import Linear, simulate

CLAIM = "faster than a hand-written NumPy loop, with unbiased evidence"
# Root mean square distance of the means from the exact ones, in exact standard deviations. With 1,000
# particles of which about half count, sampling alone gives 1 / √500 = .045 per row, and earlier rows add
# to it.
NEAR = 0.25
LARGEST_SPREAD = 3.0  # of the log evidence of one run; with more, the test of the mean would say nothing


def checked_against(
    exact: Filtered, seeds: int
) -> Callable[[Report, str, Entry, Callable, Filtered, Row], None]:
    """Return the check that compares a candidate with the Kalman filter over several seeds."""
    deviations = np.sqrt(np.diagonal(exact.covariances, axis1=-2, axis2=-1))

    def check(report: Report, title: str, entry: Entry, work: Callable, result: Filtered, row: Row) -> None:
        results = [result, *(work().numpy() for _ in range(seeds - 1))]
        errors = [np.mean(((one.means - exact.means) / deviations) ** 2) for one in results]
        row.deviation = float(np.sqrt(np.mean(errors)))
        detail = f"{row.deviation:.3f} standard deviations"
        report.gate(f"{title}: {entry.name} near the exact means", row.deviation < NEAR, detail)
        if result.log_evidence is None:
            row.note = "; ".join(filter(None, [row.note, "no evidence"]))
            return
        evidences = np.array([one.log_evidence for one in results])
        # Not the log evidence is unbiased but its exponential; for a normal log half its variance is between.
        spread = float(np.std(evidences, ddof=1))
        off = float(np.mean(evidences) + spread**2 / 2 - exact.log_evidence)
        # Standard error of that estimate: of the mean, and of half the variance.
        error = np.sqrt(spread**2 / seeds + spread**4 / (2 * (seeds - 1)))
        detail = f"off by {off:.3f}, standard error {error:.3f}, spread of one run {spread:.3f}"
        holds = abs(off) <= 3 * error and spread < LARGEST_SPREAD
        report.gate(f"{title}: evidence of {entry.name} within 3 standard errors", holds, detail)
        row.note = "; ".join(filter(None, [row.note, f"evidence off by {off:+.2f} ± {error:.2f}"]))

    return check


def main(arguments: list[str] | None = None) -> int:
    """Run the case."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("particle", CLAIM, options)
    rows, seeds = (20, 8) if options.quick else (100, 32)
    problem: Linear = simulate(rows)
    exact = references.foresee(problem)().numpy()
    entries = [
        Entry("foresee", sampling.foresee, peer=False),
        Entry("NumPy loop", sampling.numpy_loop, note="written here", peer=False),
        Entry("smcx", sampling.smcx),
        Entry("cuthbert", sampling.cuthbert),
        Entry("particles", sampling.particles),
        Entry("Stone Soup", sampling.stone_soup),
    ]
    title = f"{sampling.PARTICLES:,} particles, one series, {rows} rows, float64"
    found = report.compare(
        title, problem, entries, check=checked_against(exact, seeds), measured="means off, exact sd"
    )
    report.target(
        "µs per step against the NumPy loop", found["foresee"].minimum_us, found["NumPy loop"].minimum_us or 0
    )
    report.target("µs per step", found["foresee"].minimum_us, 104)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
