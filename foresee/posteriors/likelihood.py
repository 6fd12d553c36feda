"""What a network's outputs mean: the likelihood of a label or number given them, for ONE example."""

import abc
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractConditional, AbstractDensity
from foresee.beliefs.categorical import Categorical
from foresee.beliefs.gaussian import DiagonalGaussian, as_float
from foresee.errors import ShapeError


class AbstractLikelihood(AbstractConditional):
    """p(y | outputs of a network): called with the outputs, it returns the belief about y."""

    @abc.abstractmethod
    def loss(self, outputs: Float[Array, " outputs"], y: Array) -> Float[Array, ""]:
        """Return −log p(y | outputs) in nats, what training minimises."""

    @abc.abstractmethod
    def curvature(self, outputs: Float[Array, " outputs"]) -> Float[Array, "outputs outputs"]:
        """Return the Fisher information of the outputs: the loss's Hessian in them, averaged over y."""


class CategoricalLikelihood(AbstractLikelihood):
    """The outputs are logits of classes; y is the number of a class."""

    def __call__(self, x: Float[Array, " classes"], u: PyTree = None, dt: Any = 1.0) -> AbstractDensity:
        """Return the belief about the class."""
        return Categorical(x)

    def loss(self, outputs: Float[Array, " classes"], y: Int[Array, ""]) -> Float[Array, ""]:
        """Return the cross-entropy in nats."""
        return -jax.nn.log_softmax(outputs)[y]

    def curvature(self, outputs: Float[Array, " classes"]) -> Float[Array, "classes classes"]:
        """Return diag(p) − p pᵀ."""
        chances = jax.nn.softmax(outputs)
        return jnp.diag(chances) - jnp.outer(chances, chances)


class GaussianLikelihood(AbstractLikelihood):
    """The outputs are the mean of y, whose noise is the same everywhere.

    Args:
        noise: standard deviation of y about the mean, one number or one for every output.
    """

    noise: Float[Array, "..."] = eqx.field(converter=as_float)

    def __call__(self, x: Float[Array, " m"], u: PyTree = None, dt: Any = 1.0) -> AbstractDensity:
        """Return the belief about y."""
        return DiagonalGaussian(*self.moments(x))

    def moments(self, outputs: Float[Array, " m"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Return mean and variance of y."""
        return outputs, jnp.broadcast_to(self.noise**2, outputs.shape).astype(outputs.dtype)

    def loss(self, outputs: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, ""]:
        """Return the negative log density in nats."""
        return -self(outputs).log_prob(y)

    def curvature(self, outputs: Float[Array, " m"]) -> Float[Array, "m m"]:
        """Return the inverse of the noise's covariance."""
        return jnp.diag(jnp.broadcast_to(1 / self.noise**2, outputs.shape))


class HeteroscedasticLikelihood(AbstractLikelihood):
    """The first half of the outputs is the mean of y, softplus of the second half its standard deviation.

    Args:
        least: what is added to every standard deviation, in units of y, so that none can vanish.
    """

    least: Float[Array, "..."] = eqx.field(converter=as_float, default=1e-3)

    def __call__(self, x: Float[Array, " two_m"], u: PyTree = None, dt: Any = 1.0) -> AbstractDensity:
        """Return the belief about y."""
        return DiagonalGaussian(*self.moments(x))

    def moments(self, outputs: Float[Array, " two_m"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Return mean and variance of y."""
        mean, raw = jnp.split(outputs, 2)
        return mean, (jax.nn.softplus(raw) + self.least) ** 2

    def loss(self, outputs: Float[Array, " two_m"], y: Float[Array, " m"]) -> Float[Array, ""]:
        """Return the negative log density in nats."""
        return -self(outputs).log_prob(y)

    def curvature(self, outputs: Float[Array, " two_m"]) -> Float[Array, "two_m two_m"]:
        """Return diag(1/σ², 2 (dσ/draw)²/σ²), the Fisher information of a normal distribution."""
        _, raw = jnp.split(outputs, 2)
        spread = jax.nn.softplus(raw) + self.least
        return jnp.diag(jnp.concatenate([1 / spread**2, 2 * (jax.nn.sigmoid(raw) / spread) ** 2]))


class SupervisedLoss(eqx.Module):
    """The loss that `foresee.fit.fit` takes: −log p(y | outputs) for an example (x, y).

    Args:
        likelihood: what the outputs mean.
    """

    likelihood: AbstractLikelihood

    def __call__(self, model: Any, example: tuple[Any, Any], *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Return the loss of one example."""
        x, y = example
        return self.likelihood.loss(call(model, x, key=key), y)


def call(model: Any, x: Any, *, key: PRNGKeyArray | None = None) -> Any:
    """Return the model's outputs; the key is handed on where the model takes one, as Equinox's layers do."""
    takes_key = "key" in inspect.signature(model).parameters
    return model(x, key=key) if takes_key else model(x)


def count_rows(data: PyTree, who: str) -> int:
    """Return how many rows there are, for whoever needs at least one.

    Raises:
        ShapeError: if there are none, or the arrays differ in their leading axis.
    """
    sizes = {np.shape(leaf)[0] if np.ndim(leaf) else None for leaf in jax.tree.leaves(data)}
    if len(sizes) != 1 or None in sizes or 0 in sizes:
        raise ShapeError(
            f"{who}: expected data whose arrays have the same rows, one at least, got "
            f"{sorted(map(str, sizes))}"
        )
    return int(sizes.pop() or 0)
