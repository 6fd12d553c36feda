"""Mixtures against sums written out in NumPy, quadrature and sampling."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from foresee.beliefs import Categorical, DiagonalGaussian, Gaussian, Mixture
from foresee.beliefs.mixture import (
    bhattacharyya,
    kl_by_sampling,
    match_moments,
    prune,
    reduce,
    stack,
)
from foresee.errors import ForeseeError, OptionError, ShapeError

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(2)
K, N = 3, 2
MEANS = RANDOM.normal(size=(K, N)) * 2
ROOTS = RANDOM.normal(size=(K, N, N))
COVARIANCES = ROOTS @ ROOTS.transpose(0, 2, 1) + 0.2 * np.eye(N)
WEIGHTS = np.array([0.2, 0.5, 0.3])


def _mixture():
    return Mixture(jax.vmap(Gaussian)(jnp.asarray(MEANS), jnp.asarray(COVARIANCES)), jnp.log(WEIGHTS) + 1.5)


def _pdf(x, mean, deviation):
    return math.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def _line(means, deviations, weights):
    """A mixture of normal distributions on the line."""
    components = [
        Gaussian(jnp.array([m]), jnp.array([[s**2]])) for m, s in zip(means, deviations, strict=True)
    ]
    return Mixture(stack(components), jnp.log(jnp.asarray(weights)))


def test_density_and_responsibilities_are_the_written_out_sum():
    mixture, x = _mixture(), np.array([0.3, -0.7])
    terms = WEIGHTS * [multivariate_normal(m, p).pdf(x) for m, p in zip(MEANS, COVARIANCES, strict=True)]
    assert_allclose(mixture.log_prob(jnp.asarray(x)), math.log(terms.sum()), rtol=1e-10)
    assert_allclose(mixture.responsibilities(jnp.asarray(x)), terms / terms.sum(), rtol=1e-10)
    assert_allclose(mixture.weights(), WEIGHTS)
    assert_allclose(mixture.heaviest().mean(), MEANS[1])


def test_moments_are_those_of_the_mixture():
    mixture = _mixture()
    mean = WEIGHTS @ MEANS
    apart = MEANS - mean
    covariance = np.einsum("k,kij->ij", WEIGHTS, COVARIANCES + apart[:, :, None] * apart[:, None, :])
    moments = jax.jit(lambda m: m.moments())(mixture)
    assert_allclose(moments.mean(), mean, rtol=1e-12)
    assert_allclose(moments.covariance, covariance, rtol=1e-12)
    assert_allclose(mixture.mean(), mean, rtol=1e-12)


def test_draws_have_the_moments():
    mixture, n = _mixture(), 20_000
    moments = mixture.moments()
    draws = np.asarray(jax.vmap(lambda key: mixture.sample(key=key))(jax.random.split(KEY, n)))
    points = mixture.points(n, key=KEY)
    bound = 5 * np.asarray(moments.standard_deviation()) / math.sqrt(n)
    assert np.all(np.abs(draws.mean(0) - moments.mean()) < bound)
    assert np.all(np.abs(points.mean() - moments.mean()) < bound)
    for sampled in (draws, np.asarray(points.values)):
        centred = sampled - np.asarray(moments.mean())
        products = centred[:, :, None] * centred[:, None, :]
        assert np.all(np.abs(products.mean(0) - moments.covariance) < 5 * products.std(0) / math.sqrt(n))


def test_angles_are_averaged_across_the_seam():
    locations = jnp.array([[0.0, 3.0], [1.0, -3.0], [2.0, 3.1]])
    covariances = jnp.tile(0.01 * jnp.eye(2), (3, 1, 1))
    components = jax.vmap(lambda m, p: Gaussian(m, p, (1,)))(locations, covariances)
    mixture = Mixture(components, jnp.log(WEIGHTS))
    unwrapped = np.array([3.0, 2 * np.pi - 3.0, 3.1])
    mean = WEIGHTS @ unwrapped
    moments = mixture.moments()
    assert_allclose(
        moments.mean(), [WEIGHTS @ [0.0, 1.0, 2.0], mean - 2 * np.pi * (mean >= np.pi)], rtol=1e-10
    )
    assert_allclose(moments.covariance[1, 1], 0.01 + WEIGHTS @ (unwrapped - mean) ** 2, rtol=1e-8)
    assert moments.circular == (1,)
    turned = Mixture(
        jax.vmap(lambda m, p: Gaussian(m, p, (1,)))(locations + 2.0, covariances), jnp.log(WEIGHTS)
    )
    assert_allclose(turned.moments().covariance, moments.covariance, atol=1e-12)
    assert_allclose(turned.moments().residual(moments.mean() + 2.0), 0.0, atol=1e-12)
    assert_allclose(
        mixture.log_prob(locations[0] + jnp.array([0.0, 2 * np.pi])), mixture.log_prob(locations[0])
    )


def test_pytrees_and_diagonal_components():
    locations = {"a": jnp.asarray(MEANS), "b": jnp.arange(3.0)}
    variances = {"a": jnp.ones((3, 2)), "b": jnp.full(3, 0.5)}
    mixture = Mixture(jax.vmap(DiagonalGaussian)(locations, variances), jnp.log(WEIGHTS))
    full = Mixture(jax.vmap(lambda one: one.full())(mixture.components), jnp.log(WEIGHTS))
    x = {"a": jnp.array([0.1, 0.2]), "b": jnp.array(0.3)}
    assert_allclose(mixture.log_prob(x), full.log_prob(x), rtol=1e-12)
    assert_allclose(mixture.moments().covariance, full.moments().covariance, rtol=1e-12)
    assert_allclose(mixture.mean()["b"], WEIGHTS @ np.arange(3.0))
    for value in (mixture.mean(), mixture.sample(key=KEY), mixture.points(5, key=KEY).mean()):
        assert jax.tree.map(jnp.shape, value) == {"a": (2,), "b": ()}
    small: Any = reduce(mixture, 2).components
    assert jax.tree.map(jnp.shape, small.location) == {"a": (2, 2), "b": (2,)}


def test_components_of_another_kind():
    tables = jnp.log(jnp.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]))
    mixture = Mixture(jax.vmap(Categorical)(tables), jnp.log(jnp.array([0.4, 0.6])))
    blend = np.array([0.26, 0.32, 0.42])
    assert_allclose([mixture.log_prob(i) for i in range(3)], np.log(blend), rtol=1e-10)
    assert_allclose(mixture.mean(), blend @ np.arange(3), rtol=1e-10)
    with pytest.raises(ForeseeError, match="expected Gaussian components, got Categorical"):
        mixture.moments()


def test_gradient_batch_and_absent_components():
    mixture, x = _mixture(), jnp.array([0.3, -0.7])
    step = 1e-6

    def log_prob(shift):
        components = jax.vmap(Gaussian)(jnp.asarray(MEANS) + shift, jnp.asarray(COVARIANCES))
        return Mixture(components, jnp.log(WEIGHTS)).log_prob(x)

    difference = (log_prob(step) - log_prob(-step)) / (2 * step)
    assert_allclose(jax.grad(log_prob)(0.0), difference, rtol=1e-6)
    assert_allclose(jax.vmap(log_prob)(jnp.array([0.0, 1.0])), [log_prob(0.0), log_prob(1.0)], rtol=1e-12)
    alone = Mixture(mixture.components, jnp.array([-jnp.inf, 0.0, -jnp.inf]))
    assert_allclose(alone.log_prob(x), mixture.component(1).log_prob(x), rtol=1e-12)
    assert_allclose(alone.moments().covariance, COVARIANCES[1], rtol=1e-12)


@pytest.mark.parametrize("apart", [0.0, 0.5, 2.0, 20.0])
def test_entropy_lies_within_its_bounds(apart):
    means, deviations, weights = [0.0, apart, -2 * apart], [1.0, 0.7, 1.5], [0.5, 0.3, 0.2]

    def negative_p_log_p(x):
        p = sum(w * _pdf(x, m, s) for m, s, w in zip(means, deviations, weights, strict=True))
        return -p * math.log(p) if p > 0 else 0.0

    truth = sum(
        quad(negative_p_log_p, a, a + 1, epsabs=1e-10)[0]
        for a in range(-2 * int(apart) - 12, int(apart) + 12)
    )
    low, high = _line(means, deviations, weights).entropy_bounds()
    assert low <= truth + 1e-8
    assert truth <= high + 1e-8
    if apart == 20.0:
        assert_allclose([low, high], truth, atol=1e-6)


def test_bhattacharyya_distance_by_quadrature():
    one, other = (Gaussian(jnp.array([m]), jnp.array([[s**2]])) for m, s in ((0.0, 1.0), (1.5, 0.6)))
    overlap = quad(lambda x: math.sqrt(_pdf(x, 0, 1) * _pdf(x, 1.5, 0.6)), -10, 10)[0]
    assert_allclose(bhattacharyya(one, other), -math.log(overlap), rtol=1e-8)


def test_divergence_by_sampling():
    p, q = _mixture(), _mixture().moments()
    single = kl_by_sampling(q, Gaussian(jnp.zeros(2), jnp.eye(2)), 20_000, key=KEY)
    assert abs(single[0] - q.kl_divergence(Gaussian(jnp.zeros(2), jnp.eye(2)))) < 5 * single[1]
    estimate, error = kl_by_sampling(p, q, 5000, key=KEY)
    assert estimate > 5 * error > 0


def test_pruning_keeps_the_heaviest():
    weights = prune(_mixture(), 0.25).weights()
    assert_allclose(weights, [0.0, 0.625, 0.375])
    assert_allclose(prune(_mixture(), 2.0).weights(), [0.0, 1.0, 0.0])


def _merged_twin(weights, means, covariances, k):
    """Runnalls' reduction with lists."""
    parts = [list(part) for part in zip(weights, means, covariances, strict=True)]
    while len(parts) > k:
        best = (math.inf, 0, 0, [])
        for i in range(len(parts)):
            for j in range(i + 1, len(parts)):
                (a, m, p), (b, n, q) = parts[i], parts[j]
                mean = (a * m + b * n) / (a + b)
                spread = a * (p + np.outer(m - mean, m - mean)) + b * (q + np.outer(n - mean, n - mean))
                merged = spread / (a + b)
                det = [np.linalg.slogdet(c)[1] for c in (merged, p, q)]
                cost = 0.5 * ((a + b) * det[0] - a * det[1] - b * det[2])
                if cost < best[0]:
                    best = (cost, i, j, [a + b, mean, merged])
        _, i, j, new = best
        parts[i] = new
        del parts[j]
    return [np.array(column) for column in zip(*parts, strict=True)]


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_reduction_equals_runnalls_and_keeps_the_moments(k):
    random = np.random.default_rng(4)
    means, roots = random.normal(size=(6, 2)) * 3, random.normal(size=(6, 2, 2))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.2 * np.eye(2)
    weights = random.dirichlet(np.ones(6))
    mixture = Mixture(jax.vmap(Gaussian)(jnp.asarray(means), jnp.asarray(covariances)), jnp.log(weights))
    small = jax.jit(lambda m: reduce(m, k))(mixture)
    components: Any = small.components
    twin = _merged_twin(weights, means, covariances, k)
    assert_allclose(small.weights(), twin[0], rtol=1e-10)
    assert_allclose(components.location, twin[1], rtol=1e-8, atol=1e-10)
    assert_allclose(components.covariance, twin[2], rtol=1e-8, atol=1e-10)
    assert_allclose(small.moments().mean(), mixture.moments().mean(), rtol=1e-10)
    assert_allclose(small.moments().covariance, mixture.moments().covariance, rtol=1e-10)


def test_components_without_weight_are_merged_away_first():
    mixture = Mixture(_mixture().components, jnp.array([-jnp.inf, 0.0, -jnp.inf]))
    components: Any = reduce(mixture, 1).components
    assert_allclose(components.location, MEANS[1:2], rtol=1e-12)
    assert_allclose(components.covariance, COVARIANCES[1:2], rtol=1e-12)


def test_matched_moments_have_gradients():
    gradient = jax.grad(lambda w: match_moments(w, jnp.asarray(MEANS), jnp.asarray(COVARIANCES))[0][0])
    assert_allclose(gradient(jnp.asarray(WEIGHTS)), MEANS[:, 0], rtol=1e-12)


BAD = [
    (lambda: Mixture(_mixture().components, jnp.zeros(2)), ShapeError, r"shape \(3,\), got \(2,\)"),
    (
        lambda: Mixture(Gaussian(jnp.zeros(2), jnp.eye(2)).mean(), jnp.zeros(3)),
        ShapeError,
        r"\(2,\), got \(3,\)",
    ),
    (lambda: stack([]), ShapeError, "got none"),
    (
        lambda: stack([Gaussian(jnp.zeros(2), jnp.eye(2)), Gaussian(jnp.zeros(1), jnp.eye(1))]),
        ShapeError,
        "one kind and size, got 2",
    ),
    (lambda: reduce(_mixture(), 0), OptionError, "1 ≤ k ≤ 3, got 0"),
    (lambda: reduce(_mixture(), 4), OptionError, "1 ≤ k ≤ 3, got 4"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_errors_name_what_was_expected_and_what_came(monkeypatch, make, error, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        make()
