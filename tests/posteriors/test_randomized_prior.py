"""Randomized priors: what is added, what is left alone in training, and where members differ."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from foresee.fit import fit
from foresee.posteriors.ensemble import ensemble
from foresee.posteriors.likelihood import GaussianLikelihood, SupervisedLoss
from foresee.posteriors.predict import predict
from foresee.posteriors.randomized_prior import RandomizedPrior

KEY = jax.random.key(0)
LIKELIHOOD = GaussianLikelihood(0.1)
DECAY = optax.adamw(1e-2, weight_decay=0.5)


def network(key):
    """Return a small network of one input and one output."""
    return eqx.nn.MLP(1, 1, 16, 1, jax.nn.selu, key=key)


def wave(x):
    """Return a fixed prior function."""
    return jnp.sin(3 * x)


def with_prior(key):
    """Return a network with a random one added."""
    base, prior = jax.random.split(key)
    return RandomizedPrior(network(base), network(prior), 3.0)


@pytest.fixture(scope="module")
def data():
    """Rows of a line between −1 and 0."""
    x = jnp.linspace(-1, 0, 12)[:, None]
    return x, 0.5 * x


@pytest.fixture(scope="module")
def trained(data):
    """An ensemble with priors and bootstrap, under a weight decay that would ruin a prior that it reached."""
    return ensemble(
        with_prior, LIKELIHOOD, data, members=8, key=KEY, bootstrap=True, epochs=200, optimizer=DECAY
    )


def test_outputs_are_the_base_plus_the_scaled_prior():
    base, x = network(KEY), jnp.asarray([0.7])
    np.testing.assert_allclose(RandomizedPrior(base, wave, 2.5)(x), base(x) + 2.5 * np.sin(2.1), rtol=1e-12)
    model = with_prior(KEY)
    expected = model.base(x) + 3 * model.prior.value(x)
    np.testing.assert_allclose(model(x), expected, rtol=1e-12)
    np.testing.assert_allclose(eqx.filter_jit(model)(x), expected, rtol=1e-12)
    xs = jnp.linspace(-1, 1, 5)[:, None]
    np.testing.assert_allclose(jax.vmap(model)(xs), [model(x) for x in xs], rtol=1e-12)


def test_gradients_reach_the_input_and_the_base_but_not_the_prior():
    model, x = with_prior(KEY), jnp.asarray([0.7])
    slope = jax.grad(lambda x: model(x)[0])(x)
    step = 1e-6
    np.testing.assert_allclose(slope, (model(x + step) - model(x - step)) / (2 * step), rtol=1e-5)
    gradient = eqx.filter_grad(lambda model: model(x)[0])(model)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves((gradient.prior, gradient.scale)))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient.base.layers[1]))


def test_training_with_weight_decay_leaves_the_prior_bit_for_bit(data):
    model = with_prior(KEY)
    after = fit(model, SupervisedLoss(LIKELIHOOD), data, key=KEY, optimizer=DECAY, epochs=3).model
    for one, other in zip(
        jax.tree.leaves(eqx.filter((model.prior, model.scale), eqx.is_array)),
        jax.tree.leaves(eqx.filter((after.prior, after.scale), eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert not np.any(model.base.layers[0].weight == after.base.layers[0].weight)


def test_members_agree_where_there_are_data_and_differ_elsewhere(trained):
    inside, outside = (predict(trained, LIKELIHOOD, jnp.asarray([x]), key=KEY) for x in (-0.5, 2.0))
    assert float(jnp.sqrt(inside.epistemic())[0]) < 0.15
    assert float(jnp.sqrt(outside.epistemic())[0]) > 0.5
    np.testing.assert_allclose(inside.mean(), [-0.25], atol=0.1)


def test_members_know_priors_of_their_own(trained):
    weights = np.asarray(trained.values.prior.value.layers[0].weight)
    assert len(np.unique(weights[:, 0, 0])) == 8


def test_a_fixed_function_as_prior_is_learned_away_where_there_are_data(data):
    belief = ensemble(
        lambda key: RandomizedPrior(network(key), wave),
        LIKELIHOOD,
        data,
        members=2,
        key=KEY,
        epochs=300,
        optimizer=optax.adam(1e-2),
    )
    prediction = predict(belief, LIKELIHOOD, jnp.asarray([-0.5]), key=KEY)
    np.testing.assert_allclose(prediction.mean(), [-0.25], atol=0.05)
