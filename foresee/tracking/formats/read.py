"""The front door to files: which format it is is told by what is in it."""

from pathlib import Path

import numpy as np

from foresee.errors import TrackingError
from foresee.tracking.formats import kitti, mot, table
from foresee.tracking.formats.sightings import Format, Sightings, Truth
from foresee.tracking.formats.source import read_lines, shorten

READERS = {"mot": mot.read_detections, "kitti": kitti.read_detections, "csv": table.read_detections}


def told_by(source: str, lines: list[str]) -> Format:
    """Return the format that the first line that is not blank looks like.

    Raises:
        TrackingError: if it looks like none of them.
    """
    first = next((line.strip() for line in lines if line.strip()), "")
    if not first:
        raise TrackingError(f"{source}: expected detections, got an empty file")
    commas = first.rstrip(",").split(",")
    blanks = first.split()
    if len(commas) > 1 and not _is_number(commas[0]):
        return "csv"
    if len(commas) == 15:
        return "kitti"
    if len(commas) in mot.COLUMNS:
        return "mot"
    if len(commas) == 1 and len(blanks) in (17, 18) and not _is_number(blanks[2]):
        return "kitti"
    if len(commas) == 1 and len(blanks) in mot.COLUMNS:
        return "mot"
    if any(separator in first for separator in ";\t") and not _is_number(blanks[0].split(";")[0]):
        return "csv"
    raise TrackingError(
        f"{source}: expected MOTChallenge (6 to 10 columns), KITTI (15, 17 or 18 columns) or a table with a "
        f"header, got {shorten(first.split(','))}"
    )


def read_detections(path: str | Path, format: Format | None = None) -> Sightings:
    """Read a file of detections.

    Args:
        path: the file, gzipped or not.
        format: "mot", "kitti" or "csv"; None: whichever it looks like.

    Raises:
        TrackingError: naming file, line, what was expected and what came.
    """
    path = Path(path)
    lines = read_lines(path)
    return READERS[told_by(str(path), lines) if format is None else format](path, lines)


def read_truth(path: str | Path, like: Sightings) -> Truth:
    """Read the truth that belongs to detections, in the same format as they.

    Raises:
        TrackingError: naming file, line, what was expected and what came.
    """
    path = Path(path)
    if like.format == "mot":
        return mot.read_truth(path)
    if like.format == "csv":
        return table.read_truth(path, like)
    kinds = np.array([2]) if like.kind is None else like.kind
    most = int(np.bincount(np.maximum(kinds, 0)).argmax())
    return kitti.read_truth(path, kitti.KINDS.get(most, "Car"))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
