"""Platt scaling against SciPy's minimum, and on classes that can be told apart without error."""

import numpy as np
from scipy import optimize

import foresee.calibration as c


def test_it_is_the_minimum_of_platts_smoothed_loss():
    random = np.random.default_rng(0)
    margin = 3 * random.normal(size=400)
    labels = (random.uniform(size=400) < 1 / (1 + np.exp(0.5 - 0.4 * margin))).astype(int)
    logits = np.stack([np.zeros(400), margin], axis=1) + random.normal(size=(400, 1))
    ones, zeros = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))

    def loss(parameters):
        odds = parameters[0] * margin + parameters[1]
        return np.mean(np.logaddexp(0, odds) - target * odds)

    least = optimize.minimize(
        loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}
    ).x
    fitted = c.calibrate(logits, labels, "platt")
    assert isinstance(fitted, c.Platt)
    assert fitted.converged
    np.testing.assert_allclose([fitted.factor, fitted.shift], least, atol=1e-5)
    np.testing.assert_allclose(
        np.asarray(fitted(logits))[:, 1], 1 / (1 + np.exp(-least[0] * margin - least[1])), atol=1e-5
    )


def test_classes_told_apart_without_error_leave_some_doubt():
    logits = np.stack([np.zeros(400), np.linspace(-5, 5, 400)], axis=1)
    fitted = c.fit_platt(logits, (logits[:, 1] > 0).astype(int))
    extreme = np.asarray(fitted(logits))[0, 1]
    assert 0 < extreme < 0.01
