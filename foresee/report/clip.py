"""A driven scenario as a report shows it: paths, sizes, road, beliefs, and curves in step with time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from foresee.errors import ShapeError
from foresee.report.foretold import Foretold

Polyline = Float[np.ndarray, "_n 2"]
NINETY = (
    2.1459660262893474  # √(−2 ln 0.1): the 90 % ellipse of a Gaussian in the plane, in standard deviations
)
TOUCH = 0.05  # m; recorded frames can miss the moment of a contact by that much


@dataclass(frozen=True, eq=False)
class Trace:
    """A curve under the picture, in step with time.

    Attributes:
        name: what it is called.
        unit: its unit.
        values: one value per frame; nan where it is not defined.
        low: values below are marked.
        high: values above are marked.
    """

    name: str
    unit: str
    values: Float[np.ndarray, "_frames"]
    low: float | int | None = None
    high: float | int | None = None


@dataclass(frozen=True, eq=False)
class Clip:
    """One scenario driven by one driver.

    Attributes:
        scenario: name of the scenario; clips of the same scenario can be compared.
        driver: name of the driver of the ego vehicle.
        mode: how the other vehicles behaved.
        outcome: how it ended, in words.
        failed: whether that counts as a failure.
        dt: time between frames [s].
        x: eastward positions of the centres [m].
        y: northward positions of the centres [m].
        heading: directions, counterclockwise from east [rad].
        alive: which vehicles there are in which frames.
        length: lengths [m].
        width: widths [m].
        names: names of the vehicles.
        ego: index of the vehicle that was driven.
        lanes: left and right boundaries of the lanes [m].
        edges: where the road ends [m].
        expert: where the recorded driver went [m]; nan where it is not known.
        belief_mean: where the ego believes the vehicles to be [m]; nan where it believes nothing.
        belief_covariance: how uncertain it is about that [m²].
        contact: index of the vehicle that was hit, and the frame; None: whoever a failed ego touched first.
        events: times [s] and what happened then.
        traces: curves shown under the picture.
        foretold: what the vehicles around were expected to do; None: nothing was foretold.

    Raises:
        ShapeError: if there is no frame, no such ego, or the arrays do not fit together.
    """

    scenario: str
    driver: str
    mode: str
    outcome: str
    failed: bool
    dt: float | int
    x: Float[np.ndarray, "T V"]
    y: Float[np.ndarray, "T V"]
    heading: Float[np.ndarray, "T V"]
    alive: Bool[np.ndarray, "T V"]
    length: Float[np.ndarray, "V"]
    width: Float[np.ndarray, "V"]
    names: tuple[str, ...]
    ego: int
    lanes: tuple[tuple[Polyline, Polyline], ...] = ()
    edges: tuple[Polyline, ...] = ()
    expert: Float[np.ndarray, "T 2"] | None = None
    belief_mean: Float[np.ndarray, "T V 2"] | None = None
    belief_covariance: Float[np.ndarray, "T V 2 2"] | None = None
    contact: tuple[int, int] | None = None
    events: tuple[tuple[float | int, str], ...] = ()
    traces: tuple[Trace, ...] = ()
    foretold: Foretold | None = None

    def __post_init__(self):
        frames, vehicles = self.x.shape
        if frames < 1 or not 0 <= self.ego < vehicles:
            raise ShapeError(
                f"{self.scenario}: expected at least one frame and an ego among the vehicles, "
                f"got {frames} frames, ego {self.ego} of {vehicles}"
            )
        if not (np.isfinite(self.dt) and self.dt > 0):
            raise ShapeError(f"{self.scenario}: expected a positive time between frames, got {self.dt} s")
        if len(self.names) != vehicles or len(self.length) != vehicles or len(self.width) != vehicles:
            raise ShapeError(f"{self.scenario}: expected {vehicles} names, lengths and widths")
        for trace in self.traces:
            if len(trace.values) != frames:
                raise ShapeError(
                    f"{self.scenario}, {trace.name}: expected {frames} values, got {len(trace.values)}"
                )

    def present(self) -> Bool[np.ndarray, "T V"]:
        """Which vehicles can be drawn in which frames."""
        return self.alive & np.isfinite(self.x) & np.isfinite(self.y) & np.isfinite(self.heading)


def corners(clip: Clip, grow: float = 0.0) -> Float[np.ndarray, "T V 4 2"]:
    """Corners of every vehicle: front left and right, rear right and left; `grow` [m] moves them out."""
    along = np.array([0.5, 0.5, -0.5, -0.5]) * (clip.length[:, None] + 2 * grow)
    across = np.array([0.5, -0.5, -0.5, 0.5]) * (clip.width[:, None] + 2 * grow)
    cos, sin = np.cos(clip.heading)[..., None], np.sin(clip.heading)[..., None]
    centre = np.stack([clip.x, clip.y], axis=-1)[:, :, None, :]
    return centre + np.stack([along * cos - across * sin, along * sin + across * cos], axis=-1)


def first_contact(clip: Clip) -> tuple[int, int] | None:
    """Vehicle and frame of the contact that counts, or where a failed ego first touched another.

    That is found by the separating axes of the two boxes.
    """
    if clip.contact is not None:
        return clip.contact
    present = clip.present()
    with np.errstate(invalid="ignore"):
        boxes = corners(clip, TOUCH / 2)
        ego = boxes[:, clip.ego][:, None]
        touched = present & present[:, [clip.ego]] & (np.arange(len(clip.names)) != clip.ego)
        for heading in (np.broadcast_to(clip.heading[:, [clip.ego]], present.shape), clip.heading):
            for axis in ((np.cos(heading), np.sin(heading)), (-np.sin(heading), np.cos(heading))):
                direction = np.stack(axis, axis=-1)[:, :, None, :]
                mine, theirs = (ego * direction).sum(-1), (boxes * direction).sum(-1)
                touched = touched & (mine.max(-1) >= theirs.min(-1)) & (theirs.max(-1) >= mine.min(-1))
    if not clip.failed or not touched.any():
        return None
    frame, vehicle = np.unravel_index(np.argmax(touched), touched.shape)
    return int(vehicle), int(frame)


def ellipses(clip: Clip) -> Float[np.ndarray, "T V 5"] | None:
    """Centre [m], half axes [m] and direction [rad] of the 90 % ellipses; nan where nothing is believed."""
    if clip.belief_mean is None or clip.belief_covariance is None:
        return None
    covariance = clip.belief_covariance
    whole = np.concatenate([clip.belief_mean, covariance.reshape(*covariance.shape[:2], 4)], axis=-1)
    good = np.all(np.isfinite(whole), axis=-1, keepdims=True)
    good[:, clip.ego] = False
    values, vectors = np.linalg.eigh(np.where(good[..., None], covariance, np.eye(2)))
    half = NINETY * np.sqrt(np.maximum(values, 0))
    angle = np.arctan2(vectors[..., 1, 1], vectors[..., 0, 1])
    out = np.stack([*np.moveaxis(clip.belief_mean, -1, 0), half[..., 1], half[..., 0], angle], axis=-1)
    return np.where(good, out, np.nan)
