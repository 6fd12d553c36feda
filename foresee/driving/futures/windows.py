"""Snapshots of recorded traffic: what could be known at a time, and what followed; to learn and to score.

What was known comes from the filter, which has seen nothing later; what followed comes from the smoother.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from foresee.driving.estimate import starting_beliefs
from foresee.driving.find_lanes import road_of
from foresee.driving.pad_road import pad_road
from foresee.driving.recorded import ASTRAY, NOT_DRIVEN, Roads, places_on
from foresee.driving.road import Road
from foresee.driving.states import States
from foresee.errors import OptionError, RecordingError

PAST = ("x", "y", "heading", "speed", "acceleration")
FUTURE = ("x", "y", "heading", "speed")
SHARED = ("scenes", "roads", "origin", "back", "ahead")  # what is not one per window


@dataclass(frozen=True, eq=False)
class Windows:
    """W snapshots of traffic with up to V vehicles each, the past of H and the future of T times.

    Positions are relative to the origin of their scene, so that single precision is enough for them.

    Attributes:
        scenes: names of the scenes.
        roads: their roads, of one shape and stacked in that order, relative to the origins.
        origin: the origins on the map [m].
        back: how long ago the past is; the first is 0, now [s].
        ahead: how far ahead the future is [s].
        scene: number of the scene of every snapshot.
        frame: frame of its scene at which it was taken.
        row: row of every vehicle in the states, -1 in empty slots.
        length, width: size [m].
        counted: vehicles that forecasts are learned from and scored on: of a kind that is driven, on the
            road, known for long enough, and there for a while afterwards.
        past: the numbers named by `PAST`: position [m], heading [rad], speed [m/s], acceleration [m/s²].
        past_there: which of these there are; 0 stands for the others.
        lane, along, offset: the place on the road now; lengths in m.
        future: the numbers named by `FUTURE`.
        future_there: which of these there are.
    """

    scenes: tuple[str, ...]
    roads: Road
    origin: Float[np.ndarray, "S 2"]
    back: Float[np.ndarray, " H"]
    ahead: Float[np.ndarray, " T"]
    scene: Int[np.ndarray, " W"]
    frame: Int[np.ndarray, " W"]
    row: Int[np.ndarray, "W V"]
    length: Float[np.ndarray, "W V"]
    width: Float[np.ndarray, "W V"]
    counted: Bool[np.ndarray, "W V"]
    past: Float[np.ndarray, "W V H 5"]
    past_there: Bool[np.ndarray, "W V H"]
    lane: Int[np.ndarray, "W V"]
    along: Float[np.ndarray, "W V"]
    offset: Float[np.ndarray, "W V"]
    future: Float[np.ndarray, "W V T 4"]
    future_there: Bool[np.ndarray, "W V T"]

    def __len__(self) -> int:
        """Return the number of snapshots."""
        return len(self.scene)

    @property
    def known(self) -> Bool[np.ndarray, "W V"]:
        """Which slots hold a vehicle now."""
        return self.past_there[..., 0]

    @property
    def scored(self) -> Bool[np.ndarray, "W V T"]:
        """Which points of the future count."""
        return self.future_there & self.counted[..., None]

    def groups(self) -> Shaped[np.ndarray, " W"]:
        """Name of the scene of every snapshot."""
        return np.array(self.scenes, object)[self.scene]

    def select(self, chosen: Shaped[np.ndarray, " K"]) -> "Windows":
        """Keep some snapshots, by a mask or indices; all scenes are kept."""
        names = [each.name for each in fields(self) if each.name not in SHARED]
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


def windows_from_states(
    states: States,
    roads: Roads | None = None,
    *,
    history: Sequence[float] = (0.5, 1.0),
    horizon: float | int = 6.0,
    step: float | int = 0.5,
    every: float | int = 0.5,
    least: float | int = 1.0,
    causal: bool = True,
    not_driven: Collection[str] = NOT_DRIVEN,
) -> Windows:
    """Cut snapshots out of smoothed recordings.

    A snapshot holds everybody who is there at its time; there is one wherever somebody counts. Between two
    frames everything is interpolated linearly. Nothing reaches beyond a scene's own frames.

    Args:
        states: the smoothed recording.
        roads: the road of every scene, in the recording's coordinates, by name or as a function of it; by
            default that of the recording's map, or else found in its paths.
        history: how long ago the past is looked at, besides now [s].
        horizon: how far the future reaches [s].
        step: time between points of the future [s].
        every: time between snapshots [s].
        least: how long afterwards a vehicle must be there to count [s].
        causal: take the past from the filter; otherwise from the smoother, which has seen the future.
        not_driven: kinds of vehicles that do not count.

    Raises:
        OptionError: if a time is not positive, or the step is longer than the horizon.
        RecordingError: if the filter's states were not kept, a scene has no road, or nobody counts anywhere.
    """
    times = {"horizon": horizon, "step": step, "every": every, "least": least}
    for name, value in (*times.items(), *(("history", value) for value in history)):
        if not (np.isfinite(value) and value > 0):
            raise OptionError(f"expected {name} in s, more than 0, got {value}")
    if step > horizon:
        raise OptionError(f"expected a step of at most the horizon of {horizon} s, got {step} s")
    if causal and states.filtered is None:
        raise RecordingError("expected states with the filter's own estimates for causal windows, got none")
    told = starting_beliefs(states.tracks, states.recording.frame_rate)[1]
    back = np.array([0.0, *history])
    ahead = np.arange(1, round(horizon / step) + 1) * float(step)
    settings = _Settings(back, ahead, float(every), float(least), causal, tuple(not_driven))
    names = states.recording.scenes()
    made = [_of_scene(states, roads, name, told, settings) for name in names]
    parts = [part for _, _, part in made]
    if not any(len(part["frame"]) for part in parts):
        raise RecordingError(f"expected a vehicle there for more than {least:g} s after a snapshot, got none")
    slots = max(part["row"].shape[1] for part in parts)
    arrays = {key: np.concatenate([_filled(part[key], slots, key) for part in parts]) for key in parts[0]}
    scene = np.repeat(np.arange(len(names)), [len(part["frame"]) for part in parts])
    origin = np.stack([each for _, each, _ in made])
    return Windows(names, stack_roads([road for road, _, _ in made]), origin, back, ahead, scene, **arrays)


@dataclass(frozen=True)
class _Settings:
    """What to look at, in seconds."""

    back: np.ndarray
    ahead: np.ndarray
    every: float
    least: float
    causal: bool
    not_driven: tuple[str, ...]


def _of_scene(
    states: States, roads: Roads | None, name: str, told: np.ndarray, settings: _Settings
) -> tuple[Road, np.ndarray, dict[str, np.ndarray]]:
    """Return the road of a scene, its origin, and the arrays of its snapshots."""
    rows = np.flatnonzero(states.recording.scene == name)
    rate = states.recording.frame_rate
    smoothed, present = _grid(states, states.mean, rows)
    origin = np.median(smoothed[present][:, :2], axis=0)
    known = _grid(states, states.filtered, rows)[0] if settings.causal else smoothed
    frames = np.arange(0, len(present), max(round(settings.every * rate), 1))
    past, past_there = _sampled(known, present, frames[:, None] - settings.back * rate)
    future, future_there = _sampled(smoothed, present, frames[:, None] + settings.ahead * rate)
    past, future = (np.moveaxis(values, 2, 1) for values in (past, future))  # vehicles before times
    past_there, future_there = (np.moveaxis(values, 2, 1) for values in (past_there, future_there))
    for values in (past, future):
        values[..., :2] -= origin
        values[..., 3] = np.maximum(values[..., 3], 0.0)
    there = past_there[..., 0]
    road = _moved(_road(states, roads, name), origin)
    place = np.zeros((3, *there.shape))
    lane, along, offset, beyond = places_on(road, past[there][:, 0, :3])
    place[:, there] = lane, along, offset
    first = states.tracks.first[rows]
    on_road = np.zeros_like(there)
    on_road[there] = beyond <= ASTRAY
    driven = ~np.isin(states.recording.kind[rows].astype(str), list(settings.not_driven))
    # Where a track starts was told from its first few rows, some of which came later.
    counted = on_road & driven & np.greater_equal(frames[:, None], first + told[rows] - 1)
    counted &= _sampled(smoothed, present, frames[:, None] + settings.least * rate)[1][:, 0]
    arrays = {
        "frame": frames,
        "row": np.broadcast_to(rows, there.shape),
        "length": np.broadcast_to(states.recording.length[rows], there.shape),
        "width": np.broadcast_to(states.recording.width[rows], there.shape),
        "counted": counted,
        "past": np.where(past_there[..., None], past[..., : len(PAST)], 0.0),
        "past_there": past_there,
        "lane": place[0].astype(np.int32),
        "along": place[1],
        "offset": place[2],
        "future": np.where(future_there[..., None], future[..., : len(FUTURE)], 0.0),
        "future_there": future_there,
    }
    return road, origin, _packed(arrays, there, np.asarray(counted.any(axis=1)))


def _packed(arrays: dict[str, np.ndarray], there: np.ndarray, kept: np.ndarray) -> dict[str, np.ndarray]:
    """Keep some snapshots and move whom they hold to the first slots; empty slots hold zeros."""
    order = np.argsort(~there[kept], axis=1, kind="stable")[:, : max(int(there.sum(axis=1).max()), 1)]
    full = np.take_along_axis(there[kept], order, axis=1)
    out = {"frame": arrays.pop("frame")[kept]}
    for key, values in arrays.items():
        extra = (1,) * (values.ndim - 2)
        moved = np.take_along_axis(values[kept], order.reshape(*order.shape, *extra), axis=1)
        moved = np.where(full.reshape(*full.shape, *extra), moved, -1 if key == "row" else 0)
        kind = values.dtype if values.dtype.kind in "bi" else np.float32
        out[key] = moved.astype(kind)
    return out


def _filled(values: np.ndarray, slots: int, key: str) -> np.ndarray:
    """Add empty slots."""
    if key == "frame":
        return values
    more = [(0, 0), (0, slots - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, more, constant_values=-1 if key == "row" else 0)


def _grid(states: States, values: np.ndarray | None, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return states of a scene by frame and vehicle, and who was there."""
    v, t = np.nonzero(states.alive[rows])
    frame = states.tracks.first[rows][v] + t
    grid = np.zeros((int(frame.max()) + 1, len(rows), 6))
    present = np.zeros(grid.shape[:2], bool)
    if values is not None:
        grid[frame, v] = values[rows[v], t]
    present[frame, v] = True
    return grid, present


def _sampled(
    grid: Float[np.ndarray, "F V 6"], present: Bool[np.ndarray, "F V"], at: Float[np.ndarray, "W N"]
) -> tuple[Float[np.ndarray, "W N V 6"], Bool[np.ndarray, "W N V"]]:
    """Return states at frames that need not be whole numbers, and who is there."""
    low = np.floor(at + 1e-6).astype(int)
    part = np.maximum(at - low, 0.0)
    part = np.where(part < 1e-6, 0.0, part)
    high = low + (part > 0)
    inside = (low >= 0) & (high < len(grid))
    low, high = (np.where(inside, each, 0) for each in (low, high))
    change = grid[high] - grid[low]
    change[..., 2] = (change[..., 2] + np.pi) % (2 * np.pi) - np.pi
    values = grid[low] + part[..., None, None] * change
    values[..., 2] = (values[..., 2] + np.pi) % (2 * np.pi) - np.pi
    return values, present[low] & present[high] & inside[..., None]


def _road(states: States, roads: Roads | None, name: str) -> Road:
    try:
        if roads is None:
            return road_of(states.recording, name)
        return roads(name) if callable(roads) else roads[name]
    except KeyError:
        raise RecordingError(f"expected a road of every scene, got none of {name!r}") from None


def _moved(road: Road, origin: Float[np.ndarray, "2"]) -> Road:
    """Return a road relative to an origin; the difference is taken in double precision."""
    line = np.array(road.line, float)
    line[..., :2] -= origin
    return eqx.tree_at(lambda r: r.line, road, jnp.asarray(line, float))


def stack_roads(roads: Sequence[Road]) -> Road:
    """Return roads padded to one shape and stacked along a new first axis."""
    shapes = [(*road.line.shape[:2], road.successors.shape[1], road.predecessors.shape[1]) for road in roads]
    lanes, samples, successors, predecessors = (max(column) for column in zip(*shapes, strict=True))
    padded = [
        pad_road(road, lanes=lanes, samples=samples, successors=successors, predecessors=predecessors)
        for road in roads
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded)
