"""Exact curvature of a network's loss in its weights, summed over data.

With the Jacobian J of the outputs in the weights and the curvature Λ of the loss in the outputs, the
generalised Gauss–Newton matrix is Σ Jᵀ Λ J over the examples, a **sum**, not a mean; the empirical Fisher is
Σ g gᵀ with the gradients g of the losses (Martens 2020, sections 8 and 11). Start with `diagonal_ggn`.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from foresee.errors import PosteriorError
from foresee.fit.known import trainable
from foresee.posteriors.layers import features, find_layers, simple_layers, slopes_of, with_one, without
from foresee.posteriors.likelihood import (
    AbstractLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
    HeteroscedasticLikelihood,
    call,
    count_rows,
)

ROWS_AT_ONCE = 128  # whose gradients of every output are in memory together
MOST_WEIGHTS = 10_000  # whose full matrix is built: 0.8 GB in float64


def curvature_root(likelihood: AbstractLikelihood, outputs: Float[Array, " m"]) -> Float[Array, "m m"]:
    """Return a matrix L with L Lᵀ = Λ, the curvature of the loss in the outputs."""
    if isinstance(likelihood, CategoricalLikelihood):
        chances = jax.nn.softmax(outputs)
        roots = jnp.sqrt(chances)
        return jnp.diag(roots) - jnp.outer(chances, roots)
    curvature = likelihood.curvature(outputs)
    if isinstance(likelihood, GaussianLikelihood | HeteroscedasticLikelihood):
        return jnp.diag(jnp.sqrt(jnp.diagonal(curvature)))
    values, vectors = jnp.linalg.eigh(curvature)  # it may be singular
    return vectors * jnp.sqrt(jnp.maximum(values, 0.0))


def sum_over_rows(
    function: Callable[[PyTree, Array], PyTree], rows: PyTree, at_once: int, dtype: Any
) -> PyTree:
    """Return the sum of `function` over stretches of rows, no more than `at_once` in memory together.

    Args:
        function: called with some rows and the weight of each, 1 or, where the last stretch is filled up, 0.
        rows: pytree of arrays with one leading axis.
        at_once: most rows in a stretch.
        dtype: of the weights.

    Raises:
        ShapeError: if there are no rows, or arrays with different numbers of them.
    """
    count = count_rows(rows, "curvature")
    stretches = -(-count // at_once)
    size = -(-count // stretches)  # as even as possible, so that little is filled up
    index = jnp.arange(stretches * size)
    weights = (index < count).astype(dtype).reshape(stretches, size)
    index = jnp.minimum(index, count - 1).reshape(stretches, size)

    def part(index, weights):
        return function(jax.tree.map(lambda leaf: leaf[index], rows), weights)

    def step(total, given):
        return jax.tree.map(jnp.add, total, part(*given)), None

    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(part, index[0], weights[0])
    )
    return jax.lax.scan(step, zeros, (index, weights))[0]


def diagonal_ggn(
    network: PyTree,
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, PyTree],
    doubtful: Any = eqx.is_inexact_array,
    *,
    at_once: int = ROWS_AT_ONCE,
) -> PyTree:
    """Return the diagonal of Σ Jᵀ Λ J, a pytree like the doubtful weights; works for every network.

    With the curvature of the likelihoods of this room it is the Fisher information too, as labels drawn from
    the network itself would give it (Kunstner, Balles and Hennig 2019, equation 3).

    Args:
        network: any Equinox module.
        likelihood: what its outputs mean.
        data: inputs and targets, each with one leading axis of rows.
        doubtful: which leaves count: a function of a leaf, which is not asked about parts that are `Known`,
            or a pytree of booleans.
        at_once: rows worked on together.

    Raises:
        ShapeError: if inputs and targets differ in their number of rows.
    """
    return _sum_of_squares(network, likelihood, data, doubtful, at_once, True)


def diagonal_fisher(
    network: PyTree,
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, PyTree],
    doubtful: Any = eqx.is_inexact_array,
    *,
    at_once: int = ROWS_AT_ONCE,
) -> PyTree:
    """Return the diagonal of the empirical Fisher, Σ g²; arguments and errors as of `diagonal_ggn`."""
    return _sum_of_squares(network, likelihood, data, doubtful, at_once, False)


@eqx.filter_jit
def _sum_of_squares(
    network: PyTree,
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, PyTree],
    doubtful: Any,
    at_once: int,
    expected: bool,
) -> PyTree:
    """Return Σ (Jᵀ c)² over examples and columns c: those of L if `expected`, else the loss's gradient.

    A linear layer's gradient is the outer product of what comes back and what goes in, so its squares are
    summed by one matrix product and never written out for an example.
    """
    network = eqx.nn.inference_mode(network)
    weights = eqx.filter(network, _mask(network, doubtful))
    probes = _outer_products(network, weights, jax.tree.map(lambda leaf: leaf[0], data[0]))
    rest = without(weights, probes)

    def one(x, y):
        def columns(value):
            if expected:
                return curvature_root(likelihood, value).T
            return jax.grad(likelihood.loss)(value, y)[None]

        _, inputs, *derivatives = slopes_of(network, probes, x, columns, rest)
        return inputs, *jax.tree.map(lambda leaf: jnp.sum(leaf**2, axis=0), derivatives)

    def part(rows, counts):
        inputs, deltas, rest = jax.vmap(one)(*rows)
        counted = {name: delta * counts[:, None] for name, delta in deltas.items()}
        return (
            {name: jnp.einsum("no,ni->oi", delta, inputs[name] ** 2) for name, delta in counted.items()},
            {name: jnp.sum(delta, axis=0) for name, delta in counted.items()},
            jax.tree.map(lambda leaf: jnp.tensordot(counts, leaf, axes=1), rest),
        )

    with jax.default_matmul_precision("highest"):
        tables, sums, rest = sum_over_rows(part, data, at_once, _dtype(weights))
    return _with(rest, weights, tables, sums)


def full_ggn(
    network: PyTree,
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, PyTree],
    doubtful: Any = eqx.is_inexact_array,
    *,
    at_once: int = ROWS_AT_ONCE,
) -> Float[Array, "n n"]:
    """Return Σ Jᵀ Λ J of the flattened doubtful weights; arguments as of `diagonal_ggn`.

    Raises:
        PosteriorError: if there are too many weights for a matrix.
    """
    network = eqx.nn.inference_mode(network)
    weights, known = eqx.partition(network, _mask(network, doubtful))
    flat, unravel = ravel_pytree(weights)
    if flat.size > MOST_WEIGHTS:
        raise PosteriorError(
            f"full curvature: expected at most {MOST_WEIGHTS} weights, got {flat.size}; take structure "
            "'last_full', 'kronecker' or 'diagonal'"
        )

    def one(x):
        value, back = jax.vjp(lambda flat: call(eqx.combine(unravel(flat), known), x), flat)
        return jax.vmap(back)(curvature_root(likelihood, value).T)[0]

    def part(rows, counts):
        gradients = jax.vmap(one)(rows) * jnp.sqrt(counts)[:, None, None]
        gradients = gradients.reshape(-1, flat.size)
        return gradients.T @ gradients

    with jax.default_matmul_precision("highest"):
        return sum_over_rows(part, data[0], at_once, flat.dtype)


def last_layer_ggn(
    network: PyTree, likelihood: AbstractLikelihood, x: PyTree, name: str, *, at_once: int = ROWS_AT_ONCE
) -> Float[Array, "m k m k"]:
    """Return Σ Λ ⊗ φ φᵀ of the layer called `name`; φ are its inputs, with a one for the bias."""
    layer = find_layers(network)[name]

    def one(x):
        outputs, inputs = features(network, name, x)
        inputs = with_one(inputs, layer)
        return likelihood.curvature(outputs), jnp.outer(inputs, inputs)

    def part(rows, counts):
        curvatures, products = jax.vmap(one)(rows)
        curvatures = curvatures * counts[:, None, None]
        flat = curvatures.reshape(len(counts), -1).T @ products.reshape(len(counts), -1)
        return flat.reshape(*curvatures.shape[1:], *products.shape[1:]).transpose(0, 2, 1, 3)

    with jax.default_matmul_precision("highest"):
        return sum_over_rows(part, x, at_once, layer.weight.dtype)


def _outer_products(network: PyTree, weights: PyTree, x: Any) -> dict[str, Array]:
    """Return probes for the linear layers that can be tapped and whose weights are all in doubt."""
    layers, doubtful = find_layers(network), find_layers(weights)

    def whole(name):
        layer, mine = layers[name], doubtful.get(name)
        if not isinstance(layer, eqx.nn.Linear) or mine is None or mine.weight is None:
            return False
        return (mine.bias is None) == (layer.bias is None)

    return {name: probe for name, probe in simple_layers(network, x).items() if whole(name)}


def _with(rest: PyTree, like: PyTree, tables: dict[str, Array], sums: dict[str, Array]) -> PyTree:
    """Return `rest` with the tapped layers' numbers in their places."""
    for name, table in tables.items():
        has_bias = find_layers(like)[name].bias is not None
        rest = eqx.tree_at(
            lambda tree, name=name: [find_layers(tree)[name].weight, find_layers(tree)[name].bias],
            rest,
            [table, sums[name] if has_bias else None],
            is_leaf=lambda node: node is None,
        )
    return rest


def _mask(network: PyTree, doubtful: Any) -> PyTree:
    spelt_out = all(
        isinstance(leaf, bool) for leaf in jax.tree.leaves(doubtful)
    )  # a module can be callable too
    return doubtful if spelt_out else trainable(network, doubtful)


def _dtype(weights: PyTree) -> Any:
    return jnp.result_type(*jax.tree.leaves(weights))
