"""HOTA: finding objects and keeping their names, weighed equally."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from foresee.tracking.scores.best_pairs import best_pairs
from foresee.tracking.scores.pairing import Pairing

THRESHOLDS = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True, eq=False)
class Hota:
    """The HOTA scores (Luiten et al. 2021), averaged over likeness thresholds 0.05, 0.10, … 0.95.

    Attributes:
        hota: mean of √(detection · association).
        deta: detection accuracy: matched / (matched + missed + false).
        assa: association accuracy: for every match, how much of its object and its track agree.
        loca: localisation accuracy: mean likeness of matches.
        by_threshold: HOTA at each threshold.
    """

    hota: float
    deta: float
    assa: float
    loca: float
    by_threshold: Float[np.ndarray, " thresholds"]


def hota(pairing: Pairing) -> Hota:
    """Score how well objects were found and how well their names were kept.

    Args:
        pairing: truth and tracks side by side.
    """
    pairs, alignment, together = _alignment(pairing)
    which, likeness = [np.zeros(0, int)], [np.zeros(0)]
    for frame in pairing.frames:
        if not len(frame.row):
            continue
        place = np.searchsorted(pairs, _codes(frame, pairing))
        chosen = best_pairs(frame.row, frame.column, alignment[place] * frame.likeness)
        which.append(place[chosen])
        likeness.append(frame.likeness[chosen])
    places, alike = np.concatenate(which), np.concatenate(likeness)
    deta, assa, loca = np.zeros((3, len(THRESHOLDS)))
    for k, threshold in enumerate(THRESHOLDS):
        good = alike >= threshold - np.finfo(float).eps
        matched = int(good.sum())
        counts = np.bincount(places[good], minlength=len(pairs)).astype(float)
        shared = counts / np.maximum(1, together - counts)
        assa[k] = np.sum(counts * shared) / max(1, matched)
        deta[k] = matched / max(1, pairing.rows + pairing.guesses - matched)
        loca[k] = max(1e-10, float(alike[good].sum())) / max(1e-10, matched)
    both = np.sqrt(deta * assa)
    return Hota(float(both.mean()), float(deta.mean()), float(assa.mean()), float(loca.mean()), both)


def _codes(frame, pairing: Pairing) -> np.ndarray:
    return frame.truth[frame.row] * pairing.tracks + frame.track[frame.column]


def _alignment(pairing: Pairing):
    """Pairs of an object and a track, how well they agree over all, and in how many rows either is."""
    objects, tracks = np.zeros(pairing.truths), np.zeros(pairing.tracks)
    codes, shares = [np.zeros(0, int)], [np.zeros(0)]
    for frame in pairing.frames:
        objects[frame.truth] += 1
        tracks[frame.track] += 1
        by_row = np.bincount(frame.row, frame.likeness, len(frame.truth))
        by_column = np.bincount(frame.column, frame.likeness, len(frame.track))
        codes.append(_codes(frame, pairing))
        shares.append(frame.likeness / (by_row[frame.row] + by_column[frame.column] - frame.likeness))
    pairs, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    agreed = np.bincount(inverse, np.concatenate(shares), len(pairs))
    together = objects[pairs // max(1, pairing.tracks)] + tracks[pairs % max(1, pairing.tracks)]
    return pairs, agreed / (together - agreed), together
