"""The linear and convolutional layers of a network: what goes into each and how the outputs hang on it.

A layer is tapped by putting a `Tap` in its place, which writes down the layer's input and adds a probe to
what the layer returns: the gradient in the probe is the gradient in the layer's output.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from foresee.errors import PosteriorError
from foresee.fit.known import trainable
from foresee.posteriors.likelihood import call


class Notes:
    """The inputs of tapped layers by name, and whose arrays were asked for, while a network is called."""

    def __init__(self) -> None:
        self.inputs: dict[str, list[Array]] = {}
        self.taken: set[str] = set()


class Tap(eqx.Module):
    """A layer that writes down its input and adds a probe to its output.

    Attributes:
        layer: the layer itself.
        probe: what is added; None for nothing.
        notes: where the input is written down.
        name: under which name.
    """

    layer: Any
    probe: Array | None
    notes: Notes = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        """Return the layer's output with the probe added."""
        self.notes.inputs.setdefault(self.name, []).append(x)
        out = self.layer(x)
        return out if self.probe is None else out + self.probe

    def __getattr__(self, name: str) -> Any:
        """Return what the layer has under this name, as a network may ask a layer for its size."""
        if name.startswith("__") or name == "layer":
            raise AttributeError(name)
        if name in ("weight", "bias"):
            self.notes.taken.add(self.name)
        return getattr(self.layer, name)


def is_layer(node: Any) -> bool:
    """Return whether this is a layer that can be tapped."""
    return isinstance(node, eqx.nn.Linear | eqx.nn.Conv)


def find_layers(network: PyTree) -> dict[str, Any]:
    """Return all linear and convolutional layers by name, in the order of the tree."""
    found = jax.tree_util.tree_flatten_with_path(network, is_leaf=is_layer)[0]
    return {_name(path): node for path, node in found if is_layer(node)}


def parts(weights: PyTree) -> dict[str, list[int]]:
    """Return the names of all layers, of any kind, and which leaves of the weights belong to each."""
    found: dict[str, list[int]] = {}
    for index, (path, _) in enumerate(jax.tree_util.tree_flatten_with_path(weights)[0]):
        found.setdefault(_name(path[:-1]), []).append(index)
    return found


def tap(network: PyTree, probes: Mapping[str, Array | None], notes: Notes) -> PyTree:
    """Return the network with the named layers tapped."""

    def tapped(path, node):
        name = _name(path)
        return Tap(node, probes[name], notes, name) if is_layer(node) and name in probes else node

    return jax.tree_util.tree_map_with_path(tapped, network, is_leaf=is_layer)


def simple_layers(network: PyTree, x: Any) -> dict[str, Float[Array, "..."]]:
    """Return a probe of zeros for every layer that is called once, outside any loop, on one vector or image.

    Layers whose weights the network uses in another way too, as tied ones, are left out.

    Args:
        network: any Equinox module.
        x: one input.
    """
    layers = find_layers(network)
    seen: dict[str, list[Any]] = {}

    def look(x):
        notes = Notes()
        call(tap(network, dict.fromkeys(layers), notes), x)
        # An array that belongs to another trace than x was made inside a vmap, a scan or a jit of the
        # network's own, and cannot be taken out of it.
        own = {getattr(leaf, "_trace", None) for leaf in jax.tree.leaves(x)}
        for name, inputs in notes.inputs.items():
            hidden = [isinstance(a, Tracer) and getattr(a, "_trace", None) not in own for a in inputs]
            shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in inputs]
            seen[name] = [None if h else shape for h, shape in zip(hidden, shapes, strict=True)]
        for name in notes.taken:
            seen.pop(name, None)

    jax.eval_shape(look, x)
    found = {}
    for name, layer in layers.items():
        shapes = seen.get(name, [])
        axes = 1 if isinstance(layer, eqx.nn.Linear) else layer.num_spatial_dims + 1
        if len(shapes) == 1 and shapes[0] is not None and len(shapes[0].shape) == axes:
            out = jax.eval_shape(layer, shapes[0])
            if len(out.shape) == axes:  # not that of Linear(…, "scalar")
                found[name] = jnp.zeros(out.shape, out.dtype)
    return found


def last_layer(network: PyTree, x: Any, last: Callable[[PyTree], Any] | None) -> str:
    """Return the name of the layer that the outputs are linear in.

    Args:
        network: any Equinox module.
        x: one input.
        last: function of the network that returns the layer; None for the last `equinox.nn.Linear` in the
            order of the tree.

    Raises:
        PosteriorError: if there is no such layer, it is called twice, in a loop or not at all, or its weights
            are used elsewhere.
    """
    learned = find_layers(trainable(network))
    linear = {name: node for name, node in find_layers(network).items() if isinstance(node, eqx.nn.Linear)}
    linear = {name: node for name, node in linear.items() if learned[name].weight}
    if last is not None:
        wanted = last(network)
        linear = {name: node for name, node in linear.items() if node is wanted}
        if not linear:
            raise PosteriorError(
                f"expected `last` to return an equinox.nn.Linear of the network, got {type(wanted).__name__}"
            )
    if not linear:
        raise PosteriorError("expected a network with an equinox.nn.Linear as its last layer, found none")
    name = list(linear)[-1]
    if name not in simple_layers(network, x):
        raise PosteriorError(
            f"expected a last layer that is called once, on a vector, in no loop, and whose weights are used "
            f"nowhere else, got {name}; name the right one, as last=lambda network: network.layers[-1]"
        )
    return name


def features(network: PyTree, name: str, x: Any) -> tuple[Float[Array, " m"], Float[Array, " inputs"]]:
    """Return the network's outputs at x and what goes into the named layer."""
    notes = Notes()
    outputs = call(tap(network, {name: None}, notes), x)
    return outputs, notes.inputs[name][0]


def slopes_of(
    network: PyTree,
    probes: dict[str, Array],
    x: Any,
    columns: Callable[[Array], Array] | None = None,
    rest: PyTree = None,
) -> tuple[Float[Array, " m"], dict[str, Array], dict[str, Array], PyTree]:
    """Return the outputs, what goes into every probed layer, and derivatives of the outputs.

    They are those in what every probed layer returns, and those in the weights `rest`.

    Args:
        network: any Equinox module.
        probes: from `simple_layers`.
        x: one input.
        columns: function of the outputs that returns the rows to send back instead of one for every output.
        rest: pytree like the network, None where no derivative is wanted.
    """

    def outputs(probes, rest):
        notes = Notes()
        whole = network if rest is None else eqx.combine(rest, network)
        value = call(tap(whole, probes, notes), x)
        return value, {name: found[0] for name, found in notes.inputs.items()}

    value, back, inputs = jax.vjp(outputs, probes, rest, has_aux=True)
    rows = jnp.eye(value.shape[0], dtype=value.dtype) if columns is None else columns(value)
    return value, inputs, *jax.vmap(back)(rows)


def without(weights: PyTree, names: Iterable[str]) -> PyTree:
    """Return the weights, None in the places of the named layers'."""
    gone = set(names)

    def emptied(path, node):
        drop = is_layer(node) and _name(path) in gone
        return jax.tree.map(lambda _: None, node) if drop else node

    return jax.tree_util.tree_map_with_path(emptied, weights, is_leaf=is_layer)


def with_one(inputs: Float[Array, " n"], layer: Any) -> Float[Array, " n_or_more"]:
    """Return the inputs of a linear layer, and a one that its bias is multiplied by, if it has one."""
    return inputs if layer.bias is None else jnp.append(inputs, jnp.ones((), inputs.dtype))


def patches(inputs: Float[Array, "channels ..."], layer: Any) -> Float[Array, "numbers places"]:
    """Return what a convolution multiplies its weights with, one column for every place of its output."""
    columns = jax.lax.conv_general_dilated_patches(
        inputs[None],
        filter_shape=layer.kernel_size,
        window_strides=layer.stride,
        padding=layer.padding,
        rhs_dilation=layer.dilation,
        precision=jax.lax.Precision.HIGHEST,
    )[0]
    columns = columns.reshape(columns.shape[0], -1)
    if layer.bias is None:
        return columns
    return jnp.concatenate([columns, jnp.ones((1, columns.shape[1]), columns.dtype)])


def to_table(
    weight: Float[Array, "outputs ..."], bias: Float[Array, "outputs ..."] | None
) -> Float[Array, "outputs n"]:
    """Return weights and bias of a layer as one table: a row for every output, the bias last."""
    table = weight.reshape(weight.shape[0], -1)
    return table if bias is None else jnp.concatenate([table, bias.reshape(-1, 1)], axis=1)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path).lstrip(".") or "network"
