"""CommonRoad scenario files, versions 2018b and 2020a: dynamic obstacles and lanelets.

Source: Althoff, Koschi, Manzinger (2017), "CommonRoad: composable benchmarks for motion planning on roads",
and the XML documentation of the two versions.
"""

from collections import Counter
from xml.etree.ElementTree import Element

import polars as pl

from foresee.driving.formats.commonroad_lanes import Lanelets
from foresee.driving.formats.maps import with_lanes
from foresee.driving.formats.markup import elements, number
from foresee.driving.formats.rows import check_rate, counted, recording_from_rows, scale_of, shorten
from foresee.driving.recording import Recording
from foresee.errors import RecordingError

LEFT_OUT = ("staticObstacle", "environmentObstacle", "phantomObstacle")
READ = ("obstacle", "dynamicObstacle", *LEFT_OUT)
COUNTED = {
    "region": ("position", "given as a region, its middle taken"),
    "interval": ("number", "given as an interval, its middle taken"),
    "still": ("static obstacle", "left out"),
    "unmoved": ("obstacle", "without a trajectory left out"),
    "polygon": ("polygon", "replaced by the box around it"),
    "circle": ("circle", "replaced by the square around it"),
}


def recording_from_commonroad(
    data: bytes, source: str, *, frame_rate: float | int | None = None, units: str | None = None
) -> Recording:
    """Read the obstacles that move and the lanelets of a CommonRoad file.

    Args:
        data: the XML.
        source: where it came from.
        frame_rate: frames per second [Hz]; by default from `timeStepSize`.
        units: "m" (default) or "ft".

    Raises:
        RecordingError: if it is not well-formed or not CommonRoad, declares entities, or nothing moves in it.
    """
    scale = scale_of(units)
    seen: Counter[str] = Counter()
    rows: dict[str, list] = {
        name: []
        for name in ("id", "type", "length", "width", "frame", "x", "y", "heading", "speed", "acceleration")
    }
    road = Lanelets()
    root = _parse(data, source, rows, seen, road)
    if not rows["id"]:
        raise RecordingError(f"{source}: expected dynamic obstacles with positions, got none")
    notes = [note for name, (one, what) in COUNTED.items() for note in counted(seen[name], one, what)]
    scene = root.get("benchmarkID") or "commonroad"
    schema = {name: pl.String if name in ("id", "type") else pl.Float64 for name in rows}
    frame = _whole_frames(pl.DataFrame(rows, schema=schema), source).with_columns(scene=pl.lit(scene))
    rate = _rate(root, source) if frame_rate is None else check_rate(frame_rate)
    recording = recording_from_rows(frame, source, rate, scale=scale, notes=tuple(notes))
    return with_lanes(recording, *road.lanes(scale))


def _parse(data: bytes, source: str, rows: dict[str, list], seen: Counter[str], road: Lanelets) -> Element:
    """Read every obstacle and lanelet as soon as it is complete, and return the root."""
    parts = elements(data, source, "commonRoad", "a CommonRoad")
    root = next(parts)
    for element in parts:
        if element.tag in READ:
            _read_obstacle(element, rows, seen)
        road.take(element)
    return root


def _rate(root: Element, source: str) -> float:
    text = root.get("timeStepSize")
    step = number(text)
    if step is None or not 1e-4 <= step <= 1e4:
        raise RecordingError(
            f"{source}: expected timeStepSize in seconds, got "
            f"{'none' if text is None else repr(shorten(text))}; give --frame-rate HZ"
        )
    rate = 1 / step
    return float(round(rate)) if abs(rate - round(rate)) < 1e-6 * rate else rate


def _whole_frames(rows: pl.DataFrame, source: str) -> pl.DataFrame:
    times = rows["frame"].drop_nulls()
    times = times.filter(times.is_finite())
    bad = times.filter((times != times.round()) | (times.abs() > 9e15))
    if len(bad):
        raise RecordingError(f"{source}: expected whole time steps, got {bad[0]:g}")
    known = pl.when(pl.col("frame").is_finite()).then(pl.col("frame"))
    return rows.with_columns(frame=known.cast(pl.Int64))


def _read_obstacle(obstacle: Element, rows: dict[str, list], seen: Counter[str]) -> None:
    role = (obstacle.findtext("role") or "").strip()
    if obstacle.tag in LEFT_OUT or role == "static":
        seen["still"] += 1
        return
    states = [
        state
        for state in (obstacle.find("initialState"), *obstacle.iterfind("trajectory/state"))
        if state is not None
    ]
    if len(states) < 2:
        seen["unmoved"] += 1
        return
    length, width = _size(obstacle.find("shape"), seen)
    for state in states:
        x, y = _position(state.find("position"), seen)
        rows["id"].append(obstacle.get("id"))
        rows["type"].append((obstacle.findtext("type") or "car").strip() or "car")
        rows["length"].append(length)
        rows["width"].append(width)
        rows["x"].append(x)
        rows["y"].append(y)
        time = _value(state.find("time"), seen)
        # the middle of an interval of whole steps may lie between two of them
        rows["frame"].append(time - 0.5 if time is not None and time % 1 == 0.5 else time)
        for name, tag in (
            ("heading", "orientation"),
            ("speed", "velocity"),
            ("acceleration", "acceleration"),
        ):
            rows[name].append(_value(state.find(tag), seen))


def _value(element: Element | None, seen: Counter[str]) -> float | None:
    """A number written as <exact>, as an interval (its middle), or directly."""
    if element is None:
        return None
    exact = element.findtext("exact")
    if exact is not None:
        return number(exact)
    low, high = number(element.findtext("intervalStart")), number(element.findtext("intervalEnd"))
    if low is not None and high is not None:
        seen["interval"] += 1
        return (low + high) / 2
    return number(element.text)


def _position(element: Element | None, seen: Counter[str]) -> tuple[float | None, float | None]:
    if element is None:
        return None, None
    point = element.find("point")
    if point is None:
        seen["region"] += 1
        point = element.find(".//center")
    if point is not None:
        return _value(point.find("x"), seen), _value(point.find("y"), seen)
    corners = _corners(element)
    return (_middle([x for x, _ in corners]), _middle([y for _, y in corners])) if corners else (None, None)


def _corners(element: Element) -> list[tuple[float, float]]:
    points = [(number(p.findtext("x")), number(p.findtext("y"))) for p in element.iter("point")]
    return [(x, y) for x, y in points if x is not None and y is not None]


def _middle(values: list[float]) -> float:
    return (min(values) + max(values)) / 2


def _size(shape: Element | None, seen: Counter[str]) -> tuple[float | None, float | None]:
    """Length and width of a shape: a rectangle's own, or those of the box around another one."""
    if shape is None:
        return None, None
    rectangle, circle = shape.find("rectangle"), shape.find("circle")
    if rectangle is not None:
        return _value(rectangle.find("length"), seen), _value(rectangle.find("width"), seen)
    if circle is not None:
        radius = _value(circle.find("radius"), seen)
        seen["circle"] += 1
        return (None, None) if radius is None else (2 * radius, 2 * radius)
    corners = _corners(shape)
    if not corners:
        return None, None
    seen["polygon"] += 1
    xs, ys = zip(*corners, strict=True)
    return max(xs) - min(xs), max(ys) - min(ys)
