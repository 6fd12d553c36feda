"""Futures on the map: the straight line with its doubt, and what lies between two points."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving import make_world, observe, straight_road
from foresee.driving.forecast import ConstantVelocity, of_slots
from foresee.driving.sensing import know_exactly
from foresee.errors import ForeseeError


@pytest.fixture(scope="module")
def view():
    lane, along, speed = jnp.array([0, 0, 1, 0]), [100.0, 140.0, 90.0, 300.0], [20.0, 15.0, 0.0, 30.0]
    world = make_world(straight_road(2, 500.0), lane, jnp.array(along), jnp.array(speed))
    return observe(world, 0, know_exactly(world, 0))


def test_everybody_goes_straight_on(view):
    futures, memory = ConstantVelocity(horizon=4.0)(view, None)
    assert memory is None
    assert futures.x.shape == (4, 1, 9)
    np.testing.assert_array_equal(futures.known, [False, True, True, True])
    start = np.asarray(view.beliefs.mean)
    np.testing.assert_allclose(futures.x[1, 0], start[1, 0] + 15.0 * np.asarray(futures.times))
    np.testing.assert_allclose(futures.x[2, 0], start[2, 0])
    np.testing.assert_allclose(futures.along_sd, 0.0)


def test_the_doubt_is_that_of_the_belief_carried_on(view):
    covariance = np.array([[1, 0, 0.3, 0], [0, 0.5, 0, 0.1], [0.3, 0, 0.4, 0], [0, 0.1, 0, 0.2]])
    beliefs = view.beliefs
    doubtful = type(beliefs)(
        beliefs.mean, jnp.asarray(np.broadcast_to(covariance, (4, 4, 4))), beliefs.known, beliefs.seen
    )
    futures, _ = ConstantVelocity(0.5)(replace(view, beliefs=doubtful), None)
    t = np.asarray(futures.times)
    np.testing.assert_allclose(
        futures.along_sd[1, 0] ** 2, 1 + 0.6 * t + 0.4 * t**2 + 0.5 * t**3 / 3, rtol=1e-6
    )
    np.testing.assert_allclose(
        futures.across_sd[1, 0] ** 2, 0.5 + 0.2 * t + 0.2 * t**2 + 0.5 * t**3 / 3, rtol=1e-6
    )


def test_between_two_points_there_is_a_straight_line(view):
    futures, _ = ConstantVelocity()(view, None)
    between = futures.at(jnp.array([0.0, 0.7, 6.0]))
    np.testing.assert_allclose(
        between.x[1, 0], futures.x[1, 0, 0] + 15.0 * np.array([0.0, 0.7, 6.0]), rtol=1e-6
    )
    np.testing.assert_array_equal(between.select(jnp.array([1])).known, [True])


def test_the_nearest_come_first(view):
    np.testing.assert_array_equal(of_slots(view, 2), [2, 1])


def test_a_step_beyond_the_horizon_is_refused():
    with pytest.raises(ForeseeError, match="at most the horizon"):
        ConstantVelocity(horizon=1.0, step=2.0)
