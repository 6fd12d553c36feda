"""Figures that show whether a doubt had the right size: histograms, reliability, correlation."""

import numpy as np
from matplotlib.ticker import PercentFormatter
from scipy import stats

from foresee.driving.accuracy import AXES, LAGS, LEVELS, OneStepScores, TruthScores
from foresee.driving.states import States, finite_differences
from foresee.report.page import Figure
from foresee.report.plots import BAND_50, BLUE, GREY, ORANGE, PALE, VERMILLION, drawing, legend_above

SIZE = (4.7, 3.0)
CLIP = 12.0  # m/s²; the histogram's outermost bins hold everything beyond
AXIS_COLOURS = (BLUE, ORANGE)


def draw_accelerations(states: States) -> tuple[Figure, ...]:
    """Accelerations before and after smoothing, as a histogram and as shares beyond a limit."""
    raw = finite_differences(states.tracks, states.recording.frame_rate)["acceleration"]
    rows = np.isfinite(raw) & states.alive
    if not rows.any():
        return ()
    before, after = raw[rows], states.mean[..., 4][rows]
    edges = np.linspace(-CLIP, CLIP, 97)
    with drawing(*SIZE) as histogram:
        axes = histogram.canvas.subplots()
        for values, colour, label in ((before, GREY, "finite differences"), (after, BLUE, "smoothed")):
            shares = np.histogram(np.clip(values, -CLIP, CLIP), edges)[0] / len(values)
            axes.stairs(shares, edges, fill=True, alpha=0.3, color=colour)
            axes.stairs(shares, edges, lw=1.3, color=colour, label=label)
        axes.set_yscale("log")
        axes.set_xlabel("acceleration along the path [m/s²]")
        axes.set_ylabel(f"share of rows per {edges[1] - edges[0]:.2f} m/s²")
        legend_above(axes)
    with drawing(*SIZE) as tails:
        axes = tails.canvas.subplots()
        least = 0.5 / len(before)
        for values, colour, label in ((before, GREY, "finite differences"), (after, BLUE, "smoothed")):
            size = np.sort(np.abs(values))
            beyond = 1 - np.arange(1, len(size) + 1) / len(size)
            pick = np.unique(np.linspace(0, len(size) - 1, 800).astype(int))
            pick = np.unique(np.concatenate([pick, np.arange(max(0, len(size) - 200), len(size))]))
            axes.plot(size[pick], np.maximum(beyond[pick], least), color=colour, label=label)
        for limit in (5, 10):
            axes.axvline(limit, color=VERMILLION, lw=0.8, ls=(0, (4, 3)))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(0.1, 1.3 * max(float(np.abs(before).max()), 12.0))
        axes.set_ylim(least, 1.3)
        axes.set_xlabel("size of the acceleration [m/s²]")
        axes.set_ylabel("share of rows beyond it")
        legend_above(axes)
    return (
        Figure(
            histogram.svg,
            "Histogram of accelerations from finite differences and after smoothing.",
            f"**How often which acceleration.** The outermost bins hold everything beyond ±{CLIP:g} m/s². "
            "A wide grey hill is noise that was differentiated twice; the blue one should look like traffic.",
        ),
        Figure(
            tails.svg,
            "Share of rows whose acceleration exceeds a limit, on logarithmic axes, before and after.",
            "**How often more than that.** The dashed lines mark 5 and 10 m/s²: the first is hard braking, "
            "the second is beyond what tyres hold on a dry road.",
        ),
    )


def draw_nis(scores: OneStepScores) -> Figure:
    """Histogram of the normalised innovations squared against χ² with two degrees of freedom."""
    svg = _squared_histogram(scores.nis, 2, "normalised innovation squared")
    return Figure(
        svg,
        "Histogram of normalised innovations squared with the density of chi-squared with 2 degrees of "
        "freedom.",
        "**Surprise at each new sighting.** If the predicted doubt is right, the bars follow the line. Too "
        "much on the left: doubt too large; on the right: too small. 1 % should lie beyond 9.2.",
    )


def draw_nees(scores: TruthScores) -> Figure:
    """Histogram of the normalised estimation errors squared against χ² with six degrees of freedom."""
    svg = _squared_histogram(scores.nees, 6, "normalised estimation error squared")
    return Figure(
        svg,
        "Histogram of normalised estimation errors squared with the density of chi-squared with 6 degrees "
        "of freedom.",
        "**Error of the smoothed state in units of its own doubt**, all six quantities together. If the "
        "bands are right, the bars follow the line. 1 % should lie beyond 16.8.",
    )


def _squared_histogram(values: np.ndarray, freedom: int, label: str) -> str:
    most = float(stats.chi2.ppf(0.9995, freedom))
    edges = np.linspace(0, most, 46)
    grid = np.linspace(0, most, 300)
    with drawing(*SIZE) as result:
        axes = result.canvas.subplots()
        density = np.histogram(np.minimum(values, most), edges)[0] / (len(values) * edges[1])
        axes.stairs(density, edges, fill=True, color=BAND_50, label="what was found")
        expected = f"χ², {freedom} degrees of freedom"
        axes.plot(grid, stats.chi2.pdf(grid, freedom), color=VERMILLION, label=expected)
        axes.set_xlim(0, most)
        axes.set_xlabel(f"{label} (last bin: and beyond)")
        axes.set_ylabel("density")
        legend_above(axes)
    return result.svg


def draw_reliability(scores: OneStepScores) -> Figure:
    """Nominal against actual coverage of the central intervals, along and across."""
    with drawing(*SIZE) as result:
        axes = result.canvas.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.9, ls=(0, (4, 3)))
        for k, (name, colour) in enumerate(zip(AXES, AXIS_COLOURS, strict=True)):
            axes.plot(scores.reliability[:, 0], scores.reliability[:, 1 + k], color=colour, label=name)
            for level, pair in zip(LEVELS, scores.coverage_by_axis, strict=True):
                place = level + (k - 0.5) * 0.012  # so that the two do not hide each other
                axes.plot([place, place], [pair[k].low, pair[k].high], color=colour, lw=1.2)
                axes.plot([place], [pair[k].value], "o", color=colour, markersize=4)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("how many should lie inside")
        axes.set_ylabel("how many do")
        legend_above(axes)
    return Figure(
        result.svg,
        "Actual against nominal coverage of prediction intervals, along and across the heading.",
        "**Does 90 % mean 90 %?** On the diagonal, intervals hold what they promise; above it they are too "
        "wide, below it too narrow. Dots with bars: 50, 90 and 99 % with 95 % intervals over vehicles.",
    )


def draw_autocorrelation(scores: OneStepScores, frame_rate: float) -> Figure:
    """Autocorrelation of the normal scores with the band that independent ones stay in."""
    lags = np.arange(1, LAGS + 1)
    band = np.nan_to_num(scores.autocorrelation_band, nan=0.0)
    with drawing(*SIZE) as result:
        axes = result.canvas.subplots()
        edges = np.arange(LAGS + 1) + 0.5
        axes.stairs(band, edges, baseline=-band, fill=True, color=PALE, label="if independent")
        axes.axhline(0, color=GREY, lw=0.8)
        for k, (name, colour) in enumerate(zip(AXES, AXIS_COLOURS, strict=True)):
            place = lags + (k - 0.5) * 0.24
            axes.vlines(place, 0, scores.autocorrelation[:, k], color=colour, lw=1.4)
            axes.plot(place, scores.autocorrelation[:, k], "o", color=colour, markersize=4, label=name)
        half = max(0.25, 1.2 * float(np.nan_to_num(np.abs(scores.autocorrelation)).max()))
        axes.set_ylim(-half, half)
        axes.set_xticks(lags)
        axes.set_xlabel(f"frames in between [1/{frame_rate:g} s]")
        axes.set_ylabel("correlation")
        legend_above(axes)
    return Figure(
        result.svg,
        "Autocorrelation of the innovations up to ten frames, along and across the heading.",
        "**Does one surprise foretell the next?** It should not: what is left after a good prediction is "
        "new. Bars far outside the grey band say that something predictable was left unused.",
    )


def draw_learning(states: States) -> Figure | None:
    """How the objective fell while the noise was learned."""
    history = states.loss_history
    if len(history) < 2:
        return None
    with drawing(*SIZE) as result:
        axes = result.canvas.subplots()
        axes.plot(np.arange(1, len(history) + 1), history, color=BLUE)
        axes.set_xlabel("step of the optimiser")
        axes.set_ylabel("− log evidence per coordinate [nats]")
        low, high = float(np.min(history)), float(np.quantile(history, 0.98))
        axes.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.05 * (high - low) + 1e-3)
    return Figure(
        result.svg,
        "Negative log evidence over the steps of the optimiser.",
        "**Learning the noise.** The curve should have come to rest on the right.",
    )
