"""A player that replays tracks beside the detections they were made of, inside a page, without a network."""

import base64
import json
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from foresee.report.clip import NINETY
from foresee.report.player import Packer
from foresee.report.plots import BLACK, BLUE, GREEN, ORANGE, VERMILLION, drawing
from foresee.report.words import rich
from foresee.tracking.labelled import STATUSES, Labelled

LOOKS = {"tentative": ORANGE, "confirmed": BLUE, "coasted": VERMILLION}
FINE = 4000  # steps across the picture: finer than a screen shows


@dataclass(frozen=True, eq=False)
class TracksClip:
    """What is replayed.

    Attributes:
        frames: numbers of the frames, in order.
        times: moment of each [s].
        tracks: tracks with covariances and statuses, and boxes if there are any.
        seen: frame of every detection.
        points: where each was.
        truth: who really was where; None if nobody knows.
        unit: unit of the positions.
        axes: names of the two axes.
        downwards: whether the second axis points down, as in an image.
        words: what a frame is called.
    """

    frames: Int[np.ndarray, " frames"]
    times: Float[np.ndarray, " frames"]
    tracks: Labelled
    seen: Int[np.ndarray, " n"]
    points: Float[np.ndarray, "n 2"]
    truth: Labelled | None
    unit: str
    axes: tuple[str, str]
    downwards: bool = False
    words: str = "frame"


@dataclass(frozen=True, eq=False)
class TracksPlayer:
    """A block of a page that replays tracks."""

    clip: TracksClip
    caption: str = ""

    @property
    def style(self) -> str:
        """What the page's style needs for this block."""
        return _file("player.css") + _file("tracks_player.css")

    @property
    def script(self) -> str:
        """What the page has to run for this block."""
        parts = "\n".join(_file(name) for name in ("player_basics.js", "player_time.js", "tracks_player.js"))
        return f'"use strict";\n(() => {{\n{parts}}})();\n'

    def html(self) -> str:
        """Return the block as HTML."""
        data = json.dumps(pack(self.clip), ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
        picture = base64.b64encode(still(self.clip).encode()).decode()
        caption = f"<figcaption>{rich(self.caption)}</figcaption>" if self.caption else ""
        about = f"Paths of {len(self.clip.tracks.names):,} tracks over {len(self.clip.frames):,} frames"
        return (
            f'<figure class="replay tracks"><noscript><img alt="{escape(about)}." '
            f'src="data:image/svg+xml;base64,{picture}"></noscript>'
            f'<script type="application/json">{data}</script>{caption}</figure>'
        )


@cache
def _file(name: str) -> str:
    return files("foresee.report").joinpath(name).read_text(encoding="utf-8")


def pack(clip: TracksClip) -> dict[str, Any]:
    """Return what the script needs: counts per frame, and columns of numbers deflated."""
    tracks = clip.tracks.select(np.isin(clip.tracks.frame, clip.frames)).in_order()
    low, high = _extent(clip)
    step = float(np.max(high - low)) / FINE
    names, number = np.unique(tracks.name, return_inverse=True)
    packer = Packer()
    for axis in tracks.position[:, :2].T:
        packer.add(axis[None], step)
    for values, fine in zip(_ellipses(tracks).T, (step / 4, step / 4, 0.01), strict=True):
        packer.add(values[None], fine)
    packer.add(number[None].astype(float), 1.0)
    packer.add((np.zeros(len(tracks)) if tracks.status is None else tracks.status)[None].astype(float), 1.0)
    shape = None
    if tracks.box is not None:
        shape = "image" if tracks.box.shape[1] == 4 else "above"
        columns = tracks.box[:, 2:4].T if shape == "image" else tracks.box[:, [3, 4, 6]].T
        for k, values in enumerate(columns):
            packer.add(
                np.remainder(values, 2 * np.pi)[None] if k == 2 else values[None], 0.01 if k == 2 else step
            )
    order = np.argsort(clip.seen, kind="stable")
    order = order[np.isin(clip.seen[order], clip.frames)]
    return {
        "frames": len(clip.frames),
        "numbers": clip.frames.tolist(),
        "times": np.round(clip.times, 3).tolist(),
        "unit": clip.unit,
        "axes": list(clip.axes),
        "down": clip.downwards,
        "words": clip.words,
        "low": low.tolist(),
        "high": high.tolist(),
        "statuses": list(STATUSES[:3]),
        "shape": shape,
        "names": names.tolist(),
        "tracks": {
            "counts": _counts(tracks.frame, clip.frames),
            "columns": packer.columns,
            "data": packer.text(),
        },
        "seen": _points(clip.points[order], clip.seen[order], clip.frames, step),
        "truth": None if clip.truth is None else _truth(clip.truth, clip.frames, step),
    }


def _truth(truth: Labelled, frames: np.ndarray, step: float) -> dict[str, Any]:
    rows = truth.select(np.isin(truth.frame, frames)).in_order()
    return _points(rows.position[:, :2], rows.frame, frames, step)


def _points(points: np.ndarray, frame: np.ndarray, frames: np.ndarray, step: float) -> dict[str, Any]:
    packer = Packer()
    for axis in points.T:
        packer.add(axis[None], step)
    return {"counts": _counts(frame, frames), "columns": packer.columns, "data": packer.text()}


def _counts(frame: np.ndarray, frames: np.ndarray) -> list[int]:
    return (np.searchsorted(frame, frames, "right") - np.searchsorted(frame, frames, "left")).tolist()


def _extent(clip: TracksClip) -> tuple[np.ndarray, np.ndarray]:
    """The window that is shown first: nearly all tracks, or nearly all detections where there are none."""
    points = clip.tracks.position[:, :2] if len(clip.tracks) else clip.points
    if not len(points):
        return np.zeros(2), np.ones(2)
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    if clip.tracks.box is not None and clip.tracks.box.shape[1] == 4:
        box = clip.tracks.box
        low = np.minimum(low, box[:, :2].min(axis=0))
        high = np.maximum(high, (box[:, :2] + box[:, 2:]).max(axis=0))
    pad = 0.04 * max(float(np.max(high - low)), 1e-6)
    return low - pad, high + pad


def _ellipses(tracks: Labelled) -> Float[np.ndarray, "n 3"]:
    """Half axes and direction of the 90 % ellipses of position; nan where no doubt is known."""
    if tracks.covariance is None or not len(tracks):
        return np.full((len(tracks), 3), np.nan)
    values, vectors = np.linalg.eigh(tracks.covariance[:, :2, :2])
    half = NINETY * np.sqrt(np.maximum(values, 0))
    angle = np.remainder(np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1]), np.pi)
    return np.column_stack([half[:, 1], half[:, 0], angle])


def still(clip: TracksClip) -> str:
    """Draw all paths as one picture (SVG)."""
    low, high = _extent(clip)
    size = high - low
    with drawing(8.4, float(np.clip(8.4 * size[1] / size[0], 2.5, 8.4))) as done:
        axes = done.canvas.subplots()
        axes.plot(clip.points[:, 0], clip.points[:, 1], ",", color="#b4bcc4", zorder=1, rasterized=True)
        if clip.truth is not None:
            for rows in _by_name(clip.truth):
                axes.plot(*rows.T, color=GREEN, linewidth=2.4, alpha=0.35, zorder=2)
        for rows in _by_name(clip.tracks):
            axes.plot(*rows.T, color=BLUE, linewidth=1.0, zorder=3)
            axes.plot(*rows[-1], "o", color=BLACK, markersize=2, zorder=4)
        axes.set_xlim(low[0], high[0])
        axes.set_ylim((high[1], low[1]) if clip.downwards else (low[1], high[1]))
        axes.set_aspect("equal")
        axes.set_xlabel(f"{clip.axes[0]} [{clip.unit}]")
        axes.set_ylabel(f"{clip.axes[1]} [{clip.unit}]")
    return done.svg


def _by_name(rows: Labelled) -> list[np.ndarray]:
    order = np.lexsort((rows.frame, rows.name))
    cuts = np.flatnonzero(np.diff(rows.name[order])) + 1
    return [part for part in np.split(rows.position[order, :2], cuts) if len(part)]
