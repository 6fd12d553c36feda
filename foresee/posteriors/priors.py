"""Densities for unknowns with bounds and kinks, and the maps that let a sampler move without meeting a bound.

Start with `Independent`, which puts named unknowns together.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractDensity, Points
from foresee.beliefs.gaussian import LOG_TWO_PI, as_float
from foresee.errors import OptionError, ShapeError


class AbstractBounded(AbstractDensity):
    """A density on a part of the space, with a map from all of it onto that part."""

    @abc.abstractmethod
    def constrain(self, z: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Return the x inside the support that an unbounded z stands for, and log |det dx/dz|."""

    @abc.abstractmethod
    def unconstrain(self, x: PyTree) -> PyTree:
        """Return the unbounded z of an x inside the support; NaN or infinite outside of it."""


def constrain(density: AbstractDensity, z: PyTree) -> tuple[PyTree, Float[Array, ""]]:
    """Return x in the support of any density and log |det dx/dz|; x is z where there are no bounds."""
    if isinstance(density, AbstractBounded):
        return density.constrain(z)
    return z, jnp.zeros((), jnp.result_type(*jax.tree.leaves(z)))


def unconstrain(density: AbstractDensity, x: PyTree) -> PyTree:
    """Return the unbounded z of x; x itself where there are no bounds."""
    return density.unconstrain(x) if isinstance(density, AbstractBounded) else x


class Uniform(AbstractBounded):
    """Every value between two bounds is equally probable, independently for every number.

    Args:
        low: lower bounds, an array of any shape.
        high: upper bounds, of the same shape.

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if a bound is not finite or a lower one is not below the upper one.
    """

    low: Float[Array, "*shape"] = eqx.field(converter=as_float)
    high: Float[Array, "*shape"] = eqx.field(converter=as_float)

    def __check_init__(self) -> None:
        """Check that there is room between the bounds."""
        _check_same_shape("Uniform", low=self.low, high=self.high)
        if not _traced(self.low, self.high):
            width = np.asarray(self.high) - np.asarray(self.low)
            if not (np.isfinite(width) & (width > 0)).all():
                raise OptionError(f"Uniform: expected finite low < high, got {self.low} and {self.high}")

    def mean(self) -> Float[Array, "*shape"]:
        """Return the middle."""
        return 0.5 * (self.low + self.high)

    def log_prob(self, x: Float[Array, "*shape"]) -> Float[Array, ""]:
        """Return the log density at x, −∞ outside the bounds."""
        inside = jnp.all((x >= self.low) & (x <= self.high))
        return jnp.where(inside, -jnp.sum(jnp.log(self.high - self.low)), -jnp.inf)

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """Draw one x."""
        return self.low + (self.high - self.low) * jax.random.uniform(key, self.low.shape, self.low.dtype)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n independent, equally weighted points."""
        return _independent_points(self, n, key)

    def constrain(self, z: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        """Return the scaled logistic function of z and log |det dx/dz|."""
        width = self.high - self.low
        slope = jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z)
        return self.low + width * jax.nn.sigmoid(z), jnp.sum(jnp.log(width) + slope)

    def unconstrain(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the scaled logit of x."""
        return jnp.log(x - self.low) - jnp.log(self.high - x)


class LogNormal(AbstractBounded):
    """A positive number whose logarithm is normal, independently for every number: a scale, a rate.

    Args:
        location: mean of the logarithm, an array of any shape.
        scale: standard deviation of the logarithm, of the same shape.

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if a scale is not positive and finite.
    """

    location: Float[Array, "*shape"] = eqx.field(converter=as_float)
    scale: Float[Array, "*shape"] = eqx.field(converter=as_float)

    def __check_init__(self) -> None:
        """Check the scale."""
        _check_scale(self)

    def mean(self) -> Float[Array, "*shape"]:
        """Return the expectation."""
        return jnp.exp(self.location + 0.5 * self.scale**2)

    def log_prob(self, x: Float[Array, "*shape"]) -> Float[Array, ""]:
        """Return the log density at x, −∞ where a number is not positive."""
        positive = x > 0
        logs = jnp.log(jnp.where(positive, x, 1.0))
        white = (logs - self.location) / self.scale
        terms = -0.5 * (white**2 + LOG_TWO_PI) - jnp.log(self.scale) - logs
        return jnp.sum(jnp.where(positive, terms, -jnp.inf))

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """Draw one x."""
        noise = jax.random.normal(key, self.location.shape, self.location.dtype)
        return jnp.exp(self.location + self.scale * noise)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n independent, equally weighted points."""
        return _independent_points(self, n, key)

    def constrain(self, z: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        """Return the exponential of z and log |det dx/dz|."""
        return jnp.exp(z), jnp.sum(z)

    def unconstrain(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the logarithm of x."""
        return jnp.log(x)


class Laplace(AbstractDensity):
    """The double exponential distribution, with a kink at its location, independently for every number.

    Args:
        location: mean, median and mode, an array of any shape.
        scale: mean distance from the location, of the same shape.

    Raises:
        ShapeError: if the shapes differ.
        OptionError: if a scale is not positive and finite.
    """

    location: Float[Array, "*shape"] = eqx.field(converter=as_float)
    scale: Float[Array, "*shape"] = eqx.field(converter=as_float)

    def __check_init__(self) -> None:
        """Check the scale."""
        _check_scale(self)

    def mean(self) -> Float[Array, "*shape"]:
        """Return the location."""
        return self.location

    def log_prob(self, x: Float[Array, "*shape"]) -> Float[Array, ""]:
        """Return the log density at x."""
        return -jnp.sum(jnp.abs(x - self.location) / self.scale + jnp.log(self.scale) + math.log(2.0))

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """Draw one x."""
        noise = jax.random.laplace(key, self.location.shape, self.location.dtype)
        return self.location + self.scale * noise

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n independent, equally weighted points."""
        return _independent_points(self, n, key)


class Independent(AbstractBounded):
    """Several unknowns that know nothing of each other: `Independent({"place": ..., "speed": ...})`.

    Args:
        parts: pytree of densities; x is the same pytree with a value in each density's place.
    """

    parts: PyTree[Any]

    def __check_init__(self) -> None:
        """Check that every part is a density."""
        wrong = [type(part).__name__ for part in self._list() if not isinstance(part, AbstractDensity)]
        if wrong or not self._list():
            raise ShapeError(f"Independent: expected a pytree of densities, got {wrong or 'nothing'}")

    def mean(self) -> PyTree:
        """Return the expectation of every part."""
        return self._like(part.mean() for part in self._list())

    def log_prob(self, x: PyTree) -> Float[Array, ""]:
        """Return the sum of the log densities."""
        terms = [part.log_prob(value) for part, value in zip(self._list(), self._split(x), strict=True)]
        return jnp.sum(jnp.stack(terms))

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one x."""
        keys = jax.random.split(key, len(self._list()))
        return self._like(part.sample(key=sub) for part, sub in zip(self._list(), keys, strict=True))

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n independent, equally weighted points."""
        return _independent_points(self, n, key)

    def constrain(self, z: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Return every part inside its support, and the sum of the log |det dx/dz|."""
        pairs = [constrain(part, value) for part, value in zip(self._list(), self._split(z), strict=True)]
        return self._like(x for x, _ in pairs), jnp.sum(jnp.stack([slope for _, slope in pairs]))

    def unconstrain(self, x: PyTree) -> PyTree:
        """Return the unbounded z of every part."""
        return self._like(
            unconstrain(part, value) for part, value in zip(self._list(), self._split(x), strict=True)
        )

    def _list(self) -> list[Any]:
        return jax.tree.leaves(self.parts, is_leaf=_is_density)

    def _structure(self) -> Any:
        return jax.tree.structure(jax.tree.map(lambda _: 0, self.parts, is_leaf=_is_density))

    def _like(self, values: Any) -> PyTree:
        return jax.tree.unflatten(self._structure(), list(values))

    def _split(self, x: PyTree) -> list[PyTree]:
        try:
            return self._structure().flatten_up_to(x)
        except ValueError as error:
            raise ShapeError(
                f"Independent: expected values for {self._structure()}, got {jax.tree.structure(x)}"
            ) from error


def _is_density(part: Any) -> bool:
    return isinstance(part, AbstractDensity)


def _independent_points(density: AbstractDensity, n: int, key: PRNGKeyArray) -> Points:
    return Points(jax.vmap(lambda sub: density.sample(key=sub))(jax.random.split(key, n)))


def _traced(*arrays: Array) -> bool:
    return any(isinstance(array, Tracer) for array in arrays)


def _check_same_shape(owner: str, **arrays: Array) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(f"{owner}: expected arrays of one shape, got {shapes}")


def _check_scale(density: LogNormal | Laplace) -> None:
    owner, scale = type(density).__name__, density.scale
    _check_same_shape(owner, location=density.location, scale=scale)
    if not _traced(scale) and not (np.isfinite(scale) & (np.asarray(scale) > 0)).all():
        raise OptionError(f"{owner}: expected a positive, finite scale, got {scale}")
