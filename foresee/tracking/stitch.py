"""Stitching: tracks that ended and tracks that began later, joined where they are one and the same object."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from foresee.tracking.paths import Paths
from foresee.tracking.scores.best_pairs import best_pairs
from foresee.tracking.smooth import Smoothed


@dataclass(frozen=True)
class Hidden:
    """When objects are lost for a while, as behind others.

    Attributes:
        chance: probability that a track that ended is only hidden.
        scans: mean number of scans for which it is.
        longest: most scans that are bridged.
    """

    chance: float
    scans: float
    longest: int


def stitch(
    paths: Paths,
    found: Smoothed,
    density: Float[np.ndarray, "n d"],
    hidden: Hidden,
    log_births: float,
    components: tuple[int, ...],
) -> Paths:
    """Return the paths, joined where that is likelier than that one object went and another came.

    The end of one path and the beginning of another are compared by where the first would be had it gone on
    at its velocity. All joins are chosen together, so that none takes a path that another needs more.

    Args:
        paths: tracks.
        found: the same, smoothed.
        density: spectral density of the acceleration's noise of each row.
        hidden: how long objects are lost.
        log_births: log density of new objects, per scan and unit of what is measured.
        components: which components of what is measured are compared.
    """
    if len(paths) < 2:
        return paths
    first, last = paths.start[:-1], paths.start[1:] - 1
    wait = paths.scan[first][None, :] - paths.scan[last][:, None]
    one, other = np.nonzero((wait > 0) & (wait <= hidden.longest + 1))
    gap = wait[one, other].astype(float)[:, None]
    a, b = last[one], first[other]
    index = list(components)
    error = found.position[b] - found.position[a] - gap * found.velocity[a]
    variance = found.variance[a] + gap**2 * found.velocity_variance[a] + density[a] * gap**3 / 3
    variance, error = (variance + found.variance[b])[:, index], error[:, index]
    log_same = -0.5 * np.sum(np.log(2 * np.pi * variance) + error**2 / variance, axis=1)
    log_wait = np.log(hidden.chance / hidden.scans) - gap[:, 0] / hidden.scans
    worth = log_same + log_wait - log_births
    return _joined(paths, {int(one[k]): int(other[k]) for k in best_pairs(one, other, worth)})


def _joined(paths: Paths, follows: dict[int, int]) -> Paths:
    """Return the paths, those that follow each other as one; rows between are missed scans."""
    later = set(follows.values())
    heads = [head for head in range(len(paths)) if head not in later]
    parts, counts = [], []
    for head in heads:
        chain = [head]
        while chain[-1] in follows:
            chain.append(follows[chain[-1]])
        own = [_columns(paths, one, follows) for one in chain]
        parts += own
        counts.append(sum(len(columns[0]) for columns in own))
    scan, row, existence = (np.concatenate(column) for column in zip(*parts, strict=True))
    start = np.concatenate([[0], np.cumsum(counts)])
    return replace(paths, start=start, name=paths.name[heads], scan=scan, row=row, existence=existence)


def _columns(paths: Paths, one: int, follows: dict[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scans, rows and existence of one path, and of the scans until the path that follows it."""
    low, high = int(paths.start[one]), int(paths.start[one + 1])
    end = int(paths.scan[high - 1])
    after = int(paths.scan[paths.start[follows[one]]]) if one in follows else end + 1
    wait = after - end - 1
    return (
        np.concatenate([paths.scan[low:high], end + 1 + np.arange(wait)]),
        np.concatenate([paths.row[low:high], np.full(wait, -1)]),
        np.concatenate([paths.existence[low:high], np.full(wait, paths.existence[high - 1])]),
    )
