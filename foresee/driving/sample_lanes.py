"""Samples of lanes at regular distances, with what lies beside every sample."""

import math

import jax.numpy as jnp
import numpy as np

from foresee.driving.lanes import Lane
from foresee.driving.lines import Polyline, distance, foot, joined, sampled, total_length
from foresee.driving.road import Road

MERGING_LEFT = 20.0  # a lane must merge if its neighbour goes on for longer than this


class Sampling:
    """Samples chains of lanes and finds what lies beside every sample."""

    def __init__(
        self,
        chains: list[list[str]],
        named: dict[str, Lane],
        centres: dict[str, Polyline],
        follow: dict[str, list[str]],
        spacing: float,
    ):
        self.chains, self.named, self.follow, self.spacing = chains, named, follow, spacing
        self.number = {name: i for i, chain in enumerate(chains) for name in chain}
        self.points, self.piece_ends = [], []
        for chain in chains:
            line = joined([centres[name] for name in chain])
            self.points.append(line)
            ends = np.cumsum([total_length(centres[name]) for name in chain])
            self.piece_ends.append(ends * total_length(line) / ends[-1])
        self.length = np.array([total_length(line) for line in self.points])
        self.samples = math.ceil(self.length.max() / spacing) + 2

    def road(self) -> Road:
        """Return the sampled lanes as a road."""
        count = len(self.chains)
        along = np.arange(self.samples) * self.spacing
        line = np.zeros((count, self.samples, 4))
        across = np.zeros((count, self.samples, 5))
        beside = np.full((count, self.samples, 2), -1)
        for i in range(count):
            line[i] = sampled(self.points[i], along, ring=i in self._next(i))
        for i in range(count):
            self._cross(i, along, line, across, beside)
        self._reach(across, beside)
        successors = [sorted(self._next(i)) for i in range(count)]
        predecessors = [[j for j in range(count) if i in successors[j]] for i in range(count)]
        limits = [self.named[chain[0]].speed_limit for chain in self.chains]
        return Road(
            jnp.asarray(line),
            jnp.asarray(across),
            jnp.asarray(beside, jnp.int32),
            jnp.asarray(self.length),
            jnp.asarray(self.spacing),
            jnp.asarray(_padded(successors), jnp.int32),
            jnp.asarray(_padded(predecessors), jnp.int32),
            jnp.asarray([math.inf if limit is None else limit for limit in limits]),
            jnp.asarray([not successors[i] and self._must_merge(i, beside, across) for i in range(count)]),
        )

    def _must_merge(self, i: int, beside: np.ndarray, across: np.ndarray) -> bool:
        """Whether a lane at the end of lane i goes on well beyond it."""
        last = min(int(self.length[i] / self.spacing), self.samples - 1)
        return any(
            j >= 0 and (self.length[j] - across[i, last, 3 + side] > MERGING_LEFT or self._next(j))
            for side, j in enumerate(beside[i, last].tolist())
        )

    def _next(self, i: int) -> set[int]:
        return {self.number[name] for name in self.follow[self.chains[i][-1]]}

    def _cross(self, i: int, along: np.ndarray, line: np.ndarray, across: np.ndarray, beside: np.ndarray):
        """Fill in width and neighbours of one lane at every sample."""
        piece = np.minimum(np.searchsorted(self.piece_ends[i], along, "right"), len(self.chains[i]) - 1)
        inside = along <= self.length[i] + self.spacing
        across[i, :, 3:] = along[:, None]
        for p, name in enumerate(self.chains[i]):
            lane, rows = self.named[name], np.flatnonzero((piece == p) & inside)
            if not len(rows):
                continue
            points = line[i, rows, :2]
            across[i, rows, 0] = distance(points, lane.left) + distance(points, lane.right)
            for side, other in enumerate((lane.left_neighbour, lane.right_neighbour)):
                if other is None:
                    continue
                j = self.number[other]
                reached = foot(points, self.points[j])[0]
                there = self._opened(i, j, side, reached)
                beside[i, rows[there], side] = j
                # On a ring the last sample lies beyond the seam, where arc lengths begin again.
                back = np.diff(reached[there], prepend=reached[there][:1]) < -0.5 * self.length[j]
                across[i, rows[there], 3 + side] = reached[there] + self.length[j] * np.cumsum(back)
        last = np.flatnonzero(inside)[-1]
        across[i, last + 1 :, 0] = across[i, last, 0]
        across[i, :, 1:3] = 0.5 * across[i, :, :1]

    def _opened(self, i: int, j: int, side: int, reached: np.ndarray) -> np.ndarray:
        """Whether arc lengths on lane j are on pieces that are named as neighbours by pieces of lane i."""
        sides = ("left_neighbour", "right_neighbour")
        beside = {getattr(self.named[name], sides[side]) for name in self.chains[i]}
        ends = np.r_[0.0, self.piece_ends[j]]
        opened = np.zeros(len(reached), bool)
        for q, name in enumerate(self.chains[j]):
            if name in beside:
                opened |= (reached >= ends[q] - self.spacing) & (reached <= ends[q + 1] + self.spacing)
        return opened

    def _reach(self, across: np.ndarray, beside: np.ndarray) -> None:
        """Let the drivable area of every sample reach across all neighbours on its sides."""
        width, count = across[..., 0].copy(), len(self.chains)
        for side in (0, 1):
            lane = np.repeat(np.arange(count)[:, None], self.samples, axis=1)
            sample = np.repeat(np.arange(self.samples)[None], count, axis=0)
            for _ in range(count):
                there = beside[lane, sample, side] >= 0
                if not there.any():
                    break
                where = across[lane, sample, 3 + side] / self.spacing
                following = np.where(there, beside[lane, sample, side], lane)
                sample = np.where(there, np.clip(np.round(where).astype(int), 0, self.samples - 1), sample)
                lane = following
                across[..., 1 + side] += np.where(there, width[lane, sample], 0.0)


def _padded(rows: list[list[int]]) -> np.ndarray:
    width = max(1, *(len(row) for row in rows))
    return np.array([row + [-1] * (width - len(row)) for row in rows])
