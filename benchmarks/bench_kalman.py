"""The linear Kalman filter, one long series and a batch, with and without missing rows and components."""

import sys
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from benchmarks.measure import Entry, Row
from benchmarks.peers import linear, loops, references
from benchmarks.peers.problem import simulate

CLAIM = (
    "one series at the speed of the fastest filter elsewhere, batches at that of plain JAX, and exact where "
    "parts of an observation are missing"
)


def entries(tolerance: float, gate_others: bool = True) -> list[Entry]:
    """Return every candidate; the first is the reference."""
    closed = partial(references.plain, update=references.closed_form)
    cholesky = partial(references.plain, update=references.cholesky_joseph)
    parallel = partial(references.foresee, parallel=True)
    peers = [
        ("plain scan, closed-form 2×2", closed, "written here; 2 measurements only"),
        ("plain scan, Cholesky + Joseph", cholesky, "written here"),
        ("numba", loops.numba_loops, "loops written here; diagonal noise only"),
        ("kalman-py", linear.kalman_py, "JAX backend"),
        ("dynamax", linear.dynamax, ""),
        ("smcx", linear.smcx, ""),
        ("cuthbert", linear.cuthbert, "square root"),
        ("FilterPy", linear.filterpy, "Python loop"),
        ("simdkalman", linear.simdkalman, "NumPy over series"),
        ("torch-kf", linear.torch_kf, "PyTorch over series"),
        ("pykalman", linear.pykalman, "Python loop"),
        ("Stone Soup", linear.stone_soup, "Python loop"),
    ]
    ours = [
        Entry("foresee", references.foresee, tolerance, peer=False),
        Entry("foresee, parallel in time", parallel, tolerance, peer=False),
    ]
    return ours + [
        Entry(name, make, tolerance, note, peer=not name.startswith("plain"), gate=gate_others)
        for name, make, note in peers
    ]


def compiled_only(candidates: list[Entry]) -> list[Entry]:
    """Leave the Python loops out."""
    slow = ("FilterPy", "simdkalman", "torch-kf", "pykalman", "Stone Soup")
    return [entry for entry in candidates if entry.name not in slow]


def without_parallel(candidates: list[Entry]) -> list[Entry]:
    """Leave out the filter that is parallel in time: it is for long series, and compiles slowly."""
    return [entry for entry in candidates if "parallel" not in entry.name]


def main(arguments: list[str] | None = None) -> int:
    """Run all cases."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("kalman", CLAIM, options)
    rows, series, short = (200, 8, 20) if options.quick else (10_000, 1_000, 100)
    everyone, fast = entries(1e-8), compiled_only(entries(1e-8))
    one_title, many_title = f"one series, {rows:,} rows", f"{series:,} series × {short}"

    def compare(title: str, candidates: list[Entry], **problem: Any) -> dict[str, Row]:
        single = title.startswith(one_title)
        size = (rows,) if single else (short, series)
        return report.compare(
            title, simulate(*size, **problem), candidates if single else without_parallel(candidates)
        )

    one = compare(f"{one_title}, float64", everyone)
    compare(f"{many_title}, float64, 10 % of the components missing", everyone, missing="components")
    if options.quick:
        return report.finish()
    compare(f"{one_title}, float64, 10 % of the rows missing", without_parallel(fast), missing="rows")
    compare(f"{one_title}, float64, 10 % of the components missing", fast, missing="components")
    # Where nothing is missing and all series share model and prior, so do their covariances: vmap computes
    # them once for the whole batch, in every row of the table that is written in JAX.
    shared = compare(
        f"{many_title}, float64, model and prior shared: vmap computes covariances only once", everyone
    )
    full = compare(f"{many_title}, float64, a prior for every series", fast, own_priors=True)
    compare(f"{many_title}, float64, 10 % of the rows missing", everyone, missing="rows")
    with jax.enable_x64(False):
        # In float32 the others are shown and not gated: how far off they are is part of what is compared.
        single = without_parallel(compiled_only(entries(1e-3, gate_others=False)))
        compare(f"{one_title}, float32", single, dtype=np.float32)
        compare(f"{many_title}, float32, a prior for every series", single, own_priors=True, dtype=np.float32)
    report.target("one series, µs per step", one["foresee"].minimum_us, 1.05)
    report.target("batch with shared covariances, µs per step", shared["foresee"].minimum_us, 0.030)
    for name in ("dynamax", "plain scan, closed-form 2×2"):
        limit = full[name].minimum_us if name in full else None
        if limit:
            report.target(
                f"batch with a prior for every series against {name}", full["foresee"].minimum_us, limit
            )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
