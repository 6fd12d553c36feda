"""MOTA averaged over recall: what a tracker is worth whatever score its tracks are cut at."""

from dataclasses import dataclass

import numpy as np

from foresee.errors import TrackingError
from foresee.tracking.labelled import Labelled
from foresee.tracking.scores.clear_mot import ClearMot, clear_mot
from foresee.tracking.scores.pairing import Likeness, pair

RECALLS = 40


@dataclass(frozen=True)
class AverageMota:
    """MOTA over 40 levels of recall (Weng et al. 2020, eqs. 2 to 4).

    Attributes:
        samota: mean of the scaled MOTA, which can reach 1 at every recall; 0 where a recall is not reached.
        amota: mean of MOTA.
        best: the counts at the cut with the highest MOTA.
        cut: that cut: tracks with a lower mean score are left out.
    """

    samota: float
    amota: float
    best: ClearMot
    cut: float


def average_mota(
    truth: Labelled,
    tracks: Labelled,
    by: Likeness = "space",
    threshold: float | int = 0.25,
    *,
    reach: float | int = 10.0,
) -> AverageMota:
    """Cut tracks by their mean score at each level of recall, and average what comes out.

    Args:
        truth: who really was where.
        tracks: who is said to have been there, with scores.
        by: what makes two rows alike, see `pair`.
        threshold: likeness a pair needs at least.
        reach: see `pair`.

    Raises:
        TrackingError: if tracks have no scores.
    """
    if tracks.score is None:
        raise TrackingError("expected tracks with scores, got none")
    _, of_track = np.unique(tracks.name, return_inverse=True)
    mean = np.bincount(of_track, tracks.score) / np.maximum(1, np.bincount(of_track))
    score = mean[of_track]
    cuts = np.unique(mean)[::-1]
    tried: list[tuple[float, ClearMot]] = []
    for cut in cuts[np.unique(np.linspace(0, len(cuts) - 1, min(len(cuts), 2 * RECALLS)).astype(int))]:
        tried.append(
            (float(cut), clear_mot(pair(truth, tracks.select(score >= cut), by, reach=reach), threshold))
        )
    if not tried:
        nothing = clear_mot(pair(truth, tracks, by, reach=reach), threshold)
        return AverageMota(0.0, 0.0, nothing, float("inf"))
    rows = max(1, len(truth))
    scaled, plain = [], []
    for recall in np.arange(1, RECALLS + 1) / RECALLS:
        found = next((counts for _, counts in tried if counts.recall >= recall - 0.5 / RECALLS), None)
        wrong = np.inf if found is None else found.false + found.missed + found.switches
        scaled.append(max(0.0, 1 - (wrong - (1 - recall) * rows) / (recall * rows)) if found else 0.0)
        plain.append(found.mota if found else 0.0)
    cut, best = max(tried, key=lambda pair: pair[1].mota)
    return AverageMota(float(np.clip(np.mean(scaled), 0, 1)), float(np.mean(plain)), best, cut)
