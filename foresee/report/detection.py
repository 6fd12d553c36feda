"""How well scores tell rows apart: ROC, precision and recall, entropies, risk against coverage."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from foresee.calibration import Curve, auroc, average_precision, detection_curve, risk_coverage
from foresee.report.page import Figure
from foresee.report.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    drawing,
    in_lines,
    legend_above,
)
from foresee.report.words import PERCENT_SIGN

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
SIZE = (4.7, 4.0)
POINTS = 400  # of a curve; more cannot be seen
PERCENT = PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN)
Pairs = Mapping[str, tuple[ArrayLike, ArrayLike]]


def series_look(place: int) -> dict[str, Any]:
    """Return colour and dashes of the place-th curve of a figure, no two alike among the first 28."""
    return {"color": COLOURS[place % len(COLOURS)], "ls": DASHES[place // len(COLOURS) % len(DASHES)]}


def draw_roc(scores: Pairs, what: str = "") -> Figure:
    """Draw the share found against the share of false alarms, one curve per score.

    Args:
        scores: by name, the scores of the rows inside and of those outside the distribution, higher for more
            likely outside.
        what: what is outside, for the caption.

    Raises:
        CalibrationError: if a score is not finite.
    """
    with drawing(*_size(scores)) as result:
        axes = result.canvas.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
        _curves(axes, scores, auroc, lambda curve: (curve.false_alarm, curve.hit))
        axes.set_xlabel("false alarms: share of the rows inside that are flagged")
        axes.set_ylabel("found: share of the rows outside flagged")
        _legend_below(result.canvas, axes, "area under the curve")
    return Figure(
        result.svg,
        f"ROC curves of {', '.join(scores)}{_of(what)}.",
        f"**Found against false alarms{_of(what)}** (ROC). The further up and to the left the better; the "
        "dashed line is a coin. The area is the probability that a row outside scores higher than one "
        "inside.",
    )


def draw_precision_recall(scores: Pairs, what: str = "") -> Figure:
    """Draw precision against recall, one curve per score; arguments as for `draw_roc`.

    Raises:
        CalibrationError: if a score is not finite.
    """
    first = next(iter(scores.values()))
    share = np.size(first[1]) / (np.size(first[0]) + np.size(first[1]))
    with drawing(*_size(scores)) as result:
        axes = result.canvas.subplots()
        axes.axhline(share, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
        _curves(axes, scores, average_precision, lambda curve: (curve.hit[1:], curve.precision[1:]))
        axes.set_xlabel("found (recall): share of the rows outside flagged")
        axes.set_ylabel("precision: share of the flagged that are outside")
        _legend_below(result.canvas, axes, "average precision")
    return Figure(
        result.svg,
        f"Precision-recall curves of {', '.join(scores)}{_of(what)}.",
        f"**Precision against recall{_of(what)}.** The dashed line is what flagging at random gives: "
        f"{100 * share:.0f}{PERCENT_SIGN} of the rows are outside. It depends on that share; the ROC does "
        "not.",
    )


def draw_entropies(entropies: Mapping[str, ArrayLike], classes: int, title: str = "") -> Figure:
    """Draw how entropies are distributed in every split.

    Args:
        entropies: in nats, by name of the split.
        classes: number of classes, whose logarithm is the largest entropy there is.
        title: what stands above the axes.
    """
    with drawing(4.7, 3.3) as result:
        axes = result.canvas.subplots()
        _cumulative(axes, entropies, classes)
        axes.set_xlabel("entropy of the predicted probabilities [nats]")
        axes.set_ylabel("share of rows with less")
        if title:
            axes.set_title(title, pad=24)
        legend_above(axes)
    return Figure(
        result.svg,
        f"Distributions of the entropy for {', '.join(entropies)}.",
        "**How unsure, on which rows.** For every entropy, the share of rows that have at most so much. A "
        "curve to the left and above belongs to rows the model is sure of; rows it cannot know should run "
        f"along the bottom, up to the most there is, log {classes} = {np.log(classes):.2f} nats.",
    )


def draw_entropies_by_method(
    entropies: Mapping[str, Mapping[str, ArrayLike]], classes: int, columns: int = 4
) -> Figure:
    """Draw how entropies are distributed in every split, one panel per method.

    Args:
        entropies: in nats, by method and then by split.
        classes: number of classes, whose logarithm is the largest entropy there is.
        columns: panels in a row.
    """
    columns = min(columns, len(entropies))
    lines = -(-len(entropies) // columns)
    with drawing(2.55 * columns, 2.25 * lines + 0.5) as result:
        panels = result.canvas.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes in panels.ravel()[len(entropies) :]:
            axes.set_visible(False)
        for place, (name, splits) in enumerate(entropies.items()):
            axes = panels.ravel()[place]
            _cumulative(axes, splits, classes)
            axes.set_title(in_lines(name))
            if place >= len(entropies) - columns:
                axes.set_xlabel("entropy [nats]")
                axes.tick_params(labelbottom=True)
        for axes in panels[:, 0]:
            axes.set_ylabel("share with less")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        result.canvas.legend(handles, labels, loc="outside upper left", ncols=6)
    return Figure(
        result.svg,
        f"Distributions of the entropy by split for {', '.join(entropies)}.",
        "**How unsure, on which rows, method by method.** For every entropy, the share of rows that have "
        "at most so much. Good doubt keeps the curves of known rows in the upper left and pushes those of "
        "unknown rows to the lower right.",
        wide=columns > 2,
    )


def draw_risk_coverage(uncertainty: Mapping[str, ArrayLike], losses: Mapping[str, ArrayLike]) -> Figure:
    """Draw how often predictions are wrong among those kept, if the most unsure are refused.

    Args:
        uncertainty: by name; the lowest are kept first.
        losses: by the same names, 1 for wrong and 0 for right.

    Raises:
        CalibrationError: if a number is not finite.
    """
    with drawing(4.7, 3.3) as result:
        axes = result.canvas.subplots()
        highest = 0.0
        for place, (name, values) in enumerate(uncertainty.items()):
            made = risk_coverage(values, losses[name])
            share, risk = np.asarray(made.coverage, float), np.asarray(made.risk, float)
            pick = _picked(len(share))
            label = f"{name}: mean risk {float(made.area):.4f}"
            axes.plot(share[pick], risk[pick], label=label, **series_look(place))
            highest = max(highest, float(risk[len(risk) // 20 :].max()))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.15 * highest + 1e-4)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None, symbol=PERCENT_SIGN))
        axes.set_xlabel("coverage: share of rows answered, the surest first")
        axes.set_ylabel("risk: share of the answers wrong")
        axes.legend(loc="upper left", borderaxespad=0.6)
    return Figure(
        result.svg,
        f"Risk against coverage of {', '.join(uncertainty)}.",
        "**What refusing buys.** Answer only the surest share of rows (along the axis) and so many of the "
        "answers are wrong. The curve of a model that knows when it errs stays low until the end.",
    )


def _size(scores: Pairs) -> tuple[float, float]:
    """Return a size of figure, in inches, that has room for a legend with a line for every curve."""
    return SIZE[0], SIZE[1] + 0.18 * (len(scores) + 1)


def _legend_below(canvas: Any, axes: Axes, title: str) -> None:
    """Put the legend below the axes: wherever a legend lies on a ROC, some curve passes there."""
    handles, labels = axes.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower left", title=title, alignment="left")


def _curves(
    axes: Axes, scores: Pairs, area: Callable, points: Callable[[Curve], tuple[ArrayLike, ArrayLike]]
) -> None:
    for place, (name, (inside, outside)) in enumerate(scores.items()):
        values = np.concatenate([np.ravel(inside), np.ravel(outside)])
        kinds = np.arange(len(values)) >= np.size(inside)
        x, y = (np.asarray(part, float) for part in points(detection_curve(values, kinds)))
        pick = _bends(x, y)
        label = f"{name}: {float(area(values, kinds)):.4f}"
        axes.plot(x[pick], y[pick], label=label, clip_on=False, **series_look(place))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PERCENT)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _cumulative(axes: Axes, entropies: Mapping[str, ArrayLike], classes: int) -> None:
    for place, (name, values) in enumerate(entropies.items()):
        ordered = np.sort(np.ravel(np.asarray(values, float)))
        pick = _picked(len(ordered))
        share = (np.arange(len(ordered)) + 1) / len(ordered)
        # Drawn from zero to the most there is, so that a curve does not end where its rows do.
        x = np.concatenate([[0.0], ordered[pick], [np.log(classes)]])
        y = np.concatenate([[0.0], share[pick], [1.0]])
        axes.plot(x, y, drawstyle="steps-post", label=name, **series_look(place))
    axes.axvline(np.log(classes), color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
    axes.set_xlim(0, 1.02 * np.log(classes))
    axes.set_ylim(0, 1.01)
    axes.yaxis.set_major_formatter(PERCENT)


def _picked(size: int) -> np.ndarray:
    return np.unique(np.linspace(0, size - 1, min(size, POINTS)).astype(int))


def _bends(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points to draw: spread evenly along the curve, not along the rows."""
    way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    return np.unique(np.append(np.searchsorted(way, np.linspace(0, way[-1], POINTS)), len(x) - 1))


def _of(what: str) -> str:
    return f", {what}" if what else ""
