"""Joint probabilistic data association by loopy belief propagation (Williams and Lau 2014)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def others(values: Float[Array, "n M"], axis: int) -> Float[Array, "n M"]:
    """Return, for every entry, the sum of all others along an axis.

    The largest entry is left out of the sum instead of being subtracted from it, so that a value 10⁸ times as
    large as the rest does not drown it, in float32 as well.
    """
    top = jnp.argmax(values, axis=axis, keepdims=True)
    largest = jnp.arange(values.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1)) == top
    without = jnp.sum(jnp.where(largest, 0.0, values), axis=axis, keepdims=True)
    peak = jnp.sum(jnp.where(largest, values, 0.0), axis=axis, keepdims=True)
    return jnp.where(largest, without, peak + jnp.maximum(without - values, 0.0))


def marginals(
    log_weight: Float[Array, "n M"], iterations: int
) -> tuple[Float[Array, "n M"], Float[Array, " n"], Float[Array, " M"], Float[Array, ""]]:
    """Return how probable each pair is, and the log of the sum over all associations.

    Every association gives each track at most one detection and each detection to at most one track; its
    weight is the product of those of its pairs. Messages of Williams and Lau (2014), eqs. 15 and 16; the sum
    over all associations is Bethe's approximation at the messages' fixed point. Both are exact where the
    graph of pairs has no loop, and every operation can be differentiated: this is the soft assignment.

    Args:
        log_weight: log of the weight of each pair against leaving both alone; −inf where it is impossible.
        iterations: rounds of messages.

    Returns:
        Probability of each pair, of each track to be left alone, of each detection to be left alone, and the
        log of the sum.
    """
    possible = log_weight > -jnp.inf
    weight = jnp.where(possible, jnp.exp(jnp.where(possible, jnp.minimum(log_weight, 80.0), 0.0)), 0.0)

    def exchange(nu, _):
        # From tracks to detections, and back.
        mu = weight / (1.0 + others(weight * nu, 1))
        return 1.0 / (1.0 + others(mu, 0)), None

    nu, _ = jax.lax.scan(exchange, jnp.ones_like(weight), length=iterations)
    share = weight * nu
    mu = weight / (1.0 + others(share, 1))
    rows, columns = 1.0 + jnp.sum(share, axis=1), 1.0 + jnp.sum(mu, axis=0)
    total = jnp.sum(jnp.log(rows)) + jnp.sum(jnp.log(columns)) - jnp.sum(jnp.log1p(mu * nu))
    return share / rows[:, None], 1.0 / rows, 1.0 / columns, total
