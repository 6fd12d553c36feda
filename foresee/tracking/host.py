"""One stream of scans on the host: the step of `Tracker.step`, by compiled loops over a sparse graph."""

from collections import OrderedDict
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from foresee.dynamics.linear import AbstractLinear
from foresee.filters import KalmanFilter
from foresee.tracking import graph, kernels
from foresee.tracking.association import HEADSTART, LARGEST, LEAST, BeliefPropagation, NearestNeighbour
from foresee.tracking.detections import Scan
from foresee.tracking.labelled import DELETED, TENTATIVE
from foresee.tracking.tracker import RECENT, Tracker
from foresee.tracking.tracks import Tracks, grown

CELLS = 2  # cells of the grid per detection, at most


class Matrices(NamedTuple):
    """What a linear tracker does to means and covariances in one step, as NumPy arrays."""

    motion: tuple[np.ndarray, ...]  # A, c, Q of x ← A x + c
    sensor: tuple[np.ndarray, ...]  # H, c, R of y = H x + c
    birth: tuple[np.ndarray, ...]  # D, c, P of x = D y + c for a first detection y
    numbers: tuple[float, ...]  # detection, clutter, survival, volume, rate of births


def fits(tracker: Any) -> bool:
    """Tell whether the host's kernels can do what a tracker asks for: linear models without angles."""
    plain = type(tracker.filter) is KalmanFilter
    known = type(tracker.association) in (NearestNeighbour, BeliefPropagation)
    motion, sensor = tracker.motion, tracker.sensor
    linear = isinstance(motion, AbstractLinear) and isinstance(sensor, AbstractLinear)
    if not (plain and known and linear):
        return False
    models = jax.eval_shape(lambda: (motion.linear(None, 1.0), sensor.linear()))
    return not any(model.circular for model in models)


def matrices(tracker: Tracker, steps: Any) -> list[Matrices]:
    """Return the matrices for every duration, worked out together."""
    moves, seen, births, numbers = jax.device_get(_matrices(tracker, jnp.asarray(steps, float)))
    seen, births = tuple(map(_double, seen)), tuple(map(_double, births))
    own = tuple(float(value) for value in numbers)
    return [Matrices(tuple(_double(part[k]) for part in moves), seen, births, own) for k in range(len(steps))]


def _double(array: Any) -> np.ndarray:
    return np.ascontiguousarray(array, np.float64)


@eqx.filter_jit
def _matrices(tracker: Any, steps: Any) -> Any:
    def parts(model: Any) -> tuple:
        offset = jnp.zeros(model.matrix.shape[0]) if model.offset is None else model.offset
        noise = jnp.diag(model.covariance) if model.covariance.ndim == 1 else model.covariance
        return model.matrix, offset, noise

    moves = jax.vmap(lambda dt: parts(tracker.motion.linear(None, dt)))(steps)
    seen = parts(tracker.sensor.linear())
    nowhere = jnp.zeros(seen[0].shape[0])
    first = tracker.birth(nowhere, tracker.sensor)
    slope = jax.jacfwd(lambda y: tracker.birth(y, tracker.sensor).location)(nowhere)
    numbers = (tracker.detection, tracker.clutter, tracker.survival, tracker.volume, tracker.birth.rate)
    return moves, seen, (slope, first.location, first.covariance), numbers


_REMEMBERED: OrderedDict[tuple[int, float], tuple[Tracker, Matrices | None]] = OrderedDict()


def remembered(tracker: Tracker, dt: float) -> Matrices | None:
    """Return the matrices for one duration, kept for the next scans of a stream; None if it does not fit."""
    place = (id(tracker), dt)
    found = _REMEMBERED.get(place)
    if found is None or found[0] is not tracker:
        found = (tracker, matrices(tracker, [dt])[0] if fits(tracker) else None)
        _REMEMBERED[place] = found
        while len(_REMEMBERED) > 64:
            _REMEMBERED.popitem(last=False)
    return found[1]


def to_host(tracks: Tracks) -> Tracks:
    """Return the same table with NumPy arrays in double precision."""

    def moved(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        return array.astype(np.float64) if array.dtype == np.float32 else array

    return jax.tree.map(moved, tracks)


def step(tracker: Tracker, tracks: Tracks, scan: Scan, known: Matrices) -> Tracks:
    """Return the tracks after one more scan; a full table grows.

    Args:
        tracker: a tracker for which `fits` holds.
        tracks: the table before; it is not changed.
        scan: detections, without padding or with.
        known: matrices for the scan's duration.
    """
    values, seen = np.asarray(scan.values, np.float64), np.asarray(scan.seen)
    rows = None if seen.all() else np.flatnonzero(seen)
    values = np.ascontiguousarray(values if rows is None else values[rows])
    state = _State(tracks, known, float(scan.dt))
    active = scan.active is None or bool(scan.active)
    after = state.corrected(tracker, values, active)
    if rows is not None and len(rows):
        after["detection"] = np.where(after["detection"] >= 0, rows[after["detection"]], -1)
    return _table(tracks, after)


class _State:
    """The tracks that are alive, predicted to the time of a scan."""

    def __init__(self, tracks: Tracks, known: Matrices, dt: float):
        self.tracks, self.known = tracks, known
        self.slots = np.flatnonzero(tracks.status != DELETED)
        self.detection, self.clutter, survival, self.volume, rate = known.numbers
        lasting = survival**dt
        self.mean = tracks.belief.location[self.slots]
        self.covariance = tracks.belief.covariance[self.slots]
        kernels.predict(self.mean, self.covariance, *known.motion)
        self.existence = tracks.existence[self.slots] * lasting
        self.undetected = float(tracks.undetected) * lasting + rate * dt
        self.firm = tracks.confirmed()[self.slots]

    def corrected(self, tracker: Tracker, values: np.ndarray, active: bool) -> dict[str, Any]:
        """Return what the table holds after the scan, for the tracks that go on and those that begin."""
        detection = self.detection if active else 0.0
        log_new = np.full(len(values), np.log(max(detection * self.undetected, 1e-30)))
        log_else = np.logaddexp(np.log(self.clutter), log_new)
        expected, cross, inverse, log_determinant, width = kernels.foresee(
            self.mean, self.covariance, *self.known.sensor
        )
        found = np.minimum(self.existence * detection, 1 - 1e-7)
        odds = np.log(np.maximum(found, 1e-300)) - np.log1p(-found)
        # What assignment may pair has to be likelier than a miss; messages take all that is not negligible.
        hard = not isinstance(tracker.association, BeliefPropagation)
        bound = -_log_odds(detection) if hard else LEAST - odds
        least = log_else.min(initial=0.0) + bound + np.zeros_like(odds)
        start, edges, fit = _graph(tracker, expected, inverse, log_determinant, width, values, least)
        owner = np.repeat(np.arange(len(self.slots)), np.diff(start))
        log_ratio = fit - log_else[edges]
        log_weight = log_ratio + odds[owner]
        stay = (self.existence - self.existence * detection) / (1.0 - found)
        if isinstance(tracker.association, BeliefPropagation):
            rounds = tracker.association.iterations
            decided = graph.marginals(start, edges, log_weight, len(values), rounds)
        else:
            decided = _nearest(start, edges, log_ratio, log_weight, owner, self, detection, len(values))
        probable, alone, unclaimed, log_sum = decided
        existence = (1.0 - alone) + alone * stay
        certain = (probable > 0).astype(np.float64)
        trust = certain if hard else probable / np.where(existence > 0, existence, 1.0)[owner]
        kernels.correct(self.mean, self.covariance, expected, cross, inverse, values, start, edges, trust)
        likeliest, strongest, followed = kernels.likeliest(start, edges, trust)
        detected = strongest > 1.0 - followed
        rate = self.volume * (self.clutter + detection * self.undetected)
        evidence = np.sum(np.log1p(-found)) + np.sum(log_else) - rate + log_sum
        born = unclaimed * np.exp(log_new - log_else)
        after = self._judged(tracker, existence, detected, likeliest)
        after["log_evidence"] = np.asarray(evidence if active else 0.0)
        after["undetected"] = np.asarray(self.undetected * (1 - detection))
        return after | {"born": _born(tracker, self.known, values, born)}

    def _judged(
        self, tracker: Tracker, existence: np.ndarray, detected: np.ndarray, likeliest: np.ndarray
    ) -> dict:
        tracks, slots = self.tracks, self.slots
        hits = (tracks.hits[slots] * 2 + detected) & RECENT
        age = tracks.age[slots] + 1
        status = np.asarray(tracker.lifecycle(tracks.status[slots], existence, hits, age, detected))
        return {
            "slots": slots,
            "location": self.mean,
            "covariance": self.covariance,
            "existence": existence,
            "status": status,
            "age": age,
            "hits": hits,
            "detection": np.where(detected, likeliest, -1),
        }


def _graph(tracker: Tracker, expected, inverse, log_determinant, width, values, least) -> tuple:
    """Return the gating graph, found through a grid as fine as the usual gate."""
    if not len(values) or not len(expected):
        return np.zeros(len(expected) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0)
    threshold = tracker.gate.threshold(values.shape[1])
    reach = np.sqrt(threshold) * width
    plane = values[:, :2] if values.shape[1] > 1 else np.repeat(values, 2, axis=1)
    low = plane.min(axis=0)
    extent = plane.max(axis=0) - low
    usual = np.median(reach[:, :2], axis=0)
    most = max(int(np.sqrt(CELLS * len(values))), 1)
    cell = np.maximum(np.broadcast_to(usual, 2), np.maximum(extent / most, 1e-12))
    counts = (extent / cell).astype(np.int64) + 1
    if values.shape[1] == 1:
        counts[1] = 1
    return kernels.gate(
        expected, inverse, log_determinant, reach, least, values, threshold, low, cell, counts
    )


def _nearest(start, edges, log_ratio, log_weight, owner, state: _State, detection: float, size: int) -> tuple:
    """Return, as `graph.marginals` does, what follows from assignment, confirmed tracks first."""
    first = log_ratio + _log_odds(detection)
    surer = np.maximum(HEADSTART + np.log(np.maximum(state.existence, 1e-30)), 0.0)
    second = np.where(first > 0, first + surer[owner], -np.inf)
    column_of, owner_of = np.full(len(state.slots), -1), np.full(size, -1)
    graph.assign(start, edges, first, np.flatnonzero(state.firm), column_of, owner_of)
    graph.assign(start, edges, second, np.flatnonzero(~state.firm), column_of, owner_of)
    pick = edges == column_of[owner]
    odds_of = np.exp(np.minimum(log_weight[pick], LARGEST))
    own = odds_of / (1.0 + odds_of)
    probable, alone, unclaimed = np.zeros(len(edges)), np.ones(len(state.slots)), np.ones(size)
    probable[pick] = own
    alone[owner[pick]] -= own
    unclaimed[edges[pick]] -= own
    return probable, alone, unclaimed, float(np.sum(np.log1p(odds_of)))


def _log_odds(detection: float) -> float:
    return float(np.log(max(detection, 1e-7)) - np.log1p(-min(detection, 1 - 1e-7)))


def _born(tracker: Tracker, known: Matrices, values: np.ndarray, chance: np.ndarray) -> dict[str, np.ndarray]:
    """Return the new tracks, the most probable first."""
    wanted = np.flatnonzero(chance >= tracker.weakest)
    wanted = wanted[np.argsort(-chance[wanted], kind="stable")]
    slope, offset, covariance = known.birth
    count, chance = len(wanted), chance[wanted]
    fresh, one = np.full(count, TENTATIVE, np.int32), np.ones(count, np.int32)
    status = np.asarray(tracker.lifecycle(fresh, chance, one, 0 * one, one > 0))
    return {
        "location": values[wanted] @ slope.T + offset,
        "covariance": np.broadcast_to(covariance, (count, *covariance.shape)),
        "existence": chance,
        "status": np.where(status == DELETED, TENTATIVE, status),
        "age": 0 * one,
        "hits": one,
        "detection": wanted,
    }


def _table(tracks: Tracks, after: dict[str, Any]) -> Tracks:
    """Write what became of the tracks into a new table, larger if there are more than it holds."""
    born, slots, gone = after["born"], after["slots"], after["status"] == DELETED
    count = len(born["existence"])
    free = np.flatnonzero(np.isin(np.arange(tracks.capacity), slots[~gone], invert=True, assume_unique=True))
    if count > len(free):
        needed = tracks.capacity - len(free) + count
        more = grown(tracks, max(2 * tracks.capacity, needed))
        free = np.concatenate([free, np.arange(tracks.capacity, more.capacity)])
        tracks = more
    places = free[:count]

    def written(old: np.ndarray, key: str, nothing: Any = None) -> np.ndarray:
        new = old.copy()
        new[slots] = after[key]
        if nothing is not None:
            new[slots[gone]] = nothing
        new[places] = born[key]
        return new

    name = tracks.name.copy()
    name[slots[gone]] = -1
    name[places] = int(tracks.next_name) + np.arange(count)
    location, covariance = tracks.belief.location, tracks.belief.covariance
    belief = jax.tree.unflatten(
        jax.tree.structure(tracks.belief), [written(location, "location"), written(covariance, "covariance")]
    )
    return Tracks(
        belief=belief,
        existence=written(tracks.existence, "existence", 0.0),
        status=written(tracks.status, "status"),
        name=name,
        age=written(tracks.age, "age", 0),
        hits=written(tracks.hits, "hits", 0),
        detection=written(np.full_like(tracks.detection, -1), "detection", -1),
        next_name=np.asarray(int(tracks.next_name) + count, np.int32),
        undetected=after["undetected"],
        dropped=tracks.dropped,
        log_evidence=after["log_evidence"],
    )
