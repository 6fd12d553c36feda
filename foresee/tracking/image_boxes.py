"""Boxes in an image: how they are tracked and smoothed; where the numbers are from, docs/track.md says."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float

from foresee.dynamics import ConstantVelocity, Position
from foresee.errors import TrackingError
from foresee.tracking.acquaint import Habits
from foresee.tracking.association import BeliefPropagation
from foresee.tracking.birth import Birth
from foresee.tracking.formats.sightings import Sightings
from foresee.tracking.lifecycle import ByExistence
from foresee.tracking.models import Columns, Smoothing
from foresee.tracking.paths import Paths
from foresee.tracking.stitch import Hidden
from foresee.tracking.tracker import Tracker


@dataclass(frozen=True)
class ImageHabits:
    """How people in a picture move and are found; lengths are shares of the height of their box.

    Attributes:
        noise: standard deviation of the middle of a box, across.
        noise_down: the same, down.
        noise_width: of the logarithm of its width.
        noise_height: of the logarithm of its height.
        jerk: acceleration's noise, √density, per frame^1.5.
        growth: the same of the logarithms of the sizes.
        speed: standard deviation of the speed across, per frame.
        swelling: standard deviation of the speed of the logarithms.
        detection: probability of being found in a frame.
        clutter: share of detections that are false.
        births: new people per frame, as a share of the detections in a frame.
        survival: probability of still being there in the next frame.
        confirm: a track is confirmed from this probability on.
        fewest: detections a track has at least.
        sure: mean score a track has at least, if scores are probabilities.
        longest_gap: frames without a detection, at most, that are filled in.
        hidden: probability that a track that ended is only hidden.
        hidden_frames: mean number of frames for which it is.
        longest_hidden: most frames that are bridged.
    """

    noise: float = 0.0364
    noise_down: float = 0.0336
    noise_width: float = 0.135
    noise_height: float = 0.0699
    jerk: float = 0.00986
    growth: float = 0.00685
    speed: float = 0.054
    swelling: float = 0.0179
    detection: float = 0.819
    clutter: float = 0.0638
    births: float = 0.0173
    survival: float = 0.99
    confirm: float = 0.9
    fewest: int = 4
    sure: float = 0.9
    longest_gap: int = 8
    hidden: float = 0.05
    hidden_frames: float = 10.0
    longest_hidden: int = 40


SIZES = 4.0  # range of the logarithms of width and height together, for the density of clutter


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """Boxes in an image: the middle, and the logarithms of width and height, each with a velocity.

    Attributes:
        sightings: the detections.
        own: how people move and are found.
    """

    sightings: Sightings
    own: ImageHabits

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
        return (0, 1, 3)

    @property
    def habits(self) -> Habits:
        """The numbers that do not depend on the kind of detection."""
        box, own = self.sightings.box, self.own
        if box is None:
            raise TrackingError("expected boxes, got none")
        scans = self.sightings.last - self.sightings.first + 1
        crowd = len(box) / scans
        height = float(np.median(box[:, 3]))
        area = float(np.prod(np.ptp(self.sightings.position, axis=0) + height)) * SIZES
        return Habits(
            noise=own.noise * height,
            density=(own.jerk * height) ** 2,
            speed=own.speed * height,
            detection=own.detection,
            clutter=own.clutter * crowd,
            births=own.births * crowd,
            objects=crowd,
            survival=own.survival,
            area=area,
        )

    def measured(self) -> Columns:
        """Return the middle and the logarithms of width and height."""
        box = self.sightings.box
        if box is None:
            raise TrackingError("expected boxes, got none")
        return np.column_stack([self.sightings.position, np.log(box[:, 2:])])

    def tracker(self) -> Tracker:
        """Return the tracker, with noise in proportion to the typical height."""
        own, habits = self.own, self.habits
        value = self.measured()
        height = float(np.exp(np.median(value[:, 3])))
        noise, density, spread = self._scales(np.array([[height]]))
        middle = np.median(value, axis=0)
        return Tracker(
            ConstantVelocity(density[0], dimensions=4),
            Position(noise[0], 8),
            Birth(
                [np.inf, np.inf, 0.5, 0.5, *spread],
                habits.births / habits.area,
                habits.objects / habits.area,
                mean=[0.0, 0.0, middle[2], middle[3], 0.0, 0.0, 0.0, 0.0],
            ),
            own.detection,
            habits.clutter / habits.area,
            own.survival,
            habits.area,
            association=BeliefPropagation(),
            lifecycle=ByExistence(own.confirm, 0.2),
        )

    def _scales(self, height: Float[np.ndarray, "n 1"]):
        """Variances of measurements, densities of noise, and spreads of velocities, for boxes of a height."""
        own, ones = self.own, np.ones_like(height)
        noise = np.hstack(
            [own.noise * height, own.noise_down * height, own.noise_width * ones, own.noise_height * ones]
        )
        jerk = np.hstack([own.jerk * height, own.jerk / 2 * height, own.growth * ones, own.growth * ones])
        typical = float(np.median(height))
        spread = np.array([own.speed * typical, own.speed / 2 * typical, own.swelling, own.swelling])
        return noise**2, jerk**2, spread

    def smoothing(self) -> Smoothing:
        """Return what paths are smoothed by, with noise in proportion to each box's own height."""
        box = self.sightings.box
        if box is None:
            raise TrackingError("expected boxes, got none")
        return Smoothing(self.measured(), *self._scales(box[:, 3:4]))

    def credible(self, paths: Paths) -> Bool[np.ndarray, " paths"]:
        """Return paths with enough detections, and sure ones if scores are probabilities."""
        good = paths.hits() >= self.own.fewest
        score = self.sightings.score
        if score is not None and score.min() >= 0 and score.max() <= 1 and np.ptp(score) > 0:
            good &= paths.mean(score) >= self.own.sure
        return good

    def boxes(self, columns: Columns) -> tuple[Columns | None, Columns | None]:
        """Return left, top, width and height."""
        size = np.exp(columns[:, 2:4])
        return np.column_stack([columns[:, :2] - size / 2, size]), None

    def numbers(self) -> dict[str, float]:
        """Return how people move and are found."""
        return asdict(self.own)
