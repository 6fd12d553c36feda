"""Detections without names: who is who has to be found out before there is a recording."""

import numpy as np
import polars as pl

from foresee.errors import ForeseeError, RecordingError
from foresee.tracking.acquaint import acquaint
from foresee.tracking.detections import Detections
from foresee.tracking.paths import paths_of
from foresee.tracking.sequence import track

FEWEST = 3  # sightings of a vehicle; what was seen less often may be nothing at all
GAP = 3.0  # a track that is not seen for longer is two vehicles [s]


def named(rows: pl.DataFrame, rate: float, scale: float, source: str) -> tuple[pl.DataFrame, list[str]]:
    """Return rows with the names of tracks that are made of them, and remarks; the rest is left out.

    How vehicles move and how they are seen is learned from the rows alone.

    Args:
        rows: with `scene`, `frame`, `x` and `y`.
        rate: frames per second [Hz].
        scale: length of the file's unit [m].
        source: names the file in errors.

    Raises:
        RecordingError: if no track can be made.
    """
    rows = rows.drop("id").filter(
        pl.col("frame").is_not_null() & pl.col("x").is_finite() & pl.col("y").is_finite()
    )
    parts, tracks = [], 0
    for _, scene in rows.sort("scene", "frame").group_by("scene", maintain_order=True):
        try:
            names = _tracks(scene, rate, scale)
        except ForeseeError as error:
            raise RecordingError(f"{source}: no tracks can be made of its rows: {error}") from error
        tracks += len(np.unique(names[names >= 0]))
        parts.append(scene.with_columns(id=pl.Series(names)).filter(pl.col("id") >= 0))
    found = pl.concat(parts).with_columns(pl.col("id").cast(pl.String)) if parts else rows
    if not tracks:
        raise RecordingError(
            f"{source}: expected detections that make tracks, got {rows.height:,} that do not"
        )
    spare = rows.height - found.height
    return found, [
        f"no column names vehicles: {rows.height:,} detections made into {tracks:,} tracks, {spare:,} are in "
        "none"
    ]


def _tracks(scene: pl.DataFrame, rate: float, scale: float) -> np.ndarray:
    """Return the track of every row, in the order of frames; -1 where it belongs to none."""
    frame = scene["frame"].to_numpy()
    first, last = int(frame[0]), int(frame[-1])
    values = scale * np.stack([scene["x"].to_numpy(), scene["y"].to_numpy()], axis=-1)
    ends = np.searchsorted(frame, np.arange(first + 1, last + 1))
    times = np.arange(last - first + 1) / rate
    detections = Detections(np.split(values, ends), times)
    history = track(detections, acquaint(detections).tracker(), tentative=True)
    paths = paths_of(history, detections)
    paths = paths.without_long_gaps(round(GAP * rate)).select(paths.seen)
    names = np.full(len(values), -1)
    often = paths.hits()[paths.owner] >= FEWEST
    names[paths.row[often]] = paths.name[paths.owner[often]]
    return names
