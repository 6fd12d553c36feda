"""The eigenvalues of a curvature, found once, and the Gaussian belief that it makes with a prior."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from foresee.beliefs.belief import AbstractBelief
from foresee.beliefs.gaussian import DiagonalGaussian
from foresee.posteriors.kronecker import Factors
from foresee.posteriors.layers import parts
from foresee.posteriors.rotated import Block, KroneckerGaussian, RotatedGaussian


class AbstractSpectrum(eqx.Module):
    """A curvature of the loss, positive semi-definite, that is diagonal in known coordinates."""

    @abc.abstractmethod
    def values(self) -> tuple[Float[Array, "..."], ...]:
        """Return the eigenvalues, one array for every part that can have a prior precision of its own."""

    @abc.abstractmethod
    def belief(
        self, centre: PyTree, precision: Float[Array, " parts"], scale: Float[Array, ""]
    ) -> AbstractBelief:
        """Return N(centre, (scale × curvature + precision)⁻¹)."""


class FullSpectrum(AbstractSpectrum):
    """Eigenvalues and eigenvectors of a matrix for all weights together.

    Attributes:
        eigenvalues: in ascending order.
        basis: eigenvectors in the columns, rows in the order of the flattened weights.
    """

    eigenvalues: Float[Array, " n"]
    basis: Float[Array, "n n"]

    def values(self) -> tuple[Float[Array, "..."], ...]:
        """Return the eigenvalues of all weights as one part."""
        return (self.eigenvalues,)

    def belief(
        self, centre: PyTree, precision: Float[Array, " parts"], scale: Float[Array, ""]
    ) -> RotatedGaussian:
        """Return the belief, its covariance in its eigenvectors."""
        return RotatedGaussian(centre, self.basis, 1 / (scale * self.eigenvalues + precision[0]))


class DiagonalSpectrum(AbstractSpectrum):
    """A diagonal curvature.

    Attributes:
        diagonal: pytree like the weights.
    """

    diagonal: PyTree[Float[Array, "..."]]

    def values(self) -> tuple[Float[Array, "..."], ...]:
        """Return the diagonal's numbers by layer."""
        leaves = jax.tree.leaves(self.diagonal)
        return tuple(
            jnp.concatenate([leaves[index].ravel() for index in own]) for own in parts(self.diagonal).values()
        )

    def belief(
        self, centre: PyTree, precision: Float[Array, " parts"], scale: Float[Array, ""]
    ) -> DiagonalGaussian:
        """Return the belief, all weights independent."""
        leaves, structure = jax.tree.flatten(self.diagonal)
        for part, own in enumerate(parts(self.diagonal).values()):
            for index in own:
                leaves[index] = 1 / (scale * leaves[index] + precision[part])
        return DiagonalGaussian(centre, jax.tree.unflatten(structure, leaves))


class KroneckerSpectrum(AbstractSpectrum):
    """A curvature that is a Kronecker product in every layer.

    Attributes:
        blocks: one for every layer, with the curvature's eigenvalues where a belief has its variances.
    """

    blocks: tuple[Block, ...]

    def values(self) -> tuple[Float[Array, "..."], ...]:
        """Return the products of the factors' eigenvalues by layer."""
        return tuple(block.variances for block in self.blocks)

    def belief(
        self, centre: PyTree, precision: Float[Array, " parts"], scale: Float[Array, ""]
    ) -> KroneckerGaussian:
        """Return the belief, independent between layers."""
        blocks = (
            eqx.tree_at(lambda b: b.variances, block, 1 / (scale * block.variances + own))
            for block, own in zip(self.blocks, precision, strict=True)
        )
        return KroneckerGaussian(centre, tuple(blocks))


def full_spectrum(matrix: Float[Array, "n n"]) -> FullSpectrum:
    """Return the spectrum of a matrix; eigenvalues that rounding made negative become zero."""
    return FullSpectrum(*_eigen(matrix))


def kronecker_spectrum(centre: PyTree, factors: dict[str, Factors]) -> KroneckerSpectrum:
    """Return the spectrum of Kronecker factors by name of the layer.

    Args:
        centre: the weights, all of which belong to layers with factors.
        factors: of every layer.
    """
    blocks = []
    for name, own in parts(centre).items():
        heights, outputs = _eigen(factors[name].outputs)
        widths, inputs = _eigen(factors[name].inputs)
        bias = own[1] if len(own) == 2 else None
        blocks.append(Block(outputs, inputs, jnp.outer(heights, widths), name, own[0], bias))
    return KroneckerSpectrum(tuple(blocks))


def _eigen(matrix: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    values, vectors = jnp.linalg.eigh(matrix)
    return jnp.maximum(values, 0.0), vectors
