"""Conditioning a Gaussian belief on a linear observation of which any part may be missing."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee import linalg
from foresee.beliefs.gaussian import LOG_TWO_PI, Gaussian

Seen = Bool[Array, ""] | Bool[Array, " m"] | bool | None


def seen_components(seen: Seen, size: int) -> Bool[Array, " m"] | None:
    """Return one flag per component of an observation, or None where everything was seen."""
    if seen is None or seen is True:
        return None
    return jnp.broadcast_to(jnp.asarray(seen, dtype=bool), (size,))


def condition(
    belief: Gaussian,
    matrix: Float[Array, "m n"],
    noise: Float[Array, " m"] | Float[Array, "m m"],
    innovation: Float[Array, " m"],
    seen: Seen = None,
) -> tuple[Gaussian, Float[Array, ""]]:
    """Condition x on y = h(x) + noise with h linear (or linearised) around the mean of the belief.

    Independent components are processed one after another, which needs divisions only and makes a missing
    component
    exact: its gain is zero. Correlated noise is decorrelated first by a unit triangular factor of the seen
        part. Each
    covariance update is in Joseph's form (Bucy and Joseph 1968), written as two rank-one corrections, so
    that float32 keeps it positive definite even after a nearly noiseless observation.

    Args:
        belief: the belief before.
        matrix: H, the Jacobian of h.
        noise: variances of independent noise, or its covariance matrix.
        innovation: y − h(mean), angles wrapped.
        seen: which components were observed.

    Returns:
        The belief after, and the log evidence of the seen components (Särkkä 2013, eq. 12.5).
    """
    size = innovation.shape[0]
    flags = seen_components(seen, size)
    if flags is not None:
        innovation = jnp.where(flags, innovation, 0.0)
    if noise.ndim == 2:
        if size == 1:
            noise = noise[0]
        else:
            matrix, noise, innovation = decorrelated(matrix, noise, innovation, flags)
    covariance = belief.covariance
    shift = jnp.zeros_like(belief.vector())
    log_evidence = jnp.zeros((), covariance.dtype)
    for i in range(size):
        row = matrix[i]
        spread = linalg.matvec(covariance, row)
        variance = jnp.sum(row * spread) + noise[i]
        surprise = innovation[i] - jnp.sum(row * shift)
        precision, term = 1.0 / variance, jnp.log(variance) + LOG_TWO_PI
        if flags is not None:
            precision, term = jnp.where(flags[i], precision, 0.0), jnp.where(flags[i], term, 0.0)
        gain = spread * precision
        shift = shift + gain * surprise
        reduced = covariance - gain[:, None] * spread[None, :]
        reduced_spread = linalg.matvec(reduced, row)
        covariance = (
            reduced - reduced_spread[:, None] * gain[None, :] + noise[i] * gain[:, None] * gain[None, :]
        )
        log_evidence = log_evidence - 0.5 * (surprise**2 * precision + term)
    location = linalg.wrap_components(belief.vector() + shift, belief.circular)
    return Gaussian(location, linalg.symmetrize(covariance), belief.circular), log_evidence


def decorrelated(
    matrix: Float[Array, "m n"],
    noise: Float[Array, "m m"],
    innovation: Float[Array, " m"],
    flags: Bool[Array, " m"] | None,
) -> tuple[Float[Array, "m n"], Float[Array, " m"], Float[Array, " m"]]:
    """Transform an observation so that its noise is independent; unseen components stay apart."""
    if flags is not None:
        noise = linalg.hide_unseen(noise, flags)
        matrix = jnp.where(flags[:, None], matrix, 0.0)
    factor, variances = linalg.unit_lower(noise)
    return linalg.solve_lower(factor, matrix), variances, linalg.solve_lower(factor, innovation)
