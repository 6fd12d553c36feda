import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.posteriors.jacobian import jacobian
from foresee.posteriors.network import doubtful, linearised

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 3)


class Convolutional(eqx.Module):
    convolution: eqx.nn.Conv1d
    head: eqx.nn.Linear

    def __call__(self, x):
        return self.head(jnp.tanh(self.convolution(x[None])).ravel())


class PerToken(eqx.Module):
    """A dense layer mapped over tokens, which has one input for each."""

    token: eqx.nn.Linear
    head: eqx.nn.Linear

    def __call__(self, x):
        return self.head(jnp.tanh(jax.vmap(self.token)(x.reshape(2, 2))).ravel())


class Recurrent(eqx.Module):
    """The same with a scan, and a dense layer after it."""

    step: eqx.nn.Linear
    head: eqx.nn.Linear

    def __call__(self, x):
        return self.head(jax.lax.scan(lambda h, _: (jnp.tanh(self.step(h)), None), x, None, length=2)[0])


class Twice(eqx.Module):
    """A layer that is called twice, and one whose weight is used on its own."""

    layer: eqx.nn.Linear
    tied: bool = False

    def __call__(self, x):
        once = jnp.tanh(self.layer(x))
        return self.layer.weight.T @ once if self.tied else self.layer(once)


class Scalar(eqx.Module):
    """A layer that returns a number without an axis."""

    layer: eqx.nn.Linear

    def __call__(self, x):
        return jnp.tanh(self.layer(x))[None]


class Slope(eqx.Module):
    """The slope of a network in its input."""

    network: eqx.nn.MLP

    def __call__(self, x):
        return jax.grad(lambda x: self.network(x)[0])(x)


NETWORKS = {
    "perceptron": (eqx.nn.MLP(4, 2, 3, 1, activation=jnp.tanh, key=KEY), 2),
    "without bias": (eqx.nn.Linear(4, 2, use_bias=False, key=KEY), 1),
    "convolutional": (
        Convolutional(eqx.nn.Conv1d(1, 2, 2, key=KEYS[0]), eqx.nn.Linear(6, 2, key=KEYS[1])),
        1,
    ),
    "tokens": (PerToken(eqx.nn.Linear(2, 3, key=KEYS[0]), eqx.nn.Linear(6, 2, key=KEYS[1])), 1),
    "recurrent": (Recurrent(eqx.nn.Linear(4, 4, key=KEYS[0]), eqx.nn.Linear(4, 2, key=KEYS[1])), 1),
    "twice": (Twice(eqx.nn.Linear(4, 4, key=KEY)), 0),
    "tied": (Twice(eqx.nn.Linear(4, 4, key=KEY), tied=True), 0),
    "scalar": (Scalar(eqx.nn.Linear(4, "scalar", key=KEY)), 0),
    "slope": (Slope(eqx.nn.MLP(4, 1, 3, 1, activation=jnp.tanh, key=KEY)), 0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_says_the_same_as_the_whole_jacobian(name):
    network, products = NETWORKS[name]
    weights, rest = eqx.partition(network, eqx.is_inexact_array)

    def build(weights):
        return eqx.combine(weights, rest)

    xs = jax.random.normal(KEY, (3, 4))
    variances = jax.tree.map(lambda leaf: leaf**2 + 0.1, weights)

    @jax.jit
    def both(xs):
        found = jax.vmap(lambda x: jacobian(build, weights, x))(xs)
        covariances = jax.vmap(lambda one: one.covariance(variances))(found)
        return found, covariances, jax.vmap(lambda x: linearised(build, weights, x))(xs)

    found, covariances, (outputs, whole) = both(xs)
    assert len(found.slopes) == products
    np.testing.assert_allclose(found.outputs, outputs)
    rows = [np.asarray(leaf).reshape(*outputs.shape, -1) for leaf in jax.tree.leaves(whole)]
    flat = np.concatenate(rows, axis=-1)
    spread = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(variances)])
    np.testing.assert_allclose(covariances, np.einsum("rip,p,rjp->rij", flat, spread, flat), atol=1e-12)


def test_of_a_layer_in_doubt_only_what_is_in_doubt_counts():
    network = NETWORKS["perceptron"][0]
    weights = doubtful(network, lambda leaf: eqx.is_array(leaf) and leaf.ndim == 2)
    rest = jax.tree.map(
        lambda own, leaf: leaf if own is None else None, weights, network, is_leaf=lambda x: x is None
    )
    found = jacobian(lambda own: eqx.combine(own, rest), weights, jnp.ones(4))
    _, whole = linearised(lambda own: eqx.combine(own, rest), weights, jnp.ones(4))
    expected = sum(np.einsum("iab,jab->ij", leaf, leaf) for leaf in jax.tree.leaves(whole))
    np.testing.assert_allclose(found.covariance(jax.tree.map(jnp.ones_like, weights)), expected)
    assert list(found.slopes) == ["layers[0]", "layers[1]"]
