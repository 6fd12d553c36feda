"""Boxes in space: how they are tracked and smoothed; where the numbers are from, docs/track.md says."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool

from foresee.errors import TrackingError
from foresee.tracking.acquaint import Habits
from foresee.tracking.association import BeliefPropagation
from foresee.tracking.formats.sightings import Sightings
from foresee.tracking.lifecycle import ByExistence
from foresee.tracking.models import Columns, Smoothing
from foresee.tracking.paths import Paths
from foresee.tracking.stitch import Hidden
from foresee.tracking.tracker import Tracker


@dataclass(frozen=True)
class SpaceHabits:
    """How vehicles in space move, as seen from a moving one, and how they are found.

    Attributes:
        noise: standard deviation of a position [m].
        jerk: acceleration's noise, √density [m / frame^1.5].
        speed: standard deviation of the velocity [m / frame].
        detection: probability of being found in a frame.
        clutter: share of detections that are false.
        births: new vehicles per frame, as a share of the detections in a frame.
        survival: probability of still being there in the next frame.
        confirm: a track is confirmed from this probability on.
        fewest: detections a track has at least.
        sure: mean score a track has at least.
        weak: detections with a lower score are not looked at.
        longest_gap: frames without a detection, at most, that are filled in.
        hidden: probability that a track that ended is only hidden.
        hidden_frames: mean number of frames for which it is.
        longest_hidden: most frames that are bridged.
    """

    noise: float = 0.25
    jerk: float = 0.15
    speed: float = 1.2
    detection: float = 0.85
    clutter: float = 0.3
    births: float = 0.03
    survival: float = 0.97
    confirm: float = 0.9
    fewest: int = 3
    sure: float = 3.0
    weak: float = -5.0
    longest_gap: int = 5
    hidden: float = 0.2
    hidden_frames: float = 8.0
    longest_hidden: int = 25


@dataclass(frozen=True, eq=False)
class SpaceBoxes:
    """Boxes in space, tracked by where they are on the ground; the rest is smoothed along the paths.

    Attributes:
        sightings: the detections.
        own: how vehicles move and are found.
    """

    sightings: Sightings
    own: SpaceHabits

    @property
    def longest_gap(self) -> int:
        """Frames without a detection, at most, that are filled in."""
        return self.own.longest_gap

    @property
    def hidden(self) -> Hidden:
        """How long objects are lost behind others."""
        return Hidden(self.own.hidden, self.own.hidden_frames, self.own.longest_hidden)

    @property
    def compared(self) -> tuple[int, ...]:
        """Which components say whether two tracks are one object."""
        return (0, 1)

    @property
    def habits(self) -> Habits:
        """The numbers that do not depend on the kind of detection."""
        own = self.own
        scans = self.sightings.last - self.sightings.first + 1
        crowd = len(self.sightings.frame) / scans
        return Habits(
            noise=own.noise,
            density=own.jerk**2,
            speed=own.speed,
            detection=own.detection,
            clutter=own.clutter * crowd,
            births=own.births * crowd,
            objects=crowd,
            survival=own.survival,
            area=float(np.prod(np.ptp(self.sightings.position, axis=0) + 10.0)),
        )

    def measured(self) -> Columns:
        """Return positions on the ground."""
        return self.sightings.position

    def tracker(self) -> Tracker:
        """Return the tracker."""
        lifecycle = ByExistence(self.own.confirm, 0.2)
        return self.habits.tracker(association=BeliefPropagation(), lifecycle=lifecycle)

    def smoothing(self) -> Smoothing:
        """Return what paths are smoothed by: ground, height, sizes, direction, image box."""
        box, image = self.sightings.box, self.sightings.image
        if box is None:
            raise TrackingError("expected boxes, got none")
        if image is None:
            raise TrackingError("expected boxes in the image, got none")
        own = self.own
        size = np.maximum(image[:, 2:], 1.0)
        value = np.column_stack(
            [
                box[:, :2],
                box[:, 2:6],
                np.cos(2 * box[:, 6]),
                np.sin(2 * box[:, 6]),
                np.cos(box[:, 6]),
                np.sin(box[:, 6]),
                image[:, :2] + image[:, 2:] / 2,
                np.log(size),
            ]
        )
        ones = np.ones((len(box), 1))
        wide = size[:, :1]
        noise = np.hstack(
            [
                np.tile([own.noise] * 2 + [0.1] + [0.2] * 3 + [0.2] * 4, (len(box), 1)),
                0.05 * wide,
                0.05 * wide,
                0.08 * ones,
                0.08 * ones,
            ]
        )
        jerk = np.hstack(
            [
                np.tile([own.jerk] * 2 + [0.02] + [0.003] * 3 + [0.05] * 4, (len(box), 1)),
                0.05 * wide,
                0.03 * wide,
                0.03 * ones,
                0.03 * ones,
            ]
        )
        spread = np.array([own.speed] * 2 + [0.1] + [0.01] * 3 + [0.2] * 4 + [20.0, 5.0, 0.05, 0.05])
        return Smoothing(value, noise**2, jerk**2, spread)

    def credible(self, paths: Paths) -> Bool[np.ndarray, " paths"]:
        """Return paths with enough detections that are sure enough."""
        good = paths.hits() >= self.own.fewest
        score = self.sightings.score
        return good if score is None else good & (paths.mean(score) >= self.own.sure)

    def boxes(self, columns: Columns) -> tuple[Columns | None, Columns | None]:
        """Return boxes in space and in the image; an axis comes from all directions together."""
        axis = np.arctan2(columns[:, 7], columns[:, 6]) / 2
        ahead = np.cos(axis) * columns[:, 8] + np.sin(axis) * columns[:, 9] >= 0
        yaw = np.where(ahead, axis, axis + np.pi)
        box = np.column_stack([columns[:, :6], np.arctan2(np.sin(yaw), np.cos(yaw))])
        size = np.exp(columns[:, 12:14])
        return box, np.column_stack([columns[:, 10:12] - size / 2, size])

    def numbers(self) -> dict[str, float]:
        """Return how vehicles move and are found."""
        return asdict(self.own)
