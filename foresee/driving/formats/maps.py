"""Maps that come with recordings: given to them, and checked to lie under them."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from foresee.driving.formats.companions import Beside
from foresee.driving.formats.lanelet2 import Origin, lanes_from_lanelet2
from foresee.driving.formats.source import read_bytes
from foresee.driving.lanes import Lane
from foresee.driving.recording import Recording
from foresee.errors import RecordingError

AROUND = 50.0  # metres that vehicles may be outside of what the map covers


def with_lanes(recording: Recording, lanes: tuple[Lane, ...], notes: Iterable[str]) -> Recording:
    """The recording with one map for all of its scenes, and notes on it."""
    maps = dict.fromkeys(recording.scenes(), lanes) if lanes else {}
    return replace(recording, lanes=maps, notes=(*recording.notes, *notes)).validate()


def covered(recording: Recording, lanes: tuple[Lane, ...]) -> float:
    """Share of the recorded positions that are near the rectangle around the map."""
    if not lanes:
        return 0.0
    points = np.concatenate([side for lane in lanes for side in (lane.left, lane.right)])
    low, high = points.min(axis=0) - AROUND, points.max(axis=0) + AROUND
    place = np.stack([recording.x, recording.y], axis=-1)[recording.seen]
    return float(((place > low) & (place < high)).all(axis=-1).mean())


def with_lanelet2(
    recording: Recording, source: str, beside: Beside, origin: Callable[[], Origin]
) -> Recording:
    """The recording with its Lanelet2 map, if there is one, and a note on where that was found.

    Args:
        recording: what was read.
        source: where it came from.
        beside: where the map may be.
        origin: where local coordinates begin; asked for only if there is a map.

    Raises:
        RecordingError: if the map is damaged, or was passed along and does not lie under the recording.
    """
    path = beside.lanelet2(source)
    if path is None:
        missing = "no lanes: no Lanelet2 map was passed along, and not exactly one lies beside the recording"
        return with_lanes(recording, (), [missing])
    passed = path in beside.used
    lanes, notes = lanes_from_lanelet2(read_bytes(path), str(path), origin())
    share = covered(recording, lanes)
    where = "passed along" if passed else "found beside the recording"
    if share >= 0.5:
        return with_lanes(recording, lanes, [f"lanes from {path.name}, {where}", *notes])
    if passed:
        raise RecordingError(
            f"{source}: expected the map {path} to lie under the recording, "
            f"got {100 * share:.0f} % of the positions near it"
        )
    return with_lanes(recording, (), [f"{path.name}, {where}, lies elsewhere and was not used"])
