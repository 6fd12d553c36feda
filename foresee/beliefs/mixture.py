"""Mixtures: one of several beliefs holds. Start with `Mixture` and its `moments`."""

from collections.abc import Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee import linalg
from foresee.beliefs.belief import AbstractDensity, Points
from foresee.beliefs.gaussian import DiagonalGaussian, Gaussian, as_float
from foresee.beliefs.particles import systematic
from foresee.errors import ForeseeError, OptionError, ShapeError

Density = TypeVar("Density", bound=AbstractDensity)


class Mixture(AbstractDensity):
    """A weighted sum of k densities of one kind.

    Args:
        components: k densities stacked into one: every array leaf has a leading axis of k.
            `jax.vmap(Gaussian)` makes such a stack from stacked parameters, `stack` from a list.
        log_weights: logarithms of the weights; they need not be normalised. None gives equal weights.

    Raises:
        ShapeError: if the number of weights is not the number of components.
    """

    components: AbstractDensity
    log_weights: Float[Array, " k"]

    def __init__(self, components: AbstractDensity, log_weights: Any = None):
        leaves = jax.tree.leaves(eqx.filter(components, eqx.is_array))
        sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
        if len(sizes) != 1 or None in sizes:
            raise ShapeError(
                f"Mixture: expected components with one common leading axis, got {sorted(map(str, sizes))}"
            )
        k = sizes.pop()
        self.components = components
        self.log_weights = jnp.zeros(k) if log_weights is None else as_float(log_weights)
        if self.log_weights.shape != (k,):
            raise ShapeError(f"Mixture: expected log weights of shape ({k},), got {self.log_weights.shape}")

    def weights(self) -> Float[Array, " k"]:
        """Return the normalised weights."""
        return jax.nn.softmax(self.log_weights)

    def component(self, index: Any) -> AbstractDensity:
        """Return the component with this index."""
        arrays, rest = eqx.partition(self.components, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda leaf: leaf[index], arrays), rest)

    def heaviest(self) -> AbstractDensity:
        """Return the component with the largest weight."""
        return self.component(jnp.argmax(self.log_weights))

    def log_prob(self, x: PyTree) -> Float[Array, ""]:
        """Return the log density at x."""
        return logsumexp(self._log_terms(x))

    def responsibilities(self, x: PyTree) -> Float[Array, " k"]:
        """Return the probability of every component given x."""
        return jax.nn.softmax(self._log_terms(x))

    def mean(self) -> PyTree:
        """Return the expectation of x; of angles, the average about the heaviest component."""
        if isinstance(self.components, (Gaussian, DiagonalGaussian)):
            return self.moments().mean()
        weights = self.weights()
        means = eqx.filter_vmap(lambda component: component.mean())(self.components)
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), means)

    def moments(self) -> Gaussian:
        """Return the Gaussian with the same mean and covariance, the closest one in KL(self ‖ Gaussian).

        Raises:
            ForeseeError: if the components are not Gaussian.
        """
        locations, covariances, circular = _stacked(self, "moments")
        location, covariance = match_moments(self.weights(), locations, covariances, circular)
        return Gaussian(self._shaped(location), covariance, circular)

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one x."""
        which, inside = jax.random.split(key)
        return self.component(jax.random.categorical(which, self.log_weights)).sample(key=inside)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted points; a component of weight w brings ⌊n w⌋ or ⌈n w⌉ of them."""
        which, inside = jax.random.split(key)
        index = systematic(self.log_weights, n, key=which)
        keys = jax.random.split(inside, n)
        values = jax.vmap(lambda i, sub: self.component(i).sample(key=sub))(index, keys)
        return Points(values, jnp.zeros(n, self.log_weights.dtype))

    def entropy_bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return a lower and an upper bound of the entropy in nats, which has no closed form.

        Both come from pairwise distances between the components (Kolchinsky and Tracey 2017): Bhattacharyya's
        gives the lower bound, the KL divergence the upper one. They meet where components coincide or lie far
        apart.

        Raises:
            ForeseeError: if the components are not Gaussian.
        """
        locations, covariances, circular = _stacked(self, "entropy_bounds")
        stack = jax.vmap(lambda m, p: Gaussian(m, p, circular))(locations, covariances)
        weights = self.weights()
        inside = jnp.sum(weights * jax.vmap(lambda one: one.entropy())(stack))

        def bound(distance):
            pairs = jax.vmap(lambda one: jax.vmap(lambda other: distance(one, other))(stack))(stack)
            return inside - jnp.sum(weights * logsumexp(-pairs, axis=1, b=weights[None, :]))

        return bound(bhattacharyya), bound(lambda one, other: one.kl_divergence(other))

    def _log_terms(self, x: PyTree) -> Float[Array, " k"]:
        log_probs = eqx.filter_vmap(lambda component: component.log_prob(x))(self.components)
        return jax.nn.log_softmax(self.log_weights) + log_probs

    def _shaped(self, flat: Float[Array, " n"]) -> PyTree:
        location = jax.tree.map(lambda leaf: leaf[0], self.components.location)  # pyright: ignore
        return ravel_pytree(location)[1](flat)


def stack(components: Sequence[Density]) -> Density:
    """Stack densities of one kind and size into one with a leading axis, as `Mixture` takes it.

    Raises:
        ShapeError: if they are not of one kind and size.
    """
    if not components:
        raise ShapeError("stack: expected at least one component, got none")
    kinds = {(jax.tree.structure(one), *map(jnp.shape, jax.tree.leaves(one))) for one in components}
    if len(kinds) != 1:
        raise ShapeError(f"stack: expected components of one kind and size, got {len(kinds)} different ones")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *components)


def match_moments(
    weights: Float[Array, " k"],
    locations: Float[Array, "k n"],
    covariances: Float[Array, "k n n"],
    circular: tuple[int, ...] = (),
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Return the mean and the covariance of a mixture (Bar-Shalom, Li and Kirubarajan 2001, section 1.4.16).

    Angles are averaged as differences, wrapped to [-π, π), from the component with the largest weight.

    Args:
        weights: normalised weights.
        locations: means of the components.
        covariances: covariances of the components.
        circular: indices of components of x that are angles in radians.
    """
    centre = locations[jnp.argmax(weights)] if circular else jnp.zeros_like(locations[0])
    shifts = jax.vmap(lambda location: linalg.wrap_components(location - centre, circular))(locations)
    # Multiply-and-sum instead of a product: it fuses inside the loop of a filter.
    shift = jnp.sum(weights[:, None] * shifts, axis=0)
    apart = shifts - shift
    spreads = covariances + apart[:, :, None] * apart[:, None, :]
    return linalg.wrap_components(centre + shift, circular), jnp.sum(weights[:, None, None] * spreads, axis=0)


def prune(mixture: Mixture, threshold: float) -> Mixture:
    """Return the mixture in which components lighter than `threshold`, as a share of all, weigh nothing.

    The heaviest component always stays; shapes do not change.
    """
    weights = mixture.weights()
    keep = (weights >= threshold) | (weights >= jnp.max(weights))
    return Mixture(mixture.components, jnp.where(keep, mixture.log_weights, -jnp.inf))


def reduce(mixture: Mixture, k: int) -> Mixture:
    """Merge Gaussian components pair by pair until k are left (Runnalls 2007).

    The pair is always the one with the smallest bound on the KL divergence that its merging costs (his B); a
    merged pair keeps its mean and covariance, and so does the whole mixture. Time grows with the square of
    the number of components per merge.

    Raises:
        ForeseeError: if the components are not Gaussian.
        OptionError: if k is not within 1 and their number.
    """
    locations, covariances, circular = _stacked(mixture, "reduce")
    size = locations.shape[0]
    if not 1 <= k <= size:
        raise OptionError(f"reduce: expected 1 ≤ k ≤ {size}, got {k}")

    def merge(_, state):
        weights, locations, covariances, alive = state
        costs = _merging_costs(weights, locations, covariances, circular)
        allowed = alive[:, None] & alive[None, :] & (jnp.arange(size)[:, None] < jnp.arange(size)[None, :])
        into, gone = jnp.unravel_index(jnp.argmin(jnp.where(allowed, costs, jnp.inf)), (size, size))
        pair = jnp.stack([into, gone])
        total = jnp.sum(weights[pair])
        shares = jnp.where(total > 0, weights[pair] / jnp.where(total > 0, total, 1.0), 0.5)
        location, covariance = match_moments(shares, locations[pair], covariances[pair], circular)
        return (
            weights.at[into].set(total).at[gone].set(0.0),
            locations.at[into].set(location),
            covariances.at[into].set(covariance),
            alive.at[gone].set(False),
        )

    start = (mixture.weights(), locations, covariances, jnp.ones(size, bool))
    weights, locations, covariances, alive = jax.lax.fori_loop(0, size - k, merge, start)
    left = jnp.nonzero(alive, size=k)[0]
    components = jax.vmap(lambda m, p: Gaussian(mixture._shaped(m), p, circular))(
        locations[left], covariances[left]
    )
    return Mixture(components, jnp.log(weights[left]))


def bhattacharyya(one: Gaussian, other: Gaussian) -> Float[Array, ""]:
    """Return the Bhattacharyya distance −log ∫ √(p q) of two Gaussians in nats."""
    factor = linalg.cholesky(0.5 * (one.covariance + other.covariance))
    white = linalg.solve_lower(factor, other.residual(one.mean()))
    halves = 0.5 * (_log_root(one.covariance) + _log_root(other.covariance))
    return jnp.sum(white**2) / 8 + jnp.sum(jnp.log(jnp.diagonal(factor))) - halves


def kl_by_sampling(
    p: AbstractDensity, q: AbstractDensity, n: int = 1000, *, key: PRNGKeyArray
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Estimate KL(p ‖ q) in nats from n draws of p, for densities without a closed form.

    Returns:
        The estimate, which is unbiased and can be negative, and its standard error.
    """
    draws = jax.vmap(lambda sub: p.sample(key=sub))(jax.random.split(key, n))
    ratios = jax.vmap(lambda x: p.log_prob(x) - q.log_prob(x))(draws)
    return jnp.mean(ratios), jnp.std(ratios, ddof=1) / jnp.sqrt(n)


def _stacked(
    mixture: Mixture, wanted_by: str
) -> tuple[Float[Array, "k n"], Float[Array, "k n n"], tuple[int, ...]]:
    """Return flat means, full covariances and angles of Gaussian components."""
    components = mixture.components
    if isinstance(components, Gaussian):
        return jax.vmap(lambda one: one.vector())(components), components.covariance, components.circular
    if isinstance(components, DiagonalGaussian):
        locations = jax.vmap(lambda one: one.vector())(components)
        covariances = jax.vmap(lambda one: jnp.diag(one.variances()))(components)
        return locations, covariances, components.circular
    raise ForeseeError(f"Mixture.{wanted_by}: expected Gaussian components, got {type(components).__name__}")


def _log_root(covariance: Float[Array, "n n"]) -> Float[Array, ""]:
    """Return half the log determinant."""
    return jnp.sum(jnp.log(jnp.diagonal(linalg.cholesky(covariance))))


def _merging_costs(
    weights: Float[Array, " k"],
    locations: Float[Array, "k n"],
    covariances: Float[Array, "k n n"],
    circular: tuple[int, ...],
) -> Float[Array, "k k"]:
    """Return the bound on the divergence that merging each pair costs (Runnalls 2007)."""
    roots = jax.vmap(_log_root)(covariances)

    def cost(i, j):
        total = weights[i] + weights[j]
        share = jnp.where(total > 0, weights[i] / jnp.where(total > 0, total, 1.0), 0.5)
        apart = linalg.wrap_components(locations[i] - locations[j], circular)
        merged = share * covariances[i] + (1 - share) * covariances[j]
        merged = merged + share * (1 - share) * apart[:, None] * apart[None, :]
        return total * _log_root(merged) - weights[i] * roots[i] - weights[j] * roots[j]

    index = jnp.arange(weights.shape[0])
    return jax.vmap(lambda i: jax.vmap(lambda j: cost(i, j))(index))(index)
