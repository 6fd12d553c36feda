"""Distances of features against NumPy's inverse and all pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import foresee.calibration as c

random = np.random.default_rng(0)
LABELS = np.arange(90) % 3
TRAIN = random.normal(size=(90, 5)) * [1, 2, 0.5, 1, 1] + np.eye(3, 5)[LABELS] * 6
TEST = random.normal(size=(11, 5)) * 3
OUTPUTS = c.NetworkOutputs(features=TEST)


def squared(x, mean, covariance):
    return np.einsum("ri,ij,rj->r", x - mean, np.linalg.inv(covariance), x - mean)


@pytest.mark.parametrize("relative", [False, True])
def test_mahalanobis_distances_are_those_of_the_inverse_covariance(relative):
    means = np.stack([TRAIN[k == LABELS].mean(0) for k in range(3)])
    residual = TRAIN - means[LABELS]

    def shrunk(rows):
        covariance = rows.T @ rows / 90
        return 0.8 * covariance + 0.2 * np.trace(covariance) / 5 * np.eye(5)

    expected = np.min([squared(TEST, mean, shrunk(residual)) for mean in means], axis=0)
    if relative:
        expected -= squared(TEST, TRAIN.mean(0), shrunk(TRAIN - TRAIN.mean(0)))
    fitted = c.fit_mahalanobis(TRAIN, LABELS, 3, relative, shrinkage=0.2)
    np.testing.assert_allclose(fitted(OUTPUTS), expected, rtol=1e-8)


def test_the_estimated_shrinkage_is_that_of_ledoit_and_wolf_and_dead_features_do_no_harm():
    dead = np.c_[TRAIN, np.zeros((90, 40))].astype(np.float32)
    fitted = c.fit_mahalanobis(dead, LABELS, 3)
    scores = fitted(c.NetworkOutputs(features=np.c_[TEST, np.zeros((11, 40))].astype(np.float32)))
    assert scores.dtype == jnp.float32
    assert np.isfinite(scores).all()
    means = np.stack([TRAIN[k == LABELS].mean(0) for k in range(3)])
    rows = TRAIN - means[LABELS]
    covariance = rows.T @ rows / 90
    level = np.trace(covariance) / 5
    noise = np.mean([((np.outer(row, row) - covariance) ** 2).sum() for row in rows]) / 90
    share = min(1, noise / ((covariance - level * np.eye(5)) ** 2).sum())
    expected = c.fit_mahalanobis(TRAIN, LABELS, 3, shrinkage=share)
    np.testing.assert_allclose(c.fit_mahalanobis(TRAIN, LABELS, 3)(OUTPUTS), expected(OUTPUTS), rtol=1e-8)


@pytest.mark.parametrize("normalised", [False, True])
def test_neighbours_are_those_of_all_pairs(normalised):
    train, test = TRAIN, TEST
    if normalised:
        train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (TRAIN, TEST))
    expected = np.sort(np.linalg.norm(test[:, None] - train, axis=2), axis=1)[:, 3]
    fitted = c.fit_neighbours(TRAIN, 4, normalised)
    np.testing.assert_allclose(fitted(OUTPUTS), expected, rtol=1e-9)
    single = c.fit_neighbours(TRAIN.astype(np.float32), 4, normalised)
    got = jax.jit(lambda detector, x: detector(c.NetworkOutputs(features=x)))(single, TEST.astype(np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_both_tell_far_rows_from_training_rows():
    far = c.NetworkOutputs(features=np.r_[TRAIN[:20], -10 + TEST])
    kind = np.r_[np.zeros(20), np.ones(11)]
    for detector in (c.fit_mahalanobis(TRAIN, LABELS, 3), c.fit_neighbours(TRAIN, 4, normalised=False)):
        assert c.auroc(detector(far), kind) == 1
