"""Lanes found from recorded paths alone, where a recording has no map.

Paths are laid along a common line. What is seen across it is taken for a row of lanes of about the same
width, whose phase may wander along the road; from there the lanes are refined one by one, each held by its
vehicles, by being smooth, and by the distances to its neighbours. Where people drive is all that can be seen:
should they all keep to one side of their lanes, so will what is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve

from foresee.driving.lanes import Lane
from foresee.driving.make_road import SPACING, road_from_lanes
from foresee.driving.path_frame import STEP, Frame, Steps, line_along, steps_of
from foresee.driving.recording import Recording
from foresee.driving.road import Road
from foresee.errors import RecordingError

BIN = 5.0  # the lanes are found at stations this far apart [m]
WIDTH, WIDTH_DEVIATION = 3.5, 0.2  # what widths are expected [m]
NARROWEST, WIDEST = 2.8, 4.4
KEEPING = 0.5  # standard deviation of how far off the middle of its lane a vehicle keeps [m]
MEMORY = 100.0  # distance after which a vehicle's offset tells something new [m]
STEADY = 0.03  # who moves aside faster than this is changing lanes [m per m]
STRAY = 0.05  # share of sightings that are in no lane
FINE = 0.1  # the phase is found to this [m]
WANDER = 0.05  # how much the common line may be off from one station to the next [m]
BEND, WIDEN, APART = 0.02, 0.04, 0.35  # how smooth lanes are, how steady widths, how equal [m]
ENOUGH = 15.0  # least distance that somebody drove steadily in a lane [m]
REACH = 25.0  # who is farther off the common line is on another road [m]
MOST_ROADS = 16


def find_lanes(paths: Recording | Sequence[Float[np.ndarray, "_ 2"]]) -> tuple[Lane, ...]:
    """Find the lanes that vehicles drove on, from where they were seen.

    Scenes of a recording are taken together, as of one place; select one for the lanes of that one alone.
    Lanes lead in the direction of travel and are numbered from the left; each carriageway has its own.
    A lane reaches as far as somebody kept to it. One that nobody used, between two that somebody did, counts.

    Args:
        paths: a recording, or points of every vehicle in the order in which it passed them [m].

    Raises:
        RecordingError: if the paths are too few or too short to tell a lane.
    """
    if isinstance(paths, Recording):
        paths = [
            np.stack([x[there], y[there]], axis=1)
            for x, y, there in zip(paths.x, paths.y, paths.seen, strict=True)
        ]
    for number, path in enumerate(paths):
        if not np.isfinite(path).all():
            raise RecordingError(f"expected paths of finite x and y, got path {number} with others")
    steps = steps_of(paths)
    farthest = np.bincount(steps.path).max() * STEP if len(steps.path) else 0.0
    if farthest < ENOUGH:
        raise RecordingError(
            f"expected a vehicle to be seen over at least {ENOUGH:.0f} m to find its lane, got "
            f"{len(paths)} vehicles and at most {farthest:.0f} m"
        )
    lanes: list[Lane] = []
    for _ in range(MOST_ROADS):
        frame = line_along(steps)
        found, explained = _carriageway(frame, steps, len(lanes))
        lanes += found
        steps = steps.keep(~explained)
        if not len(steps.path) or np.bincount(steps.path).max() * STEP < 2 * ENOUGH:
            break
    if not lanes:
        raise RecordingError(
            f"expected somebody to keep to a lane for {ENOUGH:.0f} m, got {len(paths)} vehicles that did not"
        )
    return tuple(lanes)


def road_of(recording: Recording, scene: str | None = None, *, spacing: float | int = SPACING) -> Road:
    """Return the road of a scene: that of its map or, without one, of the lanes found from its paths.

    Args:
        recording: what was seen.
        scene: name of the scene; not needed where there is only one.
        spacing: distance between samples of the centre lines [m].

    Raises:
        RecordingError: if the scene is unknown, or its paths are too few to find lanes.
        RoadError: if the map's lanes do not make a road.
    """
    scenes = recording.scenes()
    if scene is None and len(scenes) > 1:
        raise RecordingError(
            f"expected the name of one of {len(scenes)} scenes, got none; the first is {scenes[0]}"
        )
    name = scene or str(recording.scene[0])
    lanes = recording.lanes.get(name) or find_lanes(recording.select(scene=name))
    return road_from_lanes(lanes, spacing=spacing)


@dataclass(frozen=True, eq=False)
class _Sightings:
    """One row per vehicle and station: mean offset, and a weight that is small while it changes lanes."""

    station: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    path: np.ndarray
    stations: int


def _carriageway(frame: Frame, steps: Steps, first: int) -> tuple[list[Lane], np.ndarray]:
    """Find the lanes along a line; return also which steps need no other explanation."""
    along, offset = frame.find(steps.place)
    skew = np.angle(np.exp(1j * (steps.heading - frame.at(along)[1])))
    near = (np.abs(offset) < REACH) & (np.abs(skew) < 0.5) & (along > -BIN) & (along < frame.length + BIN)
    stations = int(frame.length / BIN) + 1
    station = np.clip(np.round(along / BIN).astype(int), 0, stations - 1)
    if not near.any():
        return [], np.ones(len(along), bool)
    seen = _sightings(steps.path[near], station[near], offset[near], np.tan(skew[near]), stations)
    phase, width = _lattice(seen)
    numbers = np.round((seen.offset - phase[seen.station]) / width).astype(int)
    low, high = int(numbers.min()), int(numbers.max())
    centres = phase[None] + width * np.arange(low, high + 1)[:, None]
    used = _used(seen, _shares(seen, centres))
    if not used.any():
        return [], near
    centres = centres[_filled(np.asarray(used.any(axis=1)))]
    for _ in range(6):
        centres = _refined(seen, centres, _shares(seen, centres), width)
    used = _used(seen, _shares(seen, centres))
    keep = np.asarray(used.any(axis=1))
    if not keep.any():
        return [], near
    centres, used = centres[_filled(keep)], used[_filled(keep)]
    # Who is beside all lanes may be on an exit; who is between them changes lanes.
    edges = centres[[0, -1]] + width * np.array([[-0.75], [0.75]])
    between = (offset > edges[0, station]) & (offset < edges[1, station])
    return _lanes(frame, centres, used, width, first), near & between


def _sightings(
    path: np.ndarray, station: np.ndarray, offset: np.ndarray, slope: np.ndarray, stations: int
) -> _Sightings:
    """Average the steps of every vehicle at every station."""
    rows, cells = np.unique(path * stations + station, return_inverse=True)
    count = np.bincount(cells)
    steady = np.exp(-0.5 * (np.bincount(cells, slope) / count / STEADY) ** 2)
    return _Sightings(rows % stations, np.bincount(cells, offset) / count, steady, rows // stations, stations)


def _lattice(seen: _Sightings) -> tuple[np.ndarray, float]:
    """Find the width and, at every station, the phase of equidistant lanes that fit best.

    For each width the likeliest sequence of phases is found by dynamic programming, as in a hidden Markov
    model (Viterbi 1967).
    """
    best = (-np.inf, np.zeros(seen.stations), WIDTH)
    trust = seen.weight * BIN / MEMORY
    offsets = np.arange(-REACH, REACH + FINE, FINE)
    cell = seen.station * len(offsets) + np.round((seen.offset + REACH) / FINE).astype(int)
    there = np.bincount(cell, trust, seen.stations * len(offsets)).reshape(seen.stations, -1)
    for width in np.arange(NARROWEST, WIDEST + 0.01, 0.05):
        phases = np.arange(0.0, width - 0.05, FINE)
        rest = (offsets[:, None] - phases + 0.5 * width) % width - 0.5 * width
        score = there @ np.log(STRAY + (1 - STRAY) * np.exp(-0.5 * (rest / KEEPING) ** 2))
        shift = (phases[:, None] - phases + 0.5 * width) % width - 0.5 * width
        step = -0.5 * (shift / WANDER) ** 2 * BIN / MEMORY
        total, back = score[0], np.zeros(score.shape, int)
        for j in range(1, seen.stations):
            options = total[:, None] + step
            back[j] = options.argmax(axis=0)
            total = options.max(axis=0) + score[j]
        # Narrow lanes fit anything better, by their share of the width.
        value = total.max() + trust.sum() * np.log(width) - 0.5 * ((width - WIDTH) / WIDTH_DEVIATION) ** 2
        if value > best[0]:
            way = [int(total.argmax())]
            for j in range(seen.stations - 1, 0, -1):
                way.append(int(back[j, way[-1]]))
            turn = np.unwrap(phases[np.array(way[::-1])], period=width)
            best = (value, turn, float(width))
    return best[1], best[2]


def _shares(seen: _Sightings, centres: np.ndarray) -> np.ndarray:
    """Probability that a sighting belongs to each lane (rows), the rest being strays."""
    rest = seen.offset - centres[:, seen.station]
    fits = np.exp(-0.5 * (rest / KEEPING) ** 2)
    return seen.weight * fits / (STRAY + fits.sum(axis=0))


def _used(seen: _Sightings, shares: np.ndarray) -> np.ndarray:
    """Where each lane is driven on: between the first and the last who keep to it for a while."""
    used = np.zeros((len(shares), seen.stations), bool)
    for k, share in enumerate(shares):
        own = share > 0.2
        # A vehicle counts where it keeps to the lane for long enough without leaving.
        order = np.lexsort((seen.station, seen.path))
        cut = (
            (np.diff(seen.path[order]) != 0) | (np.diff(seen.station[order]) > 3) | (np.diff(own[order]) != 0)
        )
        run = np.cumsum(np.r_[0, cut])
        there = seen.station[order][own[order] & (np.bincount(run)[run] > 1)]
        if len(there) * BIN >= ENOUGH:
            used[k, there.min() : there.max() + 1] = True
    return used


def _filled(keep: np.ndarray) -> np.ndarray:
    """Count a single lane that nobody used between two that somebody did."""
    between = np.zeros_like(keep)
    between[1:-1] = keep[:-2] & keep[2:]
    return keep | between


def _refined(seen: _Sightings, centres: np.ndarray, shares: np.ndarray, width: float) -> np.ndarray:
    """Solve for all lanes at all stations: least squares, each line what is expected, how surely."""
    lanes, stations = centres.shape
    number = np.arange(lanes * stations).reshape(lanes, stations)
    lines: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # columns, factors and right side
    far = np.sqrt(BIN / MEMORY)

    def expect(terms: list[tuple[float, np.ndarray]], wanted: np.ndarray | float, trust: np.ndarray | float):
        columns = np.stack([places.ravel() for _, places in terms])
        trust = np.broadcast_to(trust, columns.shape[1])
        factors = np.stack([factor * trust for factor, _ in terms])
        lines.append((columns, factors, wanted * trust))

    lane, row = np.nonzero(shares > 1e-3)
    expect(
        [(1.0, number[lane, seen.station[row]])], seen.offset[row], far * np.sqrt(shares[lane, row]) / KEEPING
    )
    expect([(1.0, number[:, 2:]), (-2.0, number[:, 1:-1]), (1.0, number[:, :-2])], 0.0, 1 / BEND)
    expect([(1.0, number[1:]), (-1.0, number[:-1])], width, far / APART)
    inner = [(1.0, number[1:, 1:]), (-1.0, number[1:, :-1]), (-1.0, number[:-1, 1:]), (1.0, number[:-1, :-1])]
    expect(inner, 0.0, 1 / WIDEN)
    expect([(1.0, number)], centres.ravel(), 1e-3)  # where nothing else is known, as before

    first = np.cumsum([0] + [len(right) for _, _, right in lines])
    rows = [
        np.tile(k + np.arange(len(right)), len(c)) for k, (c, _, right) in zip(first, lines, strict=False)
    ]
    place = (np.concatenate(rows), np.concatenate([columns.ravel() for columns, _, _ in lines]))
    data = np.concatenate([factors.ravel() for _, factors, _ in lines])
    matrix = csc_matrix((data, place), shape=(first[-1], lanes * stations))
    right = np.concatenate([right for _, _, right in lines])
    return np.asarray(spsolve(matrix.T @ matrix, matrix.T @ right)).reshape(lanes, stations)


def _lanes(frame: Frame, centres: np.ndarray, used: np.ndarray, width: float, first: int) -> list[Lane]:
    """Boundaries half way between neighbouring centres; offsets rise to the left, numbers to the right."""
    centres, used = centres[::-1], used[::-1]
    used = used.copy()
    for k in range(1, len(used) - 1):  # nobody may have been seen in a part of a lane between two others
        used[k] |= used[:k].any(axis=0) & used[k + 1 :].any(axis=0)
    half = 0.5 * np.clip(centres[:-1] - centres[1:], NARROWEST, None)
    outer = np.full_like(centres[:1], 0.5 * width)
    left = centres + np.concatenate([half[:1] if len(half) else outer, half])
    right = centres - np.concatenate([half, half[-1:] if len(half) else outer])
    lanes, count = [], len(centres)
    for k in range(count):
        there = np.flatnonzero(used[k])
        there = np.arange(there[0], there[-1] + 1)
        along = there * BIN
        beside = [
            str(first + other) if 0 <= other < count and used[other][there].any() else None
            for other in (k - 1, k + 1)
        ]
        lanes.append(
            Lane(
                str(first + k),
                frame.place(along, left[k, there]),
                frame.place(along, right[k, there]),
                left_neighbour=beside[0],
                right_neighbour=beside[1],
            )
        )
    return lanes
