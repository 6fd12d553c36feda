"""Lanes as a file describes them: two boundaries in the direction of travel, and what they connect to."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from jaxtyping import Float

from foresee.errors import RecordingError

ON_FOOT = ("crosswalk", "zebra", "sidewalk", "walkway", "shared_walkway", "stairs")


@dataclass(frozen=True, eq=False)
class Lane:
    """One lane of a map.

    Attributes:
        name: identity within the map.
        left: left boundary in the direction of travel [m].
        right: right boundary in the direction of travel [m].
        successors: names of the lanes that one drives into at its end.
        left_neighbour: name of the lane of the same direction that one may change to on the left.
        right_neighbour: the same on the right.
        kind: "lane", "ramp", "bicycle", ... in the file's own words, lower case.
        speed_limit: highest allowed speed [m/s], or None where the map says nothing.
    """

    name: str
    left: Float[np.ndarray, "N 2"]
    right: Float[np.ndarray, "M 2"]
    successors: tuple[str, ...] = ()
    left_neighbour: str | None = None
    right_neighbour: str | None = None
    kind: str = "lane"
    speed_limit: float | None = None


def check_lanes(lanes: Iterable[Lane]) -> None:
    """Check that names are unique and boundaries are lines.

    Raises:
        RecordingError: naming the lane.
    """
    names: set[str] = set()
    for lane in lanes:
        if lane.name in names:
            raise RecordingError(f"expected each lane once in its map, got {lane.name!r} twice")
        names.add(lane.name)
        for side in ("left", "right"):
            if not _is_line(getattr(lane, side)):
                raise RecordingError(
                    f"expected the {side} boundary of lane {lane.name!r} to be a line of finite points, "
                    f"got {len(getattr(lane, side))} points without a length"
                )


def clean_lanes(lanes: Iterable[Lane]) -> tuple[tuple[Lane, ...], list[str]]:
    """Leave out what is no lane and what leads nowhere; return the rest and notes that count it."""
    kept: dict[str, Lane] = {}
    twice = short = walked = 0
    for lane in lanes:
        left, right = _distinct(lane.left), _distinct(lane.right)
        if lane.kind in ON_FOOT:
            walked += 1
        elif lane.name in kept:
            twice += 1
        elif not (_is_line(left) and _is_line(right)):
            short += 1
        else:
            kept[lane.name] = replace(lane, left=left, right=right)
    lost = 0
    for name, lane in kept.items():
        known = tuple(follower for follower in lane.successors if follower in kept)
        beside = {side: getattr(lane, side) for side in ("left_neighbour", "right_neighbour")}
        gone = [side for side, other in beside.items() if other is not None and other not in kept]
        lost += len(lane.successors) - len(known) + len(gone)
        kept[name] = replace(lane, successors=known, **dict.fromkeys(gone, None))
    counts = (
        (walked, "way", "for walking left out of the map"),
        (short, "lane", "of the map without two boundaries of some length left out"),
        (twice, "lane", "of the map with a name that was taken left out"),
        (lost, "connection", "to lanes that the map does not have left out"),
    )
    notes = [f"{count:,} {one}{'s' * (count > 1)} {what}" for count, one, what in counts if count]
    return tuple(kept.values()), notes


def heads_alike(first: Lane, second: Lane) -> bool:
    """Whether two lanes lead in about the same direction, from their first to their last points."""

    def along(lane: Lane) -> np.ndarray:
        return (lane.left[-1] + lane.right[-1]) - (lane.left[0] + lane.right[0])

    return bool(along(first) @ along(second) > 0)


def lanes_to_text(lanes: Mapping[str, tuple[Lane, ...]]) -> str:
    """The maps of all scenes as JSON."""
    return json.dumps(
        {
            scene: [
                asdict(lane) | {side: getattr(lane, side).tolist() for side in ("left", "right")}
                for lane in some
            ]
            for scene, some in lanes.items()
        }
    )


def lanes_from_text(text: str) -> dict[str, tuple[Lane, ...]]:
    """Read what `lanes_to_text` wrote.

    Raises:
        RecordingError: if it is something else.
    """
    try:
        return {
            scene: tuple(
                Lane(
                    **lane
                    | {side: np.array(lane[side], float).reshape(-1, 2) for side in ("left", "right")}
                    | {"successors": tuple(lane["successors"])}
                )
                for lane in some
            )
            for scene, some in json.loads(text).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordingError(f"expected lanes as foresee writes them, got something else ({error})") from None


def _is_line(points: np.ndarray) -> bool:
    return points.ndim == 2 and len(_distinct(points)) > 1 and bool(np.isfinite(points).all())


def _distinct(points: np.ndarray) -> np.ndarray:
    """Points without repetitions and without those that are not finite."""
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return points
    moved = np.hypot(*np.diff(points, axis=0).T) > 1e-6
    return points[np.concatenate([[True], moved])]
