"""Lanes from centre lines that have no width: boundaries half-way to the lanes beside them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from foresee.driving.lanes import Lane

WIDTH = 3.5  # where no lane is beside
NARROWEST, WIDEST = 2.0, 6.0  # distances between the centres of lanes that are beside each other
SPACING = 2.0
ALIKE = np.cos(np.radians(20))
MEETING = 0.5


@dataclass(frozen=True, eq=False)
class _Samples:
    """Points along all centre lines, at about the same distance."""

    point: Float[np.ndarray, "P 2"]
    along: Float[np.ndarray, "P 2"]
    line: Int[np.ndarray, " P"]


def lanes_from_centres(
    centres: Mapping[str, Float[np.ndarray, "_ 2"]], kinds: Mapping[str, str]
) -> tuple[tuple[Lane, ...], list[str]]:
    """Give every centre line two boundaries, and connect lanes whose ends meet or that run side by side.

    A boundary is half-way to the usual distance of the lane beside; without one, as far away as the boundary
    on the other side, or half of 3.5 m. Lanes whose ends meet within half a metre and that head the same way
    follow each other.

    Args:
        centres: name -> centre line in the direction of travel [m], with at least two different points.
        kinds: name -> kind of lane.

    Returns:
        The lanes, and a note on the guesses made.
    """
    names = list(centres)
    lines = [centres[name] for name in names]
    samples = _sample(lines)
    near = _pairs(samples)
    halves = np.full((len(names), 2), np.nan)
    beside = np.full((len(names), 2), -1)
    for side, sign in enumerate((1.0, -1.0)):  # left, right
        for i, (distance, other) in _beside(samples, near, sign).items():
            halves[i, side], beside[i, side] = distance / 2, other
    guessed = int(np.isnan(halves).all(axis=1).sum())
    halves = np.where(np.isnan(halves), halves[:, ::-1], halves)
    halves = np.where(np.isnan(halves), WIDTH / 2, halves)
    follow = _followers(lines)
    lanes = []
    for i, (name, line) in enumerate(zip(names, lines, strict=True)):
        along = _tangents(line)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=-1)
        left, right = (names[k] if k >= 0 else None for k in beside[i])
        lanes.append(
            Lane(
                name,
                line + halves[i, 0] * normal,
                line - halves[i, 1] * normal,
                tuple(names[k] for k in follow[i]),
                left,
                right,
                kinds.get(name, "lane"),
            )
        )
    note = (
        f"lanes have centre lines only: boundaries put half-way to the lanes beside, for {guessed:,} of "
        f"{len(lanes):,} without any {WIDTH / 2:g} m away; changes between lanes beside each other taken as "
        f"allowed, ends within {MEETING:g} m as connected"
    )
    return tuple(lanes), [note]


def _sample(lines: list[np.ndarray]) -> _Samples:
    points, alongs, owners = [], [], []
    for i, line in enumerate(lines):
        length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        at = np.linspace(0.0, length[-1], max(2, int(np.ceil(length[-1] / SPACING)) + 1))
        points.append(np.stack([np.interp(at, length, line[:, k]) for k in range(2)], axis=-1))
        alongs.append(_tangents(points[-1]))
        owners.append(np.full(len(at), i))
    return _Samples(np.concatenate(points), np.concatenate(alongs), np.concatenate(owners))


def _tangents(line: np.ndarray) -> np.ndarray:
    """Unit vectors along a line, at each of its points."""
    step = np.diff(line, axis=0)
    step = step / np.maximum(np.hypot(*step.T), 1e-9)[:, None]
    both = np.concatenate([step[:1], step]) + np.concatenate([step, step[-1:]])
    size = np.hypot(*both.T)[:, None]
    ahead = np.concatenate([step, step[-1:]])  # where a line turns back on itself
    return np.where(size > 1e-6, both / np.maximum(size, 1e-9), ahead)


def _pairs(samples: _Samples) -> Int[np.ndarray, "2 N"]:
    """Pairs of samples of different lines that are near each other."""
    pairs = KDTree(samples.point).query_pairs(WIDEST + SPACING, output_type="ndarray").T
    pairs = pairs[:, samples.line[pairs[0]] != samples.line[pairs[1]]]
    return np.concatenate([pairs, pairs[::-1]], axis=1).astype(np.int64)


def _beside(samples: _Samples, near: np.ndarray, sign: float) -> dict[int, tuple[float, int]]:
    """For each line with another on one side along half of it: how far away it usually is, and which."""
    here, there = near
    gap = samples.point[there] - samples.point[here]
    along = samples.along[here]
    ahead = np.sum(along * gap, axis=1)
    aside = sign * (along[:, 0] * gap[:, 1] - along[:, 1] * gap[:, 0])
    alike = np.sum(along * samples.along[there], axis=1)
    fits = (np.abs(ahead) <= SPACING / 2 + 0.1) & (aside > NARROWEST) & (aside < WIDEST) & (alike > ALIKE)
    here, there, aside = here[fits], there[fits], aside[fits]
    order = np.lexsort((aside, here))
    here, there, aside = here[order], there[order], aside[order]
    nearest = np.concatenate([[True], np.diff(here) > 0]) if len(here) else np.zeros(0, bool)
    line, other, distance = samples.line[here[nearest]], samples.line[there[nearest]], aside[nearest]
    found = {}
    for i in np.unique(line):
        which, counts = np.unique(other[line == i], return_counts=True)
        most = int(counts.argmax())
        if 2 * counts[most] >= np.sum(samples.line == i):
            found[int(i)] = (float(np.median(distance[line == i])), int(which[most]))
    return found


def _followers(lines: list[np.ndarray]) -> list[list[int]]:
    starts, ends = (np.stack([line[k] for line in lines]) for k in (0, -1))
    first, last = (np.stack([_tangents(line)[k] for line in lines]) for k in (0, -1))
    meeting = KDTree(starts).query_ball_point(ends, MEETING)
    return [
        [k for k in sorted(some) if k != i and float(first[k] @ last[i]) > np.cos(np.radians(45))]
        for i, some in enumerate(meeting)
    ]
