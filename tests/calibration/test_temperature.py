"""Temperature scaling: the known temperature, SciPy's minimum, its gradient, and real networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import logsumexp

import foresee.calibration as c

# Expected calibration error (15 bins) after temperature scaling that others measured on one split.
PUBLISHED = {
    "wideresnet-16-4-cifar-10": 0.0096,
    "lenet-5-cifar-10": 0.019,
    "wideresnet-16-4-cifar-100": 0.042,
}


def loss(log_temperature, logits, labels):
    scaled = logits / np.exp(log_temperature)
    return np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels])


def test_the_known_temperature_is_found_and_it_is_the_minimum(sharp):
    logits, labels = sharp
    fitted = c.calibrate(logits, labels)
    assert isinstance(fitted, c.Temperature)
    assert fitted.converged
    assert 2.5 / 1.15 < fitted.temperature < 2.5 * 1.15
    least = optimize.minimize_scalar(
        loss, args=(logits, labels), bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}
    )
    np.testing.assert_allclose(np.log(fitted.temperature), least.x, atol=1e-6)
    np.testing.assert_allclose(np.asarray(fitted(logits)).sum(1), 1)
    single = c.fit_temperature(jnp.asarray(logits, jnp.float32), labels)
    assert single.temperature.dtype == jnp.float32
    np.testing.assert_allclose(single.temperature, fitted.temperature, rtol=1e-5)


def test_the_temperature_has_the_gradient_of_the_minimum_and_can_be_batched(sharp):
    logits, labels = jnp.asarray(sharp[0][:60]), sharp[1][:60]
    direction = jnp.asarray(np.random.default_rng(0).normal(size=logits.shape))

    def along(size):
        return c.fit_temperature(logits + size * direction, labels).temperature

    both = jax.jit(jax.vmap(jax.value_and_grad(along)))
    values, slopes = both(jnp.asarray([0.0, 1e-5, -1e-5]))
    np.testing.assert_allclose(slopes[0], (values[1] - values[2]) / 2e-5, rtol=1e-6)
    np.testing.assert_allclose(values[0], along(0.0), rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_logits_of_any_size(sharp, scale):
    logits, labels = sharp
    fitted = c.fit_temperature(jnp.asarray(logits * scale, jnp.float32), labels)
    assert fitted.converged
    assert 2.2 < fitted.temperature / scale < 2.9


def test_where_there_is_no_best_temperature_it_says_so():
    logits = np.asarray([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]] * 30)
    right, wrong = np.asarray([0, 1] * 30), np.asarray([1, 0] * 30)
    assert not c.fit_temperature(logits, right).converged
    assert not c.fit_temperature(logits, wrong).converged
    assert np.isfinite(c.fit_temperature(logits, right)(logits)).all()
    assert float(c.fit_temperature(0 * logits, right).temperature) == pytest.approx(1.0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_saved_outputs_of_real_networks(saved, name):
    errors = []
    for seed in range(5):
        predictions, labels, fit, judge = saved(name, seed)
        logits = c.log_probabilities(predictions)
        probabilities = c.calibrate(logits[fit], labels[fit])(logits[judge])
        errors.append(float(c.calibration_error(probabilities, labels[judge])))
    # The published figures are of one split; so is the spread that is allowed for.
    assert np.mean(errors) <= PUBLISHED[name] + 2 * np.std(errors, ddof=1)
    assert np.mean(errors) <= 1.1 * PUBLISHED[name]
