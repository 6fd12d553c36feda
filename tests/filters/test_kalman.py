"""The Kalman filter against the textbook recursion in plain NumPy, and what masks and noise may do to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import Gaussian
from foresee.dynamics import LinearGaussian, RangeBearing
from foresee.filters import KalmanFilter, run

RNG = np.random.default_rng(1)
N, M, T = 3, 2, 15


def spd(size: int, rng=RNG) -> np.ndarray:
    root = rng.normal(size=(size, size))
    return root @ root.T / size + 0.3 * np.eye(size)


A, B, OFFSET = 0.6 * RNG.normal(size=(N, N)), RNG.normal(size=(N, 1)), RNG.normal(size=N)
H, SHIFT = RNG.normal(size=(M, N)), RNG.normal(size=M)
Q, R, P0, M0 = spd(N), spd(M), spd(N), RNG.normal(size=N)
Y, U, SEEN = RNG.normal(size=(T, M)) * 3, RNG.normal(size=(T, 1)), RNG.random((T, M)) > 0.4
SEEN[3] = False
MOTION = LinearGaussian(jnp.asarray(A), jnp.asarray(Q), jnp.asarray(OFFSET), jnp.asarray(B))
SENSOR = LinearGaussian(jnp.asarray(H), jnp.asarray(R), jnp.asarray(SHIFT))
PRIOR = Gaussian(jnp.asarray(M0), jnp.asarray(P0))


def textbook(y, seen=None, noise=R, u=U, first=True):
    """Kalman 1960 with inverses; an unseen component is a row that is not there."""
    m, P, out = M0, P0, []
    for t in range(len(y)):
        if t or first:
            m, P = A @ m + B @ u[t] + OFFSET, A @ P @ A.T + Q
        keep = np.ones(M, bool) if seen is None else seen[t]
        h, r, z = H[keep], noise[np.ix_(keep, keep)], (y[t] - SHIFT)[keep]
        S, v = h @ P @ h.T + r, z - h @ m
        K = P @ h.T @ np.linalg.inv(S)
        before = (m, P)
        m, P = m + K @ v, P - K @ S @ K.T
        evidence = -0.5 * (len(z) * np.log(2 * np.pi) + np.linalg.slogdet(S)[1] + v @ np.linalg.solve(S, v))
        out.append((*before, m, P, evidence))
    return [np.array(part) for part in zip(*out, strict=True)]


def parts(result):
    return [
        result.predicted.location,
        result.predicted.covariance,
        result.filtered.location,
        result.filtered.covariance,
        result.log_evidences,
    ]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_equals_the_textbook_with_correlated_noise(masked, first):
    seen = SEEN if masked else None
    result = run(KalmanFilter(), MOTION, SENSOR, PRIOR, Y, seen=seen, inputs=U, predict_first=first)
    for got, wanted in zip(parts(result), textbook(Y, seen, first=first), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(result.log_evidence, textbook(Y, seen, first=first)[-1].sum(), rtol=1e-12)
    np.testing.assert_array_equal(result.last.location, result.filtered.location[-1])


def test_independent_noise_as_a_vector_equals_a_diagonal_matrix():
    variances = np.diag(R)
    sensor = LinearGaussian(jnp.asarray(H), jnp.asarray(variances), jnp.asarray(SHIFT))
    result = run(KalmanFilter(), MOTION, sensor, PRIOR, Y, seen=SEEN, inputs=U)
    for got, wanted in zip(parts(result), textbook(Y, SEEN, np.diag(variances)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10)
    moving = LinearGaussian(MOTION.matrix, jnp.asarray([0.1, 0.2, 0.3]))
    full = LinearGaussian(MOTION.matrix, jnp.diag(jnp.asarray([0.1, 0.2, 0.3])))
    a, b = (KalmanFilter().predict(PRIOR, model) for model in (moving, full))
    np.testing.assert_allclose(a.covariance, b.covariance)


@pytest.mark.parametrize("kind", ["full", "independent"])
def test_what_stands_in_unseen_places_has_no_effect_on_values_or_gradients(kind):
    noise = jnp.asarray(R if kind == "full" else np.diag(R))

    def evidence(scale, y):
        sensor = LinearGaussian(jnp.asarray(H), scale * noise, jnp.asarray(SHIFT))
        return run(KalmanFilter(), MOTION, sensor, PRIOR, y, seen=SEEN, inputs=U).log_evidence

    zeros, nans = (jnp.asarray(np.where(SEEN, Y, filler)) for filler in (0.0, np.nan))
    for function in (evidence, jax.grad(evidence)):
        np.testing.assert_allclose(function(1.3, zeros), function(1.3, nans), rtol=1e-14)
    by_data = jax.grad(evidence, argnums=1)(1.3, nans)
    np.testing.assert_array_equal(np.asarray(by_data)[~SEEN], 0.0)
    step = 1e-5
    slope = (evidence(1.3 + step, zeros) - evidence(1.3 - step, zeros)) / (2 * step)
    np.testing.assert_allclose(jax.grad(evidence)(1.3, nans), slope, rtol=1e-7)


def test_unseen_observation_changes_nothing_at_all():
    belief, evidence = KalmanFilter().update(PRIOR, SENSOR, jnp.full(M, jnp.nan), seen=False)
    np.testing.assert_array_equal(belief.location, PRIOR.location)
    np.testing.assert_array_equal(belief.covariance, PRIOR.covariance)
    assert evidence == 0.0


def test_angles_of_a_linear_sensor_are_wrapped():
    sensor = LinearGaussian(jnp.eye(1), jnp.asarray([0.1]), circular=(0,))
    motion = LinearGaussian(jnp.eye(1), jnp.asarray([0.1]), circular=(0,))
    prior = Gaussian(jnp.asarray([3.1]), jnp.eye(1), (0,))
    belief = KalmanFilter().predict(prior, motion)
    assert belief.circular == (0,)
    belief, _ = KalmanFilter().update(prior, sensor, jnp.asarray([-3.1]))
    innovation = 2 * np.pi - 6.2
    wanted = 3.1 + innovation / 1.1
    np.testing.assert_allclose(belief.location, [wanted - 2 * np.pi if wanted > np.pi else wanted])


def test_a_curved_sensor_is_refused_with_the_way_out():
    sensor = RangeBearing(jnp.asarray([1.0, 0.1]))
    prior = Gaussian(jnp.zeros(4), jnp.eye(4))
    with pytest.raises(
        ValueError, match=r"expected a linear model, got RangeBearing; use ExtendedKalmanFilter"
    ):
        KalmanFilter().update(prior, sensor, jnp.zeros(2))
