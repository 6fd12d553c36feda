"""The numbers by which tracks are judged, for every format of a file."""

from dataclasses import replace
from typing import Any

import numpy as np

from foresee.errors import TrackingError
from foresee.tracking.follow import Followed
from foresee.tracking.formats.sightings import Sightings, Truth
from foresee.tracking.labelled import Labelled
from foresee.tracking.scores import (
    average_mota,
    clear_mot,
    delays,
    doubt,
    gospa_by_frame,
    hota,
    identity,
    ospa_by_frame,
    ospa_of_tracks,
    pair,
    siap,
)
from foresee.tracking.scores.ignored import judged
from foresee.tracking.scores.pairing import Likeness

CUT = 10.0  # c of OSPA and GOSPA, in units of position; half of it is where positions stop matching
NAMES = ("mota", "idf1", "hota", "ospa", "gospa", "id_switches")
HOW: dict[str, tuple[Likeness, float]] = {
    "mot": ("image", 0.5),
    "kitti": ("space", 0.25),
    "csv": ("position", 0.5),
}

Numbers = dict[str, Any]


def scores(sightings: Sightings, truth: Truth | None, followed: Followed) -> Numbers:
    """Return every score of finished tracks; None where there is no truth or a score does not apply."""
    out: Numbers = dict.fromkeys(NAMES)
    if truth is None:
        return out
    by, threshold = HOW[sightings.format]
    kept = judged(truth, followed.tracks, followed.image, by, threshold)
    tracks, objects = followed.tracks.select(kept), truth.objects
    out |= _names(objects, tracks, by, threshold)
    out |= {"truth.objects": len(objects.names), "truth.rows": len(objects), "judged.rows": len(tracks)}
    if sightings.format == "kitti":
        if truth.image is not None and followed.image is not None:
            out |= _in_the_image(truth, followed)
        averaged = average_mota(objects, tracks, by, threshold)
        out |= {"samota": averaged.samota, "amota": averaged.amota}
    if sightings.unit == "m":
        online = followed.online.select(np.isin(followed.online.frame, np.unique(objects.frame)))
        if sightings.clock != "scan":
            tracks = tracks.select(np.isin(tracks.frame, np.unique(objects.frame)))
        out |= _places(objects, tracks, "")
        out |= _places(objects, online, "online.")
        out |= _doubts(objects, tracks, "") | _doubts(objects, online, "online.")
    return out


def _names(objects: Labelled, tracks: Labelled, by: Likeness, threshold: float) -> Numbers:
    pairing = pair(objects, tracks, by, reach=CUT)
    counts, names, both = clear_mot(pairing, threshold), identity(pairing, threshold), hota(pairing)
    return {
        "mota": counts.mota,
        "idf1": names.idf1,
        "hota": both.hota,
        "id_switches": counts.switches,
        "motp": counts.motp,
        "recall": counts.recall,
        "precision": counts.precision,
        "missed": counts.missed,
        "false": counts.false,
        "fragmentations": counts.fragmentations,
        "mostly_tracked": counts.mostly_tracked,
        "partly_tracked": counts.partly_tracked,
        "mostly_lost": counts.mostly_lost,
        "idp": names.idp,
        "idr": names.idr,
        "deta": both.deta,
        "assa": both.assa,
        "loca": both.loca,
    }


def _in_the_image(truth: Truth, followed: Followed) -> Numbers:
    """CLEAR MOT, IDF1 and HOTA of the image boxes of tracks in space, as the benchmark of KITTI has them."""
    if truth.image is None:
        raise TrackingError("expected boxes in the image, got none")
    if followed.image is None:
        raise TrackingError("expected boxes in the image, got none")
    flat = replace(followed.tracks, box=followed.image)
    ignored = truth.ignored
    if ignored is not None and truth.ignored_image is not None:
        ignored = replace(ignored, box=truth.ignored_image)
    there = replace(truth, objects=replace(truth.objects, box=truth.image), ignored=ignored)
    kept = flat.select(judged(there, flat, None, "image", 0.5))
    found = _names(there.objects, kept, "image", 0.5)
    return {
        f"image.{name}": found[name] for name in ("mota", "idf1", "hota", "id_switches", "missed", "false")
    }


def _places(objects: Labelled, tracks: Labelled, prefix: str) -> Numbers:
    sets = gospa_by_frame(objects, tracks, c=CUT, p=2)
    air = siap(objects, tracks, within=CUT)
    late = delays(objects, tracks, within=CUT)
    empty = not sets
    numbers: Numbers = {
        "ospa": float(np.mean(ospa_by_frame(objects, tracks, c=CUT, p=1))) if not empty else None,
        "gospa": None if empty else float(np.mean([one.total for one in sets])),
        "gospa.localisation": None if empty else float(np.mean([one.localisation for one in sets])),
        "gospa.missed": None if empty else float(np.mean([one.missed for one in sets])),
        "gospa.false": None if empty else float(np.mean([one.false for one in sets])),
        "ospa_2": ospa_of_tracks(objects, tracks, c=CUT, p=1),
        "siap.completeness": air.completeness,
        "siap.ambiguity": air.ambiguity,
        "siap.spuriousness": air.spuriousness,
        "siap.accuracy": air.accuracy,
        "siap.longest": air.longest,
        "frames_to_confirm": late.to_confirm,
        "frames_to_delete": late.to_delete,
        "never_tracked": late.never,
    }
    return {prefix + name: value for name, value in numbers.items()}


def _doubts(objects: Labelled, tracks: Labelled, prefix: str) -> Numbers:
    if tracks.covariance is None or not len(tracks):
        return {}
    found = doubt(objects, tracks, within=CUT)
    names = ("coverage_50", "coverage_90", "coverage_99")
    return {
        f"{prefix}nees": found.nees_mean,
        **{prefix + name: value for name, value in zip(names, found.coverage, strict=True)},
    }
