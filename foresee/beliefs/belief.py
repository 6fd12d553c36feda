"""The central page: beliefs, conditionals, filters that move beliefs, and the cost expected under one."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar

from foresee.beliefs.frozen import Frozen, freeze
from foresee.errors import ShapeError


class AbstractBelief(eqx.Module):
    """What may be true of x: a vector, a table of tracks, the weights of a network, a future."""

    @abc.abstractmethod
    def mean(self) -> PyTree:
        """Return the expectation of x."""

    @abc.abstractmethod
    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one x."""

    @abc.abstractmethod
    def points(self, n: int, *, key: PRNGKeyArray) -> "Points":
        """Return n weighted points that stand for this belief."""


class AbstractDensity(AbstractBelief):
    """A belief that can say how probable a given x is."""

    @abc.abstractmethod
    def log_prob(self, x: PyTree) -> Scalar:
        """Return the logarithm of the density (or probability) at x."""


class AbstractConditional(eqx.Module):
    """p(y | x, u): a motion model, a sensor, a learned world model or a policy."""

    @abc.abstractmethod
    def __call__(self, x: PyTree, u: PyTree = None, dt: Any = 1.0) -> AbstractBelief:
        """Return the belief about y.

        Args:
            x: what is conditioned on, as a rule a state.
            u: control or other known input; None where the model takes none.
            dt: duration in seconds; models without a notion of time, as most sensors, ignore it.
        """


class AbstractFilter(eqx.Module):
    """How one kind of belief is moved through time and corrected by observations."""

    @abc.abstractmethod
    def predict(
        self,
        belief: Any,
        motion: AbstractConditional,
        u: PyTree = None,
        dt: Any = 1.0,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Any:
        """Return the belief after `dt` seconds of `motion` under the input `u`."""

    @abc.abstractmethod
    def update(
        self,
        belief: Any,
        sensor: AbstractConditional,
        y: Float[Array, " m"],
        seen: Bool[Array, ""] | Bool[Array, " m"] | bool | None = None,
        u: PyTree = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Any, Float[Array, ""]]:
        """Return the belief corrected by `y`, and the log evidence log p(seen part of y).

        A component that is not `seen` changes nothing and adds nothing to the evidence; what `y` holds there
        has no influence. None means that everything was seen.
        """


class Points(AbstractBelief):
    """Weighted points that stand for a belief: push them through any function, average any cost over them.

    Args:
        values: pytree of arrays with one leading axis of n points. Leaves that are no arrays, as activation
            functions of stacked networks, are common to all points.
        log_weights: logarithms of the weights; they need not be normalised. None gives equal weights.
    """

    values: PyTree[Array]
    log_weights: Float[Array, " n"]
    common: Frozen

    def __init__(self, values: PyTree, log_weights: Float[Array, " n"] | None = None):
        self.values, self.common = freeze(values)
        sizes = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(self.values)}
        if len(sizes) != 1 or None in sizes:
            raise ShapeError(
                f"Points: expected leaves with one common leading axis, got sizes {sorted(map(str, sizes))}"
            )
        n = sizes.pop()
        self.log_weights = jnp.zeros(n) if log_weights is None else jnp.asarray(log_weights)
        if self.log_weights.shape != (n,):
            raise ShapeError(f"Points: expected {n} log weights, got shape {self.log_weights.shape}")

    def stacked(self) -> PyTree:
        """Return all points as one pytree with a leading axis of n, leaves that are no arrays included."""
        return self.common.join(self.values)

    def weights(self) -> Float[Array, " n"]:
        """Return the normalised weights."""
        return jax.nn.softmax(self.log_weights)

    def push(self, function: Callable[[PyTree], PyTree]) -> "Points":
        """Return the points mapped through `function`, which is written for one point."""
        return Points(eqx.filter_vmap(function)(self.stacked()), self.log_weights)

    def expect(self, function: Callable[[PyTree], PyTree]) -> PyTree:
        """Return the weighted average of `function`, which is written for one point."""
        weights = self.weights()
        values, common = freeze(eqx.filter_vmap(function)(self.stacked()))
        return common.join(jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), values))

    def mean(self) -> PyTree:
        """Return the weighted average of the points."""
        return self.expect(lambda x: x)

    def covariance(self) -> Float[Array, "n n"]:
        """Return the weighted covariance of the flattened points."""
        flat = jax.vmap(lambda x: ravel_pytree(x)[0])(self.values)
        weights = self.weights()
        centred = flat - weights @ flat
        return (centred * weights[:, None]).T @ centred

    def effective_size(self) -> Float[Array, ""]:
        """Return Kish's effective sample size, (Σ w)² / Σ w²."""
        return 1.0 / jnp.sum(self.weights() ** 2)

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one of the points in proportion to its weight."""
        index = jax.random.categorical(key, self.log_weights)
        return self.common.join(jax.tree.map(lambda leaf: leaf[index], self.values))

    def points(self, n: int, *, key: PRNGKeyArray) -> "Points":
        """Draw n points with replacement in proportion to the weights; they come back equally weighted."""
        # The inverse of the distribution function; Gumbel noise for every point and draw would cost n times
        # as much.
        heights = jnp.cumsum(self.weights())
        draws = heights[-1] * jax.random.uniform(key, (n,), heights.dtype)
        index = jnp.clip(jnp.searchsorted(heights, draws, side="right"), 0, heights.size - 1)
        drawn = self.common.join(jax.tree.map(lambda leaf: leaf[index], self.values))
        return Points(drawn, jnp.zeros(n, heights.dtype))


def expected(
    belief: AbstractBelief, cost: Callable[[PyTree], PyTree], n: int = 64, *, key: PRNGKeyArray
) -> PyTree:
    """Return the cost expected under a belief, by n points: what every planner and policy here minimises.

    Args:
        belief: any belief, whether Gaussian, particles, an ensemble of networks or a mixture of futures.
        cost: function of one x.
        n: number of points.
        key: source of the points' randomness.
    """
    return belief.points(n, key=key).expect(cost)
