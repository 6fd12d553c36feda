"""Isotonic calibration against pools of adjacent violators written out, and its normalisation."""

import jax
import jax.numpy as jnp
import numpy as np

import foresee.calibration as c
from foresee.calibration.isotonic import log_odds


def violators(values, weights):
    """The textbook algorithm: merge neighbours until means increase."""
    blocks = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (a, v, m), (b, w, n) = blocks[-2:]
            blocks[-2:] = [[(a * v + b * w) / (v + w), v + w, m + n]]
    return np.concatenate([np.full(count, mean) for mean, _, count in blocks])


def test_single_classes_are_the_textbook_maps_and_rows_sum_to_one(sharp):
    logits, labels = np.round(sharp[0][:300], 1), sharp[1][:300]
    fitted = c.calibrate(logits, labels, "isotonic")
    assert isinstance(fitted, c.Isotonic)
    odds = np.asarray(log_odds(jnp.asarray(logits)))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(odds, np.log(p) - np.log1p(-p), rtol=1e-7, atol=1e-9)
    single = np.empty_like(p)
    for index in range(4):
        _, back, count = np.unique(odds[:, index], return_inverse=True, return_counts=True)
        mean = np.bincount(back, labels == index) / count
        single[:, index] = np.maximum(violators(mean, count), 0.5 / 301)[back]
        assert (np.diff(fitted.probability[index]) >= 0).all()
    np.testing.assert_allclose(fitted(logits), single / single.sum(1, keepdims=True), atol=1e-12)


def test_it_helps_on_other_rows_and_can_be_compiled_in_single_precision(sharp):
    logits, labels = jnp.asarray(sharp[0], jnp.float32), sharp[1]
    fitted = c.fit_isotonic(logits[:1000], labels[:1000])
    got = jax.jit(lambda scaler, table: scaler(table))(fitted, logits[1000:])
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, fitted(logits[1000:]), atol=1e-6)
    before = c.negative_log_likelihood_of_logits(logits[1000:], labels[1000:])
    assert c.negative_log_likelihood(got, labels[1000:]) < before


def test_log_odds_of_certain_rows_are_exact_in_single_precision():
    logits = jnp.asarray([[60.0, 0.0, -1.0]], jnp.float32)
    np.testing.assert_allclose(log_odds(logits)[0, 0], 60 - np.log(1 + np.exp(-1)), rtol=1e-6)
