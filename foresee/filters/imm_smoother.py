"""Smoothing with several motions: which one held at every row, and the state, given the whole series."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from foresee import linalg
from foresee.beliefs.gaussian import Gaussian
from foresee.beliefs.mixture import Mixture, stack
from foresee.dynamics.linear import AbstractLinear
from foresee.errors import ForeseeError, ShapeError
from foresee.filters.imm import InteractingMultipleModel, gaussians, merged
from foresee.filters.run import Run
from foresee.filters.smoother import backward

# How much wider than expected a state may become by looking at the future; exactly, it never does.
LIMIT = 1.1


class _Pair(eqx.Module):
    """What is known of one pair of modes, i at a row and j at the next, before the future is looked at.

    Attributes:
        expected: the next row's state as foreseen from mode i by the motion of mode j.
        gain: smoothing gain of that step.
        covariance: covariance of the state given the next row's state.
    """

    expected: Gaussian
    gain: Float[Array, "*T n n"]
    covariance: Float[Array, "*T n n"]


def smooth_modes(
    filter: InteractingMultipleModel, motion: tuple, run: Run, *, inputs: PyTree = None, dt: Any = 1.0
) -> Mixture:
    """Return the belief at every row given all rows of a run with several motions.

    Give the same filter, motions, inputs and durations as to `run`. What the future says about the next state
    is the ratio of the smoothed to the predicted Gaussian of its mode. Backwards, every pair of modes at
    neighbouring rows is weighted by it and smoothed as by Rauch, Tung and Striebel with the motion of the
    later mode, and the pairs that share the earlier mode are merged into one Gaussian. Helmick, Blair and
    Hoffman (1995) weight by the future likewise; the passage by pairs is Kim's (1994), who lets the future
    speak through the later mode alone, which leaves positions several times less sharp where the modes differ
    much.

    Args:
        filter: the filter that made the run.
        motion: its motions, one per mode.
        run: what `run` returned, for one stretch.
        inputs: known inputs of the motion, a pytree of arrays with T rows.
        dt: seconds from the row before to this one: one number or one per row. The first is not used.

    Returns:
        A mixture of the modes whose leaves have a leading axis of T rows.

    Raises:
        ShapeError: if inputs or durations do not have the rows of the run.
        ForeseeError: if the filter is not one with several motions.
    """
    if not isinstance(filter, InteractingMultipleModel):
        raise ForeseeError(f"smooth_modes: expected an InteractingMultipleModel, got {type(filter).__name__}")
    rows = run.log_evidences.shape[0]
    named = [("inputs", leaf) for leaf in jax.tree.leaves(inputs)] + ([("dt", dt)] if jnp.ndim(dt) else [])
    for name, value in named:
        if jnp.shape(value)[:1] != (rows,):
            raise ShapeError(f"smooth_modes: expected {name} with {rows} rows, got shape {jnp.shape(value)}")
    motions = filter.per_mode(motion, "motion")
    return _smooth(filter, motions, run.predicted, run.filtered, inputs, dt)


@eqx.filter_jit
def _smooth(filter, motions, predicted: Any, filtered: Any, inputs, dt) -> Mixture:
    modes = range(filter.modes)
    pairs = [[_pair(filter, motions[j], filtered, i, inputs, dt) for j in modes] for i in modes]
    transitions = filter.transition_over(dt)
    if jnp.ndim(dt):
        transitions = jax.vmap(filter.transition_over)(dt)[1:]

    def step(later: Mixture, row):
        before, after, pairs_here, transition = row
        transition = transitions if transition is None else transition
        belief = _backward(before, after, pairs_here, transition, later)
        return belief, belief

    last = jax.tree.map(lambda leaf: leaf[-1], filtered)
    table = (_rows(filtered, slice(None, -1)), _rows(predicted, slice(1, None)), pairs)
    _, earlier = jax.lax.scan(step, last, (*table, transitions if jnp.ndim(dt) else None), reverse=True)
    return jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), earlier, last)


def _pair(filter, motion, filtered: Mixture, i: int, inputs: Any, dt: Any) -> _Pair:
    """Return one pair of modes at all rows but the last, side by side."""
    before = jax.tree.map(lambda leaf: leaf[:-1, i], filtered.components)
    if isinstance(motion, AbstractLinear) and inputs is None and jnp.ndim(dt) == 0:
        motion = motion.linear(None, dt)

    def step(belief, u, duration):
        duration = dt if duration is None else duration
        expected = filter.filter.predict(belief, motion, u, duration)
        gain, rest, noise = backward(filter.filter, motion, belief, expected, u, duration)
        return _Pair(expected, gain, linalg.matmul(rest, rest.T) + linalg.sandwich(gain, noise))

    return jax.vmap(step)(before, _rows(inputs, slice(1, None)), dt[1:] if jnp.ndim(dt) else None)


def _backward(
    before: Mixture, after: Mixture, pairs: list[list[_Pair]], transition: Array, later: Mixture
) -> Mixture:
    """Return the smoothed belief at a row from the smoothed belief at the next.

    Args:
        before: filtered belief at this row.
        after: predicted belief at the next row.
        pairs: pairs of the modes i at this row and j at the next.
        transition: probabilities of going from i to j.
        later: smoothed belief at the next row.
    """
    modes = range(before.log_weights.shape[0])
    locations, _, circular = gaussians(before)
    log_pairs: list[list[Array]] = [[] for _ in modes]
    means: list[list[Array]] = [[] for _ in modes]
    covariances: list[list[Array]] = [[] for _ in modes]
    for i, j in itertools.product(modes, modes):
        pair = pairs[i][j]
        target, log_future = _next_of_pair(pair.expected, after.component(j), later.component(j))
        change = linalg.matvec(pair.gain, pair.expected.residual(target.vector()))
        means[i].append(linalg.wrap_components(locations[i] + change, circular))
        covariances[i].append(pair.covariance + linalg.sandwich(pair.gain, target.covariance))
        log_pairs[i].append(log_future)
    prior = before.log_weights[:, None] + _log(transition.astype(before.log_weights.dtype))
    log_joint = _log_joint(prior + jnp.asarray(log_pairs), later.log_weights)
    log_weights = jax.nn.logsumexp(log_joint, axis=1)
    # A mode of weight zero still needs a finite state.
    shares = jnp.where(
        jnp.isfinite(log_weights)[:, None], jax.nn.softmax(log_joint, axis=1), 1.0 / len(modes)
    )
    smoothed = [merged(shares[i], jnp.stack(means[i]), jnp.stack(covariances[i]), circular) for i in modes]
    return Mixture(stack(smoothed), log_weights)


def _log_joint(log_pairs: Float[Array, "K K"], log_next: Float[Array, " K"]) -> Float[Array, "K K"]:
    """Return log p(i, j | series) from log p(i | j, series), up to constants, and log p(j | series)."""
    total = jax.nn.logsumexp(log_pairs, axis=0)
    log_joint = log_pairs - jnp.where(jnp.isfinite(total), total, 0.0) + log_next
    return log_joint - jax.nn.logsumexp(log_joint)


def _next_of_pair(expected: Gaussian, predicted: Any, smoothed: Any) -> tuple[Gaussian, Float[Array, ""]]:
    """Return the next row's state given a pair of modes and the whole series, and the future's log evidence.

    With N(a, A) expected for the pair, and N(m, M) predicted and N(s, S) smoothed for the later mode whatever
    came before it, N(x; s, S) / N(x; m, M) is what the future says about x. Its product with N(x; a, A) is
    taken in two steps that invert no small matrix: N(x; a, A) N(x; s, S) is N(a; s, A + S) N(x; c, C), and
    dividing that by N(x; m, M) leaves a Gaussian with the covariance C + C (M − C)⁻¹ C.

    What a merged Gaussian says of the future can be wider than what was predicted, which no future is; then
    it is taken to say nothing. Where the state is known exactly, N(s, S) is taken for the pair (Kim 1994).
    """
    factor, known = _factor(expected.covariance + smoothed.covariance)
    white = linalg.solve_lower(factor, expected.residual(smoothed.vector()))
    half = linalg.solve_lower(factor, expected.covariance)
    centre = linalg.wrap_components(expected.vector() + linalg.matvec(half.T, white), expected.circular)
    remaining = expected.covariance - linalg.matmul(half.T, half)
    rest, wide = _factor(predicted.covariance - remaining)
    far = linalg.solve_lower(rest, predicted.residual(centre))
    other_half = linalg.solve_lower(rest, remaining)
    location = linalg.wrap_components(centre + linalg.matvec(other_half.T, far), expected.circular)
    covariance = remaining + linalg.matmul(other_half.T, other_half)
    logs = jnp.sum(jnp.log(jnp.diagonal(factor))) + jnp.sum(jnp.log(jnp.diagonal(rest)))
    log_evidence = 0.5 * (jnp.sum(far**2) - jnp.sum(white**2)) - logs
    narrower = jnp.all(jnp.diagonal(covariance) <= LIMIT * jnp.diagonal(expected.covariance))
    usable = known & wide & narrower

    def choose(updated: Array, here: Array, whatever: Array) -> Array:
        return jnp.where(usable, updated, jnp.where(known, here, whatever))

    state = Gaussian(
        choose(location, expected.vector(), smoothed.vector()),
        choose(covariance, expected.covariance, smoothed.covariance),
        expected.circular,
    )
    return state, jnp.where(usable, log_evidence, 0.0)


def _factor(matrix: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Array]:
    """Return the Cholesky factor and True, or the identity and False where it is not positive definite."""
    factor = linalg.cholesky(matrix)
    definite = jnp.all(jnp.diagonal(factor) > 0)  # NaN, which LAPACK returns, is not above zero either
    return jnp.where(definite, factor, jnp.eye(matrix.shape[0], dtype=matrix.dtype)), definite


def _log(probabilities: Array) -> Array:
    positive = probabilities > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, probabilities, 1.0)), -jnp.inf)


def _rows(tree: PyTree, cut: slice) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[cut], tree)
