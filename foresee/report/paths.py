"""Figures of where vehicles went: a map of one scene, and single vehicles over time."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from foresee.driving.accuracy import reference_points
from foresee.driving.states import QUANTITIES, States, finite_differences
from foresee.report.page import Figure, Keyed
from foresee.report.plots import BAND_50, BAND_90, BLUE, GREY, PALE, VERMILLION, dots_within, drawing

MOST_MAP_ROWS = 40_000
LEAST_ROWS = 50  # a vehicle seen less often than that says little
STEEPEST = 8.0  # a map longer than this many times its width is stretched across
COMPACT = 2.2  # with less length than this many times its width, two maps fit beside each other
BENDS = 5  # degree of the polynomial that stands for the course of a road
WIDEST = 30.0  # m; vehicles further apart than this sideways do not follow one course
SMALL = (3.7, 2.5)  # inches
MARGINS = {"left": 0.13, "right": 0.98, "bottom": 0.19, "top": 0.88}  # the same for all, so that they line up
HALF, NINETY = 0.6745, 1.6449  # standard normal quantiles of central 50 and 90 % intervals


@dataclass(frozen=True)
class Course:
    """The main direction of a scene, and how its road bends away from a straight line.

    Attributes:
        origin: a point on the road.
        direction: unit vector in which the traffic mostly goes.
        bends: coefficients of the sideways position over the scaled distance, highest power first; 0 if the
            vehicles do not follow one course.
        scale: metres per unit of that polynomial's argument.
    """

    origin: np.ndarray
    direction: np.ndarray
    bends: np.ndarray
    scale: float

    def along(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance in the main direction [m]."""
        return (x - self.origin[0]) * self.direction[0] + (y - self.origin[1]) * self.direction[1]

    def across(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance to the left of the main direction [m]."""
        return (y - self.origin[1]) * self.direction[0] - (x - self.origin[0]) * self.direction[1]

    def aside(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance to the left of the course of the road [m]."""
        return self.across(x, y) - np.polyval(self.bends, self.along(x, y) / self.scale)


def course_of(states: States, scene: str) -> Course:
    """Find the main direction and the bends of one scene from all its smoothed positions."""
    rows = states.alive & (states.recording.scene == scene)[:, None]
    x, y, heading, speed = (states.mean[..., k][rows] for k in range(4))
    origin = np.array([x.mean(), y.mean()])
    offset = np.stack([x, y], axis=1) - origin
    direction = np.linalg.eigh(offset.T @ offset)[1][:, 1]
    if np.sum(speed * (np.cos(heading) * direction[0] + np.sin(heading) * direction[1])) < 0:
        direction = -direction
    straight = Course(origin, direction, np.zeros(1), 1.0)
    along, across = straight.along(x, y), straight.across(x, y)
    scale = max(float(np.abs(along).max()), 1.0)
    if len(along) <= 10 * BENDS:
        return straight
    bends = np.polynomial.Polynomial.fit(along / scale, across, BENDS, domain=[-1, 1]).coef[::-1]
    course = Course(origin, direction, bends, scale)
    return course if np.ptp(course.aside(x, y)) < WIDEST else straight


def busiest_scene(states: States) -> str:
    """Name of the scene with the most rows."""
    rows = states.alive.sum(axis=1)
    scenes = states.recording.scenes()
    return max(scenes, key=lambda name: int(rows[states.recording.scene == name].sum()))


def choose_vehicles(states: States) -> list[tuple[int, str]]:
    """Pick a few vehicles by rules that do not look at how well they were estimated: (row, why)."""
    seen = states.tracks.seen.sum(axis=1)
    enough = seen >= min(LEAST_ROWS, int(seen.max()))
    raw = np.abs(finite_differences(states.tracks, states.recording.frame_rate)["acceleration"])
    wildest = np.where(np.isfinite(raw), raw, -1.0).max(axis=1)
    missing = (states.alive & ~states.tracks.seen).sum(axis=1)
    rules = [
        ("seen the longest", seen.astype(float)),
        ("moved furthest sideways", _sideways(states)),
        ("largest acceleration in the raw positions", wildest),
        ("most frames missing", missing.astype(float)),
    ]
    chosen: list[tuple[int, str]] = []
    for why, score in rules:
        free = enough & ~np.isin(np.arange(len(seen)), [v for v, _ in chosen])
        if free.any() and score[free].max() > 0:
            chosen.append((int(np.argmax(np.where(free, score, -np.inf))), why))
    return chosen


def _sideways(states: States) -> np.ndarray:
    out = np.zeros(len(states.alive))
    for scene in states.recording.scenes():
        course = course_of(states, scene)
        for v in np.flatnonzero(states.recording.scene == scene):
            rows = states.alive[v]
            aside = course.aside(states.mean[v, rows, 0], states.mean[v, rows, 1])
            out[v] = np.ptp(np.quantile(aside, [0.05, 0.95]))
    return out


def draw_map(states: States) -> Figure:
    """Top view of the busiest scene: raw and smoothed paths, both coloured by speed."""
    scene = busiest_scene(states)
    course = course_of(states, scene)
    members = np.flatnonzero(states.recording.scene == scene)
    thin = int(np.ceil(states.alive[members].sum() / MOST_MAP_ROWS))
    members = members[::thin]
    raw_speed = finite_differences(states.tracks, states.recording.frame_rate)["speed"]
    x, y = reference_points(states)
    seen = states.tracks.seen & np.isfinite(raw_speed)
    raw = _segments(course, members, states.tracks.x, states.tracks.y, seen, raw_speed)
    smooth = _segments(course, members, x, y, states.alive, states.mean[..., 3])
    corners = np.concatenate([smooth[0].reshape(-1, 2), raw[0].reshape(-1, 2)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    length, width = np.maximum(high - low, 1.0)
    stretched = length / width > STEEPEST
    fastest = float(np.quantile(smooth[1], 0.995)) if len(smooth[1]) else 1.0
    beside = length / width < COMPACT
    room = 4.1 if beside else 8.3  # inches for the length of one panel
    height = 1.75 if stretched else float(np.clip(room * width / length, 1.2, 4.5))
    with drawing(9.6, height + 0.9 if beside else 2 * height + 1.0) as result:
        panels = result.canvas.subplots(*((1, 2) if beside else (2, 1)), sharex=True, sharey=True)
        for axes, (pieces, speeds), title in zip(
            panels, (raw, smooth), ("Raw positions, speed by finite differences", "Smoothed"), strict=True
        ):
            lines = LineCollection(list(pieces), array=speeds, cmap="viridis", linewidths=1.3)
            lines.set_clim(0, fastest)
            lines.set_rasterized(True)  # tens of thousands of pieces
            axes.add_collection(lines)
            axes.set_title(title)
            axes.set_xlim(low[0] - 0.01 * length, high[0] + 0.01 * length)
            axes.set_ylim(low[1] - 0.05 * width, high[1] + 0.05 * width)
            if not stretched:
                axes.set_aspect("equal", adjustable="box")
        for axes in panels[:1] if beside else panels:
            axes.set_ylabel("across [m]")
        for axes in panels if beside else panels[1:]:
            axes.set_xlabel("along the main direction of the traffic [m]")
        bar = result.canvas.colorbar(lines, ax=panels, aspect=30, pad=0.01, extend="max")
        bar.set_label("speed [m/s]")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    which = f"Scene {scene}, the one with most rows" if len(states.recording.scenes()) > 1 else "All vehicles"
    caption = (
        f"**Seen from above.** {which}, turned so that most traffic runs to the right"
        f"{' and stretched across' if stretched else ''}{f'; one vehicle in {thin}' if thin > 1 else ''}. "
        "Look for colours that flicker along a path above and do not below: a vehicle cannot change its "
        "speed so fast."
    )
    alt = f"Map of the paths of {len(members)} vehicles, raw above and smoothed below, coloured by speed."
    return Figure(result.svg, alt, caption, wide=True)


def _segments(
    course: Course, members: np.ndarray, x: np.ndarray, y: np.ndarray, there: np.ndarray, speed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    x, y, there, speed = (a[members] for a in (x, y, there, speed))
    points = np.stack([course.along(x, y), course.across(x, y)], axis=-1)
    pieces = np.stack([points[:, :-1], points[:, 1:]], axis=2)
    both = there[:, :-1] & there[:, 1:]
    return pieces[both], (0.5 * (speed[:, :-1] + speed[:, 1:]))[both]


@dataclass(frozen=True)
class Trace:
    """One quantity of one vehicle over time or distance, everything that is known about it."""

    across: np.ndarray
    raw: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    truth: np.ndarray | None


def draw_vehicle(states: States, vehicle: int) -> tuple[Figure, ...]:
    """Path, speed and acceleration of one vehicle."""
    recording, rows = states.recording, np.flatnonzero(states.alive[vehicle])
    frames = states.tracks.first[vehicle] + rows
    time = frames / recording.frame_rate
    differences = finite_differences(states.tracks, recording.frame_rate)
    seen = states.tracks.seen[vehicle, rows]
    name = f"vehicle {recording.vehicle[vehicle]}"
    figures = [_draw_path(states, vehicle, rows, seen)]
    for quantity, unit, least in (("speed", "m/s", 3.0), ("acceleration", "m/s²", 6.0)):
        k = QUANTITIES.index(quantity)
        truth = recording.truth
        known = None if truth is None else getattr(truth, quantity)[vehicle, frames]
        trace = Trace(
            time,
            differences[quantity][vehicle, rows],
            states.mean[vehicle, rows, k],
            states.standard_deviation[vehicle, rows, k],
            known,
        )
        with drawing(*SMALL, margins=MARGINS) as result:
            axes = result.canvas.subplots()
            outside = _draw_trace(axes, trace, seen, least)
            axes.set_xlabel("time [s]")
            axes.set_title(f"{quantity} [{unit}]")
        alt = f"{quantity.capitalize()} of {name} over time: smoothed with bands, finite differences behind."
        values = int(np.isfinite(trace.raw).sum())
        caption = f"{outside:,} of {values:,} raw values lie beyond the edges." if outside else ""
        figures.append(Figure(result.svg, alt, caption))
    return tuple(figures)


def _draw_path(states: States, vehicle: int, rows: np.ndarray, seen: np.ndarray) -> Figure:
    recording, tracks = states.recording, states.tracks
    frames = tracks.first[vehicle] + rows
    course = course_of(states, recording.scene[vehicle])
    x, y = (a[vehicle, rows] for a in reference_points(states))
    shift = x - states.mean[vehicle, rows, 0], y - states.mean[vehicle, rows, 1]
    normal = np.array([-course.direction[1], course.direction[0]])
    variance = np.einsum("i,tij,j->t", normal, states.covariance[vehicle, rows, :2, :2], normal)
    raw = course.aside(tracks.x[vehicle, rows], tracks.y[vehicle, rows])
    known = None
    if recording.truth is not None:
        true_x, true_y = recording.truth.x[vehicle, frames], recording.truth.y[vehicle, frames]
        known = course.aside(true_x + shift[0], true_y + shift[1])
    trace = Trace(
        course.along(x, y),
        np.where(seen, raw, np.nan),
        course.aside(x, y),
        np.sqrt(np.maximum(variance, 0.0)),
        known,
    )
    with drawing(*SMALL, margins=MARGINS) as result:
        axes = result.canvas.subplots()
        _draw_trace(axes, trace, seen, 4.0)
        axes.set_xlabel("along [m]")
        axes.set_title("sideways from the course of the road [m]" if course.bends.any() else "sideways [m]")
    alt = f"Path of vehicle {recording.vehicle[vehicle]}: raw positions, smoothed path with bands."
    return Figure(result.svg, alt)


def _draw_trace(axes: Axes, trace: Trace, seen: np.ndarray, least: float) -> int:
    """Draw bands, mean, truth and raw values; the limits show the bands, at least `least` high."""
    x, mean = trace.across, trace.mean
    known = [trace.truth] if trace.truth is not None else []
    low = min(np.min(a) for a in [mean - 2.2 * trace.deviation, *known])
    high = max(np.max(a) for a in [mean + 2.2 * trace.deviation, *known])
    centre, half = 0.5 * (low + high), 0.5 * max(1.15 * (high - low), least)
    _shade_gaps(axes, x, seen)
    outside = dots_within(axes, x, trace.raw, centre - half, centre + half)
    for quantile, colour in ((NINETY, BAND_90), (HALF, BAND_50)):
        half_width = quantile * trace.deviation
        axes.fill_between(x, mean - half_width, mean + half_width, color=colour, lw=0)
    axes.plot(x, mean, color=BLUE, lw=1.4, zorder=3)
    if trace.truth is not None:
        axes.plot(x, trace.truth, color=VERMILLION, lw=1.0, zorder=2.5)
    axes.margins(x=0.02)
    return outside


def _shade_gaps(axes: Axes, x: np.ndarray, seen: np.ndarray) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[True], seen, [True]]).astype(int)))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        axes.axvspan(float(x[max(first - 1, 0)]), float(x[min(last, len(x) - 1)]), color=PALE, lw=0, zorder=0)


PATH_KEY: Keyed = (
    ("dot", GREY, "raw (triangle: beyond the edge)"),
    ("line", BLUE, "smoothed"),
    ("band", BAND_50, "50 % band"),
    ("band", BAND_90, "90 % band"),
    ("band", PALE, "not seen"),
)
TRUTH_KEY: Keyed = (("line", VERMILLION, "truth"),)
