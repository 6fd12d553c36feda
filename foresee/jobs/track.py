"""Detections in; named tracks with their doubt out, with scores where the truth is known, and a replay."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np

from foresee import __version__
from foresee.errors import OptionError, TrackingError
from foresee.jobs.folder import keep_compiled, writable_folder
from foresee.jobs.judge_tracks import scores
from foresee.jobs.summary import plain, write_summary
from foresee.jobs.terminal import Report, Terminal
from foresee.report.tracks import Shown, tracks_headlines, tracks_page
from foresee.storage import whole_file
from foresee.tracking.acquaint import acquaint
from foresee.tracking.follow import Followed, follow, scans_of
from foresee.tracking.formats import kitti, mot, table
from foresee.tracking.formats.read import READERS, read_detections, read_truth
from foresee.tracking.formats.sightings import Format, Sightings, Truth
from foresee.tracking.image_boxes import ImageBoxes, ImageHabits
from foresee.tracking.labelled import Labelled
from foresee.tracking.models import Model, Points
from foresee.tracking.space_boxes import SpaceBoxes, SpaceHabits

FILES = {"mot": "tracks.txt", "kitti": "tracks.txt", "csv": "tracks.csv"}


def track(
    detections: Path,
    *,
    out: Path,
    format: str | None = None,
    truth: Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Path:
    """Track the objects of a file of detections, and write tracks, scores and a replay.

    These are tracks.txt or tracks.csv in the format of the input, report.html and summary.json; every file
    appears whole or not at all.

    Args:
        detections: file of detections.
        out: folder for the results, made if it is not there.
        format: "mot", "kitti" or "csv"; None: whichever the file looks like.
        truth: file of who really was where.
        seed: kept with the results; nothing here is random.
        quiet: no progress, no table.

    Returns:
        The folder with the results.

    Raises:
        OptionError: if the format is unknown.
        TrackingError: if a file cannot be read or has nothing to track.
        OSError: if the folder cannot be written.
    """
    started = perf_counter()
    if format is not None and format not in READERS:
        raise OptionError(f"expected a format out of {', '.join(READERS)}, got {format!r}")
    terminal = Terminal(quiet)
    keep_compiled()
    with writable_folder(out):
        with terminal.step("read"):
            read = read_detections(detections, cast(Format | None, format))
            known = None if truth is None else read_truth(truth, read)
        with terminal.step("learn") as progress:
            models = _models(read, progress)
        with terminal.step("track"):
            followed = _joined([follow(part, model) for part, model in models])
            _clear(out)
            with whole_file(out / FILES[read.format]) as temporary:
                temporary.write_text(_text(read, followed), encoding="utf-8")
        with terminal.step("judge"):
            summary = _what_was_read(read, known, followed, seed)
            summary |= {f"learned.{name}": value for name, value in models[0][1].numbers().items()}
            summary |= scores(read, known, followed)
        with terminal.step("report"):
            summary |= {f"seconds.{name}": value for name, value in terminal.seconds.items()}
            summary["seconds.total"] = perf_counter() - started
            summary = plain(summary)
            with whole_file(out / "report.html") as temporary:
                page = tracks_page(Shown(summary, read, followed, known))
                temporary.write_text(page.html(), encoding="utf-8")
            write_summary(out / "summary.json", summary)
    for note in summary["notes"]:
        terminal.remark(f"note: {note}")
    terminal.table(read.source, tracks_headlines(summary))
    terminal.result(f"results in {out}: {FILES[read.format]}, report.html, summary.json")
    return out


def _clear(out: Path) -> None:
    """Take away what an earlier run said about other detections."""
    for stale in (*FILES.values(), "report.html", "summary.json"):
        (out / stale).unlink(missing_ok=True)


def _models(read: Sightings, progress: Report) -> list[tuple[Sightings, Model]]:
    """Return the detections of every kind of object with the model they are tracked by."""
    if read.format == "csv":
        progress("noise, speeds and clutter from the detections", 0.1)
        return [(read, Points(read, acquaint(scans_of(read, read.position))))]
    if read.format == "mot":
        return [(read, ImageBoxes(read, ImageHabits()))]
    if read.kind is None:
        raise TrackingError("expected kinds of objects, got none")
    parts = [_of_kind(read, int(kind)) for kind in np.unique(read.kind)]
    models: list[tuple[Sightings, Model]] = [
        (part, SpaceBoxes(part, SpaceHabits())) for part in parts if len(part.frame)
    ]
    if not models:
        raise TrackingError(
            f"{read.source}: expected detections that are sure enough to be tracked, got none"
        )
    return models


def _of_kind(read: Sightings, kind: int) -> Sightings:
    if read.kind is None:
        raise TrackingError("expected kinds of objects, got none")
    if read.box is None:
        raise TrackingError("expected boxes, got none")
    if read.image is None:
        raise TrackingError("expected boxes in the image, got none")
    rows = read.kind == kind
    if read.score is not None:
        rows &= read.score >= SpaceHabits().weak
    return replace(
        read,
        frame=read.frame[rows],
        time=read.time[rows],
        position=read.position[rows],
        box=read.box[rows],
        image=read.image[rows],
        kind=read.kind[rows],
        score=None if read.score is None else read.score[rows],
    )


def _joined(parts: Sequence[Followed]) -> Followed:
    """Return the tracks of all kinds together, with names that no two share."""
    if len(parts) == 1:
        return parts[0]
    first = 0
    tracks, online = [], []
    for part in parts:
        tracks.append(replace(part.tracks, name=part.tracks.name + first))
        online.append(replace(part.online, name=part.online.name + first))
        first = max([first, *tracks[-1].name, *online[-1].name])
    return Followed(
        tracks=_stacked(tracks),
        velocity=np.concatenate([part.velocity for part in parts]),
        kind=np.concatenate([part.kind for part in parts]),
        online=_stacked(online),
        ms_per_frame=sum(part.ms_per_frame for part in parts),
        image=np.concatenate([part.image for part in parts if part.image is not None]),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _stacked(parts: Sequence[Labelled]) -> Labelled:
    columns = {name: [getattr(part, name) for part in parts] for name in Labelled.__dataclass_fields__}
    whole: dict[str, Any] = {
        name: None if any(each is None for each in column) else np.concatenate(column)
        for name, column in columns.items()
    }
    return Labelled(**whole)


def _text(read: Sightings, followed: Followed) -> str:
    if read.format == "mot":
        return mot.text(followed.tracks)
    if read.format == "kitti":
        if followed.image is None:
            raise TrackingError("expected boxes in the image, got none")
        return kitti.text(followed.tracks, followed.image, followed.kind)
    tracks = followed.tracks
    if tracks.time is None:
        raise TrackingError("expected moments, got none")
    return table.text(tracks, followed.velocity, tracks.time, read)


def _what_was_read(read: Sightings, truth: Truth | None, followed: Followed, seed: int) -> dict[str, Any]:
    notes = [*read.notes, *followed.notes]
    if read.score is not None and (read.score.min() < 0 or read.score.max() > 1):
        outside = int(np.sum((read.score < 0) | (read.score > 1)))
        notes.append(f"{read.source}: {outside:,} scores are not within 0 and 1; they were only compared.")
    counts = np.bincount(read.frame - read.first, minlength=read.last - read.first + 1)
    empty = int(np.sum(counts == 0))
    if empty:
        notes.append(f"{empty:,} of {len(counts):,} frames have no detection.")
    return {
        "version": __version__,
        "seed": seed,
        "detections.source": read.source,
        "detections.format": read.format,
        "detections.rows": len(read.frame),
        "detections.unit": read.unit,
        "truth.source": None if truth is None else truth.source,
        "tracks": len(followed.tracks.names),
        "tracks.rows": len(followed.tracks),
        "frames": len(counts),
        "ms_per_frame": followed.ms_per_frame,
        "notes": notes,
    }
