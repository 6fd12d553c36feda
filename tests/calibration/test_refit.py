"""Refitting the last layer: SciPy's minimum, and a penalty chosen on rows left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import log_softmax

import foresee.calibration as c

KEY = jax.random.key(0)


ROWS, NOISE = 120, 30


@pytest.fixture(scope="module")
def case():
    random = np.random.default_rng(3)
    scales = np.r_[1.0, 20.0, np.ones(NOISE)]
    features = random.normal(size=(ROWS, 2 + NOISE)) * scales + 5
    scores = ((features - 5) / scales)[:, :2] @ np.asarray([[2.0, 0, -2], [0, 2, -1]])
    labels = (scores + random.gumbel(size=(ROWS, 3))).argmax(1)
    table = jnp.asarray(features, jnp.float32)
    fitted = c.fit_last_layer(table, labels, 3, penalties=(1e-3, 10.0, 1e5), folds=3, key=KEY)
    return table, labels, fitted


def test_the_penalty_is_the_best_on_rows_left_out(case):
    table, _, fitted = case
    assert fitted.weight.dtype == table.dtype
    assert float(fitted.penalty) == 10.0
    assert fitted.losses[1] < min(fitted.losses[0], fitted.losses[2])
    np.testing.assert_allclose(fitted.losses[2], np.log(3), atol=0.1)


def test_it_is_the_minimum_that_scipy_finds(case):
    table, labels, fitted = case
    assert fitted.converged
    features = np.asarray(table, float)
    scaled = (features - features.mean(0)) / features.std(0)
    split = 3 * scaled.shape[1]

    def loss(flat):
        weight, bias = flat[:split].reshape(3, -1), flat[split:]
        chances = log_softmax(scaled @ weight.T + bias, axis=1)
        slope = np.exp(chances) - np.eye(3)[labels]
        gradient = np.r_[(slope.T @ scaled + 10 * weight).ravel(), slope.sum(0)]
        return 5 * (weight**2).sum() - chances[np.arange(ROWS), labels].sum(), gradient

    least = optimize.minimize(loss, np.zeros(split + 3), jac=True, method="BFGS", options={"gtol": 1e-6}).x
    expected = log_softmax(scaled @ least[:split].reshape(3, -1).T + least[split:], axis=1)
    np.testing.assert_allclose(jax.nn.log_softmax(fitted(table)), expected, atol=5e-3)
