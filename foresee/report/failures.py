"""Where drivers failed: counts by what happened, and failures that lead to their moment in the replay."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from foresee.report.boards import Board, Cell, Row, Switch
from foresee.report.clip import Clip
from foresee.report.clips import AFTER, MOST_FAILED, NEAR
from foresee.report.drivers import drove, in_order
from foresee.report.gains import GUARDED, LINE
from foresee.report.measures import TRAFFIC, name_of
from foresee.report.page import Block, Link, Table, Text
from foresee.report.words import NOWHERE, count

LEAD = 1.5  # a link leads to this long before what happened [s]
MOST_ROWS = 60  # of failures that are listed
Numbers = Mapping[str, Any]


def failure_blocks(s: Numbers, table: pl.DataFrame, clips: Sequence[Clip]) -> tuple[Block, ...]:
    """Return how often what happened to whom, and the failures that can be watched."""
    kinds = [(driver, mode) for mode in s["scenarios.modes"] for driver in drove(s, mode)]
    total = sum(s.get(f"drivers.{driver}.{mode}.failures") or 0 for driver, mode in kinds)
    if not total:
        return (Text("Nobody failed."),)
    listed = _listed(table, clips)
    file = "metrics.parquet" if "seed" in table.columns else "baselines.parquet"
    shown = len(dict.fromkeys(clip.scenario for clip in clips))
    if not listed:
        return *_counts(s, table), Text("None of these failures is among the scenarios that can be replayed.")
    text = (
        f"**Failures to watch.** Of {count(total, 'failure')} in all, these {len(listed)} can be replayed: "
        f"{count(shown, 'scenario')} were chosen by a rule, at most {MOST_FAILED} with a failure; drivers "
        "take turns to name one, in the order of the recording, and who fails least often begins. Each row "
        f"leads to its moment in the replay. {file} has them all."
    )
    header = ("scenario", "driver, traffic", "when", "what happened", "against", "whose fault")
    rows = tuple(listed[:MOST_ROWS])
    caption = "" if len(rows) == len(listed) else f"The first {MOST_ROWS}; the replay has the others."
    return *_counts(s, table), Text(text), Table(header, rows, caption, words=True)


def _counts(s: Numbers, table: pl.DataFrame) -> tuple[Block, ...]:
    failed = table.filter(pl.col("fail"))
    outcomes = failed["outcome"].value_counts(sort=True)["outcome"].to_list()
    seeds = s.get("scenarios.seeds") or 1
    several = (
        f" Drivers that learned drove each scenario {seeds} times, once per training." if seeds > 1 else ""
    )
    text = f"**What happened**, in numbers of failures.{several}"
    parts = []
    for mode in s["scenarios.modes"]:
        own = failed.filter(mode=mode)
        rows = []
        for driver in in_order(s, [mode]):
            for name in (driver, f"{driver}{GUARDED}"):
                if name in drove(s, mode):
                    driven = table.filter(driver=name, mode=mode).height
                    rows.append(_count_row(name, own.filter(driver=name), outcomes, driven))
        header = ("driver", "driven\nscenarios", "failures\nin all", *(f"{each}" for each in outcomes))
        name = f"Failures in {TRAFFIC[mode]} traffic"
        parts.append((f"{TRAFFIC[mode].capitalize()} traffic", (Board(header, tuple(rows), "", name),)))
    return Text(text), Switch("Failures by kind of traffic", tuple(parts))


def _count_row(name: str, failed: pl.DataFrame, outcomes: Sequence[str], driven: int) -> Row:
    found = dict(failed["outcome"].value_counts().iter_rows())
    numbers = [driven, failed.height, *(found.get(each, 0) for each in outcomes)]
    look = "under" if name.endswith(GUARDED) else "line" if name == LINE else ""
    cells = tuple(Cell(f"{each:,}" if each else NOWHERE, value=each) for each in numbers)
    return Row(name_of(name), cells, look, name_of(name.removesuffix(GUARDED)) if look == "under" else "")


def _listed(table: pl.DataFrame, clips: Sequence[Clip]) -> list[tuple[str | Link, ...]]:
    """Return a row for every failure of the first training that is in a clip, in the order of the clips."""
    places = {(clip.scenario, clip.driver, clip.mode): k for k, clip in enumerate(clips)}
    if "seed" in table.columns:
        table = table.filter(pl.col("seed") == pl.col("seed").min().over("driver"))
    rows = []
    for row in table.filter(pl.col("fail")).iter_rows(named=True):
        driver, mode = name_of(row["driver"]), str(TRAFFIC.get(row["mode"], row["mode"]))
        place = places.get((str(row["scenario"]), driver, mode))
        if place is not None:
            rows.append((place, _failure(row, f"{driver}, {mode}", place)))
    return [row for _, row in sorted(rows, key=lambda each: each[0])]


def _failure(row: Mapping[str, Any], who: str, place: int) -> tuple[str | Link, ...]:
    hit = str(row["outcome"]).startswith("hit")
    at = float(row["failed_at"])
    return (
        Link(str(row["scenario"]), f"#clip={place + 1}&t={max(at - LEAD, 0.0):.1f}"),
        who,
        f"{at:.1f}\N{NO-BREAK SPACE}s",
        str(row["outcome"]),
        str(row["against"]) if hit and row["against"] is not None else NOWHERE,
        "the driver's" if hit else NOWHERE,
    )


def replay_caption(clips: Sequence[Clip]) -> str:
    """Say what is to be seen in the replay."""
    scenarios = len({clip.scenario for clip in clips})
    foretold = (
        " **Orange** lines are what the learned world expected of the vehicles around when it last looked "
        "ahead, the more probable the stronger, and the ellipses hold the vehicle with 90 % probability "
        "if that future comes; the legend hides them."
        if any(clip.foretold is not None for clip in clips)
        else ""
    )
    return (
        f"**{count(scenarios, 'scenario')}**, each with every driver that is shown in every kind of traffic: "
        "first those in which somebody failed, then a few in which nobody did. **Blue** is the driven "
        f"vehicle, **green** dashes are where it was recorded.{foretold} Vehicles that never come within "
        f"{NEAR:g} m of it are left out. A clip ends {AFTER:g} s after a failure. The limits marked in the "
        "curves are those of the table."
    )
