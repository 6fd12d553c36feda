"""What a file of detections holds, whatever its format was."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from foresee.errors import TrackingError
from foresee.tracking.labelled import Labelled

Format = Literal["mot", "kitti", "csv"]


@dataclass(frozen=True, eq=False)
class Place:
    """Where on Earth a plane of metres touches it: the middle of a recording.

    Attributes:
        longitude: degrees east.
        latitude: degrees north.
    """

    longitude: float
    latitude: float

    RADIUS = 6_371_008.8  # m, mean radius of the Earth (IUGG)

    def metres(self, degrees: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Return longitude and latitude as metres east and north (equirectangular)."""
        scale = np.radians(1.0) * self.RADIUS
        shrink = np.cos(np.radians(self.latitude))
        return (degrees - [self.longitude, self.latitude]) * [scale * shrink, scale]

    def degrees(self, metres: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Return metres east and north as longitude and latitude."""
        scale = np.radians(1.0) * self.RADIUS
        shrink = np.cos(np.radians(self.latitude))
        return metres / [scale * shrink, scale] + [self.longitude, self.latitude]


@dataclass(frozen=True, eq=False)
class Sightings:
    """Detections in the order of their frames, one row each.

    Attributes:
        source: name of the file.
        format: which format it had.
        frame: number of the frame or scan.
        time: moment [s]; frames stand for themselves where a file has none.
        position: where, in `unit`.
        unit: "m" or "px".
        box: image boxes (mot), boxes in space (kitti), see `Labelled`; None for points.
        image: left, top, width and height in the image, for kitti.
        score: what the detector said, as it said it.
        kind: class of the object, a number of the format's own; 0 where there is none.
        place: where the plane of metres lies, if the file had longitudes and latitudes.
        clock: what the file counts time in: "scan", "seconds", or "date".
        first: number of the first frame.
        last: number of the last frame.
        notes: what had to be done to the file, with counts.
    """

    source: str
    format: Format
    frame: Int[np.ndarray, " n"]
    time: Float[np.ndarray, " n"]
    position: Float[np.ndarray, "n d"]
    unit: str
    box: Float[np.ndarray, "n b"] | None = None
    image: Float[np.ndarray, "n 4"] | None = None
    score: Float[np.ndarray, " n"] | None = None
    kind: Int[np.ndarray, " n"] | None = None
    place: Place | None = None
    clock: Literal["scan", "seconds", "date"] = "scan"
    first: int = 0
    last: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if not len(self.frame):
            raise TrackingError(f"{self.source}: expected detections, got none")


@dataclass(frozen=True, eq=False)
class Truth:
    """What a file of truth holds.

    Attributes:
        source: name of the file.
        objects: who was where when.
        ignored: boxes that a track may or may not follow without being judged for it; named at random.
        regions: image boxes inside of which nothing is judged, with their frames.
        small: tracks whose image box is not higher than this [px] are not judged unless they are right.
        image: image boxes of `objects`, for kitti.
        ignored_image: image boxes of `ignored`, for kitti.
    """

    source: str
    objects: Labelled
    ignored: Labelled | None = None
    regions: tuple[Int[np.ndarray, " r"], Float[np.ndarray, "r 4"]] | None = None
    small: float = 0.0
    image: Float[np.ndarray, "n 4"] | None = None
    ignored_image: Float[np.ndarray, "m 4"] | None = None


def in_order(
    source: str, frame: Int[np.ndarray, " n"], columns: dict[str, np.ndarray | None]
) -> tuple[Int[np.ndarray, " n"], dict[str, np.ndarray], list[str]]:
    """Return the rows sorted by frame, without columns that are None, and notes of what was odd."""
    notes = []
    back = int(np.sum(np.diff(frame) < 0))
    if back:
        notes.append(f"{source}: {back:,} rows came before rows of earlier frames; sorted by frame.")
    order = np.argsort(frame, kind="stable")
    frame = frame[order]
    sorted_columns = {name: each[order] for name, each in columns.items() if each is not None}
    whole = np.column_stack([frame, *sorted_columns.values()])
    again = len(whole) - len(np.unique(whole, axis=0))
    if again:
        notes.append(
            f"{source}: {again:,} detections are there more than once, exactly alike; all were kept."
        )
    return frame, sorted_columns, notes
