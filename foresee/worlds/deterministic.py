"""One mean and a constant noise: the plainest world, which averages futures that fork."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import DiagonalGaussian
from foresee.posteriors.likelihood import call
from foresee.posteriors.standardise import Scales, Standardised
from foresee.worlds.world import START, AbstractWorld, checked_inputs, checked_scales, perceptron


class Deterministic(AbstractWorld):
    """A network for the mean of the outcome, and a noise that is learned but the same everywhere.

    Args:
        context: size of the context.
        action: size of the action, 0 for none.
        outcome: size of the outcome.
        width: units of a hidden layer.
        depth: number of hidden layers.
        dropout: probability that a hidden unit is left out in training.
        scales: of the joined inputs and of the outcomes, as `foresee.posteriors.scales` makes them.
        key: source of the first weights.

    Attributes:
        network: from context and action, joined, to the mean, both in the units of the data; a network like
            any other for `foresee.posteriors`.
        log_noise: logarithm of the standard deviation of every component of the outcome.
    """

    network: Any
    log_noise: Float[Array, " outcome"]
    inputs: int = eqx.field(static=True)

    def __init__(
        self,
        context: int,
        action: int,
        outcome: int,
        *,
        width: int = 64,
        depth: int = 2,
        dropout: float = 0.0,
        scales: Scales | None = None,
        key: PRNGKeyArray,
    ):
        known = checked_scales(scales, context, action, outcome, "Deterministic")
        inner = perceptron(context + action, outcome, width=width, depth=depth, dropout=dropout, key=key)
        self.network = Standardised(inner, known)
        self.log_noise = jnp.log(START * known.target_deviations)
        self.inputs = context + action

    def __call__(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None = None,
        dt: Any = 1.0,
        *,
        key: PRNGKeyArray | None = None,
    ) -> DiagonalGaussian:
        """Return the belief about the outcome."""
        inputs = checked_inputs(self.inputs, context, action, "Deterministic")
        mean = call(self.network, inputs, key=key)
        return DiagonalGaussian(mean, jnp.exp(2 * self.log_noise))

    def loss(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None,
        outcome: Float[Array, " outcome"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Return the negative log density of the outcome in nats."""
        return -self(context, action, key=key).log_prob(outcome)
