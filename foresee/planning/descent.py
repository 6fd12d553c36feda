"""iLQR for many problems side by side: finished ones make room for those that wait."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.planning.sweep import Lanes, backward, forward

DAMP, EASE = 10.0, 0.1  # by what damping grows after a failure and shrinks after a success
LEAST, MOST = 1e-6, 1e8  # damping below which there is none, and above which one gives up


class Rules(NamedTuple):
    """When and how steps are taken; see `foresee.planning.ilqr.Ilqr`."""

    lengths: Float[Array, " S"]
    tolerance: float
    steps: int


class Descent(NamedTuple):
    """Where the trajectories stand."""

    states: Float[Array, "P n L"]
    inputs: Float[Array, "T m L"]
    costs: Float[Array, " L"]
    damping: Float[Array, " L"]
    taken: Int[Array, " L"]
    tried: Int[Array, " L"]
    converged: Bool[Array, " L"]
    ended: Bool[Array, " L"]


def begin(lanes: Lanes, first: Float[Array, "n L"], inputs: Float[Array, "T m L"]) -> Descent:
    """Return the trajectories of the first inputs; those without a finite cost have ended already."""

    def step(x: Array, u: Array) -> tuple[Array, Array]:
        return lanes.step(x, u), x

    last, states = jax.lax.scan(step, first, inputs)
    states = jnp.concatenate([states, last[None]])
    costs = lanes.costs(states, inputs)
    nothing = jnp.zeros(costs.shape, int)
    return Descent(
        states, inputs, costs, jnp.zeros_like(costs), nothing, nothing, nothing > 0, ~jnp.isfinite(costs)
    )


def improve(lanes: Lanes, now: Descent, rules: Rules) -> Descent:
    """Return the trajectories after one more step of those that have not ended."""
    feedback = backward(lanes.expand(now.states, now.inputs), now.inputs, lanes, now.damping)
    new_states, new_inputs = forward(now.states, now.inputs, feedback, rules.lengths, lanes)
    costs = lanes.costs_all(new_states, new_inputs)
    costs = jnp.where(jnp.isfinite(costs), costs, jnp.inf)
    chosen, least = jnp.argmin(costs, axis=0), jnp.min(costs, axis=0)
    enough = rules.tolerance * jnp.abs(now.costs)
    done = feedback.solved & (feedback.predicted <= enough)
    lower = feedback.solved & (least < now.costs)
    settled = lower & (chosen == 0) & (now.costs - least <= enough)
    take = lower & ~now.ended
    damping = jnp.where(lower, now.damping * EASE, jnp.maximum(now.damping * DAMP, 1e3 * LEAST))
    damping = jnp.where(damping < LEAST, 0.0, damping)
    tried = now.tried + ~now.ended
    return Descent(
        jnp.where(take, _chosen(new_states, chosen), now.states),
        jnp.where(take, _chosen(new_inputs, chosen), now.inputs),
        jnp.where(take, least, now.costs),
        damping,
        now.taken + (take & ~done),  # the last pass only finds that nothing is left to be gained
        tried,
        now.converged | ((done | settled) & ~now.ended),
        now.ended | done | settled | (damping > MOST) | (tried >= rules.steps),
    )


def _chosen(arrays: Float[Array, "T k S L"], chosen: Int[Array, " L"]) -> Float[Array, "T k L"]:
    picked = arrays[:, :, 0]
    for index in range(1, arrays.shape[2]):
        picked = jnp.where(chosen == index, arrays[:, :, index], picked)
    return picked


def descend(lanes: Lanes, first: Float[Array, "n L"], inputs: Float[Array, "T m L"], rules: Rules) -> Descent:
    """Return the trajectories once all have ended."""
    return jax.lax.while_loop(
        lambda now: ~jnp.all(now.ended), lambda now: improve(lanes, now, rules), begin(lanes, first, inputs)
    )


def descend_in_turns(
    make: Any, everything: Descent, rules: Rules, width: int
) -> tuple[Float[Array, "P T m"], Bool[Array, " P"], Int[Array, " P"]]:
    """Improve P trajectories, `width` at a time; one that has ended makes room for the next that waits.

    Problems end after very different numbers of steps. Side by side all would wait for the slowest; so the
    work is the sum of their steps, and not their number times the largest.

    Args:
        make: which problems (L,) to their functions side by side.
        everything: the first trajectories of all.
        rules: when and how steps are taken.
        width: so many at a time.

    Returns:
        Inputs, whether they converged, and the number of steps taken.
    """
    total = everything.costs.shape[0]

    def exchange(carry: tuple) -> tuple:
        now, which, waiting, inputs, converged, taken = carry
        # A lane without a problem has the number `total`, which is out of range and dropped.
        at = jnp.where(now.ended, which, total)
        inputs = inputs.at[at].set(jnp.moveaxis(now.inputs, -1, 0), mode="drop")
        converged = converged.at[at].set(now.converged, mode="drop")
        taken = taken.at[at].set(now.taken, mode="drop")
        following = waiting + jnp.cumsum(now.ended) - 1
        following = jnp.where(following < total, following, total)
        which = jnp.where(now.ended, following, which)
        fetched = jax.tree.map(
            lambda leaf: jnp.take(leaf, jnp.minimum(following, total - 1), axis=-1), everything
        )
        fetched = fetched._replace(ended=fetched.ended | (following == total))
        now = jax.tree.map(lambda new, old: jnp.where(now.ended, new, old), fetched, now)
        return now, which, jnp.minimum(waiting + jnp.sum(carry[0].ended), total), inputs, converged, taken

    def go_on(carry: tuple) -> tuple:
        now, which, *rest = carry
        now = improve(make(jnp.minimum(which, total - 1)), now, rules)
        free = jnp.sum(now.ended & (which < total))
        busy = jnp.sum(~now.ended)
        return jax.lax.cond(
            (free * 8 >= width) | (busy == 0), exchange, lambda carry: carry, (now, which, *rest)
        )

    which = jnp.arange(width)
    now = jax.tree.map(lambda leaf: leaf[..., :width], everything)
    blank = jnp.moveaxis(everything.inputs, -1, 0)
    carry = (now, which, jnp.asarray(width), blank, jnp.zeros(total, bool), jnp.zeros(total, int))
    carry = jax.lax.while_loop(lambda carry: jnp.any(carry[1] < total), go_on, carry)
    return carry[3:]
