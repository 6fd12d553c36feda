"""The unscented Kalman filter: a vehicle seen by its distances to two beacons, one series and a batch."""

import sys

from benchmarks import measure
from benchmarks.measure import Entry
from benchmarks.peers import nonlinear

CLAIM = "as fast as dynamax's unscented filter, with the same numbers"


def main(arguments: list[str] | None = None) -> int:
    """Run both cases."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("unscented", CLAIM, options)
    rows, series, short = (50, 4, 10) if options.quick else (2_000, 500, 100)
    entries = [
        Entry("foresee", nonlinear.foresee, peer=False),
        Entry("plain scan", nonlinear.plain, note="written here", peer=False),
        Entry("dynamax", nonlinear.dynamax),
        Entry("smcx", nonlinear.smcx),
        Entry("kalman-py", nonlinear.kalman_py, note="JAX backend"),
        Entry("FilterPy", nonlinear.filterpy, note="Python loop"),
        Entry("Stone Soup", nonlinear.stone_soup, note="Python loop"),
    ]
    one = report.compare(f"unscented, one series, {rows:,} rows, float64", nonlinear.simulate(rows), entries)
    title = f"unscented, {series:,} series × {short}, float64"
    many = report.compare(title, nonlinear.simulate(short, series), entries)
    for name, found in (("one series", one), ("batch", many)):
        if "dynamax" in found and found["dynamax"].minimum_us:
            report.target(f"{name} against dynamax", found["foresee"].minimum_us, found["dynamax"].minimum_us)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
