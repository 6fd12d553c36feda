"""Made-up scenes: objects and clutter drawn from a tracker's own model, with the truth beside them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.errors import OptionError, TrackingError
from foresee.filters import InteractingMultipleModel
from foresee.tracking.detections import Detections
from foresee.tracking.labelled import Labelled
from foresee.tracking.tracker import Tracker


def simulate(
    tracker: Tracker, low: Any, high: Any, scans: int, *, dt: float = 1.0, key: PRNGKeyArray
) -> tuple[Detections, Labelled]:
    """Draw a scene that a tracker's model says is possible, and what a sensor would report of it.

    Objects are there from the first scan (`birth.undetected`) or appear later (`birth.rate`), both uniformly
    in a box of what the sensor measures; they move, end and are detected, and clutter is added. Objects may
    leave the box and are still detected.

    Args:
        tracker: how objects move, appear and are seen.
        low: lower corner of the box.
        high: upper corner of the box.
        scans: number of scans.
        dt: seconds between them.
        key: randomness.

    Returns:
        The detections, in random order within each scan; and the truth, with positions as the first
        components of the state.

    Raises:
        TrackingError: if the box has no volume.
        OptionError: if there are no scans, or the tracker has several motions.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    if low.shape != high.shape or low.ndim != 1 or not np.all(high > low):
        raise TrackingError(f"simulate: expected a box with low < high, got {low} and {high}")
    if scans < 1 or isinstance(tracker.filter, InteractingMultipleModel):
        raise OptionError(f"simulate: expected scans ≥ 1 and one motion, got {scans} scans")
    seed, sub = jax.random.split(key)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(seed)))
    volume = float(np.prod(high - low))
    expected = np.full(scans, float(tracker.birth.rate) * dt * volume)
    expected[0] += float(tracker.birth.undetected) * volume
    counts = rng.poisson(expected)
    born = np.repeat(np.arange(scans), counts)
    first = rng.uniform(low, high, (len(born), len(low)))
    paths, reports = jax.device_get(
        _paths(tracker, jnp.asarray(first), jnp.asarray(born), scans, jnp.asarray(dt), sub)
    )
    steps = np.arange(scans)[:, None] - born
    lasting = rng.geometric(max(1.0 - float(tracker.survival) ** dt, 1e-12), len(born))
    there = (steps >= 0) & (steps < lasting)
    seen = there & (rng.random(there.shape) < float(tracker.detection))
    reported = []
    for index in range(scans):
        clutter = rng.uniform(low, high, (rng.poisson(float(tracker.clutter) * volume), len(low)))
        reported.append(rng.permutation(np.concatenate([reports[index][seen[index]], clutter])))
    frame, name = np.nonzero(there)
    truth = Labelled(frame, name, np.asarray(paths[frame, name][:, : len(low)], float), time=frame * dt)
    return Detections(reported, interval=dt), truth


@eqx.filter_jit
def _paths(
    tracker: Tracker,
    first: Float[Array, "n m"],
    born: Any,
    scans: int,
    dt: Any,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:
    """Return the state of every object and a report of it in every scan, whether or not it is there."""
    start_key, move_key = jax.random.split(key)

    def drawn(model: Any, x: Array, sub: PRNGKeyArray, *known: Any) -> Array:
        return model(x, *known).sample(key=sub)

    keys = jax.random.split(start_key, len(first))
    start = jax.vmap(lambda y, sub: tracker.birth(y, tracker.sensor).sample(key=sub))(first, keys)

    def step(x: Array, row: Any) -> tuple[Array, Any]:
        index, sub = row
        moving, seeing = jax.random.split(sub)
        moved = jax.vmap(lambda one, own: drawn(tracker.motion, one, own, None, dt))(
            x, jax.random.split(moving, len(x))
        )
        x = jnp.where((born < index)[:, None], moved, x)
        report = jax.vmap(lambda one, own: drawn(tracker.sensor, one, own))(
            x, jax.random.split(seeing, len(x))
        )
        return x, (x, report)

    return jax.lax.scan(step, start, (jnp.arange(scans), jax.random.split(move_key, scans)))[1]
