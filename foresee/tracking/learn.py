"""Learning a tracker's numbers from detections alone, by the gradient of their evidence."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from foresee.beliefs.gaussian import as_float
from foresee.errors import ForeseeError, OptionError, TrackingError
from foresee.filters import Fixed, Positive, PositiveDefinite
from foresee.filters.parameters import AbstractConstraint, concrete, is_constraint, plain, split
from foresee.filters.search import search
from foresee.tracking.association import BeliefPropagation
from foresee.tracking.detections import Detections, Scan
from foresee.tracking.sequence import log_evidence, room
from foresee.tracking.tracker import Tracker

LBFGS = optax.lbfgs(memory_size=25)  # made once: a new one would be a new function to compile


class Probability(AbstractConstraint):
    """A number between 0 and 1, through its log odds.

    Args:
        value: where to start.

    Raises:
        ForeseeError: if it is not between 0 and 1.
    """

    free: Float[Array, "*shape"]

    def __init__(self, value: Any):
        value = as_float(value)
        if not isinstance(value, Tracer) and not bool(
            np.all((np.asarray(value) > 0) & (np.asarray(value) < 1))
        ):
            raise ForeseeError(f"Probability: expected numbers between 0 and 1, got {value}")
        self.free = jnp.log(value) - jnp.log1p(-value)

    def array(self) -> Float[Array, "*shape"]:
        """Return the number."""
        return jax.nn.sigmoid(self.free)


class Learned(eqx.Module):
    """What was learned, and how the search went.

    Attributes:
        tracker: the tracker with the best numbers.
        log_evidence: log density of all detections under it.
        history: log evidence per detection before every step; behind the last step the last one is repeated.
        converged: whether the gradient of the evidence per detection is below the tolerance.
    """

    tracker: Tracker
    log_evidence: Float[Array, ""]
    history: Float[Array, " steps"]
    converged: Bool[Array, ""]


def free(tracker: Tracker) -> Any:
    """Return the tracker with wrappers around what is learned by default.

    These are the probability of detection, the density of clutter, the noise of the sensor, the numbers of
    the motion, and how many objects there are at first and appear later. Everything else is kept. A number
    at the edge of its range, as a rate of zero, is kept as well.
    """
    kept = jax.tree.map(lambda leaf: Fixed(leaf) if eqx.is_inexact_array(leaf) else leaf, tracker)

    def places(one: Any) -> tuple:
        return one.motion, one.sensor, one.clutter, one.birth.rate, one.birth.undetected, one.detection

    *densities, detection = places(tracker)
    inside = 0 < float(detection) < 1
    chance = Probability(detection) if inside else Fixed(detection)
    return eqx.tree_at(places, kept, (*jax.tree.map(_within_range, densities), chance))


def _within_range(leaf: Any) -> Any:
    """Return a wrapper that keeps a number positive, or a covariance one; at the edge it stays as it is."""
    if not eqx.is_inexact_array(leaf):
        return leaf
    if leaf.ndim < 2:
        return Positive(leaf) if bool(np.all(np.asarray(leaf) > 0)) else Fixed(leaf)
    values = np.asarray(leaf)
    square = leaf.ndim == 2 and leaf.shape[0] == leaf.shape[1] and np.allclose(values, values.T)
    definite = square and bool(np.linalg.eigvalsh(values).min() > 0)
    return PositiveDefinite(leaf) if definite else Fixed(leaf)


def learn(
    tracker: Tracker,
    detections: Detections | Sequence[Detections],
    *,
    capacity: int | None = None,
    steps: int = 40,
    tolerance: float = 1e-3,
) -> Learned:
    """Learn a tracker's numbers by gradient from detections alone; no truth is needed.

    The evidence is that of `BeliefPropagation`, whatever the tracker associates with, for a decision has
    none. Densities are per unit of what the sensor measures: numbers learned on a part of a crowded scene
    hold for all of it. The tracker's `volume` has to be right, for the clutter that is expected there is
    compared with it.

    Args:
        tracker: where to start: a tracker, of which `free` says what is learned; or one in which wrappers
            (`foresee.filters.Positive`, `Fixed`, …) stand where arrays were, as `free` returns it.
        detections: one sequence, or several that share their numbers.
        capacity: slots of the table; None for as many as the sequences are likely to need.
        steps: largest number of steps of L-BFGS.
        tolerance: stop when no component of the gradient of the evidence per detection, by the logarithm of a
            number, exceeds this.

    Raises:
        TrackingError: if there are no detections, or the evidence is not finite at the start.
        OptionError: if there are no steps.
    """
    if steps < 1:
        raise OptionError(f"learn: expected steps ≥ 1, got {steps}")
    several = [detections] if isinstance(detections, Detections) else list(detections)
    if not several or not sum(len(one.values) for one in several):
        raise TrackingError("learn: expected at least one detection, got none")
    constrained = any(is_constraint(leaf) for leaf in jax.tree.leaves(tracker, is_leaf=is_constraint))
    wrapped = concrete(tracker if constrained else free(tracker))
    capacity = capacity or max(room(one) for one in several)
    found, best, history, converged = _learn(wrapped, stacked(several), capacity, steps, tolerance)
    if not np.isfinite(np.asarray(history[0])):
        raise TrackingError(f"learn: expected a finite evidence at the start, got {history[0]} per detection")
    return Learned(found, best, history, converged)


@eqx.filter_jit
def _learn(wrapped: Any, scans: Scan, capacity: int, steps: int, tolerance: float) -> tuple:
    numbers, rest = split(wrapped)
    start, unravel = ravel_pytree(numbers)
    count = jnp.sum(scans.seen)

    def assembled(flat: Array) -> Any:
        return plain(eqx.combine(unravel(flat), rest))

    def loss(flat: Array) -> Array:
        found = assembled(flat)
        soft = eqx.tree_at(
            lambda one: one.association, found, _soft(found), is_leaf=lambda node: node is None
        )
        each = jax.vmap(lambda sequence: log_evidence(soft, sequence, capacity))(scans)
        return -jnp.sum(each) / count

    end = search(loss, start, optax.with_extra_args_support(LBFGS), steps, 10, tolerance)
    return assembled(end.best), -end.best_loss * count, -end.history, end.gradient_norm <= tolerance


def _soft(tracker: Tracker) -> BeliefPropagation:
    own = tracker.association
    return own if isinstance(own, BeliefPropagation) else BeliefPropagation()


def stacked(several: Sequence[Detections]) -> Scan:
    """Return sequences of scans as one batch; behind its end a sequence has scans in which nobody looked."""
    room_for = max(int(one.counts.max()) for one in several)
    room_for = 1 << max(room_for - 1, 0).bit_length()
    longest = max(len(one) for one in several)

    def longer(one: Detections) -> Scan:
        more = longest - len(one)
        return jax.tree.map(
            lambda leaf: jnp.pad(leaf, ((0, more),) + ((0, 0),) * (leaf.ndim - 1)), one.padded(room_for)
        )

    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(longer(one) for one in several))
