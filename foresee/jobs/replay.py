"""The clips of a run for its report, and the pictures of the most telling one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
from jaxtyping import Int

from foresee.driving.evaluate import Episodes, Evaluation
from foresee.driving.metrics import UNITS
from foresee.driving.scenario import Scenarios
from foresee.driving.simulate import Frame
from foresee.driving.traffic_model import AbstractTraffic
from foresee.jobs.baselines import Baselines, at_a_time, entrants
from foresee.jobs.fleet import Entrant, drive_entrants
from foresee.report.clip import Clip
from foresee.report.clips import AFTER, between, choose_scenarios, make_clips, most_telling
from foresee.report.frames import write_gif, write_png

GIF, FOLDER = "replay.gif", "frames"
BEFORE, LONGEST = 6.0, 12.0  # a GIF begins so long before a failure, and lasts no longer than this [s]
PER_SECOND = 10.0  # pictures of a GIF
Progress = Callable[[str, float], None]


def clips_of(baselines: Baselines, *, seed: int) -> tuple[Clip, ...]:
    """Choose what to look at, and drive it again where the episodes were too many to be kept."""
    scenarios = baselines.scenarios
    if scenarios is None:
        return ()
    places = choose_scenarios(baselines.evaluations)[: at_a_time(scenarios)]
    by_name = {each.name: each for each in entrants()}
    seen = [watch(by_name[each.driver], each, places, seed=seed) for each in baselines.evaluations]
    return make_clips(seen, baselines.companions, places)


def watch(
    entrant: Entrant,
    evaluation: Evaluation,
    places: Int[np.ndarray, " K"],
    *,
    seed: int,
    traffic: AbstractTraffic | None = None,
    together: bool = False,
) -> Evaluation:
    """Return the evaluation with the episodes of some scenarios, driven again unless they were kept.

    Where the evaluation has no values of every frame, those of these scenarios are put in.

    Args:
        entrant: who drove.
        evaluation: the evaluation of all scenarios.
        places: the scenarios to look at; no more than `at_a_time` of them.
        seed: the same as of the evaluation.
        traffic: moves the others in learned traffic.
        together: whether all kinds of traffic are one program; with `traffic` the same as of the evaluation.
    """
    if len(evaluation.episodes.scenario):
        return evaluation
    scenarios, count = evaluation.scenarios, at_a_time(evaluation.scenarios)
    # Filled up to the shape that is compiled already; all of them where that is the shape, so that whoever
    # draws anything draws the same again.
    few = len(scenarios) <= count
    filled = np.concatenate([places, np.full(max(count - len(places), 0), places[0])])
    chosen = np.arange(len(scenarios)) if few else filled
    again = drive_entrants(
        [entrant], [evaluation.mode], scenarios.select(chosen), seed=seed, traffic=traffic, keep=len(chosen),
        together=together, progress=lambda text, share: None,
    )[entrant.name, evaluation.mode, entrant.seed]  # fmt: skip
    rows = np.array([int(np.flatnonzero(chosen == place)[0]) for place in places])
    at = np.array([int(np.flatnonzero(again.episodes.scenario == row)[0]) for row in rows])
    frames = jax.tree.map(lambda leaf: leaf[at], again.episodes.frames)

    def spread(values: np.ndarray) -> np.ndarray:
        every = np.zeros((len(scenarios), *values.shape[1:]), values.dtype)
        every[places] = values[rows]
        return every

    return replace(
        evaluation,
        values=evaluation.values or {name: spread(values) for name, values in again.values.items()},
        counted=evaluation.counted if len(evaluation.counted) else spread(again.counted),
        episodes=Episodes(places, frames),
    )


def unseen(name: str, mode: Any, scenarios: Scenarios, table: pl.DataFrame, seconds: float) -> Evaluation:
    """Return an evaluation of which only the table was kept."""
    nothing = np.zeros(0, int)
    none = Episodes(nothing, jax.tree.map(lambda leaf: np.asarray(leaf)[:0], _no_frames(scenarios)))
    return Evaluation(
        name,
        mode,
        scenarios,
        table,
        {},
        UNITS,
        np.zeros((0, 0), bool),
        none,
        seconds,  # pyright: ignore[reportArgumentType]
    )


def _no_frames(scenarios: Scenarios) -> Frame:
    record = scenarios.scenario.record
    moving = ("x", "y", "heading", "speed", "acceleration", "curvature")
    there = {name: getattr(record, name)[:0] for name in (*moving, "lane", "along", "offset")}
    return Frame(**there, alive=record.present[:0], reactive=record.present[:0], beliefs=None)


def draw_pictures(clips: Sequence[Clip], out: Path, *, gif: bool, png: bool, progress: Progress) -> None:
    """Write the most telling clip as a GIF, and one picture of it per second into a folder."""
    if not (gif or png):
        return
    clip = _excerpt(clips[most_telling(clips)])
    if gif:
        progress("gif", 1.0)
        write_gif(clip, out / GIF, every=max(round(1 / (PER_SECOND * clip.dt)), 1))
    if png:
        progress("frames", 1.0)
        (out / FOLDER).mkdir(exist_ok=True)
        for second in range(int((len(clip.x) - 1) * clip.dt) + 1):
            write_png(clip, out / FOLDER / f"{second:02d}.png", second)


def remove_pictures(out: Path) -> None:
    """Take away the pictures of an earlier run; other files in the folder stay."""
    (out / GIF).unlink(missing_ok=True)
    for picture in (out / FOLDER).glob("[0-9][0-9].png"):
        picture.unlink()
    if (out / FOLDER).is_dir() and not any((out / FOLDER).iterdir()):
        (out / FOLDER).rmdir()


def _excerpt(clip: Clip) -> Clip:
    """Keep what leads to the failure, or the beginning."""
    end = (len(clip.x) - 1) * clip.dt
    start = max(end - AFTER - BEFORE, 0.0) if clip.failed else 0.0
    return between(clip, start, min(end, start + LONGEST))
