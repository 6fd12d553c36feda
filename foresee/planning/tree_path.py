"""What a planner that samples gives back: a path, the tree it grew, and how the path got shorter."""

from dataclasses import dataclass
from typing import Literal, no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from foresee.errors import BudgetError


@dataclass(frozen=True, eq=False)
class TreePath:
    """A path in the plane, or how much was tried without finding one.

    Attributes:
        found: whether there is a path. That none was found proves nothing.
        outcome: "found", "out of time", "out of effort" when all points allowed were used, or, from an exact
            planner only, "no path".
        length: of the path; infinite where none was found.
        points: corners of the path, from start to goal.
        nodes: of the tree, or the points sampled.
        parents: of each node its parent; −1 at a root, or where a point is in no tree.
        expanded: how many points were tried.
        milliseconds: how long it took.
        history: seconds since the beginning and length, each time that the path got shorter.
    """

    found: bool
    outcome: Literal["found", "no path", "out of time", "out of effort"]
    length: float
    points: Float[np.ndarray, "corners 2"]
    nodes: Float[np.ndarray, "nodes 2"]
    parents: Int[np.ndarray, " nodes"]
    expanded: int
    milliseconds: float
    history: Float[np.ndarray, "times 2"]

    @property
    def cost(self) -> float:
        """What was minimised: the length."""
        return self.length


def length_of(points: np.ndarray) -> float:
    """Return the length of a path."""
    steps = np.diff(points, axis=0)
    return float(np.hypot(steps[:, 0], steps[:, 1]).sum())


def check_effort(most: int, step: float) -> None:
    """Refuse a planner that may not try anything, or takes steps of no length.

    Raises:
        BudgetError: if it may use fewer than two points, or the step is not above 0.
    """
    if most < 2:
        raise BudgetError(f"expected a budget of at least 2 points, got {most}")
    if not (np.isfinite(step) and step > 0):
        raise BudgetError(f"expected steps longer than 0, got {step}")


def generator(seed: int) -> np.ndarray:
    """Return the state of the random numbers of compiled planners."""
    return np.array([np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]], np.uint64)


@njit(cache=True, nogil=True)
@no_type_check
def uniform(state):
    """Return the next random number from 0 to 1 (SplitMix64: Steele, Lea and Flood 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = state[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return float(mixed >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
@no_type_check
def sample(bounds, sx, sy, gx, gy, best, random):
    """Return a point of the bounds over which a path shorter than `best` may lead.

    Source:
        Gammell, Srinivasa and Barfoot (2014), "Informed RRT*", section V.
    """
    least = np.hypot(gx - sx, gy - sy)
    wide, high = bounds[2] - bounds[0], bounds[3] - bounds[1]
    small = (
        np.isfinite(best) and np.pi / 4 * best * np.sqrt(max(best * best - least * least, 0.0)) < wide * high
    )
    if not small or least == 0:
        return bounds[0] + wide * uniform(random), bounds[1] + high * uniform(random)
    major, minor = 0.5 * best, 0.5 * np.sqrt(max(best * best - least * least, 0.0))
    ux, uy = (gx - sx) / least, (gy - sy) / least
    for _ in range(100):
        radius, angle = np.sqrt(uniform(random)), 2 * np.pi * uniform(random)
        a, b = major * radius * np.cos(angle), minor * radius * np.sin(angle)
        x, y = 0.5 * (sx + gx) + a * ux - b * uy, 0.5 * (sy + gy) + a * uy + b * ux
        if bounds[0] <= x <= bounds[2] and bounds[1] <= y <= bounds[3]:
            return x, y
    return sx, sy


@njit(cache=True, nogil=True)
@no_type_check
def put(node, x, y, bounds, head, after):
    """Put a node into its bin."""
    side = head.shape[0]
    row = min(side - 1, max(0, int(side * (y - bounds[1]) / (bounds[3] - bounds[1]))))
    column = min(side - 1, max(0, int(side * (x - bounds[0]) / (bounds[2] - bounds[0]))))
    after[node] = head[row, column]
    head[row, column] = node


@njit(cache=True, nogil=True)
@no_type_check
def nearest(x, y, points, bounds, head, after):
    """Return the node that is nearest to a point; bins are looked at in growing rings."""
    side = head.shape[0]
    wide, high = (bounds[2] - bounds[0]) / side, (bounds[3] - bounds[1]) / side
    row = min(side - 1, max(0, int((y - bounds[1]) / high)))
    column = min(side - 1, max(0, int((x - bounds[0]) / wide)))
    best, found = np.inf, -1
    for ring in range(side):
        if found >= 0 and (min(wide, high) * (ring - 1)) ** 2 > best:
            break
        for r in range(max(0, row - ring), min(side, row + ring + 1)):
            step = 1 if (r == row - ring or r == row + ring) else max(1, 2 * ring)
            for c in range(column - ring, column + ring + 1, step):
                if not 0 <= c < side:
                    continue
                node = head[r, c]
                while node >= 0:
                    square = (points[node, 0] - x) ** 2 + (points[node, 1] - y) ** 2
                    if square < best:
                        best, found = square, node
                    node = after[node]
    return found
