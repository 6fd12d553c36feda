"""KITTI: cars, pedestrians and cyclists in space, as a camera sees them.

A file of detections has 15 columns with commas (frame, type, image box, score, height, width, length, x, y,
z, rotation, alpha), or those of a label with a score at the end. In a label 17 columns stand between blanks:
frame, identity, type, truncated, occluded, alpha, image box, height, width, length, x, y, z, rotation.

KITTI's camera looks along z, x is to the right, y downwards, and (x, y, z) is the middle of the underside.
Here the axes are right, forward, up, a position is the first two, and yaw turns from the first to the second.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from foresee.errors import TrackingError
from foresee.tracking.formats.sightings import Sightings, Truth, in_order
from foresee.tracking.formats.source import numbers, read_lines, shorten, whole
from foresee.tracking.labelled import Labelled

LINE = "frame, type, left, top, right, bottom, score, h, w, l, x, y, z, rotation, alpha"
KINDS = {1: "Pedestrian", 2: "Car", 3: "Cyclist"}
NUMBERS = {name: number for number, name in KINDS.items()}
ALIKE = {"Car": "Van", "Pedestrian": "Person_sitting"}  # who finds one of these is neither right nor wrong
MOST_OCCLUDED, MOST_TRUNCATED, SMALLEST = 2, 0, 25.0  # harder ones are not judged (TrackEval, KITTI)


def read_detections(path: Path, lines: list[str] | None = None) -> Sightings:
    """Read detections.

    Raises:
        TrackingError: naming file, line, what was expected and what came.
    """
    source = str(path)
    lines = read_lines(path) if lines is None else lines
    first = next((line for line in lines if line.strip()), "")
    if "," in first:
        table, places = numbers(source, lines, range(15, 16), LINE)
        frame = whole(source, table[:, 0], places, "the frame")
        kind = whole(source, table[:, 1], places, "the type")
        image, score, size = table[:, 2:6], table[:, 6], table[:, 7:10]
        centre, rotation = table[:, 10:13], table[:, 13]
    else:
        labels = _labels(source, lines)
        known = np.isin(labels.kind, list(NUMBERS))
        labels, places = labels.select(known), labels.place[known]
        frame, kind = labels.frame, np.array([NUMBERS[name] for name in labels.kind], int)
        image, score, size = labels.image, labels.score, labels.size
        centre, rotation = labels.centre, labels.rotation
    if not len(frame):
        raise TrackingError(f"{source}: expected rows of {LINE}, got none")
    wrong = np.flatnonzero(~np.all(size > 0, axis=1))
    if len(wrong):
        row = wrong[0]
        raise TrackingError(f"{source}, line {places[row]}: expected sizes above 0, got {size[row]}")
    box = _box(size, centre, rotation)
    image = np.column_stack([image[:, :2], np.maximum(image[:, 2:] - image[:, :2], 0)])
    frame, columns, notes = in_order(
        source, frame, {"box": box, "image": image, "score": score, "kind": kind.astype(float)}
    )
    box = columns["box"]
    return Sightings(
        source=source,
        format="kitti",
        frame=frame,
        time=frame.astype(float),
        position=box[:, :2],
        unit="m",
        box=box,
        image=columns["image"],
        score=columns.get("score"),
        kind=columns["kind"].astype(int),
        first=min(0, int(frame[0])),
        last=int(frame[-1]),
        notes=tuple(notes),
    )


def read_truth(path: Path, kind: str = "Car") -> Truth:
    """Read labels of one type, and what is not to be judged of it.

    Raises:
        TrackingError: naming file, line, what was expected and what came.
    """
    source = str(path)
    labels = _labels(source, read_lines(path))
    region = labels.kind == "DontCare"
    mine = labels.kind == kind
    hard = (labels.occluded > MOST_OCCLUDED) | (labels.truncated > MOST_TRUNCATED)
    judged = mine & ~hard
    doubtful = (mine & hard) | (labels.kind == ALIKE.get(kind, ""))
    image = np.column_stack([labels.image[:, :2], np.maximum(labels.image[:, 2:] - labels.image[:, :2], 0)])
    box = _box(labels.size, labels.centre, labels.rotation)
    try:
        objects = Labelled(labels.frame[judged], labels.name[judged], box[judged, :2], box=box[judged])
    except TrackingError as error:
        raise TrackingError(f"{source}: {error}") from None
    numbered = np.arange(int(doubtful.sum()))
    return Truth(
        source=source,
        objects=objects,
        ignored=Labelled(labels.frame[doubtful], numbered, box[doubtful, :2], box=box[doubtful]),
        regions=(labels.frame[region], image[region]),
        small=SMALLEST,
        image=image[judged],
        ignored_image=image[doubtful],
    )


def text(tracks: Labelled, image: Float[np.ndarray, "n 4"], kind: Int[np.ndarray, " n"]) -> str:
    """Return tracks as the lines of a KITTI result file, in order of frames.

    Args:
        tracks: tracks with boxes in space.
        image: their image boxes: left, top, width, height.
        kind: number of the type of each row.

    Raises:
        TrackingError: if they have no boxes in space.
    """
    if tracks.box is None or tracks.box.shape[1] != 7:
        raise TrackingError("expected tracks with boxes in space for a KITTI file")
    out = []
    for row in np.lexsort((tracks.name, tracks.frame)):
        x, forward, up, length, width, height, yaw = tracks.box[row]
        rotation = _half_turn(-yaw)
        alpha = _half_turn(rotation - np.arctan2(x, forward))
        left, top, wide, high = image[row]
        score = 1.0 if tracks.score is None else tracks.score[row]
        out.append(
            f"{tracks.frame[row]} {tracks.name[row]} {KINDS.get(int(kind[row]), 'Misc')} -1 -1 {alpha:.4f} "
            f"{left:.2f} {top:.2f} {left + wide:.2f} {top + high:.2f} {height:.4f} {width:.4f} {length:.4f} "
            f"{x:.4f} {height / 2 - up:.4f} {forward:.4f} {rotation:.4f} {score:.4f}\n"
        )
    return "".join(out)


def _half_turn(angle: float) -> float:
    return float(np.arctan2(np.sin(angle), np.cos(angle)))


def _box(size: np.ndarray, centre: np.ndarray, rotation: np.ndarray) -> Float[np.ndarray, "n 7"]:
    height, width, length = size.T
    x, y, z = centre.T
    return np.column_stack([x, z, height / 2 - y, length, width, height, -rotation])


@dataclass(frozen=True, eq=False)
class _Labels:
    """The columns of a label file."""

    place: np.ndarray
    frame: np.ndarray
    name: np.ndarray
    kind: np.ndarray
    truncated: np.ndarray
    occluded: np.ndarray
    image: np.ndarray
    size: np.ndarray
    centre: np.ndarray
    rotation: np.ndarray
    score: np.ndarray | None

    def select(self, rows: np.ndarray) -> "_Labels":
        columns: dict[str, Any] = {
            name: None if each is None else each[rows] for name, each in vars(self).items()
        }
        return _Labels(**columns)


def _labels(source: str, lines: list[str]) -> _Labels:
    cells, places = [], []
    for number, line in enumerate(lines, 1):
        row = line.split()
        if not row:
            continue
        if len(row) not in (17, 18) or (cells and len(row) != len(cells[0])):
            want = len(cells[0]) if cells else "17 or 18"
            raise TrackingError(
                f"{source}, line {number}: expected {want} columns of a KITTI label between blanks, got "
                f"{len(row)}: {shorten(row)}"
            )
        cells.append(row)
        places.append(number)
    if not cells:
        raise TrackingError(f"{source}: expected rows of a KITTI label, got none")
    kind = np.array([row[2] for row in cells])
    bare = [" ".join(row[:2] + row[3:]) for row in (line.split() for line in lines)]
    table, _ = numbers(source, bare, range(16, 18), "the numbers of a KITTI label", None)
    place = np.array(places)
    return _Labels(
        place,
        whole(source, table[:, 0], place, "the frame"),
        whole(source, table[:, 1], place, "the identity"),
        kind,
        truncated=table[:, 2],
        occluded=table[:, 3],
        image=table[:, 5:9],
        size=table[:, 9:12],
        centre=table[:, 12:15],
        rotation=table[:, 15],
        score=table[:, 16] if table.shape[1] == 17 else None,
    )
