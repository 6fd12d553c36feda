"""Costs that are sums of squares, as Gauss and Newton's method wants them: a goal, soft discs."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from foresee import linalg
from foresee.beliefs.gaussian import as_float
from foresee.errors import PlanningError, ShapeError


class AbstractSquares(eqx.Module):
    """A cost Σ r², known by its residuals r; serves for steps and, without an input, for the end.

    Its curvature is taken as 2 Jᵀ J with J = ∂r, which is never negative (Gauss and Newton).
    """

    @abc.abstractmethod
    def residuals(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return the residuals of step `t`, a vector; without `u` those of the state alone."""

    def __call__(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return the cost."""
        return jnp.sum(self.residuals(x, u, t) ** 2)


def _root(weights: Array) -> Array:
    """Return R with weights = Rᵀ R, or the square roots of a diagonal."""
    return jnp.sqrt(weights) if weights.ndim == 1 else linalg.cholesky(weights).T


def check_weights(weights: Array, name: str) -> None:
    """Raise unless concrete weights are finite and positive semi-definite, as a vector or as a matrix."""
    if weights.ndim not in (1, 2) or (weights.ndim == 2 and weights.shape[0] != weights.shape[1]):
        raise ShapeError(
            f"{name}: expected weights as a vector or a square matrix, got shape {weights.shape}"
        )
    if isinstance(weights, Tracer):
        return
    numbers = np.asarray(weights, float)
    if not np.isfinite(numbers).all():
        raise PlanningError(f"{name}: expected finite weights, got {numbers}")
    if weights.ndim == 2 and not np.allclose(numbers, numbers.T, rtol=1e-6, atol=0):
        raise PlanningError(f"{name}: expected a symmetric matrix of weights, got {numbers}")
    least = float((numbers if weights.ndim == 1 else np.linalg.eigvalsh(numbers)).min(initial=0.0))
    if least < -1e-9 * max(float(np.abs(numbers).max(initial=0.0)), 1e-300):
        raise PlanningError(
            f"{name}: expected positive semi-definite weights, got the eigenvalue {least:.3g}"
        )


class Quadratic(AbstractSquares):
    """(x - goal)ᵀ Q (x - goal) + uᵀ R u, without a factor ½.

    Args:
        state: Q, a matrix or its diagonal.
        input: R, the same; None where inputs cost nothing, as at the end.
        goal: a state, or one for every step (those of the end included); the origin if None.
        circular: indices of components that are angles in radians, whose differences are wrapped.

    Raises:
        ShapeError: if weights are neither a vector nor a square matrix.
        PlanningError: if weights are not finite and positive semi-definite.
    """

    state: Float[Array, "..."] = eqx.field(converter=as_float)
    input: Float[Array, "..."] | None = eqx.field(
        converter=lambda value: None if value is None else as_float(value), default=None
    )
    goal: Float[Array, "..."] | None = eqx.field(
        converter=lambda value: None if value is None else as_float(value), default=None
    )
    circular: tuple[int, ...] = eqx.field(static=True, default=())

    def __check_init__(self) -> None:
        """Check the weights."""
        check_weights(self.state, "Quadratic.state")
        if self.input is not None:
            check_weights(self.input, "Quadratic.input")

    def _off(self, x: Array, t: Any) -> Array:
        if self.goal is None:
            return linalg.wrap_components(x, self.circular)
        return linalg.wrap_components(x - (self.goal[t] if self.goal.ndim == 2 else self.goal), self.circular)

    def residuals(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return the weighted distance from the goal and the weighted input."""
        parts = [_weighted(self.state, self._off(x, t))]
        if u is not None and self.input is not None:
            parts.append(_weighted(self.input, u))
        return jnp.concatenate(parts)

    def __call__(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return the cost; without roots, whose derivative at a weight of zero is infinite."""
        cost = _square(self.state, self._off(x, t))
        return cost if u is None or self.input is None else cost + _square(self.input, u)


def _square(weights: Array, vector: Array) -> Array:
    return jnp.sum(weights * vector**2) if weights.ndim == 1 else vector @ linalg.matvec(weights, vector)


def _weighted(weights: Array, vector: Array) -> Array:
    root = _root(weights)
    return root * vector if root.ndim == 1 else linalg.matvec(root, vector)


class SoftDiscs(AbstractSquares):
    """weight · max(0, radius² - distance²)² for every disc that the first two components of x lie in.

    Args:
        centres: of the discs [m]; of every step where they move, the end included.
        radii: of the discs [m].
        weight: how much it costs [1/m⁴].
    """

    centres: Float[Array, "*T k 2"] = eqx.field(converter=as_float)
    radii: Float[Array, " k"] = eqx.field(converter=as_float)
    weight: Float[Array, ""] = eqx.field(converter=as_float)

    def residuals(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return how deep the state lies in each disc, weighted."""
        return jnp.sqrt(self.weight) * self._depths(x, t)

    def __call__(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return the cost; without the root of the weight."""
        return self.weight * jnp.sum(self._depths(x, t) ** 2)

    def _depths(self, x: Array, t: Any) -> Array:
        centres = self.centres[t] if self.centres.ndim == 3 else self.centres
        square = (x[0] - centres[:, 0]) ** 2 + (x[1] - centres[:, 1]) ** 2
        return jnp.maximum(0.0, self.radii**2 - square)


class Total(AbstractSquares):
    """The sum of several costs that are sums of squares."""

    parts: tuple[AbstractSquares, ...]

    def __init__(self, *parts: AbstractSquares):
        self.parts = parts

    def residuals(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return the residuals of all parts."""
        return jnp.concatenate([part.residuals(x, u, t) for part in self.parts])

    def __call__(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return the sum of the costs."""
        return sum((part(x, u, t) for part in self.parts), jnp.zeros((), x.dtype))
