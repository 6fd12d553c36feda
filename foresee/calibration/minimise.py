"""Minimising a smooth convex loss by Optax's L-BFGS until its gradient vanishes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree


def minimise(
    loss: Callable[[PyTree], Float[Array, ""]],
    start: PyTree,
    steps: int = 200,
    tolerance: float | None = None,
) -> tuple[PyTree, Bool[Array, ""]]:
    """Return where a smooth loss is least, and whether its gradient vanished there.

    Args:
        loss: function of a pytree of arrays, of the order of 1 and well scaled.
        start: where to begin.
        steps: most steps taken.
        tolerance: norm of the gradient below which the search ends; None: √eps of the dtype.
    """
    # Backtracking is enough where the loss is convex, and compiles in less time than a search for Wolfe's
    # conditions.
    solver = optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(20))
    dtype = jax.tree.leaves(start)[0].dtype
    limit = jnp.sqrt(jnp.finfo(dtype).eps) if tolerance is None else jnp.asarray(tolerance, dtype)

    def go_on(carry: tuple) -> Bool[Array, ""]:
        _, _, done, number = carry
        return ~done & (number <= steps)

    def step(carry: tuple) -> tuple:
        parameters, state, _, number = carry
        value, gradient = jax.value_and_grad(loss)(parameters)
        done = optax.tree.norm(gradient) <= limit
        updates, state = solver.update(gradient, state, parameters, value=value, grad=gradient, value_fn=loss)
        after = optax.apply_updates(parameters, updates)
        after = jax.tree.map(lambda new, old: jnp.where(done, old, new), after, parameters)
        return after, state, done, number + 1

    carry = (start, solver.init(start), jnp.asarray(False), jnp.asarray(0))
    parameters, _, done, _ = jax.lax.while_loop(go_on, step, carry)
    return parameters, done
