"""Learning from detections alone: the evidence grows, and numbers come near those a scene was drawn with."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.errors import OptionError, TrackingError
from foresee.tracking import Detections, learn
from tests.tracking import scenes


@pytest.mark.slow
def test_numbers_of_a_scene_are_found_from_far_away():
    detections, truth = scenes.scene(11, scans=12, objects=5, clutter=5)
    made = scenes.tracker(objects=5, clutter=5)
    far = eqx.tree_at(
        lambda one: (one.detection, one.clutter, one.sensor.covariance),
        made,
        (jnp.asarray(0.6), 4 * made.clutter, jnp.asarray([4.0, 4.0])),
    )
    found = learn(far, detections, capacity=24, steps=15)
    assert found.history[-1] > found.history[0] + 0.1
    reports = int(detections.counts.sum())
    visible = len(truth)
    # Binomial and Poisson spreads of what these numbers are counted from, three deviations.
    assert abs(float(found.tracker.detection) - 0.9) < 3 * np.sqrt(0.09 / visible) + 0.03
    false = reports - 0.9 * visible
    assert abs(float(found.tracker.clutter / made.clutter) - 1) < 3 / np.sqrt(max(false, 1)) + 0.1
    variances = np.asarray(found.tracker.sensor.covariance)  # pyright: ignore[reportAttributeAccessIssue]
    assert np.all(np.abs(np.log(variances)) < 3 * np.sqrt(2 / (0.5 * visible)))


def test_nothing_to_learn_from_is_named():
    with pytest.raises(TrackingError, match="at least one detection, got none"):
        learn(scenes.tracker(), Detections([np.zeros((0, 2))]))
    with pytest.raises(OptionError, match="steps ≥ 1, got 0"):
        learn(scenes.tracker(), Detections([[[1.0, 2.0]]]), steps=0)
