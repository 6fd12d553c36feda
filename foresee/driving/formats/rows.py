"""From rows as they stand in a file to a recording: clean, count what was done, lay on the grid."""

import math

import numpy as np
import polars as pl

from foresee.driving.recording import CHANNELS, TRUTHS, Recording, Truth
from foresee.errors import RecordingError

FEET = 0.3048
UNITS = {"m": 1.0, "ft": FEET}
USUAL_RATES = (1, 2, 2.5, 3, 4, 5, 6, 7.5, 8, 10, 12, 12.5, 15, 20, 24, 25, 29.97, 30, 50, 59.94, 60, 100)
FASTEST = 120.0
WIDEST = 4.5
FARTHEST = 1e8
MOST_CELLS = 60_000_000
MOST_FRAMES = 1_000_000
SIZES = {
    **dict.fromkeys(("truck", "bus"), (12.0, 2.5)),
    **dict.fromkeys(("motorcycle", "motorcyclist"), (2.2, 0.8)),
    **dict.fromkeys(("bicycle", "cyclist", "pedestrian/bicycle"), (1.8, 0.6)),
    "pedestrian": (0.6, 0.6),
}
USUAL_SIZE = (4.8, 1.9)
NUMBERS = ("frame", "x", "y", "length", "width", *CHANNELS, *(f"true_{name}" for name in TRUTHS))


def scale_of(units: str | None, usual: str = "m") -> float:
    """Metres per unit of length of a file.

    Raises:
        RecordingError: if the unit is neither "m" nor "ft".
    """
    if (units or usual) not in UNITS:
        raise RecordingError(f"expected units m or ft, got {units!r}")
    return UNITS[units or usual]


def counted(count: int, one: str, what: str = "", many: str | None = None) -> list[str]:
    """A note such as "3 rows dropped" if there is anything to count."""
    return [f"{count:,} {one if count == 1 else many or one + 's'} {what}".rstrip()] if count else []


def check_rate(frame_rate: float | int) -> float:
    """Return the frame rate if it can be one.

    Raises:
        RecordingError: if it is not a positive finite number or above 10 kHz.
    """
    if not (math.isfinite(frame_rate) and 0 < frame_rate <= 1e4):
        raise RecordingError(
            f"expected a frame rate (--frame-rate) above 0 and up to 10,000 Hz, got {frame_rate}"
        )
    return float(frame_rate)


def usual_rate(rate: float, tolerance: float) -> float | None:
    """The usual frame rate within a relative tolerance of a measured one, or None."""
    nearest = min(USUAL_RATES, key=lambda usual: abs(usual - rate) / usual)
    return float(nearest) if abs(nearest - rate) <= tolerance * nearest else None


def recording_from_rows(
    rows: pl.DataFrame,
    source: str,
    frame_rate: float | int,
    *,
    scale: float = 1.0,
    notes: tuple[str, ...] = (),
    reference: str = "centre",
) -> Recording:
    """Clean rows of a file and lay them on one grid of frames per scene.

    Args:
        rows: columns scene, id, frame, x, y and, where known, type, length, width, lane, heading, speed,
            acceleration and true_x, ...; null where the file had no value. Frames count from anywhere.
        source: where the rows came from; begins every error message.
        frame_rate: frames per second [Hz].
        scale: metres per unit of length in the rows.
        notes: what was already done to the file.
        reference: the point of a vehicle that x and y describe, "centre" or "front".

    Raises:
        RecordingError: if nothing usable is left, the frames span too much, or the units cannot be right.
    """
    check_rate(frame_rate)
    said = list(notes)
    rows = _complete(rows, scale)
    rows = _drop_unusable(rows, source, said)
    rows = _order(rows, said)
    rows = _relative_frames(rows, source)
    rows = _drop_alone(rows, source, said)
    rows = _check_units(rows, source, frame_rate, said)
    recording = _lay_out(rows, source, frame_rate, reference, said)
    holes = recording.gaps()
    if holes:
        missing = int((np.ptp(_span(recording.seen), axis=1) + 1 - recording.seen.sum(axis=1)).sum())
        said += counted(holes, "gap", f"in the tracks, {missing:,} frames in all, kept as not seen")
    return Recording(**{**recording.__dict__, "notes": tuple(said)}).validate()


def _span(seen: np.ndarray) -> np.ndarray:
    return np.stack([np.argmax(seen, axis=1), seen.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)], axis=1)


def _complete(rows: pl.DataFrame, scale: float) -> pl.DataFrame:
    """Give every column its type, infinite or absurd numbers as null, lengths in metres."""
    columns = []
    for name in NUMBERS:
        if name not in rows.columns:
            continue
        number = pl.col(name)
        if name != "frame":
            number = number.cast(pl.Float64, strict=False)
            if name in ("x", "y", "length", "width", "speed", "acceleration"):
                number = number * scale
            columns.append(pl.when(number.is_finite() & (number.abs() < FARTHEST)).then(number).alias(name))
    if "lane" in rows.columns:
        lane = pl.col("lane").cast(pl.Float64, strict=False)
        whole = lane.is_finite() & (lane >= 0) & (lane < 2**53) & (lane == lane.floor())
        columns.append(pl.when(whole).then(lane).cast(pl.Int64, strict=False).alias("lane"))
    for name in ("scene", "id", "type"):
        if name in rows.columns:
            columns.append(pl.col(name).cast(pl.String).str.strip_chars())
    return rows.with_columns(columns)


def _drop_unusable(rows: pl.DataFrame, source: str, said: list[str]) -> pl.DataFrame:
    if rows.height == 0:
        raise RecordingError(f"{source}: expected rows of positions, got none")
    known = rows.filter(pl.col("id").is_not_null() & (pl.col("id") != "") & pl.col("frame").is_not_null())
    said += counted(rows.height - known.height, "row", "without a vehicle or a time dropped")
    placed = known.filter(pl.col("x").is_not_null() & pl.col("y").is_not_null())
    said += counted(known.height - placed.height, "position", "missing or not finite, taken as not seen")
    if placed.height == 0:
        raise RecordingError(
            f"{source}: expected rows with a vehicle, a time and a position, got none usable"
        )
    return placed.with_columns(pl.col("scene").fill_null("unnamed"))


def _order(rows: pl.DataFrame, said: list[str]) -> pl.DataFrame:
    """Sort each vehicle by time and keep the first of several rows for one instant."""
    one = ["scene", "id"]
    back = rows.select((pl.col("frame").diff().over(one) < 0).sum()).item()
    said += counted(int(back), "step", "back in time, rows sorted")
    first = rows.unique(subset=[*one, "frame"], keep="first", maintain_order=True)
    dropped = rows.height - first.height
    if dropped:
        different = rows.select([*one, "frame", "x", "y"]).unique().height - first.height
        said += counted(
            dropped,
            "duplicate (vehicle, time) row",
            "dropped" + (f", {different:,} of them with another position" if different else ""),
        )
    groups = first.select(one).unique(maintain_order=True).with_row_index("row")
    scenes = first.select("scene").unique(maintain_order=True).with_row_index("place")
    joined = first.join(groups, on=one, maintain_order="left").join(scenes, on="scene", maintain_order="left")
    return joined.sort(["place", "row", "frame"])


def _relative_frames(rows: pl.DataFrame, source: str) -> pl.DataFrame:
    ends = rows.group_by("scene", maintain_order=True).agg(
        low=pl.col("frame").min(), high=pl.col("frame").max()
    )
    for scene, low, high in ends.iter_rows():
        if int(high) - int(low) >= MOST_FRAMES:  # Python's integers: the difference of two int64 may not fit
            raise RecordingError(
                f"{source}: expected at most {MOST_FRAMES:,} frames in a scene, got frames {low} to {high}"
                f" in scene {shorten(scene)}"
            )
    return rows.with_columns((pl.col("frame") - pl.col("frame").min().over("scene")).cast(pl.Int64))


def _drop_alone(rows: pl.DataFrame, source: str, said: list[str]) -> pl.DataFrame:
    several = rows.filter(pl.len().over("row") > 1)
    alone = rows["row"].n_unique() - several["row"].n_unique()
    said += counted(alone, "one-row vehicle", "dropped")
    if several.height == 0:
        raise RecordingError(
            f"{source}: expected a vehicle with at least two positions, got {alone:,} with one each"
        )
    return several


def _check_units(rows: pl.DataFrame, source: str, frame_rate: float | int, said: list[str]) -> pl.DataFrame:
    """Speeds and widths that no road vehicle has mean that the units or the frame rate are wrong."""
    step = [pl.col(name).diff().over("row").alias(name) for name in ("x", "y", "frame")]
    moved = rows.select("row", "id", *step).with_columns(
        speed=(pl.col("x").pow(2) + pl.col("y").pow(2)).sqrt() / pl.col("frame") * frame_rate
    )
    pace = moved.group_by("row", maintain_order=True).agg(pl.col("speed").median(), pl.col("id").first())
    fast = pace.filter(pl.col("speed") > FASTEST)
    if fast.height > 0.05 * pace.height:
        worst = fast.sort("speed").row(-1, named=True)
        raise RecordingError(
            f"{source}: units cannot be right: the positions of vehicle {shorten(worst['id'])} imply "
            f"{worst['speed']:.4g} m/s, expected at most {FASTEST:g}; for feet give --units ft, "
            f"and check --frame-rate (now {frame_rate:g} Hz)"
        )
    said += counted(fast.height, "vehicle", f"faster than {FASTEST:g} m/s throughout dropped")
    rows = rows.filter(~pl.col("row").is_in(fast["row"].implode()))
    for name, most, unit in (("speed", FASTEST, "m/s"), ("width", WIDEST, "m")):
        usual = rows[name].abs().median() if name in rows.columns else None
        if isinstance(usual, float) and usual > most:
            raise RecordingError(
                f"{source}: units cannot be right: the recorded {name} has a median of {usual:.4g} {unit}, "
                f"expected at most {most:g}; for feet give --units ft"
            )
    return rows


def _lay_out(
    rows: pl.DataFrame, source: str, frame_rate: float | int, reference: str, said: list[str]
) -> Recording:
    codes = np.unique(rows["row"].to_numpy(), return_inverse=True)[1]
    t = rows["frame"].to_numpy()
    shape = (int(codes.max()) + 1, int(t.max()) + 1)
    if shape[0] * shape[1] > MOST_CELLS:
        raise RecordingError(
            f"{source}: expected at most {MOST_CELLS:,} cells of vehicles × frames, got {shape[0]:,} × "
            f"{shape[1]:,}; split the file into shorter scenes"
        )

    def grid(name: str) -> np.ndarray:
        out = np.zeros(shape)
        out[codes, t] = rows[name].fill_null(0.0).to_numpy()
        return out

    seen = np.zeros(shape, bool)
    seen[codes, t] = True
    given, channels = {}, {}
    for name in CHANNELS:
        if name in rows.columns and rows[name].null_count() < rows.height:
            given[name] = np.zeros(shape, bool)
            given[name][codes, t] = rows[name].is_not_null().to_numpy()
            channels[name] = grid(name)
    lane = None
    if "lane" in rows.columns and rows["lane"].null_count() < rows.height:
        lane = np.full(shape, -1, np.int64)
        lane[codes, t] = rows["lane"].fill_null(-1).to_numpy()
    truth = None
    names = [f"true_{name}" for name in TRUTHS]
    if set(names) <= set(rows.columns) and sum(rows[name].null_count() for name in names) == 0:
        truth = Truth(present=seen.copy(), **{name: grid(f"true_{name}") for name in TRUTHS})
    about = _sizes(rows, said)
    return Recording(
        source=source,
        frame_rate=float(frame_rate),
        scene=_text(about["scene"]),
        vehicle=_text(about["id"]),
        kind=_text(about["type"]),
        length=about["length"].to_numpy().copy(),
        width=about["width"].to_numpy().copy(),
        x=grid("x"),
        y=grid("y"),
        seen=seen,
        reference="front" if reference == "front" else "centre",
        given=given,
        lane=lane,
        truth=truth,
        **channels,
    )


def _sizes(rows: pl.DataFrame, said: list[str]) -> pl.DataFrame:
    """Kind, length and width of each vehicle; usual sizes of its kind where the file has none."""
    wanted = [pl.col("scene").first(), pl.col("id").first()]
    kind = pl.col("type").drop_nulls().first() if "type" in rows.columns else pl.lit(None, pl.String)
    wanted.append(kind.alias("type"))
    for name in ("length", "width"):
        size = pl.col(name).filter(pl.col(name) > 0).median() if name in rows.columns else pl.lit(None)
        wanted.append(size.cast(pl.Float64).alias(name))
    about = rows.group_by("row", maintain_order=True).agg(wanted)
    about = about.with_columns(pl.col("type").fill_null("car").str.to_lowercase())
    lacking = about.filter(pl.col("length").is_null() | pl.col("width").is_null()).height
    said += counted(lacking, "vehicle", "without length or width, usual sizes taken")
    for place, name in enumerate(("length", "width")):
        usual = pl.col("type").replace_strict(
            {kind: size[place] for kind, size in SIZES.items()}, default=USUAL_SIZE[place]
        )
        about = about.with_columns(pl.col(name).fill_null(usual))
    return about


def _text(column: pl.Series) -> np.ndarray:
    return np.array(column.to_list(), dtype=object)


def shorten(text: object, most: int = 40) -> str:
    """A name from a file in one short printable line."""
    line = "".join(c if c.isprintable() else "?" for c in str(text))
    return line if len(line) <= most else f"{line[: most - 3]}..."
