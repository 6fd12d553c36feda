"""Finished tracks as paths: which detections were whose, from the first to the last."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.tracking.detections import Detections
from foresee.tracking.labelled import CONFIRMED
from foresee.tracking.sequence import History


@dataclass(frozen=True, eq=False)
class Paths:
    """One row for every scan of every track, track by track, in the order of time.

    Attributes:
        start: where each track begins among the rows, and at last the number of rows.
        name: identity of each track.
        scan: index of the scan of each row.
        row: which of all detections it is; −1 where the track was missed.
        existence: how surely the object was there, as it was known at that time.
    """

    start: Int[np.ndarray, " ends"]
    name: Int[np.ndarray, " paths"]
    scan: Int[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    existence: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.name)

    @property
    def seen(self) -> Bool[np.ndarray, " n"]:
        """Which rows are detections."""
        return self.row >= 0

    @property
    def owner(self) -> Int[np.ndarray, " n"]:
        """Place of each row's track in `name`."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def hits(self) -> Int[np.ndarray, " paths"]:
        """Return how many detections each track has."""
        return np.bincount(self.owner[self.seen], minlength=len(self))

    def mean(self, score: Float[np.ndarray, " detections"]) -> Float[np.ndarray, " paths"]:
        """Return the mean over each track's detections of a number that every detection has."""
        seen = self.seen
        total = np.bincount(self.owner[seen], score[self.row[seen]], minlength=len(self))
        return total / np.maximum(self.hits(), 1)

    def without_long_gaps(self, longest: int) -> "Paths":
        """Return the paths without the rows of gaps between detections that are longer than so many scans."""
        rows = np.arange(len(self.row))
        ahead = np.maximum.accumulate(np.where(self.seen, rows, -1))
        behind = np.minimum.accumulate(np.where(self.seen, rows, len(rows))[::-1])[::-1]
        return self.select(self.seen | (behind - ahead - 1 <= longest))

    def select(self, rows: Bool[np.ndarray, " n"]) -> "Paths":
        """Return some of the rows; tracks without any are left out."""
        counts = np.bincount(self.owner[rows], minlength=len(self))
        kept = counts > 0
        start = np.concatenate([[0], np.cumsum(counts[kept])])
        return replace(
            self,
            start=start,
            name=self.name[kept],
            scan=self.scan[rows],
            row=self.row[rows],
            existence=self.existence[rows],
        )


def stretched(
    paths: Paths, scans: int, *, detection: float, survival: float, births: float, objects: float
) -> Paths:
    """Return the paths with the scans before and after in which the object was more likely there than not.

    After its last detection an object is gone, or it is missed until the recording ends; before the first it
    was not there yet, or it was missed since the recording began. The two are weighed for every scan.

    Args:
        paths: from the first detection to the last.
        scans: how many scans the recording has.
        detection: probability of being detected in a scan.
        survival: probability of still being there in the next scan.
        births: new objects per scan.
        objects: objects in the first scan.
    """
    if not len(paths):
        return paths
    first, last = paths.scan[paths.start[:-1]], paths.scan[paths.start[1:] - 1]
    miss = max(1.0 - detection, 1e-9)
    most = int(np.ceil(np.log(1e-3) / np.log(min(miss, 0.999))))
    after = np.array(
        [_likely(int(min(scans - 1 - k, most)), miss * survival, 1 - survival, 1.0) for k in last]
    )
    before = np.array([_likely(int(min(k, most)), miss, births, objects) for k in first])
    parts = []
    for k, (low, high) in enumerate(pairwise(paths.start)):
        early = np.arange(first[k] - before[k], first[k])
        late = np.arange(last[k] + 1, last[k] + 1 + after[k])
        none, sure = np.full(len(early), -1), paths.existence[low:high]
        parts.append(
            (
                np.concatenate([early, paths.scan[low:high], late]),
                np.concatenate([none, paths.row[low:high], np.full(len(late), -1)]),
                np.concatenate([np.full(len(early), sure[0]), sure, np.full(len(late), sure[-1])]),
            )
        )
    scan, row, existence = (np.concatenate(column) for column in zip(*parts, strict=True))
    start = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])])
    return replace(paths, start=start, scan=scan, row=row, existence=existence)


def _likely(steps: int, miss: float, ends: float, goes_on: float) -> int:
    """How many of so many steps without a detection an object was more likely there than not.

    It ends in each step with the weight `ends` and is still there at the far end with `goes_on`.
    """
    weights = np.append(np.full(steps, ends), goes_on) * miss ** np.arange(steps + 1)
    there = np.cumsum(weights[::-1])[::-1] / weights.sum()
    return int(np.sum(there[1:] > 0.5))


def paths_of(history: History, detections: Detections) -> Paths:
    """Return every track that was ever confirmed, from its first detection to its last.

    Args:
        history: what `track` said, with tentative tracks.
        detections: what it was told.
    """
    order = np.lexsort((history.scan, history.name))
    names, first, counts = np.unique(history.name[order], return_index=True, return_counts=True)
    row = history.detection[order]
    row = np.where(row >= 0, detections.offsets[history.scan[order]] + row, -1)
    start = np.concatenate([first, [len(order)]])
    everything = Paths(start, names, history.scan[order], row, history.existence[order])
    if not len(order):
        return everything
    sure = np.maximum.reduceat((history.status[order] == CONFIRMED).astype(int), start[:-1]) > 0
    place = np.arange(len(order))
    seen = row >= 0
    low = np.minimum.reduceat(np.where(seen, place, len(order)), start[:-1])
    high = np.maximum.reduceat(np.where(seen, place, -1), start[:-1])
    inside = (place >= np.repeat(low, counts)) & (place <= np.repeat(high, counts))
    return everything.select(inside & np.repeat(sure, counts))
