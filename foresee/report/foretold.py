"""Futures that were foretold while a clip went on, few enough to be drawn and to be kept in a page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_rgba

from foresee.driving.findings import Foresight
from foresee.report.plots import ORANGE

EVERY = 0.5  # looked ahead no more often than this [s]
POINTS = 8  # of a future, at most
MARKED = (1.0, 2.0, 4.0)  # doubt is drawn so far ahead [s]
LEAST = 0.03  # futures less probable than this are left out
NEARBY = 8  # vehicles whose futures are kept
STALE = 1.0  # what was foretold is shown no longer than this [s]


@dataclass(frozen=True, eq=False)
class Foretold:
    """Futures of some vehicles at some frames of a clip.

    Attributes:
        frames: the frames of the clip at which it was looked ahead, growing.
        vehicles: the vehicles of the clip; -1 for none.
        times: how far ahead the points of a future are [s].
        x, y: points of the futures [m]; nan where there is none.
        weights: probability of every future; 0 where there is none.
        marked: the points at which doubt is drawn.
        heading: direction of the futures there [rad].
        along_sd, across_sd: standard deviations there, along and across the heading [m].
    """

    frames: Int[np.ndarray, "N"]
    vehicles: Int[np.ndarray, "N S"]
    times: Float[np.ndarray, "P"]
    x: Float[np.ndarray, "N S K P"]
    y: Float[np.ndarray, "N S K P"]
    weights: Float[np.ndarray, "N S K"]
    marked: Int[np.ndarray, "E"]
    heading: Float[np.ndarray, "N S K E"]
    along_sd: Float[np.ndarray, "N S K E"]
    across_sd: Float[np.ndarray, "N S K E"]

    def between(self, first: int, last: int) -> "Foretold":
        """Keep what was foretold in the frames from first until before last, counted from the first."""
        rows = (self.frames >= first) & (self.frames < last)
        return replace(self._at(rows), frames=self.frames[rows] - first)

    def _at(self, rows: np.ndarray) -> "Foretold":
        names = ("frames", "vehicles", "x", "y", "weights", "heading", "along_sd", "across_sd")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def foretold_in(
    foresight: Foresight, keep: Int[np.ndarray, " V"], frames: int, dt: float | int
) -> Foretold | None:
    """Return what there is to draw of a foresight in a clip; None where that is nothing.

    Args:
        foresight: what was foretold.
        keep: slots of the vehicles that are in the clip.
        frames: how many frames of the episode are.
        dt: time between frames [s].
    """
    rows = _apart(foresight.frames, max(round(EVERY / dt), 1), frames)
    points = _evenly(len(foresight.times), POINTS)
    if not rows or not len(points):
        return None
    seats = {int(slot): place for place, slot in enumerate(keep)}
    slots, known = foresight.slots[rows], foresight.known[rows]
    vehicles = np.array([[seats.get(int(slot), -1) for slot in row] for row in slots], int)
    vehicles = np.where(known, vehicles, -1)[:, :NEARBY]
    weights = np.nan_to_num(foresight.weights[rows])[:, :NEARBY] * (vehicles >= 0)[..., None]
    weights = np.where(weights >= LEAST, weights, 0.0)
    if not weights.any():
        return None
    there = (weights > 0)[..., None]
    times = foresight.times[points]
    near = [int(np.argmin(np.abs(times - time))) for time in MARKED if time <= times[-1] + 0.25]
    marked = np.array(sorted(set(near)) or [len(times) - 1])

    def cut(values: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.where(there, np.asarray(values, float)[rows][:, :NEARBY][..., points[at]], np.nan)

    every = np.arange(len(points))
    return Foretold(
        np.asarray(foresight.frames)[rows],
        vehicles,
        np.asarray(times, float),
        cut(foresight.x, every),
        cut(foresight.y, every),
        weights,
        marked,
        cut(foresight.heading, marked),
        cut(foresight.along_sd, marked),
        cut(foresight.across_sd, marked),
    )


def draw_foretold(
    axes: Axes,
    foretold: Foretold,
    path: Float[np.ndarray, "T V 2"],
    frame: int,
    *,
    dt: float | int,
    size: float,
) -> None:
    """Draw what was foretold when it was last looked ahead: the more probable, the stronger.

    Args:
        axes: the picture.
        foretold: the futures.
        path: where the vehicles were [m].
        frame: the frame that is drawn.
        dt: time between frames [s].
        size: half axes of the ellipses in standard deviations.
    """
    last = int(np.searchsorted(foretold.frames, frame, side="right")) - 1
    if last < 0 or (frame - foretold.frames[last]) * dt > STALE:
        return
    seats, futures = np.nonzero(foretold.weights[last] > 0)
    weights = foretold.weights[last, seats, futures]
    start = path[foretold.frames[last], foretold.vehicles[last, seats]]
    ahead = np.stack([foretold.x[last, seats, futures], foretold.y[last, seats, futures]], axis=-1)
    lines = np.concatenate([start[:, None], ahead], axis=1)
    ink = [to_rgba(ORANGE, 0.3 + 0.7 * min(weight, 1.0)) for weight in weights]
    axes.add_collection(LineCollection(list(lines), colors=ink, linewidths=list(1 + weights), zorder=2.4))
    sizes, marks = foretold.along_sd[last, seats, futures], len(foretold.marked)
    axes.add_collection(
        EllipseCollection(
            2 * size * sizes.ravel(),
            2 * size * foretold.across_sd[last, seats, futures].ravel(),
            np.degrees(foretold.heading[last, seats, futures]).ravel(),
            units="xy",
            offsets=ahead[:, foretold.marked].reshape(-1, 2),
            offset_transform=axes.transData,
            facecolors=[to_rgba(ORANGE, 0.08 + 0.25 * min(w, 1.0)) for w in np.repeat(weights, marks)],
            edgecolors=np.repeat(np.array(ink), marks, axis=0),
            lw=0.7,
            zorder=2.3,
        )
    )


def _apart(frames: Sequence[int] | np.ndarray, least: int, end: int) -> list[int]:
    """Return places of frames that are so far apart, and before the end."""
    kept: list[int] = []
    for place in np.argsort(frames, kind="stable").tolist():
        if frames[place] < end and (not kept or frames[place] - frames[kept[-1]] >= least):
            kept.append(place)
    return kept


def _evenly(count: int, most: int) -> np.ndarray:
    """Return places spread evenly, the last one among them."""
    step = -(-count // most)
    return np.arange(count - 1, -1, -step)[::-1] if count else np.zeros(0, int)
