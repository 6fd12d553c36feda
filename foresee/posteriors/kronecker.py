"""Kronecker factors of the generalised Gauss–Newton matrix, for linear and convolutional layers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from foresee.errors import PosteriorError
from foresee.fit.known import trainable
from foresee.posteriors.curvature import ROWS_AT_ONCE, curvature_root, sum_over_rows
from foresee.posteriors.layers import (
    features,
    find_layers,
    parts,
    patches,
    simple_layers,
    slopes_of,
    with_one,
)
from foresee.posteriors.likelihood import AbstractLikelihood, CategoricalLikelihood


class Factors(eqx.Module):
    """The curvature of one layer's weights, a table of outputs × inputs, as outputs ⊗ inputs.

    Attributes:
        outputs: factor of the outputs, summed over the examples.
        inputs: factor of the inputs, the last of them the one that the bias is multiplied by; a mean.
    """

    outputs: Float[Array, "a a"]
    inputs: Float[Array, "b b"]


def kronecker_factors(
    network: PyTree, likelihood: AbstractLikelihood, x: PyTree, *, at_once: int = ROWS_AT_ONCE
) -> dict[str, Factors]:
    """Return the factors of every layer by name.

    Of a linear layer they are Σ Δ Δᵀ over examples and the mean of a aᵀ, with the inputs a and the columns of
    Δ what a root of the outputs' curvature sends back to the layer (Martens and Grosse 2015, section 3). Of a
    convolution, a aᵀ is summed over the places of the output and Δ Δᵀ averaged (Grosse and Martens 2016,
    theorem 1).

    Args:
        network: module whose every array belongs to an `equinox.nn.Linear` or an `equinox.nn.Conv`.
        likelihood: what its outputs mean.
        x: inputs with one leading axis of rows.
        at_once: rows worked on together.

    Raises:
        PosteriorError: if a layer has no such factors; it is named.
    """
    network = eqx.nn.inference_mode(network)
    probes = simple_layers(network, jax.tree.map(lambda leaf: leaf[0], x))
    layers = find_layers(network)
    probes = {name: probes[name] for name in checked_layers(network, probes)}

    def one(x):
        def root(value):
            return curvature_root(likelihood, value).T

        _, inputs, deltas, _ = slopes_of(network, probes, x, root)
        return {name: _sides(layers[name], inputs[name], deltas[name]) for name in probes}

    def part(rows, counts):
        sides = jax.vmap(one)(rows)
        return {
            name: Factors(
                jnp.einsum("n,nac,nbc->ab", counts, after, after),
                jnp.einsum("n,nip,njp->ij", counts, before, before),
            )
            for name, (after, before) in sides.items()
        }

    with jax.default_matmul_precision("highest"):
        sums = sum_over_rows(part, x, at_once, jnp.result_type(*jax.tree.leaves(probes)))
    return {name: _averaged(pair, x) for name, pair in sums.items()}


def last_layer_factors(
    network: PyTree, likelihood: AbstractLikelihood, x: PyTree, name: str, *, at_once: int = ROWS_AT_ONCE
) -> Factors:
    """Return the factors of the last layer alone, which need one pass forward and nothing backward."""
    layer = find_layers(network)[name]

    def one(x):
        outputs, inputs = features(network, name, x)
        return outputs, with_one(inputs, layer)

    def part(rows, counts):
        outputs, inputs = jax.vmap(one)(rows)
        return Factors(_summed(likelihood, outputs, counts), (inputs * counts[:, None]).T @ inputs)

    with jax.default_matmul_precision("highest"):
        return _averaged(sum_over_rows(part, x, at_once, layer.weight.dtype), x)


def _summed(
    likelihood: AbstractLikelihood, outputs: Float[Array, "rows m"], counts: Float[Array, " rows"]
) -> Float[Array, "m m"]:
    """Return the summed curvature of the outputs; of many classes, without a matrix for every row."""
    if isinstance(likelihood, CategoricalLikelihood):
        chances = jax.nn.softmax(outputs)
        return jnp.diag(counts @ chances) - (chances * counts[:, None]).T @ chances
    return jnp.tensordot(counts, jax.vmap(likelihood.curvature)(outputs), axes=1)


def checked_layers(network: PyTree, probes: dict[str, Array]) -> list[str]:
    """Return the names of the layers that learn; PosteriorError names one that has no Kronecker factors."""
    layers = find_layers(network)
    names = list(parts(eqx.filter(network, trainable(network))))
    for name in names:
        reason = None
        if name not in layers:
            reason = "which is neither linear nor a convolution"
        elif name not in probes:
            reason = (
                "which is not called exactly once on one vector or image outside any loop, or whose weights "
                "are used elsewhere"
            )
        elif isinstance(layers[name], eqx.nn.Conv) and layers[name].groups != 1:
            reason = f"a convolution with groups={layers[name].groups}"
        elif isinstance(layers[name], eqx.nn.Conv) and str(layers[name].padding_mode).upper() != "ZEROS":
            reason = f"a convolution with padding_mode={layers[name].padding_mode!r}"
        if reason:
            raise PosteriorError(
                f"Kronecker factors: expected linear layers and convolutions, got {name}, {reason}; take "
                "structure 'diagonal', or one of the last layer"
            )
    return names


def _sides(layer: Any, inputs: Array, deltas: Array) -> tuple[Array, Array]:
    """Return the two matrices of one example whose products with themselves are its factors."""
    if isinstance(layer, eqx.nn.Linear):
        return deltas.T, with_one(inputs, layer)[:, None]
    places = deltas.reshape(*deltas.shape[:2], -1)
    count = places.shape[2]
    return jnp.moveaxis(places, 0, 1).reshape(places.shape[1], -1) / jnp.sqrt(count), patches(inputs, layer)


def _averaged(sums: Factors, x: PyTree) -> Factors:
    return Factors(sums.outputs, sums.inputs / jax.tree.leaves(x)[0].shape[0])
