"""Networks trained in PyTorch: their weights and second moments. Start with `l2m_from_torch`.

Nothing here imports torch: whatever has the methods of its tensors, modules and optimisers will do.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from foresee.errors import PosteriorError, ShapeError
from foresee.posteriors.l2m import SecondMoments, l2m
from foresee.posteriors.likelihood import AbstractLikelihood
from foresee.posteriors.network import WeightBelief

AVERAGES = ("exp_avg_sq", "square_avg")  # of Adam and its relatives, of RMSprop


def l2m_from_torch(
    network: PyTree,
    model: Any,
    optimizer: Any,
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    batch_size: int,
    **options: Any,
) -> WeightBelief:
    """Return the belief about a network that was trained in PyTorch.

    Args:
        network: an Equinox network of the same layers in the same order, with any values of its weights.
        model: the trained module of PyTorch, or a mapping from names of parameters to tensors.
        optimizer: its optimiser, or the optimiser's `state_dict()`.
        likelihood: as in `l2m`.
        data: as in `l2m`, as NumPy or JAX arrays.
        batch_size: as in `l2m`.
        **options: the others of `l2m`, as `validation` and `which`.

    Raises:
        PosteriorError: if the optimiser keeps no second moments, or the layers do not match.
        ShapeError: if a weight has another shape than its counterpart.
    """
    parameters = torch_parameters(model)
    moments = torch_second_moments(optimizer, model)
    trained = in_order(network, parameters)
    known = {name: moments.get(name) for name in parameters}
    return l2m(
        trained,
        SecondMoments(eqx.filter(in_order(network, known), eqx.is_array), jnp.asarray(jnp.nan)),
        likelihood,
        data,
        batch_size=batch_size,
        **options,
    )


def torch_parameters(model: Any) -> dict[str, Array]:
    """Return the parameters of a PyTorch module by name, in its order.

    Args:
        model: the module, or a mapping from names to tensors.
    """
    return {name: _array(tensor) for name, tensor in _named(model)}


def torch_second_moments(optimizer: Any, model: Any) -> dict[str, Array]:
    """Return the averages of squared gradients by name of parameter, corrected for their start at zero.

    The decay and the number of steps are the optimiser's own. Parameters that took no step are left out.

    Args:
        optimizer: Adam, AdamW, NAdam, RAdam or RMSprop of PyTorch, or its `state_dict()`. Of a `state_dict()`
            without names the parameters must be in the module's order, as they are if it was given
            `model.parameters()`.
        model: the module, or a mapping from names to tensors.

    Raises:
        PosteriorError: if it keeps no second moments.
        ShapeError: if one has another shape than its parameter.
    """
    named = _named(model)
    shapes = {name: tuple(tensor.shape) for name, tensor in named}
    held = optimizer.state_dict() if hasattr(optimizer, "state_dict") else optimizer
    names = _names(optimizer, held, named)
    found: dict[str, Array] = {}
    for group in held["param_groups"]:
        for index in group["params"]:
            state = held["state"].get(index)
            if not state:
                continue
            values = _corrected(state, group)
            name = names.get(index, f"number {index}")
            if shapes.get(name) != values.shape:
                raise ShapeError(
                    f"second moments: expected shape {shapes.get(name)} for {name}, got {values.shape}; "
                    "give the optimiser itself, or one that was made of model.named_parameters()"
                )
            found[name] = values
    if not found:
        raise PosteriorError(
            "second moments: expected an optimiser that has taken a step, got one without state"
        )
    return found


def in_order(network: PyTree, arrays: Mapping[str, Array | None]) -> PyTree:
    """Return the network with its floating point arrays replaced, one by one in order.

    A PyTorch module and an Equinox network list the parameters of dense and convolutional layers alike: layer
    by layer, the weight, then the bias. The bias of a convolution has more axes in Equinox, of length one.

    Args:
        network: an Equinox network.
        arrays: by name in the order of the module; None leaves the place empty.

    Raises:
        PosteriorError: if there are more or fewer of them.
        ShapeError: if one has another shape.
    """
    own, rest = eqx.partition(network, eqx.is_inexact_array)
    leaves, structure = jax.tree_util.tree_flatten_with_path(own)
    if len(leaves) != len(arrays):
        raise PosteriorError(
            f"PyTorch parameters: expected {len(leaves)}, as the network has, got {len(arrays)}: "
            f"{', '.join(list(arrays)[:4])}…"
        )
    placed = []
    for (path, leaf), (name, array) in zip(leaves, arrays.items(), strict=True):
        if array is not None and _without_ones(array.shape) != _without_ones(leaf.shape):
            raise ShapeError(
                f"PyTorch parameters: expected shape {leaf.shape} for {jax.tree_util.keystr(path)}, "
                f"got {array.shape} of {name}"
            )
        placed.append(None if array is None else array.reshape(leaf.shape))
    return eqx.combine(jax.tree.unflatten(structure, placed), rest)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _named(model: Any) -> list[tuple[str, Any]]:
    named: Iterable[tuple[str, Any]] = (
        model.items() if isinstance(model, Mapping) else model.named_parameters()
    )
    return list(named)


def _names(optimizer: Any, held: Mapping[str, Any], named: list[tuple[str, Any]]) -> dict[Any, str]:
    """Return the names of the parameters by their numbers in the optimiser's state."""
    by_identity = {id(tensor): name for name, tensor in named}
    names: dict[Any, str] = {}
    for position, group in enumerate(held["param_groups"]):
        own = group.get("param_names")
        if own is None and hasattr(optimizer, "param_groups"):
            tensors = optimizer.param_groups[position]["params"]
            own = [by_identity.get(id(tensor)) for tensor in tensors]
        if own is None:
            own = [named[index][0] if index < len(named) else None for index in group["params"]]
        names |= {index: name for index, name in zip(group["params"], own, strict=True) if name is not None}
    return names


def _corrected(state: Mapping[str, Any], group: Mapping[str, Any]) -> Array:
    """Return v / (1 − decayᵗ) of one parameter."""
    kept = [key for key in AVERAGES if key in state]
    if not kept:
        raise PosteriorError(
            f"second moments: expected an optimiser that keeps {' or '.join(AVERAGES)}, as Adam, AdamW or "
            f"RMSprop, got one that keeps {', '.join(state) or 'nothing'}"
        )
    decay = float(group["betas"][1] if "betas" in group else group["alpha"])
    steps = float(_plain(state["step"])) if "step" in state else math.inf
    return _array(state[kept[0]]) / -math.expm1(steps * math.log(decay))


def _plain(tensor: Any) -> np.ndarray:
    """Return a tensor, or anything like an array, as a NumPy array."""
    return np.asarray(tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else tensor)


def _array(tensor: Any) -> Array:
    return jnp.asarray(_plain(tensor))
