"""The part of the report about drivers: how they compare, where they failed, and the replay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from foresee.report.clip import Clip
from foresee.report.clips import AFTER, MOST_FAILED, NEAR, RECORDED
from foresee.report.measures import (
    AT_FAULT,
    FAILED,
    NAMES,
    NEAR_4,
    PROGRESSED,
    RIDE,
    SAFETY,
    TRAFFIC,
    Measure,
)
from foresee.report.page import Block, Figure, Items, Link, Section, Table, Text, Tile
from foresee.report.player import Player
from foresee.report.plots import BLUE, GREY, VERMILLION, drawing
from foresee.report.words import PERCENT_SIGN, count, interval, number, percent

LEAD = 1.5  # a link leads to this long before what happened [s]
ABOUT = (
    "**recorded driver** (expert): the vehicle follows its record to the end.",
    "**no action** (none): keeps its first speed and never steers, whatever comes.",
    "**lane keeper** (idm): stays in the middle of its lane at the gap of the intelligent driver model.",
    "**lane keeper, sensing** (idm_sensing): the same, but it sees the others through noise (1 m, 2 m/s) and "
    "dropouts (10 %), does not see who is hidden, and acts on the means of its beliefs.",
)
PANELS = (FAILED, AT_FAULT, PROGRESSED, NEAR_4)
BY_NAME = (("driver", NAMES), ("mode", TRAFFIC))
Numbers = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Driven:
    """What there is to show of the drivers.

    Attributes:
        table: one row per driver, kind of traffic and scenario.
        clips: what can be replayed.
    """

    table: pl.DataFrame
    clips: tuple[Clip, ...]


def driver_tiles(s: Numbers) -> tuple[Tile, ...]:
    """Return a tile for every driver but the recorded one; none where nothing was driven."""
    if not s.get("scenarios.count"):
        return ()
    first, *others = s["scenarios.modes"]
    tiles = []
    for driver in (name for name in s["scenarios.drivers"] if name != RECORDED):
        elsewhere = "".join(f"; {FAILED.text(s, driver, mode)} in {TRAFFIC[mode]} traffic" for mode in others)
        ends = interval(s[f"drivers.{driver}.{first}.fail_rate_ci"], percent)
        tiles.append(
            Tile(
                f"{NAMES.get(driver, driver)} fails",
                percent(s[f"drivers.{driver}.{first}.fail_rate"]),
                f"of {count(s['scenarios.count'], 'scenario')} in {TRAFFIC[first]} traffic {ends}{elsewhere}",
            )
        )
    return tuple(tiles)


def driver_sections(s: Numbers, driven: Driven | None, figure: Block | None) -> tuple[Section, ...]:
    """Return the sections about drivers; every number of a driver comes from the summary."""
    if "scenarios.count" not in s:
        return ()
    notes = tuple(s["scenarios.notes"])
    if driven is None or not s["scenarios.count"]:
        text = Text("No vehicle of this recording could be driven by somebody else, so no driver was judged.")
        return (Section("Drivers compared", (text, *((Items(notes),) if notes else ()))),)
    compared = [Text(_what_was_driven(s)), Items(ABOUT), _comparison(s, SAFETY), _comparison(s, RIDE)]
    compared += [_intervals(s)]
    compared += [figure] if figure is not None else []
    compared += [_meanings(), *((Items(notes),) if notes else ())]
    return (
        Section("Drivers compared", tuple(compared)),
        Section("Where they failed", _failures(s, driven)),
        Section("Replay", (Player(driven.clips, _caption(driven.clips)),)),
    )


def draw_drivers(s: Numbers) -> Figure:
    """Draw the drivers side by side with their intervals, in both kinds of traffic."""
    drivers, modes = s["scenarios.drivers"], s["scenarios.modes"]
    with drawing(10.2, 1.5 + 0.42 * len(drivers)) as result:
        panels = result.canvas.subplots(1, len(PANELS), sharey=True, squeeze=False)[0]
        for axes, measure in zip(panels, PANELS, strict=True):
            _panel(axes, s, measure)
        panels[0].set_yticks(range(len(drivers)), [NAMES.get(name, name) for name in drivers])
        panels[0].set_ylim(len(drivers) - 0.5, -0.5)
        handles, labels = panels[0].get_legend_handles_labels()
        result.canvas.set_layout_engine("constrained", wspace=0.07)
        result.canvas.legend(handles, labels, loc="outside upper left", ncols=2)
    return Figure(
        result.svg,
        "Share of scenarios failed, share with a collision by one's own fault, progress and distance to the "
        f"record of {', '.join(str(NAMES.get(name, name)) for name in drivers)}, with 95 % intervals, in "
        f"{' and '.join(TRAFFIC[mode] for mode in modes)} traffic.",
        "**The drivers side by side**, with 95 % intervals. Of failures, collisions and distance to the "
        "record less is better; a progress of 1 is that of the recorded driver.",
        wide=True,
    )


def _panel(axes: Axes, s: Numbers, measure: Measure) -> None:
    looks = (("o", BLUE, BLUE, -0.13), ("s", VERMILLION, "white", 0.13))
    for mode, (marker, colour, face, shift) in zip(s["scenarios.modes"], looks, strict=False):
        for place, driver in enumerate(s["scenarios.drivers"]):
            key = f"drivers.{driver}.{mode}.{measure.key}"
            value, ends = s[key], s[f"{key}_ci"]
            if value is None:
                continue
            if None not in ends:
                axes.plot(ends, [place + shift] * 2, color=colour, lw=1.4, zorder=2)
            label = f"{TRAFFIC[mode]} traffic" if place == 0 else None
            axes.plot(value, place + shift, marker, ms=5, mec=colour, mfc=face, ls="", label=label, zorder=3)
    axes.grid(axis="x", color="#e9ecef", lw=0.7)
    axes.tick_params(axis="y", length=0)
    if measure.unit == "%":
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN))
        axes.set_xlim(-0.02, max(0.1, 1.02 * axes.get_xlim()[1]))
    elif measure.key == "progress":
        axes.axvline(1.0, color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
    else:
        axes.set_xlim(left=-0.02 * axes.get_xlim()[1])
    unit = "share of scenarios" if measure.unit == "%" else measure.unit or "of the recorded way"
    axes.set_xlabel(f"{measure.name} [{unit}]")


def _what_was_driven(s: Numbers) -> str:
    road = {"map": "of the recording's own map", "found from paths": "found from the paths that were driven"}
    lanes = road.get(s["scenarios.road"], "of the map, or found from the paths where there is none")
    return (
        f"In {count(s['scenarios.count'], 'scenario')} with {number(s['scenarios.seconds'], 1)} s of driving "
        "one recorded vehicle at a time was given to another driver, from its first recorded frame on, who "
        f"sees the others exactly. The lanes are those {lanes}. In **replayed** traffic the others do what "
        "was recorded, whatever the driver does; in **reactive** traffic they follow and change lanes by "
        "models (IDM and MOBIL), each as fast and as close as it was recorded to be. The recorded driver "
        "cannot fail in replayed traffic; in reactive traffic it reacts to nobody, and its failures say how "
        "far the others stray from what they did."
    )


def _comparison(s: Numbers, measures: Sequence[Measure]) -> Table:
    header = ("driver, traffic", *(measure.label for measure in measures))
    rows = tuple(
        (
            f"{NAMES.get(driver, driver)}, {TRAFFIC[mode]}",
            *(measure.text(s, driver, mode) for measure in measures),
        )
        for driver in s["scenarios.drivers"]
        for mode in s["scenarios.modes"]
    )
    return Table(header, rows)


def _intervals(s: Numbers) -> Text:
    units = s["scenarios.independent"]
    text = f"In brackets are 95 % intervals that take {units} for independent of each other."
    if units != "scenes":
        text += " There is one scene only, so they are too narrow: its scenarios share their traffic."
    return Text(text)


def _meanings() -> Table:
    rows = []
    for measure in (*SAFETY, *RIDE):
        known_as = f" ({measure.known_as})" if measure.known_as else ""
        rows.append((measure.name, measure.meaning + known_as))
    return Table(
        ("measure", "share of scenarios in which, or mean over scenarios of"), tuple(rows), words=True
    )


def _failures(s: Numbers, driven: Driven) -> tuple[Block, ...]:
    kinds = [(driver, mode) for driver in s["scenarios.drivers"] for mode in s["scenarios.modes"]]
    total = sum(s[f"drivers.{driver}.{mode}.failures"] for driver, mode in kinds)
    if not total:
        return (Text("Nobody failed."),)
    places = {(clip.scenario, clip.driver, clip.mode): k for k, clip in enumerate(driven.clips)}
    rows = []
    for row in driven.table.filter(pl.col("fail")).iter_rows(named=True):
        driver, mode = (str(names.get(row[key], row[key])) for key, names in BY_NAME)
        place = places.get((row["scenario"], driver, mode))
        if place is not None:
            rows.append((place, _failure(row, f"{driver}, {mode}", place)))
    rows = tuple(row for _, row in sorted(rows, key=lambda each: each[0]))
    text = (
        f"{count(total, 'failure')} in all; listed are the {len(rows)} of the scenarios that can be "
        f"replayed, at most {MOST_FAILED} with a failure: drivers take turns to name one, in the order of "
        "the recording, and who fails least often begins. Each row leads to its moment in the replay; "
        "baselines.parquet has them all."
    )
    header = ("scenario", "driver, traffic", "when", "what happened", "against", "whose fault")
    return Text(text), Table(header, rows, words=True)


def _failure(row: Mapping[str, Any], who: str, place: int) -> tuple[str | Link, ...]:
    hit = str(row["outcome"]).startswith("hit")
    at = float(row["failed_at"])
    return (
        Link(str(row["scenario"]), f"#clip={place + 1}&t={max(at - LEAD, 0.0):.1f}"),
        who,
        f"{at:.1f}\N{NO-BREAK SPACE}s",
        str(row["outcome"]),
        str(row["against"]) if hit and row["against"] is not None else "–",
        "the driver's" if hit else "–",
    )


def _caption(clips: Sequence[Clip]) -> str:
    scenarios = len({clip.scenario for clip in clips})
    return (
        f"**{count(scenarios, 'scenario')}**, each with every driver in every kind of traffic: first those "
        "in which somebody failed, then a few in which nobody did. **Blue** is the driven vehicle, **green** "
        f"dashes are where it was recorded. Vehicles that never come within {NEAR:g} m of it are left out. A "
        f"clip ends {AFTER:g} s after a failure. The limits marked in the curves are those of the table."
    )
