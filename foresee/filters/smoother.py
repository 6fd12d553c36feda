"""Smoothing: what was true at every row, given the whole series (Rauch, Tung and Striebel 1965)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from foresee import linalg
from foresee.beliefs.belief import AbstractConditional, AbstractFilter
from foresee.beliefs.gaussian import DiagonalGaussian, Gaussian
from foresee.dynamics.linear import AbstractLinear
from foresee.errors import ShapeError
from foresee.filters.extended import ExtendedKalmanFilter, linearize
from foresee.filters.kalman import KalmanFilter
from foresee.filters.run import Run
from foresee.filters.unscented import UnscentedKalmanFilter


def smooth(
    filter: AbstractFilter,
    motion: AbstractConditional,
    run: Run,
    *,
    inputs: PyTree = None,
    dt: Any = 1.0,
) -> Gaussian:
    """Return the belief at every row given all rows of a run.

    Give the same filter, motion, inputs and durations as to `run`. Linear, extended and unscented runs are
    smoothed with the linearisation of their own filter (Särkkä 2013, theorem 8.2 and algorithms 9.1 and 9.3).
    Missing rows and components need no mention, since the run has already accounted for them; rows padded
    behind the end of a series must have no observation, and any duration.

    Args:
        filter: the filter that made the run.
        motion: its motion model.
        run: what `run` returned, for one stretch.
        inputs: known inputs of the motion, a pytree of arrays with T rows.
        dt: seconds from the row before to this one: one number or one per row. The first is not used.

    Returns:
        A Gaussian whose leaves have a leading axis of T rows.

    Raises:
        ShapeError: if inputs or durations do not have the rows of the run.
        ValueError: if the filter is not one of the three.
    """
    return _smooth(filter, motion, _checked(filter, run, inputs, dt), inputs, dt, False)[0]


def smooth_pairs(
    filter: AbstractFilter,
    motion: AbstractConditional,
    run: Run,
    *,
    inputs: PyTree = None,
    dt: Any = 1.0,
) -> tuple[Gaussian, Float[Array, "pairs n n"]]:
    """Return what `smooth` returns, and the covariances between neighbouring rows, Cov(xₜ, xₜ₊₁ | y₁..y_T).

    Expectation-maximisation needs the latter. For the arguments and errors see `smooth`.
    """
    return _smooth(filter, motion, _checked(filter, run, inputs, dt), inputs, dt, True)


def _checked(filter: AbstractFilter, run: Run, inputs: PyTree, dt: Any) -> Run:
    """Check that what was given to a smoother fits the run, and return the run."""
    if not isinstance(filter, (KalmanFilter, ExtendedKalmanFilter, UnscentedKalmanFilter)):
        raise ValueError(
            "smooth: expected a KalmanFilter, an ExtendedKalmanFilter or an UnscentedKalmanFilter, got "
            f"{type(filter).__name__}"
        )
    rows = run.log_evidences.shape[0]
    named = [("inputs", leaf) for leaf in jax.tree.leaves(inputs)] + ([("dt", dt)] if jnp.ndim(dt) else [])
    for name, value in named:
        if jnp.shape(value)[:1] != (rows,):
            raise ShapeError(f"smooth: expected {name} with {rows} rows, got shape {jnp.shape(value)}")
    return run


@eqx.filter_jit
def _smooth(filter, motion, run, inputs, dt, pairs) -> tuple[Gaussian, Any]:
    motion, table = transitions(motion, run, inputs, dt)
    last = jax.tree.map(lambda leaf: leaf[-1], run.filtered)

    def step(later, row):
        before, after, u, duration = row
        gain, rest, noise = backward(filter, motion, before, after, u, dt if duration is None else duration)
        change = linalg.matvec(gain, after.residual(later.vector()))
        location = linalg.wrap_components(before.vector() + change, before.circular)
        covariance = linalg.matmul(rest, rest.T) + linalg.sandwich(gain, noise + later.covariance)
        belief = Gaussian(location, covariance, before.circular)
        return belief, (belief, linalg.matmul(gain, later.covariance) if pairs else None)

    _, (earlier, neighbours) = jax.lax.scan(step, last, table, reverse=True)
    return jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), earlier, last), neighbours


def transitions(motion: Any, run: Run, inputs: Any, dt: Any) -> tuple[Any, tuple]:
    """Return the motion, its matrices computed if they never change, and a table of T − 1 transitions.

    A row of the table holds the filtered belief before, the predicted belief after, the input and the
    duration.
    """
    if isinstance(motion, AbstractLinear) and inputs is None and jnp.ndim(dt) == 0:
        motion = motion.linear(None, dt)
    before = jax.tree.map(lambda leaf: leaf[:-1], run.filtered)
    after, inputs = jax.tree.map(lambda leaf: leaf[1:], (run.predicted, inputs))
    return motion, (before, after, inputs, dt[1:] if jnp.ndim(dt) else None)


def backward(
    filter: AbstractFilter, motion: AbstractConditional, before: Gaussian, after: Gaussian, u: Any, dt: Any
) -> tuple[Float[Array, "n n"], Float[Array, "n n"], Float[Array, "n n"]]:
    """Return what one backward step needs: the gain G, M = (I − G F) L, and the noise Q of the motion.

    With P = L Lᵀ the filtered covariance and F the linearised motion, G = P Fᵀ (F P Fᵀ + Q)⁻¹, and the
    smoothed covariance is M Mᵀ + G (Q + later covariance) Gᵀ: a sum of squares, where the textbook's
    difference P − G (predicted − later covariance) Gᵀ can become indefinite in float32.
    """
    factor, slope, noise = _transition(filter, motion, before, u, dt)
    gain = _solve_semidefinite(after.covariance, linalg.matmul(slope.T, factor.T)).T
    return gain, factor - linalg.matmul(gain, slope.T), noise


def _transition(filter, motion, before: Gaussian, u: Any, dt: Any) -> tuple[Array, Array, Array]:
    """Return L, (F L)ᵀ and Q of the motion linearised as the filter does it."""
    if isinstance(filter, UnscentedKalmanFilter):
        moved = filter.transform(before, motion, u, dt)
        return moved.factor, moved.slope, moved.noise
    if isinstance(filter, ExtendedKalmanFilter):
        outcome, matrix = linearize(motion, before.vector(), u, dt)
        noise = outcome.variances() if isinstance(outcome, DiagonalGaussian) else outcome.covariance
    else:
        model = motion.linear(u, dt)
        matrix, noise = model.matrix, model.covariance
    factor = linalg.cholesky(before.covariance)
    return factor, linalg.matmul(matrix, factor).T, jnp.diag(noise) if noise.ndim == 1 else noise


def _solve_semidefinite(matrix: Float[Array, "n n"], right: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Solve A x = b for a positive semi-definite A and b within its range, without dividing by zero.

    Rows and columns are scaled to a unit diagonal, so that rounding is judged alike for metres and radians; a
    pivot that rounding could have made is treated as zero, and the unknown that belongs to it is set to zero.
    """
    n = matrix.shape[0]
    diagonal = jnp.diagonal(matrix)
    scale = jnp.where(diagonal > 0, 1.0 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1.0)), 0.0)
    tolerance = n * jnp.finfo(matrix.dtype).eps
    rest = matrix * scale[:, None] * scale
    solution = right * scale[:, None]
    if n > linalg.UNROLLED:
        factor = jnp.linalg.cholesky(rest + jnp.diag(jnp.where(diagonal > 0, tolerance, 1.0)))
        solution = linalg.solve_upper(factor, linalg.solve_lower(factor, solution))
        return solution * scale[:, None]
    columns, inverses = [], []
    for j in range(n):
        pivot = rest[j, j]
        usable = pivot > tolerance
        inverse = jnp.where(usable, 1.0 / jnp.where(usable, pivot, 1.0), 0.0)
        column = jnp.where(jnp.arange(n) > j, rest[:, j], 0.0) * inverse
        columns.append(column)
        inverses.append(inverse)
        rest = rest - column[:, None] * rest[j, :]
        solution = solution - column[:, None] * solution[j]
    solution = solution * jnp.stack(inverses)[:, None]
    rows: list[Array] = [solution[0]] * n
    for i in reversed(range(n)):
        value = solution[i]
        for j in range(i + 1, n):
            value = value - columns[i][j] * rows[j]
        rows[i] = value
    return jnp.stack(rows) * scale[:, None]
