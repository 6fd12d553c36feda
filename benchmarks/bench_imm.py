"""The interacting multiple model filter with two models of motion, one series and a batch."""

import sys

from benchmarks import measure
from benchmarks.measure import Entry
from benchmarks.peers import switching
from benchmarks.peers.problem import simulate

CLAIM = "at least 75 times as fast as FilterPy, with the same numbers, and batches by vmap"


def main(arguments: list[str] | None = None) -> int:
    """Run both cases."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("imm", CLAIM, options)
    rows, series, short = (50, 4, 10) if options.quick else (2_000, 500, 100)
    entries = [
        Entry("foresee", switching.foresee, peer=False),
        Entry("plain scan", switching.plain, note="written here", peer=False),
        Entry("FilterPy", switching.filterpy, note="Python loop"),
    ]
    one = report.compare(f"two models, one series, {rows:,} rows, float64", simulate(rows), entries)
    title = f"two models, {series:,} series × {short}, float64, a prior for every series"
    many = report.compare(title, simulate(short, series, own_priors=True), entries)
    if "FilterPy" in one and one["FilterPy"].minimum_us:
        reach = one["FilterPy"].minimum_us / 75
        report.target("one series against FilterPy's time / 75", one["foresee"].minimum_us, reach)
    report.target("batch, µs per step", many["foresee"].minimum_us, 0.33)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
