"""The part of the report about drivers: how they compare, where they failed, and the replay."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from foresee.report.clip import Clip
from foresee.report.clips import RECORDED
from foresee.report.compare import draw_failures, draw_progress
from foresee.report.drivers import driver_tables, drove
from foresee.report.failures import failure_blocks, replay_caption
from foresee.report.gains import GUARDED, LINE
from foresee.report.measures import FAILED, TRAFFIC, name_of
from foresee.report.page import Block, Items, Section, Text, Tile
from foresee.report.player import Player
from foresee.report.words import count, interval, number, percent

ABOUT = {
    "expert": "**recorded driver**: the vehicle follows its record to the end; in replayed traffic it cannot "
    "fail.",
    "none": "**no action**: keeps its first speed and never steers, whatever comes.",
    "idm": "**lane keeper (IDM)**: stays in the middle of its lane, at the gap of the intelligent driver "
    "model.",
    "idm_sensing": "**lane keeper, sensing**: the same, but it sees the others through noise (1 m, 2 m/s) "
    "and dropouts (10 %), does not see who is hidden, and acts on the means of its beliefs.",
    "pdm": "**PDM**: tries the lane keeper at several speeds and places in the lane, the others at constant "
    "velocity, and takes what scores best. The line to beat.",
    "pdm_expected": "**PDM, expected cost**: the same proposals, scored by their expected cost under the "
    "futures of the learned world.",
    "bc": "**BC**: a network that imitates what was recorded, from places pushed off the record, too.",
    "cw_erm": "**CW-ERM**: imitates again, minding more the scenarios in which BC fails when it drives.",
    "mper": "**MPER**: imitates over whole stretches of driving, through the simulation.",
    "vg": "**VG**: learns by the gradient of a cost (nearness, lane, road, comfort, progress) through "
    "the simulation.",
    "mpur": "**MPUR**: VG that also minds how unsure the learned world is of what comes of its driving.",
    "safepathnet": "**SafePathNet**: a network gives several plans with futures of everybody around; the "
    "plan of least expected cost is driven. **Likeliest**: the most probable plan is, instead.",
    "mpc": "**MPC**: plans in every frame through the learned world, with its doubt.",
}
Numbers = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Driven:
    """What there is to show of the drivers.

    Attributes:
        table: one row per driver, kind of traffic and scenario, and per seed where there are several.
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
        value, ends = FAILED.found(s, driver, first)
        tiles.append(
            Tile(
                f"{name_of(driver)} fails",
                percent(value),
                f"of {count(s['scenarios.count'], 'scenario')} in {TRAFFIC[first]} traffic "
                f"{interval(ends, percent)}{elsewhere}",
            )
        )
    return tuple(tiles)


def driver_sections(s: Numbers, driven: Driven | None, figures: Mapping[str, Block]) -> tuple[Section, ...]:
    """Return the sections about drivers; every number of a driver comes from the summary."""
    if "scenarios.count" not in s:
        return ()
    notes = tuple(s.get("scenarios.notes") or ())
    if driven is None or not s["scenarios.count"]:
        text = Text("No vehicle of this recording could be driven by somebody else, so no driver was judged.")
        return (Section("Drivers compared", (text, *((Items(notes),) if notes else ()))),)
    compared: list[Block] = [Text(_what_was_driven(s)), *driver_tables(s), Text(_intervals(s))]
    compared += [figures[name] for name in ("drivers", "progress") if name in figures]
    compared += [Text("**Who drives.**"), Items(_about(s))]
    compared += [Text("**What was left out.**"), Items(notes)] if notes else []
    return (
        Section("Drivers compared", tuple(compared)),
        Section("Where they failed", failure_blocks(s, driven.table, driven.clips)),
        Section("Replay", (Player(driven.clips, replay_caption(driven.clips)),)),
    )


def draw_drivers(s: Numbers) -> dict[str, Block]:
    """Draw the drivers side by side: how often they fail, and how far they get."""
    return {"drivers": draw_failures(s), "progress": draw_progress(s)}


def _about(s: Numbers) -> tuple[str, ...]:
    told = [ABOUT[name] for name in s["scenarios.drivers"] if name in ABOUT]
    if any(name.endswith(GUARDED) for name in s["scenarios.drivers"]):
        told.append(
            "**+ monitor**: the same driver with a monitor that takes over where a failure is likely; see "
            "below."
        )
    return tuple(told)


def _what_was_driven(s: Numbers) -> str:
    road = {"map": "of the recording's own map", "found from paths": "found from the paths that were driven"}
    lanes = road.get(str(s.get("scenarios.road")), "of the map, or found from the paths where there is none")
    watched = s.get("scenarios.handover_seconds")
    return (
        f"In {count(s['scenarios.count'], 'scenario')} with {number(s['scenarios.seconds'], 1)} s of driving "
        "one recorded vehicle at a time was given to another driver, "
        + (f"after {number(watched, 1)} s of watching" if watched else "from its first recorded frame on")
        + f", who sees the others exactly unless it is said otherwise. The lanes are those {lanes}."
    )


def _intervals(s: Numbers) -> str:
    units = s["scenarios.independent"]
    several = " and seeds" if (s.get("scenarios.seeds") or 1) > 1 else ""
    text = f"The intervals draw {units}{several} again, so they take {units} for independent of each other."
    if units != "scenes":
        text += " There is one scene only, so they are too narrow: its scenarios share their traffic."
    if any(LINE in drove(s, mode) for mode in s["scenarios.modes"]):
        text += (
            " The best of many drivers is so partly by luck; that one of them is surely better than PDM is "
            "said only where the difference, scenario by scenario, has an interval without 0."
        )
    return text
