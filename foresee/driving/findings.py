"""What the learned stages of the main job found out, in plain data: what a report has to show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from foresee.driving.evaluate import Evaluation
from foresee.driving.futures.scores import ForecastScores


@dataclass(frozen=True)
class Part:
    """One part of what was recorded.

    Attributes:
        name: "train", "validation" or "test".
        source: the recording it comes from.
        scenes: names of its scenes.
        vehicles: how many there are.
        seconds: how long it lasts, all scenes together [s].
        scenarios: how many of the vehicles can be driven by somebody else.
    """

    name: str
    source: str
    scenes: tuple[str, ...]
    vehicles: int
    seconds: float
    scenarios: int


@dataclass(frozen=True, eq=False)
class Training:
    """How one training went.

    Attributes:
        losses: training loss of every member in every epoch; NaN where an epoch was not run.
        validation_losses: the same on held-out data; None without.
        best: number of epochs after which each member was taken.
        diverged: whose loss did not stay finite; its last good state was taken.
        seconds: how long it took [s].
    """

    losses: Float[np.ndarray, "members epochs"]
    validation_losses: Float[np.ndarray, "members epochs"] | None
    best: Int[np.ndarray, " members"]
    diverged: Bool[np.ndarray, " members"]
    seconds: float

    def beside(self, other: "Training") -> "Training":
        """Return both as one, the members of this one first; they ran for as many epochs."""
        held = (self.validation_losses, other.validation_losses)
        both = None if held[0] is None or held[1] is None else np.concatenate([held[0], held[1]])
        rest = (np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("best", "diverged"))
        losses = np.concatenate([self.losses, other.losses])
        return Training(losses, both, *rest, seconds=self.seconds + other.seconds)


@dataclass(frozen=True, eq=False)
class WorldFindings:
    """How well the learned world foretells the test part, beside forecasts without learning.

    Attributes:
        scores: by forecaster, "world" first; all score the same vehicles, so that `less_than` works.
        training: of the networks.
        lessons: vehicles in snapshots to learn from, and to stop by.
        windows: snapshots of the parts train, validation and test.
        ablations: scores of other versions of the world by what they are called, as "1 network".
        notes: what was left out, and why.
    """

    scores: Mapping[str, ForecastScores]
    training: Training
    lessons: tuple[int, int]
    windows: tuple[int, int, int]
    ablations: Mapping[str, ForecastScores]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MonitorFindings:
    """How well a monitor tells what will go wrong.

    Attributes:
        scores: its score in frames of the test scenarios, by the name of the score; higher is stranger.
        failing: in which of these frames the unguarded driver failed within `seconds`.
        thresholds: score above which it takes over, by name; from validation scenarios.
        false_alarm: share of ordinary frames that may be above the threshold.
        seconds: how far ahead a failure counts [s].
    """

    scores: Mapping[str, Float[np.ndarray, " N"]]
    failing: Bool[np.ndarray, " N"]
    thresholds: Mapping[str, float]
    false_alarm: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Foresight:
    """What was foretold while somebody drove a scenario: futures of some vehicles at some of its frames.

    Attributes:
        frames: frames of the episode at which it was looked ahead.
        slots: the vehicles, by their slots.
        times: how far ahead the points of a future are [s].
        x, y, heading: points of the futures [m, rad].
        along_sd, across_sd: their doubt, along and across the heading [m].
        weights: probability of every future.
        known: whose futures there are.
    """

    frames: Int[np.ndarray, " N"]
    slots: Int[np.ndarray, "N S"]
    times: Float[np.ndarray, " P"]
    x: Float[np.ndarray, "N S K P"]
    y: Float[np.ndarray, "N S K P"]
    heading: Float[np.ndarray, "N S K P"]
    along_sd: Float[np.ndarray, "N S K P"]
    across_sd: Float[np.ndarray, "N S K P"]
    weights: Float[np.ndarray, "N S K"]
    known: Bool[np.ndarray, "N S"]


@dataclass(frozen=True, eq=False)
class DriversFindings:
    """How the drivers compare on the test scenarios.

    Attributes:
        drivers: their names, in the order of the table.
        modes: the kinds of traffic.
        seeds: seeds of the learned drivers; the others were driven once.
        table: one row per driver, kind of traffic, seed and scenario, as metrics.parquet.
        evaluations: of the drivers that are shown, in every kind of traffic, with the first seed; the
            episodes are those of `places`.
        companions: names of the vehicles of every scenario, the ego first.
        places: the scenarios to look at.
        foresight: what the learned world foretold, by place, driver and kind of traffic.
        trainings: of the learned drivers by name; members are seeds.
        monitor: how well failures were foreseen; None without a monitor.
        ablations: rows of `ablation`, `setting`, `score`, `value`, `low`, `high`.
        notes: what was left out, and why.
    """

    drivers: tuple[str, ...]
    modes: tuple[str, ...]
    seeds: tuple[int, ...]
    table: pl.DataFrame
    evaluations: tuple[Evaluation, ...]
    companions: tuple[tuple[str, ...], ...]
    places: Int[np.ndarray, " K"]
    foresight: Mapping[tuple[int, str, str], Foresight]
    trainings: Mapping[str, Training]
    monitor: MonitorFindings | None
    ablations: pl.DataFrame
    notes: tuple[str, ...]
