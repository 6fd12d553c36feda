"""Scenes of the Waymo Open Motion Dataset as JSON, as simulators such as Nocturne and GPUDrive have them.

Source: Vinitsky and others (2022), "Nocturne: a scalable driving benchmark for bringing multi-agent learning
one step closer to the real world"; Kazemkhani and others (2024), "GPUDrive: data-driven, multi-agent driving
simulation at 1 million FPS"; and their descriptions of the format.
"""

from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from foresee.driving.formats.centrelines import lanes_from_centres
from foresee.driving.formats.maps import with_lanes
from foresee.driving.formats.rows import check_rate, counted, recording_from_rows, scale_of, shorten
from foresee.driving.lanes import Lane
from foresee.driving.recording import Recording
from foresee.errors import RecordingError

RATE = 10.0
INVALID = -10_000.0
MOVING = 2.0  # m/s, fast enough to tell directions and the frame rate
BIKE_LANE = 3  # among GPUDrive's map_element_ids; both formats write only "lane" as type
NEAR = np.radians(20)
APART = 0.01  # rad


def recording_from_waymo(
    scene: dict[str, Any],
    source: str,
    name: str,
    *,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read a scene; whether headings are degrees or radians is told by the velocities.

    Args:
        scene: the JSON.
        source: where it came from.
        name: name of the scene, where the file does not say.
        frame_rate: frames per second [Hz]; by default the dataset's 10, which must agree with velocities.
        units: "m" (default) or "ft".

    Raises:
        RecordingError: if something is missing, or headings or frame rate contradict the velocities.
    """
    scale = scale_of(units)
    objects = scene.get("objects")
    if not isinstance(objects, list) or not objects:
        raise RecordingError(f"{source}: expected a list of objects in the scene, got none")
    parts = [_rows(k, one, source) for k, one in enumerate(objects)]
    names, notes = _names(objects)
    rows = pl.concat([part.with_columns(id=pl.lit(n)) for part, n in zip(parts, names, strict=True)])
    rows = rows.filter(pl.col("x").is_not_null() & pl.col("y").is_not_null())
    notes += counted(len(parts) - rows["id"].n_unique(), "object", "never valid")
    rows, rate, more = _settle(rows, frame_rate, source)
    named = scene.get("name") or scene.get("scenario_id") or name
    rows = rows.with_columns(scene=pl.lit(str(named)))
    recording = recording_from_rows(rows, source, rate, scale=scale, notes=(*notes, *more))
    lanes, about = _lanes(scene.get("roads") or [], scale, source)
    return with_lanes(recording, lanes, about)


def _rows(k: int, one: Any, source: str) -> pl.DataFrame:
    """All frames of an object, null where it is not valid."""
    try:
        place = _numbers(one["position"], ("x", "y"))
        frames = len(place)
        speed = _numbers(one.get("velocity") or [{}] * frames, ("x", "y"))
        heading = np.array(
            [INVALID if h is None else h for h in one.get("heading") or [None] * frames], float
        )
        valid = np.array(one.get("valid", [True] * frames), bool)
        sizes = [one.get(size) for size in ("length", "width")]
        length, width = (float(size) if size is not None else None for size in sizes)
        if not frames == len(speed) == len(heading) == len(valid):
            raise ValueError(
                f"{frames} positions, {len(speed)} velocities, {len(heading)} headings, {len(valid)} valid"
            )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{type(error).__name__}: {shorten(error, 80)}"
        raise RecordingError(f"{source}: object {k} is incomplete or damaged ({what})") from None
    columns = {"x": place[:, 0], "y": place[:, 1], "vx": speed[:, 0], "vy": speed[:, 1], "heading": heading}
    there = {n: np.where(valid & np.isfinite(v) & (v != INVALID), v, np.nan) for n, v in columns.items()}
    table = pl.DataFrame(there, schema=dict.fromkeys(there, pl.Float64)).fill_nan(None)
    return table.with_columns(
        type=pl.lit(str(one.get("type") or "unset").lower()),
        frame=pl.int_range(pl.len(), dtype=pl.Int64),
        length=pl.lit(length, pl.Float64),
        width=pl.lit(width, pl.Float64),
    )


def _names(objects: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What the file calls its objects; their places in it where that is no name of its own for each."""
    names = [str(k if one.get("id") is None else one["id"]).strip() for k, one in enumerate(objects)]
    if len(set(names)) == len(names) and all(names):
        return names, []
    return [str(k) for k in range(len(objects))], ["objects numbered by their place, since ids repeat"]


def _numbers(points: Any, axes: tuple[str, ...]) -> Float[np.ndarray, "N A"]:
    some = [points] if isinstance(points, dict) else points  # a stop sign's geometry may be a single point
    pairs = [[np.nan if point.get(axis) is None else point[axis] for axis in axes] for point in some]
    return np.array(pairs, float).reshape(-1, len(axes))


def _settle(
    rows: pl.DataFrame, frame_rate: float | int | None, source: str
) -> tuple[pl.DataFrame, float, list[str]]:
    """Speeds, headings in radians and the frame rate."""
    rate = RATE if frame_rate is None else check_rate(frame_rate)
    notes = [] if frame_rate is not None else [_check_rate(rows, source)]
    rows = rows.with_columns(speed=(pl.col("vx").pow(2) + pl.col("vy").pow(2)).sqrt())
    if rows["heading"].null_count() == rows.height:
        return rows.drop("vx", "vy", "heading"), rate, notes
    unit = _unit(rows.filter(pl.col("speed") > MOVING).drop_nulls("heading"), source)
    beyond = float(rows.select(pl.col("heading").abs().max()).item()) > 2 * np.pi
    if unit is None and not beyond:
        notes.append("headings left out: what moves does not tell whether they are degrees or radians")
        return rows.drop("vx", "vy", "heading"), rate, notes
    why = "some are beyond 2π" if unit is None else "that agrees with the velocities"
    notes.append(f"headings taken for {unit or 'degrees'}: {why}")
    heading = pl.col("heading") * (1.0 if unit == "radians" else np.pi / 180)
    return rows.with_columns(heading=heading).drop("vx", "vy"), rate, notes


def _unit(moving: pl.DataFrame, source: str) -> str | None:
    """The unit of headings that agrees with the velocities, or None if both do or nothing moves."""
    if moving.height == 0:
        return None
    course = np.arctan2(moving["vy"].to_numpy(), moving["vx"].to_numpy())
    off = {
        unit: np.abs((moving["heading"].to_numpy() * factor - course + np.pi) % (2 * np.pi) - np.pi)
        for unit, factor in (("degrees", np.pi / 180), ("radians", 1.0))
    }
    # a mean, since most may drive along x, where both agree; bounded, since some may slide or turn
    usual = {unit: float(np.minimum(angle, 0.5).mean()) for unit, angle in off.items()}
    best = min(usual, key=lambda unit: usual[unit])
    if np.median(off[best]) > NEAR:
        said = " and ".join(f"{np.degrees(np.median(a)):.0f}° if they are {unit}" for unit, a in off.items())
        raise RecordingError(
            f"{source}: expected headings along the velocities, in degrees or radians, got between them "
            f"a median of {said}"
        )
    return best if max(usual.values()) - usual[best] > APART else None


def _check_rate(rows: pl.DataFrame, source: str) -> str:
    """A note that the dataset's frame rate agrees with how far vehicles move at their velocities."""
    ahead = [
        pl.col(name).shift(-1).over("id").sub(pl.col(name)).alias(f"d{name}") for name in ("x", "y", "frame")
    ]
    steps = rows.with_columns(*ahead).filter(pl.col("dframe") == 1).drop_nulls(["dx", "dy", "vx", "vy"])
    pace = np.hypot(steps["vx"].to_numpy(), steps["vy"].to_numpy())
    moved = np.hypot(steps["dx"].to_numpy(), steps["dy"].to_numpy())
    moving = pace > MOVING
    if not moving.any():
        return f"{RATE:g} Hz, as the Waymo data has; nothing moves fast enough to check it"
    seconds = float(np.median(moved[moving] / pace[moving]))
    if not 0.8 < seconds * RATE < 1.25:
        raise RecordingError(
            f"{source}: expected {RATE:g} Hz as the Waymo data has, got velocities and distances that say "
            f"{1 / max(seconds, 1e-9):.4g} Hz; give --frame-rate HZ"
        )
    return f"{RATE:g} Hz, as the Waymo data has; the velocities agree"


def _lanes(roads: Any, scale: float, source: str) -> tuple[tuple[Lane, ...], list[str]]:
    centres: dict[str, np.ndarray] = {}
    kinds: dict[str, str] = {}
    short = 0
    if not isinstance(roads, list):
        raise RecordingError(f"{source}: expected a list of roads, got a {type(roads).__name__}")
    for k, road in enumerate(roads):
        try:
            if road.get("type") != "lane":
                continue
            line = _numbers(road["geometry"], ("x", "y")) * scale
            name = str(road.get("id", k))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RecordingError(f"{source}: road {k} is damaged ({shorten(error, 80)})") from None
        line = line[(np.isfinite(line) & (line != INVALID * scale)).all(axis=1)]
        moved = np.hypot(*np.diff(line, axis=0).T) > 1e-3
        line = line[np.concatenate([[True], moved])] if len(line) else line
        if len(line) < 2 or name in centres:
            short += 1
            continue
        centres[name], kinds[name] = line, "bike_lane" if road.get("map_element_id") == BIKE_LANE else "lane"
    notes = counted(short, "lane", "of the map without a length or with a name that was taken left out")
    if not centres:
        return (), notes
    lanes, more = lanes_from_centres(centres, kinds)
    return lanes, notes + more
