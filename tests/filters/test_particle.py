"""Particles: against the Kalman filter on linear problems, plain sums in NumPy, and exact rules for masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from foresee.beliefs import DiagonalGaussian, Gaussian, Points
from foresee.beliefs.belief import AbstractConditional
from foresee.beliefs.mixture import Mixture
from foresee.dynamics import ConstantVelocity, LinearGaussian, Position
from foresee.errors import ForeseeError
from foresee.filters import KalmanFilter, ParticleFilter, run
from foresee.filters.particle import log_likelihood, moved, standard_normals, words

MOTION = ConstantVelocity(1.0, dimensions=1)
SENSOR = Position(jnp.array([1.0]), 2)
PRIOR = Gaussian(np.zeros(2), np.diag([4.0, 1.0]))
YS = jnp.asarray(np.cumsum(np.random.default_rng(0).normal(size=(12, 1)), axis=0))


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


@pytest.mark.parametrize("settings", [{}, {"threshold": 1.0}, {"trust": 0.7}])
def test_evidence_is_unbiased_and_the_mean_is_right(settings):
    filter, seeds = ParticleFilter(400, **settings), 100
    seen = jnp.ones((12,), bool).at[4].set(False)
    exact = run(KalmanFilter(), MOTION, SENSOR, PRIOR, YS, seen=seen)

    def one(key):
        result = run(filter, MOTION, SENSOR, PRIOR, YS, seen=seen, key=key)
        return result.log_evidence, jax.vmap(lambda points: points.mean())(result.filtered)

    evidence, means = jax.jit(jax.vmap(one))(keys(seeds))
    ratio = np.exp(np.asarray(evidence) - float(exact.log_evidence))
    assert abs(ratio.mean() - 1) < 3 * ratio.std() / np.sqrt(seeds)
    assert ratio.std() < 1
    # Squared errors in units of standard errors, averaged over 12 rows of 2 numbers; their expectation is 1.
    error = (np.asarray(means).mean(axis=0) - exact.filtered.location) / (
        np.asarray(means).std(axis=0) / np.sqrt(seeds)
    )
    assert (error**2).mean() < 3


def test_one_step_is_a_plain_sum():
    filter, key = ParticleFilter(50, threshold=0.0), jax.random.key(3)
    belief = filter.begin(PRIOR, key=key)
    weighted, evidence = filter.update(belief, SENSOR, YS[0])
    density = stats.norm.pdf(np.asarray(YS[0, 0]), np.asarray(belief.values)[:, 0], 1.0)
    np.testing.assert_allclose(evidence, np.log(density.mean()), rtol=1e-10)
    np.testing.assert_allclose(np.exp(weighted.log_weights), density / density.sum(), rtol=1e-9)
    again, second = filter.update(weighted, SENSOR, YS[1])
    later = stats.norm.pdf(np.asarray(YS[1, 0]), np.asarray(belief.values)[:, 0], 1.0)
    np.testing.assert_allclose(second, np.log((density * later).sum() / density.sum()), rtol=1e-9)
    unnormalised = Points(weighted.values, weighted.log_weights + 5.0)
    np.testing.assert_allclose(filter.update(unnormalised, SENSOR, YS[1])[1], second, rtol=1e-9)
    assert again.log_weights.shape == (50,)


def test_particles_are_drawn_again_only_when_few_carry_the_weight():
    values = jnp.arange(10.0)[:, None]
    even, uneven = Points(values), Points(values, jnp.full(10, -40.0).at[3].set(0.0))
    filter = ParticleFilter(10)
    np.testing.assert_array_equal(filter.renewed(even, key=jax.random.key(0)).values, values)
    drawn = filter.renewed(uneven, key=jax.random.key(0))
    np.testing.assert_array_equal(drawn.values, jnp.full((10, 1), 3.0))
    np.testing.assert_allclose(drawn.log_weights, np.log(0.1) * np.ones(10), rtol=1e-12)


def test_gradients_agree_with_the_exact_ones():
    """The gradient of the log evidence, averaged over seeds, points where the Kalman filter's does."""

    def exact(log_noise):
        return run(KalmanFilter(), MOTION, Position(jnp.exp(log_noise)[None], 2), PRIOR, YS).log_evidence

    def estimate(log_noise, key, trust):
        filter = ParticleFilter(200, threshold=0.9, trust=trust)
        return run(filter, MOTION, Position(jnp.exp(log_noise)[None], 2), PRIOR, YS, key=key).log_evidence

    seeds = keys(40, 1)
    for trust in (1.0, 0.5):
        gradients = jax.jit(
            jax.vmap(jax.grad(lambda value, key, t=trust: estimate(value, key, t)), (None, 0))
        )
        for log_noise in (-1.5, 2.5):
            slope, slopes = jax.grad(exact)(log_noise), np.asarray(gradients(log_noise, seeds))
            assert np.isfinite(slopes).all()
            assert np.sign(slopes.mean()) == np.sign(slope)
            # The log of an unbiased estimate has a slope biased by order 1/n, for which a tenth is left.
            assert abs(slopes.mean() - slope) < 3 * slopes.std() / np.sqrt(40) + 0.1 * abs(slope)


@pytest.mark.parametrize("full", [False, True])
def test_unseen_components_are_marginalised(full):
    covariance = np.array([[2.0, 0.7, 0.3], [0.7, 1.5, 0.1], [0.3, 0.1, 1.0]])
    outcome = (
        Gaussian(jnp.arange(3.0), covariance)
        if full
        else DiagonalGaussian(jnp.arange(3.0), np.diag(covariance))
    )
    used = covariance if full else np.diag(np.diag(covariance))
    y = np.array([0.3, np.nan, 1.0])
    got = log_likelihood(outcome, jnp.asarray(y), jnp.array([True, False, True]))
    index = np.ix_([0, 2], [0, 2])
    expected = stats.multivariate_normal.logpdf(y[[0, 2]], np.array([0.0, 2.0]), used[index])  # pyright: ignore
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    assert log_likelihood(outcome, jnp.asarray(y), jnp.zeros(3, bool)) == 0
    np.testing.assert_allclose(
        log_likelihood(outcome, jnp.ones(3), jnp.array(True)), outcome.log_prob(jnp.ones(3)), rtol=1e-12
    )


class Either(AbstractConditional):
    """y is x plus noise around −1 or +1: not Gaussian."""

    def __call__(self, x, u=None, dt=1.0):
        modes = jax.vmap(lambda shift: Gaussian(x + shift, 0.1 * jnp.eye(1)))(jnp.array([-1.0, 1.0]))
        return Mixture(modes)


def test_any_motion_and_any_sensor():
    filter, prior = ParticleFilter(2000), Gaussian(np.zeros(1), np.eye(1))
    seen = jnp.array([True, False, True])
    ys = jnp.array([[0.5], [jnp.nan], [1.5]])
    result = run(filter, Either(), Either(), prior, ys, seen=seen, key=jax.random.key(0))
    assert result.log_evidences[1] == 0
    # Closed form of the first row: x is a mixture around −1 and 1, y a mixture around −2, 0, 0 and 2.
    shifts = np.array([-2.0, 0.0, 0.0, 2.0])
    first = np.log(stats.norm.pdf(0.5, shifts, np.sqrt(1.2)).mean())
    assert abs(result.log_evidences[0] - first) < 0.15
    with pytest.raises(ForeseeError, match="one flag per row for a Mixture"):
        filter.update(result.last, Either(), ys[0], jnp.array([True]))


def test_moves_have_the_moments_of_the_motion():
    n = 20_000
    for covariance in (np.array([[2.0, 0.9], [0.9, 1.0]]), np.array([2.0, 1.0])):
        motion = LinearGaussian(np.array([[1.0, 2.0], [0.0, 1.0]]), covariance)
        values = moved(motion, jnp.ones((n, 2)), key=jax.random.key(1))
        spread = covariance if covariance.ndim == 2 else np.diag(covariance)
        np.testing.assert_allclose(values.mean(axis=0), [3.0, 1.0], atol=4 * np.sqrt(2 / n))
        np.testing.assert_allclose(np.cov(values.T), spread, atol=4 * 2 * np.sqrt(2 / n))
    turned = moved(
        LinearGaussian(np.eye(1), np.eye(1), circular=(0,)), jnp.full((100, 1), 3.1), key=jax.random.key(1)
    )
    assert (jnp.abs(turned) <= jnp.pi).all()


def test_normal_numbers():
    np.testing.assert_array_equal(
        words(jax.random.key(3), 1000),
        threefry_2x32(jax.random.key_data(jax.random.key(3)), jnp.arange(1000, dtype=jnp.uint32)),
    )
    for key in (jax.random.key(5), jax.random.key(5, impl="rbg"), jax.random.PRNGKey(5)):
        numbers = np.asarray(standard_normals(key, (20_001, 2), float))
        assert numbers.shape == (20_001, 2)
        assert stats.kstest(numbers.ravel(), "norm").pvalue > 1e-3
        assert abs(np.corrcoef(numbers.T)[0, 1]) < 4 / np.sqrt(20_001)
        assert abs(np.corrcoef(numbers[1:, 0], numbers[:-1, 0])[0, 1]) < 4 / np.sqrt(20_000)


def test_same_key_same_result_under_jit_vmap_and_continuation():
    filter, two = ParticleFilter(64), keys(2)
    plain = [run(filter, MOTION, SENSOR, PRIOR, YS, key=key) for key in two]
    again = run(filter, MOTION, SENSOR, PRIOR, YS, key=two[0])
    np.testing.assert_array_equal(plain[0].filtered.values, again.filtered.values)
    batch = jax.vmap(lambda key: run(filter, MOTION, SENSOR, PRIOR, YS, key=key).log_evidences)(two)
    for one, many in zip(plain, batch, strict=True):
        np.testing.assert_allclose(many, one.log_evidences, rtol=1e-9)
    with jax.disable_jit():
        eager = run(filter, MOTION, SENSOR, PRIOR, YS[:1], key=two[0])
    np.testing.assert_allclose(eager.log_evidences, plain[0].log_evidences[:1], rtol=1e-9)
    first = run(filter, MOTION, SENSOR, PRIOR, YS[:5], key=two[0])
    rest = run(filter, MOTION, SENSOR, PRIOR, YS[5:], key=two[0], after=first)
    np.testing.assert_array_equal(rest.last.values, plain[0].last.values)


def test_a_long_float32_run_stays_finite():
    to32 = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)  # noqa: E731
    ys = to32(jnp.tile(YS, (20, 1)) * 5)
    result = run(ParticleFilter(100), to32(MOTION), to32(SENSOR), to32(PRIOR), ys, key=jax.random.key(0))
    assert result.last.values.dtype == jnp.float32
    assert np.isfinite(result.log_evidences).all()
    assert np.isfinite(result.filtered.values).all()


def test_errors_name_what_was_expected():
    with pytest.raises(ForeseeError, match="n ≥ 1"):
        ParticleFilter(0)
    with pytest.raises(ForeseeError, match="threshold between 0 and 1"):
        ParticleFilter(10, threshold=2.0)
    with pytest.raises(ForeseeError, match="expected a key"):
        run(ParticleFilter(10), MOTION, SENSOR, PRIOR, YS)
