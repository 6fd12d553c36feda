"""Vector scaling: known factors and shifts are found, and the minimum is SciPy's."""

import jax.numpy as jnp
import numpy as np
from scipy import optimize
from scipy.special import log_softmax, softmax

import foresee.calibration as c

PENALTY = 1.0


def test_it_is_the_minimum_that_scipy_finds_and_beats_one_temperature(sharp):
    logits, labels = sharp
    moved = logits * np.asarray([1.0, 0.6, 1.4, 1.0]) + np.asarray([0.0, 2.0, -1.0, 0.5])
    fitted = c.calibrate(moved, labels, "vector")
    assert isinstance(fitted, c.Vector)
    assert fitted.converged
    one = c.fit_temperature(moved, labels)
    centred = (moved - moved.mean(1, keepdims=True)) / float(one.temperature)

    def loss(parameters):
        factor, shift = parameters[:4], parameters[4:]
        chances = log_softmax(factor * centred + shift, axis=1)[np.arange(len(labels)), labels]
        return 0.5 * PENALTY * (((factor - 1) ** 2).sum() + (shift**2).sum()) - chances.sum()

    least = optimize.minimize(loss, np.r_[np.ones(4), np.zeros(4)], method="BFGS", options={"gtol": 1e-4})
    np.testing.assert_allclose(np.asarray(fitted.factor) * float(one.temperature), least.x[:4], atol=1e-4)
    np.testing.assert_allclose(fitted.shift, least.x[4:], atol=1e-4)
    expected = softmax(least.x[:4] * centred + least.x[4:], axis=1)
    np.testing.assert_allclose(fitted(moved), expected, atol=1e-4)
    np.testing.assert_allclose(fitted(moved + 7), expected, atol=1e-4)
    gain = c.negative_log_likelihood(one(moved), labels) - c.negative_log_likelihood(fitted(moved), labels)
    assert gain > 0.02


def test_single_precision_and_a_strong_prior(sharp):
    logits, labels = jnp.asarray(sharp[0], jnp.float32), sharp[1]
    fitted = c.fit_vector(logits, labels, penalty=1e6)
    assert fitted.factor.dtype == jnp.float32
    assert fitted.converged
    np.testing.assert_allclose(fitted(logits), c.calibrate(logits, labels)(logits), atol=1e-2)
    once, twice = c.fit_vector(logits, labels), c.fit_vector(2 * logits, labels)
    np.testing.assert_allclose(once.factor, 2 * twice.factor, rtol=1e-3)
