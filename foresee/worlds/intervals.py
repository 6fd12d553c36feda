"""Whether what happened was within predicted intervals: ranks, widths of intervals, regions of density.

The predictions are those of `foresee.worlds.scores`: a mixture of K Gaussians at each of T times.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from foresee.worlds.scores import LEAST, log_density, root

ROUNDS = 40  # of halving the range of a quantile
REACH = 8.0  # quantiles are looked for within so many standard deviations of the means


def projected(
    means: Float[Array, "K T 2"], covariances: Float[Array, "K T 2 2"], heading: Float[Array, " T"]
) -> tuple[Float[Array, "T 2 K"], Float[Array, "T 2 K"]]:
    """Return means and standard deviations of a mixture along and across a direction at every time."""
    c, s = jnp.cos(heading), jnp.sin(heading)
    axes = jnp.stack([jnp.stack([c, s], -1), jnp.stack([-s, c], -1)], 1)
    places = jnp.einsum("tai,kti->tak", axes, means)
    squares = jnp.einsum("tai,ktij,taj->tak", axes, covariances, axes)
    return places, root(jnp.maximum(squares, 0.0))


def ranks(
    means: Float[Array, "K T 2"],
    covariances: Float[Array, "K T 2 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    heading: Float[Array, " T"],
) -> Float[Array, "T 2"]:
    """Return the probability given to smaller values than came, along and across a direction at every time.

    These are uniform between 0 and 1 where the predictions are right. The truth is within the central
    interval of a level where its rank is at most half of that level away from a half.
    """
    places, sds = projected(means, covariances, heading)
    known, _ = projected(truth[None], jnp.zeros((1, *truth.shape, 2), truth.dtype), heading)
    return jnp.sum(weights * ndtr((known - places) / jnp.maximum(sds, LEAST)), axis=-1)


def central_widths(
    means: Float[Array, "K T 2"],
    covariances: Float[Array, "K T 2 2"],
    weights: Float[Array, " K"],
    heading: Float[Array, " T"],
    levels: Float[Array, " L"],
) -> Float[Array, "T 2 L"]:
    """Return the widths of the central intervals of some levels, along and across a direction."""
    places, sds = projected(means, covariances, heading)
    ends = jnp.concatenate([0.5 - 0.5 * levels, 0.5 + 0.5 * levels])

    def one(place: Array, sd: Array) -> Array:
        low, high = jnp.split(quantiles(place, sd, weights, ends), 2)
        return high - low

    return jax.vmap(jax.vmap(one))(places, sds)


def quantiles(
    means: Float[Array, " K"],
    sds: Float[Array, " K"],
    weights: Float[Array, " K"],
    levels: Float[Array, " L"],
) -> Float[Array, " L"]:
    """Return quantiles of a mixture of normal distributions of one number, by halving the range."""

    def narrower(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        below = ndtr((middle[:, None] - means) / jnp.maximum(sds, LEAST)) @ weights < levels
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low = jnp.full_like(levels, 1.0) * jnp.min(means - REACH * sds)
    high = jnp.full_like(levels, 1.0) * jnp.max(means + REACH * sds)
    low, high = jax.lax.fori_loop(0, ROUNDS, narrower, (low, high))
    return 0.5 * (low + high)


def density_ranks(
    means: Float[Array, "K T 2"],
    covariances: Float[Array, "K T 2 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    *,
    points: int = 256,
) -> Float[Array, " T"]:
    """Return the probability of places that the mixture holds for more likely than where it happened.

    What happened is within the region of highest density of a level where this is at most the level (Hyndman
    1996). The probability is counted over evenly spread points of every component, with an error of about
    1/√points of its own.
    """
    normal = _spread(points).astype(means.dtype)
    first = jnp.sqrt(jnp.maximum(covariances[..., 0, 0], LEAST))
    mixed = covariances[..., 0, 1] / first
    second = jnp.sqrt(jnp.maximum(covariances[..., 1, 1] - mixed**2, LEAST))
    one, other = (normal[:, None, i] for i in (0, 1))
    apart = jnp.stack([first[:, None] * one, mixed[:, None] * one + second[:, None] * other], -1)
    places = means[:, None] + apart
    here = log_density(means, covariances, weights, truth)
    there = jax.vmap(jax.vmap(lambda x: log_density(means, covariances, weights, x)))(places)
    return jnp.einsum("k,knt->t", weights, (there > here).astype(means.dtype)) / points


def _spread(count: int) -> np.ndarray:
    """Return points that stand for a standard normal distribution of the plane: a sunflower's spiral."""
    number = np.arange(count)
    radius = np.sqrt(-2 * np.log1p(-(number + 0.5) / count))
    turn = number * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], -1)
