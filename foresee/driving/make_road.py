"""Roads from a map's lanes, and simple ones from a few numbers."""

import math
from collections.abc import Sequence

import numpy as np

from foresee.driving.lanes import Lane
from foresee.driving.lines import Polyline, resample, total_length
from foresee.driving.road import Road
from foresee.driving.sample_lanes import Sampling
from foresee.errors import RoadError

SPACING = 2.0
WIDEST_SEAM = 3.0  # between the end of a lane and the beginning of the next one


def road_from_lanes(lanes: Sequence[Lane], *, spacing: float | int = SPACING) -> Road:
    """Make a road of a map's lanes; those that follow each other without a fork become one.

    Args:
        lanes: the lanes of one map.
        spacing: distance between samples of the centre lines [m].

    Raises:
        RoadError: if there is no lane, a lane has no length, or one ends far from where the next begins.
    """
    if not lanes:
        raise RoadError("expected at least one lane, got none")
    if not (math.isfinite(spacing) and spacing > 0):
        raise RoadError(f"expected a positive spacing in m, got {spacing}")
    named: dict[str, Lane] = {}
    for lane in lanes:
        if lane.name in named:
            raise RoadError(f"expected every lane under a name of its own, got {lane.name} twice")
        named[lane.name] = lane
    centres = {lane.name: _centre(lane) for lane in lanes}
    _check_links(named, centres)
    follow = {lane.name: list(dict.fromkeys(lane.successors)) for lane in lanes}
    return Sampling(_chains(follow, named), named, centres, follow, float(spacing)).road()


def _check_links(named: dict[str, Lane], centres: dict[str, Polyline]) -> None:
    """Check that what follows a lane begins at its end, and what is beside it is another lane."""
    for name, lane in named.items():
        for following in lane.successors:
            if following not in named:
                raise RoadError(f"expected lanes of the map after lane {name}, got the unknown {following}")
            seam = float(np.hypot(*(centres[following][0] - centres[name][-1])))
            if seam > WIDEST_SEAM:
                raise RoadError(
                    f"expected lane {following} to begin where lane {name} ends, got a gap of {seam:.1f} m"
                )
        for side, other in (("left", lane.left_neighbour), ("right", lane.right_neighbour)):
            if other is not None and (other == name or other not in named):
                kind = "itself" if other == name else f"the unknown {other}"
                raise RoadError(f"expected another lane of the map on the {side} of lane {name}, got {kind}")
        if lane.left_neighbour is not None and lane.left_neighbour == lane.right_neighbour:
            raise RoadError(
                f"expected two lanes beside lane {name}, got {lane.left_neighbour} on the left and the right"
            )


def straight_road(
    lanes: int,
    length: float | int,
    *,
    width: float | int = 3.5,
    curvature: float | int = 0.0,
    ramp: tuple[float | int, float | int] | None = None,
    spacing: float | int = SPACING,
    speed_limit: float | int | None = None,
) -> Road:
    """Make a road of parallel lanes; lane 0 is the left one, and begins at the origin towards x.

    Args:
        lanes: number of lanes.
        length: their length [m].
        width: width of a lane [m].
        curvature: curvature of lane 0, positive to the left [1/m]; 0 is straight.
        ramp: where an additional lane on the right opens to its neighbour, and where it ends [m]; it begins
            200 m before it opens, or with the road.
        spacing: distance between samples of the centre lines [m].
        speed_limit: highest allowed speed [m/s].

    Raises:
        RoadError: if a number cannot be one of a road.
    """
    _check_numbers(lanes, length, width)
    inner = 0.5 * width if curvature > 0 else (lanes + (ramp is not None) - 0.5) * width
    if not inner * abs(curvature) < 1:
        raise RoadError(f"expected a bend wider than the road, got a curvature of {curvature} 1/m")
    along = np.linspace(0.0, float(length), max(math.ceil(length / 0.5), 1) + 1)
    limit = None if speed_limit is None else float(speed_limit)
    made = [
        Lane(
            str(i),
            _beside(along, curvature, (0.5 - i) * width),
            _beside(along, curvature, (-0.5 - i) * width),
            left_neighbour=str(i - 1) if i else None,
            right_neighbour=str(i + 1) if i < lanes - 1 else None,
            speed_limit=limit,
        )
        for i in range(lanes)
    ]
    if ramp is not None:
        opens, ends = (float(value) for value in ramp)
        if not 0 < opens < ends <= length:
            raise RoadError(f"expected a ramp that opens and ends within {length} m, got {ramp}")
        made[-1], before, open_ = _with_ramp(made[-1], along, curvature, lanes, width, opens, ends)
        made += [before, open_]
    return road_from_lanes(made, spacing=spacing)


def ring_road(
    lanes: int, circumference: float | int, *, width: float | int = 3.5, spacing: float | int = SPACING
) -> Road:
    """Make a circular road driven counter-clockwise; lane 0 is the inner one, of the given length [m].

    Raises:
        RoadError: if a number cannot be one of a road.
    """
    _check_numbers(lanes, circumference, width)
    radius = circumference / (2 * np.pi)
    if radius <= width:
        raise RoadError(f"expected a radius above the width of {width} m, got {radius:.1f} m")
    angle = np.linspace(0.0, 2 * np.pi, max(math.ceil(circumference), 64) + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return road_from_lanes(
        [
            Lane(
                str(i),
                (radius + (i - 0.5) * width) * circle,
                (radius + (i + 0.5) * width) * circle,
                successors=(str(i),),
                left_neighbour=str(i - 1) if i else None,
                right_neighbour=str(i + 1) if i < lanes - 1 else None,
            )
            for i in range(lanes)
        ],
        spacing=spacing,
    )


def _check_numbers(lanes: int, length: float | int, width: float | int) -> None:
    if lanes < 1 or not 0 < length < math.inf or not 0 < width < math.inf:
        raise RoadError(
            f"expected at least one lane of positive length and width, got {lanes}, {length}, {width}"
        )


def _beside(along: np.ndarray, curvature: float | int, offset: float) -> Polyline:
    """Points at an offset to the left of an arc that begins at the origin towards x."""
    turn = curvature * along
    if curvature == 0:
        return np.stack([along, np.full_like(along, offset)], axis=1)
    x = np.sin(turn) / curvature - offset * np.sin(turn)
    return np.stack([x, (1 - np.cos(turn)) / curvature + offset * np.cos(turn)], axis=1)


def _with_ramp(last, along, curvature, lanes, width, opens, ends) -> tuple[Lane, Lane, Lane]:
    """The last lane with a neighbour, and that neighbour: closed at first, then open."""

    def part(low: float, high: float) -> tuple[Polyline, Polyline]:
        inside = np.r_[low, along[(along > low) & (along < high)], high]
        return (
            _beside(inside, curvature, (0.5 - lanes) * width),
            _beside(inside, curvature, (-0.5 - lanes) * width),
        )

    before = Lane("ramp", *part(max(opens - 200.0, 0.0), opens), successors=("merge",), kind="ramp")
    merge = Lane("merge", *part(opens, ends), left_neighbour=last.name, kind="ramp")
    wider = Lane(
        last.name, last.left, last.right, (), last.left_neighbour, "merge", speed_limit=last.speed_limit
    )
    return wider, before, merge


def _centre(lane: Lane) -> Polyline:
    """Midpoints between points at equal shares of both boundaries."""
    for side, line in (("left", lane.left), ("right", lane.right)):
        if len(line) < 2:
            raise RoadError(f"expected two points on the {side} of lane {lane.name}, got {len(line)}")
        wrong = int((~np.isfinite(line)).any(axis=1).sum())
        if wrong:
            raise RoadError(f"expected finite points on the {side} of lane {lane.name}, got {wrong} others")
    count = max(len(lane.left), len(lane.right), math.ceil(total_length(lane.left)) + 1)
    centre = 0.5 * (resample(lane.left, count) + resample(lane.right, count))
    if not total_length(centre) > 1e-3:
        raise RoadError(f"expected a lane with a length, got lane {lane.name} with none")
    return centre


def _chains(follow: dict[str, list[str]], named: dict[str, Lane]) -> list[list[str]]:
    """Lanes in the order in which they are driven, cut where a way forks, two meet, or the limit changes."""
    before: dict[str, list[str]] = {name: [] for name in follow}
    for name, nexts in follow.items():
        for following in nexts:
            before[following].append(name)

    def goes_on(name: str) -> str | None:
        nexts = follow[name]
        if len(nexts) != 1 or len(before[nexts[0]]) != 1:
            return None
        return nexts[0] if named[nexts[0]].speed_limit == named[name].speed_limit else None

    continued = {goes_on(name) for name in follow}
    heads = [name for name in follow if name not in continued]
    chains, taken = [], set()
    for head in [*heads, *follow]:  # what is left after the heads are rings: cut anywhere
        if head in taken:
            continue
        chain, name = [], head
        while name is not None and name not in taken:
            chain.append(name)
            taken.add(name)
            name = goes_on(name)
        chains.append(chain)
    return chains
