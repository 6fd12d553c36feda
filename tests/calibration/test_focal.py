"""The focal loss: its formula, the cross-entropy at γ = 0, and gradients near p = 0 and p = 1 in float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import foresee.calibration as c

LOGITS = np.random.default_rng(0).normal(size=(5, 3)) * 2
LABELS = np.asarray([0, 1, 2, 1, 0])


def naive(logits, label, gamma):
    p = np.exp(logits[label]) / np.exp(logits).sum()
    gamma = (5 if p < 0.2 else 3) if gamma is c.flsd_53 else np.broadcast_to(gamma, 3)[label]
    return -((1 - p) ** gamma) * np.log(p)


@pytest.mark.parametrize(
    "gamma", [0.0, 2, np.asarray([0.5, 1.0, 3.0]), c.flsd_53], ids=["0", "2", "class", "flsd"]
)
def test_the_formula(gamma: Any):
    expected = np.mean([naive(row, label, gamma) for row, label in zip(LOGITS, LABELS, strict=True)])
    gamma = gamma if callable(gamma) or isinstance(gamma, int) else jnp.asarray(gamma)
    np.testing.assert_allclose(c.mean_focal_loss(jnp.asarray(LOGITS), jnp.asarray(LABELS), gamma), expected)


def test_gamma_zero_is_the_cross_entropy_with_its_gradient():
    def entropy(logits):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(LABELS)))

    ours = jax.value_and_grad(lambda logits: c.mean_focal_loss(logits, jnp.asarray(LABELS), 0.0))(
        jnp.asarray(LOGITS)
    )
    for got, expected in zip(ours, jax.value_and_grad(entropy)(jnp.asarray(LOGITS)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_loss_and_gradient_near_the_ends_in_single_precision():
    margins = np.asarray([-80.0, -30.0, -1.0, 0.0, 1.0, 10.0, 20.0, 80.0])
    both = jax.jit(
        jax.vmap(jax.value_and_grad(lambda m, g: c.focal_loss(jnp.stack([m, 0.0 * m]), 0, g)), (0, None))
    )
    for gamma in (0.5, 1.0, 2.0):
        losses, slopes = both(jnp.asarray(margins, jnp.float32), gamma)
        # In logarithms: p = s(m), 1 − p = s(−m); d/dm = (1 − p)^γ (γ p log p − (1 − p)).
        log_p, log_q = -np.logaddexp(0, -margins), -np.logaddexp(0, margins)
        np.testing.assert_allclose(losses, -np.exp(gamma * log_q) * log_p, rtol=2e-5, atol=1e-37)
        expected = np.exp(gamma * log_q) * (gamma * np.exp(log_p) * log_p - np.exp(log_q))
        np.testing.assert_allclose(slopes, expected, rtol=2e-5, atol=1e-37)
