"""Scenarios of recorded traffic: every vehicle that is there long enough is the ego of one of its own."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.driving.find_lanes import road_of
from foresee.driving.make_world import usual_manners
from foresee.driving.pad_road import pad_road
from foresee.driving.recorded_manners import manners_of
from foresee.driving.road import Road
from foresee.driving.scenario import Record, Scenario, Scenarios
from foresee.driving.states import States
from foresee.driving.world import Limits, World
from foresee.errors import OptionError, RecordingError

NOT_DRIVEN = (
    "pedestrian", "bicycle", "cyclist", "pedestrian/bicycle", "riderless_bicycle", "motorcycle",
    "motorcyclist", "train", "static", "background", "construction",
)  # fmt: skip
ASTRAY = 3.5  # whose centre is farther than this from the nearest lane is on none of them [m]
BLOCK = 4096  # places are looked up so many at a time, whatever the size of a scene
SETTLING = 1.5  # who is on another lane so much later is about to change to it in the first frame [s]
MOST_BYTES = 8 * 2**30
MOVING = ("x", "y", "heading", "speed", "acceleration", "curvature")
Roads = Mapping[str, Road] | Callable[[str], Road]


@dataclass(frozen=True, eq=False)
class _Scene:
    """One scene on its grid of frames: what moved [frame, vehicle], and the vehicles' rows in the states."""

    name: str
    rows: Int[np.ndarray, " V"]
    road: Road
    present: Bool[np.ndarray, "F V"]
    moving: Mapping[str, Float[np.ndarray, "F V"] | Int[np.ndarray, "F V"]]
    astray: Bool[np.ndarray, " V"]
    manners: Float[np.ndarray, "9 V"]


@dataclass(frozen=True)
class _Ride:
    """One scenario to be: the ego's column in its scene, first and last frame, and who is there meanwhile.

    It begins `later` frames after the ego's first one.
    """

    scene: _Scene
    ego: int
    later: int
    first: int
    last: int
    company: Int[np.ndarray, " K"]


def scenarios_from_states(
    states: States,
    roads: Roads | None = None,
    *,
    seconds: float | int = 3.0,
    handover: float | int = 0.0,
    longest: float | int | None = None,
    every: float | int | None = None,
    not_driven: Collection[str] = NOT_DRIVEN,
) -> Scenarios:
    """Make one scenario of every vehicle that was recorded long enough to be driven instead, or several.

    A scenario begins with the ego's first recorded frame and ends with its last one, and holds everybody who
    is there in between, moved to coordinates whose origin is near the scene. All have the shape of the
    largest. Scenarios of one scene share its group. They are named "scene/vehicle", and "scene/vehicle@2.0s"
    if they begin so much later than the vehicle's first frame.

    Args:
        states: the smoothed recording.
        roads: the road of every scene, in the recording's coordinates, by name or as a function of it; by
            default that of the recording's map, or else found in its paths.
        seconds: how long a vehicle must be there after the handover.
        handover: how long after its first frame the driver takes over [s].
        longest: at most so much time after the handover is driven [s]; None: all that was recorded.
        every: further scenarios of the same vehicle begin every so much later, as long as it is there long
            enough after that [s]; None: only the first.
        not_driven: kinds of vehicles that are no egos.

    Raises:
        OptionError: if a time is negative or not finite, or `every` is 0.
        RecordingError: if no vehicle can be the ego, a scene has no road, or all would need too much memory.
    """
    for name, value in (("seconds", seconds), ("handover", handover), ("longest", longest)):
        if value is not None and not (np.isfinite(value) and value >= 0):
            raise OptionError(f"expected {name} to be a time in s, at least 0, got {value}")
    if every is not None and not (np.isfinite(every) and every > 0):
        raise OptionError(f"expected every to be a time in s above 0, got {every}")
    scenes = [_scene(states, roads, name) for name in states.recording.scenes()]
    rate = states.recording.frame_rate
    before, least = round(handover * rate), max(round(seconds * rate), 1)
    most = None if longest is None else max(round(longest * rate), 1)
    apart = None if every is None else max(round(every * rate), 1)
    rides = []
    for scene in scenes:
        driven = ~scene.astray & ~np.isin(states.recording.kind[scene.rows].astype(str), list(not_driven))
        spare = scene.present.sum(axis=0) - before - least
        for ego in np.flatnonzero(driven & (spare > 0)):
            for later in range(0, int(spare[ego]), apart or int(spare[ego])):
                rides.append(_ride(scene, int(ego), later, before, most))
    if not rides:
        raise RecordingError(
            f"expected a vehicle on the road for at least {handover + seconds:g} s to be the ego, got none "
            f"({'; '.join(_left_out(states, scenes, before + least, not_driven))})"
        )
    vehicles = tuple(
        tuple(str(states.recording.vehicle[row]) for row in ride.scene.rows[ride.company]) for ride in rides
    )
    names = tuple(
        f"{ride.scene.name}/{own[0]}" + (f"@{round(ride.later / rate, 3)}s" if ride.later else "")
        for ride, own in zip(rides, vehicles, strict=True)
    )
    groups, starts = tuple(ride.scene.name for ride in rides), tuple(ride.first for ride in rides)
    return Scenarios(names, groups, _stack(states, rides, before), 1 / rate, vehicles, starts)


def left_out(
    states: States,
    roads: Roads | None = None,
    *,
    seconds: float | int = 3.0,
    handover: float | int = 0.0,
    not_driven: Collection[str] = NOT_DRIVEN,
) -> tuple[str, ...]:
    """Return in words, with counts, which vehicles `scenarios_from_states` makes no scenario of.

    Raises:
        RecordingError: if a scene has no road.
    """
    rate = states.recording.frame_rate
    scenes = [_scene(states, roads, name) for name in states.recording.scenes()]
    least = round(handover * rate) + max(round(seconds * rate), 1)
    return _left_out(states, scenes, least, not_driven)


def _left_out(
    states: States, scenes: list[_Scene], least: int, not_driven: Collection[str]
) -> tuple[str, ...]:
    counts = dict.fromkeys(("of a kind that is not driven", "off every lane", "not there long enough"), 0)
    for scene in scenes:
        kinds = np.isin(states.recording.kind[scene.rows].astype(str), list(not_driven))
        short = scene.present.sum(axis=0) <= least
        for name, wrong in zip(
            counts, (kinds, ~kinds & scene.astray, ~kinds & ~scene.astray & short), strict=True
        ):
            counts[name] += int(wrong.sum())
    total = states.recording.vehicles
    return tuple(f"{count:,} of {total:,} vehicles {why}" for why, count in counts.items() if count)


def _scene(states: States, roads: Roads | None, name: str) -> _Scene:
    rows = np.flatnonzero(states.recording.scene == name)
    try:
        if roads is None:
            road = road_of(states.recording, name)
        else:
            road = roads(name) if callable(roads) else roads[name]
    except KeyError:
        raise RecordingError(f"expected a road of every scene, got none of {name!r}") from None
    first, alive = states.tracks.first[rows], states.alive[rows]
    frames = int((first + alive.sum(axis=1)).max())
    # Gaps within a track are alive too: the smoother knows where a vehicle was while nobody looked.
    v, t = np.nonzero(alive)
    at = (first[v] + t, v)
    present = np.zeros((frames, len(rows)), bool)
    present[at] = True
    mean = states.mean[rows[v], t]
    origin = np.median(mean[:, :2], axis=0)
    mean = mean - np.pad(origin, (0, 4))
    mean[:, 2] = (mean[:, 2] + np.pi) % (2 * np.pi) - np.pi
    mean[:, 3] = np.maximum(mean[:, 3], 0.0)
    line = np.array(road.line, float)
    line[..., :2] -= origin
    road = eqx.tree_at(lambda r: r.line, road, jnp.asarray(line, float))
    lane, along, offset, beyond = places_on(road, mean[:, :3])
    columns = dict(zip(MOVING, mean.T, strict=True)) | {"lane": lane, "along": along, "offset": offset}
    moving = {key: np.zeros(present.shape, np.int32 if key == "lane" else float) for key in columns}
    for key, values in columns.items():
        moving[key][at] = values
    astray = np.zeros(len(rows), bool)
    astray[v[beyond > ASTRAY]] = True
    lengths = states.recording.length[rows]
    return _Scene(name, rows, road, present, moving, astray, manners_of(present, moving, lengths))


def places_on(road: Road, at: Float[np.ndarray, "N 3"]) -> tuple[np.ndarray, ...]:
    """Return lane, arc length, offset, and how far outside of the lane, of positions with headings."""
    size = -(-road.line.shape[1] // 64) * 64  # few shapes to compile for
    road = pad_road(
        road,
        lanes=max(road.lanes, 8),
        samples=size,
        successors=max(road.successors.shape[1], 2),
        predecessors=max(road.predecessors.shape[1], 2),
    )
    found = []
    for start in range(0, len(at), BLOCK):
        block = np.pad(at[start : start + BLOCK], ((0, max(0, start + BLOCK - len(at))), (0, 0)), "edge")
        found.append([np.asarray(part) for part in _look_up(road, jnp.asarray(block, float))])
    return tuple(np.concatenate(parts)[: len(at)] for parts in zip(*found, strict=True))


@eqx.filter_jit
def _look_up(road: Road, at: jax.Array) -> tuple[jax.Array, ...]:
    place = jax.vmap(road.nearest)(*at.T)
    outside = jnp.abs(place.offset) - 0.5 * road.cross(place.lane, place.along).width
    return place.lane, place.along, place.offset, outside


def _ride(scene: _Scene, ego: int, later: int, before: int, most: int | None) -> _Ride:
    there = np.flatnonzero(scene.present[:, ego])
    first, last = int(there[0]) + later, int(there[-1])
    if most is not None:
        last = min(last, first + before + most)
    company = np.flatnonzero(scene.present[first : last + 1].any(axis=0))
    return _Ride(scene, ego, later, first, last, np.concatenate([[ego], company[company != ego]]))


def _stack(states: States, rides: list[_Ride], before: int) -> Scenario:
    """Put all scenarios into arrays of one shape; the ego is in slot 0."""
    count, frames = len(rides), 1 + max(ride.last - ride.first for ride in rides)
    slots = max(len(ride.company) for ride in rides)
    if count * frames * slots * 4 * 10 > MOST_BYTES:
        raise RecordingError(
            f"expected scenarios that fit into {MOST_BYTES >> 30} GiB, got {count} with {frames} frames of "
            f"{slots} vehicles; ask for shorter ones (longest) or fewer vehicles"
        )
    dtype = jnp.result_type(float)
    moved = {
        key: np.zeros((count, frames, slots), np.int32 if key == "lane" else dtype)
        for key in (*MOVING, "lane", "along", "offset")
    }
    present = np.zeros((count, frames, slots), bool)
    size = np.ones((2, count, slots), dtype)
    usual = np.stack(jax.tree.leaves(usual_manners(1)))[:, None]
    manners = np.broadcast_to(usual, (9, count, slots)).astype(dtype)
    for i, ride in enumerate(rides):
        scene, company, length = ride.scene, ride.company, ride.last + 1 - ride.first
        window = (slice(ride.first, ride.last + 1), company)
        for key, values in moved.items():
            values[i, :length, : len(company)] = scene.moving[key][window]
        present[i, :length, : len(company)] = scene.present[window]
        rows = scene.rows[company]
        size[:, i, : len(company)] = states.recording.length[rows], states.recording.width[rows]
        manners[:, i, : len(company)] = scene.manners[:, company]
    record = Record(
        **{key: jnp.asarray(values) for key, values in moved.items()}, present=jnp.asarray(present)
    )
    last = jnp.asarray([ride.last - ride.first for ride in rides], jnp.int32)
    soon = round(SETTLING * states.recording.frame_rate)
    world = _first(record, size, manners, _roads(rides), count, soon)
    return Scenario(world, record, jnp.zeros(count, jnp.int32), jnp.full(count, before, jnp.int32), last)


def _first(
    record: Record, size: np.ndarray, manners: np.ndarray, roads: Road, count: int, soon: int
) -> World:
    """Return the worlds in the first frame; drivers aim at the lane they are recorded on a little later."""
    start = jax.tree.map(lambda leaf: leaf[:, 0], record)
    later = min(soon, record.frames - 1)
    target = jnp.where(record.present[:, later], record.lane[:, later], start.lane)
    usual, zero = usual_manners(1), jnp.zeros_like(start.x)
    return World(
        start.x, start.y, start.heading, start.speed, start.acceleration, start.curvature,
        jnp.asarray(size[0]), jnp.asarray(size[1]), start.present,
        start.lane, start.along, start.offset, target, zero + 100.0, jnp.zeros(zero.shape, jnp.int32),
        jax.tree.unflatten(jax.tree.structure(usual), list(jnp.asarray(manners))),
        roads,
        jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count,)), Limits()),
        jnp.zeros(count),
    )  # fmt: skip


def _roads(rides: list[_Ride]) -> Road:
    """Return the roads of all scenarios, padded to one shape."""
    scenes = {ride.scene.name: ride.scene.road for ride in rides}
    sizes = [
        (*road.line.shape[:2], road.successors.shape[1], road.predecessors.shape[1])
        for road in scenes.values()
    ]
    lanes, samples, successors, predecessors = (max(column) for column in zip(*sizes, strict=True))
    padded = [
        pad_road(road, lanes=lanes, samples=samples, successors=successors, predecessors=predecessors)
        for road in scenes.values()
    ]
    place = {name: i for i, name in enumerate(scenes)}
    index = np.array([place[ride.scene.name] for ride in rides])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves)[index], *padded)
