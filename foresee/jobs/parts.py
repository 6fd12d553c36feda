"""The recording in parts by time: what is learned from, what is chosen by, and what is judged on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from foresee.driving.findings import Part
from foresee.driving.pad_road import pad_road
from foresee.driving.recorded import scenarios_from_states
from foresee.driving.road import Road
from foresee.driving.scenario import Scenario, Scenarios
from foresee.driving.split import WHOLE, split_states
from foresee.driving.states import States
from foresee.errors import RecordingError
from foresee.jobs.baselines import SECONDS, find_roads, of_scenes

SHARES = (0.6, 0.15, 0.25)  # of the recording: to learn from, to choose by, to judge with
WITHOUT_TEST = (0.8, 0.2)  # of a recording beside which another one is there to judge with
NAMES = ("train", "validation", "test")
LONGEST = 8.0  # nobody is driven for longer, so that all drivers in all kinds of traffic take minutes [s]
AHEAD = 4.0  # somebody must be there for so long in every part [s]
Roads = Mapping[str, Road]


@dataclass(frozen=True, eq=False)
class Parts:
    """Three parts of what was recorded, none of which shares a moment with another.

    Attributes:
        states: of every part, by its name.
        roads: the road of every scene, by part; found in the whole recording.
        scenarios: of every part, all of the same shape.
        sources: where the road of every scene came from.
        by: "scenes", "time" or "file": what tells the parts from each other.
        notes: what was left out, and why.
    """

    states: dict[str, States]
    roads: dict[str, Roads]
    scenarios: dict[str, Scenarios]
    sources: dict[str, str]
    by: str
    notes: tuple[str, ...]

    def described(self) -> tuple[Part, ...]:
        """Return what is in every part."""
        return tuple(
            Part(
                name,
                self.states[name].recording.source,
                self.states[name].recording.scenes(),
                self.states[name].recording.vehicles,
                float(self.states[name].recording.seconds),
                len(self.scenarios[name]),
            )
            for name in NAMES
        )


def spread(scenarios: Scenarios, most: int) -> Scenarios:
    """Return so many scenarios, evenly spread, or all of them if there are no more."""
    if len(scenarios) <= most:
        return scenarios
    return scenarios.select(np.linspace(0, len(scenarios) - 1, most).round().astype(int))


def make_parts(states: States, test: States | None = None) -> Parts:
    """Part a recording by time, unless the last part is a recording of its own.

    Roads are found in whole recordings, since a part shows less of them.

    Args:
        states: the smoothed recording.
        test: another one to judge with.

    Raises:
        RecordingError: if it cannot be parted: nothing is long enough, there are too few vehicles, or no road
            can be told.
    """
    shares = SHARES if test is None else WITHOUT_TEST
    split_states(states, shares, horizon=AHEAD)  # tells whether it can be done, before roads are looked for
    roads, sources, notes = _roads(states, "")
    states = of_scenes(states, list(roads))
    if test is None:
        cut = split_states(states, SHARES, horizon=AHEAD)
        by = "scenes" if len(states.recording.scenes()) >= WHOLE else "time"
        by_part: dict[str, Roads] = {name: roads_of_one_shape(roads)[0] for name in NAMES}
    else:
        others, more, remarks = _roads(test, "test recording, ")
        test = of_scenes(test, list(others))
        _same_rate(states, test)
        roads, others = roads_of_one_shape(roads, others)
        cut, by = (*split_states(states, WITHOUT_TEST, horizon=AHEAD), test), "file"
        by_part = {"train": roads, "validation": roads, "test": others}
        sources, notes = (
            {**sources, **{f"test: {name}": each for name, each in more.items()}},
            notes + remarks,
        )
    by_name: dict[str, States] = dict(zip(NAMES, cut, strict=True))
    found = {}
    for name, part in by_name.items():
        try:
            found[name] = scenarios_from_states(part, by_part[name], seconds=SECONDS, longest=LONGEST)
        except RecordingError as error:
            raise RecordingError(f"no scenario in the part {name}: {error}") from error
    return Parts(by_name, by_part, same_shape(found), sources, by, notes)


def _roads(states: States, what: str) -> tuple[Roads, dict[str, str], tuple[str, ...]]:
    roads, sources, notes = find_roads(states)
    notes = tuple(f"{what}{note}" for note in notes)
    if not roads:
        raise RecordingError("; ".join(notes) or f"{what}there is no scene")
    return roads, sources, notes


def _same_rate(states: States, test: States) -> None:
    rates = states.recording.frame_rate, test.recording.frame_rate
    if abs(rates[0] - rates[1]) > 1e-6 * rates[0]:
        raise RecordingError(
            f"expected a test recording of {rates[0]:g} frames per second as the other, got {rates[1]:g}"
        )


def same_shape(sets: Mapping[str, Scenarios]) -> dict[str, Scenarios]:
    """Pad sets of scenarios to one shape, so that one compiled program drives them all.

    Frames and vehicles that are added are nobody's. Roads have to be of one shape already.
    """
    records = [each.scenario.record.x.shape for each in sets.values()]
    frames, vehicles = (max(shape[axis] for shape in records) for axis in (1, 2))
    return {
        name: replace(each, scenario=_padded(each.scenario, frames, vehicles)) for name, each in sets.items()
    }


def roads_of_one_shape(*sets: Roads) -> tuple[Roads, ...]:
    """Pad roads, so that those of all sets have the same shape."""
    shapes = [_shape(road) for roads in sets for road in roads.values()]
    lanes, samples, successors, predecessors = (max(column) for column in zip(*shapes, strict=True))
    size = {"lanes": lanes, "samples": samples, "successors": successors, "predecessors": predecessors}
    return tuple({name: pad_road(road, **size) for name, road in roads.items()} for roads in sets)


def _shape(road: Road) -> tuple[int, ...]:
    return *road.line.shape[:2], road.successors.shape[1], road.predecessors.shape[1]


def _padded(scenario: Scenario, frames: int, vehicles: int) -> Scenario:
    """Return scenarios with more frames and vehicles: copies of the last ones that are not there."""
    world, record = scenario.world, scenario.record
    count, before, there = record.x.shape
    wide = (count, vehicles)

    def slots(leaf: jax.Array) -> jax.Array:
        return _edge(leaf, wide[1:] + leaf.shape[2:]) if leaf.ndim >= 2 and leaf.shape[1] == there else leaf

    rows = jax.tree.map(lambda leaf: _edge(leaf, (frames, vehicles)), record)
    nobody = (jnp.arange(vehicles) >= there) | (jnp.arange(frames) >= before)[:, None]
    rows = replace(rows, present=rows.present & ~nobody)
    names = ("road", "limits", "time")
    moved = {
        each: jax.tree.map(slots, getattr(world, each))
        for each in world.__dataclass_fields__
        if each not in names
    }
    moved["alive"] = moved["alive"] & (jnp.arange(vehicles) < there)
    return replace(scenario, world=replace(world, **moved), record=rows)


def _edge(leaf: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return an array whose axes behind the first have a shape, filled with copies of what is at its ends."""
    room = [(0, 0), *((0, size - old) for size, old in zip(shape, leaf.shape[1:], strict=True))]
    return leaf if not any(np.ravel(room)) else jnp.pad(leaf, room, "edge")
