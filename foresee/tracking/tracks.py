"""The table of tracks: a fixed number of slots, and what is believed of the object in each."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PyTree

from foresee.tracking.labelled import COASTED, CONFIRMED, DELETED

Numbers = Any  # arrays of JAX, or of NumPy on the host


class Tracks(eqx.Module):
    """All tracks at one moment.

    A slot without a track has the status DELETED, and what it holds means nothing.
    Leaves are JAX arrays, or NumPy's where the tables come from the host's kernels.

    Attributes:
        belief: what is believed of every state: a Gaussian, or a mixture, with a leading axis of slots.
        existence: probability that there is an object.
        status: TENTATIVE, CONFIRMED, COASTED or DELETED.
        name: identity, never given twice; −1 in an empty slot.
        age: scans since the first detection.
        hits: in which of the last 31 scans it was detected, one bit each, the newest lowest.
        detection: which detection of the last scan corrected it (the likeliest of several); −1 for none.
        next_name: the identity that the next new track gets.
        undetected: objects that are there and were never detected, per unit of what the sensor measures.
        dropped: new tracks that found no empty slot, since the beginning.
        log_evidence: log density of the last scan's detections given all scans before.
    """

    belief: PyTree[Numbers]
    existence: Float[Numbers, "*scans slots"]
    status: Int[Numbers, "*scans slots"]
    name: Int[Numbers, "*scans slots"]
    age: Int[Numbers, "*scans slots"]
    hits: Int[Numbers, "*scans slots"]
    detection: Int[Numbers, "*scans slots"]
    next_name: Int[Numbers, "*scans"]
    undetected: Float[Numbers, "*scans"]
    dropped: Int[Numbers, "*scans"]
    log_evidence: Float[Numbers, "*scans"]

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.existence.shape[-1]

    def alive(self) -> Bool[Numbers, "*scans slots"]:
        """Return which slots hold a track."""
        return self.status != DELETED

    def confirmed(self) -> Bool[Numbers, "*scans slots"]:
        """Return which slots hold a track that is to be reported: confirmed, or coasting."""
        return (self.status == CONFIRMED) | (self.status == COASTED)


def empty_tracks(belief: Any, capacity: int, undetected: Any) -> Tracks:
    """Return a table without tracks.

    Args:
        belief: the belief that fills empty slots; only its kind, shape and dtype matter.
        capacity: number of slots.
        undetected: objects expected before the first scan, per unit of what the sensor measures.
    """
    undetected = jnp.asarray(undetected)
    return Tracks(
        belief=jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (capacity, *leaf.shape)), belief),
        existence=jnp.zeros(capacity, undetected.dtype),
        status=jnp.full(capacity, DELETED, jnp.int32),
        name=jnp.full(capacity, -1, jnp.int32),
        age=jnp.zeros(capacity, jnp.int32),
        hits=jnp.zeros(capacity, jnp.int32),
        detection=jnp.full(capacity, -1, jnp.int32),
        next_name=jnp.zeros((), jnp.int32),
        undetected=undetected,
        dropped=jnp.zeros((), jnp.int32),
        log_evidence=jnp.zeros((), undetected.dtype),
    )


def grown(tracks: Tracks, capacity: int) -> Tracks:
    """Return the same tracks in a table with more slots."""
    more = capacity - tracks.capacity
    if more <= 0:
        return tracks

    def wider(leaf: Any, filler: Any = None) -> Any:
        """Add rows of the filler, or of what the first slot holds."""
        library: Any = np if isinstance(leaf, np.ndarray) else jnp
        row = leaf[:1] if filler is None else library.full(1, filler, leaf.dtype)
        return library.concatenate([leaf, library.repeat(row, more, axis=0)])

    return Tracks(
        belief=jax.tree.map(wider, tracks.belief),
        existence=wider(tracks.existence, 0),
        status=wider(tracks.status, DELETED),
        name=wider(tracks.name, -1),
        age=wider(tracks.age, 0),
        hits=wider(tracks.hits, 0),
        detection=wider(tracks.detection, -1),
        next_name=tracks.next_name,
        undetected=tracks.undetected,
        dropped=tracks.dropped,
        log_evidence=tracks.log_evidence,
    )
