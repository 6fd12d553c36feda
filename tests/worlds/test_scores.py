"""Scores of predicted futures against plain NumPy, closed forms and drawing at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from foresee.worlds import scores

K, T = 4, 5


@pytest.fixture(scope="module")
def made():
    random = np.random.default_rng(0)
    means = random.normal(size=(K, T, 2)).cumsum(axis=1)
    weights = np.array([0.1, 0.4, 0.3, 0.2])
    truth = random.normal(size=(T, 2)).cumsum(axis=0)
    covariances = np.asarray(
        scores.covariances_of(*(jnp.asarray(random.uniform(0.3, 2.0, (K, T))) for _ in range(3)))
    )
    return means, covariances, weights, truth


def test_distances_are_those_of_plain_numpy(made):
    means, _, weights, truth = made
    there = np.array([True, False, True, True, False])
    apart = np.linalg.norm(means - truth, axis=-1)
    average, final = apart[:, there].mean(axis=1), apart[:, 3]
    given = (jnp.asarray(means), jnp.asarray(weights), jnp.asarray(truth), jnp.asarray(there))
    assert scores.ade(*given) == pytest.approx(average[1])
    assert scores.fde(*given) == pytest.approx(final[1])
    assert scores.min_ade(*given) == pytest.approx(average.min())
    assert scores.min_fde(*given) == pytest.approx(final.min())
    for most, kept in ((1, [1]), (2, [1, 2]), (9, [0, 1, 2, 3])):
        assert scores.min_ade(*given, most=most) == pytest.approx(average[kept].min())
        best = kept[np.argmin(final[kept])]
        assert scores.brier_min_fde(*given, most=most) == pytest.approx(
            final[best] + (1 - weights[best]) ** 2
        )
    farthest = apart[:, there].max(axis=1).min()
    for radius in (0.9 * farthest, 1.1 * farthest):
        assert bool(scores.miss(*given, radius, anywhere=True)) == (radius < farthest)
        assert bool(scores.miss(*given, radius)) == (radius < final.min())
    nothing = scores.ade(*given[:3], jnp.zeros(T, bool))
    assert nothing == 0


def test_derivatives_are_finite_where_a_trajectory_is_right(made):
    means, covariances, weights, truth = map(jnp.asarray, made)
    there = jnp.ones(T, bool)

    def total(x):
        certain = jnp.zeros_like(covariances)
        return (
            scores.min_ade(x, weights, truth, there)
            + scores.energy_score(x, certain, weights, truth).sum()
            + scores.energy_score_of_samples(x, truth).sum()
        )

    exact = means.at[1].set(truth).at[2].set(truth)
    assert np.isfinite(jax.jit(jax.grad(total))(exact)).all()


def test_density_is_that_of_scipy(made):
    means, covariances, weights, truth = made
    got = scores.log_density(*map(jnp.asarray, made))
    for t in range(T):
        parts = [stats.multivariate_normal(means[k, t], covariances[k, t]).pdf(truth[t]) for k in range(K)]
        assert got[t] == pytest.approx(np.log(weights @ parts))
    sure = jnp.asarray([0.0, 1.0, 0.0, 0.0])
    alone = scores.log_density(jnp.asarray(means), jnp.asarray(covariances), sure, jnp.asarray(truth))
    np.testing.assert_allclose(
        alone[2], stats.multivariate_normal(means[1, 2], covariances[1, 2]).logpdf(truth[2])
    )


def test_expected_distances_are_the_known_ones():
    # Rayleigh, the distance itself, a half-normal, and Rice by its confluent series.
    rice = 0.7 * float(stats.rice(3.0 / 0.7).mean())
    cases = [
        ([0, 0], np.diag([4.0, 4.0]), 2 * np.sqrt(np.pi / 2)),
        ([3, -4], np.zeros((2, 2)), 5.0),
        ([0, 0], np.diag([9.0, 0.0]), 3 * np.sqrt(2 / np.pi)),
        ([3, 0], 0.49 * np.eye(2), rice),
        ([0, 0], np.zeros((2, 2)), 0.0),
    ]
    mean, covariance, known = (np.stack(column).astype(float) for column in zip(*cases, strict=True))
    got = scores.expected_distance(jnp.asarray(mean), jnp.asarray(covariance))
    np.testing.assert_allclose(got, known, rtol=2e-6)
    single = scores.expected_distance(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32))
    np.testing.assert_allclose(single, known, rtol=1e-4)


def test_energy_score_of_a_mixture_is_that_of_many_samples(made):
    means, covariances, weights, truth = made
    exact = scores.energy_score(*map(jnp.asarray, made))
    random = np.random.default_rng(1)
    way = random.choice(K, 4000, p=weights)
    factors = np.linalg.cholesky(covariances)
    draws = means[way] + np.einsum("ntij,ntj->nti", factors[way], random.normal(size=(4000, T, 2)))
    to_truth = np.linalg.norm(draws - truth, axis=-1).mean(axis=0)
    between = np.linalg.norm(draws[:2000] - draws[2000:], axis=-1).mean(axis=0)
    np.testing.assert_allclose(exact, to_truth - 0.5 * between, atol=0.06)
    few = scores.energy_score_of_samples(jnp.asarray(draws[:400]), jnp.asarray(truth))
    np.testing.assert_allclose(exact, few, atol=0.15)


def test_energy_score_of_samples_counts_different_draws():
    samples, truth = jnp.asarray([[[0.0, 0.0]], [[3.0, 4.0]]]), jnp.asarray([[3.0, 0.0]])
    assert scores.energy_score_of_samples(samples, truth)[0] == pytest.approx(3.5 - 0.5 * 5.0)
