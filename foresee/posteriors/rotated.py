"""Gaussian beliefs about weights that are independent in rotated coordinates, of all weights or by layer.

The rotations come from eigendecompositions that are done once, when a posterior is fitted; drawing, densities
and predictions only multiply.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee.beliefs.belief import Points
from foresee.beliefs.gaussian import LOG_TWO_PI, Gaussian
from foresee.posteriors.layers import find_layers, patches, simple_layers, slopes_of, to_table, with_one
from foresee.posteriors.network import AbstractLayerWeights, AbstractWeights, positive


class RotatedGaussian(AbstractWeights):
    """A normal distribution with a full covariance, kept as its eigenvectors and eigenvalues.

    Args:
        location: the mean, a pytree of arrays.
        basis: eigenvectors of the covariance in its columns, in the order of the flattened location.
        variances: eigenvalues of the covariance.
    """

    location: PyTree[Float[Array, "..."]]
    basis: Float[Array, "n n"]
    variances: Float[Array, " n"]

    def mean(self) -> PyTree:
        """Return the mean."""
        return self.location

    def full(self) -> Gaussian:
        """Return the same belief with its covariance written out."""
        return Gaussian(self.location, (self.basis * self.variances) @ self.basis.T)

    def through(self, jacobian: PyTree) -> Float[Array, "m m"]:
        """Return J Σ Jᵀ; every leaf of J has one more leading axis of m outputs than the location's."""
        rotated = jax.vmap(lambda tree: ravel_pytree(tree)[0])(jacobian) @ self.basis
        return (rotated * self.variances) @ rotated.T

    def log_prob(self, x: PyTree) -> Float[Array, ""]:
        """Return the log density at x."""
        white = (ravel_pytree(x)[0] - ravel_pytree(self.location)[0]) @ self.basis
        return -0.5 * jnp.sum(white**2 / self.variances + jnp.log(self.variances) + LOG_TWO_PI)

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one set of weights."""
        return self._at(jax.random.normal(key, self.variances.shape, self.variances.dtype))

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted sets of weights in antithetic pairs."""
        half = jax.random.normal(key, ((n + 1) // 2, self.variances.size), self.variances.dtype)
        noise = jnp.concatenate([half, -half])[:n]
        return Points(jax.vmap(self._at)(noise), jnp.zeros(n, noise.dtype))

    def _at(self, noise: Float[Array, " n"]) -> PyTree:
        flat, unravel = ravel_pytree(self.location)
        return unravel(flat + self.basis @ (jnp.sqrt(self.variances) * noise))


class Block(eqx.Module):
    """The covariance of one layer's weights, a table of outputs × inputs, in its rotated coordinates.

    With U and V the two bases, the table is mean + U (√variances ∘ E) Vᵀ for E of independent standard
    normals.

    Attributes:
        outputs: U, eigenvectors of the factor that belongs to the outputs.
        inputs: V, eigenvectors of the factor that belongs to the inputs, the bias the last of them.
        variances: variance of every rotated coordinate.
        name: name of the layer.
        weight: which leaf of the location is the layer's weight.
        bias: which is its bias; None without.
    """

    outputs: Float[Array, "a a"]
    inputs: Float[Array, "b b"]
    variances: Float[Array, "a b"]
    name: str = eqx.field(static=True)
    weight: int = eqx.field(static=True)
    bias: int | None = eqx.field(static=True)

    def table(self, leaves: list[Array]) -> Float[Array, "a b"]:
        """Return the layer's numbers as a table."""
        return to_table(leaves[self.weight], None if self.bias is None else leaves[self.bias])

    def rotated(self, table: Float[Array, "a b"]) -> Float[Array, "a b"]:
        """Return Uᵀ T V."""
        return self.outputs.T @ table @ self.inputs

    def unrotated(self, table: Float[Array, "a b"]) -> Float[Array, "a b"]:
        """Return U T Vᵀ."""
        return self.outputs @ table @ self.inputs.T

    def spread(self, slopes: Float[Array, "m a ..."], inputs: Array, layer: Any) -> Float[Array, "m m"]:
        """Return what the layer adds to the covariance of the network's outputs.

        Args:
            slopes: derivatives of the m outputs in what the layer returns.
            inputs: what goes into the layer.
            layer: the layer itself.
        """
        if isinstance(layer, eqx.nn.Linear):
            heights = self.variances @ (self.inputs.T @ with_one(inputs, layer)) ** 2
            rotated = slopes @ self.outputs
            return (rotated * heights) @ rotated.T
        places = slopes.reshape(*slopes.shape[:2], -1)
        tables = jnp.einsum("mop,oa,ip,ib->mab", places, self.outputs, patches(inputs, layer), self.inputs)
        return jnp.einsum("mab,ab,nab->mn", tables, self.variances, tables)


class KroneckerGaussian(AbstractLayerWeights):
    """A normal distribution, independent between layers, whose precision in each is H ⊗ A + λ I.

    It costs outputs² + inputs² numbers a layer instead of (outputs · inputs)². The sum with λ I is exact,
    because it is added in the coordinates in which H ⊗ A is diagonal (Ritter, Botev and Barber 2018).

    Args:
        location: the mean, a pytree of arrays.
        blocks: one for every layer; together they hold every leaf of the location.
    """

    location: PyTree[Float[Array, "..."]]
    blocks: tuple[Block, ...]

    def mean(self) -> PyTree:
        """Return the mean."""
        return self.location

    def full(self) -> Gaussian:
        """Return the same belief with its covariance written out, which only small networks have room for."""
        size = ravel_pytree(self.location)[0].size
        eye = jax.vmap(ravel_pytree(self.location)[1])(jnp.eye(size, dtype=self.blocks[0].variances.dtype))
        return Gaussian(self.location, self.through(eye))

    def through(self, jacobian: PyTree) -> Float[Array, "m m"]:
        """Return J Σ Jᵀ; every leaf of J has one more leading axis of m outputs than the location's."""
        leaves = jax.tree.leaves(jacobian)
        total = jnp.zeros((leaves[0].shape[0],) * 2, leaves[0].dtype)
        for block in self.blocks:
            rotated = jax.vmap(lambda row, block=block: block.rotated(block.table(row)))(leaves)
            total = total + jnp.einsum("mab,ab,nab->mn", rotated, block.variances, rotated)
        return total

    def outputs(self, network: Any, x: Any) -> Gaussian:
        """Return the belief about the outputs at x of the network linearised about the mean weights.

        The Jacobian of a layer is a product of what goes in and what comes back, so both are rotated by
        themselves.

        Args:
            network: function that makes a network of weights.
            x: one input.
        """
        whole = network(self.location)
        layers, simple = find_layers(whole), simple_layers(whole, x)
        probes = {block.name: simple[block.name] for block in self.blocks}
        value, inputs, slopes, _ = slopes_of(whole, probes, x)
        total = jnp.zeros((value.size, value.size), value.dtype)
        for block in self.blocks:
            total = total + block.spread(slopes[block.name], inputs[block.name], layers[block.name])
        return Gaussian(value, positive(total))

    def log_prob(self, x: PyTree) -> Float[Array, ""]:
        """Return the log density at x."""
        apart = jax.tree.leaves(jax.tree.map(jnp.subtract, x, self.location))
        terms = [
            jnp.sum(
                block.rotated(block.table(apart)) ** 2 / block.variances
                + jnp.log(block.variances)
                + LOG_TWO_PI
            )
            for block in self.blocks
        ]
        return -0.5 * jnp.sum(jnp.stack(terms))

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one set of weights."""
        return self._at(self._noise(key))

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted sets of weights in antithetic pairs."""
        half = jax.vmap(self._noise)(jax.random.split(key, (n + 1) // 2))
        noise = jax.tree.map(lambda leaf: jnp.concatenate([leaf, -leaf])[:n], half)
        return Points(jax.vmap(self._at)(noise), jnp.zeros(n, noise[0].dtype))

    def _noise(self, key: PRNGKeyArray) -> list[Array]:
        keys = jax.random.split(key, len(self.blocks))
        return [
            jax.random.normal(sub, block.variances.shape, block.variances.dtype)
            for sub, block in zip(keys, self.blocks, strict=True)
        ]

    def _at(self, noise: list[Array]) -> PyTree:
        leaves, structure = jax.tree.flatten(self.location)
        moved = list(leaves)
        for block, table in zip(self.blocks, noise, strict=True):
            shift = block.unrotated(jnp.sqrt(block.variances) * table)
            columns = shift if block.bias is None else shift[:, :-1]
            moved[block.weight] = leaves[block.weight] + columns.reshape(leaves[block.weight].shape)
            if block.bias is not None:
                moved[block.bias] = leaves[block.bias] + shift[:, -1].reshape(leaves[block.bias].shape)
        return jax.tree.unflatten(structure, moved)
