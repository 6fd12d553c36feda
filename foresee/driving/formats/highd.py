"""highD: highways from above, in three tables per recording, in the axes of the video.

Source: Krajewski, Bock, Kloeker, Eckstein (2018), "The highD dataset: a drone dataset of naturalistic vehicle
trajectories on German highways", and the dataset's description of its formats.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl

from foresee.driving.formats.companions import Beside
from foresee.driving.formats.maps import with_lanes
from foresee.driving.formats.rows import check_rate, recording_from_rows, scale_of, shorten
from foresee.driving.formats.table import as_frame_number, as_number, as_text, needed, plain, read_table
from foresee.driving.lanes import Lane, clean_lanes
from foresee.driving.recording import Recording
from foresee.errors import RecordingError

COLUMNS = ("frame", "id", "x", "y", "width", "height", "xVelocity", "yVelocity", "xAcceleration", "laneId")
LEFTWARDS, RIGHTWARDS = 1, 2  # drivingDirection: the upper and the lower lanes


def is_highd(columns: list[str]) -> bool:
    """Whether the names of columns are those of a table of tracks."""
    return {"frame", "id", "x_velocity", "width", "height", "x", "y"} <= {plain(column) for column in columns}


def recording_from_highd(
    table: pl.DataFrame,
    source: str,
    beside: Beside,
    *,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read a table of tracks and its companions XX_tracksMeta.csv and XX_recordingMeta.csv.

    The file's positions are upper left corners of boxes with y downwards; its width and height are the length
    and width of a vehicle. Here they are centres with y upwards from the upper edge of the picture.

    Args:
        table: the tracks.
        source: where they came from, XX_tracks.csv.
        beside: where the companions are.
        frame_rate: frames per second [Hz]; by default that of the recordingMeta.
        units: "m" (default) or "ft".

    Raises:
        RecordingError: if columns or companions are missing or the content cannot be right.
    """
    scale = scale_of(units)
    column = needed(table, COLUMNS, source)
    about = beside.sibling(source, "_tracks.csv", "_tracksMeta.csv", "kinds and directions")
    site = beside.sibling(source, "_tracks.csv", "_recordingMeta.csv", "frame rate and lane markings")
    kinds = _kinds(read_table(about, f"{source}: tracksMeta"), f"{source}: tracksMeta")
    recorded = read_table(site, f"{source}: recordingMeta")
    number = {name: as_number(table, column[name]) for name in COLUMNS[2:]}
    rows = pl.DataFrame(
        {
            "id": as_text(table, column["id"]),
            "frame": as_frame_number(table, column["frame"], source),
            "x": number["x"] + number["width"] / 2,
            "y": -(number["y"] + number["height"] / 2),
            "length": number["width"],
            "width": number["height"],
            "lane": number["laneId"],
            "speed": (number["xVelocity"].pow(2) + number["yVelocity"].pow(2)).sqrt(),
            "forward": number["xAcceleration"],
        }
    ).join(kinds, on="id", how="left", maintain_order="left")
    rows = rows.with_columns(
        acceleration=pl.col("forward")
        * pl.col("direction").replace_strict({LEFTWARDS: -1.0, RIGHTWARDS: 1.0}, default=None),
        scene=pl.lit(scene_of(source)),
    ).drop("forward", "direction")
    rate = check_rate(frame_rate) if frame_rate is not None else rate_of(recorded, source)
    recording = recording_from_rows(rows, source, rate, scale=scale)
    return with_lanes(recording, *_lanes(recorded, recording, scale, source))


def scene_of(source: str) -> str:
    """The number of a recording, from the name of its table of tracks."""
    return source.replace("\\", "/").rsplit("/", 1)[-1].split("_tracks", 1)[0] or "scene"


def rate_of(recorded: pl.DataFrame, source: str) -> float:
    """Frames per second of a recordingMeta.

    Raises:
        RecordingError: if it does not say.
    """
    name = needed(recorded, ("frameRate",), f"{source}: recordingMeta")["frameRate"]
    rate = as_number(recorded, name).drop_nulls()
    if not len(rate):
        raise RecordingError(
            f"{source}: expected a frameRate in its recordingMeta, got none; give --frame-rate HZ"
        )
    return check_rate(rate[0])


def _kinds(about: pl.DataFrame, source: str) -> pl.DataFrame:
    column = needed(about, ("id", "class", "drivingDirection"), source)
    direction = as_number(about, column["drivingDirection"])
    strange = direction.filter((direction != LEFTWARDS) & (direction != RIGHTWARDS))
    if len(strange):
        raise RecordingError(f"{source}: expected a drivingDirection of 1 or 2, got {strange[0]:g}")
    return pl.DataFrame(
        {
            "id": as_text(about, column["id"]),
            "type": as_text(about, column["class"]),
            "direction": direction.cast(pl.Int64, strict=False),
        }
    ).unique("id", keep="first", maintain_order=True)


def _lanes(
    recorded: pl.DataFrame, recording: Recording, scale: float, source: str
) -> tuple[tuple[Lane, ...], list[str]]:
    """Straight lanes between the lane markings, numbered as laneId does it: all intervals from above."""
    meta = f"{source}: recordingMeta"
    column = needed(recorded, ("upperLaneMarkings", "lowerLaneMarkings"), meta)
    upper, lower = (_markings(as_text(recorded, column[name]), meta) for name in column)
    limit = None
    plains = {plain(name): name for name in recorded.columns}
    if "speed_limit" in plains:
        given = as_number(recorded, plains["speed_limit"]).drop_nulls()
        limit = float(given[0]) * scale if len(given) and given[0] > 0 else None  # -1 stands for none
    half = recording.length[:, None] / 2
    begin = float(np.min(np.where(recording.seen, recording.x - half, np.inf)))
    end = float(np.max(np.where(recording.seen, recording.x + half, -np.inf)))

    def line(mark: float, *ends: float) -> np.ndarray:
        return np.array([[x, -mark * scale] for x in ends])

    lanes = []
    for marks, before, leftwards in ((upper, 0, True), (lower, len(upper), False)):
        for k, (high, low) in enumerate(pairwise(marks)):
            number = before + k + 2  # what is above the first marking is lane 1
            above, below = (str(number - 1) if k else None), (str(number + 1) if k + 2 < len(marks) else None)
            if leftwards:  # to the left of who drives to the left is what is lower in the picture
                lane = Lane(str(number), line(low, end, begin), line(high, end, begin), (), below, above)
            else:
                lane = Lane(str(number), line(high, begin, end), line(low, begin, end), (), above, below)
            lanes.append(replace(lane, speed_limit=limit))
    cleaned, notes = clean_lanes(lanes)
    reach = f"from x = {begin:.1f} to {end:.1f} m, where vehicles were seen"
    return cleaned, [f"lanes drawn between the lane markings {reach}", *notes]


def _markings(text: pl.Series, source: str) -> list[float]:
    cells = [cell for cell in (text[0] or "").split(";") if cell.strip()] if len(text) else []
    try:
        marks = [float(cell) for cell in cells]
    except ValueError:
        raise RecordingError(
            f"{source}: expected lane markings as numbers between semicolons, got {shorten(text[0])}"
        ) from None
    if not np.isfinite(marks).all() or marks != sorted(marks):
        raise RecordingError(f"{source}: expected lane markings from above, got {shorten(text[0])}")
    return marks
