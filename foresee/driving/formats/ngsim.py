"""NGSIM's own layouts: the text files of 18 columns without a header, and the later CSV with names.

Both are in feet, feet per second and milliseconds, at 10 frames per second. Positions are those of the middle
of the front bumper. The local coordinates (x to the right of the left edge, y along the road) are read
unless `columns` asks for the global ones.
Source: FHWA, "NGSIM trajectory data: metadata", the data dictionary of the US-101 and I-80 sets.
"""

from collections.abc import Mapping

import polars as pl

from foresee.driving.formats.rows import check_rate, counted, recording_from_rows, scale_of, shorten
from foresee.driving.formats.table import as_frame_number, as_number, as_text, plain, read_columns
from foresee.driving.formats.tidy import listed, near
from foresee.driving.recording import Recording
from foresee.errors import RecordingError

RATE = 10.0
LAYOUT = [
    "Vehicle_ID",
    "Frame_ID",
    "Total_Frames",
    "Global_Time",
    "Local_X",
    "Local_Y",
    "Global_X",
    "Global_Y",
    "v_Length",
    "v_Width",
    "v_Class",
    "v_Vel",
    "v_Acc",
    "Lane_ID",
    "Preceding",
    "Following",
    "Space_Headway",
    "Time_Headway",
]
KINDS = {"1": "motorcycle", "2": "car", "3": "truck"}
USED = {
    "id": "vehicle_id",
    "frame": "frame_id",
    "x": "local_x",
    "y": "local_y",
    "type": "v_class",
    "length": "v_length",
    "width": "v_width",
    "lane": "lane_id",
    "speed": "v_vel",
    "acceleration": "v_acc",
}
NEEDED = ("id", "frame", "x", "y")
APART_MS = 5_000.0


def is_ngsim(columns: list[str]) -> bool:
    """Whether the names of columns are those of NGSIM's CSV."""
    return {"vehicle_id", "frame_id", "local_x", "local_y"} <= {plain(column) for column in columns}


def recording_from_text(text: str, source: str, scene: str, **options) -> Recording:
    """Read the layout of 18 columns without a header; options as in `recording_from_ngsim`.

    Raises:
        RecordingError: if the rows do not have 18 columns or the content cannot be right.
    """
    try:
        table = read_columns(text)
    except pl.exceptions.PolarsError as error:
        raise RecordingError(f"{source}: cannot be read as a table ({shorten(error, 120)})") from None
    if table.width != len(LAYOUT):
        raise RecordingError(
            f"{source}: expected NGSIM's {len(LAYOUT)} columns or a first line with names, got "
            f"{table.width} columns of numbers"
        )
    table.columns = LAYOUT
    short = table["Time_Headway"].null_count()
    notes = counted(short, "row", f"with fewer than {len(LAYOUT)} columns")
    return recording_from_ngsim(table, source, scene, notes=notes, **options)


def recording_from_ngsim(
    table: pl.DataFrame,
    source: str,
    scene: str,
    *,
    columns: Mapping[str, str] | None = None,
    frame_rate: float | int | None = None,
    units: str | None = None,
    notes: list[str] | None = None,
) -> Recording:
    """Read a table with NGSIM's column names.

    Args:
        table: the columns as text.
        source: where it came from.
        scene: name of the scene where the file does not tell places or periods apart.
        columns: other columns to take, for example {"x": "Global_X", "y": "Global_Y"}.
        frame_rate: frames per second [Hz]; 10 by default.
        units: "ft" (default) or "m".
        notes: what was already done.

    Raises:
        RecordingError: if columns are missing or the content cannot be right.
    """
    scale = scale_of(units, usual="ft")
    found = _columns(table, columns or {}, source)
    rows = {
        name: as_number(table, column).alias(name)
        for name, column in found.items()
        if name not in ("id", "frame", "type")
    }
    rows["id"] = as_text(table, found["id"]).alias("id")
    rows["frame"] = as_frame_number(table, found["frame"], source).alias("frame")
    if "type" in found:
        kind = as_text(table, found["type"]).str.strip_chars().str.replace(r"\.0*$", "")
        rows["type"] = kind.replace(KINDS).alias("type")
    frame = pl.DataFrame(list(rows.values())).with_columns(scene=_scenes(table, scene))
    said = list(notes or [])
    said.append("positions are those of the front bumper's middle, as NGSIM records them")
    rate = RATE if frame_rate is None else check_rate(frame_rate)
    return recording_from_rows(frame, source, rate, scale=scale, notes=tuple(said), reference="front")


def _columns(table: pl.DataFrame, wanted: Mapping[str, str], source: str) -> dict[str, str]:
    plains = {plain(column): column for column in reversed(table.columns)}
    found = {name: plains[column] for name, column in USED.items() if column in plains}
    for name, column in wanted.items():
        if name not in USED:
            raise RecordingError(
                f"expected one of {', '.join(USED)} before = in --columns, got {name!r}{near(name, USED)}"
            )
        if column not in table.columns:
            raise RecordingError(
                f"{source}: --columns asks for {column!r}, got columns {listed(table.columns)}"
                f"{near(column, table.columns)}"
            )
        found[name] = column
    missing = [USED[name] for name in NEEDED if name not in found]
    if missing:
        raise RecordingError(
            f"{source}: missing column {', '.join(missing)}; got columns {listed(table.columns)}"
        )
    return found


def _scenes(table: pl.DataFrame, scene: str) -> pl.Series:
    """Tell places and periods apart: vehicles and frames are numbered anew in each.

    Within a period the clock minus the frame number is one constant, so its jumps are the borders.
    """
    plains = {plain(column): column for column in reversed(table.columns)}
    place = as_text(table, plains["location"]).fill_null(scene) if "location" in plains else None
    names = pl.DataFrame({"place": place if place is not None else [scene] * table.height})
    if "global_time" not in plains:
        return names["place"].alias("scene")
    start = as_number(table, plains["global_time"]) - 1000 / RATE * as_number(table, plains["frame_id"])
    names = names.with_columns(start=start).with_row_index("row")
    clear = names.filter(pl.col("start").is_finite()).sort(["place", "start"], maintain_order=True)
    clear = clear.with_columns(
        period=(pl.col("start").diff().fill_null(0) > APART_MS).cum_sum().over("place").cast(pl.Int64)
    )
    names = names.join(clear.select("row", "period"), on="row", how="left", maintain_order="left")
    several = clear["period"].max() not in (None, 0)
    if not several:
        return names["place"].alias("scene")
    period = (pl.col("period").fill_null(0) + 1).cast(pl.String)
    return names.select(scene=pl.col("place") + ":" + period).to_series()
