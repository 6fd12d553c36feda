"""Categorical beliefs against SciPy's entropy and against frequencies."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy

from foresee.beliefs import Categorical, expected
from foresee.errors import ShapeError

KEY = jax.random.key(0)
P = np.array([0.1, 0.2, 0.7])
Q = np.array([0.3, 0.3, 0.4])


def _belief(weights, values=None):
    return Categorical(jnp.log(jnp.asarray(weights)), values)


def test_weights_are_normalised_and_indexed():
    belief = _belief(5 * P)
    assert_allclose(belief.probabilities(), P)
    assert_allclose([belief.log_prob(i) for i in range(3)], np.log(P))
    assert_allclose(jax.vmap(belief.log_prob)(jnp.array([2, 0])), np.log(P[[2, 0]]))
    assert belief.log_prob(3) == belief.log_prob(-1) == -np.inf
    assert belief.mode() == 2
    assert_allclose(belief.mean(), P @ np.arange(3))
    assert Categorical(jnp.array([0, 0])).log_weights.dtype == jnp.float64


def test_entropy_and_divergence_equal_scipys():
    p, q = _belief(P), _belief(Q)
    assert_allclose(p.entropy(), entropy(P))
    assert_allclose(p.kl_divergence(q), entropy(P, Q))
    assert_allclose(p.kl_divergence(p), 0.0, atol=1e-15)


def test_impossible_alternatives():
    sure, q = _belief([0.0, 1.0, 0.0]), _belief(Q)
    assert sure.entropy() == 0.0
    assert_allclose(sure.kl_divergence(q), -np.log(0.3))
    assert q.kl_divergence(sure) == np.inf
    assert sure.sample(key=KEY) == 1
    for cost in (lambda b: b.entropy(), lambda b: b.kl_divergence(q)):
        gradient = jax.grad(lambda log, cost=cost: cost(Categorical(log)))(jnp.array([0.0, 1.0, -jnp.inf]))
        assert np.isfinite(gradient).all()


def test_values_stand_for_the_alternatives():
    values = {"speed": jnp.array([0.0, 10.0, 20.0]), "place": jnp.arange(6.0).reshape(3, 2)}
    belief = _belief(P, values)
    assert_allclose(belief.mean()["speed"], P @ np.array([0.0, 10.0, 20.0]))
    assert_allclose(belief.mean()["place"], P @ np.arange(6.0).reshape(3, 2))
    assert belief.sample(key=KEY)["place"].shape == (2,)
    assert_allclose(expected(belief.weighted(), lambda v: v["speed"] ** 2, 4000, key=KEY), 300, rtol=0.1)


def test_draws_have_the_right_frequencies():
    n, belief = 20_000, _belief(P)
    draws = np.asarray(jax.vmap(lambda key: belief.sample(key=key))(jax.random.split(KEY, n)))
    share = np.bincount(draws, minlength=3) / n
    assert np.all(np.abs(share - P) < 5 * np.sqrt(P * (1 - P) / n))
    points = belief.points(10, key=KEY)
    assert_array_equal(np.bincount(points.values, minlength=3), [1, 2, 7])
    assert_array_equal(points.log_weights, np.zeros(10))


def test_batch_equals_loop():
    logs = jnp.log(jnp.asarray(np.stack([P, Q])))
    batch = jax.jit(jax.vmap(lambda log: Categorical(log).entropy()))(logs)
    assert_allclose(batch, [entropy(P), entropy(Q)])


BAD = [
    (lambda: Categorical(jnp.zeros((2, 2))), r"shape \(k,\), got \(2, 2\)"),
    (lambda: Categorical(jnp.zeros(0)), r"got \(0,\)"),
    (lambda: Categorical(jnp.zeros(3), jnp.zeros(2)), r"leading axis of 3, got \(2,\)"),
    (lambda: _belief(P).kl_divergence(_belief([0.5, 0.5])), "expected 3 alternatives, got 2"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_errors_name_what_was_expected_and_what_came(monkeypatch, make, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ShapeError, match=message):
        make()
