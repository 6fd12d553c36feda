"""The focal loss, for training networks that are less certain of themselves. Start with `focal_loss`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Gamma = (
    float | int | Float[Array, ""] | Float[Array, " classes"] | Callable[[Float[Array, ""]], Float[Array, ""]]
)


def focal_loss(
    logits: Float[Array, " classes"], label: Int[Array, ""] | int, gamma: Gamma = 2.0
) -> Float[Array, ""]:
    """Return −(1 − p)^γ log p of one example, p being the probability of its label (Lin et al. 2017, eq. 4).

    Both p and 1 − p are kept as logarithms: loss and gradient are finite and right however near p is to 0 or
    1, in float32, too. With γ = 0 it is the cross-entropy.

    Args:
        logits: of one example, finite.
        label: index of its class.
        gamma: how little the examples count that are predicted well. A number; one number for every class; or
            a function of p, such as `flsd_53`, through which no gradient passes.
    """
    others = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
    # The log odds against the label: from them both logarithms come out exact, where differences from
    # the normalising sum would cancel.
    against = jax.nn.logsumexp(others) - logits[label]
    log_right, log_wrong = -jax.nn.softplus(against), -jax.nn.softplus(-against)
    if callable(gamma):
        power = gamma(jax.lax.stop_gradient(jnp.exp(log_right)))
    else:
        power = jnp.asarray(gamma, logits.dtype)
        power = power[label] if power.ndim else power
    return -jnp.exp(power * log_wrong) * log_right


def mean_focal_loss(
    logits: Float[Array, "rows classes"], labels: Int[Array, " rows"], gamma: Gamma = 2.0
) -> Float[Array, ""]:
    """Return the mean focal loss of a batch: what an Optax loop differentiates. Arguments as `focal_loss`."""
    return jnp.mean(jax.vmap(lambda row, label: focal_loss(row, label, gamma))(logits, labels))


def flsd_53(probability: Float[Array, ""]) -> Float[Array, ""]:
    """Return γ = 5 for p < 0.2 and 3 above, the schedule of Mukhoti et al. (2020), section 4."""
    return jnp.where(probability < 0.2, 5.0, 3.0).astype(probability.dtype)
