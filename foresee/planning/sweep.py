"""The three passes of iLQR over many trajectories side by side: slopes, feedback, and new trajectories.

Every array has the trajectories along its last axis, so that a kernel's inner loop runs over them; how many
there are does not change the number of kernels, which is what a single one has to pay for.
"""

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.planning.box import faces
from foresee.planning.squares import AbstractSquares

WRITTEN_OUT = (
    1500  # products of residuals' slopes up to which zeros among them are looked for by the compiler
)


class Lanes(NamedTuple):
    """A problem's functions for `L` trajectories side by side, each possibly with parameters of its own.

    Attributes:
        step: states (n, L) and inputs (m, L) to the next states (n, L).
        step_all: the same with a further axis of S step lengths before the last.
        costs: states (T+1, n, L) and inputs (T, m, L) to the costs (L,).
        costs_all: the same with a further axis of S step lengths before the last.
        expand: the same to the costs' slopes and curvatures, see `Expansion`.
        lower, upper: bounds (m, L).
    """

    step: Callable
    step_all: Callable
    costs: Callable
    costs_all: Callable
    expand: Callable
    lower: Array
    upper: Array


class Expansion(NamedTuple):
    """Second-order model around trajectories; z = (x, u) has k = n + m components.

    Attributes:
        motion: ∂x'/∂z.
        slope, curvature: of the stage cost in z.
        end_slope, end_curvature: of the terminal cost in x.
    """

    motion: Float[Array, "T n k L"]
    slope: Float[Array, "T k L"]
    curvature: Float[Array, "T k k L"]
    end_slope: Float[Array, "n L"]
    end_curvature: Float[Array, "n n L"]


class Feedback(NamedTuple):
    """What a pass from the end gives: u = u₀ + α k + K (x - x₀), and by how much it should lower the cost.

    Attributes:
        feedforward: k, one array for each input.
        gains: K, one array for each input.
        predicted: decrease of the cost that a whole step promises.
        solved: whether every step had a least input.
    """

    feedforward: tuple[Float[Array, "T L"], ...]
    gains: tuple[Float[Array, "T n L"], ...]
    predicted: Float[Array, " L"]
    solved: Bool[Array, " L"]


def _apart(arrays: Any) -> Any:
    """Have arrays computed before they are used: fused into each use, XLA would compute them there again."""
    return jax.lax.optimization_barrier(arrays)


def _times(left: Array, right: Array) -> Array:
    """Multiply (a, b, L) by (b, c, L); a kernel for every row is twice as fast as one for all."""
    rows = [sum(left[i, k] * right[k] for k in range(left.shape[1])) for i in range(left.shape[0])]
    return jnp.stack(_apart(rows))


def backward(
    model: Expansion, inputs: Float[Array, "T m L"], lanes: Lanes, damping: Float[Array, " L"]
) -> Feedback:
    """Return feedback from the end on, with inputs in their box (Tassa 2014, equations 5 to 11).

    Args:
        model: around the trajectories.
        inputs: of the trajectories.
        lanes: the functions.
        damping: by which share the curvature in the inputs is raised (Marquardt).
    """
    n = model.end_slope.shape[0]

    def step(carry: tuple[Array, ...], at: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple]:
        value_slope, value, predicted, solved = carry
        motion, slope, curvature, u = at
        m = u.shape[0]
        q = _apart(slope + sum(motion[k] * value_slope[k] for k in range(n)))
        curved = _apart(curvature + _times(jnp.swapaxes(motion, 0, 1), _times(value, motion)))
        hessian = [[curved[n + i, n + j] for j in range(m)] for i in range(m)]
        damped = [
            [hessian[i][j] + (damping * jnp.abs(hessian[i][i]) if i == j else 0.0) for j in range(m)]
            for i in range(m)
        ]
        slopes = [q[n + i] for i in range(m)]
        found = faces(damped, slopes, list(lanes.lower - u), list(lanes.upper - u))
        point, inverse, fine = _apart(found)
        cross = [curved[n + i, :n] for i in range(m)]
        gains = _apart([-sum(inverse[i][j] * cross[j] for j in range(m)) for i in range(m)])
        pull = [sum(hessian[i][j] * point[j] for j in range(m)) for i in range(m)]
        lift = _apart([sum(hessian[i][j] * gains[j] for j in range(m)) + cross[i] for i in range(m)])
        slope_before = q[:n] + sum(gains[i] * (pull[i] + slopes[i]) + cross[i] * point[i] for i in range(m))
        rows = [
            curved[k, :n] + sum(gains[i][k] * lift[i] + cross[i][k] * gains[i] for i in range(m))
            for k in range(n)
        ]
        value_before = jnp.stack(_apart(rows))
        gained = sum(point[i] * (slopes[i] + 0.5 * pull[i]) for i in range(m))
        return (slope_before, value_before, predicted - gained, solved & fine), (tuple(point), tuple(gains))

    nothing = jnp.zeros_like(damping)
    begin = (model.end_slope, model.end_curvature, nothing, nothing == 0)
    steps = (model.motion, model.slope, model.curvature, inputs)
    (_, _, predicted, solved), (feedforward, gains) = jax.lax.scan(step, begin, steps, reverse=True)
    return Feedback(feedforward, gains, predicted, solved)


def forward(
    states: Float[Array, "P n L"],
    inputs: Float[Array, "T m L"],
    feedback: Feedback,
    lengths: Float[Array, " S"],
    lanes: Lanes,
) -> tuple[Float[Array, "P n S L"], Float[Array, "T m S L"]]:
    """Return the trajectories that follow the feedback, with several step lengths at once."""
    n = states.shape[1]

    def step(x: Array, at: tuple) -> tuple[Array, tuple[Array, Array]]:
        before, u, feedforward, gains = at
        off = x - before[:, None]
        moved = [
            u[i] + lengths[:, None] * feedforward[i] + sum(gains[i][j] * off[j] for j in range(n))
            for i in range(u.shape[0])
        ]
        clipped = jnp.clip(jnp.stack(moved), lanes.lower[:, None], lanes.upper[:, None])
        clipped = jax.lax.optimization_barrier(clipped)
        return lanes.step_all(x, clipped), (x, clipped)

    first = jnp.broadcast_to(states[0][:, None], (n, lengths.shape[0], states.shape[-1]))
    steps = (states[:-1], inputs, feedback.feedforward, feedback.gains)
    last, (new, clipped) = jax.lax.scan(step, first, steps)
    return jnp.concatenate([new, last[None]]), clipped


def lanes_of(problem: Any, axes: Any, lower: Float[Array, "m L"], upper: Float[Array, "m L"]) -> Lanes:
    """Return a problem's functions for many trajectories side by side.

    Args:
        problem: parameters that differ between trajectories have them along their first axis.
        axes: the same pytree, with 0 where they differ and None where they do not.
        lower: lower bounds of the inputs.
        upper: upper bounds of the inputs.
    """

    def many(function: Callable, *arrays: Array) -> Any:
        """Spread a function of the problem and arrays over the last axis of these."""
        return jax.vmap(function, in_axes=(axes, *[-1] * len(arrays)), out_axes=-1)(problem, *arrays)

    def twice(function: Callable, *arrays: Array) -> Any:
        return many(jax.vmap(function, in_axes=(None, *[-1] * len(arrays)), out_axes=-1), *arrays)

    def step(one: Any, x: Array, u: Array) -> Array:
        return one.step(x, u)

    def cost(one: Any, states: Array, inputs: Array) -> Array:
        return one.cost(states, inputs)

    def expand(states: Array, inputs: Array) -> Expansion:
        steps = jnp.arange(inputs.shape[0])

        def spread(function: Callable) -> Callable:
            """Spread a function of problem, x, u and the step's number over steps and trajectories."""
            return lambda x, u: jax.vmap(lambda *at: many(lambda one, *z: function(one, *z, at[2]), *at[:2]))(
                x, u, steps
            )

        before = states[:-1]
        _, motion = _columns(spread(lambda one, x, u, t: one.step(x, u)), before, inputs)
        if isinstance(problem.stage, AbstractSquares):
            residuals = spread(lambda one, x, u, t: one.stage.residuals(x, u, t))
            slope, curvature = _squared(*_columns(residuals, before, inputs))
        else:
            slope, curvature = spread(_second_order)(before, inputs)
        if isinstance(problem.terminal, AbstractSquares):
            ends = _columns(lambda x: many(lambda one, x: one.terminal.residuals(x), x), states[-1])
            end_slope, end_curvature = _squared(*ends)
        else:
            end_slope, end_curvature = many(
                lambda one, x: (jax.grad(one.terminal)(x), jax.hessian(one.terminal)(x)), states[-1]
            )
        return Expansion(jnp.stack(_apart(motion), axis=-2), slope, curvature, end_slope, end_curvature)

    return Lanes(
        partial(many, step),
        partial(twice, step),
        partial(many, cost),
        partial(twice, cost),
        expand,
        lower,
        upper,
    )


def _columns(function: Callable, *parts: Array) -> tuple[Array, list[Array]]:
    """Return the value of a function of arrays (..., k, L) and its slopes in every component.

    Tangents are written as constants, so that the compiler drops what is multiplied by zero.
    """
    value, push = jax.linearize(function, *parts)
    columns = []
    for which, part in enumerate(parts):
        blank, size = part[..., 0, :], part.shape[-2]
        for i in range(size):
            tangents = [jnp.zeros_like(other) for other in parts]
            one_hot = [(jnp.ones_like if j == i else jnp.zeros_like)(blank) for j in range(size)]
            tangents[which] = jnp.stack(one_hot, axis=-2)
            columns.append(push(*tangents))
    return value, columns


def _squared(value: Array, columns: list[Array]) -> tuple[Array, Array]:
    """Return slope and Gauss–Newton curvature of Σ r² for residuals (..., r, L) and their slopes."""
    size, count = len(columns), value.shape[-2]
    written_out = count * size**2 <= WRITTEN_OUT

    def product(left: Array, right: Array) -> Array:
        if not written_out:
            return 2 * jnp.sum(left * right, axis=-2)
        return 2 * reduce(add, [left[..., r, :] * right[..., r, :] for r in range(count)])

    slope = jnp.stack(_apart([product(column, value) for column in columns]), axis=-2)
    upper = {(i, j): product(columns[i], columns[j]) for i in range(size) for j in range(i, size)}
    upper = _apart(upper)
    rows = [jnp.stack([upper[min(i, j), max(i, j)] for j in range(size)], axis=-2) for i in range(size)]
    return slope, jnp.stack(rows, axis=-3)


def _second_order(problem: Any, x: Array, u: Array, t: Array) -> tuple[Array, Array]:
    def cost(z: Array) -> Array:
        return problem.stage(z[: x.shape[0]], z[x.shape[0] :], t)

    z = jnp.concatenate([x, u])
    return jax.grad(cost)(z), jax.hessian(cost)(z)
