"""A nonlinear problem, a vehicle seen by its distances to two beacons, and unscented filters for it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Filtered, NotSupported
from benchmarks.peers.problem import compiled, looped
from foresee.beliefs import AbstractConditional, DiagonalGaussian, Gaussian

BEACONS = np.array([[-100.0, 0.0], [0.0, -100.0]])
SPREAD = {"alpha": 1.0, "beta": 2.0, "kappa": 0.0}  # the same sigma points for everyone
SLOW_SERIES = 5


def move(x, library=np):
    """Drive for one second: state [x, y, speed, heading] in m, m, m/s, rad, one column per point."""
    return library.stack([x[0] + x[2] * library.cos(x[3]), x[1] + x[2] * library.sin(x[3]), x[2], x[3]])


def distances(x, library=np):
    """Return the distances to the two beacons in metres."""
    return library.stack([library.sqrt((x[0] - bx) ** 2 + (x[1] - by) ** 2) for bx, by in BEACONS])


@dataclass(frozen=True)
class Drive:
    """One series (T, 2) or a batch (series, T, 2) of distances, with noise variances and one prior."""

    observations: np.ndarray
    motion_variances: np.ndarray
    sensor_variances: np.ndarray
    prior_mean: np.ndarray
    prior_covariance: np.ndarray
    own_priors: bool = False

    @property
    def batched(self) -> bool:
        """Whether there are many series."""
        return self.observations.ndim == 3

    def one_by_one(self, most: int) -> list["Drive"]:
        """Return the first series of a batch as problems of their own."""
        if not self.batched:
            return [self]
        rest = (self.motion_variances, self.sensor_variances, self.prior_mean, self.prior_covariance)
        return [Drive(observations, *rest) for observations in self.observations[:most]]


def simulate(rows: int, series: int | None = None) -> Drive:
    """Draw noisy distances along a circle of 50 m."""
    random = np.random.default_rng(1)
    heading = 0.1 * np.arange(1, rows + 1)
    path = np.stack([50 * np.sin(heading), 50 * (1 - np.cos(heading))])
    exact = distances(path).T
    shape = exact.shape if series is None else (series, *exact.shape)
    return Drive(
        observations=exact + random.normal(size=shape),
        motion_variances=np.array([0.05, 0.05, 0.02, 0.01]),
        sensor_variances=np.array([1.0, 1.0]),
        prior_mean=np.array([0.0, 0.0, 5.0, 0.0]),
        prior_covariance=np.diag([4.0, 4.0, 1.0, 0.1]),
    )


class Motion(AbstractConditional):
    """The motion for foresee."""

    variances: jax.Array

    def __call__(self, x, u=None, dt=1.0):
        """Return where the vehicle is after one second."""
        return DiagonalGaussian(move(x, jnp), self.variances)


class Beacons(AbstractConditional):
    """The sensor for foresee."""

    variances: jax.Array

    def __call__(self, x, u=None, dt=1.0):
        """Return the distances."""
        return DiagonalGaussian(distances(x, jnp), self.variances)


def _arguments(problem: Drive, first_row: bool = False) -> tuple:
    prior = (problem.prior_mean, problem.prior_covariance)
    if first_row:
        points = _points(*prior, np.linalg.cholesky)
        mean, covariance, _, _ = _transform(points, partial(move, library=np))
        prior = (mean, covariance + np.diag(problem.motion_variances))
    return (problem.motion_variances, problem.sensor_variances), prior, problem.observations


def foresee(problem: Drive) -> Callable[[], Filtered]:
    """Run foresee's unscented filter."""
    from foresee.filters import run
    from foresee.filters.unscented import UnscentedKalmanFilter

    def filtered(variances, prior, observations):
        result = run(
            UnscentedKalmanFilter(**SPREAD),
            Motion(variances[0]),
            Beacons(variances[1]),
            Gaussian(*prior),
            observations,
        )
        return result.filtered.location, result.filtered.covariance, result.log_evidence

    return compiled(filtered, problem, *_arguments(problem))


def _points(mean, covariance, cholesky):
    """Return the 2n + 1 sigma points as columns, for α = 1 and κ = 0."""
    steps = np.sqrt(len(mean)) * cholesky(covariance)
    library = jnp if isinstance(steps, jax.Array) else np
    return library.concatenate([mean[:, None], mean[:, None] + steps, mean[:, None] - steps], axis=1)


def _transform(points, function):
    """Return mean and covariance of the mapped points, both sets of centred points, with β = 2."""
    n = points.shape[0]
    mean_weights = np.array([0.0] + [0.5 / n] * (2 * n))
    weights = mean_weights + np.array([2.0] + [0.0] * (2 * n))
    mapped = function(points)
    mean = mapped @ mean_weights
    centred = mapped - mean[:, None]
    return mean, (centred * weights) @ centred.T, centred, (points - points[:, :1]) * weights


def plain(problem: Drive) -> Callable[[], Filtered]:
    """Run a plain `lax.scan` with matrix products and a Cholesky solve, written here."""

    def filtered(variances, prior, observations):
        def step(carry, y):
            points = _points(*carry, jnp.linalg.cholesky)
            mean, covariance, _, _ = _transform(points, partial(move, library=jnp))
            covariance = covariance + jnp.diag(variances[0])
            points = _points(mean, covariance, jnp.linalg.cholesky)
            expected, spread, seen, states = _transform(points, partial(distances, library=jnp))
            spread = spread + jnp.diag(variances[1])
            cross = states @ seen.T
            factor = jnp.linalg.cholesky(spread)
            gain = jax.scipy.linalg.cho_solve((factor, True), cross.T).T
            white = jax.scipy.linalg.solve_triangular(factor, y - expected, lower=True)
            evidence = -0.5 * (white @ white + len(y) * np.log(2 * np.pi)) - jnp.sum(
                jnp.log(jnp.diagonal(factor))
            )
            carry = mean + gain @ (y - expected), covariance - gain @ spread @ gain.T
            return carry, (*carry, evidence)

        _, (means, covariances, evidences) = jax.lax.scan(step, prior, observations)
        return means, covariances, jnp.sum(evidences)

    return compiled(filtered, problem, *_arguments(problem))


def dynamax(problem: Drive) -> Callable[[], Filtered]:
    """Run dynamax's unscented filter under jit."""
    from dynamax.nonlinear_gaussian_ssm.inference_ukf import UKFHyperParams, unscented_kalman_filter
    from dynamax.nonlinear_gaussian_ssm.models import ParamsNLGSSM

    def filtered(variances, prior, observations):
        params = ParamsNLGSSM(
            initial_mean=prior[0],
            initial_covariance=prior[1],
            dynamics_function=partial(move, library=jnp),
            dynamics_covariance=jnp.diag(variances[0]),
            emission_function=partial(distances, library=jnp),
            emission_covariance=jnp.diag(variances[1]),
        )
        result = unscented_kalman_filter(params, observations, UKFHyperParams(**SPREAD))
        return result.filtered_means, result.filtered_covariances, result.marginal_loglik

    return compiled(filtered, problem, *_arguments(problem, first_row=True))


def smcx(problem: Drive) -> Callable[[], Filtered]:
    """Run smcx's unscented filter under jit."""
    import smcx as library

    def filtered(variances, prior, observations):
        result = library.unscented_kalman_filter(
            *prior,
            partial(move, library=jnp),
            jnp.diag(variances[0]),
            partial(distances, library=jnp),
            jnp.diag(variances[1]),
            observations,
            **SPREAD,
        )
        return result.filtered_means, result.filtered_covariances, result.marginal_loglik

    return compiled(filtered, problem, *_arguments(problem, first_row=True))


def kalman_py(problem: Drive) -> Callable[[], Filtered]:
    """Run kalman-py's JAX backend, over a batch by vmap."""
    from kalman_py import UnscentedKalmanFilter

    filter = UnscentedKalmanFilter(
        lambda x, dt: move(x, jnp),
        lambda x: distances(x, jnp),
        np.diag(problem.motion_variances),
        np.diag(problem.sensor_variances),
        problem.prior_mean,
        problem.prior_covariance,
        **SPREAD,
    )

    def one(observations):
        result = filter.filter(observations, 1.0, backend="jax")
        return result.means, result.covs, result.log_likelihood

    function = jax.jit(jax.vmap(one)) if problem.batched else one
    observations = jnp.asarray(problem.observations)
    return lambda: Filtered(*jax.block_until_ready(function(observations)))


def filterpy(problem: Drive) -> Callable[[], Filtered]:
    """Run FilterPy's unscented filter in a Python loop."""
    from filterpy.kalman import MerweScaledSigmaPoints, UnscentedKalmanFilter

    def one(single: Drive) -> Callable[[], tuple]:
        def work():
            points = MerweScaledSigmaPoints(4, **SPREAD)
            filter = UnscentedKalmanFilter(4, 2, 1.0, hx=distances, fx=lambda x, dt: move(x), points=points)
            filter.x, filter.P = single.prior_mean.copy(), single.prior_covariance.copy()
            filter.Q, filter.R = np.diag(single.motion_variances), np.diag(single.sensor_variances)
            count = len(single.observations)
            means, covariances = np.empty((count, 4)), np.empty((count, 4, 4))
            for t, y in enumerate(single.observations):
                filter.predict()
                filter.update(y)
                means[t], covariances[t] = filter.x, filter.P
            return means, covariances, None

        return work

    return looped(problem, SLOW_SERIES, one)


def stone_soup(problem: Drive, rows: int = 500) -> Callable[[], Filtered]:
    """Run Stone Soup's unscented predictor and updater in a Python loop, over the first rows."""
    from stonesoup.base import Property
    from stonesoup.models.base import GaussianModel
    from stonesoup.models.measurement.base import MeasurementModel
    from stonesoup.models.transition.base import TransitionModel
    from stonesoup.predictor.kalman import UnscentedKalmanPredictor
    from stonesoup.types.array import CovarianceMatrix, StateVector, StateVectors
    from stonesoup.types.detection import Detection
    from stonesoup.types.hypothesis import SingleHypothesis
    from stonesoup.types.state import GaussianState
    from stonesoup.updater.kalman import UnscentedKalmanUpdater

    if problem.batched:
        raise NotSupported("timed on one series only")

    class Vehicle(TransitionModel, GaussianModel):
        variances: np.ndarray = Property()
        ndim_state = 4

        def function(self, state, noise=False, **kwargs):
            return move(state.state_vector).view(StateVectors)

        def covar(self, **kwargs):
            return CovarianceMatrix(np.diag(self.variances))

    class Sensor(MeasurementModel, GaussianModel):
        variances: np.ndarray = Property()
        ndim_meas = 2

        def function(self, state, noise=False, **kwargs):
            return distances(state.state_vector).view(StateVectors)

        def covar(self, **kwargs):
            return CovarianceMatrix(np.diag(self.variances))

    predictor = UnscentedKalmanPredictor(Vehicle(problem.motion_variances), **SPREAD)
    updater = UnscentedKalmanUpdater(Sensor(4, [0, 1], problem.sensor_variances), **SPREAD)
    when = datetime(2000, 1, 1)
    detections = [Detection(StateVector(y), timestamp=when) for y in problem.observations[:rows]]

    def work() -> Filtered:
        state = GaussianState(problem.prior_mean, problem.prior_covariance, timestamp=when)
        means, covariances = np.empty((len(detections), 4)), np.empty((len(detections), 4, 4))
        for t, detection in enumerate(detections):
            prediction = predictor.predict(state, timestamp=detection.timestamp)
            state = updater.update(SingleHypothesis(prediction, detection))
            means[t], covariances[t] = np.ravel(state.mean), state.covar
        return Filtered(means, covariances)

    return work
