"""The second stage of the main job: what baselines would have done in place of the recorded drivers."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl

from foresee.driving.evaluate import CELLS, Evaluation
from foresee.driving.find_lanes import road_of
from foresee.driving.policies import Expert, LaneKeeper, NoAction
from foresee.driving.recorded import scenarios_from_states
from foresee.driving.recording import Tracks
from foresee.driving.road import Road
from foresee.driving.scenario import Scenarios
from foresee.driving.sensing import Sensing
from foresee.driving.simulate import Mode
from foresee.driving.states import States
from foresee.errors import RecordingError, RoadError
from foresee.jobs.fleet import Entrant, Progress, drive_entrants, one_of

DRIVERS = ("expert", "none", "idm", "idm_sensing")
# What the last one sees with: the noise under which carried doubt has to show in comfort.
SENSING = Sensing(position_sd=1.0, velocity_sd=2.0, dropout=0.1)
MODES: tuple[Mode, ...] = ("replay", "reactive")
SECONDS, LONGEST = 3.0, 20.0  # a vehicle must be there so long, and is driven no longer than that [s]
FROM_MAP, FOUND = "map", "found from paths"


@dataclass(frozen=True, eq=False)
class Baselines:
    """What the stage found out; without a scenario there are no evaluations, and the notes say why.

    Attributes:
        evaluations: one per driver and kind of traffic.
        companions: names of the vehicles of every scenario, the ego first.
        roads: where the road of every scene came from; scenes without one are not in it.
        notes: what was left out, and why.
    """

    evaluations: tuple[Evaluation, ...]
    companions: tuple[tuple[str, ...], ...]
    roads: dict[str, str]
    notes: tuple[str, ...]

    @property
    def scenarios(self) -> Scenarios | None:
        """What was driven."""
        return self.evaluations[0].scenarios if self.evaluations else None

    def table(self) -> pl.DataFrame:
        """One row per driver, kind of traffic and scenario: the outcome in words and every metric."""
        return pl.concat([self._rows(each) for each in self.evaluations])

    def _rows(self, evaluation: Evaluation) -> pl.DataFrame:
        table = evaluation.table
        places = enumerate(table["against"].to_list())
        against = [None if slot is None else self.companions[k][slot] for k, slot in places]
        return table.select(
            pl.lit(evaluation.driver).alias("driver"),
            pl.lit(evaluation.mode).alias("mode"),
            "scenario",
            pl.col("group").alias("scene"),
            pl.Series("vehicle", [names[0] for names in self.companions]),
            pl.exclude("scenario", "group", "against"),
            pl.Series("against", against, dtype=pl.String),
        )


def run_baselines(states: States, *, seed: int, progress: Progress) -> Baselines:
    """Let the baselines drive every recorded vehicle that was there long enough, in both kinds of traffic.

    Args:
        states: the smoothed recording.
        seed: of everything random.
        progress: called with what is being done and the share of it that is done.
    """
    progress("roads", 0.0)
    roads, sources, notes = find_roads(states)
    if not roads:
        return Baselines((), (), {}, notes)
    states = of_scenes(states, list(roads))
    progress("scenarios", 0.02)
    try:
        scenarios = scenarios_from_states(states, roads, seconds=SECONDS, longest=LONGEST)
    except RecordingError as error:
        return Baselines((), (), sources, (*notes, f"no scenario: {error}"))
    missing = states.recording.vehicles - len(scenarios)
    if missing:
        notes = (
            *notes,
            f"{missing:,} of {states.recording.vehicles:,} vehicles were not driven: there for less than "
            f"{SECONDS:g} s, off every lane, or not motor vehicles",
        )
    evaluations = drive_all(scenarios, seed=seed, progress=progress)
    return Baselines(evaluations, scenarios.vehicles, sources, notes)


def find_roads(states: States) -> tuple[dict[str, Road], dict[str, str], tuple[str, ...]]:
    """Return the road of every scene that has one, where it came from, and remarks on the others."""
    recording = states.recording
    roads: dict[str, Road] = {}
    sources: dict[str, str] = {}
    notes = []
    for scene in recording.scenes():
        if recording.lanes.get(scene):
            try:
                roads[scene], sources[scene] = road_of(recording, scene), FROM_MAP
                continue
            except (RecordingError, RoadError) as error:
                notes.append(f"scene {scene}: its map makes no road, so lanes are found from paths ({error})")
        try:
            roads[scene] = road_of(replace(recording, lanes={}), scene)
            sources[scene] = FOUND
        except (RecordingError, RoadError) as error:
            notes.append(f"scene {scene} is left out, its road cannot be told: {error}")
    return roads, sources, tuple(notes)


def of_scenes(states: States, scenes: list[str]) -> States:
    """Keep the vehicles of some scenes."""
    keep = np.isin(states.recording.scene.astype(str), scenes)
    if keep.all():
        return states

    def cut(part: Any) -> Any:
        return replace(part, **{each.name: getattr(part, each.name)[keep] for each in fields(part)})

    return replace(
        states,
        recording=states.recording.select(keep),
        tracks=Tracks(**{each.name: getattr(states.tracks, each.name)[keep] for each in fields(Tracks)}),
        one_step=cut(states.one_step),
        **{name: getattr(states, name)[keep] for name in ("alive", "mean", "covariance", "modes")},
        filtered=None if states.filtered is None else states.filtered[keep],
    )


def drive_all(scenarios: Scenarios, *, seed: int, progress: Progress) -> tuple[Evaluation, ...]:
    """Evaluate all baselines in all kinds of traffic; episodes are kept if they are few.

    Args:
        scenarios: what is driven.
        seed: of the drivers, though none of these draws anything.
        progress: called with what is being done and the share of it that is done.
    """
    keep = len(scenarios) if len(scenarios) <= at_a_time(scenarios) else 0

    def told(text: str, share: float) -> None:
        progress(text, 0.05 + 0.95 * share)

    done = drive_entrants(entrants(), MODES, scenarios, seed=seed, keep=keep, progress=told)
    return tuple(done.values())


def at_a_time(scenarios: Scenarios) -> int:
    """Return how many scenarios `evaluate` drives at a time when there are enough."""
    frames, vehicles = scenarios.scenario.record.x.shape[1:]
    most = min(max(CELLS // max(frames * vehicles, 1), 1), 1 << 10)
    whole = 1 << (most.bit_length() - 1)
    return min(len(scenarios), whole)


def entrants() -> tuple[Entrant, ...]:
    """Return the baselines; those that see exactly share a compilation, but for the recorded driver."""
    rules = (NoAction(), LaneKeeper())
    made = {
        "expert": Entrant("expert", Expert(), program="expert"),
        "none": Entrant("none", one_of(rules, 0)),
        "idm": Entrant("idm", one_of(rules, 1)),
        "idm_sensing": Entrant("idm_sensing", LaneKeeper(), program="sensing", sensing=SENSING),
    }
    return tuple(made[name] for name in DRIVERS)
