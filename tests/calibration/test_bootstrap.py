"""Bootstrap intervals: known standard errors, pairing, and the correction of an upward bias."""

import jax
import jax.numpy as jnp
import numpy as np

import foresee.calibration as c

KEY = jax.random.key(0)


def mean(values):
    return jnp.mean(values)


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).normal(2.0, 3.0, 400)
    got = c.bootstrap_interval(mean, values, draws=2000, key=KEY)
    error = 1.96 * values.std() / 20
    np.testing.assert_allclose(float(got.value), values.mean())
    np.testing.assert_allclose(
        [got.low, got.high], values.mean() + np.asarray([-error, error]), atol=0.1 * error
    )
    again = c.bootstrap_interval(mean, values, draws=2000, key=KEY)
    assert float(again.low) == float(got.low)


def test_the_difference_of_two_models_is_judged_on_the_same_rows(sharp):
    logits, labels = sharp
    first, second = jax.nn.softmax(logits), jax.nn.softmax(logits / 1.2)
    apart = c.bootstrap_interval(c.negative_log_likelihood, first, labels, draws=300, key=KEY)
    paired = c.bootstrap_difference(c.negative_log_likelihood, first, second, labels, draws=300, key=KEY)
    expected = c.negative_log_likelihood(first, labels) - c.negative_log_likelihood(second, labels)
    np.testing.assert_allclose(float(paired.value), float(expected))
    assert paired.low > 0
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_the_basic_interval_takes_the_bias_of_calibration_errors_back(sharp):
    logits, labels = sharp
    event = c.top_label(jax.nn.softmax(logits / 2.5), labels)
    basic, percentile = (
        c.bootstrap_interval(c.event_calibration_error, *event, draws=300, kind=kind, key=KEY)
        for kind in ("basic", "percentile")
    )
    # The true error is zero.
    assert basic.low < 0.3 * basic.value
    assert percentile.low >= 0.7 * percentile.value
    assert basic.low <= basic.value <= basic.high
