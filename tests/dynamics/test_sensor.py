import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import DiagonalGaussian, Gaussian
from foresee.dynamics import (
    Components,
    LandmarkRangeBearing,
    Position,
    RangeBearing,
    RangeBearingRate,
    RangeRate,
)
from foresee.errors import CovarianceError, ForeseeError, ShapeError

POINTS = [[3.0, 4.0, 1.0, -2.0], [-3.0, 1e-3, 0.0, 0.0], [-3.0, -1e-3, 5.0, 1.0], [0.0, 2.0, 1.0, 1.0]]


def test_position_and_components():
    x = jnp.arange(4.0)
    for sensor, expected in (
        (Position(jnp.ones(2), 4), [0, 1]),
        (Position(jnp.eye(3), 4), [0, 1, 2]),
        (Components(jnp.ones(2), (3, 1), 4, (0,)), [3, 1]),
    ):
        model, belief = sensor.linear(), sensor(x)
        np.testing.assert_array_equal(belief.mean(), expected)
        np.testing.assert_array_equal(model.matrix @ x, expected)
        np.testing.assert_array_equal(model.covariance, sensor.covariance)
        assert model.circular == belief.circular
        assert isinstance(belief, Gaussian if sensor.covariance.ndim == 2 else DiagonalGaussian)


@pytest.mark.parametrize("x", POINTS)
def test_range_and_bearing(x):
    place = np.array([0.5, -1.0])
    belief = RangeBearing(jnp.array([0.1, 0.01]), place)(jnp.array(x))
    offset = np.array(x[:2]) - place
    np.testing.assert_allclose(belief.mean(), [np.hypot(*offset), np.angle(complex(*offset))], rtol=1e-14)
    assert belief.circular == (1,)


@pytest.mark.parametrize("x", POINTS)
def test_a_landmark_is_seen_from_the_heading(x):
    landmark = np.array([2.0, 7.0])
    belief = LandmarkRangeBearing(jnp.eye(2), landmark, heading=3)(jnp.array(x))
    offset = landmark - np.array(x[:2])
    expected = np.angle(complex(*offset) * np.exp(-1j * x[3]))
    np.testing.assert_allclose(belief.mean()[0], np.hypot(*offset), rtol=1e-14)
    np.testing.assert_allclose(belief.residual(jnp.array([np.hypot(*offset), expected])), 0, atol=1e-12)


@pytest.mark.parametrize("x", POINTS)
def test_range_rate_is_the_derivative_of_the_range(x):
    place = jnp.array([0.5, -1.0])
    state = jnp.array(x)

    def distance(t):
        return RangeBearing(jnp.ones(2), place)(state.at[:2].add(t * state[2:])).mean()[0]

    expected = jax.grad(distance)(0.0)
    np.testing.assert_allclose(RangeRate(jnp.ones(1), place)(state).mean(), [expected], rtol=1e-12)
    whole = RangeBearingRate(jnp.ones(3), place)(state)
    np.testing.assert_allclose(whole.mean()[2], expected, rtol=1e-12)
    np.testing.assert_allclose(whole.mean()[:2], RangeBearing(jnp.ones(2), place)(state).mean())
    speed, heading = np.hypot(x[2], x[3]), np.arctan2(x[3], x[2])
    polar = jnp.array([x[0], x[1], heading, speed])
    got = RangeRate(jnp.ones(1), place, (3, 2), polar=True)(polar).mean()
    np.testing.assert_allclose(got, [expected], rtol=1e-12, atol=1e-12)


def test_bearing_across_the_seam():
    sensor = RangeBearing(jnp.array([0.1, 0.01]))
    belief = sensor(jnp.array([-5.0, 0.01]))
    seen = sensor(jnp.array([-5.0, -0.01])).mean()
    np.testing.assert_allclose(belief.residual(seen)[1], 0.004, rtol=1e-4)
    assert belief.log_prob(seen) > belief.log_prob(belief.mean().at[1].add(-0.1))


@pytest.mark.parametrize(
    "sensor",
    [
        RangeBearing(jnp.ones(2)),
        LandmarkRangeBearing(jnp.ones(2), jnp.zeros(2)),
        RangeRate(jnp.ones(1)),
        RangeBearingRate(jnp.ones(3)),
    ],
)
def test_finite_gradients_and_batches(sensor):
    def total(model, x):
        return jnp.sum(model(x).mean())

    states = jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1e-200, 0.0, 0.0, 1.0], *POINTS])
    gradients = jax.jit(jax.vmap(jax.grad(total, (0, 1)), (None, 0)))(sensor, states)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    batch = jax.jit(jax.vmap(sensor))(states)
    for index, state in enumerate(states):
        np.testing.assert_allclose(batch.location[index], sensor(state).mean(), rtol=1e-14)


def test_bad_arguments():
    with pytest.raises(ShapeError, match=r"d ≤ 1, got \(2,\)"):
        Position(jnp.ones(2), 1)
    with pytest.raises(ForeseeError, match="covariance finite and ≥ 0"):
        Position(-jnp.ones(2), 4)
    with pytest.raises(CovarianceError, match="positive semi-definite"):
        RangeBearing(-jnp.eye(2))
    with pytest.raises(ShapeError, match=r"indices within 0..3, got \(4,\)"):
        Components(jnp.ones(1), (4,), 4)
    with pytest.raises(ShapeError, match=r"noise of shape \(2,\) or \(2, 2\), got \(1,\)"):
        Components(jnp.ones(1), (0, 1), 4)
    with pytest.raises(ShapeError, match=r"a state of shape \(4,\), got \(6,\)"):
        Position(jnp.ones(2), 4)(jnp.zeros(6))
