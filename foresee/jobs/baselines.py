"""The second stage of the main job: what baselines would have done in place of the recorded drivers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from threading import Event, Lock
from typing import Any

import jax
import numpy as np
import polars as pl
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from foresee.driving.driver import AbstractDriver
from foresee.driving.evaluate import CELLS, Evaluation, evaluate
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

DRIVERS = ("expert", "none", "idm", "idm_sensing")
# What the last one sees with: the noise under which carried doubt has to show in comfort.
SENSING = Sensing(position_sd=1.0, velocity_sd=2.0, dropout=0.1)
MODES: tuple[Mode, ...] = ("replay", "reactive")
SECONDS, LONGEST = 3.0, 20.0  # a vehicle must be there so long, and is driven no longer than that [s]
AT_ONCE = 2  # evaluations under way: most of the time is compilation, which keeps one core busy
FROM_MAP, FOUND = "map", "found from paths"
Progress = Callable[[str, float], None]


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
    return Baselines(evaluations, companions(states, scenarios), sources, notes)


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
    )


def companions(states: States, scenarios: Scenarios) -> tuple[tuple[str, ...], ...]:
    """Return the names of the vehicles in the slots of every scenario: the ego, then all who are met."""
    recording, first = states.recording, states.tracks.first
    last = first + states.alive.sum(axis=1) - 1
    row = {f"{recording.scene[v]}/{recording.vehicle[v]}": v for v in range(recording.vehicles)}
    frames = np.asarray(scenarios.scenario.frames)
    names = []
    for name, count in zip(scenarios.names, frames, strict=True):
        ego = row[name]
        there = _met(recording.scene, first, last, ego, int(first[ego] + count))
        names.append((str(recording.vehicle[ego]), *(str(other) for other in recording.vehicle[there])))
    return tuple(names)


def _met(
    scene: Shaped[np.ndarray, " V"],
    first: Int[np.ndarray, " V"],
    last: Int[np.ndarray, " V"],
    ego: int,
    end: int,
) -> Bool[np.ndarray, " V"]:
    there = (scene == scene[ego]) & (first <= end) & (last >= first[ego])
    there[ego] = False
    return there


class OneOf(AbstractDriver):
    """One of several drivers without a memory, chosen by a number, so that one compilation serves all.

    Attributes:
        drivers: the drivers.
        chosen: the number of the one that drives.
    """

    drivers: tuple[AbstractDriver, ...]
    chosen: Int[Array, ""]

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def act(self, observation: Any, memory: None, *, key: PRNGKeyArray) -> tuple[Float[Array, "2"], None]:
        """Return what the chosen driver does."""

        def alone(driver: AbstractDriver) -> Callable[[Any, Any], Array]:
            return lambda view, key: driver.act(view, driver.start(), key=key)[0]

        acts = [alone(driver) for driver in self.drivers]
        return jax.lax.switch(self.chosen, acts, observation, key), None


def drive_all(scenarios: Scenarios, *, seed: int, progress: Progress) -> tuple[Evaluation, ...]:
    """Evaluate all baselines in all kinds of traffic, two at a time; episodes are kept if they are few.

    Args:
        scenarios: what is driven.
        seed: of the drivers, though none of these draws anything.
        progress: called with what is being done and the share of it that is done.
    """
    keep = len(scenarios) if len(scenarios) <= at_a_time(scenarios) else 0
    shares: dict[tuple[str, str], float] = {}
    guard, stopped = Lock(), Event()

    def run(drivers: dict[str, AbstractDriver], mode: Mode) -> list[Evaluation]:
        def follow(name: str, share: float) -> None:
            if stopped.is_set():
                raise RuntimeError("interrupted")
            with guard:
                shares[name, mode] = share
                total, done = len(DRIVERS) * len(MODES), sum(each == 1.0 for each in shares.values())
                progress(f"{done} of {total} evaluations", 0.05 + 0.95 * sum(shares.values()) / total)

        out = []
        for name, driver in drivers.items():
            tell = _named(follow, name)
            done = evaluate(
                driver,
                scenarios,
                mode,
                sensing=_sensing(name),
                key=jax.random.key(seed),
                keep=keep,
                progress=tell,
            )
            out.append(replace(done, driver=name))
        return out

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        # The slowest to compile come first.
        under_way = [pool.submit(run, each, mode) for mode in reversed(MODES) for each in _programs()]
        done = {(each.driver, each.mode): each for future in under_way for each in future.result()}
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return tuple(done[name, mode] for name in DRIVERS for mode in MODES)


def watch(evaluation: Evaluation, places: Int[np.ndarray, " K"], *, seed: int) -> Evaluation:
    """Return the evaluation with the episodes of some scenarios, driven again unless they were kept.

    Args:
        evaluation: the evaluation of all scenarios.
        places: the scenarios to look at; no more than `at_a_time` of them.
        seed: the same as of the evaluation.
    """
    if len(evaluation.episodes.scenario):
        return evaluation
    count = at_a_time(evaluation.scenarios)
    # Filled up to the shape that is compiled already.
    chosen = np.concatenate([places, np.full(max(count - len(places), 0), places[0])])
    driver = _driver(evaluation.driver)
    again = evaluate(
        driver,
        evaluation.scenarios.select(chosen),
        evaluation.mode,
        sensing=_sensing(evaluation.driver),
        key=jax.random.key(seed),
        keep=count,
    )
    order = np.argsort(again.episodes.scenario)[: len(places)]
    frames = jax.tree.map(lambda leaf: leaf[order], again.episodes.frames)
    return replace(evaluation, episodes=replace(again.episodes, scenario=places, frames=frames))


def at_a_time(scenarios: Scenarios) -> int:
    """Return how many scenarios `evaluate` drives at a time when there are enough."""
    frames, vehicles = scenarios.scenario.record.x.shape[1:]
    most = min(max(CELLS // max(frames * vehicles, 1), 1), 1 << 10)
    whole = 1 << (most.bit_length() - 1)
    return min(len(scenarios), whole)


def _programs() -> list[dict[str, AbstractDriver]]:
    """Drivers that share a compilation, by name."""
    apart = ("expert", "idm_sensing")
    together = {name: _driver(name) for name in DRIVERS if name not in apart}
    alone = [{name: _driver(name)} for name in reversed(apart) if name in DRIVERS]
    return [*([together] if together else []), *alone]


def _driver(name: str) -> AbstractDriver:
    if name == "expert":
        return Expert()
    if name == "idm_sensing":
        return LaneKeeper()
    return OneOf((NoAction(), LaneKeeper()), jax.numpy.asarray(("none", "idm").index(name), jax.numpy.int32))


def _sensing(name: str) -> Sensing | None:
    return SENSING if name.endswith("_sensing") else None


def _named(follow: Progress, name: str) -> Progress:
    return lambda _, share: follow(name, share)
