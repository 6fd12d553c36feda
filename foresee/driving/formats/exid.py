"""exiD, and its siblings inD, rounD and uniD: roads from above, in three tables per recording, in metres.

Source: Moers and others (2022), "The exiD dataset: a real-world trajectory dataset of highly interactive
highway scenarios in Germany"; Bock and others (2020), "The inD dataset"; and their pages on the formats.
"""

import numpy as np
import polars as pl

from foresee.driving.formats.companions import Beside
from foresee.driving.formats.highd import rate_of, scene_of
from foresee.driving.formats.lanelet2 import Origin
from foresee.driving.formats.maps import with_lanelet2
from foresee.driving.formats.rows import check_rate, recording_from_rows, scale_of
from foresee.driving.formats.table import as_frame_number, as_number, as_text, needed, plain, read_table
from foresee.driving.formats.utm import utm_zone
from foresee.driving.recording import Recording
from foresee.errors import RecordingError

COLUMNS = ("trackId", "frame", "xCenter", "yCenter", "heading", "width", "length", "xVelocity", "yVelocity")
OPTIONAL = {"lonAcceleration": "acceleration", "laneletId": "lane"}


def is_exid(columns: list[str]) -> bool:
    """Whether the names of columns are those of a table of tracks."""
    return {"track_id", "frame", "x_center", "y_center", "heading"} <= {plain(column) for column in columns}


def recording_from_exid(
    table: pl.DataFrame,
    source: str,
    beside: Beside,
    *,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read a table of tracks, its XX_tracksMeta.csv and XX_recordingMeta.csv, and a map if there is one.

    Headings are in degrees. The lane of a vehicle is the first lanelet that the file names for it.

    Args:
        table: the tracks.
        source: where they came from, XX_tracks.csv.
        beside: where the companions and the Lanelet2 map are.
        frame_rate: frames per second [Hz]; by default that of the recordingMeta.
        units: "m" (default) or "ft".

    Raises:
        RecordingError: if columns or companions are missing or the content cannot be right.
    """
    scale = scale_of(units)
    column = needed(table, COLUMNS, source)
    about = beside.sibling(source, "_tracks.csv", "_tracksMeta.csv", "kinds")
    site = beside.sibling(source, "_tracks.csv", "_recordingMeta.csv", "frame rate and origin")
    meta = read_table(about, f"{source}: tracksMeta")
    named = needed(meta, ("trackId", "class"), f"{source}: tracksMeta")
    kinds = pl.DataFrame({"id": as_text(meta, named["trackId"]), "type": as_text(meta, named["class"])})
    recorded = read_table(site, f"{source}: recordingMeta")
    number = {name: as_number(table, column[name]) for name in COLUMNS[2:]}
    columns = {
        "id": as_text(table, column["trackId"]),
        "frame": as_frame_number(table, column["frame"], source),
        "x": number["xCenter"],
        "y": number["yCenter"],
        "heading": number["heading"] * (np.pi / 180),
        "length": number["length"],
        "width": number["width"],
        "speed": (number["xVelocity"].pow(2) + number["yVelocity"].pow(2)).sqrt(),
    }
    plains = {plain(name): name for name in table.columns}
    for name, what in OPTIONAL.items():
        if plain(name) in plains:
            text = as_text(table, plains[plain(name)])  # several lanelets are separated by semicolons
            columns[what] = text.str.split(";").list.first().cast(pl.Float64, strict=False)
    rows = pl.DataFrame([series.alias(name) for name, series in columns.items()]).join(
        kinds.unique("id", keep="first", maintain_order=True), on="id", how="left", maintain_order="left"
    )
    rate = check_rate(frame_rate) if frame_rate is not None else rate_of(recorded, source)
    recording = recording_from_rows(
        rows.with_columns(scene=pl.lit(scene_of(source))), source, rate, scale=scale
    )
    return with_lanelet2(recording, source, beside, lambda: _origin(recorded, source))


def _origin(recorded: pl.DataFrame, source: str) -> Origin:
    names = ("xUtmOrigin", "yUtmOrigin", "lonLocation")
    column = needed(recorded, names, f"{source}: recordingMeta")
    east, north, longitude = (float(as_number(recorded, column[name]).to_numpy()[0]) for name in names)
    if not np.isfinite([east, north, longitude]).all():
        raise RecordingError(f"{source}: expected numbers as {', '.join(names)} in its recordingMeta")
    return Origin(utm_zone(longitude), east, north)
