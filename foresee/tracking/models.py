"""What is believed of each kind of detection: positions, boxes in an image, boxes in space.

Positions are tracked by what the file itself teaches (`acquaint`). The numbers for boxes were learned from
other recordings, see docs/track.md; they are shares of a typical height, or of a box's own.
"""

from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from foresee.dynamics import ConstantVelocity, Position
from foresee.tracking.acquaint import Habits, log_odds
from foresee.tracking.association import BeliefPropagation
from foresee.tracking.birth import Birth
from foresee.tracking.formats.sightings import Sightings
from foresee.tracking.lifecycle import ByExistence
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
        assert box is not None
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
        assert box is not None
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
        assert box is not None
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
        assert box is not None
        assert image is not None
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
