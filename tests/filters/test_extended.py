"""The extended Kalman filter against hand-written Jacobians, and its iterations against Gauss-Newton."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import AbstractConditional, DiagonalGaussian, Gaussian
from foresee.dynamics import ConstantVelocity, Position
from foresee.filters import ExtendedKalmanFilter, KalmanFilter, run

T, DT = 30, 0.5
SPREAD = np.array([0.5, 0.02])
Q = 0.2 * np.kron([[DT**3 / 3, DT**2 / 2], [DT**2 / 2, DT]], np.eye(2))
F = np.kron([[1, DT], [0, 1]], np.eye(2))
M0, P0 = np.array([-40.0, 3.0, 6.0, 0.0]), np.diag([4.0, 4.0, 1.0, 1.0])


class FromOrigin(AbstractConditional):
    """Distance in metres and bearing in radians of the first two components."""

    variances: jax.Array

    def __call__(self, x, u=None, dt=1.0):
        y = jnp.stack([jnp.hypot(x[0], x[1]), jnp.arctan2(x[1], x[0])])
        return DiagonalGaussian(y, self.variances, (1,))


MOTION, SENSOR = ConstantVelocity(0.2), FromOrigin(jnp.asarray(SPREAD**2))
PRIOR = Gaussian(jnp.asarray(M0), jnp.asarray(P0))


def parts(result):
    return result.predicted, result.filtered, result.log_evidences, result.last


def wrap(angle):
    return np.arctan2(np.sin(angle), np.cos(angle))


@pytest.fixture(scope="module")
def drive():
    """A drive past the origin, whose bearing jumps from π to −π; some rows and components were not seen."""
    rng = np.random.default_rng(3)
    x, rows = M0.copy(), []
    for _ in range(T):
        x = F @ x + rng.multivariate_normal(np.zeros(4), Q) * 0.3
        x[1] -= 0.25
        rows.append([np.hypot(x[0], x[1]), wrap(np.arctan2(x[1], x[0]))] + SPREAD * rng.normal(size=2))
    y = np.array(rows)
    y[:, 1] = wrap(y[:, 1])
    seen = rng.random((T, 2)) > 0.2
    seen[5] = False
    assert np.abs(np.diff(y[:, 1])).max() > 5
    return y, seen


def textbook(y, seen):
    """Särkkä 2013, algorithm 5.4, with the Jacobian by hand and unseen components left out."""
    m, P, out = M0, P0, []
    for t in range(T):
        m, P = F @ m, F @ P @ F.T + Q
        r = np.hypot(m[0], m[1])
        H = np.array([[m[0] / r, m[1] / r, 0, 0], [-m[1] / r**2, m[0] / r**2, 0, 0]])
        v = y[t] - [r, np.arctan2(m[1], m[0])]
        v[1] = wrap(v[1])
        keep = seen[t]
        H, v, S = H[keep], v[keep], H[keep] @ P @ H[keep].T + np.diag(SPREAD**2)[np.ix_(keep, keep)]
        K = P @ H.T @ np.linalg.inv(S)
        m, P = m + K @ v, P - K @ S @ K.T
        out.append(
            (m, P, -0.5 * (v.size * np.log(2 * np.pi) + np.linalg.slogdet(S)[1] + v @ np.linalg.solve(S, v)))
        )
    return [np.array(part) for part in zip(*out, strict=True)]


def test_equals_the_textbook_across_the_jump_of_the_bearing(drive):
    y, seen = drive
    result = run(ExtendedKalmanFilter(), MOTION, SENSOR, PRIOR, y, seen=seen, dt=DT)
    means, covariances, evidences = textbook(y, seen)
    np.testing.assert_allclose(result.filtered.location, means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(result.filtered.covariance, covariances, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(result.log_evidences, evidences, rtol=1e-8, atol=1e-9)


def test_is_the_kalman_filter_where_all_is_linear():
    y = np.random.default_rng(4).normal(size=(10, 2))
    sensor = Position(jnp.asarray([[1.0, 0.4], [0.4, 2.0]]), 4)
    results = [
        run(kind, MOTION, sensor, PRIOR, y, seen=np.arange(10) % 3 > 0, dt=0.3)
        for kind in (KalmanFilter(), ExtendedKalmanFilter(), ExtendedKalmanFilter(iterations=3))
    ]
    for other in results[1:]:
        pairs = zip(jax.tree.leaves(parts(results[0])), jax.tree.leaves(parts(other)), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_iterations_reach_the_most_probable_state():
    """The iterated update solves the Gauss-Newton equations, so its gradient of the log posterior is zero."""
    prior = Gaussian(jnp.asarray([5.0, 1.0]), jnp.asarray([[4.0, 0.5], [0.5, 3.0]]))
    sensor, y = FromOrigin(jnp.asarray([1e-4, 1e-6])), jnp.asarray([4.0, 0.9])

    def log_posterior(x):
        return prior.log_prob(x) + sensor(x).log_prob(y)

    slopes = [
        np.linalg.norm(jax.grad(log_posterior)(ExtendedKalmanFilter(n).update(prior, sensor, y)[0].location))
        for n in (1, 30)
    ]
    assert slopes[0] > 100
    assert slopes[1] < 1e-6


def test_nan_in_unseen_places_reaches_neither_values_nor_gradients(drive):
    y, seen = drive

    def evidence(variance, observed):
        sensor = FromOrigin(jnp.asarray([variance, SPREAD[1] ** 2]))
        return run(ExtendedKalmanFilter(), MOTION, sensor, PRIOR, observed, seen=seen, dt=DT).log_evidence

    value, slope = jax.value_and_grad(evidence)(0.3, jnp.asarray(np.where(seen, y, np.nan)))
    step = 1e-5
    numeric = (evidence(0.3 + step, jnp.asarray(y)) - evidence(0.3 - step, jnp.asarray(y))) / (2 * step)
    np.testing.assert_allclose(value, evidence(0.3, jnp.asarray(y)), rtol=1e-14)
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)


def test_number_of_iterations_is_checked():
    with pytest.raises(ValueError, match="expected iterations ≥ 1, got 0"):
        ExtendedKalmanFilter(0)
