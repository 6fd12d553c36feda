import itertools

import numpy as np
import pytest

from foresee.errors import TrackingError
from foresee.tracking.smooth import smooth


def by_hand(time, value, seen, noise, density, spread):
    """Solve for all positions and velocities at once, as one Gaussian conditioned on the rows."""
    n = len(time)
    precision, pull = np.zeros((2 * n, 2 * n)), np.zeros(2 * n)
    precision[1, 1] += 1 / spread**2
    for row in range(1, n):
        dt = time[row] - time[row - 1]
        move = np.array([[1, dt], [0, 1]])
        inverse = np.linalg.inv(density * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]))
        both = np.hstack([-move, np.eye(2)])
        rows = slice(2 * row - 2, 2 * row + 2)
        precision[rows, rows] += both.T @ inverse @ both
    for row in np.flatnonzero(seen):
        precision[2 * row, 2 * row] += 1 / noise[row]
        pull[2 * row] += value[row] / noise[row]
    covariance = np.linalg.inv(precision)
    mean = covariance @ pull
    return mean[::2], mean[1::2], np.diag(covariance)[::2], np.diag(covariance)[1::2]


def test_paths_are_smoothed_as_by_solving_for_everything_at_once():
    random = np.random.default_rng(0)
    lengths = [6, 1, 9]
    start = np.concatenate([[0], np.cumsum(lengths)])
    n = start[-1]
    time = np.concatenate([np.cumsum(random.uniform(0.3, 2, k)) for k in lengths])
    seen = random.uniform(size=n) < 0.6
    seen[start[:-1] + np.array([1, 0, 2])] = True
    value = random.normal(size=(n, 2)) + time[:, None]
    noise = random.uniform(0.5, 2, (n, 2))
    density = np.tile([0.3, 0.7], (n, 1))
    found = smooth(start, time, value, seen, noise, density, np.array([2.0, 3.0]))
    for k, (q, spread) in enumerate(((0.3, 2.0), (0.7, 3.0))):
        for low, high in itertools.pairwise(start):
            rows = slice(low, high)
            expected = by_hand(time[rows], value[rows, k], seen[rows], noise[rows, k], q, spread)
            parts = (found.position, found.velocity, found.variance, found.velocity_variance)
            for part, wanted in zip(parts, expected, strict=True):
                # the kernel's prior of the position is wide, not flat
                np.testing.assert_allclose(part[rows, k], wanted, rtol=2e-3, atol=2e-3)


def test_evidence_is_highest_at_the_noise_that_was_there():
    random = np.random.default_rng(1)
    steps = 400
    place = np.cumsum(np.cumsum(random.normal(0, 0.1, steps)))
    value = (place + random.normal(0, 1.5, steps))[:, None]
    ones = np.ones((steps, 1))
    sizes = np.array([0.5, 1.0, 1.5, 2.25, 3.4])

    def evidence(sd):
        seen = np.ones(steps, bool)
        run = smooth(
            np.array([0, steps]), np.arange(steps) * 1.0, value, seen, sd**2 * ones, 0.01 * ones, np.ones(1)
        )
        return run.log_evidence[0]

    assert sizes[np.argmax([evidence(sd) for sd in sizes])] == 1.5


def test_a_path_without_a_measurement_is_refused():
    ones = np.ones((2, 1))
    with pytest.raises(TrackingError, match="expected a measurement in every path, got none in path 0"):
        smooth(np.array([0, 2]), np.arange(2.0), ones, np.zeros(2, bool), ones, ones, np.ones(1))
    with pytest.raises(TrackingError, match="expected 3 rows"):
        smooth(np.array([0, 3]), np.arange(2.0), ones, np.ones(2, bool), ones, ones, np.ones(1))
