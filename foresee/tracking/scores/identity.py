"""IDF1: how much of the recording is explained if every object has one track only, and every track one."""

from dataclasses import dataclass

import numpy as np

from foresee.tracking.scores.best_pairs import best_pairs
from foresee.tracking.scores.pairing import Pairing


@dataclass(frozen=True)
class Identity:
    """The identity scores (Ristani et al. 2016).

    Attributes:
        idf1: 2 · matched / (rows of the truth + rows of the tracks).
        idp: matched over rows of the tracks.
        idr: matched over rows of the truth.
        matched: rows explained by the best one-to-one pairing of objects and tracks.
    """

    idf1: float
    idp: float
    idr: float
    matched: int


def identity(pairing: Pairing, threshold: float | int = 0.5) -> Identity:
    """Pair whole objects with whole tracks so that as many rows as possible agree.

    Args:
        pairing: truth and tracks side by side.
        threshold: likeness a pair of rows needs at least to agree.
    """
    together = [
        frame.truth[frame.row[good]] * pairing.tracks + frame.track[frame.column[good]]
        for frame in pairing.frames
        for good in [frame.likeness >= threshold]
    ]
    both, counts = np.unique(np.concatenate([np.zeros(0, int), *together]), return_counts=True)
    objects, tracks = np.divmod(both, max(1, pairing.tracks))
    matched = int(counts[best_pairs(objects, tracks, counts.astype(float))].sum())
    return Identity(
        idf1=2 * matched / max(1, pairing.rows + pairing.guesses),
        idp=matched / max(1, pairing.guesses),
        idr=matched / max(1, pairing.rows),
        matched=matched,
    )
