"""Tracking a whole sequence of scans: the one call from detections to named tracks with their doubt."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.beliefs import Mixture
from foresee.errors import OptionError, TrackingError
from foresee.tracking import host
from foresee.tracking.detections import Detections, Scan
from foresee.tracking.labelled import Labelled
from foresee.tracking.tracker import Tracker
from foresee.tracking.tracks import Tracks, grown

BLOCK = 64  # scans per compiled call: tables of so many scans are in memory at a time

Method = Literal["auto", "host", "compiled"]


class CapacityWarning(UserWarning):
    """A full table of tracks has grown; nothing was lost, but what depends on its size compiles again."""


@dataclass(frozen=True, eq=False)
class History:
    """What was believed of every track in every scan, one row for each, in the order of the scans.

    Attributes:
        scan: index of the scan.
        frame: the scan's number in the detections' own counting.
        time: moment of the scan [s].
        name: identity of the track.
        location: mean of its state.
        covariance: covariance of its state.
        existence: probability that there is an object.
        status: TENTATIVE, CONFIRMED or COASTED, as in `foresee.tracking.labelled`.
        detection: row of the detection, within its scan, that the track followed the most; −1 for none.
        log_evidences: log density of every scan's detections given all scans before.
        last: the table to go on from.
    """

    scan: Int[np.ndarray, " n"]
    frame: Int[np.ndarray, " n"]
    time: Float[np.ndarray, " n"]
    name: Int[np.ndarray, " n"]
    location: Float[np.ndarray, "n d"]
    covariance: Float[np.ndarray, "n d d"]
    existence: Float[np.ndarray, " n"]
    status: Int[np.ndarray, " n"]
    detection: Int[np.ndarray, " n"]
    log_evidences: Float[np.ndarray, " scans"]
    last: Tracks

    def __len__(self) -> int:
        return len(self.scan)

    def names(self) -> Int[np.ndarray, " objects"]:
        """Return the identities, each once, in order."""
        return np.unique(self.name)

    @property
    def log_evidence(self) -> float:
        """Log density of all detections."""
        return float(self.log_evidences.sum())

    def labelled(self, components: tuple[int, ...] = (0, 1)) -> Labelled:
        """Return who was where when, for scores and replays.

        Args:
            components: which components of the state are the position.
        """
        index = np.asarray(components)
        return Labelled(
            self.frame,
            self.name,
            self.location[:, index],
            self.covariance[:, index[:, None], index],
            status=self.status,
            score=self.existence,
            time=self.time,
        )


def track(
    detections: Detections,
    tracker: Tracker,
    *,
    after: Tracks | None = None,
    capacity: int | None = None,
    tentative: bool = False,
    method: Method = "auto",
) -> History:
    """Track all objects in a sequence of detections.

    Args:
        detections: scans in the order of their times.
        tracker: how objects move, appear and are seen.
        after: the table of an earlier stretch to go on from (`History.last`); its time is that of the first
            scan.
        capacity: slots of the table at first; it grows, with a warning, if there are more tracks.
        tentative: whether tracks that are not confirmed yet are handed back as well.
        method: "host" for compiled loops on a sparse gating graph, fastest for one stream, for linear models;
            "compiled" for JAX, any filter; "auto" takes the first where it can.

    Returns:
        What was believed of every track in every scan.

    Raises:
        OptionError: if the method is unknown, or "host" and the models are not linear.
        TrackingError: if the detections do not have as many components as the sensor.
    """
    if method not in ("auto", "host", "compiled"):
        raise OptionError(f"expected the method auto, host or compiled, got {method!r}")
    fits = host.fits(tracker)
    if method == "host" and not fits:
        raise OptionError("expected a KalmanFilter and linear models without angles for the method host")
    table = tracker.begin(capacity or room(detections)) if after is None else after
    wanted = jax.eval_shape(lambda: tracker.sensor(tracker.birth.mean).mean()).shape[0]
    if detections.size != wanted and len(detections.values):
        raise TrackingError(
            f"expected detections of {wanted} components for this sensor, got {detections.size}"
        )
    run = _on_host if fits and method != "compiled" else _compiled
    parts, evidences, last = run(detections, tracker, table, tentative)
    scan, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    name, location, covariance, existence, status, detection = columns
    return History(
        scan,
        detections.frames[scan],
        detections.times[scan],
        name,
        location,
        covariance,
        existence,
        status,
        detection,
        np.concatenate(evidences),
        last,
    )


def advance(tracker: Tracker, tracks: Tracks, scan: Scan) -> Tracks:
    """Return the tracks after one more scan of a stream, wherever that is faster: on the host or compiled.

    The scan needs no padding, and a full table grows with a warning. `Tracker.step` is the same for compiled
    code.

    Args:
        tracker: how objects move, appear and are seen. Keep the same one for all scans of a stream.
        tracks: the table before, from `Tracker.begin` or the scan before.
        scan: the detections; iterating over `Detections` gives them.
    """
    known = host.remembered(tracker, float(scan.dt))
    if known is None:
        stack = jax.tree.map(lambda leaf: np.asarray(leaf)[None], scan)
        return _grown_run(tracker, jax.tree.map(jnp.asarray, tracks), _roomy(stack))[0]
    if not isinstance(tracks.existence, np.ndarray):
        tracks = host.to_host(tracks)
    after = host.step(tracker, tracks, scan, known)
    if after.capacity > tracks.capacity:
        _warn(tracks.capacity, after.capacity)
    return after


def _roomy(scans: Scan) -> Scan:
    """Return scans with room for a power of two of detections, so that few sizes are compiled."""
    size = scans.values.shape[1]
    more = (1 << max(size - 1, 0).bit_length()) - size

    def wider(leaf: Any) -> Any:
        return leaf if leaf.ndim < 2 else np.pad(leaf, ((0, 0), (0, more)) + ((0, 0),) * (leaf.ndim - 2))

    return jax.tree.map(lambda leaf: jnp.asarray(wider(leaf)), scans)


def room(detections: Detections) -> int:
    """Return how many slots a sequence is likely to need: twice the detections of its largest scans."""
    usual = np.quantile(detections.counts, 0.99) if len(detections) else 0
    return max(32, 1 << int(np.ceil(np.log2(2 * usual + 1))))


def _on_host(detections: Detections, tracker: Tracker, table: Tracks, tentative: bool) -> tuple:
    steps = detections.dt()
    durations, which = np.unique(steps, return_inverse=True)
    parts, evidences, table = [], [], host.to_host(table)
    known: list[Any] = []
    for index, scan in enumerate(detections):
        if not known:
            known = host.matrices(tracker, durations)
        before = table.capacity
        table = host.step(tracker, table, scan, known[which[index]])
        if table.capacity > before:
            _warn(before, table.capacity)
        parts.append(_rows(table, index, tentative))
        evidences.append(np.reshape(table.log_evidence, 1))
    return parts, evidences, table


def _compiled(detections: Detections, tracker: Tracker, table: Tracks, tentative: bool) -> tuple:
    scans = detections.padded()
    table = jax.tree.map(jnp.asarray, table)
    parts, evidences = [], []
    for start in range(0, len(detections), BLOCK):
        block = jax.tree.map(lambda leaf, start=start: leaf[start : start + BLOCK], scans)
        table, tables = _grown_run(tracker, table, block)
        tables = jax.device_get(tables)
        for index in range(len(tables.log_evidence)):
            one = jax.tree.map(lambda leaf, index=index: leaf[index], tables)
            parts.append(_rows(one, start + index, tentative))
        evidences.append(np.asarray(tables.log_evidence))
    return parts, evidences, table


def _grown_run(tracker: Tracker, table: Tracks, block: Scan) -> tuple[Tracks, Tracks]:
    """Run some scans, again with a larger table if one was too small for all new tracks."""
    while True:
        last, tables = run_scans(tracker, table, block)
        if int(last.dropped) == int(table.dropped):
            return last, tables
        _warn(table.capacity, 2 * table.capacity)
        table = grown(table, 2 * table.capacity)


@eqx.filter_jit
def run_scans(tracker: Tracker, tracks: Tracks, scans: Scan) -> tuple[Tracks, Tracks]:
    """Return the table after all scans, and those after each with an axis of scans in front.

    Batches of scenes are `jax.vmap` of this function. Scans of other sizes within the same padding trace
    nothing.
    """

    def step(table: Tracks, scan: Scan) -> tuple[Tracks, Tracks]:
        table = tracker.step(table, scan)
        return table, table

    return jax.lax.scan(step, tracks, scans)


def log_evidence(tracker: Tracker, scans: Scan, capacity: int = 32) -> Float[Any, ""]:
    """Return the log density of a sequence's detections, a function of everything in the tracker.

    It can be differentiated by every number in it; what a step computes is worked out again on the way back
    instead of being kept.

    Args:
        tracker: how objects move, appear and are seen.
        scans: padded scans, from `Detections.padded`.
        capacity: slots of the table. Objects for which there is none add the evidence of clutter.
    """

    @jax.checkpoint
    def step(table: Tracks, scan: Scan) -> tuple[Tracks, Any]:
        table = tracker.step(table, scan)
        return table, table.log_evidence

    _, terms = jax.lax.scan(step, tracker.begin(capacity), scans)
    return jnp.sum(terms)


def _rows(table: Tracks, index: int, tentative: bool) -> tuple[np.ndarray, ...]:
    """Return the tracks that are reported after one scan, by name."""
    chosen: Bool[np.ndarray, " slots"] = np.asarray(table.alive() if tentative else table.confirmed())
    slots = np.flatnonzero(chosen)
    slots = slots[np.argsort(table.name[slots], kind="stable")]
    belief: Any = jax.tree.map(lambda leaf: leaf[slots], table.belief)
    if isinstance(belief, Mixture):
        location, covariance = (np.asarray(part) for part in _moments(belief))
    else:
        location, covariance = belief.location, belief.covariance
    columns = (table.name, location, covariance, table.existence, table.status, table.detection)
    picked = [column if column is location or column is covariance else column[slots] for column in columns]
    return np.full(len(slots), index), *picked


def _moments(belief: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Return means and covariances over all motions, on the host."""
    weights = np.exp(np.asarray(belief.log_weights))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    components: Any = belief.components
    mean = np.einsum("tk,tki->ti", weights, components.location)
    apart = components.location - mean[:, None]
    spread = components.covariance + apart[..., :, None] * apart[..., None, :]
    return mean, np.einsum("tk,tkij->tij", weights, spread)


def _warn(before: int, after: int) -> None:
    warnings.warn(
        f"more tracks than the table has slots; it grows from {before} to {after}",
        CapacityWarning,
        stacklevel=4,
    )
