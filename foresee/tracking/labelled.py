"""Who was where when: tracks, or the truth they are judged by, as plain columns."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.errors import TrackingError

STATUSES = ("tentative", "confirmed", "coasted", "deleted")
TENTATIVE, CONFIRMED, COASTED, DELETED = range(len(STATUSES))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Positions of named objects, one row for every object in every frame it is in.

    Rows may be in any order. What is not known for a whole set is None; nothing is NaN.

    Attributes:
        frame: number of the frame, or scan, of each row.
        name: identity of the object, the same in all its frames.
        position: where it is, in the units of whoever measured.
        covariance: how uncertain that is, in these units squared.
        box: its box; 4 numbers are an image box (left, top, width, height), 5 a box seen from above (x, y,
            length, width, yaw), 7 a box in space (x, y, z of its centre, length, width, height, yaw).
        status: where it is in its life: an index into `STATUSES`.
        score: how surely it is there, from 0 to 1, or what a detector said of it.
        time: moment of each row [s].

    Raises:
        TrackingError: if columns do not fit together, a value is not finite, an identity is twice in one
            frame, or a status is none of `STATUSES`.
    """

    frame: Int[np.ndarray, " n"]
    name: Int[np.ndarray, " n"]
    position: Float[np.ndarray, "n d"]
    covariance: Float[np.ndarray, "n d d"] | None = None
    box: Float[np.ndarray, "n b"] | None = None
    status: Int[np.ndarray, " n"] | None = None
    score: Float[np.ndarray, " n"] | None = None
    time: Float[np.ndarray, " n"] | None = None

    def __post_init__(self):
        rows = len(self.frame)
        if self.position.ndim != 2:
            raise TrackingError(f"expected positions of shape (rows, d), got {self.position.shape}")
        d = self.position.shape[1]
        for field in fields(self):
            values = getattr(self, field.name)
            if values is not None and len(values) != rows:
                raise TrackingError(f"expected {rows} rows of {field.name}, as of frame, got {len(values)}")
            if values is not None and not np.all(np.isfinite(values)):
                row = int(np.flatnonzero(~np.isfinite(values.reshape(rows, -1)).all(axis=1))[0])
                raise TrackingError(f"expected a finite {field.name}, got {values[row]} in row {row}")
        if self.covariance is not None and self.covariance.shape[1:] != (d, d):
            raise TrackingError(f"expected covariances {d} × {d}, got {self.covariance.shape[1:]}")
        if (
            self.status is not None
            and rows
            and not 0 <= self.status.min() <= self.status.max() < len(STATUSES)
        ):
            raise TrackingError(f"expected a status 0 to {len(STATUSES) - 1}, got {np.unique(self.status)}")
        self._check_unique()

    def _check_unique(self) -> None:
        order = np.lexsort((self.name, self.frame))
        again = np.flatnonzero((np.diff(self.frame[order]) == 0) & (np.diff(self.name[order]) == 0))
        if len(again):
            row = order[again[0]]
            raise TrackingError(
                f"expected an identity once in a frame, got {self.name[row]} twice in frame {self.frame[row]}"
            )

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def names(self) -> Int[np.ndarray, " objects"]:
        """Identities, each once, in order."""
        return np.unique(self.name)

    def select(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> "Labelled":
        """Return some of the rows, by a mask or by their places."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: None if values is None else values[rows] for name, values in columns.items()}
        )

    def in_order(self) -> "Labelled":
        """Return the rows sorted by frame, then by name."""
        return self.select(np.lexsort((self.name, self.frame)))

    def by_frame(self, frames: Int[np.ndarray, " frames"]) -> Iterator[Int[np.ndarray, " _rows"]]:
        """Yield the places of the rows of each of these frames; none where a frame has no object."""
        order = np.argsort(self.frame, kind="stable")
        ends = self.frame[order]
        for low, high in zip(
            np.searchsorted(ends, frames, "left"), np.searchsorted(ends, frames, "right"), strict=True
        ):
            yield order[low:high]
