"""Other libraries' Kalman filters."""

from collections.abc import Callable
from datetime import datetime

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Filtered, NotSupported
from benchmarks.peers.problem import Linear, compiled, looped, refuse_missing

SLOW_SERIES = 10  # how many series of a batch a library gets that runs them one by one in Python


def dynamax(problem: Linear) -> Callable[[], Filtered]:
    """Run dynamax's filter under jit."""
    from dynamax.linear_gaussian_ssm.inference import lgssm_filter, make_lgssm_params

    refuse_missing(problem, dynamax)

    def filtered(matrices, prior, observations):
        transition, noise, sensor, sensor_noise = matrices
        params = make_lgssm_params(*prior, transition, noise, sensor, sensor_noise)
        result = lgssm_filter(params, observations)
        return result.filtered_means, result.filtered_covariances, result.marginal_loglik

    return compiled(filtered, problem, problem.matrices(), problem.first_row(), problem.observations)


def smcx(problem: Linear) -> Callable[[], Filtered]:
    """Run smcx's exact filter under jit."""
    import smcx as library

    refuse_missing(problem, smcx)

    def filtered(matrices, prior, observations):
        result = library.kalman_filter(*prior, *matrices, observations)
        return result.filtered_means, result.filtered_covariances, result.marginal_loglik

    return compiled(filtered, problem, problem.matrices(), problem.first_row(), problem.observations)


def kalman_py(problem: Linear) -> Callable[[], Filtered]:
    """Run kalman-py's JAX backend, over a batch by vmap where the priors are shared."""
    from kalman_py import KalmanFilter

    refuse_missing(problem, kalman_py)
    if problem.own_priors:
        raise NotSupported("priors are NumPy arrays of the filter object, so they cannot differ under vmap")
    transition, noise, sensor, sensor_noise = problem.matrices()
    filter = KalmanFilter(
        transition, sensor, noise, sensor_noise, problem.prior_mean, problem.prior_covariance
    )

    def one(observations):
        result = filter.filter(observations, backend="jax")
        return result.means, result.covs, result.log_likelihood

    function = jax.jit(jax.vmap(one)) if problem.batched else one
    observations = jnp.asarray(problem.observations)
    return lambda: Filtered(*jax.block_until_ready(function(observations)))


def cuthbert(problem: Linear, parallel: bool = False) -> Callable[[], Filtered]:
    """Run cuthbert's square-root filter under jit; NaN means missing."""
    import cuthbert as library
    from cuthbert.gaussian import kalman

    def filtered(matrices, prior, observations):
        transition, noise, sensor, sensor_noise = matrices
        noise_factor, sensor_factor = jnp.linalg.cholesky(noise), jnp.linalg.cholesky(sensor_noise)
        zero, level = jnp.zeros_like(prior[0]), jnp.zeros_like(observations[0])
        method = kalman.build_filter(
            prior[0],
            jnp.linalg.cholesky(prior[1]),
            lambda row: (transition, zero, noise_factor),
            lambda row: (sensor, level, sensor_factor, row),
        )
        states = library.filter(method, observations, method.init_prepare(), parallel=parallel)
        factors = states.chol_cov[1:]
        return states.mean[1:], factors @ jnp.swapaxes(factors, -1, -2), states.log_normalizing_constant[-1]

    prior = (problem.prior_mean, problem.prior_covariance)
    return compiled(filtered, problem, problem.matrices(), prior, problem.with_nan())


def filterpy(problem: Linear) -> Callable[[], Filtered]:
    """Run FilterPy's predict and update in a Python loop."""
    from filterpy.kalman import KalmanFilter

    if problem.components_missing:
        raise NotSupported("skips whole rows only")

    def one(single: Linear) -> Callable[[], tuple]:
        transition, noise, sensor, sensor_noise = single.matrices()
        seen = np.ones(len(single.observations), bool) if single.seen is None else single.seen

        def work():
            filter = KalmanFilter(dim_x=4, dim_z=2)
            filter.F, filter.Q, filter.H, filter.R = transition, noise, sensor, sensor_noise
            filter.x, filter.P = single.prior_mean[:, None].copy(), single.prior_covariance.copy()
            means, covariances = np.empty((len(seen), 4)), np.empty((len(seen), 4, 4))
            for t, y in enumerate(single.observations[..., None]):
                filter.predict()
                filter.update(y if seen[t] else None)
                means[t], covariances[t] = filter.x[:, 0], filter.P
            return means, covariances, None

        return work

    return looped(problem, SLOW_SERIES, one)


def simdkalman(problem: Linear) -> Callable[[], Filtered]:
    """Run simdkalman, which loops over rows and is vectorised over series; NaN means missing."""
    import simdkalman as library

    if problem.own_priors:
        raise NotSupported("timed with shared priors only")
    if problem.components_missing:
        raise NotSupported("skips whole rows only")
    transition, noise, sensor, sensor_noise = problem.matrices()
    filter = library.KalmanFilter(transition, noise, sensor, sensor_noise)
    mean, covariance = problem.first_row()
    data = problem.with_nan().reshape(-1, *problem.observations.shape[-2:])

    def work():
        result = filter.compute(
            data, 0, initial_value=mean, initial_covariance=covariance, smoothed=False, filtered=True,
            observations=False, log_likelihood=True,
        )  # fmt: skip
        states = (
            result.filtered.states
        )  # its log likelihood leaves 2π out, so it is computed and not compared
        return (
            Filtered(states.mean, states.cov) if problem.batched else Filtered(states.mean[0], states.cov[0])
        )

    return work


def torch_kf(problem: Linear) -> Callable[[], Filtered]:
    """Run torch-kf, a loop over the first rows vectorised over series; NaN means missing."""
    try:
        import torch
        from torch_kf import GaussianState, KalmanFilter
    except ImportError as error:
        raise NotSupported(f"optional, see requirements-torch.txt ({error})") from error
    if problem.components_missing:
        raise NotSupported("skips whole rows only")
    problem = problem.head(1000)
    transition, noise, sensor, sensor_noise = map(torch.tensor, problem.matrices())
    filter = KalmanFilter(transition, sensor, noise, sensor_noise)
    batch = problem.with_nan().reshape(-1, *problem.observations.shape[-2:])
    data = torch.tensor(np.moveaxis(batch, 0, 1)[..., None].copy())
    mean, covariance = problem.first_row()
    mean = torch.tensor(np.broadcast_to(mean, (len(batch), 4))[..., None].copy())
    covariance = torch.tensor(np.broadcast_to(covariance, (len(batch), 4, 4)).copy())

    def work():
        states = filter.filter(GaussianState(mean.clone(), covariance.clone()), data, return_all=True)
        means = np.moveaxis(states.mean.numpy()[..., 0], 0, 1)
        covariances = np.moveaxis(states.covariance.numpy(), 0, 1)
        return Filtered(means, covariances) if problem.batched else Filtered(means[0], covariances[0])

    return work


def pykalman(problem: Linear) -> Callable[[], Filtered]:
    """Run pykalman in its Python loop; a masked row is missing."""
    from pykalman import KalmanFilter

    if problem.components_missing:
        raise NotSupported("skips whole rows only")

    def one(single: Linear) -> Callable[[], tuple]:
        transition, noise, sensor, sensor_noise = single.matrices()
        mean, covariance = single.first_row()
        filter = KalmanFilter(transition, sensor, noise, sensor_noise, None, None, mean, covariance)
        data = np.ma.masked_invalid(single.with_nan())
        return lambda: (*map(np.asarray, filter.filter(data)), None)

    return looped(problem, SLOW_SERIES, one)


def stone_soup(problem: Linear, rows: int = 1000) -> Callable[[], Filtered]:
    """Run Stone Soup's predictor and updater in a Python loop, over the first rows."""
    from stonesoup.models.measurement.linear import LinearGaussian
    from stonesoup.models.transition.linear import LinearGaussianTimeInvariantTransitionModel
    from stonesoup.predictor.kalman import KalmanPredictor
    from stonesoup.types.array import CovarianceMatrix, StateVector
    from stonesoup.types.detection import Detection
    from stonesoup.types.hypothesis import SingleHypothesis
    from stonesoup.types.state import GaussianState
    from stonesoup.updater.kalman import KalmanUpdater

    if problem.components_missing:
        raise NotSupported("skips whole rows only")

    def one(single: Linear) -> Callable[[], tuple]:
        single = single.head(rows)
        transition, noise, _, sensor_noise = single.matrices()
        predictor = KalmanPredictor(
            LinearGaussianTimeInvariantTransitionModel(
                transition_matrix=transition, covariance_matrix=CovarianceMatrix(noise)
            )
        )
        sensor = LinearGaussian(ndim_state=4, mapping=(0, 1), noise_covar=CovarianceMatrix(sensor_noise))
        updater = KalmanUpdater(sensor)
        detections = [Detection(StateVector(y), timestamp=datetime(2000, 1, 1)) for y in single.observations]
        seen = np.ones(len(detections), bool) if single.seen is None else single.seen

        def work():
            state = GaussianState(single.prior_mean, single.prior_covariance, timestamp=datetime(2000, 1, 1))
            means, covariances = np.empty((len(seen), 4)), np.empty((len(seen), 4, 4))
            for t, detection in enumerate(detections):
                state = predictor.predict(state, timestamp=detection.timestamp)
                if seen[t]:
                    state = updater.update(SingleHypothesis(state, detection))
                means[t], covariances[t] = np.ravel(state.mean), state.covar
            return means, covariances, None

        return work

    return looped(problem, SLOW_SERIES, one)
