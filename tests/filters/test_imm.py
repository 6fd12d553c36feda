"""Several motions: against a textbook filter in NumPy, exact special cases, and simulated truth."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy import stats

from foresee.beliefs import Gaussian
from foresee.beliefs.mixture import Mixture
from foresee.dynamics import ConstantVelocity, LinearGaussian, Position
from foresee.errors import ForeseeError, ShapeError
from foresee.filters import ExtendedKalmanFilter, InteractingMultipleModel, KalmanFilter, run, smooth_modes
from foresee.filters.smoother import smooth
from foresee.filters.unscented import UnscentedKalmanFilter

TRANSITION = np.array([[0.95, 0.05], [0.1, 0.9]])
MOTIONS = (ConstantVelocity(0.01), ConstantVelocity(4.0))
SENSOR = Position([4.0, 4.0], 4)
PRIOR = Gaussian(np.zeros(4), np.diag([100.0, 100.0, 25.0, 25.0]))
FILTER = InteractingMultipleModel(KalmanFilter(), TRANSITION)


def series(rows, seed=0):
    return jnp.asarray(np.cumsum(np.random.default_rng(seed).normal(size=(rows, 2)) * 3, axis=0))


def density(y, mean, covariance):
    apart = y - mean
    scale = np.sqrt(np.linalg.det(2 * np.pi * covariance))
    return np.exp(-0.5 * apart @ np.linalg.solve(covariance, apart)) / scale


def textbook(ys, seen, motions, weights, transitions, x, P, R):
    """The filter of Blom and Bar-Shalom, mode by mode; `seen` has one flag per component."""
    modes = len(motions)
    xs, Ps, mu, total = [x] * modes, [P] * modes, np.asarray(weights), []
    history = []
    for row, y in enumerate(ys):
        pi = transitions[row]
        c = mu @ pi
        mixed = []
        for j in range(modes):
            w = pi[:, j] * mu / c[j]
            m = sum(w[i] * xs[i] for i in range(modes))
            mixed.append((m, sum(w[i] * (Ps[i] + np.outer(xs[i] - m, xs[i] - m)) for i in range(modes))))
        likelihoods = np.ones(modes)
        for j, ((m, C), (F, Q)) in enumerate(zip(mixed, motions, strict=True)):
            m, C = F @ m, F @ C @ F.T + Q
            H = np.eye(2, 4)[seen[row]]
            if len(H):
                S = H @ C @ H.T + R[np.ix_(seen[row], seen[row])]
                K = C @ H.T @ np.linalg.inv(S)
                likelihoods[j] = density(y[seen[row]], H @ m, S)
                m, C = m + K @ (y[seen[row]] - H @ m), C - K @ S @ K.T
            xs[j], Ps[j] = m, C
        mu = c * likelihoods
        total.append(np.log(mu.sum()))
        mu = mu / mu.sum()
        history.append((np.array(xs), np.array(Ps), mu.copy()))
    return [np.array(part) for part in zip(*history, strict=True)], np.array(total)


def matrices(dt=1.0):
    return [
        (np.asarray(m.matrix), np.asarray(m.covariance)) for m in (one.linear(None, dt) for one in MOTIONS)
    ]


@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_textbook(masked):
    ys = series(40)
    seen = np.random.default_rng(1).random((40, 2)) > (0.4 if masked else -1)
    got = run(FILTER, MOTIONS, SENSOR, PRIOR, jnp.where(seen, ys, jnp.nan), seen=seen if masked else None)
    (xs, Ps, mu), total = textbook(
        np.asarray(ys),
        seen,
        matrices(),
        [0.5, 0.5],
        [TRANSITION] * 40,
        np.zeros(4),
        PRIOR.covariance,
        4 * np.eye(2),
    )
    np.testing.assert_allclose(got.filtered.components.location, xs, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(got.filtered.components.covariance, Ps, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(np.exp(got.filtered.log_weights), mu, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(got.log_evidences, total, rtol=1e-9, atol=1e-10)
    if masked:
        assert (got.log_evidences[~seen.any(axis=1)] == 0).all()


def test_three_modes_with_rates_over_irregular_times_equal_the_textbook():
    rates = np.array([[0.0, 0.2, 0.1], [0.3, 0.0, 0.1], [0.05, 0.4, 0.0]])
    generator = rates - np.diag(rates.sum(axis=1))
    motions = (*MOTIONS, ConstantVelocity(0.5))
    filter = InteractingMultipleModel(KalmanFilter(), rates=rates)
    steps = np.array([0.5, 2.0, 1.0, 0.1, 3.0])
    ys, seen = series(5), np.ones((1, 2), bool)
    got = run(filter, motions, SENSOR, PRIOR, ys, dt=jnp.asarray(steps))
    state, total = [np.zeros(4)] * 3, []
    covariances, mu = [np.asarray(PRIOR.covariance)] * 3, np.full(3, 1 / 3)
    for y, dt in zip(np.asarray(ys), steps, strict=True):
        models = [
            (np.asarray(m.linear(None, dt).matrix), np.asarray(m.linear(None, dt).covariance))
            for m in motions
        ]
        c = mu @ scipy.linalg.expm(generator * dt)
        shares = scipy.linalg.expm(generator * dt) * mu[:, None] / c
        means = [sum(shares[i, j] * state[i] for i in range(3)) for j in range(3)]
        spreads = [
            sum(
                shares[i, j] * (covariances[i] + np.outer(state[i] - means[j], state[i] - means[j]))
                for i in range(3)
            )
            for j in range(3)
        ]
        likelihoods = np.zeros(3)
        for j, (F, Q) in enumerate(models):
            m, C, H = F @ means[j], F @ spreads[j] @ F.T + Q, np.eye(2, 4)
            S = H @ C @ H.T + 4 * np.eye(2)
            likelihoods[j] = density(y, H @ m, S)
            K = C @ H.T @ np.linalg.inv(S)
            state[j], covariances[j] = m + K @ (y - H @ m), C - K @ S @ K.T
        total.append(np.log(c @ likelihoods))
        mu = c * likelihoods / (c @ likelihoods)
    assert seen.all()
    np.testing.assert_allclose(got.log_evidences, total, rtol=1e-9)
    np.testing.assert_allclose(np.exp(got.last.log_weights), mu, rtol=1e-8)
    np.testing.assert_allclose(got.last.components.location, state, rtol=1e-8)


@pytest.mark.parametrize("rates", [[[0, 0.3], [0.7, 0]], [[0, 0.0], [0.7, 0]], [[0, 0.0], [0.0, 0]]])
def test_two_modes_switch_as_the_matrix_exponential_says(rates):
    generator = np.array(rates) - np.diag(np.sum(rates, axis=1))
    filter = InteractingMultipleModel(KalmanFilter(), rates=rates)
    np.testing.assert_allclose(filter.transition_over(0.4), scipy.linalg.expm(0.4 * generator), atol=1e-14)


@pytest.mark.parametrize("inner", [KalmanFilter(), ExtendedKalmanFilter(), UnscentedKalmanFilter()])
def test_equal_motions_are_one_filter_and_one_smoother(inner):
    ys, one = series(20), ConstantVelocity(0.5)
    filter = InteractingMultipleModel(inner, TRANSITION)
    several, single = run(filter, (one, one), SENSOR, PRIOR, ys), run(inner, one, SENSOR, PRIOR, ys)
    np.testing.assert_allclose(several.log_evidences, single.log_evidences, rtol=1e-10)
    both: Any = smooth_modes(filter, (one, one), several)
    alone = smooth(inner, one, single)
    for k in range(2):
        np.testing.assert_allclose(both.components.location[:, k], alone.location, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(both.components.covariance[:, k], alone.covariance, rtol=1e-8, atol=1e-8)


def test_one_mode_is_the_plain_filter_and_smoother():
    ys, dt = series(20), jnp.linspace(0.2, 2, 20)
    filter = InteractingMultipleModel(KalmanFilter(), [[1.0]])
    several = run(filter, MOTIONS[1:], SENSOR, PRIOR, ys, dt=dt)
    single = run(KalmanFilter(), MOTIONS[1], SENSOR, PRIOR, ys, dt=dt)
    np.testing.assert_allclose(several.log_evidences, single.log_evidences, rtol=1e-10)
    both: Any = smooth_modes(filter, MOTIONS[1:], several, dt=dt)
    alone = smooth(KalmanFilter(), MOTIONS[1], single, dt=dt)
    np.testing.assert_allclose(both.components.location[:, 0], alone.location, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(both.components.covariance[:, 0], alone.covariance, rtol=1e-8, atol=1e-8)


def test_modes_of_a_known_state_are_a_hidden_markov_model():
    """With the state known the modes, which differ in the sensor's noise, are a chain of two states."""
    still = LinearGaussian(np.eye(1), np.zeros((1, 1)))
    sensors = (LinearGaussian(np.eye(1), [0.25]), LinearGaussian(np.eye(1), [9.0]))
    ys = np.random.default_rng(3).normal(size=(12, 1)) * 2
    got = run(FILTER, (still, still), (sensors,), Gaussian(np.zeros(1), np.zeros((1, 1))), (ys,))
    smoothed = smooth_modes(FILTER, (still, still), got)
    likelihood = stats.norm.pdf(ys, 0, [0.5, 3.0])
    total = np.zeros((12, 2))
    for path in itertools.product(range(2), repeat=12):  # all 4,096 paths of the chain
        before = [0.5, 0.5] @ TRANSITION
        p = before[path[0]] * likelihood[0, path[0]]
        for t in range(1, 12):
            p *= TRANSITION[path[t - 1], path[t]] * likelihood[t, path[t]]
        total[np.arange(12), path] += p
    np.testing.assert_allclose(got.log_evidence, np.log(total[0].sum()), rtol=1e-10)
    np.testing.assert_allclose(
        np.exp(smoothed.log_weights), total / total.sum(axis=1, keepdims=True), rtol=1e-9
    )


def simulate(key, rows):
    first, mode, chain = jax.random.split(key, 3)
    models = [one.linear() for one in MOTIONS]
    steps = jnp.stack([one.matrix for one in models])
    noises = jnp.stack([jnp.linalg.cholesky(one.covariance) for one in models])

    def step(carry, sub):
        x, m = carry
        a, b, c = jax.random.split(sub, 3)
        m = jax.random.categorical(a, jnp.log(jnp.asarray(TRANSITION))[m])
        x = steps[m] @ x + noises[m] @ jax.random.normal(b, (4,))
        return (x, m), (x, m, x[:2] + 2 * jax.random.normal(c, (2,)))

    start = (PRIOR.sample(key=first), jax.random.bernoulli(mode, 0.5).astype(int))
    return jax.lax.scan(step, start, jax.random.split(chain, rows))[1]


def test_smoothing_is_sharper_than_filtering_and_as_sure_as_it_should_be():
    batch, rows = 100, 40
    states, modes, ys = jax.vmap(lambda key: simulate(key, rows))(jax.random.split(jax.random.key(0), batch))

    def score(belief, x, mode):
        merged = belief.moments()
        return (
            jnp.sum(merged.residual(x)[:2] ** 2),
            merged.mahalanobis(x),
            -belief.log_weights[mode],
            -belief.log_prob(x),
        )

    def one(y, x, mode):
        result = run(FILTER, MOTIONS, SENSOR, PRIOR, y)
        smoothed = smooth_modes(FILTER, MOTIONS, result)
        return jax.vmap(score)(result.filtered, x, mode), jax.vmap(score)(smoothed, x, mode)

    filtered, smoothed = jax.jit(jax.vmap(one))(ys, states, modes)
    assert np.sqrt(smoothed[0].mean()) < 0.7 * np.sqrt(filtered[0].mean())
    assert smoothed[2].mean() < 0.7 * filtered[2].mean()
    assert smoothed[3].mean() < filtered[3].mean() - 1
    for nees in (filtered[1], smoothed[1]):
        # The mean over series is nearly normal; 3 % are left for the approximation by one Gaussian per mode.
        series_means = np.asarray(nees).mean(axis=1)
        assert abs(series_means.mean() - 4) < 4 * series_means.std() / np.sqrt(batch) + 0.12


def test_angles_are_mixed_around_the_circle():
    turn = LinearGaussian(np.eye(1), [[0.01]], circular=(0,))
    near = jax.vmap(lambda x: Gaussian(x, jnp.eye(1) * 0.01, (0,)))(
        jnp.array([[np.pi - 0.1], [-np.pi + 0.1]])
    )
    moved: Any = FILTER.predict(Mixture(near), (turn, turn))
    assert (np.abs(moved.components.location) > np.pi - 0.1001).all()
    assert (moved.components.covariance < 0.04).all()


def test_jit_vmap_continuation_and_gradient():
    ys = jnp.stack([series(12), series(12, seed=5)])
    whole = run(FILTER, MOTIONS, SENSOR, PRIOR, ys[0])
    first = run(FILTER, MOTIONS, SENSOR, PRIOR, ys[0, :5])
    rest = run(FILTER, MOTIONS, SENSOR, PRIOR, ys[0, 5:], after=first)
    np.testing.assert_array_equal(rest.last.components.location, whole.last.components.location)
    np.testing.assert_array_equal(rest.last.log_weights, whole.last.log_weights)
    batch = jax.vmap(lambda y: run(FILTER, MOTIONS, SENSOR, PRIOR, y).log_evidences)(ys)
    np.testing.assert_allclose(batch[0], whole.log_evidences, rtol=1e-12)
    with jax.disable_jit():
        eager = run(FILTER, MOTIONS, SENSOR, PRIOR, ys[0, :3])
    np.testing.assert_allclose(eager.log_evidences, whole.log_evidences[:3], rtol=1e-12)

    def evidence(stay, density):
        filter = InteractingMultipleModel(KalmanFilter(), jnp.array([[stay, 1 - stay], [0.1, 0.9]]))
        return run(filter, (MOTIONS[0], ConstantVelocity(density)), SENSOR, PRIOR, ys[0]).log_evidence

    slopes = jax.grad(evidence, argnums=(0, 1))(0.9, 2.0)
    step = 1e-6
    np.testing.assert_allclose(
        slopes[0], (evidence(0.9 + step, 2.0) - evidence(0.9 - step, 2.0)) / 2 / step, rtol=1e-5
    )
    np.testing.assert_allclose(
        slopes[1], (evidence(0.9, 2.0 + step) - evidence(0.9, 2.0 - step)) / 2 / step, rtol=1e-5
    )


def test_an_impossible_mode_stays_finite_and_has_finite_gradients():
    filter = InteractingMultipleModel(KalmanFilter(), np.eye(2))
    prior = Mixture(filter.begin(PRIOR).components, jnp.array([0.0, -jnp.inf]))

    def result(density):
        return run(filter, (ConstantVelocity(density), MOTIONS[1]), SENSOR, prior, series(6))

    got = result(0.5)
    single = run(KalmanFilter(), ConstantVelocity(0.5), SENSOR, PRIOR, series(6))
    np.testing.assert_allclose(got.log_evidence, single.log_evidence, rtol=1e-12)
    smoothed: Any = smooth_modes(filter, (ConstantVelocity(0.5), MOTIONS[1]), got)
    assert np.isfinite(smoothed.components.location).all()
    assert np.isfinite(jax.grad(lambda density: result(density).log_evidence)(0.5))


def test_errors_name_what_was_expected():
    with pytest.raises(ForeseeError, match="either transition or rates"):
        InteractingMultipleModel(KalmanFilter())
    with pytest.raises(ForeseeError, match="sum to 1"):
        InteractingMultipleModel(KalmanFilter(), [[0.5, 0.1], [0.5, 0.5]])
    with pytest.raises(ForeseeError, match="≥ 0"):
        InteractingMultipleModel(KalmanFilter(), rates=[[0.0, -0.1], [0.5, 0.0]])
    with pytest.raises(ShapeError, match="square"):
        InteractingMultipleModel(KalmanFilter(), [[0.5, 0.5]])
    with pytest.raises(ShapeError, match="tuple of 2 for motion, got ConstantVelocity"):
        FILTER.predict(FILTER.begin(PRIOR), MOTIONS[0])
    with pytest.raises(ShapeError, match="2 components"):
        FILTER.begin(Mixture(jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), PRIOR)))
