"""Dropout left on: the masks' moments, whose they are, and that a drawn network is a function."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.errors import OptionError, PosteriorError
from foresee.posteriors.dropout import dropout
from foresee.posteriors.likelihood import GaussianLikelihood
from foresee.posteriors.predict import certain, predict, predict_rows

KEY = jax.random.key(0)
LIKELIHOOD = GaussianLikelihood(0.1)
RATE = 0.25


def network(rate=RATE):
    """Return a network with dropout before its last layer."""
    first, second = jax.random.split(KEY)
    return eqx.nn.Sequential(
        [
            eqx.nn.Linear(2, 6, key=first),
            eqx.nn.Lambda(jnp.tanh),
            eqx.nn.Dropout(rate),
            eqx.nn.Linear(6, 1, key=second),
        ]
    )


@pytest.fixture(scope="module")
def belief():
    """The belief of a network that was switched to inference, as after training."""
    return dropout(eqx.nn.inference_mode(network()))


def moments(net, x):
    """Return mean and variance of the outputs over masks, worked out by hand."""
    hidden = np.tanh(np.asarray(net.layers[0](x)))
    weights = np.asarray(net.layers[3].weight)[0]
    variance = np.sum((weights * hidden) ** 2) * RATE / (1 - RATE)
    return float(weights @ hidden + net.layers[3].bias[0]), variance


@pytest.mark.parametrize("masks", ["input", "network"])
def test_moments_over_masks(masks):
    x, n = jnp.asarray([0.4, -1.2]), 4000
    mean, variance = moments(network(), x)
    prediction = predict(dropout(network(), masks=masks), LIKELIHOOD, x, key=KEY, n=n)
    assert prediction.means.shape == (n, 1)
    np.testing.assert_allclose(prediction.mean()[0], mean, atol=4.5 * np.sqrt(variance / n))
    # A sum of six independent terms: its fourth moment is bounded by that of two, so 3 σ⁴ is ample.
    np.testing.assert_allclose(prediction.epistemic()[0], variance, rtol=4.5 * np.sqrt(3 / n))


def test_the_mean_network_is_the_one_without_dropout(belief):
    x = jnp.asarray([0.4, -1.2])
    plain = predict(certain(network()), LIKELIHOOD, x, key=KEY)
    np.testing.assert_allclose(belief.mean()(x), plain.mean(), rtol=1e-12)


def test_masks_are_drawn_for_every_input_or_for_every_network():
    x = jnp.asarray([0.4, -1.2])
    near = x.at[0].add(1e-13)
    by_input, by_network = (dropout(network(), masks=masks).sample(key=KEY) for masks in ("input", "network"))
    assert float(by_input(x)[0]) == float(by_input(x)[0])
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(200, 2)))
    # With few masks inputs that differ in the last digit may share one, but most pairs do not.
    jumps = jnp.abs(jax.vmap(by_input)(inputs) - jax.vmap(by_input)(inputs + 1e-13))
    assert float(jnp.mean(jumps > 1e-6)) > 0.5
    np.testing.assert_allclose(by_network(near), by_network(x), atol=1e-10)
    swapped = jnp.abs(jax.vmap(by_input)(inputs) - jax.vmap(by_input)(inputs + 0.0))
    assert float(swapped.max()) == 0.0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.int32, jnp.float16])
def test_masks_of_inputs_on_a_coarse_grid_are_independent(dtype):
    """Small whole numbers as floats end in zeros; a poor digest of their bits would not tell them apart."""
    net = eqx.nn.Sequential([eqx.nn.Lambda(lambda x: jnp.ones(1)), eqx.nn.Dropout(0.5)])
    drawn = dropout(net).sample(key=KEY)
    side = jnp.arange(40).astype(dtype)
    grid = jnp.stack(jnp.meshgrid(side, side, indexing="ij"), -1)
    kept = np.asarray(jax.vmap(jax.vmap(drawn))(grid))[..., 0] > 0
    assert abs(kept.mean() - 0.5) < 4.5 * 0.5 / 40
    for pair in (kept[1:] == kept[:-1], kept[:, 1:] == kept[:, :-1], kept == kept.T):
        assert abs(pair.mean() - 0.5) < 0.07


def test_many_rows_are_predicted_as_one_by_one(belief):
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)))
    stacked: Any = predict_rows(belief, LIKELIHOOD, rows, key=KEY, n=7, at_once=2)
    assert stacked.means.shape == (5, 7, 1)
    one = predict(belief, LIKELIHOOD, rows[3], key=KEY, n=7)
    np.testing.assert_allclose(stacked.means[3], one.means, rtol=1e-12)
    again = predict(belief, LIKELIHOOD, rows[3], key=KEY, n=7)
    np.testing.assert_array_equal(again.means, one.means)
    other = predict(belief, LIKELIHOOD, rows[3], key=jax.random.key(5), n=7)
    assert np.any(other.means != one.means)


def test_gradients_pass_through_a_drawn_network():
    drawn = dropout(network(), masks="network").sample(key=KEY)
    x = jnp.asarray([0.4, -1.2])
    slope = jax.grad(lambda x: drawn(x)[0])(x)
    for axis in range(2):
        step = jnp.zeros(2).at[axis].set(1e-6)
        np.testing.assert_allclose(slope[axis], (drawn(x + step) - drawn(x - step))[0] / 2e-6, rtol=1e-5)
    by_input = dropout(network()).sample(key=KEY)
    assert np.all(np.isfinite(jax.grad(lambda x: by_input(x)[0])(x)))


def test_the_rate_can_be_another():
    x = jnp.asarray([0.4, -1.2])
    doubts = [
        predict(dropout(network(), rate=rate), LIKELIHOOD, x, key=KEY, n=500).epistemic()[0]
        for rate in (0.01, None, 0.6)
    ]
    assert doubts == sorted(doubts)


def test_what_cannot_be_done_is_said():
    with pytest.raises(
        PosteriorError, match=r"equinox.nn.Dropout of a positive rate, got 0 such layers in MLP"
    ):
        dropout(eqx.nn.MLP(2, 1, 3, 1, key=KEY))
    with pytest.raises(PosteriorError, match="positive rate, got 1 such layers"):
        dropout(network(0.0))
    with pytest.raises(OptionError, match="masks 'input' or 'network', got 'row'"):
        dropout(network(), masks="row")
    with pytest.raises(OptionError, match=r"rate between 0 and 1, got 1\.0"):
        dropout(network(), rate=1.0)
