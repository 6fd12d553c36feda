"""Categorical beliefs: one of K things is true."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractDensity, Points
from foresee.beliefs.gaussian import as_float
from foresee.beliefs.particles import systematic
from foresee.errors import ShapeError


class Categorical(AbstractDensity):
    """Probabilities of K alternatives.

    Args:
        log_weights: logarithms of the weights; they are normalised here. −inf is an impossible alternative.
        values: what each alternative stands for, a pytree of arrays with a leading axis of K. None: the
            numbers 0 to K − 1 themselves.

    Raises:
        ShapeError: if the log weights are no vector, or the values' leading axis is not K.
    """

    log_weights: Float[Array, " k"]
    values: PyTree

    def __init__(self, log_weights: Any, values: PyTree = None):
        raw = as_float(log_weights)
        if raw.ndim != 1 or raw.shape[0] == 0:
            raise ShapeError(f"Categorical: expected log weights of shape (k,), got {raw.shape}")
        self.log_weights = jax.nn.log_softmax(raw)
        self.values = jax.tree.map(jnp.asarray, values)
        for leaf in jax.tree.leaves(self.values):
            if leaf.shape[:1] != raw.shape:
                raise ShapeError(
                    f"Categorical: expected values with a leading axis of {raw.shape[0]}, got {leaf.shape}"
                )

    def probabilities(self) -> Float[Array, " k"]:
        """Return the probability of every alternative."""
        return jnp.exp(self.log_weights)

    def weighted(self) -> Points:
        """Return all alternatives as weighted points: expectations over them are exact."""
        if self.values is None:
            return Points(jnp.arange(self.log_weights.shape[0]), self.log_weights)
        return Points(self.values, self.log_weights)

    def mean(self) -> PyTree:
        """Return the expectation of the values."""
        return self.weighted().mean()

    def mode(self) -> Int[Array, ""]:
        """Return the index of the most probable alternative."""
        return jnp.argmax(self.log_weights)

    def log_prob(self, x: Int[Array, ""] | int) -> Float[Array, ""]:
        """Return the log probability of the alternative with index x; −inf outside 0 to K − 1."""
        known = (jnp.asarray(x) >= 0) & (jnp.asarray(x) < self.log_weights.shape[0])
        return jnp.where(known, self.log_weights[x], -jnp.inf)

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one value."""
        return self.weighted().sample(key=key)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted values; one of probability p comes ⌊n p⌋ or ⌈n p⌉ times."""
        index = systematic(self.log_weights, n, key=key)
        values = jax.tree.map(lambda leaf: leaf[index], self.weighted().values)
        return Points(values, jnp.zeros(n, self.log_weights.dtype))

    def entropy(self) -> Float[Array, ""]:
        """Return the entropy in nats."""
        return -_expect(self.log_weights, self.log_weights)

    def kl_divergence(self, other: "Categorical") -> Float[Array, ""]:
        """Return KL(self ‖ other) in nats; inf if the other holds impossible what this one holds possible.

        Raises:
            ShapeError: if the two have different numbers of alternatives.
        """
        if self.log_weights.shape != other.log_weights.shape:
            raise ShapeError(
                f"Categorical.kl_divergence: expected {self.log_weights.shape[0]} alternatives, "
                f"got {other.log_weights.shape[0]}"
            )
        possible = jnp.isfinite(self.log_weights)
        ratio = jnp.where(possible, self.log_weights, 0.0) - jnp.where(possible, other.log_weights, 0.0)
        return _expect(self.log_weights, ratio)


def _expect(log_weights: Float[Array, " k"], cost: Float[Array, " k"]) -> Float[Array, ""]:
    """Return Σ p c, where an impossible alternative counts nothing even at infinite cost."""
    possible = jnp.isfinite(log_weights)
    return jnp.sum(jnp.where(possible, jnp.exp(log_weights) * jnp.where(possible, cost, 0.0), 0.0))
