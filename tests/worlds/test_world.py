import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.errors import OptionError, ShapeError
from foresee.posteriors import scales
from foresee.worlds import Deterministic, LatentVariable, MixtureOfExperts, joined, one_step, perceptron

KEY = jax.random.key(0)
MAKERS = (Deterministic, MixtureOfExperts, LatentVariable)


def test_a_perceptron_is_dense_layers_and_rectifiers():
    network = perceptron(3, 2, width=5, depth=2, key=KEY)
    x = np.array([0.3, -1.0, 2.0])
    dense = [layer for layer in network.layers if isinstance(layer, eqx.nn.Linear)]
    assert [layer.weight.shape for layer in dense] == [(5, 3), (5, 5), (2, 5)]
    expected = x
    for layer in dense[:-1]:
        expected = np.maximum(np.asarray(layer.weight) @ expected + np.asarray(layer.bias), 0)
    expected = np.asarray(dense[-1].weight) @ expected + np.asarray(dense[-1].bias)
    np.testing.assert_allclose(network(jnp.asarray(x)), expected, rtol=1e-12)
    first, *others = (np.asarray(layer.weight).ravel()[:4] for layer in dense)
    assert all(np.abs(first - other).min() > 1e-6 for other in others)


def test_dropout_stands_behind_every_hidden_layer_and_nowhere_where_it_is_zero():
    def count(rate):
        layers = perceptron(3, 2, width=5, depth=2, dropout=rate, key=KEY).layers
        return sum(isinstance(layer, eqx.nn.Dropout) for layer in layers)

    assert (count(0.1), count(0.0)) == (2, 0)


@pytest.mark.parametrize("options", [{"width": 0}, {"depth": -1}, {"dropout": 1.0}])
def test_a_perceptron_refuses_what_it_cannot_be(options):
    with pytest.raises(OptionError, match="perceptron"):
        perceptron(3, 2, **options, key=KEY)


def test_context_and_action_are_joined_in_this_order():
    np.testing.assert_array_equal(joined(jnp.ones(2), jnp.zeros(1)), [1, 1, 0])
    np.testing.assert_array_equal(joined(jnp.ones(2), None), [1, 1])


@pytest.mark.parametrize("make", MAKERS)
def test_every_world_takes_scales_and_says_what_does_not_fit(make):
    x, y = np.random.default_rng(0).normal(5, 3, (20, 3)), np.random.default_rng(1).normal(-7, 2, (20, 2))
    world = make(2, 1, 2, width=4, depth=1, scales=scales(x, y), key=KEY)
    mean = eqx.filter_jit(lambda world, row: world(row[:2], row[2:]).mean())(world, jnp.asarray(x[0]))
    assert np.all(np.abs(np.asarray(mean) + 7) < 6)
    with pytest.raises(ShapeError, match=f"{make.__name__}: expected context and action of 3 numbers"):
        world(jnp.ones(2))
    with pytest.raises(ShapeError, match=f"{make.__name__}: expected scales of 3 inputs and 1 outcomes"):
        make(2, 1, 1, scales=scales(x, y), key=KEY)


@pytest.mark.parametrize("make", MAKERS)
def test_the_loss_of_an_example_is_finite_in_single_precision_without_an_action_too(make):
    with jax.enable_x64(False):
        world = make(2, 0, 1, width=4, depth=1, dropout=0.1, key=KEY)
        judge = eqx.filter_jit(eqx.filter_value_and_grad(one_step))
        value, slope = judge(world, (jnp.ones(2), None, jnp.ones(1)), key=KEY)
        assert value.dtype == jnp.float32
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slope))
