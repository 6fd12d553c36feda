"""OSPA: one distance between two sets of points, and OSPA(2), the same between sets of tracks."""

import numpy as np
from jaxtyping import Float

from foresee.errors import TrackingError
from foresee.tracking.labelled import Labelled
from foresee.tracking.scores.best_pairs import best_pairs
from foresee.tracking.scores.near import near_pairs


def check(c: float | int, p: float | int) -> None:
    """Raise unless the cut-off and the order make a distance."""
    if not (np.isfinite(c) and c > 0 and np.isfinite(p) and p >= 1):
        raise TrackingError(f"expected a cut-off c above 0 and an order p of at least 1, got {c} and {p}")


def ospa(
    truth: Float[np.ndarray, "n d"],
    tracks: Float[np.ndarray, "m d"],
    *,
    c: float | int = 10.0,
    p: float | int = 1.0,
) -> float:
    """Return the distance of two sets of points (Schuhmacher, Vo and Vo 2008, eq. 3).

    Args:
        truth: where objects are.
        tracks: where they are said to be.
        c: distance at which a point counts as missing; also what a missing point costs.
        p: order; larger ones weigh outliers more.

    Raises:
        TrackingError: if c or p make no distance.
    """
    check(c, p)
    most = max(len(truth), len(tracks))
    if not most:
        return 0.0
    row, column, distance = near_pairs(truth, tracks, c)
    gain = float(c) ** p - distance**p
    saved = gain[best_pairs(row, column, gain)].sum()
    return float(max(0.0, c**p - saved / most) ** (1 / p))


def ospa_by_frame(
    truth: Labelled, tracks: Labelled, *, c: float | int = 10.0, p: float | int = 1.0
) -> Float[np.ndarray, " frames"]:
    """Return OSPA of the positions in every frame that has an object or a track."""
    frames = np.union1d(truth.frame, tracks.frame)
    pairs = zip(truth.by_frame(frames), tracks.by_frame(frames), strict=True)
    return np.array([ospa(truth.position[a], tracks.position[b], c=c, p=p) for a, b in pairs])


def ospa_of_tracks(
    truth: Labelled, tracks: Labelled, *, c: float | int = 10.0, p: float | int = 1.0
) -> float:
    """Return OSPA(2): OSPA between whole tracks, whose own distance is their mean over time.

    The distance of two tracks is the mean, over the frames in which either exists, of min(c, distance)
    where both do and of c where one does not (Beard, Vo and Vo 2020, eqs. 14 and 19; order 1 within a track).

    Raises:
        TrackingError: if c or p make no distance.
    """
    check(c, p)
    objects, of_truth, lived = np.unique(truth.name, return_inverse=True, return_counts=True)
    names, of_track, lasted = np.unique(tracks.name, return_inverse=True, return_counts=True)
    most = max(len(objects), len(names))
    if not most:
        return 0.0
    frames = np.union1d(truth.frame, tracks.frame)
    near, saved = [np.zeros(0, int)], [np.zeros(0)]
    for a, b in zip(truth.by_frame(frames), tracks.by_frame(frames), strict=True):
        row, column, distance = near_pairs(truth.position[a], tracks.position[b], c)
        near.append(of_truth[a][row] * max(1, len(names)) + of_track[b][column])
        saved.append(c - distance)
    pairs, inverse = np.unique(np.concatenate(near), return_inverse=True)
    gained = np.bincount(inverse, np.concatenate(saved), len(pairs))
    one, other = np.divmod(pairs, max(1, len(names)))
    both = _frames_in_common(truth, tracks, of_truth, of_track, pairs, len(names))
    distance = np.maximum(0.0, c - gained / (lived[one] + lasted[other] - both))
    gain = float(c) ** p - distance**p
    total = gain[best_pairs(one, other, gain)].sum()
    return float(max(0.0, c**p - total / most) ** (1 / p))


def _frames_in_common(truth, tracks, of_truth, of_track, pairs, names) -> np.ndarray:
    """In how many frames both of each pair exist."""
    out = np.zeros(len(pairs))
    if not len(pairs):
        return out
    frames = np.union1d(truth.frame, tracks.frame)
    at_truth = np.searchsorted(frames, truth.frame)
    at_track = np.searchsorted(frames, tracks.frame)
    there = np.zeros((int(of_truth.max()) + 1, len(frames)), bool)
    here = np.zeros((int(of_track.max()) + 1, len(frames)), bool)
    there[of_truth, at_truth] = True
    here[of_track, at_track] = True
    one, other = np.divmod(pairs, max(1, names))
    for low in range(0, len(pairs), 4096):
        rows = slice(low, low + 4096)
        out[rows] = np.sum(there[one[rows]] & here[other[rows]], axis=1)
    return out
