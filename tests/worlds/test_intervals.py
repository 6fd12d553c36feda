"""Ranks and intervals of predicted positions: uniform and covering where the predictions are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from foresee.worlds import intervals
from foresee.worlds.scores import covariances_of

LEVELS = jnp.asarray([0.5, 0.9, 0.99])


@pytest.fixture(scope="module")
def made():
    """A mixture of two ways at three times, and what happens under it 2,000 times."""
    random = np.random.default_rng(0)
    means = np.stack(
        [np.stack([np.arange(3.0), np.zeros(3)], -1), np.stack([np.arange(3.0), np.ones(3)], -1)]
    )
    covariances = np.asarray(
        covariances_of(*(jnp.asarray(random.uniform(0.2, 1.0, (2, 3))) for _ in range(3)))
    )
    weights = np.array([0.7, 0.3])
    way = random.choice(2, 2000, p=weights)
    noise = random.normal(size=(2000, 3, 2))
    truth = means[way] + np.einsum("ntij,ntj->nti", np.linalg.cholesky(covariances)[way], noise)
    return tuple(map(jnp.asarray, (means, covariances, weights, truth, np.full(3, 0.4))))


def test_ranks_are_uniform_and_central_intervals_hold_their_share(made):
    means, covariances, weights, truth, heading = made
    got = jax.jit(jax.vmap(lambda y: intervals.ranks(means, covariances, weights, y, heading)))(truth)
    for column in np.asarray(got).reshape(len(truth), -1).T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    widths = jax.jit(intervals.central_widths)(means, covariances, weights, heading, LEVELS)
    places, sds = intervals.projected(means, covariances, heading)
    quantiles = jax.jit(intervals.quantiles)
    for t, axis in np.ndindex(3, 2):
        for number, level in enumerate((0.5, 0.9, 0.99)):
            low, high = quantiles(
                places[t, axis], sds[t, axis], weights, jnp.asarray([0.5 - level / 2, 0.5 + level / 2])
            )
            assert widths[t, axis, number] == pytest.approx(float(high - low))
            inside = np.abs(np.asarray(got)[:, t, axis] - 0.5) <= level / 2
            assert abs(inside.mean() - level) < 4 * np.sqrt(level * (1 - level) / len(truth))


def test_one_gaussian_has_the_quantiles_of_scipy():
    levels = jnp.asarray([0.005, 0.25, 0.5, 0.95])
    got = intervals.quantiles(jnp.asarray([2.0]), jnp.asarray([3.0]), jnp.ones(1), levels)
    np.testing.assert_allclose(got, stats.norm(2, 3).ppf(levels), atol=1e-8)
    certain = intervals.quantiles(jnp.asarray([2.0]), jnp.asarray([0.0]), jnp.ones(1), levels)
    np.testing.assert_allclose(certain, 2.0)


def test_regions_of_highest_density_hold_their_share(made):
    means, covariances, weights, truth, _ = made
    got = jax.jit(jax.vmap(lambda y: intervals.density_ranks(means, covariances, weights, y)))(truth[:1000])
    for level in (0.5, 0.9, 0.99):
        assert abs(np.mean(np.asarray(got) <= level) - level) < 4 * np.sqrt(level * (1 - level) / 1000)
    alone = intervals.density_ranks(
        jnp.zeros((1, 1, 2)), jnp.eye(2)[None, None], jnp.ones(1), jnp.asarray([[1.0, 1.0]]), points=1000
    )
    assert alone[0] == pytest.approx(1 - np.exp(-1), abs=0.01)  # χ² with two degrees of freedom, at 2
