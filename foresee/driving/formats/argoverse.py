"""Argoverse 2 motion forecasting: scenarios of 11 s as Parquet, each with its map as JSON.

Source: Wilson and others (2021), "Argoverse 2: next generation datasets for self-driving perception and
forecasting", and the dataset's description of its formats.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from foresee.driving.formats.companions import Beside
from foresee.driving.formats.maps import covered, with_lanes
from foresee.driving.formats.rows import (
    check_rate,
    counted,
    recording_from_rows,
    scale_of,
    shorten,
    usual_rate,
)
from foresee.driving.formats.source import parse_json, read_bytes
from foresee.driving.formats.table import as_frame_number, as_number, as_text, needed
from foresee.driving.lanes import Lane, clean_lanes, heads_alike
from foresee.driving.recording import Recording
from foresee.errors import RecordingError

NUMBERS = ("position_x", "position_y", "heading", "velocity_x", "velocity_y")
COLUMNS = ("track_id", "object_type", "timestep", *NUMBERS)
CLOCK = ("start_timestamp", "end_timestamp", "num_timestamps")  # nanoseconds
STILL = ("static", "background", "construction", "riderless_bicycle", "unknown")
OPEN = (None, "NONE", "UNKNOWN", "DASHED_WHITE", "DASHED_YELLOW", "DOUBLE_DASH_WHITE", "DOUBLE_DASH_YELLOW")


def is_argoverse(columns: list[str]) -> bool:
    """Whether the names of columns are those of a scenario."""
    return {"object_category", *COLUMNS} <= set(columns)


def recording_from_argoverse(
    table: pl.DataFrame,
    source: str,
    scene: str,
    beside: Beside,
    *,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read a scenario, and its map log_map_archive_<scenario>.json if it was passed along or lies beside it.

    Args:
        table: the scenario.
        source: where it came from.
        scene: name of the scene, where the file does not say.
        beside: where the map is.
        frame_rate: frames per second [Hz]; by default from the file's first and last timestamps.
        units: "m" (default) or "ft".

    Raises:
        RecordingError: if the frame rate is not told or the content cannot be right.
    """
    scale = scale_of(units)
    column = needed(table, COLUMNS, source)
    number = {name: as_number(table, column[name]) for name in NUMBERS}
    rows = pl.DataFrame(
        {
            "id": as_text(table, "track_id"),
            "type": as_text(table, "object_type"),
            "frame": as_frame_number(table, "timestep", source),
            "x": number["position_x"],
            "y": number["position_y"],
            "heading": number["heading"],
            "speed": (number["velocity_x"].pow(2) + number["velocity_y"].pow(2)).sqrt(),
        }
    ).with_columns(
        scene=as_text(table, "scenario_id").fill_null(scene)
        if "scenario_id" in table.columns
        else pl.lit(scene)
    )
    moving = rows.filter(~pl.col("type").str.to_lowercase().is_in(STILL).fill_null(False))
    left_out = rows["id"].n_unique() - moving["id"].n_unique()
    notes = counted(left_out, "object", f"of no traffic ({', '.join(STILL)}) left out")
    rate = check_rate(frame_rate) if frame_rate is not None else _rate(table, source)
    recording = recording_from_rows(moving, source, rate, scale=scale, notes=tuple(notes))
    path = beside.argoverse(recording.scenes()[0])
    if path is None:
        return recording
    lanes, more = lanes_from_argoverse(read_bytes(path), str(path))
    if covered(recording, lanes) < 0.5:
        raise RecordingError(f"{source}: expected the map {path} to lie under it, got another place")
    return with_lanes(recording, lanes, [f"lanes from {path.name}", *more])


def _rate(table: pl.DataFrame, source: str) -> float:
    hint = "give --frame-rate HZ (Argoverse 2 has 10)"
    if not set(CLOCK) <= set(table.columns):
        raise RecordingError(
            f"{source}: expected the columns {', '.join(CLOCK)} to tell the frame rate; {hint}"
        )
    first, last, count = (float(as_number(table, name).to_numpy()[0]) for name in CLOCK)  # null becomes NaN
    if not (last > first and count > 1):
        raise RecordingError(f"{source}: expected the last timestamp to be after the first; {hint}")
    rate = (count - 1) / (last - first) * 1e9
    return usual_rate(rate, 0.01) or check_rate(rate)


def lanes_from_argoverse(data: bytes, source: str) -> tuple[tuple[Lane, ...], list[str]]:
    """Read the lane segments of a map.

    Neighbours are kept if they head the same way, are of one kind, and the mark between may be crossed.

    Raises:
        RecordingError: if it is no such map or a lane segment is incomplete.
    """
    segments = parse_json(data, source).get("lane_segments")
    if not isinstance(segments, dict) or not segments:
        raise RecordingError(f"{source}: expected lane_segments in the map, got none")
    cleaned, notes = clean_lanes(_lane(name, segment, source) for name, segment in segments.items())
    if not cleaned:
        raise RecordingError(f"{source}: expected lane_segments with two boundaries in the map, got none")
    named = {lane.name: lane for lane in cleaned}

    def allowed(lane: Lane, neighbour: str | None, marks: str) -> str | None:
        other = named.get(neighbour or "")
        fits = other is not None and other.kind == lane.kind and heads_alike(lane, other)
        return neighbour if fits and segments[lane.name].get(marks) in OPEN else None

    return tuple(
        replace(
            lane,
            left_neighbour=allowed(lane, lane.left_neighbour, "left_lane_mark_type"),
            right_neighbour=allowed(lane, lane.right_neighbour, "right_lane_mark_type"),
        )
        for lane in cleaned
    ), notes


def _lane(name: str, segment: Any, source: str) -> Lane:
    try:
        sides = {
            side: np.array([[point["x"], point["y"]] for point in segment[key]], float).reshape(-1, 2)
            for side, key in (("left", "left_lane_boundary"), ("right", "right_lane_boundary"))
        }
        left, right = (segment.get(f"{side}_neighbor_id") for side in ("left", "right"))
        return Lane(
            name,
            sides["left"],
            sides["right"],
            tuple(str(other) for other in segment.get("successors") or ()),
            None if left is None else str(left),
            None if right is None else str(right),
            str(segment.get("lane_type") or "lane").lower(),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{shorten(name)} is incomplete or damaged ({type(error).__name__}: {shorten(error, 80)})"
        raise RecordingError(f"{source}: lane segment {what}") from None
