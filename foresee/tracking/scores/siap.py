"""SIAP: is the picture of the air complete, without doubles, without ghosts, and does it keep its names?"""

from dataclasses import dataclass

import numpy as np

from foresee.tracking.labelled import Labelled
from foresee.tracking.scores.near import near_pairs
from foresee.tracking.scores.ospa import check


@dataclass(frozen=True)
class Siap:
    """The single integrated air picture's attributes (Votruba et al. 2001), over all frames.

    Attributes:
        completeness: share of the truth's rows that have at least one track.
        ambiguity: tracks per object that has any; 1 is best.
        spuriousness: share of the tracks' rows that belong to no object.
        accuracy: mean distance of tracks from their objects, in units of position.
        name_changes: how often an object needs another track, per frame in which it has one.
        longest: frames of each object's longest stretch with one track, summed, over all its frames.
    """

    completeness: float
    ambiguity: float
    spuriousness: float
    accuracy: float
    name_changes: float
    longest: float


def siap(truth: Labelled, tracks: Labelled, *, within: float | int = 10.0) -> Siap:
    """Assign every row of a track to the nearest object within reach, several to one if need be, and count.

    Args:
        truth: who really was where.
        tracks: who is said to have been there.
        within: distance beyond which a track belongs to no object.

    Raises:
        TrackingError: if the distance is not above 0.
    """
    check(within, 1)
    objects, of_truth = np.unique(truth.name, return_inverse=True)
    followers: list[list[set[int]]] = [[] for _ in objects]
    distance, assigned, tracked = 0.0, 0, 0
    frames = np.union1d(truth.frame, tracks.frame)
    for mine, theirs in zip(truth.by_frame(frames), tracks.by_frame(frames), strict=True):
        row, column, apart = near_pairs(truth.position[mine], tracks.position[theirs], within)
        order = np.lexsort((apart, column))
        first = order[np.unique(column[order], return_index=True)[1]]
        by_object: list[set[int]] = [set() for _ in mine]
        for k in first:
            by_object[row[k]].add(int(tracks.name[theirs[column[k]]]))
        for place, names in zip(mine, by_object, strict=True):
            followers[of_truth[place]].append(names)
        distance += float(apart[first].sum())
        assigned += len(first)
        tracked += sum(1 for names in by_object if names)
    changes = sum(_fewest_tracks(life) - 1 for life in followers if any(life))
    return Siap(
        completeness=tracked / max(1, len(truth)),
        ambiguity=assigned / max(1, tracked),
        spuriousness=(len(tracks) - assigned) / max(1, len(tracks)),
        accuracy=distance / max(1, assigned),
        name_changes=changes / max(1, tracked),
        longest=sum(_longest_stretch(life) for life in followers) / max(1, len(truth)),
    )


def _fewest_tracks(life: list[set[int]]) -> int:
    """How many tracks are needed one after another to follow an object whenever any track does."""
    count, going = 0, set()
    for names in life:
        if not names:
            continue
        going = going & names
        if not going:
            count += 1
            going = set(names)
    return count


def _longest_stretch(life: list[set[int]]) -> int:
    """Most frames on end that one track follows an object."""
    best = 0
    lengths: dict[int, int] = {}
    for names in life:
        lengths = {name: lengths.get(name, 0) + 1 for name in names}
        best = max(best, *lengths.values(), 0) if lengths else best
    return best
