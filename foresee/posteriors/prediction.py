"""What a belief about networks says of one input: classes or numbers, and whose fault the doubt is."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp, ndtr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from foresee.beliefs.belief import AbstractDensity, Points
from foresee.beliefs.gaussian import DiagonalGaussian
from foresee.beliefs.mixture import Mixture

HALVINGS = 60  # of the interval that a quantile lies in


class ClassPrediction(AbstractDensity):
    """What several networks say of the class of one input, as one belief about the class.

    Args:
        logits: outputs of n networks, one row each.
        log_weights: logarithms of the networks' weights; they need not be normalised.
    """

    logits: Float[Array, "n classes"]
    log_weights: Float[Array, " n"]

    def members(self) -> Float[Array, "n classes"]:
        """Return the probabilities that every network gives the classes."""
        return jax.nn.softmax(self.logits)

    def log_probabilities(self) -> Float[Array, " classes"]:
        """Return the logarithms of the averaged probabilities."""
        shares = jax.nn.log_softmax(self.log_weights)
        return logsumexp(shares[:, None] + jax.nn.log_softmax(self.logits), axis=0)

    def probabilities(self) -> Float[Array, " classes"]:
        """Return the averaged probabilities."""
        return jnp.exp(self.log_probabilities())

    def mean(self) -> Float[Array, " classes"]:
        """Return the averaged probabilities: the expectation of the class written as a unit vector."""
        return self.probabilities()

    def total(self) -> Float[Array, ""]:
        """Return the entropy of the averaged probabilities in nats: all the doubt there is."""
        return _entropy(self.log_probabilities())

    def aleatoric(self) -> Float[Array, ""]:
        """Return the networks' mean entropy in nats: the doubt that every network has by itself."""
        return jnp.sum(jax.nn.softmax(self.log_weights) * _entropy(jax.nn.log_softmax(self.logits)))

    def epistemic(self) -> Float[Array, ""]:
        """Return the mutual information of class and network in nats: the doubt that more data would settle.

        It is the total less the aleatoric doubt (Houlsby et al. 2011, equation 2).
        """
        return jnp.maximum(self.total() - self.aleatoric(), 0.0)

    def log_prob(self, x: Int[Array, ""]) -> Float[Array, ""]:
        """Return the log probability of class x."""
        return self.log_probabilities()[x]

    def sample(self, *, key: PRNGKeyArray) -> Int[Array, ""]:
        """Draw a class."""
        return jax.random.categorical(key, self.log_probabilities())

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return all classes, weighted by their probabilities; there is nothing to draw, whatever n is."""
        return Points(jnp.arange(self.logits.shape[1]), self.log_probabilities())


class NumberPrediction(AbstractDensity):
    """What several networks say of the numbers y of one input, as one mixture of normal distributions.

    Args:
        means: means of y, one row for each of n networks.
        noise: variances of y about them, the aleatoric part.
        doubt: variances of the means themselves, where a row stands for a linearised network; zero for draws.
        log_weights: logarithms of the networks' weights; they need not be normalised.
    """

    means: Float[Array, "n m"]
    noise: Float[Array, "n m"]
    doubt: Float[Array, "n m"]
    log_weights: Float[Array, " n"]

    def weights(self) -> Float[Array, " n"]:
        """Return the normalised weights."""
        return jax.nn.softmax(self.log_weights)

    def mixture(self) -> Mixture:
        """Return the belief about y as a mixture of Gaussians."""
        return Mixture(jax.vmap(DiagonalGaussian)(self.means, self.noise + self.doubt), self.log_weights)

    def mean(self) -> Float[Array, " m"]:
        """Return the mean of y."""
        return self.weights() @ self.means

    def aleatoric(self) -> Float[Array, " m"]:
        """Return the variance that the networks give y about their own means."""
        return self.weights() @ self.noise

    def epistemic(self) -> Float[Array, " m"]:
        """Return the variance of the mean of y over networks."""
        return self.weights() @ (self.doubt + (self.means - self.mean()) ** 2)

    def total(self) -> Float[Array, " m"]:
        """Return the variance of y, aleatoric and epistemic."""
        return self.aleatoric() + self.epistemic()

    def standard_deviation(self) -> Float[Array, " m"]:
        """Return the standard deviation of y."""
        return jnp.sqrt(self.total())

    def log_prob(self, x: Float[Array, " m"]) -> Float[Array, ""]:
        """Return the log density at y = x."""
        return self.mixture().log_prob(x)

    def cdf(self, y: Float[Array, " m"]) -> Float[Array, " m"]:
        """Return the probability that each number is at most y."""
        return self.weights() @ ndtr((y - self.means) / jnp.sqrt(self.noise + self.doubt))

    def quantile(self, level: Any) -> Float[Array, " m"]:
        """Return the value that each number stays below with probability `level`, by bisection.

        Gradients pass by the implicit function theorem.
        """
        spread = jnp.sqrt(self.noise + self.doubt)
        reach = jax.scipy.special.ndtri(jnp.asarray(level, self.means.dtype)) * spread + self.means
        low, high = (jax.lax.stop_gradient(edge) for edge in (jnp.min(reach, axis=0), jnp.max(reach, axis=0)))

        frozen = jax.lax.stop_gradient(self)

        def halve(_, ends):
            low, high = ends
            middle = 0.5 * (low + high)
            below = frozen.cdf(middle) < level
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
        value = jax.lax.stop_gradient(0.5 * (low + high))
        density = jax.lax.stop_gradient(self._density(value))
        # One Newton step: it changes nothing about the value and gives it its derivatives.
        return value - (self.cdf(value) - level) / density

    def _density(self, y: Float[Array, " m"]) -> Float[Array, " m"]:
        spread = jnp.sqrt(self.noise + self.doubt)
        heights = jnp.exp(-0.5 * ((y - self.means) / spread) ** 2) / (jnp.sqrt(2 * jnp.pi) * spread)
        return self.weights() @ heights

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, " m"]:
        """Draw y."""
        return self.mixture().sample(key=key)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted draws of y, spread evenly over the networks."""
        return self.mixture().points(n, key=key)


def _entropy(log_probabilities: Float[Array, "*rows classes"]) -> Float[Array, "*rows"]:
    chances = jnp.exp(log_probabilities)
    return -jnp.sum(jnp.where(chances > 0, chances * log_probabilities, 0.0), axis=-1)
