"""Many steps of a world, fed with its own predictions, and the loss over them. Start with `unroll`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee.beliefs.gaussian import as_float
from foresee.errors import OptionError, ShapeError
from foresee.fit.known import Known


def unroll(
    step: Callable[..., PyTree],
    state: PyTree,
    actions: PyTree,
    *,
    length: int | None = None,
    key: PRNGKeyArray | None = None,
    checkpoint: bool = False,
) -> PyTree:
    """Return the states after every step, stacked along a first axis; the first state is not among them.

    Args:
        step: step(state, action), with a key step(state, action, key=key), returning the next state of the
            same structure, shapes and types.
        state: any pytree of arrays, as positions and hidden states of a network.
        actions: pytree of arrays with a leading axis of steps; None for none.
        length: number of steps where there are no actions.
        key: source of randomness, split over the steps; None where a step draws nothing.
        checkpoint: whether the way back computes every step once more instead of keeping what is inside it:
            about a third more time, and memory for the states only.

    Raises:
        OptionError: if neither actions nor a length say how many steps there are.
        ShapeError: if they do not agree on it.
    """
    steps = _steps(actions, length)

    def advance(state, given):
        action, sub = given
        following = step(state, action) if sub is None else step(state, action, key=sub)
        return following, following

    keys = None if key is None else jax.random.split(key, steps)
    advance = eqx.filter_checkpoint(advance, prevent_cse=False) if checkpoint else advance
    return jax.lax.scan(advance, state, (actions, keys), length=steps)[1]


def _steps(actions: PyTree, length: int | None) -> int:
    """Return how many steps there are."""
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(actions)}
    sizes |= set() if length is None else {length}
    if not sizes:
        raise OptionError("unroll: expected actions or a length, got neither")
    if len(sizes) != 1 or None in sizes:
        raise ShapeError(f"unroll: expected one number of steps, got {sorted(map(str, sizes))}")
    return int(sizes.pop() or 0)


def mean_step(
    world: Any, state: Float[Array, " n"], action: Any, *, key: PRNGKeyArray | None = None
) -> Float[Array, " n"]:
    """Return the state moved by the mean of a world that says how a state changes; the key is for dropout."""
    return state + world(state, action, key=key).mean()


def sampled_step(
    world: Any, state: Float[Array, " n"], action: Any, *, key: PRNGKeyArray
) -> Float[Array, " n"]:
    """Return the state moved by a draw of a world that says how a state changes."""
    inside, draw = jax.random.split(key)
    return state + world(state, action, key=inside).sample(key=draw)


def squared_error(state: PyTree, target: PyTree) -> Float[Array, ""]:
    """Return the sum of squared differences over all numbers of a state."""
    squares = jax.tree.map(lambda own, other: jnp.sum((own - other) ** 2), state, target)
    return jnp.asarray(sum(jax.tree.leaves(squares)))


class Unrolled(eqx.Module):
    """The loss of many steps: a world is fed with its own predictions and compared with what happened.

    It is what `fit` takes, for an example (state, actions, targets): the first state, the actions and the
    states after every one of them.

    Args:
        step: step(world, state, action, key=key), returning the next state.
        error: error(state, target), a number.
        discount: factor between the weights of a step and the one before it; weights sum to one.
        checkpoint: as in `unroll`.
    """

    step: Callable[..., PyTree] = eqx.field(static=True)
    error: Callable[..., Any] = eqx.field(static=True)
    discount: Known
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        step: Callable[..., PyTree] = mean_step,
        error: Callable[..., Any] = squared_error,
        discount: float | int | Float[Array, ""] = 1.0,
        checkpoint: bool = False,
    ):
        self.step, self.error, self.checkpoint = step, error, checkpoint
        self.discount = Known(as_float(discount))

    def __call__(
        self, world: Any, example: tuple[PyTree, PyTree, PyTree], *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """Return the weighted mean of the errors of all steps."""
        start, actions, targets = example

        def step(state, action, *, key):
            return self.step(world, state, action, key=key)

        length = jax.tree.leaves(targets)[0].shape[0]
        states = unroll(step, start, actions, length=length, key=key, checkpoint=self.checkpoint)
        errors = jax.vmap(self.error)(states, targets)
        weights = self.discount.fixed() ** jnp.arange(length)
        return jnp.sum(errors * weights) / jnp.sum(weights)
