"""Smoothing against one least-squares problem over all rows, and the textbook's backward recursion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import AbstractConditional, DiagonalGaussian, Gaussian
from foresee.dynamics import ConstantVelocity, LinearGaussian, Position
from foresee.errors import ShapeError
from foresee.filters import (
    ExtendedKalmanFilter,
    KalmanFilter,
    ParticleFilter,
    UnscentedKalmanFilter,
    pad,
    run,
    smooth,
    smooth_pairs,
)

FILTERS = [KalmanFilter(), ExtendedKalmanFilter(), UnscentedKalmanFilter()]
RNG = np.random.default_rng(6)
N, M, T = 3, 2, 14


def spd(size):
    root = RNG.normal(size=(size, size))
    return root @ root.T / size + 0.3 * np.eye(size)


class Drifting(AbstractConditional):
    """Linear, but its matrices depend on the duration, which LinearGaussian's do not."""

    def __call__(self, x, u=None, dt=1.0):
        push = 0.0 if u is None else B @ u
        return Gaussian(x + dt * (A @ x) + push, dt * jnp.asarray(Q))


A, B, H = 0.4 * RNG.normal(size=(N, N)), RNG.normal(size=(N, 1)), RNG.normal(size=(M, N))
Q, R, P0, M0 = spd(N), spd(M), spd(N), RNG.normal(size=N)
Y, U = 3 * RNG.normal(size=(T, M)), RNG.normal(size=(T, 1))
SEEN, DT = RNG.random((T, M)) > 0.4, RNG.uniform(0.1, 1.0, size=T)
SEEN[5:7], SEEN[-1] = False, False
SENSOR = LinearGaussian(jnp.asarray(H), jnp.asarray(R))
PRIOR = Gaussian(jnp.asarray(M0), jnp.asarray(P0))


def batch(first, u, dt):
    """The joint precision of x₀..x_T (with first) or x₁..x_T, by dense normal equations."""
    rows = T + first
    K, k = np.zeros((rows * N, rows * N)), np.zeros(rows * N)
    K[:N, :N] += np.linalg.inv(P0)
    k[:N] += np.linalg.solve(P0, M0)
    for t in range(T):
        here = slice((t + first) * N, (t + first + 1) * N)
        if t or first:
            F, W = np.eye(N) + dt[t] * A, np.linalg.inv(dt[t] * Q)
            both = np.r_[(t + first - 1) * N : (t + first + 1) * N]
            D = np.concatenate([-F, np.eye(N)], axis=1)
            K[np.ix_(both, both)] += D.T @ W @ D
            k[both] += D.T @ W @ (B @ u[t])
        keep = SEEN[t]
        W = np.linalg.inv(R[np.ix_(keep, keep)]) if keep.any() else np.zeros((0, 0))
        K[here, here] += H[keep].T @ W @ H[keep]
        k[here] += H[keep].T @ W @ Y[t, keep]
    joint = np.linalg.inv(K)
    blocks = joint.reshape(rows, N, rows, N)[first:, :, first:, :]
    mean = (joint @ k).reshape(rows, N)[first:]
    return mean, blocks[range(T), :, range(T)], blocks[range(T - 1), :, range(1, T)]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("filter", FILTERS[1:], ids=lambda f: type(f).__name__)
def test_equals_least_squares_over_all_rows(filter, first):
    """With inputs, irregular times and unseen components; the model is linear, so both filters are exact."""
    options = {"inputs": U, "dt": jnp.asarray(DT)}
    result = run(filter, Drifting(), SENSOR, PRIOR, Y, seen=SEEN, predict_first=first, **options)
    smoothed, pairs = smooth_pairs(filter, Drifting(), result, **options)
    for got, wanted in zip((smoothed.location, smoothed.covariance, pairs), batch(first, U, DT), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9)
    alone = smooth(filter, Drifting(), result, **options)
    np.testing.assert_allclose(alone.covariance, smoothed.covariance, rtol=1e-13)


def test_kalman_smoother_equals_least_squares_over_all_rows():
    motion = LinearGaussian(jnp.eye(N) + A, jnp.asarray(Q), None, jnp.asarray(B))
    result = run(KalmanFilter(), motion, SENSOR, PRIOR, Y, seen=SEEN, inputs=U)
    smoothed, pairs = smooth_pairs(KalmanFilter(), motion, result, inputs=U)
    for got, wanted in zip(
        (smoothed.location, smoothed.covariance, pairs), batch(True, U, np.ones(T)), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8)


class Turning(AbstractConditional):
    """State x, y, speed, heading."""

    def __call__(self, x, u=None, dt=1.0):
        ahead = jnp.stack([x[2] * jnp.cos(x[3]), x[2] * jnp.sin(x[3]), 0.0, 0.3])
        return DiagonalGaussian(x + dt * ahead, dt * jnp.asarray([0.05, 0.05, 0.02, 0.01]), (3,))


TURN_PRIOR = Gaussian(jnp.asarray([0.0, 0.0, 4.0, 2.5]), jnp.diag(jnp.asarray([1.0, 1.0, 0.5, 0.2])))


@pytest.fixture(scope="module")
def circle():
    """A drive in a circle whose heading passes π."""
    heading = 2.5 + 0.3 * np.arange(1, 13)
    path = np.cumsum(4 * np.stack([np.cos(heading), np.sin(heading)], 1), 0)
    return path + 0.3 * np.random.default_rng(7).normal(size=path.shape)


@pytest.mark.parametrize("filter", FILTERS[1:], ids=lambda f: type(f).__name__)
def test_equals_the_textbook_recursion_with_angles(filter, circle):
    """Särkkä 2013, algorithms 9.1 and 9.3, with inverses; the cross-covariance comes from its definition."""
    result = run(filter, Turning(), Position(jnp.asarray([0.1, 0.1]), 4), TURN_PRIOR, circle)
    smoothed = smooth(filter, Turning(), result)
    m, P = np.asarray(result.filtered.location[-1]), np.asarray(result.filtered.covariance[-1])
    for t in range(len(circle) - 2, -1, -1):
        before = jax.tree.map(lambda leaf, t=t: np.asarray(leaf[t]), result.filtered)
        after = jax.tree.map(lambda leaf, t=t: np.asarray(leaf[t + 1]), result.predicted)
        if isinstance(filter, UnscentedKalmanFilter):
            L = 2 * np.linalg.cholesky(before.covariance)
            X = np.concatenate([before.location + L.T, before.location - L.T])
            change = np.array([Turning()(x).vector() for x in X]) - np.asarray(
                Turning()(before.location).vector()
            )
            change[:, 3] = np.mod(change[:, 3] + np.pi, 2 * np.pi) - np.pi
            cross = (X - before.location).T @ change / 8
        else:
            cross = (
                before.covariance @ np.asarray(jax.jacfwd(lambda x: Turning()(x).vector())(before.location)).T
            )
        G = cross @ np.linalg.inv(after.covariance)
        step = m - after.location
        step[3] = np.mod(step[3] + np.pi, 2 * np.pi) - np.pi
        m, P = before.location + G @ step, before.covariance + G @ (P - after.covariance) @ G.T
        turns = (m - np.asarray(smoothed.location[t])) / [1, 1, 1, 2 * np.pi]
        np.testing.assert_allclose(turns[:3], 0, atol=1e-9)
        assert abs(turns[3] - round(turns[3])) < 1e-9
        np.testing.assert_allclose(smoothed.covariance[t], P, atol=1e-9)
    assert smoothed.circular == (3,)
    assert np.abs(smoothed.location[:, 3]).max() <= np.pi


@pytest.mark.parametrize("filter", FILTERS, ids=lambda f: type(f).__name__)
def test_padded_batch_equals_every_series_alone(filter):
    """Rows behind the end take no time and are not seen: there the belief stays the last one."""
    lengths = (3, 9, 6)
    series = [jnp.asarray(RNG.normal(size=(length, 2))) for length in lengths]
    y, seen = pad(series)
    dt = jnp.where(seen, 0.4, 0.0)
    motion, sensor = ConstantVelocity(0.7), Position(jnp.asarray([0.5, 0.2]), 4)
    prior = Gaussian(jnp.zeros(4), jnp.diag(jnp.asarray([2.0, 2.0, 1.0, 1.0])))

    def both(y, seen, dt):
        return smooth(filter, motion, run(filter, motion, sensor, prior, y, seen=seen, dt=dt), dt=dt)

    together = jax.vmap(both)(y, seen, dt)
    for i, values in enumerate(series):
        alone = both(values, jnp.ones(len(values), bool), jnp.full(len(values), 0.4))
        rows = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        for got, wanted in ((rows.location, alone.location), (rows.covariance, alone.covariance)):
            np.testing.assert_allclose(got[: len(values)], wanted, rtol=1e-9, atol=1e-10)
            np.testing.assert_allclose(
                got[len(values) :], np.broadcast_to(wanted[-1], got[len(values) :].shape), atol=1e-9
            )


@pytest.mark.parametrize("filter", FILTERS, ids=lambda f: type(f).__name__)
def test_singular_predictions_make_no_nan(filter):
    """Two components known exactly and never disturbed, and rows without duration: all stays finite."""
    prior = Gaussian(jnp.zeros(4), jnp.diag(jnp.asarray([1.0, 0.0, 1.0, 0.0])))
    dt = jnp.asarray([0.0, 0.0, 1.0, 0.0, 1.0])
    y = jnp.asarray(RNG.normal(size=(5, 2)))

    def both(density):
        motion, sensor = ConstantVelocity(density), Position(jnp.asarray([0.5, 0.2]), 4)
        return smooth(filter, motion, run(filter, motion, sensor, prior, y, dt=dt), dt=dt)

    smoothed = both(jnp.asarray([0.5, 0.0]))
    assert np.isfinite(smoothed.location).all()
    np.testing.assert_array_equal(smoothed.location[:, 1::2], 0.0)
    np.testing.assert_allclose(smoothed.location[0], smoothed.location[1], atol=1e-12)
    np.testing.assert_allclose(smoothed.covariance[0], smoothed.covariance[1], atol=1e-12)
    slope = jax.grad(lambda density: both(density).location.sum())(jnp.asarray([0.5, 0.0]))
    assert np.isfinite(slope[0])


def test_large_states_go_through_lapack():
    rng = np.random.default_rng(8)
    n = 10
    motion = LinearGaussian(jnp.asarray(0.3 * rng.normal(size=(n, n))), jnp.ones(n))
    sensor, y = Position(jnp.ones(3), n), rng.normal(size=(6, 3))
    result = run(KalmanFilter(), motion, sensor, Gaussian(jnp.zeros(n), jnp.eye(n)), y)
    smoothed = smooth(KalmanFilter(), motion, result)
    f, p = result.filtered, result.predicted
    G = f.covariance[4] @ motion.matrix.T @ np.linalg.inv(p.covariance[5])
    np.testing.assert_allclose(
        smoothed.location[4], f.location[4] + G @ (f.location[5] - p.location[5]), atol=1e-10
    )
    wanted = f.covariance[4] + G @ (f.covariance[5] - p.covariance[5]) @ G.T
    np.testing.assert_allclose(smoothed.covariance[4], wanted, atol=1e-10)


@pytest.mark.parametrize("filter", FILTERS, ids=lambda f: type(f).__name__)
def test_float32_stays_close_and_positive_definite_after_a_vague_start(filter):
    """The prior is a million times as wide as the noise, so the first rows hang on small differences."""
    rng = np.random.default_rng(9)
    y = np.cumsum(rng.normal(size=(60, 2)), 0)
    results = []
    for kind in (jnp.float64, jnp.float32):
        motion, sensor = (
            ConstantVelocity(jnp.asarray(0.01, kind)),
            Position(jnp.asarray([0.01, 0.01], kind), 4),
        )
        prior = Gaussian(jnp.zeros(4, kind), 1e4 * jnp.eye(4, dtype=kind))
        result = run(filter, motion, sensor, prior, jnp.asarray(y, kind), dt=0.1)
        results.append(smooth(filter, motion, result, dt=0.1))
    wanted, got = results
    assert got.location.dtype == got.covariance.dtype == jnp.float32
    assert np.linalg.eigvalsh(np.asarray(got.covariance, float)).min() > 0
    scale = np.sqrt(np.diagonal(wanted.covariance, axis1=1, axis2=2))
    assert (np.abs(got.location - wanted.location) / scale).max() < 0.05
    np.testing.assert_allclose(np.diagonal(got.covariance, axis1=1, axis2=2) / scale**2, 1, atol=0.02)


def test_gradient_equals_finite_differences():
    y = jnp.asarray(RNG.normal(size=(8, 2)))

    def total(density):
        motion, sensor = ConstantVelocity(density), Position(jnp.asarray([0.5, 0.2]), 4)
        prior = Gaussian(jnp.zeros(4), jnp.eye(4))
        smoothed = smooth(KalmanFilter(), motion, run(KalmanFilter(), motion, sensor, prior, y))
        return jnp.sum(smoothed.location**2) + jnp.sum(smoothed.covariance[0])

    numeric = (total(0.5 + 1e-6) - total(0.5 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(total)(0.5), numeric, rtol=1e-6)


def test_errors_name_what_was_expected():
    motion = ConstantVelocity(1.0)
    prior = Gaussian(jnp.zeros(4), jnp.eye(4))
    result = run(KalmanFilter(), motion, Position(jnp.ones(2), 4), prior, jnp.zeros((4, 2)))
    with pytest.raises(ShapeError, match=r"smooth: expected dt with 4 rows, got shape \(3,\)"):
        smooth(KalmanFilter(), motion, result, dt=jnp.ones(3))
    with pytest.raises(ValueError, match=r"expected a KalmanFilter.* got ParticleFilter"):
        smooth(ParticleFilter(10), motion, result)
