"""Positions in a table: CSV with a header that names scan or time, x and y or longitude and latitude.

The order of columns does not matter, nor the case of their names; what else is in the table is not looked at.
"""

import datetime
import io
import re
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from foresee.errors import TrackingError
from foresee.tracking.formats.sightings import Place, Sightings, Truth, in_order
from foresee.tracking.formats.source import read_lines
from foresee.tracking.labelled import STATUSES, Labelled

CALLED = {
    "scan": ("scan", "frame", "step", "scan_id", "frame_id", "k"),
    "time": ("time", "t", "timestamp", "datetime", "date_time", "base_date_time", "time_s", "seconds"),
    "x": ("x", "x_m", "pos_x", "position_x", "easting", "east"),
    "y": ("y", "y_m", "pos_y", "position_y", "northing", "north"),
    "longitude": ("longitude", "lon", "lng", "longitude_degrees", "longitude_deg"),
    "latitude": ("latitude", "lat", "latitude_degrees", "latitude_deg"),
    "id": ("id", "name", "track_id", "track", "target", "target_id", "object", "object_id", "mmsi", "icao24"),
    "score": ("score", "confidence", "probability"),
}
EPOCH = datetime.datetime(1970, 1, 1)


def read_detections(path: Path, lines: list[str] | None = None) -> Sightings:
    """Read detections; identities are not looked at.

    Raises:
        TrackingError: naming file, line, what was expected and what came.
    """
    table = _Table(path, lines)
    frame, time, clock = table.when()
    position, place = table.where(None)
    score = table.number("score") if "score" in table.columns else None
    time_of = {"position": position, "time": time, "score": score}
    frame, columns, notes = in_order(str(path), frame, time_of)
    return Sightings(
        source=str(path),
        format="csv",
        frame=frame,
        time=columns["time"],
        position=columns["position"],
        unit="m",
        score=columns.get("score"),
        place=place,
        clock=clock,
        first=int(frame[0]),
        last=int(frame[-1]),
        notes=(*table.notes, *notes),
    )


def read_truth(path: Path, like: Sightings) -> Truth:
    """Read who was where, in the frames and the plane of detections that were read before.

    Rows at times at which nothing was looked for are left out, as no track can be compared with them.

    Raises:
        TrackingError: naming file, line, what was expected and what came.
    """
    table = _Table(path, None)
    if "id" not in table.columns:
        raise TrackingError(
            f"{path}: expected a column with identities ({', '.join(CALLED['id'])}), got none"
        )
    frame, time, clock = table.when()
    if (clock == "scan") != (like.clock == "scan"):
        raise TrackingError(f"{path}: expected {like.clock} as in {like.source}, got {clock}")
    position, _ = table.where(like.place)
    kept = np.ones(len(frame), bool)
    if clock != "scan":
        moments, first = np.unique(like.time, return_index=True)
        at = np.minimum(np.searchsorted(moments, time), len(moments) - 1)
        kept = moments[at] == time
        frame = like.frame[first][at]
    _, name = np.unique(table.text("id"), return_inverse=True)
    written = table.text("id")
    whole = [cell.lstrip("-").isdigit() and len(cell) < 18 for cell in written]
    if all(whole):
        name = np.array([int(cell) for cell in written])
    both = np.column_stack([frame, name])[kept]
    again = len(both) - len(np.unique(both, axis=0)) if clock != "scan" else 0
    if again:  # who reports twice at one moment is where it last said
        _, first = np.unique(both[::-1], axis=0, return_index=True)
        rows = np.flatnonzero(kept)[len(both) - 1 - first]
        kept = np.zeros(len(frame), bool)
        kept[rows] = True
    try:
        return Truth(str(path), Labelled(frame[kept], name[kept], position[kept]))
    except TrackingError as error:
        raise TrackingError(f"{path}: {error}") from None


def text(
    tracks: Labelled, velocity: Float[np.ndarray, "n d"], time: Float[np.ndarray, " n"], like: Sightings
) -> str:
    """Return tracks as a table: when, identity, position, velocity, and how uncertain the position is.

    Args:
        tracks: tracks with covariances.
        velocity: velocity of each row, per second.
        time: moment of each row, as in the file of detections.
        like: the detections they were made of.
    """
    order = np.lexsort((tracks.name, tracks.frame))
    covariance = np.zeros((len(tracks), 2, 2)) if tracks.covariance is None else tracks.covariance
    columns: dict[str, object] = {}
    if like.clock == "scan":
        columns["scan"] = tracks.frame[order]
    elif like.clock == "seconds":
        columns["time"] = time[order]
    else:
        columns["time"] = [_date(moment) for moment in time[order]]
    columns["id"] = tracks.name[order]
    if like.place is not None:
        degrees = like.place.degrees(tracks.position[:, :2])[order].round(7)
        columns |= {"longitude": degrees[:, 0], "latitude": degrees[:, 1]}
        columns |= {"v_east": velocity[order, 0].round(4), "v_north": velocity[order, 1].round(4)}
    else:
        for k, axis in enumerate("xyz"[: tracks.position.shape[1]]):
            columns |= {axis: tracks.position[order, k].round(4), f"v{axis}": velocity[order, k].round(4)}
    for k, name in enumerate(("sd_x", "sd_y")):
        columns[name] = np.sqrt(covariance[order, k, k]).round(4)
    sd = np.sqrt(covariance[order, 0, 0] * covariance[order, 1, 1])
    columns["correlation"] = np.where(sd > 0, covariance[order, 0, 1] / np.where(sd > 0, sd, 1), 0.0).round(4)
    if tracks.score is not None:
        columns["existence"] = tracks.score[order].round(4)
    if tracks.status is not None:
        columns["status"] = np.array(STATUSES)[tracks.status[order]]
    return pl.DataFrame(columns).write_csv()


def plain(name: str) -> str:
    """Return a column's name in lower case with single underscores."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


class _Table:
    """The columns of a file that mean something here, and rows that have a position."""

    def __init__(self, path: Path, lines: list[str] | None):
        self.source = str(path)
        self.notes: list[str] = []
        lines = read_lines(path) if lines is None else lines
        head = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
        if head == len(lines):
            raise TrackingError(f"{path}: expected a table of detections, got an empty file")
        separator = max(",;\t", key=lines[head].count)
        try:
            frame = pl.read_csv(
                io.BytesIO("\n".join(line for line in lines[head:] if line.strip()).encode()),
                separator=separator,
                infer_schema=False,
                truncate_ragged_lines=True,
            )
        except pl.exceptions.PolarsError as error:
            raise TrackingError(
                f"{path}: cannot be read as a table ({str(error).splitlines()[0][:120]})"
            ) from None
        if separator == ";":
            frame = frame.with_columns(pl.all().str.replace_all(",", ".", literal=True))
        self.lines = np.array([k for k, line in enumerate(lines[head:], head + 1) if line.strip()])[1:]
        there = {plain(name): name for name in reversed(frame.columns)}
        self.columns = {
            what: next(there[name] for name in names if name in there)
            for what, names in CALLED.items()
            if any(name in there for name in names)
        }
        self._check(frame)
        axes = ["x", "y"] if "x" in self.columns and "y" in self.columns else ["longitude", "latitude"]
        blank = np.zeros(frame.height, bool)
        for axis in axes:
            blank |= (frame[self.columns[axis]].fill_null("").str.strip_chars() == "").to_numpy()
        if blank.any():
            self.notes.append(f"{path}: {int(blank.sum()):,} rows have no position; they were left out.")
        self.axes = axes
        self.frame = frame.filter(pl.Series(~blank))
        self.lines = self.lines[~blank]
        if not self.frame.height:
            raise TrackingError(f"{path}: expected rows with positions, got none")

    def _check(self, frame: pl.DataFrame) -> None:
        got = ", ".join(frame.columns[:12])
        if "scan" not in self.columns and "time" not in self.columns:
            raise TrackingError(f"{self.source}: expected a column scan or time, got columns {got}")
        if not ({"x", "y"} <= self.columns.keys() or {"longitude", "latitude"} <= self.columns.keys()):
            raise TrackingError(
                f"{self.source}: expected columns x and y, or longitude and latitude, got columns {got}"
            )

    def text(self, what: str) -> list[str]:
        return [(cell or "").strip() for cell in self.frame[self.columns[what]].to_list()]

    def number(self, what: str) -> Float[np.ndarray, " rows"]:
        """Return a column as finite numbers."""
        column = self.frame[self.columns[what]]
        values = column.str.strip_chars().cast(pl.Float64, strict=False).to_numpy()
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            row = wrong[0]
            raise TrackingError(
                f"{self.source}, line {self.lines[row]}: expected a finite number as {self.columns[what]}, "
                f"got {column[int(row)]!r}"
            )
        return values

    def when(self):
        """Return frames, moments, and what the file counts time in."""
        if "scan" in self.columns:
            values = self.number("scan")
            wrong = np.flatnonzero(values != np.round(values))
            if len(wrong):
                raise TrackingError(
                    f"{self.source}, line {self.lines[wrong[0]]}: expected a whole number as "
                    f"{self.columns['scan']}, got {values[wrong[0]]:g}"
                )
            frame = values.astype(np.int64)
            return frame, values, "scan"
        time, clock = self._time()
        return np.unique(time, return_inverse=True)[1].astype(np.int64), time, clock

    def _time(self):
        column = self.frame[self.columns["time"]].str.strip_chars()
        if np.isfinite(column.cast(pl.Float64, strict=False).to_numpy()).any():
            return self.number("time"), "seconds"
        bare = column.str.replace("T", " ", literal=True).str.replace(r"(Z|\+00:?00)$", "")
        dates = bare.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
        wrong = np.flatnonzero(dates.is_null().to_numpy())
        if len(wrong):
            row = int(wrong[0])
            raise TrackingError(
                f"{self.source}, line {self.lines[row]}: expected seconds or a date such as "
                f"2016-01-12 13:02:11.2 as {self.columns['time']}, got {column[row]!r}"
            )
        return dates.cast(pl.Int64).to_numpy() / 1e6, "date"

    def where(self, place: Place | None) -> tuple[Float[np.ndarray, "rows d"], Place | None]:
        """Return positions in metres, and where on Earth they are if the file has longitudes."""
        both = np.column_stack([self.number(axis) for axis in self.axes])
        if self.axes[0] == "x":
            return both, None
        wrong = np.flatnonzero((np.abs(both) > [360, 90]).any(axis=1))
        if len(wrong):
            raise TrackingError(
                f"{self.source}, line {self.lines[wrong[0]]}: expected longitude and latitude in degrees, "
                f"got {both[wrong[0]]}"
            )
        if place is None:
            middle = np.median(both, axis=0)
            place = Place(float(middle[0]), float(middle[1]))
        return place.metres(both), place


def _date(moment: float) -> str:
    return (EPOCH + datetime.timedelta(seconds=float(moment))).isoformat(sep=" ", timespec="milliseconds")
