"""Bootstrap particle filters on the linear problem, where the exact answer is known.

All draw from the motion, weight by the sensor, resample systematically when the effective number of particles
falls below half, and hand back the weighted mean and covariance of every row. Every call takes the next seed.
"""

from collections.abc import Callable
from datetime import datetime
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Filtered
from benchmarks.peers.problem import Linear
from benchmarks.peers.references import LOG_TWO_PI

PARTICLES = 1_000


def _seeded(function: Callable, *arguments) -> Callable[[], Filtered]:
    """Compile `function(key, *arguments)` and call it with a new key every time."""
    function = jax.jit(function)
    arguments = jax.tree.map(jnp.asarray, arguments)
    seeds = count()
    return lambda: Filtered(*jax.block_until_ready(function(jax.random.key(next(seeds)), *arguments)))


def _moments(values, log_weights):
    weights = jax.nn.softmax(log_weights)
    mean = weights @ values
    apart = values - mean
    return mean, (apart * weights[:, None]).T @ apart


def foresee(problem: Linear) -> Callable[[], Filtered]:
    """Run foresee's particle filter."""
    from foresee.beliefs import Gaussian
    from foresee.dynamics import ConstantVelocity, Position
    from foresee.filters import run
    from foresee.filters.particle import ParticleFilter

    def filtered(key, models, prior, observations):
        start, key = jax.random.split(key)
        filter = ParticleFilter(PARTICLES)
        result = run(filter, *models, filter.begin(Gaussian(*prior), key=start), observations, key=key)
        means, covariances = jax.vmap(_moments)(result.filtered.values, result.filtered.log_weights)
        return means, covariances, result.log_evidence

    models = (ConstantVelocity(problem.density), Position(problem.variances, size=4))
    return _seeded(filtered, models, (problem.prior_mean, problem.prior_covariance), problem.observations)


def numpy_loop(problem: Linear) -> Callable[[], Filtered]:
    """Run a vectorised NumPy loop, written here: the bar."""
    transition, noise, _, _ = problem.matrices()
    factor, prior_factor = np.linalg.cholesky(noise).T, np.linalg.cholesky(problem.prior_covariance).T
    precisions = 1 / problem.variances
    constant = -0.5 * np.sum(np.log(problem.variances) + LOG_TWO_PI)
    seeds = count()

    def work() -> Filtered:
        random = np.random.default_rng(next(seeds))
        rows = len(problem.observations)
        means, covariances, evidence = np.empty((rows, 4)), np.empty((rows, 4, 4)), 0.0
        values = problem.prior_mean + random.standard_normal((PARTICLES, 4)) @ prior_factor
        weights = np.full(PARTICLES, 1 / PARTICLES)
        for t, y in enumerate(problem.observations):
            if 1 / (weights @ weights) < PARTICLES / 2:
                grid = (np.arange(PARTICLES) + random.random()) / PARTICLES
                chosen = np.searchsorted(np.cumsum(weights), grid)
                values = values[np.minimum(chosen, PARTICLES - 1)]
                weights = np.full(PARTICLES, 1 / PARTICLES)
            values = values @ transition.T + random.standard_normal((PARTICLES, 4)) @ factor
            scores = constant - 0.5 * ((y - values[:, :2]) ** 2 @ precisions)
            top = scores.max()
            weights = weights * np.exp(scores - top)
            total = weights.sum()
            evidence += top + np.log(total)
            weights /= total
            means[t] = weights @ values
            apart = values - means[t]
            covariances[t] = (apart * weights[:, None]).T @ apart
        return Filtered(means, covariances, np.asarray(evidence))

    return work


def smcx(problem: Linear) -> Callable[[], Filtered]:
    """Run smcx's bootstrap filter under jit."""
    import smcx as library

    transition, noise, _, _ = problem.matrices()

    def filtered(key, matrices, variances, prior, observations):
        transition, factor = matrices

        def begin(key, n):
            return prior[0] + jax.random.normal(key, (n, 4)) @ prior[1].T

        def move(key, x):
            return transition @ x + factor @ jax.random.normal(key, (4,))

        def score(y, x):
            return -0.5 * jnp.sum((y - x[:2]) ** 2 / variances + jnp.log(variances) + LOG_TWO_PI)

        result = library.bootstrap_filter(key, begin, move, score, observations, PARTICLES)
        means, covariances = jax.vmap(_moments)(result.filtered_particles, result.filtered_log_weights)
        return means, covariances, result.marginal_loglik

    mean, covariance = problem.first_row()
    prior = (mean, np.linalg.cholesky(covariance))
    matrices = (transition, np.linalg.cholesky(noise))
    return _seeded(filtered, matrices, problem.variances, prior, problem.observations)


def cuthbert(problem: Linear) -> Callable[[], Filtered]:
    """Run cuthbert's particle filter under jit."""
    import cuthbert as library
    from cuthbert.smc import particle_filter
    from cuthbertlib.resampling import systematic
    from cuthbertlib.resampling.adaptive import ess_decorator

    transition, noise, _, _ = problem.matrices()

    def filtered(key, matrices, variances, prior, observations):
        transition, factor = matrices
        method = particle_filter.build_filter(
            lambda key: prior[0] + prior[1] @ jax.random.normal(key, (4,)),
            lambda key, x, y: transition @ x + factor @ jax.random.normal(key, (4,)),
            lambda before, x, y: (
                -0.5 * jnp.sum((y - x[:2]) ** 2 / variances + jnp.log(variances) + LOG_TWO_PI)
            ),
            PARTICLES,
            ess_decorator(systematic.resampling, 0.5),
        )
        start, key = jax.random.split(key)
        states = library.filter(method, observations, method.init_prepare(key=start), key=key)
        means, covariances = jax.vmap(_moments)(states.particles[1:], states.log_weights[1:])
        return means, covariances, states.log_normalizing_constant[-1]

    prior = (problem.prior_mean, np.linalg.cholesky(problem.prior_covariance))
    matrices = (transition, np.linalg.cholesky(noise))
    return _seeded(filtered, matrices, problem.variances, prior, problem.observations)


def particles(problem: Linear) -> Callable[[], Filtered]:
    """Run the package particles."""
    import particles as library
    from particles import distributions
    from particles.collectors import Moments
    from particles.state_space_models import Bootstrap, StateSpaceModel

    transition, noise, _, sensor_noise = problem.matrices()
    mean, covariance = problem.first_row()

    class Vehicle(StateSpaceModel):
        def PX0(self):
            return distributions.MvNormal(loc=mean, cov=covariance)

        def PX(self, t, xp):
            return distributions.MvNormal(loc=xp @ transition.T, cov=noise)

        def PY(self, t, xp, x):
            return distributions.MvNormal(loc=x[:, :2], cov=sensor_noise)

    def moments(weights, x):
        middle = weights @ x
        apart = x - middle
        return {"mean": middle, "covariance": (apart * weights[:, None]).T @ apart}

    data = list(problem.observations)
    seeds = count()

    def work() -> Filtered:
        np.random.seed(next(seeds))  # noqa: NPY002 — the package draws from the global generator
        model = Bootstrap(ssm=Vehicle(), data=data)
        filter = library.SMC(fk=model, N=PARTICLES, ESSrmin=0.5, collect=[Moments(mom_func=moments)])
        filter.run()
        found = filter.summaries.moments
        means, covariances = (np.stack([row[name] for row in found]) for name in ("mean", "covariance"))
        return Filtered(means, covariances, np.asarray(filter.logLt))

    return work


def stone_soup(problem: Linear) -> Callable[[], Filtered]:
    """Run Stone Soup's particle predictor and updater, which resamples after the update."""
    from stonesoup.models.measurement.linear import LinearGaussian
    from stonesoup.models.transition.linear import LinearGaussianTimeInvariantTransitionModel
    from stonesoup.predictor.particle import ParticlePredictor
    from stonesoup.resampler.particle import ESSResampler
    from stonesoup.types.array import CovarianceMatrix, StateVector, StateVectors
    from stonesoup.types.detection import Detection
    from stonesoup.types.hypothesis import SingleHypothesis
    from stonesoup.types.state import ParticleState
    from stonesoup.updater.particle import ParticleUpdater

    transition, noise, _, sensor_noise = problem.matrices()
    motion = LinearGaussianTimeInvariantTransitionModel(
        transition_matrix=transition, covariance_matrix=CovarianceMatrix(noise)
    )
    sensor = LinearGaussian(ndim_state=4, mapping=(0, 1), noise_covar=CovarianceMatrix(sensor_noise))
    predictor, updater = ParticlePredictor(motion), ParticleUpdater(sensor, ESSResampler())
    when = datetime(2000, 1, 1)
    detections = [Detection(StateVector(y), timestamp=when) for y in problem.observations]
    seeds = count()

    def work() -> Filtered:
        seed = next(seeds)
        np.random.seed(seed)  # noqa: NPY002 — the models draw from the global generator
        draws = np.random.default_rng(seed).multivariate_normal(
            problem.prior_mean, problem.prior_covariance, PARTICLES
        )
        state = ParticleState(StateVectors(draws.T), weight=np.full(PARTICLES, 1 / PARTICLES), timestamp=when)
        means, covariances = np.empty((len(detections), 4)), np.empty((len(detections), 4, 4))
        for t, detection in enumerate(detections):
            prediction = predictor.predict(state, timestamp=detection.timestamp)
            state = updater.update(SingleHypothesis(prediction, detection))
            means[t], covariances[t] = np.ravel(state.mean), state.covar
        return Filtered(means, covariances)

    return work
