"""A stretch of highway traffic made up from a seed, with the truth beside what is seen of it.

Drivers keep their distance by the intelligent driver model and change lanes by MOBIL's rule; each command is
carried out by a kinematic bicycle, so the true states fit together exactly: from one frame to the next a
vehicle drives an arc of constant curvature at constant acceleration.
Sources: Treiber, Hennecke, Helbing (2000), eq. 3; Kesting, Treiber, Helbing (2007), eqs. 2 and 3.
"""

from dataclasses import dataclass

import numpy as np

from foresee.driving.lanes import Lane
from foresee.driving.recording import Recording, Truth
from foresee.driving.traffic import LANE_WIDTH, MERGE_LANE, Traffic, start_traffic, step_traffic
from foresee.errors import RecordingError

LANE_STEP = 5.0  # m; how densely the lanes' boundaries are drawn


@dataclass(frozen=True)
class Jitter:
    """How positions are seen; the errors of x and y are independent and have the same distribution.

    The error is white + drift: white ~ N(0, white²) anew in every frame; drift is a stationary Gaussian
    process with standard deviation `drift` and autocovariance drift² exp(−|τ| / drift_time). Every
    sighting is lost with probability `lost`; every vehicle on the road for more than 40 frames has with
    probability `burst` one stretch of 5 to 15 frames in which it is never seen.

    Attributes:
        white: standard deviation of the white part [m].
        drift: standard deviation of the correlated part [m].
        drift_time: time after which the correlation has fallen to 1/e [s].
        lost: probability that one sighting is missing.
        burst: probability that a vehicle has a long gap.
    """

    white: float = 0.25
    drift: float = 0.15
    drift_time: float = 0.5
    lost: float = 0.01
    burst: float = 0.3


def synthetic_recording(
    seed: int = 0,
    *,
    vehicles: int = 40,
    seconds: float | int = 20.0,
    frame_rate: float | int = 10.0,
    jitter: Jitter | None = None,
) -> Recording:
    """Simulate a curved three-lane highway with a merging lane and record it through noisy eyes.

    By default each coordinate's error has a standard deviation of 0.29 m: a white part of 0.25 m and a
    part of 0.15 m that stays correlated for about half a second. Vehicles are seen on a stretch of a few
    hundred metres that they enter and leave; 1 % of the sightings and some longer stretches are missing.
    See `Jitter`.

    Args:
        seed: the same seed gives the same recording.
        vehicles: how many vehicles are set on the road; those seen less than twice are left out.
        seconds: recorded time [s].
        frame_rate: frames per second [Hz]; above 4, so that drivers can react in time.
        jitter: how positions are seen.

    Returns:
        The recording, with `truth` and the `lanes` that were driven on; x and y are the centre of each
        vehicle.

    Raises:
        RecordingError: if a number is out of range, or no vehicle is seen twice.
    """
    jitter = jitter or Jitter()
    _check(vehicles, seconds, frame_rate, jitter)
    random = np.random.default_rng(seed)
    dt = 1.0 / frame_rate
    steps = max(2, round(seconds * frame_rate) + 1)
    traffic = start_traffic(vehicles, seconds, random)
    states = np.zeros((steps, 7, vehicles))
    for k in range(steps):
        states[k] = step_traffic(traffic, dt, random)
    x, y, heading, speed, acceleration, curvature, along = states.transpose(1, 2, 0)
    present = (along >= traffic.begin) & (along <= traffic.end)
    seen = present & _noticed(present, jitter, random)
    error = _errors((2, vehicles, steps), jitter, dt, random)
    keep = seen.sum(axis=1) >= 2
    if not keep.any():
        raise RecordingError(
            "expected a vehicle to be seen twice, got none; ask for more vehicles or seconds"
        )
    recording = _record(traffic, seen, x + error[0], y + error[1], frame_rate, seed)
    truths = {
        "x": x,
        "y": y,
        "heading": heading,
        "speed": speed,
        "acceleration": acceleration,
        "curvature": curvature,
    }
    truth = Truth(
        present=present, **{name: np.where(present, values, 0.0) for name, values in truths.items()}
    )
    return Recording(**{**recording.__dict__, "truth": truth}).select(keep).validate()


def _check(vehicles: int, seconds: float | int, frame_rate: float | int, jitter: Jitter) -> None:
    for name, value, least, most in (
        ("vehicles", vehicles, 1, 2_000),
        ("seconds", seconds, 0.1, 3_600),
        ("frame_rate", frame_rate, 4, 100),
        ("white", jitter.white, 0, 1e3),
        ("drift", jitter.drift, 0, 1e3),
        ("drift_time", jitter.drift_time, 1e-6, 1e6),
        ("lost", jitter.lost, 0, 1),
        ("burst", jitter.burst, 0, 1),
    ):
        if not least <= value <= most:
            raise RecordingError(f"expected {name} from {least} to {most}, got {value}")


def _errors(shape: tuple[int, ...], jitter: Jitter, dt: float, random: np.random.Generator) -> np.ndarray:
    """White noise plus the exact samples of the correlated part, along the last axis."""
    keep = np.exp(-dt / jitter.drift_time)
    shocks = random.normal(size=shape)
    drift = shocks[..., :1].copy()
    parts = [drift[..., 0]]
    for k in range(1, shape[-1]):
        parts.append(keep * parts[-1] + np.sqrt(1 - keep**2) * shocks[..., k])
    return jitter.white * random.normal(size=shape) + jitter.drift * np.stack(parts, axis=-1)


def _noticed(present: np.ndarray, jitter: Jitter, random: np.random.Generator) -> np.ndarray:
    noticed = random.random(present.shape) >= jitter.lost
    chosen = random.random(len(present)) < jitter.burst
    place, lengths = random.random(len(present)), random.integers(5, 16, len(present))
    for v in np.flatnonzero(chosen & (present.sum(axis=1) > 40)):
        there = np.flatnonzero(present[v])
        start = there[int(place[v] * (len(there) - lengths[v]))]
        noticed[v, start : start + lengths[v]] = False
    return noticed


def _record(
    traffic: Traffic, seen: np.ndarray, x: np.ndarray, y: np.ndarray, frame_rate: float | int, seed: int
) -> Recording:
    count = len(seen)
    return Recording(
        source=f"synthetic highway, seed {seed}",
        frame_rate=float(frame_rate),
        scene=np.array(["synthetic"] * count, dtype=object),
        vehicle=np.array([str(v + 1) for v in range(count)], dtype=object),
        kind=np.where(traffic.length > 8, "truck", "car").astype(object),
        length=traffic.length.copy(),
        width=traffic.width.copy(),
        x=np.where(seen, x, 0.0),
        y=np.where(seen, y, 0.0),
        seen=seen,
        lanes={"synthetic": _lanes(traffic)},
        notes=("simulated: the truth is known",),
    )


def _lanes(traffic: Traffic) -> tuple[Lane, ...]:
    """The lanes as far as vehicles are seen on them, from the left; the last one ends early."""
    lanes = []
    for k in range(MERGE_LANE + 1):
        end = traffic.merge_end if k == MERGE_LANE else traffic.end
        along = np.linspace(traffic.begin, end, max(round((end - traffic.begin) / LANE_STEP), 1) + 1)
        x, y, heading, _ = traffic.road(along).T
        left, right = (
            np.stack([x - offset * np.sin(heading), y + offset * np.cos(heading)], axis=1)
            for offset in (LANE_WIDTH * (0.5 - k), LANE_WIDTH * (-0.5 - k))
        )
        lanes.append(
            Lane(
                str(k),
                left,
                right,
                left_neighbour=str(k - 1) if k > 0 else None,
                right_neighbour=str(k + 1) if k < MERGE_LANE else None,
            )
        )
    return tuple(lanes)
