"""L2M: a posterior over the weights of a trained network from what the optimiser remembers. Start with `l2m`.

Adam and its relatives keep an average v̂ of the squared gradients of minibatches. Near an optimum its
expectation is the diagonal of the Fisher information of one row divided by the size B of a batch. So, with N
rows,

    θ ~ N(θ̂, diag 1 / (scale · N · B · v̂ + λ))

is a Laplace approximation that costs nothing but its tuning (Perone et al. 2021, "L2M: Practical posterior
Laplace approximation with optimization-driven second moment estimation").
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from foresee.errors import OptionError, PosteriorError, ShapeError
from foresee.posteriors.diagonal import DiagonalCurvature, StackedCurvature
from foresee.posteriors.likelihood import AbstractLikelihood, count_rows
from foresee.posteriors.network import WeightBelief, WeightMixture, doubtful

DECAY = 0.999  # Optax's default of b2 in Adam and its relatives


class SecondMoments(eqx.Module):
    """The averages of squared gradients that an optimiser keeps, corrected for their start at zero.

    Attributes:
        values: v̂: a pytree like the network, None where the optimiser keeps none.
        filled: share of the averages that consists of gradients, the least over their parts; the rest is
            where they started. Well below one, they average few steps and are noisy; NaN where steps are not
            counted.
    """

    values: PyTree
    filled: Float[Array, ""]


def l2m(
    network: PyTree,
    optimizer_state: PyTree,
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    batch_size: int,
    validation: tuple[PyTree, Array] | None = None,
    prior_precision: Any = None,
    scale: Any = None,
    which: Any = "all",
    decay: float | None = None,
) -> WeightBelief:
    """Return the belief about a trained network, from its optimiser's state.

    With `validation` the prior precision and the scale are those whose linearised predictions lose least
    there, which is what to do; without, the prior precision is that of the greatest evidence, under which a
    diagonal posterior of a large network doubts far too much. `l2m_curvature` and its `tune` do the same in
    two steps, for a look at what was tried.

    Args:
        network: the trained network.
        optimizer_state: the state that Optax's optimiser ended with, chained, masked or wrapped; or the
            `SecondMoments` of another one.
        likelihood: what the outputs mean. Training must have minimised its loss, the mean over a batch.
        data: what was trained on, any pytree with rows first; it is only counted.
        batch_size: rows in a step of the optimiser; accumulated gradients count as one step.
        validation: inputs and targets that were not trained on, some hundred to two thousand rows.
        prior_precision: λ, the inverse variance of every weight before the data; None finds it.
        scale: what the curvature is multiplied with; None finds it by validation and is 1 without.
        which: weights in doubt: "all", those of the "last" dense layer, or a filter. Weights that the
            optimiser did not train are never in doubt.
        decay: decay of the average (b2 of Adam), which no state holds unless `inject_hyperparams` put it
            there; None stands for that one, or else 0.999, the default of Adam. RMSprop that corrects its
            start needs it named. After a few times 1 / (1 − decay) steps it makes no difference.

    Raises:
        PosteriorError: if the state holds no second moments, has not taken a step, or belongs to another
            network, or if a batch holds all rows.
        ShapeError: if second moments have another shape than the weights.
    """
    curvature = l2m_curvature(
        network, optimizer_state, count_rows(data, "l2m"), batch_size=batch_size, which=which, decay=decay
    )
    tuned = curvature.tune(likelihood, validation, prior_precision=prior_precision, scale=scale)
    return curvature.belief(tuned.prior_precision, tuned.scale)


def l2m_ensemble(
    networks: PyTree,
    optimizer_states: PyTree,
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    batch_size: int,
    rows: int | None = None,
    validation: tuple[PyTree, Array] | None = None,
    prior_precision: Any = None,
    scale: Any = None,
    which: Any = "all",
    decay: float | None = None,
) -> WeightMixture:
    """Return L2M around every member of an ensemble: a mixture of Gaussians over the weights.

    One prior precision and scale serve all members, chosen by what the mixture predicts.

    Args:
        networks: networks of which every array has a leading axis of members, as `fit` returns them.
        optimizer_states: their optimisers' states, stacked in the same way.
        likelihood: as in `l2m`.
        data: as in `l2m`.
        batch_size: as in `l2m`.
        rows: how many rows a member saw, where that is not all of the data.
        validation: as in `l2m`.
        prior_precision: as in `l2m`.
        scale: as in `l2m`.
        which: as in `l2m`.
        decay: as in `l2m`.

    Raises:
        PosteriorError: as in `l2m`.
        ShapeError: as in `l2m`.
    """
    count = count_rows(data, "l2m") if rows is None else rows

    def one(network, state):
        return l2m_curvature(network, state, count, batch_size=batch_size, which=which, decay=decay)

    members = {leaf.shape[0] for leaf in jax.tree.leaves(eqx.filter(networks, eqx.is_array)) if leaf.ndim}
    if len(members) != 1:
        raise ShapeError(
            f"l2m_ensemble: expected networks stacked along one leading axis, got {sorted(members)}"
        )
    curvatures = StackedCurvature(eqx.filter_vmap(one)(networks, optimizer_states))
    tuned = curvatures.tune(likelihood, validation, prior_precision=prior_precision, scale=scale)
    return curvatures.belief(tuned.prior_precision, tuned.scale)


def l2m_curvature(
    network: PyTree,
    optimizer_state: PyTree,
    rows: int,
    *,
    batch_size: int,
    which: Any = "all",
    decay: float | None = None,
) -> DiagonalCurvature:
    """Return the network with the curvature N · B · v̂, before a prior precision and scale are chosen.

    Args:
        network: as in `l2m`.
        optimizer_state: as in `l2m`.
        rows: how many rows N were trained on.
        batch_size: as in `l2m`.
        which: as in `l2m`.
        decay: as in `l2m`.

    Raises:
        PosteriorError: as in `l2m`.
        ShapeError: as in `l2m`.
    """
    if batch_size < 1 or rows < 1:
        raise OptionError(
            f"l2m: expected at least one row and batch_size of at least 1, got {rows}, {batch_size}"
        )
    if batch_size >= rows > 1:
        raise PosteriorError(
            f"l2m: expected a batch_size below the {rows} rows, got {batch_size}: the gradient of all rows "
            "vanishes at the optimum and says nothing about the curvature"
        )
    if isinstance(optimizer_state, SecondMoments):
        moments = optimizer_state
    else:
        moments = second_moments(optimizer_state, network, decay=decay)
    weights = doubtful(network, which)
    kept = _where_both(moments.values, weights)
    weights = _where_both(weights, kept)
    if not jax.tree.leaves(weights):
        raise PosteriorError("l2m: expected second moments of the weights in doubt, got none for any of them")
    return DiagonalCurvature(network, weights, jax.tree.map(lambda v: rows * batch_size * v, kept))


def second_moments(optimizer_state: PyTree, network: PyTree, *, decay: float | None = None) -> SecondMoments:
    """Return the averages of squared gradients in the state of an Optax optimiser.

    They are the fields `nu` anywhere in the state: of Adam, AdamW, Nadam, AMSGrad, RMSprop and others,
    chained, masked, in `multi_transform`, `inject_hyperparams` or `MultiSteps`. Where the optimiser counts
    its t steps they are divided by 1 − decayᵗ. Plain RMSprop counts nothing and corrects nothing; nor does
    this.

    Args:
        optimizer_state: the state.
        network: the network that it belongs to.
        decay: as in `l2m`.

    Raises:
        PosteriorError: if there are none, or they belong to another network, or no step was taken.
        ShapeError: if one has another shape than the weight that it belongs to.
    """
    if decay is not None and not 0 < decay < 1:
        raise OptionError(f"second moments: expected a decay between 0 and 1, got {decay}")
    found: dict[str, Array] = {}
    filled = []
    for holder, injected in _holders(optimizer_state, None):
        corrected, share = _corrected(holder, decay if decay is not None else injected)
        found |= corrected
        filled.append(share)
    if not found:
        names = sorted({type(node).__name__ for node in _named_tuples(optimizer_state)})
        raise PosteriorError(
            "second moments: expected an optimiser state with averages of squared gradients (nu), as of "
            f"Adam, AdamW or RMSprop, got {', '.join(names) or type(optimizer_state).__name__}"
        )
    values = _placed(found, network)
    least = jnp.nanmin(jnp.stack([jnp.asarray(share, float) for share in filled]))
    if not isinstance(least, Tracer) and bool(least <= 0):
        raise PosteriorError(
            "second moments: expected an optimiser that has taken a step, got one that has not"
        )
    return SecondMoments(values, least)


def _holders(state: PyTree, injected: Any) -> list[tuple[Any, Any]]:
    """Return the nodes that hold `nu`, each with the decay that was injected around it or None."""
    if _has(state, "nu"):
        return [(state, injected)]
    if _has(state, "hyperparams"):
        injected = state.hyperparams.get("b2", state.hyperparams.get("decay", injected))

    def inner(node):
        return node is not state and (_has(node, "nu") or _has(node, "hyperparams"))

    nodes = [node for node in jax.tree.leaves(state, is_leaf=inner) if inner(node)]
    return [held for node in nodes for held in _holders(node, injected)]


def _corrected(holder: Any, decay: Any) -> tuple[dict[str, Array], Any]:
    """Return the second moments by path, divided by the share of them that is gradients, and that share."""
    leaves = jax.tree_util.tree_flatten_with_path(holder.nu)[0]
    share = jnp.asarray(jnp.nan)
    if _has(holder, "count"):
        rate = jnp.asarray(DECAY if decay is None else decay, float)
        share = -jnp.expm1(holder.count * jnp.log(rate))
    divisor = jnp.where(share > 0, share, 1.0)
    return {jax.tree_util.keystr(path): leaf / divisor.astype(leaf.dtype) for path, leaf in leaves}, share


def _placed(found: dict[str, Array], network: PyTree) -> PyTree:
    """Return a pytree like the network of the arrays with these paths."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(network)
    paths = [jax.tree_util.keystr(path) for path, _ in leaves]
    unknown = sorted(set(found) - set(paths))
    if unknown:
        raise PosteriorError(
            f"second moments: expected those of this network, got one for {unknown[0] or 'a single array'}, "
            f"which it does not have; it has {', '.join(paths[:4])}…"
        )
    for path, (_, leaf) in zip(paths, leaves, strict=True):
        if path in found and np.shape(leaf) != found[path].shape:
            raise ShapeError(
                f"second moments: expected shape {np.shape(leaf)} for {path}, got {found[path].shape}"
            )
    return jax.tree.unflatten(structure, [found.get(path) for path in paths])


def _has(node: Any, field: str) -> bool:
    """Return whether a node is a named tuple with this field; every tuple has a method `count`."""
    return field in getattr(node, "_fields", ())


def _named_tuples(state: PyTree) -> list[Any]:
    """Return the innermost named tuples, to say what a state consists of."""
    if isinstance(state, tuple | list):
        inner = [found for node in state for found in _named_tuples(node)]
        return inner or ([state] if hasattr(state, "_fields") else [])
    if isinstance(state, dict):
        return [found for node in state.values() for found in _named_tuples(node)]
    return []


def _where_both(tree: PyTree, other: PyTree) -> PyTree:
    """Return the first pytree, None where the second has nothing."""
    return jax.tree.map(
        lambda leaf, own: None if own is None else leaf, tree, other, is_leaf=lambda x: x is None
    )
