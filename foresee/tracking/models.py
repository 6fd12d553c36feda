"""What is believed of a kind of detection, and of positions; `image_boxes`, `space_boxes` have the others.

Positions are tracked by what the file itself teaches (`acquaint`). The numbers for boxes were chosen on
recordings; docs/track.md says which.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from foresee.tracking.acquaint import Habits, log_odds
from foresee.tracking.formats.sightings import Sightings
from foresee.tracking.paths import Paths
from foresee.tracking.stitch import Hidden
from foresee.tracking.tracker import Tracker

Columns = Float[np.ndarray, "n d"]


@dataclass(frozen=True, eq=False)
class Smoothing:
    """What paths are smoothed by, one row per detection.

    Attributes:
        value: what was measured.
        noise: its variance.
        density: spectral density of the acceleration's noise.
        spread: standard deviation of the velocities.
    """

    value: Columns
    noise: Columns
    density: Columns
    spread: Float[np.ndarray, " d"]


@runtime_checkable
class Model(Protocol):
    """How one kind of detection is tracked and smoothed."""

    @property
    def habits(self) -> Habits:
        """Numbers that belong to the tracker."""
        ...

    @property
    def longest_gap(self) -> int:
        """Scans without a detection, at most, that are filled in between two detections."""
        ...

    @property
    def hidden(self) -> Hidden | None:
        """How long objects are lost, if tracks that ended may be joined with later ones."""
        ...

    @property
    def compared(self) -> tuple[int, ...]:
        """Which components of what is smoothed say whether two tracks are one object."""
        ...

    def tracker(self) -> Tracker:
        """Return the tracker."""
        ...

    def measured(self) -> Columns:
        """Return what the tracker is told of each detection."""
        ...

    def smoothing(self) -> Smoothing:
        """Return what paths are smoothed by; position first."""
        ...

    def credible(self, paths: Paths) -> Bool[np.ndarray, " paths"]:
        """Return which paths are to be reported."""
        ...

    def boxes(self, columns: Columns) -> tuple[Columns | None, Columns | None]:
        """Return boxes, and boxes in the image, of smoothed columns."""
        ...

    def numbers(self) -> dict[str, float]:
        """Return all numbers by name."""
        ...


@dataclass(frozen=True, eq=False)
class Points:
    """Positions, tracked by what the file itself teaches.

    Attributes:
        sightings: the detections.
        habits: what was learned of them.
        longest_gap: scans without a detection, at most, that are filled in.
        hidden: None: the tracker itself waits as long as the evidence says.
        compared: which components say whether two tracks are one object.
    """

    sightings: Sightings
    habits: Habits
    longest_gap: int = 1_000_000
    hidden: Hidden | None = None
    compared: tuple[int, ...] = (0, 1)

    def tracker(self) -> Tracker:
        """Return the tracker."""
        return self.habits.tracker(self.sightings.position.shape[1])

    def measured(self) -> Columns:
        """Return the positions."""
        return self.sightings.position

    def smoothing(self) -> Smoothing:
        """Return what paths are smoothed by."""
        value, habits = self.sightings.position, self.habits
        ones = np.ones_like(value)
        spread = np.full(value.shape[1], habits.speed)
        return Smoothing(value, habits.noise**2 * ones, habits.density * ones, spread)

    def credible(self, paths: Paths) -> Bool[np.ndarray, " paths"]:
        """Return paths that are likelier one object than so many false detections, nine to one."""
        time = np.arange(self.sightings.first, self.sightings.last + 1).astype(float)
        if self.sightings.clock != "scan":
            time = np.unique(self.sightings.time)
        odds = log_odds(self.habits, paths, time - time[0], self.sightings.position)
        return (paths.hits() >= 2) & (odds > np.log(9))

    def boxes(self, columns: Columns) -> tuple[Columns | None, Columns | None]:
        """Return no boxes."""
        return None, None

    def numbers(self) -> dict[str, float]:
        """Return what was learned."""
        return self.habits.numbers()
