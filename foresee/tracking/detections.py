"""Detections without names: what a sensor reported, scan by scan, at any times."""

from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.errors import TrackingError

Numbers = Any  # arrays of JAX, or of NumPy on the host


class Scan(eqx.Module):
    """The detections of one scan, padded to a fixed number, or of many scans with one more axis in front.

    Attributes:
        values: what was measured; what stands in unseen rows has no influence.
        seen: which rows are detections.
        dt: seconds since the scan before.
        score: how sure the detector was of each, within [0, 1]; None where it does not say.
        active: whether the sensor looked at all. In a scan without a look nobody can be missed.
    """

    values: Float[Numbers, "*scans M m"]
    seen: Bool[Numbers, "*scans M"]
    dt: Float[Numbers, "*scans"]
    score: Float[Numbers, "*scans M"] | None = None
    active: Bool[Numbers, "*scans"] | None = None


class Detections(eqx.Module):
    """Scans of detections in the order of their times.

    They are kept end to end, so that a crowded scan costs no more than itself.

    Args:
        scans: one array (detections, m) per scan; an empty scan is one in which the sensor looked and
            saw nothing.
        times: moment of every scan in s, not decreasing; None for one scan per `interval`.
        scores: how sure the detector was, within [0, 1]; one array per scan, or None.
        interval: seconds between scans without `times`.
        active: whether the sensor looked, per scan; None for always.
        frames: number of every scan as others know it; None for 0, 1, 2, …

    Raises:
        TrackingError: if shapes do not fit, a number is not finite, scans are out of order, or a score is
            outside [0, 1]; the message names the scan.
    """

    values: Float[np.ndarray, "n m"]
    offsets: Int[np.ndarray, " ends"]
    times: Float[np.ndarray, " scans"]
    scores: Float[np.ndarray, " n"] | None
    active: Bool[np.ndarray, " scans"]
    frames: Int[np.ndarray, " scans"]

    def __init__(
        self,
        scans: Sequence[Any],
        times: Any = None,
        scores: Sequence[Any] | None = None,
        *,
        interval: float = 1.0,
        active: Any = None,
        frames: Any = None,
    ):
        if len(scans) == 0:
            raise TrackingError("expected at least one scan, got none")
        self.values, counts = _joined(scans)
        self.offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if times is None:
            times = interval * np.arange(len(counts))
        self.times = _column(times, len(counts), "times", float)
        late = np.flatnonzero(np.diff(self.times) < 0)
        if len(late):
            before, after = self.times[late[0]], self.times[late[0] + 1]
            raise TrackingError(
                f"expected scans in order of time, got {after} after {before}; sort them first"
            )
        self.scores = None if scores is None else _scores(scores, counts)
        self.active = (
            np.ones(len(counts), bool) if active is None else _column(active, len(counts), "active", bool)
        )
        if np.any(counts[~self.active]):
            scan = int(np.flatnonzero(~self.active & (counts > 0))[0])
            raise TrackingError(
                f"expected no detections where the sensor did not look, got some in scan {scan}"
            )
        self.frames = (
            np.arange(len(counts)) if frames is None else _column(frames, len(counts), "frames", np.int64)
        )

    @classmethod
    def from_rows(cls, scan: Any, values: Any, *, score: Any = None, seconds: float = 1.0) -> "Detections":
        """Return detections from a table with one row per detection, in any order.

        Args:
            scan: number of the scan of every row. Numbers that are missing between the first and the last
                count as scans in which nothing was seen.
            values: what was measured, one row per detection.
            score: how sure the detector was, within [0, 1].
            seconds: time from one number to the next.

        Raises:
            TrackingError: as `Detections` does, or if the numbers are not whole.
        """
        numbers = np.asarray(scan)
        values = np.asarray(values, float)
        if numbers.ndim != 1 or values.ndim != 2 or len(numbers) != len(values) or not len(values):
            raise TrackingError(
                f"expected one scan number per row of values, got shapes {numbers.shape} and {values.shape}"
            )
        if not np.all(np.isfinite(numbers)) or np.any(numbers != np.round(numbers)):
            raise TrackingError(f"expected whole numbers of scans, got {numbers[:5]}…")
        numbers = numbers.astype(np.int64)
        order = np.argsort(numbers, kind="stable")
        frames = np.arange(numbers.min(), numbers.max() + 1)
        ends = np.searchsorted(numbers[order], frames[1:])
        scores = None if score is None else np.split(np.asarray(score, float)[order], ends)
        times = seconds * (frames - frames[0])
        return cls(np.split(values[order], ends), times, scores, frames=frames)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def counts(self) -> Int[np.ndarray, " scans"]:
        """Number of detections in every scan."""
        return np.diff(self.offsets)

    @property
    def size(self) -> int:
        """Number of components of a detection."""
        return self.values.shape[1]

    def dt(self) -> Float[np.ndarray, " scans"]:
        """Return the seconds from the scan before to each; 0 for the first."""
        return np.diff(self.times, prepend=self.times[:1])

    def __iter__(self) -> Iterator[Scan]:
        steps = self.dt()
        for index in range(len(self)):
            yield self._scan(index, steps[index])

    def scan(self, index: int) -> Scan:
        """Return one scan without padding, its arrays NumPy's."""
        return self._scan(index, self.dt()[index])

    def _scan(self, index: int, dt: Any) -> Scan:
        rows = slice(self.offsets[index], self.offsets[index + 1])
        values = self.values[rows]
        scores = None if self.scores is None else self.scores[rows]
        return Scan(values, np.ones(len(values), bool), np.asarray(dt), scores, self.active[index])

    def part(self, start: int, stop: int) -> "Detections":
        """Return the scans from `start` up to, not including, `stop`."""
        ends = self.offsets[start : stop + 1]
        cut = slice(start, stop)
        scores = (
            None if self.scores is None else np.split(self.scores[ends[0] : ends[-1]], ends[1:-1] - ends[0])
        )
        return Detections(
            np.split(self.values[ends[0] : ends[-1]], ends[1:-1] - ends[0]),
            self.times[cut],
            scores,
            active=self.active[cut],
            frames=self.frames[cut],
        )

    def padded(self, capacity: int | None = None) -> Scan:
        """Return all scans as one stack of equal size, for `jax.lax.scan` and `jax.vmap`.

        Args:
            capacity: room for detections in every scan; None for the size of the largest, rounded up to a
                power of two so that recordings of about the same size share what is compiled.

        Raises:
            TrackingError: if a scan has more detections than there is room.
        """
        largest = int(self.counts.max())
        if capacity is None:
            capacity = 1 << max(largest - 1, 0).bit_length()
        if largest > capacity:
            scan = int(np.argmax(self.counts))
            raise TrackingError(f"expected at most {capacity} detections, got {largest} in scan {scan}")
        values = np.zeros((len(self), capacity, self.size))
        rows = np.repeat(np.arange(len(self)), self.counts)
        places = np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.counts)
        values[rows, places] = self.values
        seen = np.arange(capacity) < self.counts[:, None]
        score = None
        if self.scores is not None:
            score = np.zeros((len(self), capacity))
            score[rows, places] = self.scores
            score = jnp.asarray(score)
        return Scan(
            jnp.asarray(values), jnp.asarray(seen), jnp.asarray(self.dt()), score, jnp.asarray(self.active)
        )


def _joined(scans: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows in one array and the number of rows of every scan."""
    arrays = [np.asarray(values, float) for values in scans]
    sizes = {values.shape[1] for values in arrays if values.ndim == 2 and values.size}
    if len(sizes) > 1:
        raise TrackingError(f"expected detections of one size in all scans, got sizes {sorted(sizes)}")
    widths = [values.shape[1] for values in arrays if values.ndim == 2]
    size = sizes.pop() if sizes else (widths[0] if widths else 1)
    for index, values in enumerate(arrays):
        if values.size == 0:
            arrays[index] = np.zeros((0, size))
        elif values.ndim != 2:
            raise TrackingError(f"expected detections of shape (rows, m), got {values.shape} in scan {index}")
        elif not np.all(np.isfinite(values)):
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise TrackingError(
                f"expected finite detections, got {values[row]} in scan {index}, row {row}; leave out what "
                "was not seen"
            )
    return np.concatenate(arrays), np.array([len(values) for values in arrays], np.int64)


def _scores(scores: Sequence[Any], counts: np.ndarray) -> np.ndarray:
    """Return the scores of all detections in one column."""
    columns = [np.asarray(values, float).reshape(-1) for values in scores]
    if [len(values) for values in columns] != counts.tolist():
        raise TrackingError("expected one score per detection in every scan")
    for index, values in enumerate(columns):
        if not np.all((values >= 0) & (values <= 1)):
            wrong = values[~((values >= 0) & (values <= 1))][0]
            raise TrackingError(f"expected scores within [0, 1], got {wrong} in scan {index}")
    return np.concatenate(columns)


def _column(values: Any, size: int, name: str, kind: Any) -> np.ndarray:
    """Return one finite value per scan."""
    column = np.asarray(values, kind)
    if column.shape != (size,) or not np.all(np.isfinite(column)):
        raise TrackingError(
            f"expected {name} as {size} finite values, one per scan, got shape {column.shape}"
        )
    return column
