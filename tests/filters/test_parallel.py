"""Filtering and smoothing in parallel over time against doing it row after row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import Gaussian
from foresee.dynamics import ConstantVelocity, LinearGaussian, Position, RangeBearing
from foresee.errors import ShapeError
from foresee.filters import KalmanFilter, run, run_parallel, smooth, smooth_parallel

T = 13
RNG = np.random.default_rng(10)
MOTION = ConstantVelocity(jnp.asarray([0.5, 0.8]))
FIRST = Position(jnp.asarray([[0.5, 0.2], [0.2, 0.4]]), 4)
SECOND = LinearGaussian(jnp.asarray(RNG.normal(size=(1, 4))), jnp.asarray([0.3]), jnp.asarray([1.0]))
PRIOR = Gaussian(jnp.asarray([5.0, -3.0, 1.0, 0.0]), jnp.diag(jnp.asarray([2.0, 2.0, 0.0, 1.0])))
Y = np.cumsum(RNG.normal(size=(T, 2)), 0), RNG.normal(size=(T, 1))
SEEN = RNG.random((T, 2)) > 0.3, RNG.random(T) > 0.5
DT = jnp.asarray(RNG.uniform(0.0, 1.0, T)).at[4].set(0.0)


def assert_same(one, other, tolerance=1e-10):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("blocks", [None, 1, T])
@pytest.mark.parametrize("first", [False, True])
def test_equals_row_after_row_with_several_sensors_masks_and_irregular_times(blocks, first):
    options = {"seen": SEEN, "dt": DT, "predict_first": first}
    wanted = run(KalmanFilter(), MOTION, (FIRST, SECOND), PRIOR, Y, **options)
    result = run_parallel(MOTION, (FIRST, SECOND), PRIOR, Y, blocks=blocks, **options)
    assert_same(result, wanted)
    np.testing.assert_allclose(result.log_evidence, wanted.log_evidence, rtol=1e-12)
    assert_same(
        smooth_parallel(MOTION, wanted, dt=DT, blocks=blocks), smooth(KalmanFilter(), MOTION, wanted, dt=DT)
    )


def test_inputs_are_followed():
    motion = LinearGaussian(
        0.9 * jnp.eye(4), 0.1 * jnp.eye(4), jnp.ones(4), jnp.asarray(RNG.normal(size=(4, 1)))
    )
    inputs = jnp.asarray(RNG.normal(size=(T, 1)))
    wanted = run(KalmanFilter(), motion, FIRST, PRIOR, Y[0], inputs=inputs)
    assert_same(run_parallel(motion, FIRST, PRIOR, Y[0], inputs=inputs), wanted)
    got = smooth_parallel(motion, wanted, inputs=inputs)
    assert_same(got, smooth(KalmanFilter(), motion, wanted, inputs=inputs))


def test_one_row_is_enough():
    for first in (False, True):
        wanted = run(KalmanFilter(), MOTION, FIRST, PRIOR, Y[0][:1], predict_first=first)
        result = run_parallel(MOTION, FIRST, PRIOR, Y[0][:1], predict_first=first)
        assert_same(result, wanted)
        assert_same(smooth_parallel(MOTION, result), wanted.filtered)


def test_goes_on_like_run():
    head = run_parallel(MOTION, FIRST, PRIOR, Y[0][:9])
    tail = run(KalmanFilter(), MOTION, FIRST, PRIOR, Y[0][9:], after=head)
    assert_same(tail.last, run(KalmanFilter(), MOTION, FIRST, PRIOR, Y[0]).last)
    assert tail.rows == T


def test_nan_in_unseen_places_reaches_neither_values_nor_gradients():
    y, seen = np.where(SEEN[0], Y[0], np.nan), SEEN[0]

    def total(density, how):
        motion = ConstantVelocity(density)
        result = how(motion, y)
        return result.log_evidence + jnp.sum(smooth_parallel(motion, result).location)

    def parallel(motion, y):
        return run_parallel(motion, FIRST, PRIOR, y, seen=seen)

    def serial(motion, y):
        return run(KalmanFilter(), motion, FIRST, PRIOR, y, seen=seen)

    value, slope = jax.value_and_grad(total)(0.4, parallel)
    wanted = jax.value_and_grad(total)(0.4, serial)
    np.testing.assert_allclose((value, slope), wanted, rtol=1e-9)


def test_float32_far_from_the_origin():
    """At coordinates near 10⁵ the blocks' beliefs still agree with those of `run` to a few roundings."""
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (MOTION, FIRST, PRIOR))
    motion, sensor, prior = single
    prior = Gaussian(prior.location.at[:2].add(1e5), prior.covariance)
    y = jnp.asarray(Y[0] + 1e5, jnp.float32)
    result, wanted = run_parallel(motion, sensor, prior, y), run(KalmanFilter(), motion, sensor, prior, y)
    assert result.filtered.location.dtype == jnp.float32
    np.testing.assert_allclose(result.filtered.location, wanted.filtered.location, atol=0.04)
    np.testing.assert_allclose(result.log_evidence, wanted.log_evidence, rtol=2e-3)
    smoothed = smooth_parallel(motion, wanted)
    np.testing.assert_allclose(smoothed.location, smooth(KalmanFilter(), motion, wanted).location, atol=0.04)


def test_errors_name_what_was_expected():
    with pytest.raises(ShapeError, match="expected between 1 and 13 blocks for 13 rows, got 14"):
        run_parallel(MOTION, FIRST, PRIOR, Y[0], blocks=14)
    with pytest.raises(ValueError, match="expected linear models, got RangeBearing"):
        run_parallel(MOTION, RangeBearing(jnp.asarray([1.0, 0.1])), PRIOR, Y[0])
    with pytest.raises(ValueError, match="expected models and a prior without angles"):
        run_parallel(LinearGaussian(jnp.eye(4), jnp.eye(4), circular=(0,)), FIRST, PRIOR, Y[0])
