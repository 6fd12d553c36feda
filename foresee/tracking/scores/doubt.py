"""Whether tracks know how wrong they are: NEES and coverage; and how soon they are there and gone again."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import chi2, norm

from foresee.errors import TrackingError
from foresee.tracking.labelled import Labelled
from foresee.tracking.scores.best_pairs import best_pairs
from foresee.tracking.scores.near import near_pairs
from foresee.tracking.scores.ospa import check

LEVELS = (0.5, 0.9, 0.99)


@dataclass(frozen=True, eq=False)
class Doubt:
    """How the errors of tracks compare with the doubt they admit.

    Attributes:
        rows: rows of tracks that were paired with an object.
        nees: normalised squared error of each; its mean should be the number of coordinates.
        nees_mean: that mean.
        inside: share of objects inside the ellipse of 50, 90 and 99 %.
        coverage: share of coordinates inside their own interval of 50, 90 and 99 %.
    """

    rows: int
    nees: Float[np.ndarray, " rows"]
    nees_mean: float
    inside: tuple[float, ...]
    coverage: tuple[float, ...]


def matched_rows(
    truth: Labelled, tracks: Labelled, *, within: float | int = 10.0
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Return the places of rows of the truth and of the tracks that belong together, nearest in all."""
    check(within, 1)
    frames = np.union1d(truth.frame, tracks.frame)
    mine, theirs = [np.zeros(0, int)], [np.zeros(0, int)]
    for a, b in zip(truth.by_frame(frames), tracks.by_frame(frames), strict=True):
        row, column, apart = near_pairs(truth.position[a], tracks.position[b], within)
        chosen = best_pairs(row, column, float(within) - apart)
        mine.append(a[row[chosen]])
        theirs.append(b[column[chosen]])
    return np.concatenate(mine), np.concatenate(theirs)


def doubt(truth: Labelled, tracks: Labelled, *, within: float | int = 10.0) -> Doubt:
    """Compare errors of position with the covariances of the tracks.

    Args:
        truth: who really was where.
        tracks: who is said to have been there, with covariances.
        within: distance beyond which a track belongs to no object; keep it well above the doubt, or the
            largest errors are not counted.

    Raises:
        TrackingError: if tracks have no covariances.
    """
    if tracks.covariance is None:
        raise TrackingError("expected tracks with covariances, got none")
    mine, theirs = matched_rows(truth, tracks, within=within)
    error = truth.position[mine] - tracks.position[theirs]
    covariance = tracks.covariance[theirs]
    if not len(mine):
        nothing = (float("nan"),) * len(LEVELS)
        return Doubt(0, np.zeros(0), float("nan"), nothing, nothing)
    nees = np.sum(error * np.linalg.solve(covariance, error[..., None])[..., 0], axis=1)
    size = np.abs(error) / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    inside = tuple(float(np.mean(nees <= chi2.ppf(level, error.shape[1]))) for level in LEVELS)
    coverage = tuple(float(np.mean(size <= norm.ppf(0.5 + level / 2))) for level in LEVELS)
    return Doubt(len(mine), nees, float(nees.mean()), inside, coverage)


@dataclass(frozen=True)
class Delays:
    """How long it takes, in frames, averaged.

    Attributes:
        to_confirm: from an object's first frame to the first with a track.
        to_delete: from a track's last frame with an object to its last frame.
        never: objects that never had a track.
    """

    to_confirm: float
    to_delete: float
    never: int


def delays(truth: Labelled, tracks: Labelled, *, within: float | int = 10.0) -> Delays:
    """Say how soon objects have a track, and how soon tracks end that have lost theirs.

    Args:
        truth: who really was where.
        tracks: the confirmed rows of tracks.
        within: distance beyond which a track belongs to no object.
    """
    mine, theirs = matched_rows(truth, tracks, within=within)
    objects, of_truth = np.unique(truth.name, return_inverse=True)
    names, of_track = np.unique(tracks.name, return_inverse=True)
    never = np.iinfo(np.int64).max
    begun, found = np.full((2, len(objects)), never)
    np.minimum.at(begun, of_truth, truth.frame)
    np.minimum.at(found, of_truth[mine], truth.frame[mine])
    ended, lost = np.full((2, len(names)), -never)
    np.maximum.at(ended, of_track, tracks.frame)
    np.maximum.at(lost, of_track[theirs], tracks.frame[theirs])
    seen, had = found < never, lost > -never
    late = float(np.mean(found[seen] - begun[seen])) if seen.any() else float("nan")
    stale = float(np.mean(ended[had] - lost[had])) if had.any() else float("nan")
    return Delays(late, stale, int(np.sum(~seen)))
