"""A search along the gradient with its outcome as data, and how sure one may be of the point it found."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree


class Search(eqx.Module):
    """Where one search stands."""

    free: Float[Array, " n"]
    optimizer: PyTree
    best: Float[Array, " n"]
    best_loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    history: Float[Array, " steps"]
    step: Int[Array, ""]
    idle: Int[Array, ""]
    finite: Bool[Array, ""]
    done: Bool[Array, ""]
    scores: Float[Array, "series n"] | None = None


def search(
    loss: Callable,
    first: Array,
    optimizer: optax.GradientTransformationExtraArgs,
    steps: int,
    patience: int,
    tolerance: Any,
    with_scores: Callable | None = None,
) -> Search:
    """Minimise from one start until the gradient is small, nothing gets better or the steps are used up.

    `with_scores` returns loss, gradient and the gradients of the series behind them, those of the best point
    are kept. It is not called by a line search, which evaluates the loss itself.
    """
    infinite = jnp.full((), jnp.inf, first.dtype)
    rows = jnp.arange(steps)
    memory = optimizer.init(first)
    # A line search has already evaluated the point that it settled on.
    remembers = optax.tree_utils.tree_get(memory, "grad") is not None
    remembered: Any = optax.value_and_grad_from_state(loss)

    def advance(state: Search) -> Search:
        scores = None
        if with_scores is not None and not remembers:
            value, gradient, scores = with_scores(state.free)
        elif remembers:
            value, gradient = remembered(state.free, state=state.optimizer)
        else:
            value, gradient = jax.value_and_grad(loss)(state.free)
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
        norm = jnp.max(jnp.abs(gradient))
        flat = norm <= tolerance
        better = finite & ((value < state.best_loss) | (flat & (value < state.best_loss + tolerance)))
        idle = jnp.where(better, 0, state.idle + 1)
        safe = jnp.where(finite, gradient, 0.0)
        update, memory = optimizer.update(
            safe, state.optimizer, state.free, value=value, grad=safe, value_fn=loss
        )
        done = ~finite | flat | (idle >= patience)
        moved = jnp.where(done, state.free, state.free + jnp.asarray(update))
        return Search(
            moved,
            memory,
            jnp.where(better, state.free, state.best),
            jnp.where(better, value, state.best_loss),
            jnp.where(better, norm, state.gradient_norm),
            jnp.where((rows >= state.step) & (finite | (state.step == 0)), value, state.history),
            state.step + 1,
            idle,
            finite,
            done,
            None if scores is None else jnp.where(better, scores, jnp.asarray(state.scores)),
        )

    begin = Search(
        first,
        memory,
        first,
        infinite,
        infinite,
        jnp.zeros(steps, first.dtype),
        jnp.zeros((), int),
        jnp.zeros((), int),
        jnp.array(True),
        jnp.array(False),
        None if with_scores is None or remembers else jnp.zeros_like(jax.eval_shape(with_scores, first)[2]),
    )
    return jax.lax.while_loop(lambda state: ~state.done & (state.step < steps), advance, begin)


def curvature(totals: Callable, flat: Array, is_likelihood: bool) -> tuple[Array, Array | None]:
    """Return the Hessian of the total, and where it is no likelihood the series' scores, squared and summed.

    One direction after the other, because all at once would need as many times the memory of a gradient.
    """
    directions = jnp.eye(flat.size, dtype=flat.dtype)
    slope = jax.grad(lambda point: jnp.sum(totals(point)[0]))
    bread = jax.lax.map(lambda direction: jax.jvp(slope, (flat,), (direction,))[1], directions)
    if is_likelihood:
        return bread, None
    scores = jax.lax.map(
        lambda direction: jax.jvp(lambda point: totals(point)[0], (flat,), (direction,))[1], directions
    )
    return bread, scores @ scores.T


def inverse(bread: Float[Array, "n n"], meat: Float[Array, "n n"] | None) -> tuple[Array, Array]:
    """Return the inverse of an information matrix, and as columns the directions without information.

    The matrix is scaled to a unit diagonal first, so that units do not decide what counts as no information.
    """
    diagonal = jnp.abs(jnp.diagonal(bread))
    scale = jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1.0)), 1.0)
    values, vectors = jnp.linalg.eigh(scale[:, None] * 0.5 * (bread + bread.T) * scale[None, :])
    known = values > 10 * len(diagonal) * jnp.finfo(bread.dtype).eps
    inverse = (vectors * jnp.where(known, 1.0 / jnp.where(known, values, 1.0), 0.0)) @ vectors.T
    inverse = scale[:, None] * inverse * scale[None, :]
    covariance = inverse if meat is None else inverse @ meat @ inverse
    return covariance, scale[:, None] * vectors * jnp.where(known, 0.0, 1.0)


def delta_method(resolve: Callable, flat: Array, covariance: Array, unknown: Array) -> PyTree:
    """Return the standard errors of what `resolve` makes of the free numbers."""

    def numbers(point: Array) -> PyTree:
        return eqx.filter(resolve(point), eqx.is_inexact_array)

    jacobian = jax.jacfwd(lambda point: ravel_pytree(numbers(point))[0])(flat)
    variances = jnp.einsum("in,nk,ik->i", jacobian, covariance, jacobian)
    lost = jnp.sum((jacobian @ unknown) ** 2, axis=1)
    blind = lost > 1e-6 * jnp.sum((jacobian**2), axis=1) * jnp.max(jnp.sum(unknown**2, axis=0), initial=1e-30)
    errors = jnp.where(blind, jnp.inf, jnp.sqrt(jnp.maximum(variances, 0)))
    return ravel_pytree(numbers(flat))[1](errors)
