"""The evidence of a network by Laplace's method, and the prior precision and noise that make it largest.

log p(D) ≈ log p(D | θ) + log p(θ) + P/2 log 2π − ½ log det(H + λ I), about the trained weights θ, for the
prior N(0, I/λ) of the P weights in doubt (MacKay 1992, section 3; Immer et al. 2021, equation 5). In the
coordinates in which H is diagonal it is a sum over eigenvalues, so no value of λ or of the noise needs a
decomposition.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from foresee.beliefs.frozen import Frozen
from foresee.beliefs.gaussian import as_float
from foresee.errors import OptionError
from foresee.posteriors.layers import parts
from foresee.posteriors.spectrum import AbstractSpectrum

REACH = 20.0  # the logarithm of a precision or a noise scale is looked for in ±20
HALVINGS = 60
ROUNDS = 200


class Curvature(eqx.Module):
    """What data say of the weights of a trained network: all that its evidence and its posterior are made of.

    Attributes:
        arrays: all arrays of the network, switched to inference.
        frozen: all the rest of it.
        centre: its weights in doubt, None in all other places.
        spectrum: the curvature of the summed loss about them.
        loss: the summed loss in nats.
        misfit: Σ (y − f)²/(2 noise²), the part of the loss that the noise divides; None unless the noise is
            a likelihood's only parameter.
        numbers: how many numbers were predicted.
        parts: names of the parts that can have a prior precision of their own.
        last: name of the layer where only the last one's weights are in doubt, else None.
    """

    arrays: PyTree[Array]
    frozen: Frozen
    centre: PyTree[Array]
    spectrum: AbstractSpectrum
    loss: Float[Array, ""]
    misfit: Float[Array, ""] | None
    numbers: int = eqx.field(static=True)
    parts: tuple[str, ...] = eqx.field(static=True)
    last: str | None = eqx.field(static=True)

    @property
    def network(self) -> PyTree:
        """The network."""
        return self.frozen.join(self.arrays)

    def squares(self) -> Float[Array, " parts"]:
        """Return the sum of the squared weights of every part."""
        leaves = jax.tree.leaves(self.centre)
        if len(self.parts) == 1:
            return jnp.sum(ravel_pytree(self.centre)[0] ** 2)[None]
        sums = [jnp.sum(leaf**2) for leaf in leaves]
        return jnp.stack([sum(sums[i] for i in own) for own in parts(self.centre).values()])

    def precisions(self, precision: Any) -> Float[Array, " parts"]:
        """Return a prior precision for every part.

        Args:
            precision: one number for all or one for every part.

        Raises:
            OptionError: if there is another number of them.
        """
        array = as_float(precision)
        if array.shape not in ((), (len(self.parts),)):
            raise OptionError(
                f"prior precision: expected one number, or one for each of {', '.join(self.parts)}; got "
                f"shape {array.shape}"
            )
        return jnp.broadcast_to(array.astype(self.loss.dtype), (len(self.parts),))

    def weights(self, precision: Any, noise_scale: Any = 1.0) -> Any:
        """Return the belief about the weights for a prior precision and a multiple of the noise."""
        scale = 1 / jnp.asarray(noise_scale, self.loss.dtype) ** 2
        return self.spectrum.belief(self.centre, self.precisions(precision), scale)


class Evidence(eqx.Module):
    """The largest evidence, and where it was found.

    Attributes:
        log_evidence: Laplace's approximation of log p(data), in nats.
        prior_precision: of every part, or one.
        noise_scale: multiple of the likelihood's noise; 1 where it was kept.
        effective: effective number of weights that the data determine, γ = Σ h/(h + λ), by part.
        converged: whether the search ended inside its bounds and moved no more.
        rounds: how often it went through precision and noise.
    """

    log_evidence: Float[Array, ""]
    prior_precision: Float[Array, " parts_or_one"]
    noise_scale: Float[Array, ""]
    effective: Float[Array, " parts"]
    converged: Bool[Array, ""]
    rounds: Int[Array, ""]


def log_evidence(curvature: Curvature, log_precision: Any, log_noise_scale: Any = 0.0) -> Float[Array, ""]:
    """Return the log evidence in nats, differentiable in both.

    It is exact for a linear network with normal noise whose weights are the mode for this precision.

    Args:
        curvature: of the trained network.
        log_precision: logarithm of the prior precision, one number or one for every part.
        log_noise_scale: logarithm of the multiple of the likelihood's noise.

    Raises:
        OptionError: if there is a wrong number of precisions, or noise where the likelihood has none.
    """
    precisions = jnp.exp(curvature.precisions(log_precision))
    noise = jnp.asarray(log_noise_scale, curvature.loss.dtype)
    _check_noise(curvature, isinstance(log_noise_scale, float | int) and log_noise_scale == 0)
    scale = jnp.exp(-2 * noise)
    fit = -curvature.loss
    if curvature.misfit is not None:
        fit = fit - (scale - 1) * curvature.misfit - curvature.numbers * noise
    return spectral_evidence(fit, curvature.spectrum.values(), curvature.squares(), precisions, scale)


def spectral_evidence(
    fit: Any, values: Sequence[Array], squares: Array, precisions: Array, scale: Any = 1.0
) -> Float[Array, ""]:
    """Return log p(D | θ) − ½ Σ λ‖θ‖² − ½ Σ log(1 + scale · h/λ), in nats (MacKay 1992, equation 4.3).

    Args:
        fit: log p(D | θ), summed over all rows.
        values: eigenvalues h of the curvature of every part of the weights.
        squares: ‖θ‖² of every part, less the prior mean.
        precisions: λ of every part.
        scale: what the curvature is multiplied with.
    """
    prior = -0.5 * jnp.sum(precisions * squares)
    for own, part in zip(precisions, values, strict=True):
        prior = prior - 0.5 * jnp.sum(jnp.log1p(scale * part / own))
    return fit + prior


def effective_numbers(values: Sequence[Array], precisions: Array, scale: Any = 1.0) -> Float[Array, " parts"]:
    """Return γ = Σ scale · h/(scale · h + λ) of every part; arguments as of `spectral_evidence`."""
    shares = [jnp.sum(part / (part + own / scale)) for part, own in zip(values, precisions, strict=True)]
    return jnp.stack(shares)


@eqx.filter_jit
def maximise_evidence(curvature: Curvature, *, per_part: bool = False, noise: bool = False) -> Evidence:
    """Return the prior precision, and the noise if asked for, with the largest evidence.

    For given noise, the derivative in log λ is ½(γ − λ‖θ‖²) with γ the effective number of weights; it falls,
    so its zero, MacKay's fixed point, is unique and found by bisection. The same holds of the noise for a
    given precision. Where both are looked for they take turns, and the evidence never falls.

    Args:
        curvature: of the trained network.
        per_part: whether every part gets a precision of its own.
        noise: whether the noise of a normal likelihood is looked for too.

    Raises:
        OptionError: if there is no noise to look for.
    """
    _check_noise(curvature, not noise)
    values, squares = curvature.spectrum.values(), curvature.squares()
    if not per_part:
        squares = jnp.sum(squares)[None]

    def effective(log_precision, log_noise):
        precisions = jnp.broadcast_to(jnp.exp(log_precision), (len(values),))
        return effective_numbers(values, precisions, jnp.exp(-2 * log_noise))

    def best_precision(log_noise):
        def slope(log_precision):
            count = effective(log_precision, log_noise)
            count = count if per_part else jnp.sum(count)[None]
            return count - jnp.exp(log_precision) * squares

        return zero_of(slope, jnp.zeros_like(squares))

    misfit = jnp.zeros_like(curvature.loss) if curvature.misfit is None else curvature.misfit

    def best_noise(log_precision):
        def slope(log_noise):
            count = jnp.sum(effective(log_precision, log_noise))
            return 2 * jnp.exp(-2 * log_noise) * misfit - curvature.numbers + count

        return zero_of(slope, jnp.zeros_like(curvature.loss))

    zero = jnp.zeros_like(curvature.loss)
    tolerance = 10 * jnp.finfo(zero.dtype).eps * REACH

    def go_on(state):
        _, _, moved, rounds = state
        return (moved > tolerance) & (rounds < ROUNDS)

    def turn(state):
        log_precision, log_noise, _, rounds = state
        next_noise = best_noise(log_precision)
        next_precision = best_precision(next_noise)
        moved = jnp.maximum(jnp.max(jnp.abs(next_precision - log_precision)), jnp.abs(next_noise - log_noise))
        return next_precision, next_noise, moved, rounds + 1

    state = (best_precision(zero), zero, zero + jnp.inf if noise else zero, jnp.ones((), int))
    if noise:
        state = jax.lax.while_loop(go_on, turn, state)
    log_precision, log_noise, moved, rounds = state
    inside = jnp.all(jnp.abs(log_precision) < REACH - 1e-3) & (jnp.abs(log_noise) < REACH - 1e-3)
    every = log_precision if per_part else log_precision[0]
    value = log_evidence(curvature, every, log_noise if noise else 0.0)
    return Evidence(
        value,
        jnp.exp(log_precision),
        jnp.exp(log_noise),
        effective(log_precision, log_noise),
        inside & (moved <= tolerance),
        rounds,
    )


def zero_of(slope: Any, like: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return where a falling function of each number is zero, or the bound that it lies beyond."""

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        rising = slope(middle) > 0
        return jnp.where(rising, middle, low), jnp.where(rising, high, middle)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (like - REACH, like + REACH))
    return 0.5 * (low + high)


def _check_noise(curvature: Curvature, kept: bool) -> None:
    if curvature.misfit is None and not kept:
        raise OptionError(
            "evidence: expected a GaussianLikelihood, whose noise can be scaled, got one without"
        )
