"""Hidden Markov models: filtering, smoothing and the most probable path where the state is one of K.

Start with `forward`. What a sensor saw enters as a table of log likelihoods, log p(yₜ | xₜ = k), so any
sensor will do.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from foresee.beliefs.categorical import Categorical
from foresee.beliefs.gaussian import as_float
from foresee.errors import ForeseeError, ShapeError


class DiscreteRun(eqx.Module):
    """What was believed of a discrete state at every row of a series.

    Attributes:
        predicted: the belief at every row before its observation; `log_weights` has shape (T, K).
        filtered: the belief at every row after its observation.
        log_evidences: log p(yₜ | y₁..yₜ₋₁); 0 for rows that were not seen.
        last: the belief to go on from.
    """

    predicted: Categorical
    filtered: Categorical
    log_evidences: Float[Array, " T"]
    last: Categorical

    @property
    def log_evidence(self) -> Float[Array, ""]:
        """The log evidence log p(y₁..y_T) of everything that was seen."""
        return jnp.sum(self.log_evidences, axis=-1)


def forward(
    prior: Categorical,
    transition: Float[Array, "K K"] | Float[Array, "T K K"],
    log_likelihoods: Float[Array, "T K"],
    *,
    seen: Bool[Array, " T"] | None = None,
    predict_first: bool = True,
    parallel: bool = False,
) -> DiscreteRun:
    """Filter a series: predict through every row's transition, then update (Rabiner 1989, section III).

    All sums are over logarithms, so neither long series nor forbidden transitions underflow. An observation
    that no possible state explains has the evidence −inf and leaves the belief as predicted; in parallel all
    seen rows from there on have the evidence −inf.

    Args:
        prior: belief before the first row.
        transition: probabilities p(xₜ = j | xₜ₋₁ = i) in row i and column j; or one such matrix per row of
            the series, of which the first is not used if `predict_first` is False.
        log_likelihoods: log p(yₜ | xₜ = k).
        seen: which rows were observed; what stands in the others has no influence. None for all.
        predict_first: False if the prior already holds at the time of the first row.
        parallel: combine rows in a tree instead of one after another (Hassan, Särkkä and García-Fernández
            2021): K times the work in log T steps, for long series on an accelerator.

    Raises:
        ShapeError: if the shapes do not fit each other.
        ForeseeError: if a row of a transition matrix does not sum to one.
    """
    moves, flags = _check(prior, transition, log_likelihoods, seen)
    rows = jnp.where(flags[:, None], log_likelihoods, 0.0)
    first = _log_sum(prior.log_weights[:, None] + _at(moves, 0), 0) if predict_first else prior.log_weights
    if parallel:
        return _forward_in_parallel(first, moves, rows, flags)
    start = _correct(first, rows[0], flags[0])

    def step(belief, row):
        move, log_likelihood, flag = row
        predicted = _log_sum(belief[:, None] + (moves if move is None else move), 0)
        filtered, evidence = _correct(predicted, log_likelihood, flag)
        return filtered, (predicted, filtered, evidence)

    table = (moves[1:] if moves.ndim == 3 else None, rows[1:], flags[1:])
    _, others = jax.lax.scan(step, start[0], table)
    leading = (first, *start)
    return _as_run(*(jnp.concatenate([one[None], many]) for one, many in zip(leading, others, strict=True)))


def backward(
    run: DiscreteRun, transition: Float[Array, "K K"] | Float[Array, "T K K"], *, parallel: bool = False
) -> Categorical:
    """Return the belief at every row given the whole series: `log_weights` of shape (T, K).

    The backward pass needs only what the forward pass believed, as Rauch–Tung–Striebel smoothing does for
    Gaussians.

    Args:
        run: result of `forward`.
        transition: the same that `forward` was given.
        parallel: combine rows in a tree instead of one after another.
    """
    filtered, predicted = run.filtered.log_weights, run.predicted.log_weights
    moves = _log(as_float(transition))
    later = moves[1:] if moves.ndim == 3 else jnp.broadcast_to(moves, (len(filtered) - 1, *moves.shape))
    # kernels[t, j, i] = log p(xₜ = i | xₜ₊₁ = j, y₁..yₜ); rows of impossible states j stay empty.
    joint = filtered[:-1, None, :] + jnp.swapaxes(later, 1, 2)
    reachable = jnp.isfinite(predicted[1:, :, None])
    kernels = jnp.where(reachable, joint - jnp.where(reachable, predicted[1:, :, None], 0.0), -jnp.inf)
    if parallel:
        end = jnp.broadcast_to(filtered[-1], kernels.shape[1:])
        chain = jnp.concatenate([kernels, end[None]])
        products = jax.lax.associative_scan(jax.vmap(_log_product), chain, reverse=True)
        return jax.vmap(Categorical)(products[:, 0])

    def step(smoothed, kernel):
        smoothed = _log_sum(smoothed[:, None] + kernel, 0)
        return smoothed, smoothed

    _, smoothed = jax.lax.scan(step, filtered[-1], kernels, reverse=True)
    return jax.vmap(Categorical)(jnp.concatenate([smoothed, filtered[-1:]]))


def forward_backward(
    prior: Categorical,
    transition: Float[Array, "K K"] | Float[Array, "T K K"],
    log_likelihoods: Float[Array, "T K"],
    *,
    seen: Bool[Array, " T"] | None = None,
    predict_first: bool = True,
    parallel: bool = False,
) -> tuple[Categorical, DiscreteRun]:
    """Return the belief at every row given the whole series, and the forward run.

    Arguments as for `forward`.
    """
    run = forward(
        prior, transition, log_likelihoods, seen=seen, predict_first=predict_first, parallel=parallel
    )
    return backward(run, transition, parallel=parallel), run


def viterbi(
    prior: Categorical,
    transition: Float[Array, "K K"] | Float[Array, "T K K"],
    log_likelihoods: Float[Array, "T K"],
    *,
    seen: Bool[Array, " T"] | None = None,
    predict_first: bool = True,
) -> tuple[Int[Array, " T"], Float[Array, ""]]:
    """Return the most probable path x₁..x_T and log p(x₁..x_T, y₁..y_T) (Viterbi 1967).

    Arguments as for `forward`. With `predict_first` the state before the first row is no part of the path and
    is summed over.
    """
    moves, flags = _check(prior, transition, log_likelihoods, seen)
    rows = jnp.where(flags[:, None], log_likelihoods, 0.0)
    first = _log_sum(prior.log_weights[:, None] + _at(moves, 0), 0) if predict_first else prior.log_weights

    def step(best, row):
        move, log_likelihood = row
        candidates = best[:, None] + (moves if move is None else move)
        return jnp.max(candidates, axis=0) + log_likelihood, jnp.argmax(candidates, axis=0)

    best, pointers = jax.lax.scan(step, first + rows[0], (moves[1:] if moves.ndim == 3 else None, rows[1:]))
    end = jnp.argmax(best)

    def follow(state, pointer):
        return pointer[state], pointer[state]

    _, path = jax.lax.scan(follow, end, pointers, reverse=True)
    return jnp.concatenate([path, end[None]]), best[end]


def _forward_in_parallel(
    first: Float[Array, " K"],
    moves: Float[Array, "K K"] | Float[Array, "T K K"],
    rows: Float[Array, "T K"],
    flags: Bool[Array, " T"],
) -> DiscreteRun:
    """Filter with an associative scan over the matrices log p(xₜ, yₜ | xₜ₋₁), rescaled on the way."""
    size = rows.shape[1]
    later = moves[1:] if moves.ndim == 3 else jnp.broadcast_to(moves, (len(rows) - 1, size, size))
    chain = jnp.concatenate([jnp.broadcast_to(first, (1, size, size)), later]) + rows[:, None, :]
    products = jax.lax.associative_scan(jax.vmap(_log_product), chain)
    explained = jnp.any(jnp.isfinite(products[:, 0]), axis=1)
    filtered = jax.nn.log_softmax(jnp.where(explained[:, None], products[:, 0], 0.0), axis=-1)
    predicted = jnp.concatenate(
        [first[None], jax.vmap(_log_sum, (0, None))(filtered[:-1, :, None] + later, 0)]
    )
    filtered, evidences = jax.vmap(_correct)(predicted, rows, flags)
    return _as_run(predicted, filtered, jnp.where(flags & ~explained, -jnp.inf, evidences))


def _as_run(predicted: Array, filtered: Array, evidences: Array) -> DiscreteRun:
    belief = jax.vmap(Categorical)
    return DiscreteRun(belief(predicted), belief(filtered), evidences, Categorical(filtered[-1]))


def _correct(
    predicted: Float[Array, " K"], log_likelihood: Float[Array, " K"], flag: Bool[Array, ""]
) -> tuple[Float[Array, " K"], Float[Array, ""]]:
    """Return the belief after one row, and the row's log evidence."""
    joint = predicted + log_likelihood
    evidence = _log_sum(joint, 0)
    explained = flag & jnp.isfinite(evidence)
    filtered = jnp.where(explained, joint - jnp.where(explained, evidence, 0.0), predicted)
    return filtered, jnp.where(flag, evidence, 0.0)


def _log_product(left: Float[Array, "K K"], right: Float[Array, "K K"]) -> Float[Array, "K K"]:
    """Return the logarithm of exp(left) exp(right), shifted so that its largest entry is 0."""
    product = _log_sum(left[:, :, None] + right[None, :, :], 1)
    return product - _finite_max(product)


def _finite_max(values: Float[Array, "..."], axis: int | None = None) -> Float[Array, "..."]:
    largest = jax.lax.stop_gradient(jnp.max(values, axis=axis, keepdims=True))
    return jnp.where(jnp.isfinite(largest), largest, 0.0)


def _log_sum(values: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Return log Σ exp along an axis, with gradients that are finite where every term is −inf."""
    largest = _finite_max(values, axis)
    total = jnp.sum(jnp.exp(values - largest), axis=axis)
    return _log(total) + jnp.squeeze(largest, axis)


def _log(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the logarithm, −inf at zero without an infinite gradient there."""
    positive = values > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, values, 1.0)), -jnp.inf)


def _at(moves: Array, row: int) -> Array:
    return moves[row] if moves.ndim == 3 else moves


def _check(prior: Categorical, transition: Any, log_likelihoods: Array, seen: Any) -> tuple[Array, Array]:
    """Return log transition probabilities and flags, after checking all shapes."""
    size = prior.log_weights.shape[0]
    if log_likelihoods.ndim != 2 or log_likelihoods.shape[1] != size or log_likelihoods.shape[0] == 0:
        raise ShapeError(
            f"expected log likelihoods of shape (T, {size}) with T ≥ 1, got {log_likelihoods.shape}"
        )
    rows = log_likelihoods.shape[0]
    transition = as_float(transition)
    if transition.shape not in ((size, size), (rows, size, size)):
        raise ShapeError(
            f"expected a transition of shape ({size}, {size}) or ({rows}, {size}, {size}), "
            f"got {transition.shape}"
        )
    flags = jnp.ones(rows, bool) if seen is None else jnp.asarray(seen, bool)
    if flags.shape != (rows,):
        raise ShapeError(f"expected seen of shape ({rows},), got {flags.shape}")
    if not isinstance(transition, Tracer):
        table = np.asarray(transition)
        off = np.abs(table.sum(-1) - 1).max()
        if not off < 100 * size * jnp.finfo(transition.dtype).eps or table.min() < 0:
            raise ForeseeError(
                "expected transition probabilities ≥ 0 whose rows sum to 1, got the smallest "
                f"{table.min():.3g} and a row sum off by {off:.3g}"
            )
    return _log(transition), flags
