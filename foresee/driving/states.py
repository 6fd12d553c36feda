"""What every recorded vehicle did, and how sure one may be of it: the result of smoothing a recording."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from foresee.driving.recording import Recording, Tracks

QUANTITIES = ("x", "y", "heading", "speed", "acceleration", "curvature")
UNITS = ("m", "m", "rad", "m/s", "m/s²", "1/m")


@dataclass(frozen=True, eq=False)
class Learned:
    """One parameter that was learned from the recording, with its standard error."""

    name: str
    value: float
    standard_error: float
    unit: str
    meaning: str = ""


@dataclass(frozen=True, eq=False)
class OneStep:
    """How the filter's predictions one frame ahead compare with what was then seen, row by row of the tracks.

    Attributes:
        scored: rows that count: seen, not among a track's first few, and held out from learning.
        learned_on: the same for the rows that the noise was learned on.
        log_density: log p(position | earlier positions), per row [nats, for metres].
        normal_scores: the two innovations (along and across the heading) mapped to standard normal ones by
            their predicted distribution (Rosenblatt 1952): independent N(0, 1) where the predictions are
            right.
        ranks: probability that the predicted distribution gives to a smaller value, along and across, each
            by itself.
    """

    scored: Bool[np.ndarray, "V L"]
    learned_on: Bool[np.ndarray, "V L"]
    log_density: Float[np.ndarray, "V L"]
    normal_scores: Float[np.ndarray, "V L 2"]
    ranks: Float[np.ndarray, "V L 2"]


@dataclass(frozen=True, eq=False)
class States:
    """Smoothed beliefs about the states of all vehicles of a recording, in the order of `recording.tracks()`.

    Attributes:
        recording: what was smoothed.
        tracks: its positions, aligned per vehicle.
        alive: rows between a vehicle's first and last sighting, gaps included.
        mean: x, y [m], heading [rad], speed [m/s], acceleration [m/s²], curvature [1/m]; the vehicle's
            centre.
        covariance: their covariance.
        modes: probability of every mode of the noise, from quiet to agitated.
        learned: the noise learned from the recording.
        one_step: the filter's predictions against what was seen.
        loss_history: negative log evidence per observed coordinate while learning.
        filtered: the same six numbers as `mean`, of the belief that knows nothing but the sightings up to
            each row: what could be known at the time. None where nobody kept it.
    """

    recording: Recording
    tracks: Tracks
    alive: Bool[np.ndarray, "V L"]
    mean: Float[np.ndarray, "V L 6"]
    covariance: Float[np.ndarray, "V L 6 6"]
    modes: Float[np.ndarray, "V L K"]
    learned: tuple[Learned, ...]
    one_step: OneStep
    loss_history: Float[np.ndarray, " steps"]
    filtered: Float[np.ndarray, "V L 6"] | None = None

    @property
    def standard_deviation(self) -> Float[np.ndarray, "V L 6"]:
        """Standard deviations of the six quantities."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance, axis1=2, axis2=3), 0.0))

    def to_frame(self) -> pl.DataFrame:
        """Tidy table, one row per vehicle and frame: every quantity with its standard deviation."""
        v, t = np.nonzero(self.alive)
        recording, deviation = self.recording, self.standard_deviation
        frame = self.tracks.first[v] + t
        columns: dict[str, object] = {
            "scene": recording.scene[v].astype(str),
            "id": recording.vehicle[v].astype(str),
            "type": recording.kind[v].astype(str),
            "length": recording.length[v],
            "width": recording.width[v],
            "frame": frame.astype(np.int64),
            "time": frame / recording.frame_rate,
            "seen": self.tracks.seen[v, t],
        }
        for index, name in enumerate(QUANTITIES):
            columns[name] = self.mean[v, t, index]
            columns[f"{name}_sd"] = deviation[v, t, index]
        return pl.DataFrame(columns)


def finite_differences(tracks: Tracks, frame_rate: float) -> dict[str, Float[np.ndarray, "V L"]]:
    """Return speed [m/s], acceleration [m/s²] and heading [rad] from differences of raw positions.

    This is what one gets without a model, for comparison. Central differences; NaN where a neighbour was not
    seen.
    """
    seen = tracks.seen
    both = np.zeros_like(seen)
    both[:, 1:-1] = seen[:, 2:] & seen[:, :-2] & seen[:, 1:-1]
    out = {name: np.full(seen.shape, np.nan) for name in ("speed", "acceleration", "heading")}
    dx, dy = (0.5 * frame_rate * (a[:, 2:] - a[:, :-2]) for a in (tracks.x, tracks.y))
    ax, ay = (frame_rate**2 * (a[:, 2:] - 2 * a[:, 1:-1] + a[:, :-2]) for a in (tracks.x, tracks.y))
    speed = np.hypot(dx, dy)
    inner = both[:, 1:-1]
    out["speed"][:, 1:-1] = np.where(inner, speed, np.nan)
    out["heading"][:, 1:-1] = np.where(inner, np.arctan2(dy, dx), np.nan)
    along = (ax * dx + ay * dy) / np.maximum(speed, 1e-9)
    out["acceleration"][:, 1:-1] = np.where(inner, along, np.nan)
    return out
