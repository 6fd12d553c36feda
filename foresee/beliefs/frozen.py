"""The part of a pytree that is no array, set aside so that any `jit` takes the rest."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


class Frozen(eqx.Module):
    """What a pytree holds besides arrays, such as the activation functions of a network.

    Attributes:
        leaves: the leaves that are no arrays; they must be hashable.
        structure: the structure of the pytree, None in the places of arrays.
    """

    leaves: tuple[Any, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    def join(self, arrays: PyTree) -> PyTree:
        """Return the whole pytree with these arrays in it."""
        return eqx.combine(arrays, jax.tree.unflatten(self.structure, self.leaves))


def freeze(tree: PyTree) -> tuple[PyTree, Frozen]:
    """Split a pytree into its arrays, NumPy's included, and the rest; `Frozen.join` undoes it."""
    arrays, rest = eqx.partition(tree, lambda leaf: isinstance(leaf, jax.Array | np.ndarray | np.generic))
    leaves, structure = jax.tree.flatten(rest)
    return jax.tree.map(jnp.asarray, arrays), Frozen(tuple(leaves), structure)
