"""The least of ½ dᵀ H d + qᵀ d in a box, written out for one or two inputs, else by Newton's method."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee import linalg

ROUNDS = 20  # of projected Newton; it ends exactly once the set of active bounds stays the same
HALVINGS = 6


class InBox(NamedTuple):
    """The least point of a convex quadratic in a box.

    Attributes:
        point: where it is.
        inverse: inverse of the part of H between the components that no bound holds; zero elsewhere.
        solved: whether that part of H is positive definite, so that there is one.
    """

    point: Float[Array, " m"]
    inverse: Float[Array, "m m"]
    solved: Bool[Array, ""]


def least_in_box(
    hessian: Float[Array, "m m"],
    slope: Float[Array, " m"],
    lower: Float[Array, " m"],
    upper: Float[Array, " m"],
) -> InBox:
    """Return the least of ½ dᵀ H d + qᵀ d with lower ≤ d ≤ upper (Tassa, Mansard, Todorov 2014, section III).

    Args:
        hessian: H.
        slope: q.
        lower: lower bounds.
        upper: upper bounds.
    """
    if slope.shape[0] > 2:
        return _projected_newton(hessian, slope, lower, upper)
    solve = _one if slope.shape[0] == 1 else _two
    rows = [[hessian[i, j] for j in range(slope.shape[0])] for i in range(slope.shape[0])]
    point, inverse, solved = solve(rows, list(slope), list(lower), list(upper))
    return InBox(jnp.stack(point), jnp.stack([jnp.stack(row) for row in inverse]), solved)


def faces(
    hessian: list[list[Array]], slope: list[Array], lower: list[Array], upper: list[Array]
) -> tuple[list[Array], list[list[Array]], Array]:
    """Do the same for many side by side, with an array for each component; returns the same parts."""
    if len(slope) == 1:
        return _one(hessian, slope, lower, upper)
    if len(slope) == 2:
        return _two(hessian, slope, lower, upper)
    stacked = (jnp.stack([jnp.stack(row) for row in hessian]), *map(jnp.stack, (slope, lower, upper)))
    found = jax.vmap(_projected_newton, in_axes=-1, out_axes=-1)(*stacked)
    return list(found.point), [list(row) for row in found.inverse], found.solved


def _one(
    hessian: list[list[Array]], slope: list[Array], lower: list[Array], upper: list[Array]
) -> tuple[list[Array], list[list[Array]], Array]:
    (a,), positive = hessian[0], hessian[0][0] > 0
    inverse = 1 / jnp.where(positive, a, 1.0)
    point = jnp.clip(-slope[0] * inverse, lower[0], upper[0])
    free = (point > lower[0]) & (point < upper[0])
    return [point], [[jnp.where(free, inverse, 0.0)]], positive


def _two(
    hessian: list[list[Array]], slope: list[Array], lower: list[Array], upper: list[Array]
) -> tuple[list[Array], list[list[Array]], Array]:
    """Look at the two points that can be least.

    The value falls along the line from the least point of the box to that of the plane, so this line leaves
    the box at once, through a face that the least point of the plane lies beyond: one component is that of
    the plane's, clipped, and the other one is the best beside it.
    """
    (a, b), (_, c) = hessian
    p, q = slope
    determinant = a * c - b * b
    solved = (a > 0) & (c > 0) & (determinant > jnp.finfo(p.dtype).eps * a * c)
    a, c, determinant = (jnp.where(solved, value, 1.0) for value in (a, c, determinant))
    b = jnp.where(solved, b, 0.0)
    first_x = jnp.clip((b * q - c * p) / determinant, lower[0], upper[0])
    second_y = jnp.clip((b * p - a * q) / determinant, lower[1], upper[1])
    first_y = jnp.clip(-(q + b * first_x) / c, lower[1], upper[1])
    second_x = jnp.clip(-(p + b * second_y) / a, lower[0], upper[0])

    def value(x: Array, y: Array) -> Array:
        return 0.5 * (a * x * x + c * y * y) + b * x * y + p * x + q * y

    first = value(first_x, first_y) <= value(second_x, second_y)
    # XLA computes again in every use what takes no division; so the last thing done is one, by 1.
    whole = jnp.where(solved, 1.0, 2.0)
    x, y = jnp.where(first, first_x, second_x) / whole, jnp.where(first, first_y, second_y) / whole
    free_x, free_y = (x > lower[0]) & (x < upper[0]), (y > lower[1]) & (y < upper[1])
    xx = jnp.where(free_x, jnp.where(free_y, c, 1.0), 0.0) / jnp.where(free_y, determinant, a)
    yy = jnp.where(free_y, jnp.where(free_x, a, 1.0), 0.0) / jnp.where(free_x, determinant, c)
    xy = jnp.where(free_x & free_y, -b, 0.0) / determinant
    return [x, y], [[xx, xy], [xy, yy]], solved


def _projected_newton(
    hessian: Float[Array, "m m"],
    slope: Float[Array, " m"],
    lower: Float[Array, " m"],
    upper: Float[Array, " m"],
) -> InBox:
    """Newton's method in the components that no bound holds, projected onto the box (Bertsekas 1982)."""
    size = slope.shape[0]
    eye = jnp.eye(size, dtype=slope.dtype)
    lengths = 0.5 ** jnp.arange(HALVINGS, dtype=slope.dtype)

    def value(d: Array) -> Array:
        return 0.5 * d @ linalg.matvec(hessian, d) + slope @ d

    def held(d: Array) -> tuple[Array, Array]:
        gradient = slope + linalg.matvec(hessian, d)
        return ((d <= lower) & (gradient > 0)) | ((d >= upper) & (gradient < 0)), gradient

    def between(free: Array) -> Array:
        both = free[:, None] & free[None, :]
        return jnp.where(both, hessian, eye)

    def along(d: Array, i: int) -> Array:
        """Return the least point along one component, which finds the active bounds where Newton zigzags."""
        others = slope[i] + jnp.sum(hessian[i] * d) - hessian[i, i] * d[i]
        curved = jnp.where(hessian[i, i] > 0, hessian[i, i], 1.0)
        return d.at[i].set(jnp.clip(-others / curved, lower[i], upper[i]))

    def step(_: Any, d: Array) -> Array:
        for i in range(size):
            d = along(d, i)
        bound, gradient = held(d)
        towards = -linalg.solve_spd(between(~bound), jnp.where(bound, 0.0, gradient))
        tried = jnp.clip(d + lengths[:, None] * towards, lower, upper)
        values = jax.vmap(value)(tried)
        lowest = jnp.argmin(values)
        return jnp.where(values[lowest] < value(d), tried[lowest], d)

    point = jax.lax.fori_loop(0, ROUNDS, step, jnp.clip(jnp.zeros_like(slope), lower, upper))
    free = ~held(point)[0] & (point > lower) & (point < upper)
    part = between(free)
    solved = jnp.all(jnp.diagonal(linalg.cholesky(part)) > 0)
    inverse = linalg.solve_spd(jnp.where(solved, part, eye), eye)
    return InBox(point, jnp.where(free[:, None] & free[None, :], inverse, 0.0), solved)
