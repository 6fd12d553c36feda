"""From a file of detections to finished tracks: the model that its format asks for, tracking, smoothing."""

import warnings
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from jaxtyping import Float, Int

from foresee.tracking.detections import Detections
from foresee.tracking.formats.sightings import Sightings
from foresee.tracking.labelled import COASTED, CONFIRMED, TENTATIVE, Labelled
from foresee.tracking.models import Model
from foresee.tracking.paths import Paths, paths_of, stretched
from foresee.tracking.sequence import CapacityWarning, History, track
from foresee.tracking.smooth import Smoothed, smooth
from foresee.tracking.stitch import stitch
from foresee.tracking.tracker import Tracker

WARM = 200  # scans, at most, on which the time is measured
EVERY_SCAN = 5000  # recordings with more scans only keep the rows of tracks that are detections


@dataclass(frozen=True, eq=False)
class Followed:
    """Finished tracks.

    Attributes:
        tracks: every scan of every track, with covariances and statuses; what is known in hindsight.
        velocity: velocity of each row, per second.
        image: image boxes, for kitti.
        kind: class of each row.
        online: confirmed tracks as they were known at the time.
        ms_per_frame: time of tracking once everything is compiled [ms].
        notes: what had to be done, with counts.
    """

    tracks: Labelled
    velocity: Float[np.ndarray, "n d"]
    kind: Int[np.ndarray, " n"]
    online: Labelled
    ms_per_frame: float
    image: Float[np.ndarray, "n 4"] | None = None
    notes: tuple[str, ...] = field(default=())


def scans_of(sightings: Sightings, values: Float[np.ndarray, "n m"]) -> Detections:
    """Return the detections scan by scan: every frame from the first to the last, or every moment."""
    frames = np.arange(sightings.first, sightings.last + 1)
    ends = np.searchsorted(sightings.frame, frames[1:])
    if sightings.clock == "scan":
        times = (frames - frames[0]).astype(float)
    else:
        times = np.unique(sightings.time)
        times = times - times[0]
    return Detections(np.split(values, ends), times, frames=frames)


def follow(sightings: Sightings, model: Model) -> Followed:
    """Track and smooth one kind of object.

    Args:
        sightings: detections, in the order of their frames.
        model: how they are tracked.
    """
    detections = scans_of(sightings, model.measured())
    history, seconds, notes = _timed(detections, model.tracker())
    paths = paths_of(history, detections)
    if model.hidden is not None and len(paths):
        by = model.smoothing()
        density = by.density[paths.row[_nearest_seen(paths)]]
        births = np.log(model.habits.births / model.habits.area)
        found = _smoothed(paths, model, detections)
        paths = stitch(paths, found, density, model.hidden, births, model.compared)
    paths = paths.select(model.credible(paths)[paths.owner])
    if len(detections) > EVERY_SCAN:
        paths = paths.select(paths.seen)
    else:
        habits = model.habits
        paths = stretched(
            paths.without_long_gaps(model.longest_gap),
            len(detections),
            detection=habits.detection,
            survival=habits.survival,
            births=habits.births,
            objects=habits.objects,
        )
    found = _smoothed(paths, model, detections)
    row = paths.row[_nearest_seen(paths)]
    box, image = model.boxes(found.position)
    covariance = np.zeros((len(row), 2, 2))
    covariance[:, [0, 1], [0, 1]] = found.variance[:, :2]
    score = paths.existence if sightings.score is None else paths.mean(sightings.score)[paths.owner]
    tracks = Labelled(
        detections.frames[paths.scan],
        paths.name[paths.owner] + 1,
        found.position[:, :2],
        covariance,
        box=box,
        status=_statuses(paths),
        score=score,
        time=sightings.time[row] if len(detections) > EVERY_SCAN else _moments(sightings)[paths.scan],
    )
    return Followed(
        tracks=tracks,
        velocity=found.velocity[:, :2],
        kind=np.zeros(len(row), int) if sightings.kind is None else sightings.kind[row],
        online=_online(history),
        ms_per_frame=1e3 * seconds,
        image=image,
        notes=tuple(notes),
    )


def _moments(sightings: Sightings) -> Float[np.ndarray, " scans"]:
    """Return the moment of every scan, as the file counts."""
    if sightings.clock == "scan":
        return np.arange(sightings.first, sightings.last + 1).astype(float)
    return np.unique(sightings.time)


def _timed(detections: Detections, tracker: Tracker) -> tuple[History, float, list[str]]:
    """Track, then measure the seconds per scan on the first ones, now that everything is compiled."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CapacityWarning)
        started = perf_counter()
        history = track(detections, tracker, tentative=True)
        seconds = perf_counter() - started
        again = detections.part(0, min(len(detections), WARM))
        started = perf_counter()
        track(again, tracker, tentative=True)
        seconds = (perf_counter() - started) / len(again)
    grown = [str(each.message) for each in caught if issubclass(each.category, CapacityWarning)]
    if grown:
        notes.append(f"The table of tracks was full and has grown; nothing was lost ({grown[-1]}).")
    return history, seconds, notes


def _nearest_seen(paths: Paths) -> Int[np.ndarray, " n"]:
    """For every row the place of its track's last detection, or of the first where there is none before."""
    place = np.where(paths.seen, np.arange(len(paths.row)), -1)
    ahead = np.maximum.accumulate(place)
    first = np.full(len(paths), -1)
    seen = np.flatnonzero(paths.seen)
    owner, where = np.unique(paths.owner[seen], return_index=True)
    first[owner] = seen[where]
    begin = np.repeat(paths.start[:-1], np.diff(paths.start))
    return np.where(ahead >= begin, ahead, first[paths.owner])


def _statuses(paths: Paths) -> Int[np.ndarray, " n"]:
    """Tentative until the second detection, coasted where there is none, confirmed elsewhere."""
    hits = np.cumsum(paths.seen)
    begin = (
        np.repeat(hits[paths.start[:-1]] - paths.seen[paths.start[:-1]], np.diff(paths.start))
        if len(paths)
        else 0
    )
    early = hits - begin < 2
    return np.where(early, TENTATIVE, np.where(paths.seen, CONFIRMED, COASTED))


def _online(history: History) -> Labelled:
    firm = (history.status == CONFIRMED) | (history.status == COASTED)
    return history.labelled((0, 1)).select(firm)


def _smoothed(paths: Paths, model: Model, detections: Detections) -> Smoothed:
    """Smooth the paths; between detections, noise is that of the last one."""
    by = model.smoothing()
    row = paths.row[_nearest_seen(paths)]
    time = detections.times[paths.scan]
    return smooth(paths.start, time, by.value[row], paths.seen, by.noise[row], by.density[row], by.spread)
