"""The part of the report about the learned world: how far off it is, and whether its doubt can be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from foresee.report.boards import Board, Cell, More, Row
from foresee.report.page import Block, Figure, Items, Section, Text
from foresee.report.plots import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, SKY, VERMILLION, drawing
from foresee.report.verdict import BASELINES
from foresee.report.words import PERCENT_SIGN, count, decimal, ends_of, interval, percent

HORIZONS, LEVELS = (1, 2, 4, 6), (50, 90, 99)
SIDES = (("along the road", "coverage_"), ("across the road", "coverage_across_"))
NAMES = {"": "learned world", **BASELINES, "samples": "6 samples of constant velocity"}
LOOKS = {
    "": (BLUE, "o", 2.2),
    "constant_velocity": (VERMILLION, "s", 1.2),
    "kalman": (GREEN, "^", 1.2),
    "imm": (ORANGE, "D", 1.2),
    "idm": (PURPLE, "v", 1.2),
    "samples": (SKY, "P", 1.2),
}
STEPS = {1: SKY, 2: BLUE, 4: ORANGE, 6: VERMILLION}  # the horizons in the figure of intervals
MARKERS = {1: "o", 2: "s", 4: "D", 6: "^"}
FORMS = {"miss_4s": percent}
Numbers = Mapping[str, Any]


def world_section(s: Numbers, figures: Mapping[str, Block]) -> tuple[Section, ...]:
    """Return the section about the learned world; none where it was neither learned nor read."""
    if s.get("world.ade_4s") is None:
        return ()
    blocks: list[Block] = [Text(_about(s))]
    blocks += [figures["errors"]] if "errors" in figures else []
    blocks += _errors(s)
    blocks += [Text(_trust()), figures["intervals"]] if "intervals" in figures else []
    blocks += [More("The numbers of the intervals", (_intervals(s),))]
    notes = tuple(s.get("world.notes") or ())
    return (Section("What the learned world foretells", (*blocks, *((Items(notes),) if notes else ()))),)


def _about(s: Numbers) -> str:
    windows, lessons = s.get("world.windows") or (), s.get("world.lessons")
    scored = (
        f"Scored on {count(windows[2], 'snapshot')} of the part that nobody learned from. "
        if len(windows) == 3
        else ""
    )
    learned = (
        f"The networks learned from {lessons:,} vehicles in {count(windows[0], 'snapshot')}. "
        if lessons and windows
        else ""
    )
    return (
        f"From what was seen until now, networks foretell what every vehicle will do: several futures, each "
        f"with a probability and with a doubt that grows with time. {learned}{scored}Beside them stand "
        "forecasts that learn nothing but the size of their errors: at **constant velocity**, by a **Kalman "
        "filter** and by an **IMM** (which switches between keeping its speed and keeping an "
        "acceleration), and by the intelligent driver model **in the lane** (IDM)."
    )


def _trust() -> str:
    return (
        "**Is the doubt right?** An interval that claims 90 % should hold what happens in 90 of 100 cases: "
        "fewer, and the world is too sure of itself; more, and whoever plans with it is more timid than "
        "need be."
    )


def draw_errors(s: Numbers) -> Figure:
    """Draw the errors of all forecasts by horizon."""
    panels = (
        ("ade", "most likely future", "mean distance until then (ADE) [m]"),
        ("min_ade_6", "best of six futures", "mean distance until then (minADE) [m]"),
        ("miss", "best of six futures misses", "farther than 2 m off [share of vehicles]"),
    )
    with drawing(10.2, 3.7) as result:
        result.canvas.set_layout_engine("constrained", wspace=0.06)
        axes = result.canvas.subplots(1, len(panels))
        for each, (score, title, label) in zip(axes, panels, strict=True):
            _error_panel(each, s, score)
            each.set_title(title)
            each.set_ylabel(label)
            if score == "miss":
                each.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN))
        handles, labels = axes[1].get_legend_handles_labels()
        result.canvas.legend(handles, labels, loc="outside upper left", ncols=6)
    return Figure(
        result.svg,
        "Errors of the learned world and of forecasts without learning, 1, 2, 4 and 6 s ahead, with 95 % "
        "intervals.",
        "**How far off, by horizon**, with 95 % intervals over scenes; less is better. Forecasts that give a "
        "single future have the same error in the first two panels; that of six samples of constant velocity "
        "says what guessing several times brings by itself.",
        wide=True,
    )


def _error_panel(axes: Axes, s: Numbers, score: str) -> None:
    for place, (name, (colour, marker, width)) in enumerate(LOOKS.items()):
        prefix = f"world.{name}." if name else "world."
        found = [(h, s.get(f"{prefix}{score}_{h}s"), s.get(f"{prefix}{score}_{h}s_ci")) for h in HORIZONS]
        known = [(h, value, ends or [None, None]) for h, value, ends in found if value is not None]
        if not known or (name == "samples" and score == "ade"):
            continue
        at = np.array([h for h, _, _ in known]) + 0.05 * (place - 2.5)
        values = np.array([value for _, value, _ in known])
        axes.plot(
            at, values, color=colour, lw=width, marker=marker, ms=4, label=NAMES[name], zorder=4 - 0.1 * place
        )
        for x, (_, value, ends) in zip(at, known, strict=True):
            low, high = (value if end is None else end for end in ends)
            axes.plot([x, x], [low, high], color=colour, lw=1.0, alpha=0.7, zorder=2)
    axes.set_xticks(HORIZONS)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=PALE, lw=0.7)
    axes.set_xlabel("how far ahead [s]")


def draw_intervals(s: Numbers) -> Figure:
    """Draw what share the intervals of the learned world held, beside what they claimed."""
    with drawing(10.2, 3.9) as result:
        result.canvas.set_layout_engine("constrained", wspace=0.06)
        panels = result.canvas.subplots(1, 2, sharey=True)
        for axes, (title, prefix) in zip(panels, SIDES, strict=True):
            _interval_panel(axes, s, prefix)
            axes.set_title(title)
        panels[0].set_yticks(range(len(LEVELS)), [f"claims {level} %" for level in LEVELS])
        panels[0].set_ylim(len(LEVELS) - 0.5, -0.5)
        handles, labels = panels[0].get_legend_handles_labels()
        result.canvas.legend(handles, labels, loc="outside upper left", ncols=5)
    return Figure(
        result.svg,
        "Share of vehicles inside the 50, 90 and 99 % intervals of the learned world, along and across the "
        "road, 1, 2, 4 and 6 s ahead, with 95 % intervals.",
        "**What the intervals claim and what they held**, with 95 % intervals over scenes. On the black line "
        "is right; left of it the doubt is too small, right of it too large.",
        wide=True,
    )


def _interval_panel(axes: Axes, s: Numbers, prefix: str) -> None:
    lowest = 0.4
    for row, level in enumerate(LEVELS):
        axes.plot(
            [level / 100] * 2,
            [row - 0.4, row + 0.4],
            color=BLACK,
            lw=1.6,
            zorder=1,
            label="claimed" if row == 0 else None,
        )
        for place, horizon in enumerate(HORIZONS):
            key = f"world.{prefix}{level}_{horizon}s"
            value, ends = s.get(key), ends_of(s, key)
            if value is None:
                continue
            at, colour = row + 0.19 * (place - 1.5), STEPS[horizon]
            low, high = (value if end is None else end for end in ends)
            axes.plot([low, high], [at, at], color=colour, lw=1.3, zorder=2)
            label = f"{horizon} s ahead" if row == 0 else None
            axes.plot(value, at, MARKERS[horizon], ms=5, color=colour, ls="", label=label, zorder=3)
            lowest = min(lowest, low)
    axes.set_xlim(max(lowest - 0.03, 0.0), 1.01)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN))
    axes.hlines([0.5, 1.5], 0, 1.01, color=GREY, lw=0.5)
    axes.grid(axis="x", color=PALE, lw=0.7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("vehicles inside the interval")


def _errors(s: Numbers) -> tuple[Block, ...]:
    columns = [(f"ade_{h}s", f"ADE, {h} s\nm") for h in HORIZONS]
    columns.append(("min_ade_6_4s", "minADE(6), 4 s\nm"))
    caption = (
        "Small print: 95 % intervals over scenes. **ADE**: mean distance of the most likely future from what "
        "happened until then; **minADE(6)**: that of the best of the six most likely futures. Less is better."
    )
    more = [("fde_4s", "FDE, 4 s\nm"), ("miss_4s", "missed, 4 s\nof six"), ("nll_4s", "NLL, 4 s\nnats")]
    more.append(("energy_4s", "energy score, 4 s\nm"))
    about = (
        "**FDE**: distance at the end; **missed**: the best of six ended more than 2 m off; **NLL**: "
        "negative log density of where the vehicle was; **energy score**: distance to what happened, less "
        "half of that between two futures. Less is better."
    )
    return _scores(s, columns, caption, gain=True), More(
        "More scores", (_scores(s, more, about, gain=False),)
    )


def _scores(s: Numbers, columns: Sequence[tuple[str, str]], caption: str, *, gain: bool) -> Board:
    rows = []
    least = {}
    for key, _ in columns:
        found = [s.get(f"world.{name}.{key}" if name else f"world.{key}") for name in LOOKS]
        least[key] = min((each for each in found if each is not None), default=None)
    for name in LOOKS:
        prefix = f"world.{name}." if name else "world."
        if all(s.get(f"{prefix}{key}") is None for key, _ in columns):
            continue
        cells = []
        for key, _ in columns:
            known = not (name == "samples" and key.startswith("ade"))
            cells.append(_cell(s, f"{prefix}{key}" if known else "", least[key], FORMS.get(key)))
        if gain:
            cells.append(_cell(s, f"world.gain_{name}_4s" if name != "samples" else "", None))
        rows.append(Row(NAMES[name], tuple(cells)))
    header = (
        "forecast",
        *(title for _, title in columns),
        *(("ADE of the world\nless by, 4 s [m]",) if gain else ()),
    )
    return Board(header, tuple(rows), caption, "Errors of forecasts")


def _cell(s: Numbers, key: str, best: float | None, form: Any = None) -> Cell:
    value, ends = s.get(key), ends_of(s, key)
    say = form or decimal
    return Cell(say(value), interval(ends, say), value, value is not None and value == best)


def _intervals(s: Numbers) -> Board:
    columns = [
        (f"{prefix}{level}", f"{level} %\n{side.split()[0]}") for side, prefix in SIDES for level in LEVELS
    ]
    columns += [("coverage_region_90", "90 %\nregion")]
    rows = []
    for horizon in HORIZONS:
        cells = [_cell(s, f"world.{name}_{horizon}s", None, percent) for name, _ in columns]
        cells.append(_cell(s, f"world.width_90_{horizon}s", None))
        rows.append(Row(f"{horizon} s ahead", tuple(cells)))
    header = ("held", *(title for _, title in columns), "width of 90 %\nalong [m]")
    caption = "The region is the smallest that is meant to hold 90 %; along and across are counted alone."
    return Board(header, tuple(rows), caption, "What the intervals held")
