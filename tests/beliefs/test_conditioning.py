"""Conditioning against the textbook's batch formula, for every pattern of missing components."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from foresee.beliefs import Gaussian
from foresee.beliefs.conditioning import condition

N = 4


def _case(m, seed=0):
    random = np.random.default_rng(seed)
    root, noise_root = random.normal(size=(N, N)), random.normal(size=(m, m))
    return (
        random.normal(size=N),
        root @ root.T + 0.1 * np.eye(N),
        random.normal(size=(m, N)),
        noise_root @ noise_root.T + 0.1 * np.eye(m),
        random.normal(size=m),
    )


def _twin(mean, covariance, matrix, noise, innovation, seen):
    """Condition on the seen rows at once (Särkkä 2013, theorem 4.2)."""
    matrix, noise, innovation = matrix[seen], noise[np.ix_(seen, seen)], innovation[seen]
    if not seen.any():
        return mean, covariance, 0.0
    total = matrix @ covariance @ matrix.T + noise
    gain = covariance @ matrix.T @ np.linalg.inv(total)
    evidence = multivariate_normal(np.zeros(len(total)), total).logpdf(innovation)
    return mean + gain @ innovation, covariance - gain @ total @ gain.T, evidence


def _patterns(m):
    return [np.array(flags) for flags in itertools.product([False, True], repeat=m)]


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_every_pattern_of_missing_components_equals_the_batch_formula(m, correlated):
    mean, covariance, matrix, noise, innovation = _case(m)
    noise = noise if correlated else np.diag(np.diag(noise))
    belief = Gaussian(mean, covariance)
    given = jnp.asarray(noise if correlated else np.diag(noise))
    conditioned = jax.jit(lambda y, seen: condition(belief, jnp.asarray(matrix), given, y, seen))
    for seen in _patterns(m):
        expected = _twin(mean, covariance, matrix, noise, innovation, seen)
        # What stands in unseen places has no influence whatever it is.
        for filler in (0.0, 1e30, np.nan):
            after, evidence = conditioned(jnp.where(seen, innovation, filler), jnp.asarray(seen))
            assert_allclose(after.mean(), expected[0], atol=1e-10)
            assert_allclose(after.covariance, expected[1], atol=1e-10)
            assert_allclose(evidence, expected[2], atol=1e-10)
        if not seen.any():
            assert_array_equal(after.mean(), mean)
            assert_array_equal(after.covariance, covariance)
            assert evidence == 0.0


@pytest.mark.parametrize("correlated", [False, True])
def test_flags_of_every_kind_mean_the_same(correlated):
    mean, covariance, matrix, noise, innovation = _case(3)
    given = jnp.asarray(noise if correlated else np.diag(noise))
    arguments = (Gaussian(mean, covariance), jnp.asarray(matrix), given, jnp.asarray(innovation))
    full, evidence = condition(*arguments)
    for seen in (True, jnp.asarray(True), jnp.ones(3, bool)):
        other, same = condition(*arguments, seen)
        assert_allclose(other.covariance, full.covariance, atol=1e-12)
        assert_allclose(same, evidence, atol=1e-12)
    for seen in (False, jnp.asarray(False), jnp.zeros(3, bool)):
        other, none = condition(*arguments, seen)
        assert_array_equal(other.covariance, covariance)
        assert none == 0.0


@pytest.mark.parametrize("correlated", [False, True])
def test_gradient_is_finite_and_right_where_nan_is_unseen(correlated):
    mean, covariance, matrix, noise, innovation = _case(3)
    seen = np.array([True, False, True])
    noise = noise if correlated else np.diag(np.diag(noise))
    root = np.linalg.cholesky(covariance)

    def evidence(scale, y):
        given = jnp.asarray(noise if correlated else np.diag(noise)) * scale
        return condition(Gaussian(mean, root @ root.T), jnp.asarray(matrix), given, y, jnp.asarray(seen))[1]

    y = jnp.where(seen, innovation, jnp.nan)
    step = 1e-6
    twin = [_twin(mean, covariance, matrix, noise * s, innovation, seen)[2] for s in (1 + step, 1 - step)]
    gradient = jax.grad(evidence, (0, 1))
    to_scale, to_y = jax.jit(gradient)(1.0, y)
    assert_allclose(to_scale, (twin[0] - twin[1]) / (2 * step), rtol=1e-6)
    batched, _ = jax.jit(jax.vmap(gradient, (0, None)))(jnp.array([1.0, 2.0]), y)
    assert_allclose(batched[0], to_scale, rtol=1e-10)
    assert np.isfinite(to_y).all()
    assert to_y[1] == 0.0


def test_angles_of_the_state_stay_wrapped():
    belief = Gaussian(jnp.array([0.0, 3.1]), jnp.eye(2), circular=(1,))
    after, _ = condition(belief, jnp.array([[0.0, 1.0]]), jnp.array([1e-6]), jnp.array([0.2]))
    assert_allclose(after.mean()[1], 3.3 - 2 * np.pi, atol=1e-5)
    assert after.circular == (1,)


@pytest.mark.parametrize("noise", [1e-6, 1e-4, 1e-2])
def test_float32_stays_positive_definite_after_a_nearly_noiseless_look_at_a_vague_prior(noise):
    prior = 1e6 * np.kron([[1.0, 0.9], [0.9, 1.0]], np.eye(2))  # positions and velocities in m² and m²/s²
    belief = Gaussian(jnp.zeros(4, jnp.float32), jnp.asarray(prior, jnp.float32))
    look = jax.jit(
        lambda belief: condition(
            belief,
            jnp.eye(2, 4, dtype=jnp.float32),
            jnp.full(2, noise, jnp.float32),
            jnp.ones(2, jnp.float32),
        )
    )
    for count in range(1, 21):
        belief, evidence = look(belief)
        covariance = np.asarray(belief.covariance, np.float64)
        assert belief.covariance.dtype == jnp.float32
        assert np.isfinite(evidence)
        np.linalg.cholesky(covariance)  # raises unless positive definite
        assert_allclose(np.diag(covariance)[:2], noise / count, rtol=1e-2)
        assert_allclose(np.diag(covariance)[2:], 1e6 * (1 - 0.81), rtol=1e-2)


def test_float32_evidence_is_right_far_from_the_origin():
    mean, covariance, matrix, noise, innovation = _case(2)
    arrays = [jnp.asarray(value, jnp.float32) for value in (matrix, np.diag(noise), innovation)]
    near = Gaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32))
    far = Gaussian(near.mean() + jnp.float32(1e5), near.covariance)
    evidences = [condition(belief, *arrays)[1] for belief in (near, far)]
    assert_allclose(evidences[1], evidences[0], rtol=1e-6)
    twin = _twin(mean, covariance, matrix, np.diag(np.diag(noise)), innovation, np.ones(2, bool))
    assert_allclose(evidences[0], twin[2], rtol=1e-4)
