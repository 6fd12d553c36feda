"""MOTChallenge: frame, identity, left, top, width, height, score, and what else follows.

Identities of detections are −1. Truth has its flag in the place of the score (0: not to be judged) and, from
2016 on, the class of the object (1: pedestrian) in the next column and how much of it can be seen after that.
"""

from pathlib import Path

import numpy as np

from foresee.errors import TrackingError
from foresee.tracking.formats.sightings import Sightings, Truth, in_order
from foresee.tracking.formats.source import numbers, read_lines, whole
from foresee.tracking.labelled import Labelled

LINE = "frame, identity, left, top, width, height, score"
PEDESTRIAN = 1
DISTRACTORS = (2, 7, 8, 12)  # on a vehicle, standing still, distractor, reflection: either answer is right
COLUMNS = range(6, 11)


def read_detections(path: Path, lines: list[str] | None = None) -> Sightings:
    """Read detections.

    Raises:
        TrackingError: naming file, line, what was expected and what came.
    """
    source = str(path)
    table, places = _read(path, lines)
    frame = whole(source, table[:, 0], places, "the frame")
    box = table[:, 2:6]
    score = table[:, 6] if table.shape[1] > 6 else None
    frame, columns, notes = in_order(source, frame, {"box": box, "score": score})
    box = columns["box"]
    return Sightings(
        source=source,
        format="mot",
        frame=frame,
        time=frame.astype(float),
        position=box[:, :2] + box[:, 2:] / 2,
        unit="px",
        box=box,
        score=columns.get("score"),
        first=min(1, int(frame[0])) if len(frame) else 1,
        last=int(frame[-1]) if len(frame) else 1,
        notes=tuple(notes),
    )


def read_truth(path: Path) -> Truth:
    """Read the truth, or tracks.

    Raises:
        TrackingError: naming file, line, what was expected and what came; also if identities are missing.
    """
    source = str(path)
    table, places = _read(path, None)
    frame = whole(source, table[:, 0], places, "the frame")
    name = whole(source, table[:, 1], places, "the identity")
    if len(name) and np.all(name == -1):
        raise TrackingError(
            f"{source}: expected identities in column 2, got −1 everywhere: are these detections?"
        )
    flag = table[:, 6] if table.shape[1] > 6 else np.ones(len(table))
    kept, doubtful = flag != 0, np.zeros(len(table), bool)
    if table.shape[1] == 9:  # 2016 and later: the class of the object follows the flag
        kept &= table[:, 7] == PEDESTRIAN
        doubtful = np.isin(table[:, 7], DISTRACTORS)
    position = table[:, 2:4] + table[:, 4:6] / 2
    try:
        objects = Labelled(frame[kept], name[kept], position[kept], box=table[kept, 2:6])
    except TrackingError as error:
        raise TrackingError(f"{source}: {error}") from None
    ignored = Labelled(
        frame[doubtful], np.arange(doubtful.sum()), position[doubtful], box=table[doubtful, 2:6]
    )
    return Truth(source, objects, ignored if doubtful.any() else None)


def text(tracks: Labelled) -> str:
    """Return tracks as the lines of a MOTChallenge result file, in order of frames.

    Raises:
        TrackingError: if they have no image boxes.
    """
    if tracks.box is None or tracks.box.shape[1] != 4:
        raise TrackingError("expected tracks with image boxes for a MOTChallenge file")
    score = np.ones(len(tracks)) if tracks.score is None else tracks.score
    order = np.lexsort((tracks.name, tracks.frame))
    rows = zip(tracks.frame[order], tracks.name[order], tracks.box[order], score[order], strict=True)
    return "".join(
        f"{frame},{name},{box[0]:.2f},{box[1]:.2f},{box[2]:.2f},{box[3]:.2f},{sure:.4f},-1,-1,-1\n"
        for frame, name, box, sure in rows
    )


def _read(path: Path, lines: list[str] | None):
    source = str(path)
    lines = read_lines(path) if lines is None else lines
    first = next((line for line in lines if line.strip()), "")
    table, places = numbers(source, lines, COLUMNS, LINE, "," if "," in first else None)
    if not len(table):
        raise TrackingError(f"{source}: expected rows of {LINE}, got none")
    wrong = np.flatnonzero(~np.all(table[:, 4:6] > 0, axis=1))
    if len(wrong):
        row = wrong[0]
        size = " × ".join(f"{value:g}" for value in table[row, 4:6])
        raise TrackingError(
            f"{source}, line {places[row]}: expected a width and a height above 0, got {size}"
        )
    return table, places
