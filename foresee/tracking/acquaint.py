"""A tracker for positions of which nothing is known but the detections: noise, speeds, clutter, births.

First a coarse grid of noise and speed, by the evidence of a part of the detections. Then, in turn, noise
and speed are sharpened by the same evidence, in which all associations take part, and the rest is counted on
the tracks: how often they were detected, what was left over, how many began and ended. Noise is not taken
from the tracks of crowded scenes: a track that follows its neighbours' detections looks noisier than it is.
"""

import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from foresee.dynamics import ConstantVelocity, Position
from foresee.tracking.association import BeliefPropagation
from foresee.tracking.birth import Birth
from foresee.tracking.detections import Detections
from foresee.tracking.paths import Paths, paths_of
from foresee.tracking.sequence import CapacityWarning, History, room, track
from foresee.tracking.smooth import smooth
from foresee.tracking.tracker import Tracker

SCANS, AT_ONCE = 16, 110  # what the grid is tried on: so many scans, so many detections in each
FEW = 400  # detections, at least, if the scans are not too many
LONGEST = 600  # scans, at most, that are learned from
NOISES = (0.001, 0.004, 0.012, 0.035, 0.1, 0.25)  # in units of how far objects are apart
ALONE = 3.0  # with fewer detections in a scan, they may be of objects that report one by one,
RARELY = (0.2, 0.05, 0.0125)  # each in so small a share of the scans
ROUNDS = 2
TRIES = 24  # of noise, density and speed, in each round
FEWEST = 3  # paths with fewer detections say nothing about noise


@dataclass(frozen=True)
class Habits:
    """How objects behave and how they are seen; lengths are in the unit of the positions.

    Attributes:
        noise: standard deviation of a measured coordinate.
        density: spectral density of the acceleration's noise, length² / s³.
        speed: standard deviation of one component of the velocity.
        detection: probability of being detected in a scan.
        clutter: false detections per scan.
        births: new objects per second.
        objects: objects there at first.
        survival: probability of still being there after a second.
        area: area that is watched.
        log_evidence: log density of the detections.
    """

    noise: float
    density: float
    speed: float
    detection: float
    clutter: float
    births: float
    objects: float
    survival: float
    area: float
    log_evidence: float = -np.inf

    def tracker(self, size: int = 2, **more: Any) -> Tracker:
        """Return the tracker that believes this."""
        spread = [np.inf] * size + [self.speed] * size
        return Tracker(
            ConstantVelocity(self.density, dimensions=size) if size != 2 else ConstantVelocity(self.density),
            Position(np.full(size, self.noise**2), 2 * size),
            Birth(spread, self.births / self.area, self.objects / self.area),
            self.detection,
            self.clutter / self.area,
            self.survival,
            self.area,
            **more,
        )

    def numbers(self) -> dict[str, float]:
        """Return everything by name."""
        return asdict(self)


def acquaint(detections: Detections) -> Habits:
    """Learn from the detections alone how their objects behave and how they are seen.

    Args:
        detections: positions, scan by scan.
    """
    part = _Trial(_part(detections))
    best = max(_grid(part), key=lambda habits: habits.log_evidence)
    for _ in range(ROUNDS):
        best = _counted(_sharpened(best, part), part)
    detections = detections.part(0, min(len(detections), LONGEST))
    whole = _Trial(detections)
    habits = whole.judged(_for(best, detections))
    for _ in range(2):
        counted = whole.judged(_counted(habits, whole))
        habits = max(habits, counted, key=lambda each: each.log_evidence)
    # Along whole paths noise can be told more finely, where paths are not mixed up.
    finer = whole.judged(_noise(habits, paths_of(whole.run(habits), detections), detections))
    return max(habits, finer, key=lambda each: each.log_evidence)


class _Trial:
    """Detections, and how likely they are if objects behave in this way or that."""

    def __init__(self, detections: Detections):
        self.detections = detections
        self.table: Any = None

    def run(self, habits: Habits) -> History:
        """Return the tracks that are made under these habits."""
        tracker = habits.tracker(self.detections.size, association=BeliefPropagation())
        if self.table is None:
            self.table = tracker.begin(room(self.detections))
        table = eqx.tree_at(lambda table: table.undetected, self.table, np.asarray(tracker.birth.undetected))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CapacityWarning)
            return track(self.detections, tracker, after=table, tentative=True)

    def judged(self, habits: Habits) -> Habits:
        """Return the habits with the evidence for them."""
        return replace(habits, log_evidence=self.run(habits).log_evidence)


def log_odds(
    habits: Habits, paths: Paths, time: Float[np.ndarray, " scans"], value: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " paths"]:
    """Return the log odds of every path to be one object against so many false detections, all considered.

    Args:
        habits: how objects behave and are seen.
        paths: which detections are whose.
        time: moment of every scan [s].
        value: position of every detection.
    """
    if not len(paths):
        return np.zeros(0)
    own = value[np.maximum(paths.row, 0)]
    ones = np.ones_like(own)
    spread = np.full(value.shape[1], habits.speed)
    noise, density = habits.noise**2 * ones, habits.density * ones
    moved = smooth(paths.start, time[paths.scan], own, paths.seen, noise, density, spread).log_evidence
    hits, lived = paths.hits(), np.diff(paths.start)
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    early = paths.scan[paths.start[:-1]] == 0
    new = np.where(early, habits.objects, max(habits.births * step, 1e-12)) / habits.area
    clutter = habits.clutter / habits.area
    return (
        np.log(new)
        + moved
        + hits * np.log(habits.detection / clutter)
        + (lived - hits) * np.log1p(-habits.detection)
    )


def _sharpened(habits: Habits, trial: _Trial) -> Habits:
    """Return noise, density and speed with a higher evidence, found by a simplex."""

    def at(logs: np.ndarray) -> Habits:
        noise, density, speed = (float(value) for value in np.exp(logs))
        return replace(habits, noise=noise, density=density, speed=speed)

    begin = np.log([habits.noise, habits.density, habits.speed])
    simplex = begin + np.vstack([np.zeros(3), [0.5, 0, 0], [0, 1.0, 0], [0, 0, 0.7]])
    found = minimize(
        lambda logs: -trial.judged(at(logs)).log_evidence,
        begin,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxfev": TRIES, "xatol": 0.03, "fatol": 0.5},
    )
    return replace(at(found.x), log_evidence=-float(found.fun))


def _extent(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    low, high = np.quantile(values, [0.001, 0.999], axis=0)
    return np.maximum(high - low, 1e-9 * np.maximum(1.0, np.abs(values).max()))


def _part(detections: Detections) -> Detections:
    """Return a stretch of scans, and a window in the middle of crowded ones."""
    # where scans have few detections, as reports of single ships, it takes more of them
    enough = int(np.ceil(FEW / max(float(detections.counts.mean()), 0.1)))
    scans = detections.part(0, min(len(detections), max(SCANS, min(enough, LONGEST))))
    crowd = scans.counts.mean()
    if crowd <= AT_ONCE:
        return scans
    extent = _extent(scans.values) * (AT_ONCE / crowd) ** (1 / scans.size)
    middle = np.median(scans.values, axis=0)
    near = np.all(np.abs(scans.values - middle) <= extent / 2, axis=1)
    which = np.repeat(np.arange(len(scans)), scans.counts)
    rows = [scans.values[near & (which == k)] for k in range(len(scans))]
    return Detections(rows, scans.times, frames=scans.frames)


def _grid(trial: _Trial) -> list[Habits]:
    """Try noise and speed, from far below to about the distance between objects.

    Where hardly anybody is seen at a time, as where every ship reports when it likes, there may be many that
    are each seen rarely: that is tried, too.
    """
    part = trial.detections
    crowd = max(float(part.counts.mean()), 0.5)
    area = float(np.prod(_extent(part.values)))
    steps = part.dt()[1:]
    dt = float(np.median(steps[steps > 0])) if np.any(steps > 0) else 1.0
    seconds = max(float(part.times[-1] - part.times[0]), dt)
    out = []
    for rare in (1.0,) if crowd >= ALONE else (1.0, *RARELY):
        objects, wait = crowd / rare, dt / rare
        apart = (area / objects) ** (1 / part.size)
        for noise in apart * np.array(NOISES if rare == 1.0 else NOISES[::2]):
            for speed in apart / wait * np.array([0.01, 0.05, 0.2, 0.8]):
                habits = Habits(
                    noise=float(noise),
                    density=float(0.1 * noise**2 / wait**3),
                    speed=float(speed),
                    detection=0.8 * rare,
                    clutter=crowd / 3 if rare == 1.0 else crowd / 30,
                    births=objects / 10 / seconds,
                    objects=objects / 2,
                    survival=float(np.exp(-0.3 / seconds)),
                    area=area,
                )
                out.append(trial.judged(habits))
    return out


def _for(habits: Habits, detections: Detections) -> Habits:
    """Return the same habits for a larger area."""
    area = float(np.prod(_extent(detections.values)))
    share = area / habits.area
    return replace(
        habits,
        area=area,
        clutter=habits.clutter * share,
        births=habits.births * share,
        objects=habits.objects * share,
    )


def _counted(habits: Habits, trial: _Trial) -> Habits:
    """Return shares and rates as they are counted on the tracks that these habits make."""
    detections = trial.detections
    history = trial.run(habits)
    paths = paths_of(history, detections)
    likely = log_odds(habits, paths, detections.times, detections.values) > 0
    paths = paths.select(likely[paths.owner])
    if not len(paths):
        return habits
    active = detections.active
    scans = max(int(active.sum()), 1)
    seconds = max(float(detections.times[-1] - detections.times[0]), 1e-9)
    first, last = paths.scan[paths.start[:-1]], paths.scan[paths.start[1:] - 1]
    lived = np.diff(paths.start)
    hits = np.add.reduceat(paths.seen.astype(int), paths.start[:-1])
    between = max(int(np.sum(np.maximum(lived - 2, 0))), 1)
    # the first and the last scan of a path are detections by construction: they say nothing
    found = float(np.sum(np.maximum(hits - 2, 0)))
    detection = (found + 1.0) / (between + 1.5)
    # two tracks can follow one detection, so that fewer than none may be left over
    clutter = max(len(detections.values) - hits.sum(), 0.5) / scans
    settled = max(2, int(np.ceil(np.log(0.05) / np.log(max(1 - detection, 1e-6)))))
    late = first >= settled
    gone = last < len(detections) - 1 - settled
    watched = max(float(detections.times[-1] - detections.times[min(settled, len(detections) - 1)]), 1e-9)
    alive = float(np.sum(detections.times[last] - detections.times[first])) + 1e-9
    begun = float(np.sum(~late))
    return replace(
        habits,
        detection=float(np.clip(detection, 1e-3, 0.995)),
        clutter=float(clutter),
        births=float((late.sum() + 0.5) / watched),
        objects=max(begun, 0.5),
        survival=float(np.exp(-(gone.sum() + 0.5) / max(alive, seconds))),
    )


def _noise(habits: Habits, paths: Paths, detections: Detections) -> Habits:
    """Return noise, density and speed with the highest evidence along the paths."""
    hits = np.add.reduceat(paths.seen.astype(int), paths.start[:-1])
    good = np.repeat(hits >= FEWEST, np.diff(paths.start)) & paths.seen
    paths = paths.select(good)
    if not len(paths):
        return habits
    value = detections.values[paths.row]
    time = detections.times[paths.scan]
    ones = np.ones_like(value)

    def cost(logs: np.ndarray) -> float:
        noise, density, speed = np.exp(logs)
        found = smooth(
            paths.start,
            time,
            value,
            paths.seen,
            noise**2 * ones,
            density * ones,
            np.full(value.shape[1], speed),
        )
        return -float(found.log_evidence.sum())

    begin = np.log([habits.noise, habits.density, habits.speed])
    simplex = begin + np.vstack([np.zeros(3), 0.7 * np.eye(3)])
    options = {"initial_simplex": simplex, "maxfev": 120, "xatol": 0.01, "fatol": 0.1}
    found = minimize(cost, begin, method="Nelder-Mead", options=options)
    limits = np.log([[1e-6, 1e3]]) + begin[:, None]
    noise, density, speed = np.exp(np.clip(found.x, limits[:, 0], limits[:, 1]))
    return replace(habits, noise=float(noise), density=float(density), speed=float(speed))
