"""How far draws of Markov chains may be trusted: R-hat, effective sample sizes, standard errors.

Everything follows Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-normalization, folding, and
localization". Each function takes the draws of one number, chains × draws.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from foresee.errors import PosteriorError, ShapeError

FEWEST = 8  # draws of a chain below which its halves say nothing about their variance


class Estimate(eqx.Module):
    """A number found by Monte Carlo.

    Args:
        value: the estimate.
        standard_error: standard deviation that the estimate would have over repetitions.
    """

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


def r_hat(draws: Float[Array, "chains draws"]) -> Float[Array, ""]:
    """Return the larger of the rank-normalised split R-hat of the draws and of their distances to the median.

    Near 1 the chains agree; above 1.01 they do not yet. NaN where the draws are all the same.

    Raises:
        PosteriorError: if there are fewer than two chains.
        ShapeError: if the chains are too short to be split.
    """
    return trust(draws)[0]


def ess_bulk(draws: Float[Array, "chains draws"]) -> Float[Array, ""]:
    """Return how many independent draws locate the distribution as well: the effective size of normal scores.

    Raises:
        PosteriorError: if there are fewer than two chains.
        ShapeError: if the chains are too short to be split.
    """
    return trust(draws)[1]


def ess_tail(draws: Float[Array, "chains draws"]) -> Float[Array, ""]:
    """Return the smaller effective size for the probabilities below the 5 % and the 95 % quantile.

    Raises:
        PosteriorError: if there are fewer than two chains.
        ShapeError: if the chains are too short to be split.
    """
    return trust(draws)[2]


def ess_mean(draws: Float[Array, "chains draws"]) -> Float[Array, ""]:
    """Return how many independent draws give the mean as well.

    Raises:
        PosteriorError: if there are fewer than two chains.
        ShapeError: if the chains are too short to be split.
    """
    return _effective_size(_checked(draws))


def trust(
    draws: Float[Array, "chains draws"],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Return `r_hat`, `ess_bulk` and `ess_tail`, with what they share computed once.

    Raises:
        PosteriorError: if there are fewer than two chains.
        ShapeError: if the chains are too short to be split.
    """
    chains = _checked(draws)
    ascending = jnp.sort(chains.reshape(-1))
    last = ascending.size - 1
    median = 0.5 * (ascending[last // 2] + ascending[(last + 1) // 2])
    scores, folded = jax.vmap(_normal_scores)(jnp.stack([chains, jnp.abs(chains - median)]))
    sides = [chains <= ascending[round(share * last)] for share in (0.05, 0.95)]
    sizes = jax.vmap(_effective_size)(jnp.stack([scores, *(side.astype(chains.dtype) for side in sides)]))
    both = jnp.maximum(_split_r_hat(scores), _split_r_hat(folded))
    return both, sizes[0], jnp.minimum(sizes[1], sizes[2])


def mean_of_chains(draws: Float[Array, "chains draws"]) -> Estimate:
    """Return the mean and its Monte Carlo standard error, sd / √ess.

    Raises:
        PosteriorError: if there are fewer than two chains.
        ShapeError: if the chains are too short to be split.
    """
    return Estimate(jnp.mean(draws), jnp.std(draws, ddof=1) / jnp.sqrt(ess_mean(draws)))


def _checked(draws: Float[Array, "chains draws"]) -> Float[Array, "halves half"]:
    """Return the halves of all chains as chains of their own."""
    chains, n = draws.shape
    if chains < 2:
        raise PosteriorError(f"expected at least 2 chains, because R-hat compares them, got {chains}")
    if n < FEWEST:
        raise ShapeError(f"expected at least {FEWEST} draws of every chain, got {n}")
    half = n // 2
    return jnp.concatenate([draws[:, :half], draws[:, n - half :]])


def _normal_scores(chains: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Replace every draw by the normal quantile of its rank, equal draws by that of their average rank."""
    flat = chains.reshape(-1)
    size = flat.size
    order = jnp.argsort(flat)
    ascending = flat[order]
    steps = ascending[1:] != ascending[:-1]
    index = jnp.arange(size)
    first = jax.lax.cummax(jnp.where(jnp.append(True, steps), index, 0))
    last = jax.lax.cummin(jnp.where(jnp.append(steps, True), index, size - 1), reverse=True)
    ranks = jnp.zeros_like(flat).at[order].set(0.5 * (first + last).astype(flat.dtype) + 1)
    return ndtri((ranks - 0.375) / (size + 0.25)).reshape(chains.shape)


def _split_r_hat(chains: Float[Array, "m n"]) -> Float[Array, ""]:
    """Return √(var⁺ / W) of chains that are halves already (eqs. 1 to 4)."""
    n = chains.shape[1]
    within = jnp.mean(jnp.var(chains, axis=1, ddof=1))
    between = jnp.var(jnp.mean(chains, axis=1), ddof=1)
    return jnp.sqrt((n - 1) / n + between / within)


def _effective_size(chains: Float[Array, "m n"]) -> Float[Array, ""]:
    """Return m n / τ with Geyer's initial monotone sequence of autocorrelations (eqs. 10 to 13).

    NaN where all draws are the same.
    """
    m, n = chains.shape
    centred = chains - jnp.mean(chains, axis=1, keepdims=True)
    length = 1 << (2 * n - 1).bit_length()
    spectrum = jnp.fft.rfft(centred, length, axis=1)
    lagged = jnp.fft.irfft(jnp.abs(spectrum) ** 2, length, axis=1)[:, :n] / n
    autocovariance = jnp.mean(lagged, axis=0)
    within = autocovariance[0] * n / (n - 1)
    total = autocovariance[0] + jnp.var(jnp.mean(chains, axis=1), ddof=1)
    correlation = (1 - (within - autocovariance) / total).at[0].set(1.0)
    pairs = jnp.sum(correlation[: n - n % 2].reshape(-1, 2), axis=1)
    counted = jnp.cumprod((pairs > 0).astype(chains.dtype))
    tau = 2 * jnp.sum(counted * jax.lax.cummin(pairs)) - 1
    return m * n / jnp.maximum(tau, 1 / jnp.log10(m * n))
