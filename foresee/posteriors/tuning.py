"""How strong the prior is and how far the curvature is to be believed, found without training again.

A Gaussian posterior whose precision is scale · curvature + prior precision, in whatever basis makes the
curvature diagonal, is tuned either by its evidence (`tune_by_evidence`) or by what its linearised predictions
lose on rows kept back (`tune_by_validation`).
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from foresee.beliefs.gaussian import Gaussian
from foresee.beliefs.mixture import Mixture
from foresee.errors import PosteriorError
from foresee.posteriors.evidence import effective_numbers, spectral_evidence, zero_of
from foresee.posteriors.likelihood import AbstractLikelihood, count_rows
from foresee.posteriors.network import positive
from foresee.posteriors.predict import from_outputs

PRIOR_PRECISIONS = np.logspace(-3, 9, 13)  # at the upper end nothing is in doubt: the plain network
SCALES = np.logspace(-2, 2, 5)
FINER = 10 ** np.linspace(-2 / 3, 2 / 3, 5)  # of the second, narrower search
LOG_PRECISION_RANGE = (math.log(1e-6), math.log(1e12))
GRID = 64  # to see the evidence beside its maximum
DRAWS = 64  # of the outputs of one row, the same for every candidate
ROWS_AT_ONCE = 256

Prepare = Callable[[Any], tuple[Any, PyTree]]
Spread = Callable[[PyTree, Any, Any], Any]


class Tuned(eqx.Module):
    """The prior precision and scale that were chosen, and what the others would have given.

    Attributes:
        prior_precision: λ, the inverse variance of every weight before the data.
        scale: what the curvature is multiplied with.
        loss: what was minimised: −log evidence in nats, or mean negative log likelihood in nats per row.
        prior_precisions: all candidates.
        scales: the candidates' scales.
        losses: the candidates' losses.
    """

    prior_precision: Float[Array, ""]
    scale: Float[Array, ""]
    loss: Float[Array, ""]
    prior_precisions: Float[Array, " candidates"]
    scales: Float[Array, " candidates"]
    losses: Float[Array, " candidates"]


@eqx.filter_jit
def tune_by_evidence(
    curvature: PyTree, weights: PyTree, scale: Any = 1.0, log_likelihood: Any = 0.0
) -> Tuned:
    """Return the prior precision of the greatest evidence, MacKay's fixed point γ = λ‖θ‖², by bisection.

    The scale is not searched: the evidence as a function of it alone always grows as it shrinks, because a
    curvature that is believed less costs nothing where the likelihood at θ̂ stays as it is.

    Args:
        curvature: eigenvalues h of the loss's curvature, summed over all rows: any pytree of arrays.
        weights: θ̂ less the prior mean, in the same basis or another: only its norm counts.
        scale: what the curvature is multiplied with.
        log_likelihood: log p(D | θ̂), summed over all rows; it shifts the evidence and moves no maximum.
    """
    dtype = jnp.result_type(*jax.tree.leaves(curvature), float)
    scale = jnp.asarray(scale, dtype)
    values = [jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(curvature)])]
    squares = jnp.sum(ravel_pytree(weights)[0] ** 2)[None]

    def loss(log_precision):
        return -spectral_evidence(log_likelihood, values, squares, jnp.exp(log_precision)[None], scale)

    def slope(log_precision):
        return effective_numbers(values, jnp.exp(log_precision), scale) - jnp.exp(log_precision) * squares

    grid = jnp.linspace(*LOG_PRECISION_RANGE, GRID, dtype=dtype)
    losses = jax.lax.map(loss, grid)
    chosen = jax.lax.stop_gradient(zero_of(slope, jnp.zeros(1, dtype))[0])
    return Tuned(jnp.exp(chosen), scale, loss(chosen), jnp.exp(grid), jnp.full_like(grid, scale), losses)


def tune_by_validation(
    prepare: Prepare,
    spread: Spread,
    likelihood: AbstractLikelihood,
    validation: tuple[PyTree, Array],
    *,
    prior_precisions: Any = PRIOR_PRECISIONS,
    scales: Any = SCALES,
) -> Tuned:
    """Return the prior precision and scale whose linearised predictions lose least on rows kept back.

    What a candidate loses is the mean of −log p(y | x), logits averaged over the same draws for every
    candidate. All pairs are tried, then pairs between the best and its neighbours. With the largest prior
    precisions nothing is in doubt, so the choice is never worse on these rows than the plain network. Where
    `prior_precisions` or `scales` has one entry, that one stays.

    Args:
        prepare: function of ONE input: the outputs, shape (m,), and whatever `spread` needs, as a Jacobian.
            It runs twice for a row, not once for every candidate.
        spread: spread(parts, prior_precision, scale): the covariance of the outputs, shape (m, m). Of a
            mixture of k networks both have a leading axis of k.
        likelihood: what the outputs mean.
        validation: inputs and targets, rows first; some hundred rows suffice for two numbers.
        prior_precisions: candidates.
        scales: candidates.

    Raises:
        ShapeError: if inputs and targets differ in their number of rows.
        PosteriorError: if no candidate has a finite loss.
    """
    count_rows(validation, "tuning")
    tuned = _search(
        prepare, spread, likelihood, validation, jnp.asarray(prior_precisions), jnp.asarray(scales)
    )
    if not isinstance(tuned.loss, Tracer) and not np.isfinite(tuned.loss):
        raise PosteriorError(
            "tuning: expected a finite loss on the validation rows, got none for any candidate"
        )
    return tuned


@eqx.filter_jit
def _search(
    prepare: Prepare,
    spread: Spread,
    likelihood: AbstractLikelihood,
    validation: PyTree,
    prior_precisions: Float[Array, " p"],
    scales: Float[Array, " s"],
) -> Tuned:
    """Try all pairs, then finer ones about the best."""

    def tried(precisions, scales):
        pairs = [side.ravel() for side in jnp.meshgrid(precisions, scales, indexing="ij")]
        losses = validation_losses(prepare, spread, likelihood, validation, *pairs)
        return *pairs, jnp.where(jnp.isnan(losses), jnp.inf, losses)

    def finer(candidates, centre):
        return centre * jnp.asarray(FINER, candidates.dtype) if candidates.size > 1 else candidates

    first = tried(prior_precisions, scales)
    best = jnp.argmin(first[2])
    second = tried(finer(prior_precisions, first[0][best]), finer(scales, first[1][best]))
    precisions, scales, losses = (jnp.concatenate(both) for both in zip(first, second, strict=True))
    chosen = jnp.argmin(losses)
    return Tuned(precisions[chosen], scales[chosen], losses[chosen], precisions, scales, losses)


def validation_losses(
    prepare: Prepare,
    spread: Spread,
    likelihood: AbstractLikelihood,
    validation: PyTree,
    prior_precisions: Float[Array, " candidates"],
    scales: Float[Array, " candidates"],
) -> Float[Array, " candidates"]:
    """Return the mean loss of every candidate in nats per row; see `tune_by_validation`."""
    key = jax.random.key(0)  # nodes of an integral, not chance: the same for all rows and candidates

    def losses(example):
        x, y = example
        outputs, parts = prepare(x)

        def loss(candidate):
            belief = _believed(outputs, spread(parts, *candidate))
            return -from_outputs(belief, likelihood, DRAWS, key=key).log_prob(y)

        return jax.lax.map(loss, (prior_precisions, scales))

    rows = jax.tree.leaves(validation)[0].shape[0]
    return jnp.mean(jax.lax.map(losses, validation, batch_size=min(rows, ROWS_AT_ONCE)), axis=0)


def _believed(outputs: Float[Array, "*k m"], covariance: Float[Array, "*k m m"]) -> Gaussian | Mixture:
    """Return the belief about the outputs of one network, or of a mixture of equally weighted ones."""
    if outputs.ndim == 1:
        return Gaussian(outputs, positive(covariance))
    return Mixture(jax.vmap(Gaussian)(outputs, jax.vmap(positive)(covariance)))
