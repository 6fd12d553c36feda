"""Tables with one row per sighting and named columns, as CSV (gzipped or not) or Parquet."""

import difflib
from collections.abc import Mapping

import numpy as np
import polars as pl

from foresee.driving.formats.rows import (
    check_rate,
    counted,
    recording_from_rows,
    scale_of,
    shorten,
    usual_rate,
)
from foresee.driving.formats.table import as_frame_number, as_number, as_text, plain
from foresee.driving.formats.unnamed import named
from foresee.driving.recording import TRUTHS, Recording
from foresee.errors import RecordingError

NAMES: dict[str, tuple[str, ...]] = {
    "scene": ("scene", "scene_id", "scenario", "case_id", "recording_id"),
    "id": ("id", "vehicle_id", "track_id", "vehicle", "object_id", "agent_id"),
    "frame": ("frame", "step", "frame_id", "timestep", "time_step"),
    "time": ("time", "t", "time_s", "timestamp", "seconds"),
    "time_ms": ("time_ms", "timestamp_ms"),
    "x": ("x", "x_center", "center_x", "x_m", "position_x"),
    "y": ("y", "y_center", "center_y", "y_m", "position_y"),
    "type": ("type", "kind", "agent_type", "object_type", "class"),
    "length": ("length", "length_m"),
    "width": ("width", "width_m"),
    "lane": ("lane", "lane_id"),
    "heading": ("heading", "yaw", "psi_rad", "heading_rad", "orientation"),
    "speed": ("speed", "velocity", "speed_mps", "v"),
    "acceleration": ("acceleration", "accel", "acc"),
    "vx": ("vx", "x_velocity"),
    "vy": ("vy", "y_velocity"),
    **{f"true_{name}": (f"true_{name}",) for name in TRUTHS},
}
REQUIRED = ("id", "frame", "x", "y")
LONGEST = 1e13  # seconds; more cannot be told apart by a tenth, and no clock shows them
RATE_HINT = "say how many frames make a second with --frame-rate HZ"


def recording_from_table(
    table: pl.DataFrame,
    source: str,
    scene: str,
    *,
    columns: Mapping[str, str] | None = None,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read a table whose columns have names; see `read_recording` for the options.

    Raises:
        RecordingError: if columns are missing, the frame rate is unknown or the content cannot be right.
    """
    if table.height == 0:
        raise RecordingError(f"{source}: expected rows of positions, got none")
    scale = scale_of(units)
    found, notes = match_columns(table.columns, columns or {}, source)
    rows = {"id": as_text(table, found["id"]) if "id" in found else pl.repeat("", table.height, eager=True)}
    for name in ("scene", "type"):
        if name in found:
            rows[name] = as_text(table, found[name])
    for name in found.keys() - {"id", "scene", "type", "frame", "time", "time_ms"}:
        rows[name] = as_number(table, found[name])
    if "speed" not in found and {"vx", "vy"} <= found.keys():
        rows["speed"] = (rows["vx"].pow(2) + rows["vy"].pow(2)).sqrt()
    if "heading" in rows and (rows["heading"].abs().quantile(0.99) or 0) > 7:
        notes.append("headings beyond 2π taken for degrees")
        rows["heading"] = rows["heading"] * (np.pi / 180)
    if "lane" in rows:
        notes += _lanes_lost(table, found["lane"], rows["lane"])
    for name, series in _clock(table, found, source).items():
        rows[name] = series
    frame = pl.DataFrame([series.alias(name) for name, series in rows.items()])
    if "scene" not in found:
        frame = frame.with_columns(scene=pl.lit(scene))
    frame, rate = _timed(frame, frame_rate, scale, source, notes)
    if "id" not in found:
        frame, made = named(frame, rate, scale, source)
        notes += made
    return recording_from_rows(frame, source, rate, scale=scale, notes=tuple(notes))


def _lanes_lost(table: pl.DataFrame, column: str, lane: pl.Series) -> list[str]:
    given = as_text(table, column).str.strip_chars().replace("", None).is_not_null()
    whole = (lane.is_finite() & (lane >= 0) & (lane == lane.floor())).fill_null(False)
    return counted(int((given & ~whole).sum()), "lane number", "not whole, taken as unknown")


def match_columns(
    present: list[str], wanted: Mapping[str, str], source: str
) -> tuple[dict[str, str], list[str]]:
    """Find which column of the file holds what: {"x": "Local_X"}, and notes on the columns left over.

    Raises:
        RecordingError: naming what is missing or unknown and the nearest names there are.
    """
    found: dict[str, str] = {}
    for name, column in wanted.items():
        if name not in NAMES:
            raise RecordingError(
                f"expected one of {', '.join(NAMES)} before = in --columns, got {name!r}{near(name, NAMES)}"
            )
        if column not in present:
            raise RecordingError(
                f"{source}: --columns asks for {column!r}, "
                f"got columns {listed(present)}{near(column, present)}"
            )
        found[name] = column
    plains = {plain(column): column for column in reversed(present) if column not in found.values()}
    for name, aliases in NAMES.items():
        match = next((plains[alias] for alias in aliases if alias in plains), None)
        if name not in found and match is not None:
            found[name] = match
    missing = [name for name in REQUIRED if name not in found]
    if "frame" in missing and {"time", "time_ms"} & found.keys():
        missing.remove("frame")
    if missing == ["id"] and set(found.values()) == set(present):
        missing = []  # detections: who is who is found out later
    if missing:
        words = {"frame": (*NAMES["frame"], *NAMES["time"])}
        what = "; ".join(
            ("frame or time" if name == "frame" else name) + near(name, present, words.get(name, NAMES[name]))
            for name in missing
        )
        raise RecordingError(
            f"{source}: missing column {what}; got columns {listed(present)}; "
            f"name another with --columns {missing[0]}=NAME"
        )
    spare = [column for column in present if column not in found.values()]
    if not spare:
        return found, []
    unused = [name for name in NAMES if name not in found]
    hints = [shorten(column) + (near(column, unused) if len(column) > 2 else "") for column in spare]
    return found, counted(len(spare), "column", f"not used: {', '.join(hints[:12])}")


def near(name: str, choices, aliases: tuple[str, ...] = ()) -> str:
    """A hint at the nearest names, or nothing."""
    plains = {plain(choice): choice for choice in choices}
    close: list[str] = []
    for word in (name, *aliases):
        close += [plains[p] for p in difflib.get_close_matches(plain(word), plains, n=2, cutoff=0.7)]
        close += [choice for p, choice in plains.items() if len(word) > 1 and word in p]
        if len(word) == 1:
            close += [choice for p, choice in plains.items() if word in p.split("_")]
    close = [shorten(choice) for choice in dict.fromkeys(close)]
    return f" (nearest: {', '.join(close[:3])})" if close else ""


def listed(names: list[str]) -> str:
    """The first names of a list, in one line."""
    return ", ".join(shorten(name, 30) for name in names[:15]) + (", ..." if len(names) > 15 else "")


def _clock(table: pl.DataFrame, found: dict[str, str], source: str) -> dict[str, pl.Series]:
    clock = {}
    if "frame" in found:
        clock["frame"] = as_frame_number(table, found["frame"], source)
    for name, scale in (("time_ms", 1e-3), ("time", 1.0)):
        if name in found:
            clock["time"] = as_number(table, found[name]) * scale
            if clock["time"].is_finite().sum() == 0 and "frame" not in found:
                raise RecordingError(f"{source}: expected seconds in {shorten(found[name])}, got no number")
    return clock


def _timed(
    rows: pl.DataFrame, frame_rate: float | int | None, scale: float, source: str, notes: list[str]
) -> tuple[pl.DataFrame, float]:
    """Settle the frame rate and give every row a whole frame number."""
    if "time" in rows.columns:
        possible = pl.col("time").is_finite() & (pl.col("time").abs() < LONGEST)
        rows = rows.with_columns(pl.when(possible).then(pl.col("time")).alias("time"))
    if "frame" in rows.columns:
        rows, stride = _thin(rows)
        if frame_rate is not None:
            rate = check_rate(frame_rate) / stride
        elif "time" in rows.columns:
            rate = _rate_by_clock(rows, source)
        else:
            rate = _rate_by_speed(rows, scale, source, notes)
        if stride > 1:
            notes.append(f"frames come in steps of {stride:,}: counted by that, {rate:g} Hz")
        return rows, rate
    rate = check_rate(frame_rate) if frame_rate is not None else _rate_by_clock(rows, source)
    ticks = (pl.col("time") - pl.col("time").min().over("scene")) * rate
    rows = rows.with_columns(ticks=ticks)
    off = rows.select((pl.col("ticks") - pl.col("ticks").round()).abs()).to_series()
    if (off > 0.25).sum() > 0.1 * rows.height:
        raise RecordingError(
            f"{source}: expected times on a regular grid, got {(off > 0.25).sum():,} of {rows.height:,} rows "
            f"far from {rate:g} Hz; {RATE_HINT}"
        )
    notes += counted(int((off > 0.05).sum()), "time", f"moved to the nearest frame of {rate:g} Hz")
    return rows.with_columns(frame=pl.col("ticks").round().cast(pl.Int64)).drop("ticks"), rate


def _thin(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Count frames by their common step where a file uses, say, every tenth number only."""
    least = rows["frame"].min()
    if not isinstance(least, int):
        return rows, 1
    ahead = (
        rows["frame"].drop_nulls().to_numpy().astype(object) - least
    )  # object: the difference may not fit int64
    stride = int(np.gcd.reduce(ahead)) if len(ahead) else 1
    if stride <= 1 or len(set(ahead.tolist())) < 3:
        return rows, 1
    return rows.with_columns(frame=(pl.col("frame") - least) // stride), stride


def _steps(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Forward differences within each vehicle, between consecutive frames or times."""
    clock = "frame" if "frame" in rows.columns else "time"
    one = ["scene", "id"]
    ordered = rows.drop_nulls([*one, clock]).unique([*one, clock], keep="first").sort([*one, clock])
    kept = [pl.col("speed")] if "speed" in names else []
    changes = [pl.col(n).diff().shift(-1).over(one).alias(n) for n in names if n != "speed"]
    return ordered.select(*kept, *changes).drop_nulls()


def _rate_by_clock(rows: pl.DataFrame, source: str) -> float:
    """Frame rate from a column of seconds, by the usual step between a vehicle's rows."""
    counts_frames = "frame" in rows.columns
    steps = _steps(rows, "time", "frame") if counts_frames else _steps(rows, "time")
    gap = steps["time"] / steps["frame"].cast(pl.Float64) if counts_frames else steps["time"]
    gap = gap.filter(gap.is_finite() & (gap > 0))
    median = gap.median()
    if not isinstance(median, float):
        raise RecordingError(f"{source}: expected a vehicle with two different times, got none; {RATE_HINT}")
    rate = 1 / median
    if not 0.2 < rate < 1e3:
        raise RecordingError(
            f"{source}: expected times in seconds, got steps of {median:.4g}; "
            f"for milliseconds give --columns time_ms=NAME"
        )
    return usual_rate(rate, 0.01) or rate


def _rate_by_speed(rows: pl.DataFrame, scale: float, source: str, notes: list[str]) -> float:
    """Frame rate from recorded speeds: moved distance over speed is the time that passed."""
    unknown = RecordingError(
        f"{source}: the file counts frames and does not say how long one is: {RATE_HINT} (NGSIM has 10)"
    )
    if "speed" not in rows.columns:
        raise unknown
    steps = _steps(rows, "x", "y", "frame", "speed").filter(pl.col("frame") == 1)
    steps = steps.filter(pl.col("speed").is_finite() & (pl.col("speed") * scale > 2))
    taken = ((steps["x"].pow(2) + steps["y"].pow(2)).sqrt() / steps["speed"]).drop_nulls()
    taken = taken.filter(taken.is_finite())
    if len(taken) < 20:
        raise unknown
    low, middle, high = (taken.quantile(q, "linear") or 0.0 for q in (0.25, 0.5, 0.75))
    rate = usual_rate(1 / middle, 0.03) if middle > 0 and high - low < 0.3 * middle else None
    if rate is None:
        raise unknown
    notes.append(
        f"frame rate taken as {rate:g} Hz: recorded speeds and moved distances agree on {1 / middle:.4g} Hz"
    )
    return rate
