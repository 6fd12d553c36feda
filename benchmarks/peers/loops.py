"""Nested loops compiled by Numba: the least one series can cost, for diagonal noise and seen positions."""

from collections.abc import Callable

import numpy as np

from benchmarks.measure import Filtered
from benchmarks.peers.problem import Linear


def predict(transition, noise, x, p, new, scratch):
    """Move mean and covariance in place."""
    n = x.shape[0]
    for i in range(n):
        new[i] = 0
        for j in range(n):
            new[i] += transition[i, j] * x[j]
            scratch[i, j] = 0
            for k in range(n):
                scratch[i, j] += transition[i, k] * p[k, j]
    for i in range(n):
        x[i] = new[i]
        for j in range(n):
            p[i, j] = noise[i, j]
            for k in range(n):
                p[i, j] += scratch[i, k] * transition[j, k]


def correct(y, m, variance, x, p, spread):
    """Correct mean and covariance in place by component m, and return its log evidence."""
    n = x.shape[0]
    total = p[m, m] + variance
    surprise = y - x[m]
    for i in range(n):
        spread[i] = p[i, m]
    for i in range(n):
        x[i] += spread[i] / total * surprise
        for j in range(n):
            p[i, j] -= spread[i] * spread[j] / total
    return -0.5 * (surprise * surprise / total + np.log(total) + 1.8378770664093453)


def _compiled() -> Callable:
    import numba

    move, observe = numba.njit(predict), numba.njit(correct)

    @numba.njit
    def every(
        transition, noise, variances, mean, covariance, observations, seen, means, covariances, evidence
    ):
        new, spread, scratch = np.empty_like(mean[0]), np.empty_like(mean[0]), np.empty_like(covariance[0])
        for s in range(observations.shape[0]):
            x, p = mean[s].copy(), covariance[s].copy()
            for t in range(observations.shape[1]):
                move(transition, noise, x, p, new, scratch)
                for m in range(observations.shape[2]):
                    if seen[s, t, m]:
                        evidence[s] += observe(observations[s, t, m], m, variances[m], x, p, spread)
                means[s, t] = x
                covariances[s, t] = p

    return every


def numba_loops(problem: Linear) -> Callable[[], Filtered]:
    """Run the loops, one series after the other."""
    every = _compiled()
    transition, noise, _, _ = problem.matrices()
    batch = problem.observations.reshape(-1, *problem.observations.shape[-2:])
    series, rows, _ = batch.shape
    seen = np.ones(batch.shape, bool)
    if problem.seen is not None:
        flags = problem.seen if problem.components_missing else problem.seen[..., None]
        seen = np.broadcast_to(flags, problem.observations.shape).reshape(batch.shape).copy()
    mean = np.broadcast_to(problem.prior_mean, (series, 4)).copy()
    covariance = np.broadcast_to(problem.prior_covariance, (series, 4, 4)).copy()
    shape = problem.observations.shape[:-1]

    def work() -> Filtered:
        means, covariances = (
            np.empty((series, rows, 4), batch.dtype),
            np.empty((series, rows, 4, 4), batch.dtype),
        )
        evidence = np.zeros(series)
        every(
            transition, noise, problem.variances, mean, covariance, batch, seen, means, covariances, evidence
        )
        total = evidence if problem.batched else evidence[0]
        return Filtered(means.reshape(*shape, 4), covariances.reshape(*shape, 4, 4), total)

    return work
