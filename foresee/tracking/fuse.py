"""Fusing beliefs about one object that come from several places and may share information."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee import linalg
from foresee.beliefs import Gaussian
from foresee.errors import ShapeError

_GOLDEN = (5**0.5 - 1) / 2


def covariance_intersection(
    one: Gaussian, other: Gaussian, weight: Float[Array, ""] | float | None = None
) -> Gaussian:
    """Return a belief that is not overconfident whatever the errors of the two have in common.

    Julier and Uhlmann 1997: P⁻¹ = w P₁⁻¹ + (1 − w) P₂⁻¹. Two trackers that exchange their results hand
    information back to where it came from; multiplied as if they were independent, it would be counted twice.

    Args:
        one: a Gaussian belief about a vector.
        other: another about the same.
        weight: w within [0, 1]; None for the one with the smallest determinant.

    Raises:
        ShapeError: if the two are not about the same vector.
    """
    first, second = _information(one, other)

    def at(share: Array | float) -> tuple[Array, Array]:
        precision = share * first[0] + (1 - share) * second[0]
        return precision, share * first[1] + (1 - share) * second[1]

    def log_volume(share: Array) -> Array:
        return -jnp.sum(jnp.log(jnp.diagonal(linalg.cholesky(at(share)[0]))))

    share = _least(log_volume, first[0].dtype) if weight is None else weight
    return _belief(*at(share), one)


def independent(one: Gaussian, other: Gaussian) -> Gaussian:
    """Return the product of two beliefs: right only if their errors have nothing in common.

    Raises:
        ShapeError: if the two are not about the same vector.
    """
    first, second = _information(one, other)
    return _belief(first[0] + second[0], first[1] + second[1], one)


def without_common(one: Gaussian, other: Gaussian, common: Gaussian) -> Gaussian:
    """Return the product of two beliefs divided by what both have from a common source.

    The information graph of Chong, Mori and Chang (1990): exact for two trackers that agreed on `common`
    before and have moved and corrected it separately since, with motion noise as far as it is small.

    Raises:
        ShapeError: if they are not about the same vector.
    """
    first, second = _information(one, other)
    _, shared = _information(one, common)
    return _belief(first[0] + second[0] - shared[0], first[1] + second[1] - shared[1], one)


def _information(one: Gaussian, other: Gaussian) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return precision matrix and vector of both, means counted from the first one's, angles wrapped."""
    if one.covariance.shape != other.covariance.shape:
        raise ShapeError(
            f"expected beliefs about one vector, got sizes {len(one.covariance)} and {len(other.covariance)}"
        )
    identity = jnp.eye(one.covariance.shape[0], dtype=one.covariance.dtype)
    precisions = [linalg.solve_spd(belief.covariance, identity) for belief in (one, other)]
    apart = -other.residual(one.vector())
    return (precisions[0], jnp.zeros_like(apart)), (precisions[1], linalg.matvec(precisions[1], apart))


def _belief(precision: Array, pull: Array, like: Gaussian) -> Gaussian:
    covariance = linalg.symmetrize(linalg.solve_spd(precision, jnp.eye(len(pull), dtype=pull.dtype)))
    location = linalg.wrap_components(like.vector() + linalg.matvec(covariance, pull), like.circular)
    return Gaussian(location, covariance, like.circular)


def _least(function, dtype) -> Array:
    """Return where a convex function on [0, 1] is least, by golden section (Kiefer 1953)."""

    def narrow(_, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        better = function(left) < function(right)
        return jnp.where(better, low, left), jnp.where(better, right, high)

    low, high = jax.lax.fori_loop(0, 40, narrow, (jnp.zeros((), dtype), jnp.ones((), dtype)))
    return 0.5 * (low + high)
