"""Several modes with probabilities: a world for futures that fork. Start with `MixtureOfExperts`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import DiagonalGaussian
from foresee.beliefs.mixture import Mixture
from foresee.errors import OptionError
from foresee.fit.known import Known
from foresee.posteriors.likelihood import call
from foresee.posteriors.standardise import Scales
from foresee.worlds.world import START, AbstractWorld, checked_scales, perceptron, standard_inputs

CRITERIA = ("mixture_likelihood", "winner_takes_all")


class MixtureOfExperts(AbstractWorld):
    """A network for the means of K modes and their probabilities; every mode has a constant learned noise.

    Args:
        context: size of the context.
        action: size of the action, 0 for none.
        outcome: size of the outcome.
        modes: how many modes.
        criterion: what is minimised: "mixture_likelihood" or "winner_takes_all", the functions below.
        weight: of the cross-entropy where the winner takes all.
        width: units of a hidden layer.
        depth: number of hidden layers.
        dropout: probability that a hidden unit is left out in training.
        scales: of the joined inputs and of the outcomes, as `foresee.posteriors.scales` makes them.
        key: source of the first weights.

    Raises:
        OptionError: if an option has a value nothing can be done with.
    """

    network: Any
    log_noise: Float[Array, "modes outcome"]
    scales: Known
    weight: Known
    criterion: str = eqx.field(static=True)

    def __init__(
        self,
        context: int,
        action: int,
        outcome: int,
        modes: int = 6,
        *,
        criterion: str = "mixture_likelihood",
        weight: float | int | Float[Array, ""] = 0.01,
        width: int = 64,
        depth: int = 2,
        dropout: float = 0.0,
        scales: Scales | None = None,
        key: PRNGKeyArray,
    ):
        if criterion not in CRITERIA:
            raise OptionError(f"MixtureOfExperts: expected one of the criteria {CRITERIA}, got {criterion!r}")
        if modes < 1:
            raise OptionError(f"MixtureOfExperts: expected at least 1 mode, got {modes}")
        known = checked_scales(scales, context, action, outcome, "MixtureOfExperts")
        outputs = modes * (outcome + 1)
        self.network = perceptron(
            context + action, outputs, width=width, depth=depth, dropout=dropout, key=key
        )
        self.log_noise = jnp.tile(jnp.log(START * known.target_deviations), (modes, 1))
        self.scales, self.weight = Known(known), Known(jnp.asarray(weight, float))
        self.criterion = criterion

    def __call__(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None = None,
        dt: Any = 1.0,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Mixture:
        """Return the belief about the outcome: a mixture of Gaussians, one for every mode."""
        scales = self.scales.fixed()
        outputs = call(self.network, standard_inputs(scales, context, action, "MixtureOfExperts"), key=key)
        modes, outcome = self.log_noise.shape
        means = scales.targets + scales.target_deviations * outputs[modes:].reshape(modes, outcome)
        components = jax.vmap(DiagonalGaussian)(means, jnp.exp(2 * self.log_noise))
        return Mixture(components, jax.nn.log_softmax(outputs[:modes]))

    def loss(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None,
        outcome: Float[Array, " outcome"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Return the criterion for one outcome, in nats."""
        belief = self(context, action, key=key)
        if self.criterion == "mixture_likelihood":
            return mixture_likelihood(belief, outcome)
        return winner_takes_all(belief, outcome, self.weight.fixed(), self.scales.fixed().target_deviations)


def mixture_likelihood(belief: Mixture, outcome: Float[Array, " outcome"]) -> Float[Array, ""]:
    """Return −log Σ p_k N(outcome; mode k) in nats: proper, so that it is least for the true distribution."""
    return -belief.log_prob(outcome)


def winner_takes_all(
    belief: Mixture,
    outcome: Float[Array, " outcome"],
    weight: Any = 0.01,
    unit: Any = 1.0,
) -> Float[Array, ""]:
    """Return −log N(outcome; winner) − weight · log p_winner in nats; the winner is the mode that is nearest.

    Only the winner learns from an example, so modes part where the likelihood may leave them together; its
    probability is learned by the cross-entropy. With weight 1 this is never less than `mixture_likelihood`.
    SafePathNet (Pini et al. 2022) takes the weight .01.

    Args:
        belief: mixture of diagonal Gaussians.
        outcome: what happened.
        weight: of the cross-entropy.
        unit: what distances are measured in, one number or one for every component of the outcome.
    """
    components: Any = belief.components
    distances = jnp.sum(((components.location - outcome) / unit) ** 2, axis=-1)
    winner = jnp.argmin(distances)
    chosen: Any = belief.component(winner)
    return -chosen.log_prob(outcome) - weight * jax.nn.log_softmax(belief.log_weights)[winner]
