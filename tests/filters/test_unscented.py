"""The unscented Kalman filter against sigma points with their textbook weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import AbstractConditional, DiagonalGaussian, Gaussian
from foresee.dynamics import ConstantVelocity, LinearGaussian
from foresee.filters import KalmanFilter, UnscentedKalmanFilter, run

SETTINGS = [(1.0, 2.0, 0.0), (1.0, 0.0, 0.0), (0.5, 2.0, 1.0), (1.0, 1.0, -1.0), (1e-2, 2.0, 0.0)]
N, T = 4, 12


class Turn(AbstractConditional):
    """State x, y, speed, heading; the noise of the speed grows with the speed."""

    def __call__(self, x, u=None, dt=1.0):
        turn = 0.0 if u is None else u[0]
        ahead = jnp.stack([x[2] * jnp.cos(x[3]), x[2] * jnp.sin(x[3]), 0.1 * jnp.sin(x[0]), turn])
        variances = jnp.stack([0.1, 0.1, 0.01 + 0.002 * x[2] ** 2, 0.01])
        return DiagonalGaussian(x + dt * ahead, dt * variances, (3,))


class Seen(AbstractConditional):
    """Distance, bearing and speed, with correlated noise that grows with the distance."""

    def __call__(self, x, u=None, dt=1.0):
        distance = jnp.hypot(x[0], x[1])
        y = jnp.stack([distance, jnp.arctan2(x[1], x[0]), x[2]])
        noise = jnp.asarray([[0.3, 0.01, 0.05], [0.01, 0.02, 0.0], [0.05, 0.0, 0.2]])
        return Gaussian(y, noise * (1 + 0.01 * distance), (1,))


def parts(result):
    return result.predicted, result.filtered, result.log_evidences, result.last


def wrap(angle):
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi


def textbook_transform(m, P, function, circular, alpha, beta, kappa):
    """Särkkä 2013, eqs. of algorithm 5.14, with angles measured from that of the central point."""
    n = len(m)
    lam = alpha**2 * (n + kappa) - n
    L = np.linalg.cholesky(P) * np.sqrt(n + lam)
    X = np.concatenate([m[None], m + L.T, m - L.T])
    w = np.full(2 * n + 1, 0.5 / (n + lam))
    wc = w.copy()
    w[0] = lam / (n + lam)
    wc[0] = w[0] + 1 - alpha**2 + beta
    outcomes = [function(x) for x in X]
    Y = np.array([np.asarray(o.vector()) for o in outcomes])
    full = [np.asarray(o.covariance) if isinstance(o, Gaussian) else np.diag(o.variances()) for o in outcomes]
    for c in circular:
        Y[:, c] = Y[0, c] + wrap(Y[:, c] - Y[0, c])
    mean = w @ Y
    D = Y - mean
    S = np.einsum("i,ia,ib->ab", wc, D, D) + np.einsum("i,iab->ab", w, np.array(full))
    return mean, S, np.einsum("i,ia,ib->ab", wc, X - m, D)


def textbook(y, seen, u, dt, settings):
    m, P, out = np.asarray(M0), np.asarray(P0), []
    for t in range(len(y)):
        m, P, _ = textbook_transform(m, P, lambda x, t=t: Turn()(x, u[t], dt), (3,), *settings)
        m[3] = wrap(m[3])
        mean, S, C = textbook_transform(m, P, Seen(), (1,), *settings)
        v = y[t] - mean
        v[1] = wrap(v[1])
        keep = seen[t]
        S, C, v = S[np.ix_(keep, keep)], C[:, keep], v[keep]
        K = C @ np.linalg.inv(S)
        m, P = m + K @ v, P - K @ S @ K.T
        m[3] = wrap(m[3])
        out.append(
            (m, P, -0.5 * (v.size * np.log(2 * np.pi) + np.linalg.slogdet(S)[1] + v @ np.linalg.solve(S, v)))
        )
    return [np.array(part) for part in zip(*out, strict=True)]


M0 = jnp.asarray([-20.0, 4.0, 5.0, 3.0])
P0 = jnp.diag(jnp.asarray([1.0, 1.0, 0.5, 0.1])) + 0.05
PRIOR = Gaussian(M0, P0)
RNG = np.random.default_rng(5)
Y = np.stack([25 + 2.5 * np.arange(T), wrap(3.0 + 0.03 * np.arange(T)), np.full(T, 5.0)], 1) + RNG.normal(
    size=(T, 3)
) * [0.5, 0.1, 0.4]
SEEN, U = RNG.random((T, 3)) > 0.3, 0.3 * RNG.normal(size=(T, 1))
SEEN[4], SEEN[0] = False, True


@pytest.mark.parametrize("settings", SETTINGS)
def test_equals_the_textbook_with_angles_inputs_masks_and_noise_that_depends_on_the_state(settings):
    result = run(UnscentedKalmanFilter(*settings), Turn(), Seen(), PRIOR, Y, seen=SEEN, inputs=U, dt=0.5)
    means, covariances, evidences = textbook(Y, SEEN, U, 0.5, settings)
    tolerance = 1e-9 if settings[0] > 0.1 else 1e-6
    np.testing.assert_allclose(wrap(result.filtered.location - means + 1) - 1, 0, atol=tolerance)
    np.testing.assert_allclose(result.filtered.covariance, covariances, atol=tolerance)
    np.testing.assert_allclose(result.log_evidences, evidences, atol=30 * tolerance)
    assert result.filtered.circular == (3,)


def test_is_the_kalman_filter_where_all_is_linear():
    motion = ConstantVelocity(0.3)
    sensor = LinearGaussian(
        jnp.asarray(RNG.normal(size=(3, 4))), jnp.diag(jnp.asarray([0.3, 0.5, 1.0])) + 0.1
    )
    wanted = run(KalmanFilter(), motion, sensor, PRIOR, Y, seen=SEEN, dt=0.4)
    for settings in ((1.0, 2.0, 0.0), (1.0, 0.0, 0.0), (0.7, 2.0, -1.0)):
        result = run(UnscentedKalmanFilter(*settings), motion, sensor, PRIOR, Y, seen=SEEN, dt=0.4)
        pairs = zip(jax.tree.leaves(parts(result)), jax.tree.leaves(parts(wanted)), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_moments_of_a_square_are_exact():
    """For x ~ N(m, s²) the square has mean m² + s² and variance 4 m² s² + 2 s⁴; the defaults hit both."""

    class Square(AbstractConditional):
        def __call__(self, x, u=None, dt=1.0):
            return DiagonalGaussian(x**2, jnp.zeros(1))

    seen = UnscentedKalmanFilter().predict(Gaussian(jnp.asarray([1.5]), jnp.asarray([[0.49]])), Square())
    np.testing.assert_allclose(seen.location, [1.5**2 + 0.49])
    np.testing.assert_allclose(seen.covariance, [[4 * 1.5**2 * 0.49 + 2 * 0.49**2]])


def test_nan_in_unseen_places_reaches_neither_values_nor_gradients():
    class Scaled(Seen):
        factor: jax.Array

        def __call__(self, x, u=None, dt=1.0):
            outcome = super().__call__(x, u, dt)
            return Gaussian(outcome.location, self.factor * outcome.covariance, (1,))

    def evidence(factor, y):
        filter = UnscentedKalmanFilter()
        return run(filter, Turn(), Scaled(factor), PRIOR, y, seen=SEEN, inputs=U, dt=0.5).log_evidence

    hidden, step = jnp.asarray(np.where(SEEN, Y, np.nan)), 1e-5
    value, slope = jax.value_and_grad(evidence)(jnp.asarray(1.2), hidden)
    numeric = (evidence(1.2 + step, jnp.asarray(Y)) - evidence(1.2 - step, jnp.asarray(Y))) / (2 * step)
    np.testing.assert_allclose(value, evidence(jnp.asarray(1.2), jnp.asarray(Y)), rtol=1e-14)
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)


def test_unseen_observation_changes_nothing():
    belief, evidence = UnscentedKalmanFilter().update(PRIOR, Seen(), jnp.full(3, jnp.nan), seen=False)
    np.testing.assert_array_equal(belief.location, PRIOR.location)
    np.testing.assert_allclose(belief.covariance, PRIOR.covariance, rtol=1e-14, atol=1e-15)
    assert evidence == 0.0


def test_a_component_known_exactly_stays_finite():
    prior = Gaussian(M0, jnp.diag(jnp.asarray([1.0, 1.0, 0.0, 0.1])))
    result = run(UnscentedKalmanFilter(), Turn(), Seen(), prior, Y, predict_first=False, inputs=U)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


def test_float32_stays_float32_and_positive_definite():
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (PRIOR, jnp.asarray(Y), jnp.asarray(U)))

    class Single(AbstractConditional):
        model: AbstractConditional

        def __call__(self, x, u=None, dt=1.0):
            assert x.dtype == jnp.float32
            return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), self.model(x, u, dt))

    filter = UnscentedKalmanFilter()
    result = run(filter, Single(Turn()), Single(Seen()), *single[:2], seen=SEEN, inputs=single[2], dt=0.5)
    double = run(filter, Turn(), Seen(), PRIOR, Y, seen=SEEN, inputs=U, dt=0.5)
    floats = [leaf for leaf in jax.tree.leaves(result) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype(jnp.float32)}
    assert np.linalg.eigvalsh(np.asarray(result.filtered.covariance, float)).min() > 0
    np.testing.assert_allclose(result.log_evidence, double.log_evidence, rtol=1e-4)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="expected alpha > 0, got 0"):
        UnscentedKalmanFilter(alpha=0.0)
    with pytest.raises(ValueError, match="expected kappa > -4 for 4 states, got -4"):
        UnscentedKalmanFilter(kappa=-4.0).predict(PRIOR, Turn())
