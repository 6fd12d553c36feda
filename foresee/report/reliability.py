"""Reliability diagrams: how often predictions are right, by how sure they were. See `draw_reliability`."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from foresee.calibration import Reliability, accuracy, calibration_error, reliability
from foresee.report.page import Figure
from foresee.report.plots import BLUE, GREY, ORANGE, PALE, drawing, in_lines
from foresee.report.words import PERCENT_SIGN, count

PERCENT = PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN)
READING = (
    "On the diagonal, predictions that claim 80 % are right 80 % of the time; dots below it claim too "
    "much, above it too little. The bars are 95 % intervals of the frequency (Wilson 1927), and the shaded "
    "gaps, weighted by the number of rows, add up to the calibration error."
)


def draw_reliability(
    probabilities: ArrayLike, labels: ArrayLike, title: str = "", bins: int = 15, colour: str = BLUE
) -> Figure:
    """Draw one reliability diagram with intervals, and how many rows are in every bin below it.

    Args:
        probabilities: shape (rows, classes).
        labels: shape (rows,).
        title: what stands above the diagram.
        bins: number of bins of equal width.
        colour: of the dots.

    Raises:
        CalibrationError: if probabilities or labels are none.
    """
    with drawing(4.6, 4.7) as result:
        upper, lower = result.canvas.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        _panel(upper, lower, probabilities, labels, bins, colour)
        upper.set_title(_title(title, probabilities, labels, bins))
        upper.set_ylabel("share that was right")
        lower.set_ylabel("rows")
        lower.set_xlabel("confidence: probability of the most probable class")
    rows = count(len(np.asarray(labels)), "row")
    named = f"**{title}.** " if title else ""
    return Figure(
        result.svg,
        f"Reliability diagram of {title or 'the predictions'} over {bins} bins of confidence.",
        f"{named}{rows} in {bins} bins. {READING}",
    )


def draw_reliabilities(
    probabilities: Mapping[str, ArrayLike], labels: ArrayLike, bins: int = 15, columns: int = 4
) -> Figure:
    """Draw the reliability diagrams of several methods side by side.

    Args:
        probabilities: one table of shape (rows, classes) by name of the method.
        labels: shape (rows,), the same for all.
        bins: number of bins of equal width.
        columns: diagrams in a row.

    Raises:
        CalibrationError: if probabilities or labels are none.
    """
    columns = min(columns, len(probabilities))
    lines = -(-len(probabilities) // columns)
    with drawing(2.55 * columns + 0.2, 3.0 * lines) as result:
        result.canvas.set_layout_engine("constrained", hspace=0.04, wspace=0.03)
        groups = np.atleast_1d(result.canvas.subfigures(lines, columns)).ravel()  # pyright: ignore
        for place, (name, table) in enumerate(probabilities.items()):
            upper, lower = groups[place].subplots(2, 1, sharex=True, height_ratios=(4, 1))
            _panel(upper, lower, table, labels, bins, BLUE)
            upper.set_title(f"{in_lines(name)}\n{_title('', table, labels, bins)}")
            upper.set_xticks((0, 0.5, 1))
            upper.set_yticks((0, 0.5, 1))
            if place % columns == 0:
                upper.set_ylabel("share that was right")
                lower.set_ylabel("rows")
            if place >= len(probabilities) - columns:
                lower.set_xlabel("confidence")
    return Figure(
        result.svg,
        f"Reliability diagrams of {', '.join(probabilities)}.",
        f"**Reliability, method by method.** {count(len(np.asarray(labels)), 'row')} each. {READING}",
        wide=columns > 2,
    )


def _panel(
    upper: Axes, lower: Axes, probabilities: ArrayLike, labels: ArrayLike, bins: int, colour: str
) -> None:
    made = _as_numpy(reliability(probabilities, labels, bins))
    some = made["count"] > 0
    upper.plot([0, 1], [0, 1], color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
    mean, right = made["confidence"], made["frequency"]
    width = 0.86 / bins
    middle = 0.5 * (made["edges"][1:] + made["edges"][:-1])
    upper.bar(
        middle[some],
        (right - mean)[some],
        width,
        bottom=mean[some],
        color=ORANGE,
        alpha=0.3,
        linewidth=0,
        zorder=1.2,
    )
    upper.vlines(mean[some], made["low"][some], made["high"][some], color=colour, lw=1.3, zorder=2)
    upper.plot(mean[some], right[some], "o", color=colour, markersize=4, zorder=3)
    upper.set_ylim(-0.02, 1.02)
    upper.set_xlim(0, 1)
    upper.xaxis.set_major_formatter(PERCENT)
    upper.yaxis.set_major_formatter(PERCENT)
    lower.bar(middle, made["count"], width, color=colour, alpha=0.55, linewidth=0)
    lower.set_ylim(0, 1.12 * max(1.0, float(made["count"].max())))
    lower.grid(axis="y", color=PALE, lw=0.7)
    lower.locator_params(axis="y", nbins=2, integer=True)
    lower.xaxis.set_major_formatter(PERCENT)


def _title(name: str, probabilities: ArrayLike, labels: ArrayLike, bins: int) -> str:
    error = float(calibration_error(probabilities, labels, bins))
    numbers = f"ECE {error:.4f}, {100 * float(accuracy(probabilities, labels)):.1f}{PERCENT_SIGN} right"
    return f"{name}: {numbers}" if name else numbers


def _as_numpy(made: Reliability) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, float) for name, value in vars(made).items()}
