"""Ours, and references written by hand: what a capable user would write in an afternoon."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsp
import numpy as np

from benchmarks.measure import Filtered
from benchmarks.peers.problem import Linear, compiled

LOG_TWO_PI = np.log(2 * np.pi)


def foresee(problem: Linear, parallel: bool = False) -> Callable[[], Filtered]:
    """Run foresee: `run` under jit, over a batch by vmap; or the filter that is parallel in time."""
    from foresee.beliefs import Gaussian
    from foresee.dynamics import ConstantVelocity, Position
    from foresee.filters import KalmanFilter, run

    def filtered(models, prior, data):
        motion, sensor = models
        mean, covariance = prior
        observations, seen = data
        if parallel:
            from foresee.filters.parallel import run_parallel

            result = run_parallel(
                motion, sensor, Gaussian(mean, covariance), observations, seen=seen, dt=problem.dt
            )
        else:
            result = run(
                KalmanFilter(),
                motion,
                sensor,
                Gaussian(mean, covariance),
                observations,
                seen=seen,
                dt=problem.dt,
            )
        return result.filtered.location, result.filtered.covariance, result.log_evidence

    dtype = problem.observations.dtype
    models = (ConstantVelocity(jnp.asarray(problem.density, dtype)), Position(problem.variances, size=4))
    prior = (problem.prior_mean, problem.prior_covariance)
    return compiled(filtered, problem, models, prior, (problem.observations, problem.seen))


def plain(problem: Linear, update: Callable[..., Any]) -> Callable[[], Filtered]:
    """Run a plain `lax.scan` around one of the updates below."""

    def filtered(matrices, prior, data):
        transition, noise, sensor, sensor_noise = matrices

        def step(carry, row):
            mean, covariance = carry
            y, seen = row
            mean, covariance = transition @ mean, transition @ covariance @ transition.T + noise
            matrix, spread, innovation = sensor, sensor_noise, y - sensor @ mean
            count = y.shape[0]
            if seen is not None:
                seen = jnp.broadcast_to(seen, y.shape)
                matrix = jnp.where(seen[:, None], matrix, 0.0)
                spread = jnp.where(seen[:, None] & seen[None, :], spread, jnp.eye(count, dtype=y.dtype))
                innovation = jnp.where(seen, innovation, 0.0)
                count = jnp.sum(seen)
            mean, covariance, evidence = update(mean, covariance, matrix, spread, innovation)
            return (mean, covariance), (mean, covariance, evidence - 0.5 * count * LOG_TWO_PI)

        _, (means, covariances, evidences) = jax.lax.scan(step, prior, data)
        return means, covariances, jnp.sum(evidences)

    prior = (problem.prior_mean, problem.prior_covariance)
    return compiled(filtered, problem, problem.matrices(), prior, (problem.observations, problem.seen))


def cholesky_joseph(mean, covariance, matrix, noise, innovation):
    """Update with a Cholesky solve and Joseph's form, written with matrix products."""
    factor = jnp.linalg.cholesky(matrix @ covariance @ matrix.T + noise)
    gain = jsp.cho_solve((factor, True), matrix @ covariance).T
    white = jsp.solve_triangular(factor, innovation, lower=True)
    rest = jnp.eye(mean.shape[0], dtype=mean.dtype) - gain @ matrix
    evidence = -0.5 * white @ white - jnp.sum(jnp.log(jnp.diagonal(factor)))
    return mean + gain @ innovation, rest @ covariance @ rest.T + gain @ noise @ gain.T, evidence


def closed_form(mean, covariance, matrix, noise, innovation):
    """Update with the inverse of a 2×2 matrix in closed form."""
    spread = matrix @ covariance
    innovation_covariance = spread @ matrix.T + noise
    (a, b), (c, d) = innovation_covariance
    determinant = a * d - b * c
    inverse = jnp.array([[d, -b], [-c, a]]) / determinant
    gain = spread.T @ inverse
    evidence = -0.5 * (innovation @ inverse @ innovation + jnp.log(determinant))
    return mean + gain @ innovation, covariance - gain @ spread, evidence
