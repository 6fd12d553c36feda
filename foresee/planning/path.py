"""What a search on a grid gives back, and how it keeps to its time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import isfinite, sqrt
from time import perf_counter
from typing import Any, Literal, no_type_check

import numpy as np
from jaxtyping import Int
from numba import njit

from foresee.errors import BudgetError
from foresee.planning.grid import Grid

Outcome = Literal["found", "no path", "out of time"]


@cache
def compiled(method: Callable[..., object]) -> None:
    """Have a method compile what it needs, so that a limit on its time is one on its search."""
    method(Grid(np.ones((3, 3), bool)), (0, 0), (2, 2))


class Watch:
    """How long something has taken, and how much of its time is left."""

    def __init__(self, seconds: float | int | None = None):
        if seconds is not None and not (isfinite(seconds) and seconds > 0):
            raise BudgetError(f"expected a time of more than 0 s, got {seconds}")
        self.seconds = seconds
        self._started = perf_counter()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return perf_counter() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left; infinity where there is no limit."""
        return float("inf") if self.seconds is None else self.seconds - self.spent


def sliced(search: Callable[[int], bool], watch: Watch) -> bool:
    """Run a compiled search that does at most so many steps per call until it ends or the time is up.

    Slices grow to a twentieth of the time allowed, so that it is kept within 10 %.
    """
    if watch.seconds is None:
        return bool(search(2**62))
    most = 256
    while watch.left > 0:
        begun = watch.spent
        if search(most):
            return True
        lasted = watch.spent - begun
        if lasted < min(watch.seconds, watch.left) / 40:
            most *= 2
        elif lasted > min(watch.seconds, 2 * watch.left) / 20:
            most = max(most // 2, 1)
    return False


@dataclass(frozen=True, eq=False)
class GridPath:
    """A path on a grid, or why there is none.

    Attributes:
        found: whether there is a path.
        outcome: "found"; "no path", which is proved, as everything that can be reached was searched; or "out
            of time".
        length: of the path in cells, diagonal steps √2; infinite where none was found. For a path by cost,
            see `cost`.
        cost: what the search minimised: the length, unless cells have costs.
        cells: column and row of each cell, or of each corner of an any-angle path, from start to goal.
        expanded: how many cells or corners the search looked around from.
        milliseconds: how long it took.
    """

    found: bool
    outcome: Outcome
    length: float
    cost: float
    cells: Int[np.ndarray, "steps 2"]
    expanded: int
    milliseconds: float

    @classmethod
    def of(
        cls, grid: Grid, cells: np.ndarray, expanded: int, watch: Watch, cost: float | None = None
    ) -> "GridPath":
        """Make a path of places in the flat map, between which lie straight segments."""
        return cls.measured(measure(cells, grid.stride), expanded, watch, cost)

    @classmethod
    def measured(
        cls, measures: tuple[Any, ...], expanded: int, watch: Watch, cost: float | None = None
    ) -> "GridPath":
        """Make a path of what `measure` returns."""
        places, straight, diagonal, other = measures
        length = straight + sqrt(2) * diagonal + other
        return cls(
            True, "found", length, length if cost is None else cost, places, expanded, 1e3 * watch.spent
        )

    @classmethod
    def none(cls, expanded: int, watch: Watch) -> "GridPath":
        """Say that there is no path."""
        return cls._without("no path", expanded, watch)

    @classmethod
    def out_of_time(cls, expanded: int, watch: Watch) -> "GridPath":
        """Say that the time was up before the search had ended."""
        return cls._without("out of time", expanded, watch)

    @classmethod
    def _without(cls, outcome: Outcome, expanded: int, watch: Watch) -> "GridPath":
        nothing, infinite = np.zeros((0, 2), np.int64), float("inf")
        return cls(False, outcome, infinite, infinite, nothing, expanded, 1e3 * watch.spent)


@njit(cache=True, nogil=True)
@no_type_check
def measure(cells, stride):
    """Return places, and the length of a path: straight and diagonal steps in whole numbers, and the rest."""
    places = np.empty((len(cells), 2), np.int64)
    straight, diagonal, other = 0, 0, 0.0
    for index in range(len(cells)):
        row = cells[index] // stride
        places[index, 0], places[index, 1] = cells[index] - row * stride - 1, row - 1
        if index:
            right = abs(places[index, 0] - places[index - 1, 0])
            down = abs(places[index, 1] - places[index - 1, 1])
            if right == 0 or down == 0:
                straight += right + down
            elif right == down:
                diagonal += right
            else:
                other += np.hypot(float(right), float(down))
    return places, straight, diagonal, other
