"""Quantile recalibration: a known distortion is undone, and intervals hold what they promise."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

import foresee.calibration as c


def test_intervals_of_too_certain_predictions_are_widened_to_hold_what_they_promise():
    random = np.random.default_rng(0)
    means = random.normal(size=3000)
    targets = means + 2.0 * random.normal(size=3000)
    pit = c.pit_gaussian(means, np.ones(3000), targets)
    fitted = c.fit_quantiles(pit[:1500])
    # Knots of the empirical distribution function, by its definition.
    np.testing.assert_allclose(fitted(0.3), np.mean(np.asarray(pit[:1500]) <= 0.3), atol=1e-3)
    np.testing.assert_allclose(fitted(fitted.level(np.asarray([0.1, 0.5, 0.9]))), [0.1, 0.5, 0.9], atol=1e-9)
    np.testing.assert_allclose(fitted.level(0.9), norm.cdf(2 * 1.2816), atol=0.01)

    def quantile(probability):
        return means[1500:] + norm.ppf(probability)

    low, high = fitted.interval(quantile, 0.9)
    assert abs(c.coverage(low, high, targets[1500:]) - 0.9) < 3 * np.sqrt(0.09 / 1500 + 0.09 / 1500)
    naive = c.coverage(quantile(0.05), quantile(0.95), targets[1500:])
    assert naive < 0.65
    uniform = np.sort(fitted(pit[1500:]))
    assert np.abs(uniform - np.linspace(0, 1, 1500)).max() < 0.06


def test_it_is_increasing_compiled_and_in_single_precision():
    fitted = c.fit_quantiles(jnp.asarray([0.2, 0.2, 0.9, 0.95], jnp.float32))
    got = jax.jit(lambda table, p: table(p))(fitted, jnp.linspace(0, 1, 11, dtype=jnp.float32))
    assert got.dtype == jnp.float32
    assert (np.diff(got) >= 0).all()
    assert (float(got[0]), float(got[-1])) == (0, 1)
    np.testing.assert_allclose(jax.grad(fitted)(0.5), 0.2 / 0.7, rtol=1e-5)
