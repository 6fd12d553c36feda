"""Gaussian beliefs, with a full or a diagonal covariance, over a vector or any pytree."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee import linalg
from foresee.beliefs.belief import AbstractDensity, Points
from foresee.errors import CovarianceError, ShapeError

LOG_TWO_PI = math.log(2 * math.pi)


def as_float(value: object) -> Array:
    """Return a floating point array, so that integers given by a user truncate nothing."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def check_covariance(covariance: Array, owner: str) -> None:
    """Raise CovarianceError unless a concrete matrix is finite, symmetric and positive semi-definite.

    Traced values cannot be looked at and pass; so the check costs nothing inside a compiled function.
    """
    if isinstance(covariance, Tracer):
        return
    matrix = np.asarray(covariance, dtype=float)
    if not np.isfinite(matrix).all():
        raise CovarianceError(f"{owner}: expected a finite covariance, got {matrix}")
    scale = float(np.abs(matrix).max(initial=0.0))
    tolerance = 100 * float(jnp.finfo(covariance.dtype).eps) * max(scale, 1e-300)
    if np.abs(matrix - matrix.T).max(initial=0.0) > tolerance:
        raise CovarianceError(f"{owner}: expected a symmetric covariance, got {matrix}")
    smallest = float(np.linalg.eigvalsh(matrix).min(initial=0.0))
    if smallest < -tolerance * len(matrix):
        raise CovarianceError(
            f"{owner}: expected a positive semi-definite covariance, got the eigenvalue {smallest:.3g}"
        )


def _as_float_tree(tree: PyTree) -> PyTree:
    """Return a pytree of floating point arrays; a plain list of numbers is a vector."""
    if isinstance(tree, list) and all(jnp.ndim(number) == 0 for number in tree):
        return as_float(tree)
    return jax.tree.map(as_float, tree)


def _is_vector(tree: PyTree) -> bool:
    return isinstance(tree, jax.Array) and tree.ndim == 1


class Gaussian(AbstractDensity):
    """A normal distribution with a full covariance.

    Args:
        location: the mean: a vector, or any pytree of arrays, which counts as the vector of all its numbers.
        covariance: covariance matrix of that vector.
        circular: indices of components that are angles in radians. Differences in them are wrapped to [-π, π)
            wherever one is formed: in densities, innovations and averages.

    Raises:
        ShapeError: if the covariance's shape does not fit the location.
        CovarianceError: if the covariance is not finite, symmetric and positive semi-definite.
    """

    location: PyTree[Float[Array, "..."]] = eqx.field(converter=_as_float_tree)
    covariance: Float[Array, "n n"] = eqx.field(converter=as_float)
    circular: tuple[int, ...] = eqx.field(static=True, default=())

    def __check_init__(self) -> None:
        """Check that the shapes fit and that the covariance is one."""
        n = sum(leaf.size for leaf in jax.tree.leaves(self.location))
        if self.covariance.shape != (n, n):
            raise ShapeError(
                f"Gaussian: expected a covariance of shape ({n}, {n}), got {self.covariance.shape}"
            )
        if any(not 0 <= index < n for index in self.circular):
            raise ShapeError(f"Gaussian: expected circular components within 0..{n - 1}, got {self.circular}")
        check_covariance(self.covariance, "Gaussian")

    def vector(self) -> Float[Array, " n"]:
        """Return the mean as one flat vector."""
        return self.location if _is_vector(self.location) else ravel_pytree(self.location)[0]

    def mean(self) -> PyTree:
        """Return the mean."""
        return self.location

    def residual(self, x: PyTree) -> Float[Array, " n"]:
        """Return x minus the mean as a flat vector, angles wrapped."""
        flat = x if _is_vector(x) else ravel_pytree(x)[0]
        return linalg.wrap_components(flat - self.vector(), self.circular)

    def standard_deviation(self) -> Float[Array, " n"]:
        """Return the standard deviation of every component, also of a stack of beliefs."""
        return jnp.sqrt(jnp.diagonal(self.covariance, axis1=-2, axis2=-1))

    def mahalanobis(self, x: PyTree) -> Float[Array, ""]:
        """Return the squared Mahalanobis distance of x from the mean (the NEES where x is the truth)."""
        white = linalg.solve_lower(linalg.cholesky(self.covariance), self.residual(x))
        return jnp.sum(white**2)

    def log_prob(self, x: PyTree) -> Float[Array, ""]:
        """Return the log density at x."""
        factor = linalg.cholesky(self.covariance)
        white = linalg.solve_lower(factor, self.residual(x))
        return -0.5 * (white.size * LOG_TWO_PI + jnp.sum(white**2)) - jnp.sum(jnp.log(jnp.diagonal(factor)))

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one x."""
        flat = self.vector()
        noise = jax.random.normal(key, flat.shape, flat.dtype)
        return self._shaped(flat + linalg.cholesky(self.covariance) @ noise)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted points in antithetic pairs, so that for even n their mean is exact."""
        flat = self.vector()
        half = jax.random.normal(key, ((n + 1) // 2, flat.size), flat.dtype)
        noise = jnp.concatenate([half, -half])[:n]
        values = flat + noise @ linalg.cholesky(self.covariance).T
        return Points(jax.vmap(self._shaped)(values), jnp.zeros(n, flat.dtype))

    def entropy(self) -> Float[Array, ""]:
        """Return the differential entropy in nats."""
        diagonal = jnp.diagonal(linalg.cholesky(self.covariance))
        return 0.5 * diagonal.size * (1 + LOG_TWO_PI) + jnp.sum(jnp.log(diagonal))

    def kl_divergence(self, other: "Gaussian") -> Float[Array, ""]:
        """Return KL(self ‖ other) in nats."""
        factor = linalg.cholesky(other.covariance)
        ratio = linalg.solve_lower(factor, linalg.cholesky(self.covariance))
        white = linalg.solve_lower(factor, other.residual(self.location))
        log_ratio = jnp.sum(jnp.log(jnp.diagonal(ratio)))
        return 0.5 * (jnp.sum(ratio**2) + jnp.sum(white**2) - white.size) - log_ratio

    def _shaped(self, flat: Float[Array, " n"]) -> PyTree:
        return flat if _is_vector(self.location) else ravel_pytree(self.location)[1](flat)


class DiagonalGaussian(AbstractDensity):
    """Independent normal distributions for every number of a vector or pytree.

    Args:
        location: the mean.
        variance: pytree like `location` with the variances; a single number serves for all.
        circular: indices, in the flattened location, of components that are angles in radians.

    Raises:
        ShapeError: if the variance's shapes do not fit the location.
        CovarianceError: if a variance is negative or not finite.
    """

    location: PyTree[Float[Array, "..."]]
    variance: PyTree[Float[Array, "..."]]
    circular: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, location: PyTree, variance: PyTree, circular: tuple[int, ...] = ()):
        self.location = _as_float_tree(location)
        if jax.tree.structure(variance) == jax.tree.structure(0.0) and jnp.ndim(variance) == 0:
            variance = jax.tree.map(lambda leaf: jnp.full_like(leaf, variance), self.location)
        self.variance = _as_float_tree(variance)
        self.circular = circular
        expected = jax.tree.map(jnp.shape, self.location)
        got = jax.tree.map(jnp.shape, self.variance)
        if expected != got:
            raise ShapeError(f"DiagonalGaussian: expected variances of shape {expected}, got {got}")
        for leaf in jax.tree.leaves(self.variance):
            if not isinstance(leaf, Tracer):
                values = np.asarray(leaf)
                if not (np.isfinite(values) & (values >= 0)).all():
                    raise CovarianceError(f"DiagonalGaussian: expected finite variances ≥ 0, got {values}")

    def vector(self) -> Float[Array, " n"]:
        """Return the mean as one flat vector."""
        return self.location if _is_vector(self.location) else ravel_pytree(self.location)[0]

    def variances(self) -> Float[Array, " n"]:
        """Return the variances as one flat vector."""
        return self.variance if _is_vector(self.variance) else ravel_pytree(self.variance)[0]

    def full(self) -> Gaussian:
        """Return the same belief with its covariance written out as a matrix."""
        return Gaussian(self.location, jnp.diag(self.variances()), self.circular)

    def mean(self) -> PyTree:
        """Return the mean."""
        return self.location

    def residual(self, x: PyTree) -> Float[Array, " n"]:
        """Return x minus the mean as a flat vector, angles wrapped."""
        flat = x if _is_vector(x) else ravel_pytree(x)[0]
        return linalg.wrap_components(flat - self.vector(), self.circular)

    def standard_deviation(self) -> Float[Array, " n"]:
        """Return the standard deviation of every component."""
        return jnp.sqrt(self.variances())

    def mahalanobis(self, x: PyTree) -> Float[Array, ""]:
        """Return the squared Mahalanobis distance of x from the mean."""
        return jnp.sum(self.residual(x) ** 2 / self.variances())

    def log_prob(self, x: PyTree) -> Float[Array, ""]:
        """Return the log density at x."""
        variances = self.variances()
        return -0.5 * jnp.sum(self.residual(x) ** 2 / variances + jnp.log(variances) + LOG_TWO_PI)

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one x."""
        flat = self.vector()
        noise = jax.random.normal(key, flat.shape, flat.dtype)
        return self._shaped(flat + self.standard_deviation() * noise)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted points in antithetic pairs, so that for even n their mean is exact."""
        flat = self.vector()
        half = jax.random.normal(key, ((n + 1) // 2, flat.size), flat.dtype)
        noise = jnp.concatenate([half, -half])[:n]
        values = flat + noise * self.standard_deviation()
        return Points(jax.vmap(self._shaped)(values), jnp.zeros(n, flat.dtype))

    def entropy(self) -> Float[Array, ""]:
        """Return the differential entropy in nats."""
        return 0.5 * jnp.sum(1 + LOG_TWO_PI + jnp.log(self.variances()))

    def kl_divergence(self, other: "DiagonalGaussian") -> Float[Array, ""]:
        """Return KL(self ‖ other) in nats."""
        ratio = self.variances() / other.variances()
        shift = other.residual(self.location) ** 2 / other.variances()
        return 0.5 * jnp.sum(ratio + shift - 1 - jnp.log(ratio))

    def _shaped(self, flat: Float[Array, " n"]) -> PyTree:
        return flat if _is_vector(self.location) else ravel_pytree(self.location)[1](flat)
