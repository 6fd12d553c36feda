"""Curvatures against jax.hessian, jax.jacobian and each other, for dense, convolutional and odd networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from foresee.errors import PosteriorError, ShapeError
from foresee.posteriors.curvature import (
    curvature_root,
    diagonal_fisher,
    diagonal_ggn,
    full_ggn,
    last_layer_ggn,
)
from foresee.posteriors.kronecker import kronecker_factors, last_layer_factors
from foresee.posteriors.layers import patches, simple_layers
from foresee.posteriors.likelihood import (
    AbstractLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
    HeteroscedasticLikelihood,
)

KEYS = jax.random.split(jax.random.key(3), 8)
CLASSES = CategoricalLikelihood()


class Convolutions(eqx.Module):
    """Two convolutions, one with stride, dilation and padding, and a linear layer."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    last: eqx.nn.Linear

    def __init__(self, groups=1):
        self.first = eqx.nn.Conv2d(2, 2, 3, padding=1, stride=2, key=KEYS[0])
        self.second = eqx.nn.Conv2d(
            2, 2, 2, groups=groups, dilation=2, padding="SAME", use_bias=False, key=KEYS[1]
        )
        self.last = eqx.nn.Linear(2 * 3 * 3, 3, key=KEYS[2])

    def __call__(self, x):
        return self.last(jnp.tanh(self.second(jnp.tanh(self.first(x)))).ravel())


class Odd(eqx.Module):
    """A scale of its own, a layer in a loop, one mapped over tokens, and a normalisation."""

    scale: jax.Array
    looped: eqx.nn.Linear
    mapped: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    last: eqx.nn.Linear

    def __init__(self):
        self.scale = jnp.asarray([0.3, 1.2])
        self.looped, self.mapped = (eqx.nn.Linear(2, 2, key=key) for key in KEYS[:2])
        self.norm, self.last = eqx.nn.LayerNorm(2), eqx.nn.Linear(2, 3, key=KEYS[2])

    def __call__(self, x):
        x = self.scale * jax.vmap(self.mapped)(jnp.stack([x, x**2])).sum(0)
        x, _ = jax.lax.scan(lambda x, _: (jnp.tanh(self.looped(x)), None), x, None, length=2)
        return self.last(x + 0.1 * self.norm(x))


class Tied(eqx.Module):
    """A layer whose weights are used a second time, on their own."""

    layer: eqx.nn.Linear

    def __call__(self, x):
        return self.layer.weight.T @ jnp.tanh(self.layer(x))


MAKERS = {
    "dense": lambda: (eqx.nn.MLP(2, 3, 3, 1, jnp.tanh, key=KEYS[5]), (2,)),
    "convolutions": lambda: (Convolutions(), (2, 6, 6)),
    "odd": lambda: (Odd(), (2,)),
}


@pytest.fixture(scope="module", params=MAKERS)
def case(request):
    """A network, its data, every row's Jacobian in the flattened weights and the outputs' curvature."""
    network, shape = MAKERS[request.param]()
    x = jax.random.normal(KEYS[3], (5, *shape))
    y = jnp.asarray([0, 2, 1, 1, 0])
    weights, known = eqx.partition(network, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(weights)

    def outputs(flat, x):
        return eqx.combine(unravel(flat), known)(x)

    jacobians = np.asarray(jax.jit(jax.vmap(jax.jacrev(outputs), (None, 0)))(flat, x))
    values = np.asarray(jax.vmap(network)(x))
    chances = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    curvatures = np.stack([np.diag(p) - np.outer(p, p) for p in chances])
    return network, x, y, jacobians, chances, curvatures


def flatten(tree):
    return np.asarray(ravel_pytree(tree)[0])


def test_diagonals_are_those_of_the_definition(case):
    network, x, y, jacobians, chances, curvatures = case
    expected = np.einsum("nci,ncd,ndi->i", jacobians, curvatures, jacobians)
    got = diagonal_ggn(network, CLASSES, (x, y), at_once=2)  # 3 stretches of 2, the last filled up
    np.testing.assert_allclose(flatten(got), expected, rtol=1e-10, atol=1e-13)
    assert jax.tree.structure(got) == jax.tree.structure(eqx.filter(network, eqx.is_inexact_array))
    gradients = np.einsum("nc,nci->ni", chances - np.eye(3)[np.asarray(y)], jacobians)
    fisher = diagonal_fisher(network, CLASSES, (x, y), at_once=5)
    np.testing.assert_allclose(flatten(fisher), (gradients**2).sum(0), rtol=1e-10, atol=1e-13)


def test_diagonals_of_numbers_with_noise_of_their_own_are_those_of_the_definition():
    network, likelihood = eqx.nn.MLP(2, 4, 3, 1, jnp.tanh, key=KEYS[5]), HeteroscedasticLikelihood()
    x, y = jax.random.normal(KEYS[3], (5, 2)), jnp.ones((5, 2))
    flat, unravel = ravel_pytree(eqx.filter(network, eqx.is_inexact_array))

    @jax.jit
    def textbook(x, y):
        def outputs(flat):
            return eqx.combine(unravel(flat), network)(x)

        rows, gradient = jax.jacrev(outputs)(flat), jax.grad(lambda flat: likelihood.loss(outputs(flat), y))
        return jnp.einsum("ip,ij,jp->p", rows, likelihood.curvature(outputs(flat)), rows), gradient(flat) ** 2

    expected = zip(*(textbook(*row) for row in zip(x, y, strict=True)), strict=True)
    for diagonal, parts in zip((diagonal_ggn, diagonal_fisher), expected, strict=True):
        got = diagonal(network, likelihood, (x, y), at_once=3)
        np.testing.assert_allclose(flatten(got), sum(parts), rtol=1e-10, atol=1e-13)
    with pytest.raises(ShapeError, match="the same rows"):
        diagonal_ggn(network, likelihood, (x, y[:4]))


def test_a_weight_that_is_used_twice_counts_twice():
    network, x = Tied(eqx.nn.Linear(2, 3, key=KEYS[0])), jax.random.normal(KEYS[3], (3, 2))
    got = diagonal_ggn(network, CLASSES, (x, jnp.zeros(3, int)))
    whole = full_ggn(network, CLASSES, (x, jnp.zeros(3, int)))
    np.testing.assert_allclose(flatten(got), np.diagonal(whole), rtol=1e-10)


def test_full_is_that_of_the_definition_and_last_layer_its_corner(case):
    network, x, y, jacobians, _, curvatures = case
    expected = np.einsum("nci,ncd,ndj->ij", jacobians, curvatures, jacobians)
    got = np.asarray(jax.jit(lambda x: full_ggn(network, CLASSES, (x, y), at_once=2))(x))
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    name = "last" if hasattr(network, "last") else "layers[1]"
    tensor = np.asarray(last_layer_ggn(network, CLASSES, x, name, at_once=2))
    k = tensor.shape[1]
    weight = tensor[:, : k - 1, :, : k - 1].reshape(3 * (k - 1), -1)
    end, middle = len(expected), len(expected) - 3
    np.testing.assert_allclose(
        weight, expected[end - 3 * k : middle, end - 3 * k : middle], rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(tensor[:, k - 1, :, k - 1], expected[middle:, middle:], rtol=1e-10)
    factors = last_layer_factors(network, CLASSES, x, name, at_once=2)
    np.testing.assert_allclose(factors.outputs, curvatures.sum(0), rtol=1e-10)
    np.testing.assert_allclose(factors.inputs[-1, -1], 1.0, rtol=1e-12)


def test_logistic_regression_has_the_ggn_as_its_hessian():
    network = eqx.nn.Linear(2, 3, key=KEYS[4])
    x, y = jax.random.normal(KEYS[3], (6, 2)), jnp.asarray([0, 1, 2, 0, 1, 1])
    flat, unravel = ravel_pytree(network)

    def loss(flat):
        return jnp.sum(jax.vmap(lambda x, y: CLASSES.loss(unravel(flat)(x), y))(x, y))

    got = full_ggn(network, CLASSES, (x, y))
    np.testing.assert_allclose(got, jax.hessian(loss)(flat), rtol=1e-10, atol=1e-12)


class Flat(AbstractLikelihood):
    """One of a user's own, that says nothing of one combination of the outputs."""

    def __call__(self, x, u=None, dt=1.0):
        raise NotImplementedError

    def loss(self, outputs, y):
        return 0.5 * jnp.sum((y - outputs + outputs.mean()) ** 2)

    def curvature(self, outputs):
        return jnp.eye(outputs.size) - 1 / outputs.size


@pytest.mark.parametrize(
    "likelihood",
    [CLASSES, GaussianLikelihood(0.3), HeteroscedasticLikelihood(), Flat()],
    ids=lambda one: type(one).__name__,
)
def test_the_root_is_one(likelihood):
    outputs = jnp.asarray([0.3, -1.0, 2.0, 0.1])
    root = curvature_root(likelihood, outputs)
    np.testing.assert_allclose(root @ root.T, likelihood.curvature(outputs), rtol=1e-12, atol=1e-14)


def test_kronecker_is_exact_for_one_datum_of_a_dense_network():
    network, x = MAKERS["dense"]()[0], jax.random.normal(KEYS[3], (1, 2))
    factors = kronecker_factors(network, CLASSES, x)
    exact = full_ggn(network, CLASSES, (x, jnp.zeros(1, int)))
    # the weights of the first layer are the first in the flattened order, then its biases
    product = np.kron(factors["layers[0]"].outputs, factors["layers[0]"].inputs).reshape(3, 3, 3, 3)
    np.testing.assert_allclose(product[:, :2, :, :2].reshape(6, 6), exact[:6, :6], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(product[:, 2, :, 2], exact[6:9, 6:9], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(product[:, :2, :, 2].reshape(6, 3), exact[:6, 6:9], rtol=1e-10, atol=1e-13)


def test_kronecker_factors_of_many_rows_are_sums_and_means():
    network = MAKERS["dense"]()[0]
    x = jax.random.normal(KEYS[3], (5, 2))
    factors = jax.jit(lambda x: kronecker_factors(network, CLASSES, x, at_once=2))(x)
    hidden = np.tanh(np.asarray(x @ network.layers[0].weight.T + network.layers[0].bias))
    padded = np.concatenate([hidden, np.ones((5, 1))], axis=1)
    np.testing.assert_allclose(factors["layers[1]"].inputs, padded.T @ padded / 5, rtol=1e-10)
    chances = np.asarray(jax.nn.softmax(jax.vmap(network)(x)))
    curvatures = np.stack([np.diag(p) - np.outer(p, p) for p in chances])
    np.testing.assert_allclose(factors["layers[1]"].outputs, curvatures.sum(0), rtol=1e-10)
    back = np.asarray(network.layers[1].weight) * (1 - hidden[:, None] ** 2)  # rows × outputs × hidden
    expected = np.einsum("nci,ncd,ndj->ij", back, curvatures, back)
    np.testing.assert_allclose(factors["layers[0]"].outputs, expected, rtol=1e-10)


def test_patches_are_what_a_convolution_multiplies_and_its_factors_are_grosse_and_martens():
    network = Convolutions()
    x = jax.random.normal(KEYS[3], (4, 2, 6, 6))
    for layer, image in ((network.first, x[0]), (network.second, network.first(x[0]))):
        columns = np.asarray(patches(image, layer))
        table = np.asarray(layer.weight).reshape(2, -1)
        table = (
            table if layer.bias is None else np.concatenate([table, np.asarray(layer.bias).reshape(2, 1)], 1)
        )
        np.testing.assert_allclose((table @ columns).reshape(2, 3, 3), layer(image), rtol=1e-10, atol=1e-12)
    factors = kronecker_factors(network, CLASSES, x, at_once=3)
    columns = np.asarray(jax.vmap(lambda image: patches(image, network.first))(x))
    np.testing.assert_allclose(
        factors["first"].inputs, np.einsum("nit,njt->ij", columns, columns) / 4, rtol=1e-10
    )

    def after(image, hidden):
        return network.last(jnp.tanh(network.second(jnp.tanh(hidden))).ravel())

    expected = 0
    for image in x:
        hidden = network.first(image)
        slopes = np.asarray(jax.jacrev(after, 1)(image, hidden)).reshape(3, 2, 9)
        chances = np.asarray(jax.nn.softmax(network(image)))
        curvature = np.diag(chances) - np.outer(chances, chances)
        expected = expected + np.einsum("cat,cd,dbt->ab", slopes, curvature, slopes) / 9
    np.testing.assert_allclose(factors["first"].outputs, expected, rtol=1e-9)


def test_layers_that_have_no_factors_are_named():
    x = jnp.ones((2, 2))
    assert list(simple_layers(Odd(), x[0])) == ["last"]
    with pytest.raises(PosteriorError, match="got network, which is neither"):
        kronecker_factors(Odd(), CLASSES, x)
    with pytest.raises(PosteriorError, match="second, a convolution with groups=2"):
        kronecker_factors(Convolutions(groups=2), CLASSES, jnp.ones((2, 2, 6, 6)))
    with pytest.raises(PosteriorError, match="at most 10000 weights"):
        full_ggn(eqx.nn.Linear(100, 101, key=KEYS[0]), CLASSES, (jnp.ones((1, 100)), jnp.zeros(1, int)))


def test_filters_choose_the_weights():
    network = MAKERS["dense"]()[0]
    x, y = jax.random.normal(KEYS[3], (5, 2)), jnp.asarray([0, 2, 1, 1, 0])
    whole = diagonal_ggn(network, CLASSES, (x, y))
    biases = jax.tree.map(lambda leaf: eqx.is_inexact_array(leaf) and leaf.ndim == 1, network)
    part = diagonal_ggn(network, CLASSES, (x, y), biases)
    assert part.layers[0].weight is None
    np.testing.assert_allclose(part.layers[0].bias, whole.layers[0].bias, rtol=1e-10)
