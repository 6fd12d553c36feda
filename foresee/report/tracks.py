"""The report of `foresee track`: who was where when, and how sure that is. Start with `tracks_page`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foresee.errors import TrackingError
from foresee.report.page import Block, Figure, Figures, Items, Page, Section, Table, Tile, Tiles
from foresee.report.plots import BLUE, GREEN, GREY, VERMILLION, drawing
from foresee.report.tracks_player import TracksClip, TracksPlayer
from foresee.report.words import count, number, percent, significant
from foresee.tracking.follow import Followed
from foresee.tracking.formats.sightings import Sightings, Truth

REPLAYED = 120_000  # rows of tracks and detections, at most, in a replay
AXES = {
    "mot": ("right", "down"),
    "kitti": ("right of the camera", "ahead of the camera"),
    "csv": ("x", "y"),
    "earth": ("east", "north"),
}
HOW = {
    "mot": "image boxes that overlap by at least half (intersection over union)",
    "kitti": "boxes in space whose intersection over union is at least 0.25",
    "csv": "positions that are at most 5 m apart",
}
FROM = {
    "mot": "learned beforehand: begun at the highest evidence of nine MOT15 sequences without their truth, "
    "and chosen around it on TUD-Campus and TUD-Stadtmitte",
    "kitti": "chosen beforehand on KITTI's training sequences 0000 to 0005",
    "csv": "learned from this file alone, by the evidence of its detections",
}
ROWS = (
    ("mota", "MOTA", "percent", "1 − (missed + false + switches) / rows of the truth"),
    (
        "idf1",
        "IDF1",
        "percent",
        "share of rows explained if every object has one track and every track one object",
    ),
    ("hota", "HOTA", "percent", "finding objects and keeping their names, weighed equally"),
    ("deta", "DetA", "percent", "the finding part of HOTA"),
    ("assa", "AssA", "percent", "the naming part of HOTA"),
    ("motp", "MOTP", "percent", "mean likeness of what was matched"),
    ("id_switches", "identity switches", "count", "an object is matched with another track than before"),
    ("fragmentations", "fragmentations", "count", "an object is found again after it was lost"),
    ("missed", "missed", "count", "rows of the truth without a track"),
    ("false", "false", "count", "rows of tracks without an object"),
    ("mostly_tracked", "mostly tracked", "count", "objects matched in more than 80 % of their frames"),
    ("mostly_lost", "mostly lost", "count", "objects matched in less than 20 %"),
    ("samota", "sAMOTA", "percent", "scaled MOTA averaged over 40 levels of recall"),
    ("image.mota", "MOTA in the image", "percent", "the same of image boxes that overlap by half"),
    ("image.hota", "HOTA in the image", "percent", "the same of image boxes"),
    ("ospa", "OSPA [m]", "number", "c = 10 m, p = 1: mean over frames"),
    ("ospa_2", "OSPA(2) [m]", "number", "the same between whole tracks"),
    ("gospa", "GOSPA [m]", "number", "c = 10 m, p = 2: mean over frames"),
    ("online.ospa", "OSPA at the time [m]", "number", "of what was known in each frame, without hindsight"),
    ("siap.completeness", "completeness", "percent", "rows of the truth that have a track"),
    ("siap.spuriousness", "spuriousness", "percent", "rows of tracks that belong to no object"),
    ("siap.accuracy", "distance [m]", "number", "of tracks from their objects, mean"),
    ("coverage_90", "inside 90 %", "percent", "coordinates inside their own 90 % interval"),
    ("nees", "NEES", "number", "normalised squared error; 2 is right for two coordinates"),
)


@dataclass(frozen=True, eq=False)
class Shown:
    """What there is to show.

    Attributes:
        summary: the numbers, under the names of summary.json.
        sightings: what was read.
        followed: what came of it.
        truth: who really was where; None if nobody knows.
    """

    summary: dict[str, Any]
    sightings: Sightings
    followed: Followed
    truth: Truth | None


def tracks_page(shown: Shown) -> Page:
    """Return the report; every number in it comes from the summary."""
    s = shown.summary
    sections = [
        Section("What came out", (_tiles(s), *_notes(s))),
        Section("Replay", (TracksPlayer(_clip(shown), _caption(shown)),)),
        Section("Over time", (Figures((_counts(shown), _lives(shown))),)),
    ]
    if shown.truth is not None:
        sections.append(Section("Scores", (_scores(s),)))
    sections.append(Section("How this was done", (Items(_how(s)), _learned(s))))
    subtitle = (
        f"{s['detections.source']}: {count(s['detections.rows'], 'detection')} in "
        f"{count(s['frames'], 'frame')}, {count(s['tracks'], 'track')}."
    )
    footer = f"foresee {s['version']}, seed {s['seed']}. This page needs no network."
    return Page("Who was where, and when?", subtitle, tuple(sections), footer)


def tracks_headlines(s: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a run for the terminal, in the words of its report."""
    rows = [
        ("detections", f"{s['detections.rows']:,} in {count(s['frames'], 'frame')}"),
        ("tracks", f"{s['tracks']:,}"),
        ("time per frame", f"{number(s['ms_per_frame'], 2)} ms"),
    ]
    for name, label, kind, _ in ROWS:
        if s.get(name) is not None and name in (
            "mota",
            "idf1",
            "hota",
            "id_switches",
            "ospa",
            "gospa",
            "coverage_90",
        ):
            rows.append((label, _form(kind, s[name])))
    return [*rows, ("time", f"{number(s['seconds.total'], 1)} s")]


def _form(kind: str, value: Any) -> str:
    if value is None:
        return "–"
    return percent(value) if kind == "percent" else f"{value:,}" if kind == "count" else number(value, 3)


def _tiles(s: Mapping[str, Any]) -> Tiles:
    tiles = [
        Tile(
            "tracks",
            f"{s['tracks']:,}",
            f"from {count(s['detections.rows'], 'detection')} in {count(s['frames'], 'frame')}",
        ),
    ]
    if s.get("mota") is not None:
        switches = count(s["id_switches"], "identity switch").replace("switchs", "switches")
        tiles += [
            Tile("MOTA", percent(s["mota"]), f"{s['missed']:,} missed, {s['false']:,} false, {switches}"),
            Tile("IDF1", percent(s["idf1"]), "of the rows keep one name for one object"),
        ]
    if s.get("ospa") is not None:
        tiles.append(
            Tile("OSPA", f"{number(s['ospa'], 2)} m", "mean distance between truth and tracks as sets")
        )
        tiles.append(
            Tile("inside 90 %", percent(s.get("coverage_90")), "of coordinates, where 90 % should be")
        )
    elif s.get("hota") is not None:
        tiles.append(Tile("HOTA", percent(s["hota"]), "finding and naming, weighed equally"))
    tiles.append(
        Tile(
            "time per frame",
            f"{number(s['ms_per_frame'], 2)} ms",
            "for tracking, once everything is compiled",
        )
    )
    return Tiles(tuple(tiles))


def _notes(s: Mapping[str, Any]) -> tuple[Block, ...]:
    return (Items(tuple(s["notes"])),) if s["notes"] else ()


def _clip(shown: Shown) -> TracksClip:
    """The recording, or its beginning where it is too long for a page."""
    read, followed = shown.sightings, shown.followed
    tracks = followed.tracks
    frames = np.arange(read.first, read.last + 1)
    rows = np.bincount(read.frame - read.first, minlength=len(frames))
    rows = rows + np.bincount(tracks.frame - read.first, minlength=len(frames))
    most = max(1, int(np.searchsorted(np.cumsum(rows), REPLAYED, "right")))
    frames = frames[:most]
    times = frames.astype(float) if read.clock == "scan" else np.unique(read.time)[:most]
    return TracksClip(
        frames=frames,
        times=times - times[0],
        tracks=tracks,
        seen=read.frame,
        points=read.position[:, :2],
        truth=None if shown.truth is None else shown.truth.objects,
        unit=read.unit,
        axes=AXES["earth" if read.place is not None else read.format],
        downwards=read.format == "mot",
        words={"mot": "frame", "kitti": "frame"}.get(
            read.format, "scan" if read.clock == "scan" else "moment"
        ),
    )


def _caption(shown: Shown) -> str:
    clip = _clip(shown)
    whole = shown.summary["frames"]
    part = f" The first {len(clip.frames):,} of {whole:,} frames." if len(clip.frames) < whole else ""
    return (
        "Tracks as they are known in **hindsight**, all detections considered. Colour and dashes say where a "
        "track is in its life: **tentative** until its second detection, **confirmed** where it was "
        "detected, **coasted** where it is only expected to be. Space plays, arrows step, dragging moves, "
        "+ and − zoom." + part
    )


def _counts(shown: Shown) -> Figure:
    read, tracks = shown.sightings, shown.followed.tracks
    frames = np.arange(read.first, read.last + 1)
    each = len(frames)
    with drawing(5.2, 3.0) as done:
        axes = done.canvas.subplots()
        axes.plot(
            frames,
            np.bincount(read.frame - read.first, minlength=each),
            color=GREY,
            linewidth=0.9,
            label="detections",
        )
        if shown.truth is not None:
            there = shown.truth.objects.frame
            there = there[(there >= read.first) & (there <= read.last)]
            axes.plot(
                frames,
                np.bincount(there - read.first, minlength=each),
                color=GREEN,
                linewidth=2.2,
                alpha=0.7,
                label="truth",
            )
        axes.plot(
            frames,
            np.bincount(tracks.frame - read.first, minlength=each),
            color=BLUE,
            linewidth=1.2,
            label="tracks",
        )
        axes.set_xlabel("frame" if read.clock == "scan" else "number of the moment")
        axes.set_ylabel("how many")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.02), ncols=3)
    return Figure(
        done.svg,
        "How many detections and tracks there are in each frame",
        "How many there are in each frame.",
    )


def _lives(shown: Shown) -> Figure:
    tracks = shown.followed.tracks
    names, at = np.unique(tracks.name, return_inverse=True)
    with drawing(5.2, 3.0) as done:
        axes = done.canvas.subplots()
        if len(names):
            first = np.full(len(names), np.iinfo(np.int64).max)
            np.minimum.at(first, at, tracks.frame)
            rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
            if tracks.status is None:
                raise TrackingError("expected statuses, got none")
            size = float(np.clip(600 / len(names), 0.4, 12))
            for status, colour in ((1, BLUE), (0, "#E69F00"), (2, VERMILLION)):
                rows = tracks.status == status
                axes.scatter(
                    tracks.frame[rows],
                    rank[at[rows]],
                    s=size,
                    c=colour,
                    marker="s",
                    linewidths=0,
                    rasterized=True,
                )
        axes.set_xlabel("frame" if shown.sightings.clock == "scan" else "number of the moment")
        axes.set_ylabel("track, by first frame")
    return Figure(
        done.svg,
        "When each track is tentative, confirmed and coasted",
        "The life of each track: confirmed **blue**, tentative **orange**, coasted **vermillion**.",
    )


def _scores(s: Mapping[str, Any]) -> Table:
    rows = tuple(
        (label, _form(kind, s[name]), meaning)
        for name, label, kind, meaning in ROWS
        if s.get(name) is not None
    )
    caption = f"Matched are {HOW[s['detections.format']]}. Definitions and counts are those of TrackEval."
    return Table(("score", "value", "what it is"), rows, caption, words=True)


def _how(s: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"Parameters were {FROM[s['detections.format']]}.",
        "Every scan, detections are given to tracks by their joint probabilities; how surely an object "
        "exists is itself a probability, from which tracks are confirmed and ended.",
        "Finished tracks are smoothed over all their detections, and short gaps are filled. Numbers of "
        "summary.json that begin with “online” are of what was known at the time.",
        f"Tracking took {number(s['ms_per_frame'], 2)} ms per frame, all of it "
        f"{number(s['seconds.total'], 1)} s.",
    )


def _learned(s: Mapping[str, Any]) -> Table:
    rows = tuple(
        (name.removeprefix("learned.").replace("_", " "), significant(value, 4))
        for name, value in s.items()
        if name.startswith("learned.") and isinstance(value, (int, float))
    )
    return Table(("parameter", "value"), rows, "Units are those of the file; see docs/track.md.")
