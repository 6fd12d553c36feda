"""Single precision: a run of 100,000 rows, and evidence far from the origin, for foresee and its peers."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import numpy as np

from benchmarks import measure
from benchmarks.measure import Filtered, Options, Report
from benchmarks.peers import linear, references
from benchmarks.peers.problem import Linear, simulate

CLAIM = (
    "float32 stays positive definite and close to float64 over 100,000 rows, and its evidence holds far out"
)
CANDIDATES = {
    "foresee": references.foresee,
    "plain scan, closed-form 2×2": partial(references.plain, update=references.closed_form),
    "plain scan, Cholesky + Joseph": partial(references.plain, update=references.cholesky_joseph),
    "dynamax": linear.dynamax,
    "smcx": linear.smcx,
    "kalman-py": linear.kalman_py,
    "cuthbert": linear.cuthbert,
}


def single(problem: Linear) -> Linear:
    """Return the problem in float32."""
    names = ("variances", "prior_mean", "prior_covariance", "observations")
    return replace(problem, **{name: getattr(problem, name).astype(np.float32) for name in names})


def double(problem: Linear) -> Linear:
    """Return the problem in float64, with the very numbers that float32 can hold."""
    names = ("variances", "prior_mean", "prior_covariance", "observations")
    return replace(problem, **{name: getattr(problem, name).astype(np.float64) for name in names})


def chosen(options: Options) -> dict[str, Callable]:
    """Return the candidates that the command line asks for."""
    keep = options.peers
    return {
        name: make
        for name, make in CANDIDATES.items()
        if name.startswith(("foresee", "plain")) or keep is None or any(word.lower() in name for word in keep)
    }


def attempt(make: Callable, problem: Linear) -> tuple[Filtered | None, str]:
    """Return a candidate's result in float32, or the reason why there is none."""
    try:
        with jax.enable_x64(False):
            return make(problem)().numpy(), ""
    except Exception as error:  # a peer that cannot run here gets a line that says so
        return None, f"not run: {(str(error).strip().splitlines() or [type(error).__name__])[0][:100]}"


def long_run(report: Report, title: str, problem: Linear, close: bool = True) -> None:
    """Compare a long float32 run with the same in float64, which two implementations must agree on.

    Where `close` is False, only positive definiteness is demanded: the problem is too hard for more.
    """
    problem = single(problem)
    exact = references.foresee(double(problem))().numpy()
    other = references.plain(double(problem), references.cholesky_joseph)().numpy()
    gap = measure.deviation(other, exact)[0]
    report.gate(f"{title}: the float64 reference equals a plain scan's", gap < 1e-8, f"{gap:.1e}")
    deviations = np.sqrt(np.diagonal(exact.covariances, axis1=-2, axis2=-1))
    scale = np.abs(exact.means).max(axis=0)
    lines = []
    for name, make in chosen(report.options).items():
        result, reason = attempt(make, problem)
        if result is None:
            lines.append((name, "", "", "", "", reason))
            continue
        apart = np.abs(result.means - exact.means)
        of_scale, of_deviation = float((apart / scale).max()), float((apart / deviations).max())
        norm = np.linalg.norm(exact.covariances, axis=(-2, -1))
        spread = float((np.linalg.norm(result.covariances - exact.covariances, axis=(-2, -1)) / norm).max())
        finite = np.isfinite(result.covariances).all()
        lowest = float(np.linalg.eigvalsh(result.covariances).min()) if finite else float("nan")
        lines.append((name, lowest, spread, of_scale, of_deviation, ""))
        if name == "foresee":
            report.gate(f"{title}: positive definite", lowest > 0, f"smallest eigenvalue {lowest:.3g}")
            if not close:
                continue
            report.gate(f"{title}: covariances within 1e-3", spread < 1e-3, f"{spread:.1e}")
            report.gate(f"{title}: means within 1e-3", of_scale < 1e-3, f"{of_scale:.1e}")
    columns = ("", "smallest eigenvalue", "covariance, rel.", "mean / largest", "mean / its sd", "note")
    report.table(title, columns, lines)


def far_out(report: Report, rows: int) -> None:
    """Compare float32 evidence with float64's on observations moved far from the origin."""
    lines: dict[str, list] = {}
    columns = [""]
    for offset in (1e4,) if report.options.quick else (0.0, 1e4, 1e5):
        for noise in (1.0,) if report.options.quick else (1.0, 0.1):
            near = simulate(rows)
            moved = (near.observations - near.observations.mean(axis=0)) * noise + offset
            mean = np.concatenate([[offset, offset], [0.0, 0.0]])
            problem = replace(near, observations=moved, variances=np.full(2, noise**2), prior_mean=mean)
            problem = single(problem)
            exact = float(references.foresee(double(problem))().numpy().log_evidence)
            columns.append(f"{offset:.0e} m, sd {noise}")
            lines.setdefault("float64", []).append(f"{exact:.2f}")
            for name, make in chosen(report.options).items():
                result, reason = attempt(make, problem)
                lines.setdefault(name, [])
                if result is None:
                    lines[name].append(reason)
                    continue
                error = float(result.log_evidence) - exact
                lines[name].append(f"{error:+.3g}")
                if name == "foresee":
                    text = f"evidence at {offset:.0e} m with noise of {noise} m within {NEAR} nats per row"
                    report.gate(text, abs(error) / rows < NEAR, f"off by {error:.3g} of {exact:.2f}")
    title = f"float32 evidence of {rows} rows: float64's value, and how far float32 is off, in nats"
    report.table(title, columns, [(name, *cells) for name, cells in lines.items()])


# At 1e5 m neighbouring float32 numbers are 0.008 m apart. With noise of 0.1 m this rounding of the state
# alone moves the evidence by thousandths of a nat per row.
NEAR = 0.01


def main(arguments: list[str] | None = None) -> int:
    """Run both parts."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("float32", CLAIM, options)
    rows = 500 if options.quick else 100_000
    long_run(report, f"{rows:,} rows in float32, noise of about 1 m", simulate(rows))
    sharp = replace(simulate(rows), variances=np.full(2, 1e-4), prior_covariance=np.eye(4) * 1e6, density=5.0)
    if not options.quick:
        # The first observation divides a variance by 10¹⁰, more than float32 has digits.
        long_run(report, f"{rows:,} rows in float32, noise of 1 cm after a prior of 1 km", sharp, close=False)
    far_out(report, 50 if options.quick else 300)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
