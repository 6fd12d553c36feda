"""A line along which many paths run, and places given along and across it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

STEP = 2.5  # distance between points of a path and of the line [m]
BLUR = 4.0  # paths are averaged with a Gaussian of this standard deviation [m]
LARGEST_GAP = 40.0  # a path that is not seen for longer is cut in two [m]
AHEAD, ASIDE, ALIKE = 5.0, 16.0, 0.6  # who tells the direction at a place: [m], [m], [rad]
SKEW = 0.03  # directions that differ more than this from the others hardly count [rad]
SHARPEST = 0.2
ENOUGH = 1000  # so many points tell a direction


@dataclass(frozen=True, eq=False)
class Steps:
    """Paths at regular distances: number of the path, position [m] and direction [rad] of every point."""

    path: Int[np.ndarray, " N"]
    place: Float[np.ndarray, "N 2"]
    heading: Float[np.ndarray, " N"]

    def keep(self, chosen: np.ndarray) -> "Steps":
        """Return the chosen points."""
        return Steps(self.path[chosen], self.place[chosen], self.heading[chosen])


@dataclass(frozen=True, eq=False)
class Frame:
    """A smooth line with a point every `STEP` metres; offsets count to its left.

    Attributes:
        line: points [m].
        heading: direction at every point, not wrapped [rad].
    """

    line: Float[np.ndarray, "M 2"]
    heading: Float[np.ndarray, " M"]

    @property
    def length(self) -> float:
        """Length of the line [m]."""
        return STEP * (len(self.line) - 1)

    def at(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points, directions and curvatures at arc lengths; straight on beyond the ends."""
        grid, inside = STEP * np.arange(len(self.line)), np.clip(along, 0.0, self.length)
        turn = np.interp(inside, grid, self.heading)
        bend = np.interp(inside, grid, np.gradient(self.heading, STEP)) * (along == inside)
        place = np.stack([np.interp(inside, grid, self.line[:, k]) for k in (0, 1)], axis=-1)
        return place + (along - inside)[..., None] * _unit(turn), turn, bend

    def place(self, along: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Return the points at arc lengths and offsets [m]."""
        line, turn, _ = self.at(along)
        return line + offset[..., None] * _unit(turn + 0.5 * np.pi)

    def find(self, place: Float[np.ndarray, "N 2"]) -> tuple[np.ndarray, np.ndarray]:
        """Return arc lengths and offsets of points [m]."""
        along = STEP * KDTree(self.line).query(place)[1].astype(float)
        for _ in range(3):
            line, turn, bend = self.at(along)
            away = place - line
            offset = (away * _unit(turn + 0.5 * np.pi)).sum(axis=1)
            along = along + (away * _unit(turn)).sum(axis=1) / np.maximum(1 - bend * offset, SHARPEST)
        line, turn, _ = self.at(along)
        return along, ((place - line) * _unit(turn + 0.5 * np.pi)).sum(axis=1)


def steps_of(paths: Sequence[Float[np.ndarray, "_ 2"]]) -> Steps:
    """Put points at regular distances on smoothed paths; who stands still gives none."""
    numbers, places, headings = [], [], []
    for number, path in enumerate(paths):
        for piece in _moving(path):
            arc = np.r_[0.0, np.cumsum(np.hypot(*np.diff(piece, axis=0).T))]
            count = int(arc[-1] / STEP) + 1
            if count < 3:
                continue
            # Finer than the result, so that the average sees every sighting.
            fine = np.arange(2 * count - 1) * 0.5 * STEP
            line = np.stack([np.interp(fine, arc, piece[:, k]) for k in (0, 1)], axis=1)
            line = _blurred(line, BLUR / (0.5 * STEP))[::2]
            ahead = np.gradient(line, axis=0)
            numbers.append(np.full(count, number))
            places.append(line)
            headings.append(np.arctan2(ahead[:, 1], ahead[:, 0]))
    if not numbers:
        return Steps(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0))
    return Steps(np.concatenate(numbers), np.concatenate(places), np.concatenate(headings))


def line_along(steps: Steps) -> Frame:
    """Follow the direction of the paths, from the middle of the longest one to both ends of the traffic.

    The direction at a place is the robust mean of those of the paths beside it, so that a change of lanes
    or an exit does not bend the line.
    """
    longest = np.bincount(steps.path).argmax()
    rows = np.flatnonzero(steps.path == longest)
    start = int(rows[len(rows) // 2])
    tree = KDTree(steps.place)
    ahead, closed = _followed(steps, tree, start, 1.0)
    back = ahead[:1] if closed else _followed(steps, tree, start, -1.0)[0]
    line = np.concatenate([back[:0:-1], ahead])
    heading = _blurred(np.unwrap(line[:, 2])[:, None], 2.0)[:, 0]
    # The line is drawn anew from the smooth direction, so that both agree; its middle stays in place.
    middle, half = len(back) - 1, 0.5 * (heading[1:] + heading[:-1])
    drawn = np.concatenate([np.zeros((1, 2)), np.cumsum(STEP * _unit(half), axis=0)])
    return Frame(drawn - drawn[middle] + steps.place[start], heading)


def _followed(steps: Steps, tree: KDTree, start: int, sign: float) -> tuple[np.ndarray, bool]:
    """Points and directions from a start to the end of the traffic, or once round a ring."""
    place, turn = steps.place[start], float(steps.heading[start])
    points = [(*place, turn)]
    for _ in range(2 * len(steps.path) + 10):
        found = _direction(steps, tree, place, turn, sign)
        if found is None:
            break
        bend = found - turn if len(points) > 1 else 0.0
        turn = found
        points[-1] = (*place, turn)
        place = place + sign * STEP * _unit(np.asarray(turn + 0.5 * bend))
        round_ = abs(turn - float(steps.heading[start])) > 1.8 * np.pi
        if round_ and np.hypot(*(place - steps.place[start])) < 2 * STEP:
            return np.array(points), True
        points.append((*place, turn))
    return np.array(points[: max(len(points) - 1, 1)]), False


def _direction(steps: Steps, tree: KDTree, place: np.ndarray, turn: float, sign: float) -> float | None:
    """Robust local linear fit of the directions around a place, or None where the traffic ends."""
    near = np.array(tree.query_ball_point(place, ASIDE), int)
    if not len(near):
        return None
    near = near[:: 1 + len(near) // ENOUGH]
    away = (steps.place[near] - place) @ np.stack(
        [_unit(np.asarray(turn)), _unit(np.asarray(turn + 0.5 * np.pi))]
    ).T
    skew = np.angle(np.exp(1j * (steps.heading[near] - turn)))
    use = (np.abs(skew) < ALIKE) & (np.abs(away[:, 0]) < 3 * AHEAD)
    if not (use & (sign * away[:, 0] > -0.5 * STEP)).any():
        return None
    ahead, skew = away[use, 0], skew[use]
    weight = np.exp(-0.5 * (ahead / AHEAD) ** 2)
    middle, slope = float(np.median(skew)), 0.0
    for _ in range(4):
        rest = skew - middle - slope * ahead
        robust = weight / (1 + (rest / SKEW) ** 2)
        total = robust.sum()
        mean_ahead, mean_skew = robust @ ahead / total, robust @ skew / total
        spread = robust @ (ahead - mean_ahead) ** 2 + AHEAD**2  # as if seen once more, without a slope
        slope = robust @ ((ahead - mean_ahead) * (skew - mean_skew)) / spread
        middle = mean_skew - slope * mean_ahead
    return turn + float(np.clip(middle, -0.3, 0.3))


def _moving(path: np.ndarray) -> list[np.ndarray]:
    """Points at least a metre from the one before, cut where nothing was seen for long."""
    pieces: list[list[tuple[float, float]]] = []
    last_x = last_y = math.inf
    for x, y in path.tolist():  # plain numbers: many times faster than rows of an array
        moved = math.hypot(x - last_x, y - last_y)
        if moved < 1.0:
            continue
        if moved > LARGEST_GAP:
            pieces.append([])
        pieces[-1].append((x, y))
        last_x, last_y = x, y
    return [np.array(piece) for piece in pieces if len(piece) > 1]


def _blurred(line: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian average of the columns; the ends are continued by turning the line over their points."""
    reach = min(int(3 * deviation), len(line) - 1)
    if reach < 1:
        return line
    before, after = 2 * line[0] - line[reach:0:-1], 2 * line[-1] - line[-2 : -2 - reach : -1]
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    wide = np.concatenate([before, line, after])
    return np.stack([np.convolve(column, kernel / kernel.sum(), "valid") for column in wide.T], axis=1)


def _unit(turn: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(turn), np.sin(turn)], axis=-1)
