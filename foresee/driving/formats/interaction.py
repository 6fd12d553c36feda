"""INTERACTION: vehicles, pedestrians and cyclists on urban roads, with a Lanelet2 map.

Source: Zhan and others (2019), "INTERACTION dataset: an international, adversarial and cooperative motion
dataset in interactive driving scenarios with semantic maps", and the dataset's description of its formats.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from foresee.driving.formats import tidy
from foresee.driving.formats.companions import Beside
from foresee.driving.formats.lanelet2 import origin_at
from foresee.driving.formats.maps import with_lanelet2
from foresee.driving.formats.source import read_bytes
from foresee.driving.formats.table import needed, plain, read_table
from foresee.driving.recording import Recording
from foresee.errors import RecordingError

COLUMNS = {"track_id", "frame_id", "timestamp_ms", "agent_type", "x", "y", "vx", "vy"}


def is_interaction(columns: list[str]) -> bool:
    """Whether the names of columns are those of a file of tracks; pedestrians have no heading and size."""
    return {plain(column) for column in columns} >= COLUMNS


def recording_from_interaction(
    table: pl.DataFrame,
    source: str,
    scene: str,
    beside: Beside,
    *,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read a file of tracks and its map, whose coordinates begin where latitude and longitude are 0.

    Pedestrians and cyclists, who have a file of their own, join the scene of the vehicles.

    Args:
        table: the tracks.
        source: where they came from.
        scene: name of the scene, where the file does not name cases.
        beside: where the map is.
        frame_rate: frames per second [Hz]; by default from the timestamps.
        units: "m" (default) or "ft".

    Raises:
        RecordingError: if the content cannot be right or a map that was passed along is of another place.
    """
    walkers = beside.walkers.get(beside.path) if beside.path else None
    if walkers is not None:
        beside.used.add(walkers)
        table = pl.concat([table, _walkers(walkers, table)], how="diagonal")
    recording = tidy.recording_from_table(table, source, scene, frame_rate=frame_rate, units=units)
    if walkers is not None:
        recording = replace(recording, notes=(f"{walkers.name} read into the same scene", *recording.notes))
    return with_lanelet2(recording, source, beside, lambda: origin_at(0.0, 0.0))


def _walkers(path: Path, vehicles: pl.DataFrame) -> pl.DataFrame:
    table = read_table(read_bytes(path), str(path))
    if not is_interaction(table.columns) or table.schema.items() - vehicles.schema.items():
        raise RecordingError(f"{path}: expected pedestrians in the columns of the vehicles beside them")
    name = needed(table, ("track_id",), str(path))["track_id"]
    same = set(table[name]) & set(vehicles[name])
    if same:
        raise RecordingError(
            f"{path}: expected other track_ids than those of the vehicles, got {len(same):,} of them"
        )
    return table
