"""Gaussians against SciPy, closed forms against sampling."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from foresee.beliefs import DiagonalGaussian, Gaussian, Points, expected
from foresee.errors import CovarianceError, ShapeError

KEY = jax.random.key(0)
multivariate_normal: Any = stats.multivariate_normal  # its stubs know scalars only


def _spd(n, seed=0):
    root = np.random.default_rng(seed).normal(size=(n, n))
    return root @ root.T + 0.3 * np.eye(n)


def _pair(n=3):
    random = np.random.default_rng(5)
    return Gaussian(random.normal(size=n), _spd(n)), Gaussian(random.normal(size=n), _spd(n, 1))


@pytest.mark.parametrize("n", [1, 3, 8, 11])
def test_log_prob_and_entropy_equal_scipys(n):
    random = np.random.default_rng(n)
    mean, covariance, x = random.normal(size=n), _spd(n), random.normal(size=n)
    belief, twin = Gaussian(mean, covariance), multivariate_normal(mean, covariance)
    assert_allclose(belief.log_prob(jnp.asarray(x)), twin.logpdf(x), rtol=1e-10)
    assert_allclose(belief.entropy(), twin.entropy(), rtol=1e-10)
    assert_allclose(belief.standard_deviation(), np.sqrt(np.diag(covariance)))
    assert_allclose(
        belief.mahalanobis(jnp.asarray(x)), (x - mean) @ np.linalg.solve(covariance, x - mean), rtol=1e-8
    )


def test_diagonal_equals_full():
    location, variance = jnp.array([1.0, 2.0, 3.1]), jnp.array([0.1, 2.0, 0.4])
    other = DiagonalGaussian(jnp.array([0.5, 2.5, -3.0]), jnp.array([0.3, 1.0, 0.6]), circular=(2,))
    belief = DiagonalGaussian(location, variance, circular=(2,))
    full = belief.full()
    x = jnp.array([0.3, 0.2, -3.0])
    assert full.circular == (2,)
    assert_allclose(belief.log_prob(x), full.log_prob(x), rtol=1e-12)
    assert_allclose(belief.mahalanobis(x), full.mahalanobis(x), rtol=1e-12)
    assert_allclose(belief.entropy(), full.entropy(), rtol=1e-12)
    assert_allclose(belief.standard_deviation(), full.standard_deviation())
    assert_allclose(belief.kl_divergence(other), full.kl_divergence(other.full()), rtol=1e-12)


def test_kl_divergence_equals_the_textbook_formula():
    p, q = _pair()
    a, b = np.asarray(p.covariance), np.asarray(q.covariance)
    shift = np.asarray(q.mean() - p.mean())
    log_ratio = np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1]
    twin = 0.5 * (np.trace(np.linalg.solve(b, a)) + shift @ np.linalg.solve(b, shift) - 3 + log_ratio)
    assert_allclose(p.kl_divergence(q), twin, rtol=1e-10)
    assert_allclose(p.kl_divergence(p), 0.0, atol=1e-12)


def test_closed_forms_agree_with_sampling():
    p, q = _pair()
    n = 20_000
    draws = jax.vmap(lambda key: p.sample(key=key))(jax.random.split(KEY, n))
    log_p, log_q = jax.vmap(p.log_prob)(draws), jax.vmap(q.log_prob)(draws)
    for closed, terms in ((p.entropy(), -log_p), (p.kl_divergence(q), log_p - log_q)):
        assert abs(closed - jnp.mean(terms)) < 5 * jnp.std(terms) / math.sqrt(n)


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_samples_have_the_moments_of_the_belief(kind):
    n = 20_000
    full = _pair()[0]
    diagonal = DiagonalGaussian(full.mean(), jnp.diagonal(full.covariance))
    belief = full if kind == "full" else diagonal
    covariance = np.asarray(full.covariance if kind == "full" else diagonal.full().covariance)
    draws = np.asarray(jax.vmap(lambda key: belief.sample(key=key))(jax.random.split(KEY, n)))
    deviation = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(draws.mean(0) - belief.mean()) < 5 * deviation / math.sqrt(n))
    # Var(sample covariance ij) = (P_ii P_jj + P_ij²) / n for a normal distribution.
    bound = 5 * np.sqrt((np.outer(deviation, deviation) ** 2 + covariance**2) / n)
    assert np.all(np.abs(np.cov(draws.T) - covariance) < bound)
    points = belief.points(1000, key=KEY)
    assert_allclose(points.mean(), belief.mean(), atol=1e-12)
    assert np.all(np.abs(points.covariance() - covariance) < bound * math.sqrt(n / 500))
    assert belief.points(7, key=KEY).log_weights.shape == (7,)


def test_any_pytree_is_a_location():
    location = {"a": jnp.array([1.0, 2.0]), "b": (jnp.array([[3.0], [4.0]]), jnp.array(5.0))}
    covariance = _spd(5)
    x = jax.tree.map(lambda leaf: leaf + 0.1, location)
    tree, flat = Gaussian(location, covariance), Gaussian(jnp.arange(1.0, 6.0), covariance)
    assert_allclose(tree.log_prob(x), flat.log_prob(jnp.arange(1.0, 6.0) + 0.1), rtol=1e-12)
    for belief in (tree, DiagonalGaussian(location, jax.tree.map(jnp.ones_like, location))):
        for value in (belief.mean(), belief.sample(key=KEY), belief.points(4, key=KEY).mean()):
            assert jax.tree.structure(value) == jax.tree.structure(location)
            assert jax.tree.map(jnp.shape, value) == jax.tree.map(jnp.shape, location)
    assert_allclose(DiagonalGaussian(location, 2.0).variances(), 2 * np.ones(5))
    assert_allclose(
        DiagonalGaussian(location, 2.0).log_prob(x),
        Gaussian(location, 2 * np.eye(5)).log_prob(x),
        rtol=1e-12,
    )


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_angles_are_compared_the_short_way_round(kind):
    location, x = jnp.array([0.0, 3.1]), jnp.array([0.0, -3.1])
    belief = DiagonalGaussian(location, 0.01, circular=(1,))
    belief = belief.full() if kind == "full" else belief
    apart = 2 * np.pi - 6.2
    assert_allclose(belief.residual(x), [0.0, apart], atol=1e-12)
    twin = multivariate_normal(np.zeros(2), 0.01 * np.eye(2)).logpdf([0.0, apart])
    assert_allclose(belief.log_prob(x), twin, rtol=1e-10)
    assert_allclose(belief.log_prob(x + jnp.array([0.0, 4 * np.pi])), twin, rtol=1e-8)
    other: Any = DiagonalGaussian(x, 0.01, circular=(1,))
    other = other.full() if kind == "full" else other
    assert_allclose(belief.kl_divergence(other), 0.5 * apart**2 / 0.01, rtol=1e-8)


def test_gradient_and_batch_of_log_prob():
    x = jnp.array([0.3, -0.2])
    factor = jnp.asarray(np.linalg.cholesky(_spd(2)))

    def log_prob(mean):
        return Gaussian(mean, factor @ factor.T).log_prob(x)

    mean = jnp.array([1.0, 2.0])
    assert_allclose(jax.grad(log_prob)(mean), np.linalg.solve(_spd(2), x - mean), rtol=1e-10)
    means = jnp.stack([mean, -mean, 2 * mean])
    batch = jax.jit(jax.vmap(log_prob))(means)
    assert_allclose(batch, [log_prob(one) for one in means], rtol=1e-12)


def test_expected_cost():
    belief = Gaussian(jnp.array([1.0, -1.0]), _spd(2))
    assert_allclose(expected(belief, lambda x: 2 * x[0] + 1, 64, key=KEY), 3.0, rtol=1e-12)
    n = 20_000
    squared = expected(belief, lambda x: jnp.sum((x - belief.mean()) ** 2), n, key=KEY)
    # Antithetic pairs give n/2 independent values of a sum of squares, whose variance is 2 tr(P²).
    bound = 5 * math.sqrt(2 * np.trace(_spd(2) @ _spd(2)) / (n / 2))
    assert abs(squared - np.trace(_spd(2))) < bound


def test_integers_are_taken_as_floats():
    belief = Gaussian(jnp.array([1, 2]), jnp.eye(2, dtype=int))
    assert belief.mean().dtype == belief.covariance.dtype == jnp.float64
    assert belief.sample(key=KEY).dtype == jnp.float64


def test_points_are_a_weighted_empirical_belief():
    values = {"x": jnp.array([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]]), "y": jnp.array([1.0, 2.0, 3.0])}
    weights = np.array([0.2, 0.3, 0.5])
    points = Points(values, jnp.log(jnp.asarray(weights)) + 7.0)
    assert_allclose(points.weights(), weights)
    assert_allclose(points.mean()["x"], weights @ np.asarray(values["x"]))
    assert_allclose(points.expect(lambda v: v["y"] ** 2), weights @ np.array([1.0, 4.0, 9.0]))
    assert_allclose(points.push(lambda v: 2 * v["y"]).mean(), 2 * weights @ np.array([1.0, 2.0, 3.0]))
    flat = np.concatenate([values["x"], values["y"][:, None]], axis=1)
    assert_allclose(points.covariance(), np.cov(flat.T, aweights=weights, ddof=0), rtol=1e-12)
    assert_allclose(points.effective_size(), 1 / np.sum(weights**2))
    n = 20_000
    drawn = np.asarray(points.points(n, key=KEY).values["y"])
    share = np.array([(drawn == value).mean() for value in (1.0, 2.0, 3.0)])
    assert np.all(np.abs(share - weights) < 5 * np.sqrt(weights * (1 - weights) / n))
    assert points.sample(key=KEY)["y"] in values["y"]


BAD = [
    (
        lambda: Gaussian(jnp.zeros(2), jnp.eye(3)),
        ShapeError,
        r"expected a covariance of shape \(2, 2\).*\(3, 3\)",
    ),
    (lambda: Gaussian(jnp.zeros(2), jnp.zeros((2, 3))), ShapeError, r"got \(2, 3\)"),
    (lambda: Gaussian(jnp.zeros(2), jnp.eye(2), circular=(2,)), ShapeError, r"within 0\.\.1, got \(2,\)"),
    (lambda: Gaussian(jnp.zeros(2), -jnp.eye(2)), CovarianceError, "eigenvalue -1"),
    (lambda: Gaussian(jnp.zeros(2), jnp.array([[1.0, 0.5], [0.0, 1.0]])), CovarianceError, "symmetric"),
    (lambda: Gaussian(jnp.zeros(2), jnp.full((2, 2), jnp.nan)), CovarianceError, "finite"),
    (lambda: DiagonalGaussian(jnp.zeros(2), jnp.ones(3)), ShapeError, r"\(2,\), got \(3,\)"),
    (lambda: DiagonalGaussian(jnp.zeros(2), jnp.array([1.0, -1.0])), CovarianceError, "variances ≥ 0"),
    (
        lambda: Points(jnp.zeros((3, 2)), jnp.zeros(2)),
        ShapeError,
        r"expected 3 log weights, got shape \(2,\)",
    ),
    (lambda: Points((jnp.zeros(3), jnp.zeros(2))), ShapeError, "one common leading axis"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_errors_name_what_was_expected_and_what_came(monkeypatch, make, error, message):
    # In use the shape annotations are not checked; what the user then meets is our own error.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        make()


def test_a_singular_covariance_is_allowed_and_sampled():
    belief = Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, 0.0])))
    draw = belief.sample(key=KEY)
    assert draw[1] == 0.0
    assert np.isfinite(draw).all()
