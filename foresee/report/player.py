"""A player that replays driven scenarios from above, inside a page, without a network.

The page carries every clip as whole numbers, differenced in time and deflated; `player.js` unpacks the one
that is looked at. `Packer` says what the numbers mean.
"""

import base64
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from foresee.report.clip import NINETY, Clip, Trace, corners, ellipses, first_contact
from foresee.report.foretold import Foretold
from foresee.report.plots import BLACK, BLUE, GREEN, GREY, VERMILLION
from foresee.report.words import count, rich

__all__ = ["Clip", "Player", "Trace", "still"]

PARTS = ("_basics", "_picture", "_view", "_curves", "_time", "_choose", "")  # of the script, in this order
CODES = 65534  # whole numbers a value is rounded to; 0 says that there is none
CENTIMETRE, ANGLE = 0.01, 0.002  # m and rad: the finest steps that are kept
DOUBT = 0.03  # m; nobody sees a belief more finely
FAR, TURN = 0.05, 0.02  # m and rad: nor a future


@dataclass(frozen=True)
class Player:
    """A block of a page that replays clips.

    The address of a moment is the page's with `#clip=2&t=3.2`: the second clip at 3.2 s. `&view=road` shows
    the whole road; `&player=2` means the second player of the page.
    """

    clips: tuple[Clip, ...]
    caption: str = ""

    @property
    def style(self) -> str:
        """What the page's style needs for this block."""
        return _file("player.css")

    @property
    def script(self) -> str:
        """What the page has to run for this block."""
        parts = "\n".join(_file(f"player{part}.js") for part in PARTS)
        return f'"use strict";\n(() => {{\n{parts}}})();\n'

    def html(self) -> str:
        """Return the block as HTML."""
        if not self.clips:
            return '<p class="replay-none">There is nothing to replay: no scenario was driven.</p>'
        first = self.clips[0]
        picture = base64.b64encode(still(first).encode()).decode()
        about = f"{first.scenario}, driven by {first.driver} ({first.mode}): {first.outcome}"
        # inside a script element only "<" can end or nest anything
        data = json.dumps(_pack(self.clips), ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
        caption = rich(self.caption)
        return (
            '<figure class="replay">'
            f'<noscript><img alt="The road from above with the path of the ego. {escape(about)}." '
            f'src="data:image/svg+xml;base64,{picture}">'
            f"<p>{escape(about)}. To see {count(len(self.clips), 'clip')}, the page must run its script.</p>"
            "</noscript>"
            f'<script type="application/json">{data}</script>'
            + (f"<figcaption>{caption}</figcaption>" if caption else "")
            + "</figure>"
        )


@cache
def _file(name: str) -> str:
    return files("foresee.report").joinpath(name).read_text(encoding="utf-8")


class Packer:
    """Collects columns of numbers as text that deflates well.

    A column is rounded to codes 1 … 65535 (0: no value), value = offset + step · code. The codes are replaced
    by their differences in time, modulo 2¹⁶, and written as all low bytes, then all high bytes.
    """

    def __init__(self):
        self.columns: list[list[float]] = []
        self._bytes: list[bytes] = []

    def add(self, values: np.ndarray, step: float = 0.0) -> None:
        """Add rows of series, time last."""
        rows = np.atleast_2d(np.asarray(values, float))
        good = np.isfinite(rows)
        low, high = (float(rows[good].min()), float(rows[good].max())) if good.any() else (0.0, 0.0)
        step = float(f"{max(step, 1.001 * (high - low) / (CODES - 1)):.6g}") or 1.0
        offset = low - step
        codes = np.zeros(rows.shape, np.uint16)
        codes[good] = np.rint((rows[good] - offset) / step).astype(np.uint16)
        steps = np.diff(codes, axis=1, prepend=np.uint16(0))
        self.columns.append([len(rows), offset, step])
        self._bytes += [(steps & 255).astype(np.uint8).tobytes(), (steps >> 8).astype(np.uint8).tobytes()]

    def text(self) -> str:
        """Return all columns, deflated, as text."""
        return base64.b64encode(zlib.compress(b"".join(self._bytes), 9)).decode()


def _pack(clips: tuple[Clip, ...]) -> dict[str, Any]:
    roads: dict[str, dict[str, Any]] = {}
    packed = []
    for clip in clips:
        road = _pack_road(clip)
        roads.setdefault(road["data"], road)
        packed.append({**_pack_clip(clip), "road": list(roads).index(road["data"])})
    return {"roads": list(roads.values()), "clips": packed}


def _pack_road(clip: Clip) -> dict[str, Any]:
    """Pack every polyline once, though most are the border of two lanes."""
    lines: dict[bytes, int] = {}
    kept: list[np.ndarray] = []

    def place(line: np.ndarray) -> int:
        line = np.asarray(line, float)
        line = line[np.isfinite(line).all(axis=1)]
        key = np.rint(line / CENTIMETRE).astype(np.int64).tobytes()
        if key not in lines:
            lines[key] = len(kept)
            kept.append(line)
        return lines[key]

    lanes = [[place(left), place(right)] for left, right in clip.lanes]
    edges = [place(edge) for edge in clip.edges]
    packer = Packer()
    points = np.concatenate([*kept, np.zeros((0, 2))])
    for axis in points.T:
        packer.add(axis, CENTIMETRE)
    counts = [len(line) for line in kept]
    return {
        "lanes": lanes,
        "edges": edges,
        "counts": counts,
        "columns": packer.columns,
        "data": packer.text(),
    }


def _pack_clip(clip: Clip) -> dict[str, Any]:
    packer = Packer()
    present = clip.present()
    for values, step in (
        (clip.x, CENTIMETRE),
        (clip.y, CENTIMETRE),
        (np.remainder(clip.heading, 2 * np.pi), ANGLE),
    ):
        packer.add(np.where(present, values, np.nan).T, step)
    if clip.expert is not None:
        packer.add(clip.expert.T[0], CENTIMETRE)
        packer.add(clip.expert.T[1], CENTIMETRE)
    believed = ellipses(clip)
    if believed is not None:
        for k, step in enumerate((DOUBT, DOUBT, DOUBT, DOUBT, 5 * ANGLE)):
            packer.add(believed[..., k].T, step)
    for trace in clip.traces:
        packer.add(trace.values)
    return {
        **{name: getattr(clip, name) for name in ("scenario", "driver", "mode", "outcome", "failed", "ego")},
        "dt": float(clip.dt),
        "frames": len(clip.x),
        "names": clip.names,
        "length": np.nan_to_num(clip.length).round(2).tolist(),
        "width": np.nan_to_num(clip.width).round(2).tolist(),
        "contact": first_contact(clip),
        "expert": clip.expert is not None,
        "beliefs": believed is not None,
        "foretold": None if clip.foretold is None else _pack_foretold(clip.foretold),
        "events": sorted((round(float(time), 3), text) for time, text in clip.events if np.isfinite(time)),
        "traces": [
            {"name": t.name, "unit": t.unit, "low": _limit(t.low), "high": _limit(t.high)}
            for t in clip.traces
        ],
        "columns": packer.columns,
        "data": packer.text(),
    }


def _pack_foretold(foretold: Foretold) -> dict[str, Any]:
    """Pack futures: lines with their points last, and the ellipses at some of them."""
    lines, doubts = Packer(), Packer()
    for values in (foretold.x, foretold.y):
        lines.add(values.reshape(-1, values.shape[-1]), FAR)
    sizes = (NINETY * foretold.along_sd, NINETY * foretold.across_sd)
    for values, step in ((sizes[0], FAR), (sizes[1], FAR), (np.remainder(foretold.heading, 2 * np.pi), TURN)):
        doubts.add(values.reshape(-1, values.shape[-1]), step)
    return {
        "frames": foretold.frames.tolist(),
        "vehicles": foretold.vehicles.tolist(),
        "count": foretold.x.shape[2],
        "points": foretold.x.shape[3],
        "marked": foretold.marked.tolist(),
        "times": [round(float(time), 2) for time in foretold.times[foretold.marked]],
        "weights": np.rint(100 * foretold.weights).astype(int).ravel().tolist(),
        "lines": {"columns": lines.columns, "data": lines.text()},
        "doubts": {"columns": doubts.columns, "data": doubts.text()},
    }


def _limit(value: float | int | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def still(clip: Clip) -> str:
    """Draw the whole clip as one picture (SVG): road, path of the ego, recorded path, and how it ended."""
    present = clip.present()
    mine = np.flatnonzero(present[:, clip.ego])
    contact = first_contact(clip)
    frame = contact[1] if contact else int(mine[-1]) if len(mine) else 0
    path = np.stack([clip.x, clip.y], axis=-1)[mine, clip.ego]
    ways = [] if clip.expert is None else [clip.expert[np.isfinite(clip.expert).all(axis=1)]]
    shown = np.concatenate([path, *ways, *(line for lane in clip.lanes for line in lane), *clip.edges])
    shown = shown[np.isfinite(shown).all(axis=1)]
    if not len(shown):
        shown = np.zeros((1, 2))
    low, high = shown.min(axis=0) - 5, shown.max(axis=0) + 5
    size = high - low
    thin = float(size.max()) / 900  # one point of a picture 900 points wide
    drawn = [_shape(np.concatenate([a, b[::-1]]), "polygon", 'fill="#eceff1"') for a, b in clip.lanes]
    rule = f'fill="none" stroke="#b4bcc4" stroke-width="{thin:.3f}"'
    drawn += [_shape(line, "polyline", rule) for lane in clip.lanes for line in lane]
    rule = f'fill="none" stroke="{GREY}" stroke-width="{2 * thin:.3f}"'
    drawn += [_shape(line, "polyline", rule) for line in clip.edges]
    dashed = f'stroke-width="{2 * thin:.3f}" stroke-dasharray="{7 * thin:.3f} {5 * thin:.3f}"'
    drawn += [_shape(way, "polyline", f'fill="none" stroke="{GREEN}" {dashed}') for way in ways]
    rule = f'fill="none" stroke="{BLUE}" stroke-width="{2 * thin:.3f}"'
    drawn.append(_shape(path, "polyline", rule))
    boxes = corners(clip)[frame]
    for vehicle in np.flatnonzero(present[frame]):
        ego, hit = vehicle == clip.ego, contact is not None and vehicle == contact[0]
        paint = f'fill="{BLUE if ego else VERMILLION if hit else GREY}" stroke="{BLACK}"'
        drawn.append(_shape(boxes[vehicle], "polygon", f'{paint} stroke-width="{thin / 2:.3f}"'))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{900 * size[1] / size[0]:.0f}" '
        f'viewBox="{low[0]:.2f} {-high[1]:.2f} {size[0]:.2f} {size[1]:.2f}">{"".join(drawn)}</svg>'
    )


def _shape(points: Iterable[Iterable[float]], tag: str, look: str) -> str:
    """A line or an area in the plane; SVG counts downwards, so y changes its sign."""
    good = [(x, y) for x, y in points if np.isfinite(x) and np.isfinite(y)]
    return f'<{tag} points="{" ".join(f"{x:.2f},{-y:.2f}" for x, y in good)}" {look}/>' if good else ""
