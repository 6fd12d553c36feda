"""Parts of a model that training leaves alone, whatever optimiser and weight decay there are."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree


class Known(eqx.Module):
    """A part of a model that is not learned: a fixed prior function, the scales of the data.

    Args:
        value: array, network, function or any other part.
    """

    value: Any

    def fixed(self) -> Any:
        """Return the part, through which gradients reach its inputs but not its arrays."""
        arrays, rest = eqx.partition(self.value, eqx.is_array)
        return eqx.combine(jax.lax.stop_gradient(arrays), rest)


def trainable(model: PyTree, chosen: Callable[[Any], bool] = eqx.is_inexact_array) -> PyTree[bool]:
    """Return which leaves of a model are learned: those chosen, except for what is `Known`.

    Args:
        model: any pytree.
        chosen: function of a leaf.
    """

    def mask(part):
        if isinstance(part, Known):
            return jax.tree.map(lambda _: False, part)
        return chosen(part)

    return jax.tree.map(mask, model, is_leaf=lambda part: isinstance(part, Known))
