"""Leaving out tracks that are neither right nor wrong, as those of objects that nobody labelled."""

import numpy as np
from jaxtyping import Bool, Float

from foresee.errors import TrackingError
from foresee.tracking.formats.sightings import Truth
from foresee.tracking.labelled import Labelled
from foresee.tracking.scores.best_pairs import best_pairs
from foresee.tracking.scores.overlap import share_inside
from foresee.tracking.scores.pairing import Likeness, pair


def judged(
    truth: Truth,
    tracks: Labelled,
    image: Float[np.ndarray, "n 4"] | None,
    by: Likeness,
    threshold: float | int = 0.5,
) -> Bool[np.ndarray, " n"]:
    """Return which rows of tracks are to be judged, as the evaluation of KITTI does.

    Tracks are matched with all objects, those not to be judged as well. Who is matched with one of these is
    left out, and of those without a match, who is too small in the image or mostly where nothing is labelled.

    Args:
        truth: objects, and what is to be ignored.
        tracks: what is to be judged.
        image: image boxes of the tracks, where there are any besides their own.
        by: what makes two rows alike.
        threshold: likeness a match needs.
    """
    kept = np.ones(len(tracks), bool)
    if truth.ignored is None and truth.regions is None and not truth.small:
        return kept
    everything, doubtful = truth.objects, np.zeros(len(truth.objects), bool)
    if truth.ignored is not None:
        apart = -1 - np.arange(len(truth.ignored))  # names that no object has
        everything = _joined(truth.objects, truth.ignored, apart)
        doubtful = np.append(doubtful, np.ones(len(truth.ignored), bool))
    matched = np.zeros(len(tracks), bool)
    frames = np.union1d(everything.frame, tracks.frame)
    pairing = pair(everything, tracks, by)
    rows = zip(everything.by_frame(frames), tracks.by_frame(frames), pairing.frames, strict=True)
    for mine, theirs, frame in rows:
        enough = frame.likeness >= threshold - np.finfo(float).eps
        chosen = best_pairs(frame.row, frame.column, frame.likeness * enough)
        matched[theirs[frame.column[chosen]]] = True
        kept[theirs[frame.column[chosen]]] = ~doubtful[mine[frame.row[chosen]]]
    flat = tracks.box if image is None else image
    if flat is not None and flat.shape[1] == 4:
        kept &= matched | (flat[:, 3] > truth.small)
        kept &= matched | ~_in_regions(truth, tracks, flat)
    return kept


def _joined(objects: Labelled, more: Labelled, names: np.ndarray) -> Labelled:
    if objects.box is None:
        raise TrackingError("expected boxes, got none")
    if more.box is None:
        raise TrackingError("expected boxes, got none")
    return Labelled(
        np.append(objects.frame, more.frame),
        np.append(objects.name, names),
        np.concatenate([objects.position, more.position]),
        box=np.concatenate([objects.box, more.box]),
    )


def _in_regions(truth: Truth, tracks: Labelled, flat: np.ndarray) -> np.ndarray:
    inside = np.zeros(len(tracks), bool)
    if truth.regions is None:
        return inside
    frame, box = truth.regions
    for place in range(len(frame)):
        rows = np.flatnonzero(tracks.frame == frame[place])
        inside[rows] |= share_inside(flat[rows], np.broadcast_to(box[place], (len(rows), 4))) > 0.5
    return inside
