"""Linear-quadratic regulation: x' = A x + B u at the least Σ xᵀ Q x + uᵀ R u, over some steps or for ever."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from foresee import linalg
from foresee.errors import PlanningError, ShapeError
from foresee.planning.squares import check_weights

Matrices = Float[Array, "..."] | Float[np.ndarray, "..."]


class Regulator(eqx.Module):
    """Feedback u = -K x, and the value xᵀ P x of following it, for ever or for every step of some.

    Attributes:
        gain: K.
        value: P; over T steps there are T + 1 of them.
    """

    gain: Float[Array, "*T m n"]
    value: Float[Array, "*P n n"]

    def __call__(self, x: Float[Array, " n"], t: Any = 0) -> Float[Array, " m"]:
        """Return the input at a state, in step `t` where steps differ."""
        return -linalg.matvec(self.gain[t] if self.gain.ndim == 3 else self.gain, x)


def finite_lqr(
    a: Matrices,
    b: Matrices,
    state: Matrices,
    inputs: Matrices,
    end: Matrices,
    steps: int,
) -> Regulator:
    """Return the regulator over some steps, by Riccati's recursion (Bertsekas 2017, volume 1, section 3.1).

    Differentiable in everything; whatever has a leading axis of `steps` changes from step to step.

    Args:
        a: A (n, n).
        b: B (n, m).
        state: Q.
        inputs: R.
        end: weights of the last state.
        steps: number of steps.

    Raises:
        PlanningError: if weights are not positive semi-definite, R is singular, or there is no step.
    """
    if steps < 1:
        raise PlanningError(f"finite_lqr: expected at least 1 step, got {steps}")
    for weights, name in ((state, "state"), (inputs, "inputs"), (end, "end")):
        if jnp.ndim(weights) == 2:
            check_weights(jnp.asarray(weights), f"finite_lqr.{name}")
    parts = [jnp.asarray(part) for part in (a, b, state, inputs)]
    every = tuple(jnp.broadcast_to(part, (steps, *part.shape[-2:])) for part in parts)

    def step(value: Array, at: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        a, b, state, inputs = at
        moved = linalg.matmul(b.T, value)
        gain = linalg.solve_spd(linalg.matmul(moved, b) + inputs, linalg.matmul(moved, a))
        closed = a - linalg.matmul(b, gain)
        # Joseph's form: the sum of squares stays symmetric and positive in float32.
        before = state + linalg.sandwich(gain.T, inputs) + linalg.sandwich(closed.T, value)
        return before, (gain, before)

    end = jnp.asarray(end, every[0].dtype)
    _, (gains, values) = jax.lax.scan(step, end, every, reverse=True)
    return Regulator(gains, jnp.concatenate([values, end[None]]))


def lqr(a: Any, b: Any, state: Any, inputs: Any) -> Regulator:
    """Return the regulator for ever, by SciPy's solver of the discrete algebraic Riccati equation.

    Args:
        a: A (n, n).
        b: B (n, m).
        state: Q (n, n).
        inputs: R (m, m), positive definite.

    Raises:
        ShapeError: if the shapes do not fit each other.
        PlanningError: if the weights are not weights, or nothing brings the system to rest, as where a part
            that grows by itself cannot be reached.
    """
    a, b, state, inputs = (np.asarray(part, float) for part in (a, b, state, inputs))
    check_shapes(a, b, "lqr")
    for weights, size, name in ((state, a.shape[0], "state"), (inputs, b.shape[1], "inputs")):
        if weights.shape != (size, size):
            raise ShapeError(f"lqr.{name}: expected weights of shape {(size, size)}, got {weights.shape}")
        check_weights(jnp.asarray(weights), f"lqr.{name}")
    value = riccati(a, b, state, inputs, "lqr")
    gain = np.linalg.solve(inputs + b.T @ value @ b, b.T @ value @ a)
    return Regulator(jnp.asarray(gain), jnp.asarray(value))


def riccati(a: np.ndarray, b: np.ndarray, state: np.ndarray, inputs: np.ndarray, name: str) -> np.ndarray:
    """Return the solution of the discrete algebraic Riccati equation, or say why there is none."""
    try:
        value = scipy.linalg.solve_discrete_are(a, b, state, inputs)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise PlanningError(
            f"{name}: expected a system that can be brought to rest, and weights that see what grows: {error}"
        ) from error
    return 0.5 * (value + value.T)


def check_shapes(a: np.ndarray, b: np.ndarray, name: str) -> None:
    """Raise ShapeError unless A is square, B has as many rows, and all numbers are finite."""
    if a.ndim != 2 or a.shape[0] != a.shape[1] or b.ndim != 2 or b.shape[0] != a.shape[0]:
        raise ShapeError(
            f"{name}: expected A of shape (n, n) and B of shape (n, m), got {a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise PlanningError(f"{name}: expected finite numbers in A and B, got {a} and {b}")


def discretised(a: Any, b: Any, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return A and B over a step of `dt` seconds of ẋ = A x + B u with the input held (exactly)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    check_shapes(a, b, "discretised")
    n, m = b.shape
    whole = scipy.linalg.expm(dt * np.block([[a, b], [np.zeros((m, n + m))]]))
    return whole[:n, :n], whole[:n, n:]


def with_integral(a: Any, b: Any, output: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return A and B of the state with the sum of C x appended, whose regulation leaves no lasting error.

    Feed the sum with C x - wanted: then C x comes to what is wanted, whatever constant push disturbs it.
    """
    a, b, output = (np.asarray(part, float) for part in (a, b, output))
    check_shapes(a, b, "with_integral")
    if output.ndim != 2 or output.shape[1] != a.shape[0]:
        raise ShapeError(f"with_integral: expected C of shape (k, {a.shape[0]}), got {output.shape}")
    rows = output.shape[0]
    larger = np.block([[a, np.zeros((a.shape[0], rows))], [output, np.eye(rows)]])
    return larger, np.vstack([b, np.zeros((rows, b.shape[1]))])
