"""A latent variable stands for what context and action do not tell. Start with `LatentVariable`."""

from typing import Any

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


class LatentVariable(AbstractWorld):
    """A conditional variational autoencoder: outcome = base(context, action) + residual(context, action, z).

    The prior of z is N(0, I) and stays it. Training minimises −log N(outcome; decoded z, noise²) + β KL; z is
    drawn from the posterior or, with the probability `latent_dropout`, from the prior. With β = 1 and no
    latent dropout it is the evidence's lower bound (Kingma and Welling 2014; Sohn, Lee and Yan 2015). A z
    drawn from the prior knows nothing of the outcome, so the effect of the action has to be learned from the
    action (Henaff, Canziani and LeCun 2019, section 3, who take β = 10⁻⁶ and ½). That is needed where β is
    small, and costs: half of all z mean nothing, so what is decoded of the prior is pulled to the average.

    Args:
        context: size of the context.
        action: size of the action, 0 for none.
        outcome: size of the outcome.
        latent: size of z.
        beta: weight of the KL divergence of the posterior from the prior.
        latent_dropout: probability that z is drawn from the prior in training.
        nodes: how many z, drawn from the prior once in antithetic pairs, make up the belief of a call.
        width: units of a hidden layer.
        depth: number of hidden layers.
        dropout: probability that a hidden unit is left out in training.
        scales: of the joined inputs and of the outcomes, as `foresee.posteriors.scales` makes them.
        key: source of the first weights and of the nodes.

    Attributes:
        base: from standardised context and action to the standardised outcome.
        residual: from these and z to what is added.
        encoder: from these and the standardised outcome to the mean and log variance of z.
        log_noise: logarithm of the standard deviation of every component of the outcome given z.

    Raises:
        OptionError: if an option has a value nothing can be done with.
    """

    base: Any
    residual: Any
    encoder: Any
    log_noise: Float[Array, " outcome"]
    scales: Known
    nodes: Known
    beta: Known
    latent_dropout: Known

    def __init__(
        self,
        context: int,
        action: int,
        outcome: int,
        latent: int = 8,
        *,
        beta: float | int | Float[Array, ""] = 1.0,
        latent_dropout: float | int | Float[Array, ""] = 0.0,
        nodes: int = 32,
        width: int = 64,
        depth: int = 2,
        dropout: float = 0.0,
        scales: Scales | None = None,
        key: PRNGKeyArray,
    ):
        if latent < 1 or nodes < 1:
            raise OptionError(f"LatentVariable: expected latent and nodes ≥ 1, got {latent}, {nodes}")
        known = checked_scales(scales, context, action, outcome, "LatentVariable")
        keys = jax.random.split(key, 4)
        inputs, size = context + action, {"width": width, "depth": depth, "dropout": dropout}
        self.base = perceptron(inputs, outcome, key=keys[0], **size)
        self.residual = perceptron(inputs + latent, outcome, key=keys[1], **size)
        self.encoder = perceptron(inputs + outcome, 2 * latent, key=keys[2], **size)
        self.log_noise = jnp.log(START * known.target_deviations)
        self.scales = Known(known)
        standard = DiagonalGaussian(jnp.zeros(latent), 1.0)
        self.nodes = Known(standard.points(nodes, key=keys[3]).values)
        self.beta = Known(jnp.asarray(beta, float))
        self.latent_dropout = Known(jnp.asarray(latent_dropout, float))

    def prior(self) -> DiagonalGaussian:
        """Return the belief about z before the outcome is known: N(0, I)."""
        return DiagonalGaussian(jnp.zeros_like(self.nodes.fixed()[0]), 1.0)

    def posterior(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None,
        outcome: Float[Array, " outcome"],
        *,
        key: PRNGKeyArray | None = None,
    ) -> DiagonalGaussian:
        """Return the belief about z once the outcome is known."""
        scales = self.scales.fixed()
        inputs = standard_inputs(scales, context, action, "LatentVariable")
        seen = (outcome - scales.targets) / scales.target_deviations
        mean, log_variance = jnp.split(call(self.encoder, jnp.concatenate([inputs, seen]), key=key), 2)
        return DiagonalGaussian(mean, jnp.exp(log_variance))

    def kl(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None,
        outcome: Float[Array, " outcome"],
    ) -> Float[Array, ""]:
        """Return KL(posterior ‖ prior) in nats: what z says of the outcome; near 0 it is not used at all."""
        return self.posterior(context, action, outcome).kl_divergence(self.prior())

    def decode(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None,
        z: Float[Array, " latent"],
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " outcome"]:
        """Return the mean of the outcome given z."""
        scales = self.scales.fixed()
        inputs = standard_inputs(scales, context, action, "LatentVariable")
        first, second = (None, None) if key is None else jax.random.split(key)
        outputs = call(self.base, inputs, key=first)
        outputs = outputs + call(self.residual, jnp.concatenate([inputs, z]), key=second)
        return scales.targets + scales.target_deviations * outputs

    def __call__(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None = None,
        dt: Any = 1.0,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Mixture:
        """Return the belief about the outcome: the mixture of what is decoded from the nodes.

        As z and decoded noise are drawn anew at every call of its `sample`, but z among the nodes only, take
        `decode` of draws of the `prior` where thousands of futures are wanted.
        """
        means = jax.vmap(lambda z: self.decode(context, action, z, key=key))(self.nodes.fixed())
        variances = jnp.broadcast_to(jnp.exp(2 * self.log_noise), means.shape)
        return Mixture(jax.vmap(DiagonalGaussian)(means, variances))

    def loss(
        self,
        context: Float[Array, " context"],
        action: Float[Array, " action"] | None,
        outcome: Float[Array, " outcome"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Return −log p(outcome | z) + β KL in nats, with z of the posterior or, by chance, of the prior."""
        keys = jax.random.split(key, 5)
        posterior, prior = self.posterior(context, action, outcome, key=keys[0]), self.prior()
        replaced = jax.random.bernoulli(keys[1], self.latent_dropout.fixed())
        z = jnp.where(replaced, prior.sample(key=keys[2]), posterior.sample(key=keys[3]))
        mean = self.decode(context, action, z, key=keys[4])
        fit = DiagonalGaussian(mean, jnp.exp(2 * self.log_noise)).log_prob(outcome)
        return self.beta.fixed() * posterior.kl_divergence(prior) - fit
