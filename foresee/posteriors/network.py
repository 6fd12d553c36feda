"""Beliefs about the weights of a network. `WeightBelief` makes networks of any belief about their arrays."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractBelief, Points
from foresee.beliefs.frozen import Frozen, freeze
from foresee.beliefs.gaussian import DiagonalGaussian, Gaussian
from foresee.beliefs.mixture import Mixture
from foresee.beliefs.particles import systematic
from foresee.errors import OptionError, PosteriorError
from foresee.posteriors.jacobian import jacobian
from foresee.posteriors.likelihood import call

LEAST_VARIANCE = 1e-30  # of an output: where nothing is in doubt, its standard deviation is 1e-15


class AbstractWeights(AbstractBelief):
    """A belief about a pytree of weights that can push itself through a linear map."""

    @abc.abstractmethod
    def through(self, jacobian: PyTree) -> Float[Array, "m m"]:
        """Return J Σ Jᵀ.

        Args:
            jacobian: pytree like the weights with one more leading axis of m outputs.
        """


class AbstractLayerWeights(AbstractWeights):
    """A belief about weights that knows a shorter way to a network's outputs than the whole Jacobian."""

    @abc.abstractmethod
    def outputs(self, network: Any, x: Any) -> Gaussian:
        """Return the belief about the outputs at x of the network linearised about the mean weights.

        Args:
            network: function that makes a network of weights.
            x: one input.
        """


class AbstractNetworks(AbstractBelief):
    """A belief about networks that knows what a linearised network says of its outputs."""

    @abc.abstractmethod
    def outputs(self, x: Any) -> Gaussian | Mixture:
        """Return the belief about the outputs at x.

        Args:
            x: one input.
        """


class WeightBelief(AbstractNetworks):
    """A belief about networks: some of the arrays are in doubt, the others are known.

    `mean` and `sample` return networks that can be called, `points` returns weighted networks.

    Args:
        weights: belief about a pytree of arrays: the doubtful part of the network, None in all other places.
        network: the network, from which the other arrays and everything that is no array are taken.
    """

    weights: AbstractBelief
    known: PyTree[Array]
    frozen: Frozen

    def __init__(self, weights: AbstractBelief, network: PyTree):
        self.weights = weights
        doubtful = weights.mean()
        arrays, self.frozen = freeze(eqx.nn.inference_mode(network))
        self.known = jax.tree.map(
            lambda own, array: array if own is None else None, doubtful, arrays, is_leaf=lambda x: x is None
        )

    def network(self, weights: PyTree) -> PyTree:
        """Return the network with these weights."""
        return self.frozen.join(eqx.combine(weights, self.known))

    def mean(self) -> PyTree:
        """Return the network with the mean weights."""
        return self.network(self.weights.mean())

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one network."""
        return self.network(self.weights.sample(key=key))

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n weighted networks."""
        drawn = self.weights.points(n, key=key)
        arrays = jax.vmap(lambda one: eqx.combine(one, self.known))(drawn.stacked())
        return Points(self.frozen.join(arrays), drawn.log_weights)

    def outputs(self, x: Any) -> Gaussian:
        """Return the belief about the outputs at x under the network linearised about its mean weights.

        The Gaussian is N(f(x), J Σ Jᵀ) with the Jacobian J in the doubtful weights (Khan et al. 2019; Immer,
        Korzepa and Bauer 2021, equation 8).

        Args:
            x: one input.
        """
        if isinstance(self.weights, AbstractLayerWeights):
            return self.weights.outputs(self.network, x)
        centre = self.weights.mean()
        if isinstance(self.weights, DiagonalGaussian):
            products = jacobian(self.network, centre, x)
            return Gaussian(products.outputs, positive(products.covariance(self.weights.variance)))
        outputs, rows = linearised(self.network, centre, x)
        return Gaussian(outputs, positive(covariance_through(self.weights, rows)))


class WeightMixture(AbstractNetworks):
    """A belief about networks that is one of several beliefs, as a Laplace approximation around each of many.

    Args:
        components: beliefs about networks of one kind, such as `WeightBelief` or `LastLayerBelief`, stacked:
            every array has a leading axis.
        log_weights: logarithms of their weights; they need not be normalised. None gives equal weights.
    """

    components: AbstractNetworks
    log_weights: Float[Array, " k"]

    def __init__(self, components: AbstractNetworks, log_weights: Any = None):
        self.components = components
        k = jax.tree.leaves(components)[0].shape[0]
        self.log_weights = jnp.zeros(k) if log_weights is None else jnp.asarray(log_weights, float)

    def component(self, index: Any) -> AbstractNetworks:
        """Return the belief with this index."""
        return jax.tree.map(lambda leaf: leaf[index], self.components)

    def means(self) -> Points:
        """Return the mean networks, weighted: the ensemble without the doubt about each of its members."""
        return Points(eqx.filter_vmap(lambda one: one.mean())(self.components), self.log_weights)

    def mean(self) -> PyTree:
        """Return the network whose weights are averaged, which need not be a good one."""
        return self.means().mean()

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw one network."""
        which, inside = jax.random.split(key)
        return self.component(jax.random.categorical(which, self.log_weights)).sample(key=inside)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted networks; a component of weight w brings ⌊n w⌋ or ⌈n w⌉ of them."""
        which, inside = jax.random.split(key)
        index = systematic(self.log_weights, n, key=which)
        keys = jax.random.split(inside, n)
        values = eqx.filter_vmap(lambda i, sub: self.component(i).sample(key=sub))(index, keys)
        return Points(values, jnp.zeros(n, self.log_weights.dtype))

    def outputs(self, x: Any) -> Mixture:
        """Return the belief about the outputs at x, every network linearised about its own mean weights.

        Args:
            x: one input.
        """
        return Mixture(eqx.filter_vmap(lambda one: one.outputs(x))(self.components), self.log_weights)


def doubtful(network: PyTree, which: Any = "all") -> PyTree:
    """Return the weights of a network that are in doubt, None in all other places.

    Args:
        network: any Equinox module.
        which: "all" floating point arrays, those of the "last" dense layer, a function of a leaf that says
            whether it is in doubt, or a pytree of booleans like the network.

    Raises:
        OptionError: if `which` is none of these.
        PosteriorError: if nothing is in doubt.
    """
    if isinstance(which, str):
        which = _named(network, which)
    weights = eqx.filter(eqx.filter(network, which), eqx.is_inexact_array)
    if not jax.tree.leaves(weights):
        raise PosteriorError("weights in doubt: expected at least one floating point array, got none")
    return weights


def _named(network: PyTree, which: str) -> Any:
    """Return the filter that a word stands for."""
    if which == "all":
        return eqx.is_inexact_array
    if which != "last":
        raise OptionError(f"weights in doubt: expected 'all', 'last' or a filter, got {which!r}")
    nodes, structure = jax.tree.flatten(network, is_leaf=_is_linear)
    dense = [index for index, node in enumerate(nodes) if _is_linear(node)]
    if not dense:
        raise PosteriorError("weights in doubt: expected a network with an equinox.nn.Linear, got none")
    flags = [jax.tree.map(lambda _, own=i == dense[-1]: own, node) for i, node in enumerate(nodes)]
    return jax.tree.unflatten(structure, flags)


def _is_linear(leaf: Any) -> bool:
    return isinstance(leaf, eqx.nn.Linear)


def linearised(network: Any, weights: PyTree, x: Any) -> tuple[Float[Array, " m"], PyTree]:
    """Return the outputs at x, and their Jacobian in the weights as a pytree with a leading axis of outputs.

    Args:
        network: function that makes a network of weights.
        weights: where to linearise.
        x: one input.
    """

    def outputs(weights):
        return call(network(weights), x)

    value, back = jax.vjp(outputs, weights)
    (jacobian,) = jax.vmap(back)(jnp.eye(value.shape[0], dtype=value.dtype))
    return value, jacobian


def covariance_through(weights: AbstractBelief, rows: PyTree) -> Float[Array, "m m"]:
    """Return J Σ Jᵀ for a belief about weights that has a covariance Σ.

    Raises:
        PosteriorError: if it has none.
    """
    if isinstance(weights, AbstractWeights):
        return weights.through(rows)
    flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])(rows)
    if isinstance(weights, DiagonalGaussian):
        return (flat * weights.variances()) @ flat.T
    if isinstance(weights, Gaussian):
        return flat @ weights.covariance @ flat.T
    raise PosteriorError(
        f"linearised prediction: expected weights with a covariance, got {type(weights).__name__}; "
        "use method='samples'"
    )


def positive(matrix: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """Return a covariance that can be factored: symmetric, and raised by what rounding can take from it."""
    rounding = 4 * jnp.finfo(matrix.dtype).eps * jnp.max(jnp.diagonal(matrix)) + LEAST_VARIANCE
    return 0.5 * (matrix + matrix.T) + rounding * jnp.eye(matrix.shape[0], dtype=matrix.dtype)
