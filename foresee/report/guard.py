"""The part of the report about the monitor: what it foresees, its false alarms, what it saves and costs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from foresee.driving.findings import MonitorFindings
from foresee.report.boards import Board, Cell, Row, Switch
from foresee.report.detection import series_look
from foresee.report.drivers import drove, in_order
from foresee.report.gains import GUARDED, LINE, PROGRESS, THAN_UNGUARDED
from foresee.report.measures import COMFORT, FAILED, PROGRESSED, TRAFFIC, Measure, name_of
from foresee.report.page import Block, Figure, Figures, Section, Table, Text
from foresee.report.plots import BAND_90, BLACK, GREY, VERMILLION, drawing, legend_above
from foresee.report.words import NOWHERE, PERCENT_SIGN, bounds, decimal, ends_of, interval, number, percent

PERCENT = PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN)
POINTS = 400  # of a curve; more cannot be seen
Numbers = Mapping[str, Any]


def monitor_section(s: Numbers, figures: Mapping[str, Block]) -> tuple[Section, ...]:
    """Return the section about the monitor; none where there is none."""
    modes = [
        mode
        for mode in s.get("scenarios.modes") or ()
        if any(name.endswith(GUARDED) for name in drove(s, mode))
    ]
    foreseen = s.get("monitor.auroc") is not None
    if not modes and not foreseen:
        return ()
    blocks: list[Block] = [Text(_about(s))]
    if foreseen:
        drawn = [figures[name] for name in ("roc", "alarms") if name in figures]
        blocks += [Figures(tuple(each for each in drawn if isinstance(each, Figure))), _alarms(s)]
    if modes:
        blocks += [
            Text("**What it saves and costs.** The same drivers in the same scenarios, without and with it:")
        ]
        parts = tuple((f"{TRAFFIC[mode].capitalize()} traffic", (_savings(s, mode),)) for mode in modes)
        blocks += [Switch("Monitor by kind of traffic", parts)]
    return (Section("The monitor", tuple(blocks)),)


def _about(s: Numbers) -> str:
    seconds = s.get("monitor.seconds")
    within = f" within {number(seconds, 1)} s" if seconds is not None else ""
    return (
        f"The monitor rides along with any driver. From how unusual the situation is, how much the networks "
        f"doubt what comes next and where the driver is heading, it says how likely a failure{within} is, "
        "and where that is above a threshold it takes over: it brakes or keeps the lane until the danger is "
        "past. The threshold was set on validation scenarios, for a stated share of false alarms."
    )


def draw_roc(found: MonitorFindings) -> Figure | None:
    """Draw what share of coming failures is found against false alarms; None without failures."""
    failing = np.asarray(found.failing, bool)
    curves = {name: np.asarray(score, float) for name, score in found.scores.items()}
    curves = {name: score for name, score in curves.items() if np.isfinite(score).all()}
    if not curves or failing.all() or not failing.any():
        return None
    with drawing(5.2, 4.2) as result:
        axes = result.canvas.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
        for place, (name, score) in enumerate(curves.items()):
            alarms, hits = _curve(score, failing)
            area = float(np.trapezoid(hits, alarms))
            few = np.unique(np.linspace(0, len(alarms) - 1, POINTS).round().astype(int))
            label = f"{name.replace('_', ' ')}, area {area:.2f}"
            axes.plot(alarms[few], hits[few], label=label, clip_on=False, **series_look(place))
            threshold = found.thresholds.get(name)
            if threshold is not None and np.isfinite(threshold):
                above = score > threshold
                axes.plot(
                    above[~failing].mean(), above[failing].mean(), "o", ms=6, mfc="white", mec=BLACK, zorder=5
                )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("false alarms [share of ordinary frames]")
        axes.set_ylabel("foreseen [share of frames before a failure]")
        axes.legend(loc="lower right", borderaxespad=0.6)
    return Figure(
        result.svg,
        f"Share of frames before a failure that are flagged, against false alarms, for {', '.join(curves)}.",
        f"**Foreseen against false alarms**, in {failing.size:,} frames of test scenarios, "
        f"{int(failing.sum()):,} of them at most {found.seconds:g} s before a failure. Up and to the left is "
        "better, the dashed line is a coin, and the circles are the thresholds that were set.",
    )


def draw_alarms(s: Numbers) -> Figure | None:
    """Draw the share of false alarms that was stated and what came; None where either is not known."""
    stated, held = s.get("monitor.false_alarm"), s.get("monitor.false_alarms")
    low, high = s.get("monitor.false_alarms_band") or (None, None)
    if stated is None or held is None or low is None or high is None:
        return None
    with drawing(5.2, 1.7) as result:
        axes = result.canvas.subplots()
        axes.axvspan(low, high, color=BAND_90, lw=0, label="95 % of shares, if so")
        axes.axvline(stated, color=BLACK, lw=1.6, label="stated")
        axes.plot(held, 0, "o", ms=8, color=VERMILLION, label="held", ls="")
        axes.set_ylim(-1, 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, 1.25 * max(high, held, stated))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None, symbol=PERCENT_SIGN))
        axes.set_xlabel("false alarms [share of ordinary frames]")
        legend_above(axes)
    return Figure(
        result.svg,
        f"False alarms: stated {percent(stated)}, held {percent(held)}, band {percent(low)} to "
        f"{percent(high)}.",
        "**False alarms, stated and held.** Inside the band the share that came is what chance makes of the "
        "one that was stated.",
    )


def _curve(score: np.ndarray, failing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false alarms and hits as the threshold falls; equal scores make one point."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(failing[order])[ends] / failing.sum()
    alarms = np.cumsum(~failing[order])[ends] / (~failing).sum()
    return np.append(0.0, alarms), np.append(0.0, hits)


def _alarms(s: Numbers) -> Table:
    band: list[float | None] = list(s.get("monitor.false_alarms_band") or (None, None))
    held, stated = s.get("monitor.false_alarms"), s.get("monitor.false_alarm")
    judged = NOWHERE
    if held is not None and None not in band:
        judged = (
            "as stated"
            if band[0] <= held <= band[1]
            else "more than stated"
            if held > band[1]
            else "fewer than stated"
        )
    area = f"{decimal(s['monitor.auroc'])} {interval(ends_of(s, 'monitor.auroc'), decimal)}".strip()
    rows = [
        (
            "area under the curve (AUROC)",
            area,
            "how likely a frame before a failure has a higher score than an ordinary one",
        ),
        (
            "false alarms, stated",
            percent(stated),
            "share of ordinary frames that may be flagged; it set the threshold",
        ),
        ("false alarms, held", percent(held), f"share that was flagged in test scenarios: {judged}"),
        (
            "binomial band",
            interval(band, percent) or NOWHERE,
            "where 95 % of such shares lie if the stated one is true [%]",
        ),
    ]
    if s.get("monitor.auroc_doubt") is not None:
        rows.insert(
            1,
            (
                "the same of the world's doubt alone",
                decimal(s["monitor.auroc_doubt"]),
                "what the networks' disagreement tells by itself",
            ),
        )
    return Table(("", "", ""), tuple(rows), words=True)


def _savings(s: Numbers, mode: str) -> Board:
    rows = []
    for driver in in_order(s, [mode]):
        guarded = f"{driver}{GUARDED}"
        if guarded not in drove(s, mode):
            continue
        cells = [_cell(s, name, mode, FAILED) for name in (driver, guarded)]
        cells.append(_gain(s, guarded, mode, THAN_UNGUARDED, FAILED))
        cells.append(_cell(s, guarded, mode, PROGRESSED))
        cells.append(_gain(s, guarded, mode, PROGRESS, PROGRESSED))
        cells.append(_cell(s, guarded, mode, COMFORT))
        rows.append(Row(name_of(driver), tuple(cells), "line" if driver == LINE else ""))
    header = (
        "driver", "failed\nwithout", "failed\nwith", "failures saved\npercentage points", "progress\nwith",
        "given up\nof progress", "comfortable\nwith",
    )  # fmt: skip
    caption = (
        "Small print: 95 % intervals; those of differences are of the same scenarios in pairs. **Blue and "
        "bold** where the interval says that it surely saves."
    )
    return Board(header, tuple(rows), caption, f"What the monitor saves in {TRAFFIC[mode]} traffic")


def _cell(s: Numbers, name: str, mode: str, measure: Measure) -> Cell:
    value, ends = measure.found(s, name, mode)
    return Cell(measure.form(value), interval(ends, measure.form), value)


def _gain(s: Numbers, name: str, mode: str, key: str, measure: Measure) -> Cell:
    value = s.get(f"drivers.{name}.{mode}.{key}")
    ends = ends_of(s, f"drivers.{name}.{mode}.{key}")

    def say(each: float | int | None) -> str:
        return number(None if each is None else 100 * each, 1) if measure is FAILED else number(each, 2)

    known = bounds(s, f"drivers.{name}.{mode}.{key}")
    sure = measure is FAILED and known is not None and known[0] > 0
    return Cell(say(value), interval(ends, say), value, sure)
