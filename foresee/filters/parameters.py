"""What may be learned and in which range: wrappers that stand in a pytree in the place of an array."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from foresee.beliefs.gaussian import as_float
from foresee.errors import CovarianceError, ForeseeError, ShapeError


class AbstractConstraint(eqx.Module):
    """An array that keeps within its range while the numbers behind it are free to take any value."""

    @abc.abstractmethod
    def array(self) -> Float[Array, "*shape"]:
        """Return the array this stands for."""


class Positive(AbstractConstraint):
    """An array of numbers above a floor: floor + exp(free).

    Args:
        value: where to start.
        floor: what the numbers cannot fall below; 0 for any positive number. Data without noise drive a
            learned noise level to nothing and the evidence to infinity; a floor keeps both finite.

    Raises:
        ForeseeError: if a number is not above the floor.
    """

    free: Float[Array, "*shape"]
    floor: float = eqx.field(static=True)

    def __init__(self, value: Any, floor: float = 0.0):
        value = as_float(value)
        if not isinstance(value, Tracer) and not bool(np.all(np.asarray(value) > floor)):
            raise ForeseeError(f"Positive: expected numbers above {floor}, got {value}")
        self.free = jnp.log(value - floor)
        self.floor = floor

    def array(self) -> Float[Array, "*shape"]:
        """Return the numbers."""
        return self.floor + jnp.exp(self.free)


class PositiveDefinite(AbstractConstraint):
    """A symmetric positive definite matrix, through its Cholesky factor with the logarithm on the diagonal.

    Pinheiro and Bates 1996, section 2.2.

    Args:
        matrix: where to start.

    Raises:
        ShapeError: if the matrix is not square.
        CovarianceError: if it is not symmetric and positive definite.
    """

    diagonal: Float[Array, " n"]
    below: Float[Array, " k"]

    def __init__(self, matrix: Any):
        matrix = as_float(matrix)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ShapeError(f"PositiveDefinite: expected a square matrix, got shape {matrix.shape}")
        factor = jnp.linalg.cholesky(matrix)
        if not isinstance(matrix, Tracer):
            symmetric = np.allclose(matrix, matrix.T, atol=1e-5 * float(np.abs(matrix).max(initial=0.0)))
            if not (symmetric and np.isfinite(np.asarray(factor)).all()):
                raise CovarianceError(f"PositiveDefinite: expected a positive definite matrix, got {matrix}")
        self.diagonal = jnp.log(jnp.diagonal(factor))
        self.below = factor[np.tril_indices(len(factor), -1)]

    def array(self) -> Float[Array, "n n"]:
        """Return the matrix."""
        factor = jnp.diag(jnp.exp(self.diagonal))
        factor = factor.at[np.tril_indices(len(self.diagonal), -1)].set(self.below)
        return factor @ factor.T


class Fixed(AbstractConstraint):
    """An array that stays as it is.

    Args:
        value: the array.
    """

    value: Float[Array, "*shape"] = eqx.field(converter=as_float)

    def array(self) -> Float[Array, "*shape"]:
        """Return the array."""
        return self.value


def is_constraint(node: Any) -> bool:
    """Tell whether a node of a pytree is one of these wrappers."""
    return isinstance(node, AbstractConstraint)


def plain(parameters: PyTree) -> PyTree:
    """Return the pytree with every wrapper replaced by the array it stands for."""
    return jax.tree.map(
        lambda node: node.array() if is_constraint(node) else node, parameters, is_leaf=is_constraint
    )


def split(parameters: PyTree) -> tuple[PyTree, PyTree]:
    """Return the free numbers, and everything else: sizes, flags, integers and what is `Fixed`.

    `equinox.combine` joins the two again.
    """
    learnable = jax.tree.map(
        lambda node: jax.tree.map(
            lambda leaf: eqx.is_inexact_array(leaf) and not isinstance(node, Fixed), node
        ),
        parameters,
        is_leaf=is_constraint,
    )
    return eqx.partition(parameters, learnable)


def concrete(parameters: PyTree) -> PyTree:
    """Return the pytree with Python floats, which a user may write, as arrays."""
    return jax.tree.map(lambda leaf: as_float(leaf) if isinstance(leaf, float) else leaf, parameters)
