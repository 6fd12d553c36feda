"""How good predicted futures of one agent were: distances, likelihood, energy score; intervals are beside.

A prediction is K trajectories at T times with probabilities; where doubt is scored, it is a mixture of K
Gaussians at every time. `there` tells at which times it is known what happened. Many agents are scored with
`jax.vmap`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
LEAST = 1e-12


def ade(
    means: Float[Array, "K T 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    there: Bool[Array, " T"],
) -> Float[Array, ""]:
    """Return the average distance of the most likely trajectory from the truth."""
    return average_distances(means, truth, there)[jnp.argmax(weights)]


def fde(
    means: Float[Array, "K T 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    there: Bool[Array, " T"],
) -> Float[Array, ""]:
    """Return the distance of the most likely trajectory from the truth at the last known time."""
    return final_distances(means, truth, there)[jnp.argmax(weights)]


def min_ade(
    means: Float[Array, "K T 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    there: Bool[Array, " T"],
    *,
    most: int | None = None,
) -> Float[Array, ""]:
    """Return the average distance of the trajectory that was nearest on average.

    Args:
        means: the trajectories.
        weights: their probabilities.
        truth: what happened.
        there: at which times that is known.
        most: only the so many most likely trajectories count; None: all.
    """
    return jnp.min(_among(average_distances(means, truth, there), weights, most))


def min_fde(
    means: Float[Array, "K T 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    there: Bool[Array, " T"],
    *,
    most: int | None = None,
) -> Float[Array, ""]:
    """Return the distance at the last known time of the trajectory that was nearest then; see `min_ade`."""
    return jnp.min(_among(final_distances(means, truth, there), weights, most))


def brier_min_fde(
    means: Float[Array, "K T 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    there: Bool[Array, " T"],
    *,
    most: int | None = None,
) -> Float[Array, ""]:
    """Return `min_fde` plus (1 − p)² for the probability p of the trajectory that was nearest then.

    Wilson et al. (2021), "Argoverse 2", section 4.2: one unit of it is taken as one metre.
    """
    distances = _among(final_distances(means, truth, there), weights, most)
    best = jnp.argmin(distances)
    return distances[best] + (1 - weights[best]) ** 2


def miss(
    means: Float[Array, "K T 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
    there: Bool[Array, " T"],
    radius: float | int | Float[Array, ""],
    *,
    most: int | None = None,
    anywhere: bool = False,
) -> Bool[Array, ""]:
    """Return whether none of the trajectories stayed within a radius of the truth.

    Args:
        means: the trajectories.
        weights: their probabilities.
        truth: what happened.
        there: at which times that is known.
        radius: how far away is too far.
        most: only the so many most likely trajectories count; None: all.
        anywhere: the farthest distance at any known time counts, as in nuPlan; otherwise that at the last
            one, as in Argoverse.
    """
    if anywhere:
        distances = jnp.max(jnp.where(there, _distances(means, truth), 0.0), axis=1)
    else:
        distances = final_distances(means, truth, there)
    return jnp.all(_among(distances, weights, most) > radius)


def average_distances(
    means: Float[Array, "K T 2"], truth: Float[Array, "T 2"], there: Bool[Array, " T"]
) -> Float[Array, " K"]:
    """Return every trajectory's distance from the truth, averaged over the known times; 0 without any."""
    kept = jnp.where(there, _distances(means, truth), 0.0)
    return jnp.sum(kept, axis=1) / jnp.maximum(jnp.sum(there), 1)


def final_distances(
    means: Float[Array, "K T 2"], truth: Float[Array, "T 2"], there: Bool[Array, " T"]
) -> Float[Array, " K"]:
    """Return every trajectory's distance from the truth at the last known time; 0 without any."""
    last = there.shape[0] - 1 - jnp.argmax(there[::-1])
    return jnp.where(there.any(), _distances(means, truth)[:, last], 0.0)


def _distances(means: Array, truth: Array) -> Array:
    return root(jnp.sum((means - truth) ** 2, axis=-1))


def root(square: Array) -> Array:
    """Square root with derivative 0 at 0."""
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _among(values: Array, weights: Array, most: int | None) -> Array:
    """Put aside all but the most likely."""
    if most is None or most >= weights.shape[0]:
        return values
    likely = jax.lax.top_k(weights, most)[1]
    return jnp.full_like(values, jnp.inf).at[likely].set(values[likely])


def covariances_of(
    heading: Float[Array, "*b"], along_sd: Float[Array, "*b"], across_sd: Float[Array, "*b"]
) -> Float[Array, "*b 2 2"]:
    """Return covariance matrices from standard deviations along and across a direction [rad]."""
    c, s = jnp.cos(heading), jnp.sin(heading)
    along, across = along_sd**2, across_sd**2
    xx, yy, xy = c**2 * along + s**2 * across, s**2 * along + c**2 * across, c * s * (along - across)
    return jnp.stack([jnp.stack([xx, xy], -1), jnp.stack([xy, yy], -1)], -2)


def log_density(
    means: Float[Array, "K T 2"],
    covariances: Float[Array, "K T 2 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
) -> Float[Array, " T"]:
    """Return the logarithm of the density that every time's mixture gives to what happened."""
    dx, dy = truth[:, 0] - means[..., 0], truth[:, 1] - means[..., 1]
    xx, xy, yy = covariances[..., 0, 0], covariances[..., 0, 1], covariances[..., 1, 1]
    determinant = jnp.maximum(xx * yy - xy**2, LEAST)
    square = (yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / determinant
    terms = -0.5 * square - 0.5 * jnp.log(determinant) - jnp.log(2 * jnp.pi)
    return jax.nn.logsumexp(_log(weights)[:, None] + terms, axis=0)


def _log(weights: Array) -> Array:
    return jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1.0)), -jnp.inf)


def energy_score(
    means: Float[Array, "K T 2"],
    covariances: Float[Array, "K T 2 2"],
    weights: Float[Array, " K"],
    truth: Float[Array, "T 2"],
) -> Float[Array, " T"]:
    """Return the energy score at every time: E‖X − y‖ − ½ E‖X − X′‖; less is better.

    It is proper, in the unit of the positions, and the distance itself for a single certain trajectory
    (Gneiting and Raftery 2007, equation 22). The expectations are those of `expected_distance`.
    """
    to_truth = jnp.einsum("k,kt->t", weights, expected_distance(means - truth, covariances))
    apart = expected_distance(means[:, None] - means, covariances[:, None] + covariances)
    return to_truth - 0.5 * jnp.einsum("i,j,ijt->t", weights, weights, apart)


def expected_distance(mean: Float[Array, "*b 2"], covariance: Float[Array, "*b 2 2"]) -> Float[Array, "*b"]:
    """Return the expected length of a normal vector, to about six digits.

    ‖z‖ = π^(−½) ∫ (1 − exp(−s² ‖z‖²)) / s² ds over s > 0, in which the expectation of the exponential is
    known: |I + 2 s² P|^(−½) exp(−s² mᵀ (I + 2 s² P)⁻¹ m). With s = tan θ over the vector's usual length the
    integrand is smooth and bounded, and is summed over Gauss–Legendre nodes.
    """
    xx, xy, yy = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    size = mean[..., 0] ** 2 + mean[..., 1] ** 2 + xx + yy
    safe = jnp.where(size > 0, size, 1.0)
    xx, xy, yy = xx / safe, xy / safe, yy / safe
    mx, my = (mean[..., i] / jnp.sqrt(safe) for i in (0, 1))
    xx, xy, yy, mx, my = (value[..., None] for value in (xx, xy, yy, mx, my))
    angle = jnp.asarray(0.25 * np.pi * (NODES + 1), size.dtype)
    t = jnp.tan(angle) ** 2
    a, b, c = 1 + 2 * t * xx, 2 * t * xy, 1 + 2 * t * yy
    more = 2 * t * (xx + yy) + 4 * t**2 * (xx * yy - xy**2)  # the determinant without its 1
    square = (c * mx**2 - 2 * b * mx * my + a * my**2) / (1 + more)
    inside = -jnp.expm1(-t * square - 0.5 * jnp.log1p(more))
    total = (inside / jnp.sin(angle) ** 2) @ jnp.asarray(0.25 * np.pi * WEIGHTS, size.dtype)
    return jnp.where(size > 0, jnp.sqrt(safe) * total / np.sqrt(np.pi), 0.0)


def energy_score_of_samples(samples: Float[Array, "N T 2"], truth: Float[Array, "T 2"]) -> Float[Array, " T"]:
    """Return the energy score at every time from at least two equally likely draws, without bias.

    The pairs are those of different draws (Ferro 2014, "Fair scores for ensemble forecasts").
    """
    count = samples.shape[0]
    to_truth = jnp.mean(_distances(samples, truth), axis=0)
    apart = root(jnp.sum((samples[:, None] - samples) ** 2, axis=-1))
    return to_truth - 0.5 * jnp.sum(apart, axis=(0, 1)) / max(count * (count - 1), 1)
