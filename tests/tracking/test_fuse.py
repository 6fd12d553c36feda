"""Fusion: closed forms, consistency under shared errors, and the naive product that is overconfident."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from foresee.beliefs import Gaussian
from foresee.errors import ShapeError
from foresee.tracking.fuse import covariance_intersection, independent, without_common

ONE = Gaussian(jnp.asarray([1.0, 0.0]), jnp.asarray([[4.0, 0.5], [0.5, 1.0]]))
OTHER = Gaussian(jnp.asarray([0.0, 1.0]), jnp.asarray([[1.0, -0.2], [-0.2, 3.0]]))


def test_intersection_is_the_best_of_the_family():
    inverse = [np.linalg.inv(np.asarray(one.covariance)) for one in (ONE, OTHER)]

    def volume(w):
        return -np.linalg.slogdet(w * inverse[0] + (1 - w) * inverse[1])[1]

    w = minimize_scalar(volume, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}).x  # pyright: ignore
    wanted = np.linalg.inv(w * inverse[0] + (1 - w) * inverse[1])
    mean = wanted @ (w * inverse[0] @ ONE.mean() + (1 - w) * inverse[1] @ OTHER.mean())
    fused = covariance_intersection(ONE, OTHER)
    np.testing.assert_allclose(fused.covariance, wanted, rtol=1e-5)
    np.testing.assert_allclose(fused.location, mean, atol=1e-5)
    same = covariance_intersection(ONE, ONE)
    np.testing.assert_allclose(same.covariance, ONE.covariance, rtol=1e-10)
    np.testing.assert_allclose(covariance_intersection(ONE, OTHER, 1.0).location, ONE.location, atol=1e-12)


def test_dividing_by_what_is_common_gives_the_central_answer():
    """A prior, and two sensors that see x and y: without the prior's second copy it is one Kalman update."""
    prior = np.array([[3.0, 0.4], [0.4, 2.0]])
    precision = np.linalg.inv(prior)
    seen = [np.diag([1 / 0.5, 0.0]), np.diag([0.0, 1 / 0.25])]
    reports = [np.array([0.7, 0.0]), np.array([0.0, -0.3])]
    local = [
        Gaussian(
            jnp.asarray(np.linalg.solve(precision + H, H @ y)), jnp.asarray(np.linalg.inv(precision + H))
        )
        for H, y in zip(seen, reports, strict=True)
    ]
    central = np.linalg.inv(precision + seen[0] + seen[1])
    fused = without_common(local[0], local[1], Gaussian(jnp.zeros(2), jnp.asarray(prior)))
    np.testing.assert_allclose(fused.covariance, central, rtol=1e-10)
    np.testing.assert_allclose(
        fused.location, central @ (seen[0] @ reports[0] + seen[1] @ reports[1]), rtol=1e-10
    )


def test_naive_fusion_of_a_rumour_is_overconfident_and_intersection_is_not():
    """Two stations exchange their beliefs ten times after one observation each: nothing new is learned."""
    count = 4000
    keys = jax.random.split(jax.random.key(0), 2)
    errors = jax.random.normal(keys[0], (count, 2, 2)) * jnp.sqrt(jnp.asarray([1.0, 2.0]))[:, None]

    def exchanged(pair, fuse):
        beliefs = [Gaussian(pair[k], jnp.eye(2) * variance) for k, variance in enumerate((1.0, 2.0))]
        for _ in range(5):
            fused = fuse(*beliefs)
            beliefs = [fused, fuse(beliefs[1], fused)]
        return beliefs[0].mahalanobis(jnp.zeros(2))

    naive, careful = (
        np.asarray(jax.vmap(lambda pair, fuse=fuse: exchanged(pair, fuse))(errors))
        for fuse in (independent, covariance_intersection)
    )
    # Two components: the expected NEES is 2, and its mean over these runs deviates by about 2 / √count.
    margin = 4 * 2 / np.sqrt(count)
    assert naive.mean() > 10.0
    assert careful.mean() < 2.0 + margin


def test_angles_are_wrapped_and_sizes_checked():
    one, other = (Gaussian(jnp.asarray([angle]), jnp.eye(1), (0,)) for angle in (3.1, -3.1))
    assert abs(abs(float(covariance_intersection(one, other, 0.5).location[0])) - np.pi) < 1e-6
    with pytest.raises(ShapeError, match="sizes 2 and 1"):
        independent(ONE, other)
