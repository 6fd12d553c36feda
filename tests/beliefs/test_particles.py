"""Resampling: unbiased, as even as its scheme promises, never a point of weight zero."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from foresee.beliefs import Points
from foresee.beliefs.particles import (
    multinomial,
    resample,
    resample_if_poor,
    resample_softly,
    stratified,
    systematic,
)
from foresee.errors import OptionError

KEY = jax.random.key(0)
SCHEMES = [systematic, stratified, multinomial]


def _weights(k, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.3))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("k", "n"), [(5, 5), (7, 40), (40, 7)])
def test_expected_copies_are_n_times_the_weight(scheme, k, n):
    weights, repeats = _weights(k), 4000
    draw = jax.jit(jax.vmap(lambda key: scheme(jnp.log(weights) + 3.0, n, key=key)))
    ancestors = np.asarray(draw(jax.random.split(KEY, repeats)))
    assert ancestors.shape == (repeats, n)
    assert ancestors.min() >= 0
    assert ancestors.max() < k
    copies = np.stack([(ancestors == i).sum(1) for i in range(k)], axis=1)
    # A multinomial count has the largest variance of the three, n w (1 − w).
    bound = 5 * np.sqrt(n * weights * (1 - weights) / repeats) + 5 / repeats
    assert np.all(np.abs(copies.mean(0) - n * weights) < bound)
    if scheme is systematic:
        assert np.all(copies >= np.floor(n * weights - 1e-9))
        assert np.all(copies <= np.ceil(n * weights + 1e-9))
    if scheme is stratified:
        assert np.all(np.abs(copies - n * weights) < 2)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 1000])
def test_systematic_and_stratified_equal_a_search_in_the_running_sum(n):
    weights = _weights(n, seed=n)
    running = np.cumsum(weights)
    offset = float(jax.random.uniform(KEY, ()))
    twin = np.searchsorted(running, (np.arange(n) + offset) / n)
    assert_array_equal(systematic(jnp.log(weights), n, key=KEY), twin)
    offsets = np.asarray(jax.random.uniform(KEY, (n,)))
    twin = np.searchsorted(running, (np.arange(n) + offsets) / n)
    assert_array_equal(stratified(jnp.log(weights), n, key=KEY), twin)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_long_vectors(scheme):
    k = 20_000
    weights = _weights(k)
    copies = np.bincount(scheme(jnp.log(weights), k, key=KEY), minlength=k)
    assert copies.sum() == k
    assert np.all(np.abs(copies - k * weights) < 6 * np.sqrt(k * weights) + 2)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_points_of_weight_zero_are_never_drawn(scheme, dtype):
    random = np.random.default_rng(1)
    log_weights = np.where(random.uniform(size=(300, 257)) < 0.3, random.normal(size=(300, 257)), -np.inf)
    log_weights[:, 100] = 0.0
    log_weights[:, 200:] = -np.inf
    keys = jax.random.split(KEY, 300)
    ancestors = jax.jit(jax.vmap(lambda log, key: scheme(log, 257, key=key)))(
        jnp.asarray(log_weights, dtype), keys
    )
    assert np.isfinite(np.take_along_axis(log_weights, np.asarray(ancestors), axis=1)).all()
    assert np.all(scheme(jnp.asarray([-jnp.inf, -jnp.inf, -1000.0], dtype), 10, key=KEY) == 2)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_resampling_keeps_expectations(scheme):
    weights, n, repeats = _weights(50), 200, 1000
    values = {"x": jnp.linspace(-1, 1, 50), "tag": jnp.arange(50)}
    points = Points(values, jnp.log(weights))
    one = resample(points, n, scheme=scheme, key=KEY)
    assert one.values["x"].shape == (n,)
    assert_array_equal(one.values["x"], values["x"][one.values["tag"]])
    assert_array_equal(one.log_weights, np.zeros(n))
    means = jax.jit(jax.vmap(lambda key: jnp.mean(resample(points, n, scheme=scheme, key=key).values["x"])))(
        jax.random.split(KEY, repeats)
    )
    truth = float(weights @ np.linspace(-1, 1, 50))
    spread = math.sqrt(weights @ (np.linspace(-1, 1, 50) - truth) ** 2 / n / repeats)
    assert abs(float(jnp.mean(means)) - truth) < 5 * spread


@pytest.mark.parametrize("trust", [0.0, 0.3, 1.0])
def test_soft_resampling_keeps_expectations_in_the_long_run(trust):
    n, repeats = 30, 4000
    weights = 0.5 * _weights(n) + 0.5 / n
    points = Points(jnp.linspace(0, 1, n), jnp.log(weights))

    def sums(key):
        drawn = resample_softly(points, trust, key=key)
        importance = jnp.exp(drawn.log_weights) / n
        return jnp.sum(importance), jnp.sum(importance * drawn.values)

    totals, firsts = (np.asarray(v) for v in jax.jit(jax.vmap(sums))(jax.random.split(KEY, repeats)))
    for values, truth in ((totals, 1.0), (firsts, weights @ np.linspace(0, 1, n))):
        assert abs(values.mean() - truth) < 5 * values.std() / math.sqrt(repeats) + 1e-12
    if trust == 1.0:
        assert_allclose(totals, 1.0)


def test_soft_resampling_lets_gradients_through_to_the_weights():
    values, repeats = jnp.linspace(0, 1, 20), 2000

    def mean_after(slope, trust, key):
        drawn = resample_softly(Points(values, -slope * values), trust, key=key)
        return jnp.mean(jnp.exp(drawn.log_weights) * drawn.values)

    keys = jax.random.split(KEY, repeats)
    truth = jax.grad(lambda slope: Points(values, -slope * values).mean())(1.0)
    sampled = jax.jit(jax.vmap(jax.grad(mean_after), (None, None, 0)))
    for trust in (0.5, 1.0):
        gradients = np.asarray(sampled(1.0, jnp.asarray(trust), keys))
        assert abs(gradients.mean() - truth) < 5 * gradients.std() / math.sqrt(repeats)
    assert jax.grad(lambda slope: resample(Points(values, -slope * values), key=KEY).mean())(1.0) == 0.0


def test_gradient_of_soft_resampling_is_finite_with_impossible_points():
    values = jnp.linspace(0, 1, 20)
    log_weights = jnp.where(values < 0.5, 0.0, -jnp.inf)
    gradient = jax.grad(lambda s: resample_softly(Points(values, log_weights + s * values), key=KEY).mean())(
        0.0
    )
    assert np.isfinite(gradient)


def test_gradients_pass_to_the_values():
    log_weights = jnp.log(jnp.asarray(_weights(10)))
    gradient = jax.grad(
        lambda scale: resample(Points(scale * jnp.arange(10.0), log_weights), key=KEY).mean()
    )(1.0)
    assert_allclose(gradient, resample(Points(jnp.arange(10.0), log_weights), key=KEY).mean())


def test_resampling_only_where_the_effective_size_is_small():
    even = Points(jnp.arange(10.0), jnp.full(10, 5.0))
    poor = Points(jnp.arange(10.0), jnp.where(jnp.arange(10) == 3, 0.0, -20.0))
    assert_allclose(even.effective_size(), 10.0)
    assert_allclose(poor.effective_size(), 1.0, rtol=1e-6)
    kept, drawn = (jax.jit(lambda p: resample_if_poor(p, key=KEY))(points) for points in (even, poor))
    assert_array_equal(kept.values, even.values)
    assert_array_equal(kept.log_weights, even.log_weights)
    assert_array_equal(drawn.values, np.full(10, 3.0))
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), even, poor)
    both = jax.vmap(lambda points: resample_if_poor(points, key=KEY))(batch)
    assert_array_equal(both.values, jnp.stack([kept.values, drawn.values]))


@pytest.mark.parametrize("trust", [-0.1, 1.5])
def test_trust_outside_its_range_is_an_error(trust):
    with pytest.raises(OptionError, match=f"between 0 and 1, got {trust}"):
        resample_softly(Points(jnp.arange(3.0)), trust, key=KEY)
