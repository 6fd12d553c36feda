"""CLEAR MOT: what is missed, what is made up, and how often an object changes its name."""

from dataclasses import dataclass

import numpy as np

from foresee.tracking.scores.best_pairs import best_pairs
from foresee.tracking.scores.pairing import Pairing

NOBODY = -1


@dataclass(frozen=True)
class ClearMot:
    """The CLEAR MOT scores (Bernardin and Stiefelhagen 2008) with the counts they are made of.

    Attributes:
        mota: 1 − (missed + false + switches) / rows of the truth.
        motp: mean likeness of what was matched.
        recall: share of the truth's rows that were matched.
        precision: share of the tracks' rows that were matched.
        matched: rows of the truth with a track.
        missed: rows of the truth without one.
        false: rows of tracks without an object.
        switches: how often an object is matched with another track than the last time.
        fragmentations: how often an object is found again after it was lost.
        mostly_tracked: objects matched in more than 80 % of their frames.
        partly_tracked: objects matched in 20 to 80 %.
        mostly_lost: objects matched in less than 20 %.
    """

    mota: float
    motp: float
    recall: float
    precision: float
    matched: int
    missed: int
    false: int
    switches: int
    fragmentations: int
    mostly_tracked: int
    partly_tracked: int
    mostly_lost: int


def clear_mot(pairing: Pairing, threshold: float | int = 0.5) -> ClearMot:
    """Match truth and tracks frame by frame, and count.

    A pair of the frame before stays a pair while its likeness reaches the threshold; the rest is paired for
    the highest sum of likeness. Frames with no track at all, or no object, do not end a pair; this and all
    other conventions are those of TrackEval.

    Args:
        pairing: truth and tracks side by side.
        threshold: likeness a pair needs at least.
    """
    last = np.full(pairing.truths, NOBODY)  # whom an object was matched with when it last was
    current = np.full(pairing.truths, NOBODY)  # and in the frame before
    seen, found, times = (np.zeros(pairing.truths, int) for _ in range(3))
    matched = switches = 0
    likeness = 0.0
    for frame in pairing.frames:
        seen[frame.truth] += 1
        if not (len(frame.truth) and len(frame.track)):
            continue
        goes_on = current[frame.truth[frame.row]] == frame.track[frame.column]
        enough = frame.likeness >= threshold - np.finfo(float).eps
        chosen = best_pairs(frame.row, frame.column, (1000 * goes_on + frame.likeness) * enough)
        objects, theirs = frame.truth[frame.row[chosen]], frame.track[frame.column[chosen]]
        switches += int(np.sum((last[objects] != NOBODY) & (last[objects] != theirs)))
        found[objects] += 1
        times[objects] += current[objects] == NOBODY
        last[objects] = theirs
        current[:] = NOBODY
        current[objects] = theirs
        matched += len(chosen)
        likeness += float(frame.likeness[chosen].sum())
    missed, false = pairing.rows - matched, pairing.guesses - matched
    mostly = int(np.sum(found > 0.8 * seen))
    partly = int(np.sum(found >= 0.2 * seen)) - mostly
    return ClearMot(
        mota=(matched - false - switches) / max(1, pairing.rows),
        motp=likeness / max(1, matched),
        recall=matched / max(1, pairing.rows),
        precision=matched / max(1, pairing.guesses),
        matched=matched,
        missed=missed,
        false=false,
        switches=switches,
        fragmentations=int(np.sum(np.maximum(times - 1, 0))),
        mostly_tracked=mostly,
        partly_tracked=partly,
        mostly_lost=pairing.truths - mostly - partly,
    )
