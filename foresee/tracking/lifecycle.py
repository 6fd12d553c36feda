"""Life cycle: when a track is confirmed, when it coasts, and when it ends."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.errors import OptionError
from foresee.tracking.labelled import COASTED, CONFIRMED, DELETED, TENTATIVE

Numbers = Any  # arrays of JAX, or of NumPy on the host


class AbstractLifeCycle(eqx.Module):
    """How a track's status follows from how surely it exists, and from the scans in which it was detected."""

    # On the host these are NumPy arrays: written with operators, so that it works for both.
    @abc.abstractmethod
    def __call__(
        self,
        status: Int[Numbers, " slots"],
        existence: Float[Numbers, " slots"],
        hits: Int[Numbers, " slots"],
        age: Int[Numbers, " slots"],
        detected: Bool[Numbers, " slots"],
    ) -> Int[Numbers, " slots"]:
        """Return the new status of every slot that held a track.

        Args:
            status: status before; DELETED stays what it is.
            existence: probability that there is an object, after the scan.
            hits: in which of the last 31 scans it was detected, one bit each, the newest lowest.
            age: scans since the first detection.
            detected: whether the last scan is one of them.
        """


class ByExistence(AbstractLifeCycle):
    """By the probability that there is an object.

    Args:
        confirm: a tentative track is confirmed from this probability on.
        doubt: a confirmed track below it is tentative again, until it is believed in again or ends.
        end: a track below it is deleted.

    Raises:
        OptionError: unless 0 < end ≤ doubt ≤ confirm < 1.
    """

    confirm: float = eqx.field(static=True, default=0.9)
    doubt: float = eqx.field(static=True, default=0.5)
    end: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self) -> None:
        """Check the order of the thresholds."""
        if not 0 < self.end <= self.doubt <= self.confirm < 1:
            raise OptionError(
                "ByExistence: expected 0 < end ≤ doubt ≤ confirm < 1, got "
                f"{self.end}, {self.doubt} and {self.confirm}"
            )

    def __call__(self, status, existence, hits, age, detected) -> Int[Numbers, " slots"]:
        """Return the new status."""
        was = (status == CONFIRMED) | (status == COASTED)
        sure = (existence >= self.confirm) | (was & (existence >= self.doubt))
        return _status(status, sure, detected, existence < self.end)


class ByCount(AbstractLifeCycle):
    """By M detections within N scans, and by misses in a row; the existence plays no part.

    Args:
        detections: M, how many detections confirm a track.
        within: N, the number of scans in which they have to fall.
        misses: a track with so many misses in a row ends; a tentative one as soon as M of N is out of reach.

    Raises:
        OptionError: unless 1 ≤ M ≤ N ≤ 31 and there is at least one miss.
    """

    detections: int = eqx.field(static=True, default=3)
    within: int = eqx.field(static=True, default=5)
    misses: int = eqx.field(static=True, default=5)

    def __check_init__(self) -> None:
        """Check the counts."""
        if not 1 <= self.detections <= self.within <= 31 or not 1 <= self.misses <= 31:
            raise OptionError(
                "ByCount: expected 1 ≤ detections ≤ within ≤ 31 and 1 ≤ misses ≤ 31, got "
                f"{self.detections}, {self.within} and {self.misses}"
            )

    def __call__(self, status, existence, hits, age, detected) -> Int[Numbers, " slots"]:
        """Return the new status."""
        was = (status == CONFIRMED) | (status == COASTED)
        window = hits & (2**self.within - 1)
        count = ((window[:, None] >> np.arange(self.within)) & 1).sum(axis=1)
        sure = was | (count >= self.detections)
        lost = (hits & (2**self.misses - 1)) == 0
        left = self.within - age - 1
        hopeless = ~sure & ((count + left < self.detections) | (left < 0))
        return _status(status, sure, detected, lost | hopeless)


def _status(before: Any, sure: Any, detected: Any, ends: Any) -> Any:
    """Return the status that follows, with the library that the arrays are of: NumPy on the host."""
    library: Any = np if isinstance(before, np.ndarray) else jnp
    now = library.where(sure, library.where(detected, CONFIRMED, COASTED), TENTATIVE)
    return library.where(ends | (before == DELETED), DELETED, now).astype(before.dtype)
