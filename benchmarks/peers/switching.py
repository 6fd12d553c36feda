"""Two models of motion with switches between them: ours, FilterPy's, and a scan written by hand."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Filtered
from benchmarks.peers.problem import Linear, compiled, looped
from benchmarks.peers.references import LOG_TWO_PI, cholesky_joseph

DENSITIES = (0.05, 5.0)  # calm and manoeuvring, m²/s³
SWITCHES = np.array([[0.95, 0.05], [0.1, 0.9]])
START = np.array([0.6, 0.4])
SLOW_SERIES = 5


def _noises(problem: Linear) -> np.ndarray:
    return np.stack([problem.matrices()[1] / problem.density * density for density in DENSITIES])


def foresee(problem: Linear) -> Callable[[], Filtered]:
    """Run foresee's filter; the mean and covariance of the mixture at every row are part of the work."""
    from foresee.beliefs import Gaussian
    from foresee.dynamics import ConstantVelocity, Position
    from foresee.filters import KalmanFilter, run
    from foresee.filters.imm import InteractingMultipleModel

    def filtered(models, prior, observations):
        motions, sensor, switches, start = models
        filter = InteractingMultipleModel(KalmanFilter(), switches)
        result = run(filter, motions, sensor, filter.begin(Gaussian(*prior), start), observations)
        merged = jax.vmap(lambda belief: belief.moments())(result.filtered)
        return merged.location, merged.covariance, result.log_evidence

    motions = tuple(ConstantVelocity(density) for density in DENSITIES)
    models = (motions, Position(problem.variances, size=4), SWITCHES, START)
    return compiled(
        filtered, problem, models, (problem.prior_mean, problem.prior_covariance), problem.observations
    )


def plain(problem: Linear) -> Callable[[], Filtered]:
    """Run a plain `lax.scan` around two vmapped updates, written here."""

    def merge(weights, means, covariances):
        mean = weights @ means
        apart = means - mean
        return mean, jnp.einsum("k,kij->ij", weights, covariances + apart[:, :, None] * apart[:, None, :])

    def filtered(models, prior, observations):
        (transition, _, sensor, sensor_noise), noises, switches, start = models

        def step(carry, y):
            weights, means, covariances = carry
            joint = weights[:, None] * switches
            reached = joint.sum(0)
            mixed, spreads = jax.vmap(merge, (1, None, None))(joint / reached, means, covariances)
            mixed = mixed @ transition.T
            spreads = transition @ spreads @ transition.T + noises

            def update(mean, covariance):
                return cholesky_joseph(mean, covariance, sensor, sensor_noise, y - sensor @ mean)

            means, covariances, evidence = jax.vmap(update)(mixed, spreads)
            logits = jnp.log(reached) + evidence - 0.5 * len(y) * LOG_TWO_PI
            total = jax.nn.logsumexp(logits)
            weights = jnp.exp(logits - total)
            return (weights, means, covariances), (*merge(weights, means, covariances), total)

        twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), prior)
        _, (means, covariances, evidences) = jax.lax.scan(step, (start, *twice), observations)
        return means, covariances, jnp.sum(evidences)

    models = (problem.matrices(), _noises(problem), SWITCHES, START)
    return compiled(
        filtered, problem, models, (problem.prior_mean, problem.prior_covariance), problem.observations
    )


def filterpy(problem: Linear) -> Callable[[], Filtered]:
    """Run FilterPy's estimator in a Python loop."""
    from filterpy.kalman import IMMEstimator, KalmanFilter

    def one(single: Linear) -> Callable[[], tuple]:
        transition, _, sensor, sensor_noise = single.matrices()

        def work():
            filters = []
            for noise in _noises(single):
                filter = KalmanFilter(dim_x=4, dim_z=2)
                filter.F, filter.Q, filter.H, filter.R = transition, noise, sensor, sensor_noise
                filter.x, filter.P = single.prior_mean.copy(), single.prior_covariance.copy()
                filters.append(filter)
            estimator = IMMEstimator(filters, START, SWITCHES)
            count = len(single.observations)
            means, covariances = np.empty((count, 4)), np.empty((count, 4, 4))
            for t, y in enumerate(single.observations):
                estimator.predict()
                estimator.update(y)
                means[t], covariances[t] = estimator.x, estimator.P
            return means, covariances, None

        return work

    return looped(problem, SLOW_SERIES, one)
