"""Trackers and scenes that the tests share."""

import jax
import jax.numpy as jnp
import numpy as np

from foresee.dynamics import ConstantVelocity, Position
from foresee.tracking import BeliefPropagation, Birth, Detections, NearestNeighbour, Tracker
from foresee.tracking.simulate import simulate

SIDE = 120.0


def tracker(association=None, objects=6, clutter=6, density=0.05, detection=0.9, **options):
    area = SIDE**2
    birth = Birth([jnp.inf, jnp.inf, 2.0, 2.0], 1e-3 * objects / area, objects / area)
    return Tracker(
        ConstantVelocity(density),
        Position([1.0, 1.0], 4),
        birth,
        detection,
        clutter / area,
        0.999,
        area,
        association=BeliefPropagation() if association is None else association,
        **options,
    )


def scene(seed=0, scans=12, **options):
    return simulate(tracker(**options), [0.0, 0.0], [SIDE, SIDE], scans, key=jax.random.key(seed))


def crossing(seed=0, gap=3.0):
    """Two objects side by side in opposite directions, seen in every scan, without clutter."""
    rng = np.random.default_rng(seed)
    time = np.arange(20.0)
    paths = np.stack([np.stack([2 * time, 0 * time], 1), np.stack([38 - 2 * time, 0 * time + gap], 1)], 1)
    return Detections(list(paths + 0.5 * rng.normal(size=paths.shape))), paths


METHODS = {"assignment": NearestNeighbour(), "messages": BeliefPropagation(60)}
