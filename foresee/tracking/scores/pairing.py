"""Truth and tracks side by side, frame by frame, with what may be paired: where every score begins."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from foresee.errors import TrackingError
from foresee.tracking.labelled import Labelled
from foresee.tracking.scores.near import near_pairs
from foresee.tracking.scores.overlap import image_overlap, overlap_above, overlap_in_space

Likeness = Literal["position", "image", "above", "space"]
SIZES = {"image": 4, "above": 5, "space": 7}


@dataclass(frozen=True, eq=False)
class Frame:
    """Who is in one frame, and how alike those pairs are that are alike at all.

    Attributes:
        truth: identities of the true objects, counted from 0.
        track: identities of the tracks, counted from 0.
        row: place in `truth` of every possible pair.
        column: place in `track` of every possible pair.
        likeness: above 0, at most 1.
    """

    truth: Int[np.ndarray, " n"]
    track: Int[np.ndarray, " m"]
    row: Int[np.ndarray, " k"]
    column: Int[np.ndarray, " k"]
    likeness: Float[np.ndarray, " k"]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Truth and tracks of a whole recording.

    Attributes:
        frames: one for every frame, in order.
        truths: how many true identities there are.
        tracks: how many tracks there are.
        rows: number of rows of the truth.
        guesses: number of rows of the tracks.
    """

    frames: tuple[Frame, ...]
    truths: int
    tracks: int
    rows: int
    guesses: int


def pair(
    truth: Labelled, tracks: Labelled, by: Likeness = "position", *, reach: float | int = 10.0
) -> Pairing:
    """Put truth and tracks side by side.

    Args:
        truth: who really was where.
        tracks: who is said to have been there.
        by: what makes two rows alike: "position" is 1 − distance / `reach`, "image", "above" and "space" are
            intersection over union of boxes (see `Labelled.box`).
        reach: distance at which positions have nothing in common any more.

    Raises:
        TrackingError: if the columns needed are not there or have other sizes.
    """
    a, b = _compared(truth, by, "truth"), _compared(tracks, by, "tracks")
    if len(a) and len(b) and a.shape[1] != b.shape[1]:
        raise TrackingError(f"expected tracks with {a.shape[1]} coordinates, as the truth, got {b.shape[1]}")
    if not reach > 0:
        raise TrackingError(f"expected a reach above 0, got {reach}")
    truths, of_truth = np.unique(truth.name, return_inverse=True)
    names, of_track = np.unique(tracks.name, return_inverse=True)
    numbers = np.union1d(truth.frame, tracks.frame)
    frames = []
    for mine, theirs in zip(truth.by_frame(numbers), tracks.by_frame(numbers), strict=True):
        row, column, likeness = _alike(a[mine], b[theirs], by, reach)
        frames.append(Frame(of_truth[mine], of_track[theirs], row, column, likeness))
    return Pairing(tuple(frames), len(truths), len(names), len(truth), len(tracks))


def _compared(rows: Labelled, by: Likeness, which: str) -> np.ndarray:
    if by == "position":
        return rows.position
    if rows.box is None or rows.box.shape[1] != SIZES[by]:
        got = "none" if rows.box is None else f"boxes of {rows.box.shape[1]} numbers"
        raise TrackingError(f"{which}: expected boxes of {SIZES[by]} numbers to compare by {by}, got {got}")
    return rows.box


def _alike(a: np.ndarray, b: np.ndarray, by: Likeness, reach: float | int):
    """Rows, columns and likeness of all pairs that have something in common."""
    if not (len(a) and len(b)):
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    if by == "position":
        row, column, distance = near_pairs(a, b, reach)
        likeness = 1 - distance / reach
    else:
        row, column = (each.ravel() for each in np.indices((len(a), len(b))))
        measure = {"image": image_overlap, "above": overlap_above, "space": overlap_in_space}[by]
        likeness = measure(a[row], b[column])
    good = likeness > 0
    return row[good], column[good], likeness[good]
