"""Predictions by any belief about networks, and beliefs about weights that make networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from foresee.beliefs import DiagonalGaussian, Gaussian, Points, expected
from foresee.errors import OptionError, PosteriorError
from foresee.posteriors.laplace import laplace
from foresee.posteriors.likelihood import CategoricalLikelihood, GaussianLikelihood, HeteroscedasticLikelihood
from foresee.posteriors.network import WeightBelief, WeightMixture
from foresee.posteriors.predict import certain, predict, predict_rows
from foresee.posteriors.prediction import ClassPrediction

KEY = jax.random.key(0)
NETWORK = eqx.nn.MLP(2, 3, 4, 1, activation=jnp.tanh, key=KEY)
WEIGHTS = eqx.filter(NETWORK, eqx.is_inexact_array)
ROWS = jnp.asarray(np.random.default_rng(1).normal(size=(7, 2)))
LABELS = CategoricalLikelihood()


def diagonal(scale=0.05, network=NETWORK):
    weights = eqx.filter(network, eqx.is_inexact_array)
    return WeightBelief(DiagonalGaussian(weights, scale**2), network)


def last_layer(covariance=None):
    keep = jax.tree.map(lambda _: False, NETWORK)
    keep = eqx.tree_at(lambda tree: tree.layers[-1].weight, keep, True)
    weights = eqx.filter(NETWORK, keep)
    size = NETWORK.layers[-1].weight.size
    covariance = 0.01 * jnp.eye(size) if covariance is None else covariance
    return WeightBelief(Gaussian(weights, covariance), NETWORK)


def test_mean_samples_and_points_are_networks():
    belief = diagonal()
    np.testing.assert_array_equal(belief.mean()(ROWS[0]), NETWORK(ROWS[0]))
    drawn = belief.sample(key=KEY)
    assert drawn.activation is not None
    assert drawn(ROWS[0]).shape == (3,)
    outputs = belief.points(6, key=KEY).push(lambda network: network(ROWS[0]))
    assert outputs.values.shape == (6, 3)
    by_expected = expected(belief, lambda network: network(ROWS[0]), 6, key=KEY)
    np.testing.assert_allclose(by_expected, outputs.values.mean(axis=0))


def test_known_weights_stay():
    drawn = last_layer().sample(key=KEY)
    np.testing.assert_array_equal(drawn.layers[0].weight, NETWORK.layers[0].weight)
    np.testing.assert_array_equal(drawn.layers[1].bias, NETWORK.layers[1].bias)
    assert np.all(np.asarray(drawn.layers[1].weight) != np.asarray(NETWORK.layers[1].weight))


def test_linearised_outputs_are_j_sigma_j():
    belief = diagonal()
    flat, unravel = ravel_pytree(WEIGHTS)
    static = eqx.filter(NETWORK, eqx.is_inexact_array, inverse=True)
    jacobian = jax.jacfwd(lambda v: eqx.combine(unravel(v), static)(ROWS[0]))(flat)
    outputs = belief.outputs(ROWS[0])
    np.testing.assert_allclose(outputs.mean(), NETWORK(ROWS[0]), rtol=1e-12)
    np.testing.assert_allclose(outputs.covariance, 0.05**2 * jacobian @ jacobian.T, rtol=1e-10)

    factor = np.random.default_rng(2).normal(size=(12, 12))
    covariance = jnp.asarray(factor @ factor.T)
    outputs = last_layer(covariance).outputs(ROWS[0])
    feature = np.tanh(NETWORK.layers[0](ROWS[0]))
    jacobian = np.kron(np.eye(3), feature)
    np.testing.assert_allclose(outputs.covariance, jacobian @ covariance @ jacobian.T, rtol=1e-10)


def test_linear_and_sampled_predictions_agree_where_the_network_is_linear_in_what_is_in_doubt():
    belief = last_layer()
    linear = predict(belief, GaussianLikelihood(0.1), ROWS[0], key=KEY)
    sampled = predict(belief, GaussianLikelihood(0.1), ROWS[0], key=KEY, n=4000, method="samples")
    np.testing.assert_allclose(linear.aleatoric(), 0.01, rtol=1e-12)
    np.testing.assert_allclose(sampled.mean(), linear.mean(), rtol=1e-10)  # antithetic pairs
    # A variance from n/2 independent pairs has the relative standard error √(2 / (n / 2)).
    np.testing.assert_allclose(sampled.epistemic(), linear.epistemic(), rtol=5 * np.sqrt(2 / 2000))
    classes = [predict(belief, LABELS, ROWS[0], key=KEY, n=4000, method=m) for m in ("linear", "samples")]
    np.testing.assert_allclose(classes[0].probabilities(), classes[1].probabilities(), atol=5e-3)


def test_a_certain_network_has_no_epistemic_doubt():
    prediction = predict(certain(NETWORK), LABELS, ROWS[0], key=KEY)
    np.testing.assert_allclose(prediction.probabilities(), jax.nn.softmax(NETWORK(ROWS[0])), rtol=1e-12)
    assert prediction.epistemic() < 1e-12


def test_an_ensemble_is_weighted_points():
    networks = eqx.filter_vmap(lambda key: eqx.nn.MLP(2, 3, 4, 1, key=key))(jax.random.split(KEY, 3))
    weights = jnp.log(jnp.asarray([0.5, 0.2, 0.3]))
    prediction = predict(Points(networks, weights), LABELS, ROWS[0], key=KEY)
    alone = [eqx.nn.MLP(2, 3, 4, 1, key=key)(ROWS[0]) for key in jax.random.split(KEY, 3)]
    mean = sum(w * jax.nn.softmax(logits) for w, logits in zip((0.5, 0.2, 0.3), alone, strict=True))
    np.testing.assert_allclose(prediction.probabilities(), mean, rtol=1e-10)


def test_a_mixture_of_beliefs_about_last_layers_predicts_as_they_do_together():
    networks = [
        eqx.tree_at(lambda net: net.layers[-1].bias, NETWORK, shift * jnp.ones(3)) for shift in (0.0, 0.5)
    ]
    data = (ROWS, jnp.ones((7, 3)))
    likelihood = GaussianLikelihood(0.3)
    alone = [laplace(network, likelihood, data, prior_precision=2.0) for network in networks]
    mixture = WeightMixture(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone), jnp.log(jnp.asarray([1, 3]))
    )
    together = predict(mixture, likelihood, ROWS[0], key=KEY)
    one, two = (own.outputs(ROWS[0]) for own in alone)
    mean = 0.25 * one.mean() + 0.75 * two.mean()
    spreads = [jnp.diagonal(own.covariance) + (own.mean() - mean) ** 2 for own in (one, two)]
    spread = 0.25 * spreads[0] + 0.75 * spreads[1]
    np.testing.assert_allclose(together.mean(), mean, rtol=1e-10)
    np.testing.assert_allclose(together.epistemic(), spread, rtol=1e-10)
    drawn = predict_rows(mixture, likelihood, ROWS, key=KEY, n=4, method="samples")
    assert jax.vmap(lambda one: one.mean())(drawn).shape == (7, 3)


@pytest.mark.parametrize("method", ["linear", "samples"])
def test_rows_equal_single_inputs_eager_and_compiled(method):
    belief = diagonal()
    together = predict_rows(belief, LABELS, ROWS, key=KEY, n=8, method=method, at_once=3)
    assert isinstance(together, ClassPrediction)
    for index in range(7):
        alone = predict(belief, LABELS, ROWS[index], key=KEY, n=8, method=method)
        compiled = jax.jit(lambda b, x: predict(b, LABELS, x, key=KEY, n=8, method=method))(
            belief, ROWS[index]
        )
        np.testing.assert_allclose(together.logits[index], alone.logits, rtol=1e-10)
        np.testing.assert_allclose(compiled.logits, alone.logits, rtol=1e-10)


def test_predictions_can_be_differentiated_in_the_doubt():
    def doubt(scale):
        return predict(diagonal(scale), LABELS, ROWS[0], key=KEY, n=16).epistemic()

    step = (doubt(0.05 + 1e-6) - doubt(0.05 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(doubt)(0.05), step, rtol=1e-5)


def test_a_heteroscedastic_head_doubts_its_noise_too():
    network = eqx.nn.MLP(2, 2, 4, 1, key=KEY)
    prediction = predict(diagonal(0.1, network), HeteroscedasticLikelihood(), ROWS[0], key=KEY, n=32)
    assert prediction.means.shape == (32, 1)
    assert prediction.epistemic()[0] > 0
    assert np.ptp(np.asarray(prediction.noise)) > 0


def test_bad_input():
    with pytest.raises(OptionError, match="'linear' or 'samples', got 'exact'"):
        predict(diagonal(), LABELS, ROWS[0], key=KEY, method="exact")
    with pytest.raises(OptionError, match="with a covariance, got Points"):
        predict(certain(NETWORK), LABELS, ROWS[0], key=KEY, method="linear")
    with pytest.raises(PosteriorError, match="covariance, got Points"):
        WeightBelief(Points(jax.tree.map(lambda leaf: leaf[None], WEIGHTS)), NETWORK).outputs(ROWS[0])
