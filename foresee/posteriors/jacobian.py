"""The Jacobian of a network's outputs in its weights, kept as products where layers are dense.

For outputs f and a layer z = W a + b the Jacobian is ∂f/∂W = δ ⊗ a with δ = ∂f/∂z. Kept as the pair (δ, a),
it is much smaller than W, and variances pass through it by one matrix product.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from foresee.posteriors.layers import find_layers, simple_layers, slopes_of, without


class Jacobian(eqx.Module):
    """The outputs of a network at one input and their Jacobian in the weights.

    Attributes:
        outputs: the outputs f.
        slopes: ∂f/∂z of every dense layer z = W a + b, by its name.
        inputs: a of every dense layer.
        rest: Jacobian in all other weights: a pytree like the weights, None where a layer is dense, with a
            leading axis of outputs.
    """

    outputs: Float[Array, " m"]
    slopes: dict[str, Float[Array, "m _"]]
    inputs: dict[str, Float[Array, " _"]]
    rest: PyTree

    def covariance(self, variances: PyTree) -> Float[Array, "m m"]:
        """Return J diag(v) Jᵀ, the covariance of the outputs under weights of independent doubt.

        Args:
            variances: v, a pytree like the weights.
        """
        m = self.outputs.shape[0]
        total = jnp.zeros((m, m), self.outputs.dtype)
        layers = find_layers(variances)
        for name, slopes in self.slopes.items():
            layer = layers[name]
            spread = 0.0 if layer.weight is None else layer.weight @ self.inputs[name] ** 2
            spread = spread if layer.bias is None else spread + layer.bias
            total = total + (slopes * spread) @ slopes.T
        others = jax.tree.leaves(without(variances, self.slopes))
        for leaf, variance in zip(jax.tree.leaves(self.rest), others, strict=True):
            flat = leaf.reshape(m, -1)
            total = total + (flat * variance.ravel()) @ flat.T
        return total


def jacobian(network: Any, weights: PyTree, x: Any) -> Jacobian:
    """Return the outputs at x and their Jacobian in the weights.

    A layer that is kept as products is an `equinox.nn.Linear` that the network calls once, on a vector; one
    that is used in another way (mapped over tokens, inside a loop, its weight shared) is not.

    Args:
        network: function that makes a network of weights.
        weights: where to linearise: a pytree like the network, None where an array is not in doubt.
        x: one input.
    """
    whole = network(weights)
    layers = find_layers(weights)
    probes = {name: probe for name, probe in simple_layers(whole, x).items() if _is_dense(layers[name])}
    value, inputs, slopes, rest = slopes_of(whole, probes, x, rest=without(weights, probes))
    return Jacobian(value, slopes, inputs, rest)


def _is_dense(layer: Any) -> bool:
    """Return whether weights of a linear layer are in doubt."""
    return isinstance(layer, eqx.nn.Linear) and bool(jax.tree.leaves(layer))
