"""Laplace approximations: a normal belief about the weights of a trained network. Start with `laplace`."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from foresee.beliefs.frozen import freeze
from foresee.errors import OptionError, PosteriorError, ShapeError
from foresee.fit.known import trainable
from foresee.posteriors.curvature import ROWS_AT_ONCE, diagonal_ggn, full_ggn, last_layer_ggn, sum_over_rows
from foresee.posteriors.evidence import Curvature, maximise_evidence
from foresee.posteriors.kronecker import kronecker_factors, last_layer_factors
from foresee.posteriors.last_layer import LastLayerBelief
from foresee.posteriors.layers import Notes, find_layers, is_layer, last_layer, parts, tap
from foresee.posteriors.likelihood import (
    AbstractLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
    HeteroscedasticLikelihood,
    call,
    count_rows,
)
from foresee.posteriors.network import WeightBelief
from foresee.posteriors.spectrum import DiagonalSpectrum, full_spectrum, kronecker_spectrum
from foresee.posteriors.tuning import tune_by_validation

Structure = Literal["last_kronecker", "last_full", "last_diagonal", "kronecker", "diagonal", "full"]
PROBED = 4  # rows on which it is checked that the outputs are linear in the last layer


def laplace(
    network: PyTree,
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, Any],
    *,
    structure: Structure | str = "last_kronecker",
    prior_precision: Any = None,
    per_layer: bool = False,
    validation: tuple[PyTree, Any] | None = None,
    last: Callable[[PyTree], Any] | None = None,
    at_once: int = ROWS_AT_ONCE,
) -> WeightBelief | LastLayerBelief:
    """Return the belief about a trained network, N(θ, (Σ Jᵀ Λ J + λ I)⁻¹), without training anything again.

    θ are the trained weights and the sum is the generalised Gauss–Newton matrix of the training data, or the
    part of it that `structure` keeps (MacKay 1992; Daxberger et al. 2021). `foresee.posteriors.predict` turns
    the belief into predictions, by default of the linearised network.

    Args:
        network: any Equinox module that maps one input to a vector of outputs. It is switched to inference.
        likelihood: what the outputs mean.
        data: what it was trained on: inputs and targets, each with one leading axis of rows.
        structure: which weights are in doubt and how they hang together. "last_…" is the last linear layer,
            all others are all layers; "full" keeps all covariances, "kronecker" a Kronecker product for every
            layer, "diagonal" none.
        prior_precision: λ, one number or one for every layer; None takes the one with the largest evidence.
        per_layer: whether None finds one for every layer.
        validation: rows kept back, as `data`; with them None takes the precision whose predictions lose least
            there instead.
        last: function of the network that returns its last layer; None for the last `equinox.nn.Linear`.
        at_once: rows worked on together.

    Raises:
        PosteriorError: if a layer is not supported by the structure, the outputs are not linear in the last
            layer, or network or data hold NaN or labels out of range.
        ShapeError: if the data do not fit each other or the network.
        OptionError: if an option has a value nothing can be done with.
    """
    curvature = curvature_of(network, likelihood, data, structure=structure, last=last, at_once=at_once)
    if validation is not None and (prior_precision is not None or per_layer):
        raise OptionError(
            "laplace: validation rows choose one prior precision, expected none and no per_layer"
        )
    if validation is not None:
        kept = _checked(network, likelihood, validation)
        ways = (eqx.Partial(_prepare, curvature), eqx.Partial(_spread, curvature))
        prior_precision = tune_by_validation(*ways, likelihood, kept, scales=[1.0]).prior_precision
    elif prior_precision is None:
        found = maximise_evidence(curvature, per_part=per_layer)
        prior_precision = found.prior_precision if per_layer else found.prior_precision[0]
    elif not isinstance(prior_precision, Tracer) and not bool(np.all(np.asarray(prior_precision) > 0)):
        raise OptionError(f"laplace: expected a prior precision > 0, got {prior_precision}")
    return posterior(curvature, prior_precision)


def posterior(
    curvature: Curvature, prior_precision: Any, noise_scale: Any = 1.0
) -> WeightBelief | LastLayerBelief:
    """Return the belief about networks for a prior precision; for a given curvature it costs nothing.

    Args:
        curvature: from `curvature_of`.
        prior_precision: one number or one for every part.
        noise_scale: multiple of the likelihood's noise.

    Raises:
        OptionError: if there is a wrong number of precisions.
    """
    belief = WeightBelief(curvature.weights(prior_precision, noise_scale), curvature.network)
    return belief if curvature.last is None else LastLayerBelief(belief, curvature.last)


def _prepare(curvature: Curvature, x: Any) -> tuple[Array, Any]:
    return call(curvature.network, x), x


def _spread(curvature: Curvature, x: Any, prior_precision: Any, scale: Any) -> Array:
    return posterior(curvature, prior_precision, 1 / jnp.sqrt(scale)).outputs(x).covariance


def curvature_of(
    network: PyTree,
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, Any],
    *,
    structure: Structure | str = "last_kronecker",
    last: Callable[[PyTree], Any] | None = None,
    at_once: int = ROWS_AT_ONCE,
) -> Curvature:
    """Return what the data say of the weights: the one pass over them that a Laplace approximation needs.

    Hand it to `maximise_evidence` and `posterior` to look at the evidence, learn the noise of a regression,
    or try several priors. Arguments and errors as of `laplace`.
    """
    if structure not in get_args(Structure):
        raise OptionError(
            f"laplace: expected a structure of {', '.join(get_args(Structure))}; got {structure!r}"
        )
    if at_once < 1:
        raise OptionError(f"laplace: expected at_once ≥ 1, got {at_once}")
    network = eqx.nn.inference_mode(network)
    data = _checked(network, likelihood, data)
    x = jax.tree.map(lambda leaf: leaf[0], data[0])
    name = None
    if structure.startswith("last_"):
        name = last_layer(network, x, last)
        _check_linear(network, name, jax.tree.map(lambda leaf: leaf[:PROBED], data[0]))
    elif last is not None:
        raise OptionError(f"laplace: `last` has no meaning for the structure {structure!r}")
    return _curvature(network, likelihood, data, structure, name, at_once)


@eqx.filter_jit
def _curvature(
    network: PyTree,
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, Array],
    structure: str,
    name: str | None,
    at_once: int,
) -> Curvature:
    """Return the curvature; the compiled part."""
    x = data[0]
    doubtful = _doubtful(network, name)
    centre = eqx.filter(network, doubtful)
    names = ("all",) if structure == "full" else tuple(parts(centre))
    if structure == "full":
        spectrum = full_spectrum(full_ggn(network, likelihood, data, doubtful, at_once=at_once))
    elif structure == "last_full":
        tensor = last_layer_ggn(network, likelihood, x, str(name), at_once=at_once)
        spectrum = full_spectrum(_in_order(tensor, centre))
    elif structure == "kronecker":
        spectrum = kronecker_spectrum(centre, kronecker_factors(network, likelihood, x, at_once=at_once))
    elif structure == "last_kronecker":
        factors = last_layer_factors(network, likelihood, x, str(name), at_once=at_once)
        spectrum = kronecker_spectrum(centre, {str(name): factors})
    else:
        spectrum = DiagonalSpectrum(diagonal_ggn(network, likelihood, data, doubtful, at_once=at_once))
    loss, misfit, numbers = _losses(network, likelihood, data, at_once)
    return Curvature(*freeze(network), centre, spectrum, loss, misfit, numbers, names, name)


def _doubtful(network: PyTree, name: str | None) -> PyTree:
    """Return which leaves are in doubt: all that are learned, or those of the layer called `name`."""
    if name is None:
        return trainable(network)
    wanted = find_layers(network)[name]

    def mark(node):
        return jax.tree.map(lambda leaf: node is wanted and eqx.is_inexact_array(leaf), node)

    return jax.tree.map(mark, network, is_leaf=is_layer)


def _in_order(tensor: Float[Array, "m k m k"], centre: PyTree) -> Float[Array, "n n"]:
    """Return the matrix in the order in which a layer is flattened: all weights, then all biases."""
    outputs, inputs = tensor.shape[:2]
    flat = jnp.arange(outputs * inputs).reshape(outputs, inputs)
    if len(jax.tree.leaves(centre)) == 2:
        order = jnp.concatenate([flat[:, :-1].ravel(), flat[:, -1]])
    else:
        order = flat.ravel()
    return tensor.reshape(flat.size, flat.size)[order][:, order]


def _losses(
    network: PyTree, likelihood: AbstractLikelihood, data: tuple[PyTree, Array], at_once: int
) -> tuple[Float[Array, ""], Float[Array, ""] | None, int]:
    """Return the summed loss, the part of it that normal noise divides, and how many numbers there are."""
    scaled = isinstance(likelihood, GaussianLikelihood)

    def one(x, y):
        outputs = call(network, x)
        loss = likelihood.loss(outputs, y)
        return loss, loss - likelihood.loss(outputs, outputs) if scaled else jnp.zeros_like(loss)

    def part(rows, counts):
        return jax.tree.map(lambda leaf: counts @ leaf, jax.vmap(one)(*rows))

    dtype = jnp.result_type(*jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array)))
    loss, misfit = sum_over_rows(part, data, at_once, dtype)
    return loss, misfit if scaled else None, data[1].size


def _check_linear(network: PyTree, name: str, rows: PyTree) -> None:
    """Raise PosteriorError unless what is added to the last layer's output is added to the network's."""
    apart = _apart(network, name, rows)
    if not isinstance(apart, Tracer) and not bool(apart <= 1e3 * jnp.finfo(apart.dtype).eps):
        raise PosteriorError(
            f"expected a network whose outputs are what its last layer {name} returns, got one that changes "
            "them; leave out a softmax in the end, or name the right layer, as "
            "last=lambda network: network.layers[-1]"
        )


@eqx.filter_jit
def _apart(network: PyTree, name: str, rows: PyTree) -> Float[Array, ""]:
    """Return how far the outputs are from moving with the last layer's, in units of their size."""
    layer = find_layers(network)[name]

    def one(x, key):
        probe = jax.random.normal(key, (layer.weight.shape[0],), layer.weight.dtype)
        plain = call(network, x)
        if plain.shape != probe.shape:
            return jnp.full((), jnp.inf, plain.dtype)
        moved = call(tap(network, {name: probe}, Notes()), x)
        return jnp.max(jnp.abs(moved - plain - probe)) / (1 + jnp.max(jnp.abs(plain)))

    count = jax.tree.leaves(rows)[0].shape[0]
    return jnp.max(jax.vmap(one)(rows, jax.random.split(jax.random.key(0), count)))


def _checked(network: PyTree, likelihood: AbstractLikelihood, data: Any) -> tuple[PyTree, Array]:
    """Return inputs and targets as arrays, or say what is wrong with them."""
    if not isinstance(data, tuple) or len(data) != 2:
        raise ShapeError(f"laplace: expected data (inputs, targets), got {type(data).__name__}")
    x, y = jax.tree.map(jnp.asarray, data[0]), jnp.asarray(data[1])
    count_rows((x, y), "laplace")
    arrays = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    if not arrays:
        raise PosteriorError("laplace: expected a network with weights, got none")
    for what, leaves in (("the network", arrays), ("the inputs", jax.tree.leaves(x)), ("the targets", [y])):
        if not all(_finite(leaf) for leaf in leaves):
            raise PosteriorError(f"laplace: expected finite numbers in {what}, got NaN or infinity")
    outputs = jax.eval_shape(lambda x: call(network, x), jax.tree.map(lambda leaf: leaf[0], x))
    if not hasattr(outputs, "shape") or len(outputs.shape) != 1:
        raise ShapeError(f"laplace: expected a network that returns one vector, got {outputs}")
    _check_targets(likelihood, y, outputs.shape[0])
    return x, y


def _check_targets(likelihood: AbstractLikelihood, y: Array, outputs: int) -> None:
    if isinstance(likelihood, CategoricalLikelihood):
        if y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer):
            raise ShapeError(
                f"laplace: expected labels as a vector of integers, got {y.dtype}{list(y.shape)}"
            )
        low, high = (0, 0) if isinstance(y, Tracer) else (np.asarray(y).min(), np.asarray(y).max())
        if low < 0 or high >= outputs:
            raise PosteriorError(f"laplace: expected labels in 0..{outputs - 1}, got {low}..{high}")
        return
    wanted = {GaussianLikelihood: outputs, HeteroscedasticLikelihood: outputs // 2}.get(type(likelihood))
    if wanted is not None and y.shape != (y.shape[0], wanted):
        raise ShapeError(f"laplace: expected targets of shape (rows, {wanted}), got {y.shape}")


def _finite(leaf: Array) -> bool:
    if isinstance(leaf, Tracer) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return True
    return bool(np.isfinite(np.asarray(leaf)).all())
