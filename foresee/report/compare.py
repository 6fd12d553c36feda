"""Figures that put drivers side by side: how often they fail, and how far they get."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, PercentFormatter
from matplotlib.transforms import Bbox

from foresee.report.drivers import ASIDE, in_order
from foresee.report.gains import GUARDED, LINE
from foresee.report.measures import FAILED, PROGRESSED, TRAFFIC, name_of
from foresee.report.page import Figure
from foresee.report.plots import BLUE, GREY, ORANGE, PALE, VERMILLION, drawing
from foresee.report.words import PERCENT_SIGN

TICKS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
ALONE, GUARD = ("o", BLUE, BLUE), ("s", VERMILLION, "white")  # marker, edge, face
Numbers = Mapping[str, Any]


def draw_failures(s: Numbers) -> Figure:
    """Draw the share of scenarios that each driver fails, one panel per kind of traffic."""
    modes = s["scenarios.modes"]
    drivers = in_order(s, modes)
    guarded = any(name.endswith(GUARDED) for name in s["scenarios.drivers"])
    with drawing(10.2, 1.4 + 0.3 * len(drivers)) as result:
        panels = result.canvas.subplots(1, len(modes), sharey=True, squeeze=False)[0]
        for axes, mode in zip(panels, modes, strict=True):
            _failures(axes, s, mode, drivers, guarded)
        panels[0].set_yticks(range(len(drivers)), [name_of(name) for name in drivers])
        panels[0].set_ylim(len(drivers) - 0.5, -0.5)
        result.canvas.set_layout_engine("constrained", wspace=0.06)
        handles, labels = panels[-1].get_legend_handles_labels()
        result.canvas.legend(handles, labels, loc="outside upper left", ncols=4)
    line = " The dashed line is PDM." if LINE in drivers else ""
    return Figure(
        result.svg,
        f"Share of scenarios failed by {', '.join(map(name_of, drivers))}, with 95 % intervals, in "
        f"{' and '.join(TRAFFIC[mode] for mode in modes)} traffic.",
        f"**How often each driver fails**, with 95 % intervals; less is better.{line} The scale is that of "
        "square roots, so that one and ten percent are both to be seen.",
        wide=True,
    )


def _failures(axes: Axes, s: Numbers, mode: str, drivers: Sequence[str], guarded: bool) -> None:
    highest = 0.05
    labels = {"": "without monitor" if guarded else None, GUARDED: "with monitor"}
    for place, driver in enumerate(drivers):
        for ending, look, shift in (("", ALONE, -0.15), (GUARDED, GUARD, 0.17)):
            value, ends = FAILED.found(s, driver + ending, mode)
            if value is None:
                continue
            marker, colour, face = look
            at = place + (shift if guarded else 0.0)
            low, high = (value if end is None else end for end in ends)
            axes.plot([low, high], [at] * 2, color=colour, lw=1.3, zorder=2)
            label = labels.pop(ending, None)
            axes.plot(value, at, marker, ms=4.6, mec=colour, mfc=face, ls="", label=label, zorder=3)
            highest = max(highest, high)
    line = FAILED.found(s, LINE, mode)[0]
    if line is not None:
        axes.axvline(line, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0.0)), np.square))
    axes.set_xlim(0, min(1.02, 1.1 * highest))
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick <= 1.1 * highest]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN))
    axes.grid(axis="x", color=PALE, lw=0.7)
    axes.hlines(np.arange(len(drivers)), 0, 1.02, color=PALE, lw=0.5, zorder=0)
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"{TRAFFIC[mode]} traffic")
    axes.set_xlabel("failed [share of scenarios]")


def draw_progress(s: Numbers) -> Figure:
    """Draw how far drivers get against how often they fail, one panel per kind of traffic."""
    modes = s["scenarios.modes"]
    with drawing(10.2, 3.6) as result:
        panels = result.canvas.subplots(1, len(modes), sharey=True, squeeze=False)[0]
        result.canvas.set_layout_engine("constrained", wspace=0.04)
        for axes, mode in zip(panels, modes, strict=True):
            _progress(axes, s, mode)
        panels[0].set_ylabel("progress [share of the recorded way]")
        result.canvas.draw_without_rendering()
        for axes, mode in zip(panels, modes, strict=True):
            _write_names(axes, s, mode)
    return Figure(
        result.svg,
        "Progress against the share of scenarios failed, with 95 % intervals, in "
        f"{' and '.join(TRAFFIC[mode] for mode in modes)} traffic.",
        "**How far they get, and how often they fail**, with 95 % intervals and without monitors. Up and to "
        "the left is better, but a progress above 1 is only faster than the record. Whoever stands still "
        "hits nobody and is at the bottom. Where names would cover each other, some are left out; the "
        "table has them all.",
        wide=True,
    )


def _progress(axes: Axes, s: Numbers, mode: str) -> None:
    highest = 0.05
    for name in in_order(s, [mode]):
        (x, across), (y, up) = FAILED.found(s, name, mode), PROGRESSED.found(s, name, mode)
        if x is None or y is None:
            continue
        colour = GREY if name in ASIDE else ORANGE if name == LINE else BLUE
        left, right = (x if end is None else end for end in across)
        low, high = (y if end is None else end for end in up)
        axes.plot([left, right], [y, y], color=colour, lw=1.0, alpha=0.55, zorder=2)
        axes.plot([x, x], [low, high], color=colour, lw=1.0, alpha=0.55, zorder=2)
        axes.plot(x, y, "D" if name == LINE else "o", ms=5, color=colour, zorder=3)
        highest = max(highest, right)
    axes.axhline(1.0, color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0.0)), np.square))
    axes.set_xlim(0, min(1.02, 1.1 * highest))
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick <= 1.1 * highest]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN))
    axes.grid(color=PALE, lw=0.7)
    axes.set_title(f"{TRAFFIC[mode]} traffic")
    axes.set_xlabel("failed [share of scenarios]")


def _write_names(axes: Axes, s: Numbers, mode: str) -> None:
    """Write the names beside the dots, where there is room for them; the line to beat comes first."""
    places = {}
    for name in in_order(s, [mode]):
        x, y = FAILED.found(s, name, mode)[0], PROGRESSED.found(s, name, mode)[0]
        if x is not None and y is not None:
            places[name] = axes.transData.transform((x, y))
    dot = 4.0
    taken = [Bbox.from_bounds(x - dot, y - dot, 2 * dot, 2 * dot) for x, y in places.values()]
    frame, whole, point = axes.get_window_extent(), axes.figure.bbox, axes.figure.dpi / 72
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for name in sorted(places, key=lambda each: each != LINE):
        words = name_of(name)
        wide, tall = (4.6 * len(words) + 6) * point, 9 * point
        x, y = places[name]
        gap = 5 * point
        options = (
            (gap, -tall / 2), (-gap - wide, -tall / 2), (-wide / 2, gap), (-wide / 2, -gap - tall),
            (gap, gap), (gap, -gap - tall), (-gap - wide, gap), (-gap - wide, -gap - tall),
        )  # fmt: skip
        for right, up in options:
            box = Bbox.from_bounds(x + right, y + up, wide, tall)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                axes.annotate(
                    words,
                    (box.x0 / whole.width, box.y0 / whole.height),
                    xycoords="figure fraction",
                    va="bottom",
                    size=8,
                    color="#3a424b",
                    path_effects=halo,
                    zorder=6,
                )
                taken.append(box)
                break
