"""Beliefs about the last layer of a network: one pass forward says what they say of the outputs."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee.beliefs.belief import Points
from foresee.beliefs.gaussian import Gaussian
from foresee.posteriors.layers import features, find_layers, to_table, with_one
from foresee.posteriors.network import AbstractNetworks, WeightBelief, positive
from foresee.posteriors.rotated import KroneckerGaussian, RotatedGaussian


class LastLayerBelief(AbstractNetworks):
    """A belief about networks that differ in their last layer only.

    The outputs are linear in that layer, so what is said of them is exact, and needs what goes into the layer
    but no Jacobian: for Kronecker factors features² + classes² operations instead of (features · classes)².

    Args:
        belief: belief about the weights of the last layer, in their network.
        name: name of the layer.
    """

    belief: WeightBelief
    name: str = eqx.field(static=True)

    @property
    def weights(self) -> Any:
        """The belief about the layer's weights; they are None in all other places of the network."""
        return self.belief.weights

    def network(self, weights: PyTree) -> PyTree:
        """Return the network with these weights."""
        return self.belief.network(weights)

    def mean(self) -> PyTree:
        """Return the network with the mean weights."""
        return self.belief.mean()

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one network."""
        return self.belief.sample(key=key)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n weighted networks."""
        return self.belief.points(n, key=key)

    def outputs(self, x: Any) -> Gaussian:
        """Return the belief about the outputs at x.

        Args:
            x: one input.
        """
        value, inputs = self._features(x)
        weights = self.weights
        if isinstance(weights, KroneckerGaussian):
            block = weights.blocks[0]
            covariance = (block.outputs * self._heights(inputs)) @ block.outputs.T
        elif isinstance(weights, RotatedGaussian):
            rotated = self._rotated(inputs, value.size)
            covariance = (rotated * weights.variances) @ rotated.T
        else:
            covariance = jnp.diag(self._diagonal(inputs))
        return Gaussian(value, positive(covariance))

    def variances(self, x: Any) -> Float[Array, " outputs"]:
        """Return the variance of every output at x, for networks with too many outputs for a matrix.

        Args:
            x: one input.
        """
        value, inputs = self._features(x)
        weights = self.weights
        if isinstance(weights, KroneckerGaussian):
            return weights.blocks[0].outputs ** 2 @ self._heights(inputs)
        if isinstance(weights, RotatedGaussian):
            return self._rotated(inputs, value.size) ** 2 @ weights.variances
        return self._diagonal(inputs)

    def _features(self, x: Any) -> tuple[Float[Array, " outputs"], Float[Array, " inputs"]]:
        """Return the mean outputs, and what goes into the layer with a one for the bias."""
        network = self.mean()
        value, inputs = features(network, self.name, x)
        return value, with_one(inputs, find_layers(network)[self.name])

    def _heights(self, inputs: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        """Return the variances of the outputs in the coordinates in which they are independent."""
        block = self.weights.blocks[0]
        return block.variances @ (block.inputs.T @ inputs) ** 2

    def _rotated(self, inputs: Float[Array, " inputs"], outputs: int) -> Float[Array, "outputs n"]:
        """Return the Jacobian of the outputs in the eigenvectors' coordinates."""
        basis = self.weights.basis
        bias = outputs if find_layers(self.weights.location)[self.name].bias is not None else 0
        rows = basis[: len(basis) - bias].reshape(outputs, -1, len(basis))
        rotated = jnp.einsum("i,oip->op", inputs[: rows.shape[1]], rows)
        return rotated if not bias else rotated + basis[-bias:]

    def _diagonal(self, inputs: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        layer = find_layers(self.weights.variance)[self.name]
        return to_table(layer.weight, layer.bias) @ inputs**2
