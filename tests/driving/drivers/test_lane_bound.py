import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.lane_bound import LaneBound
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.sensing import Beliefs
from foresee.errors import ForeseeError


def look(sideways, sd):
    """Somebody ahead is believed to go sideways at a speed [m/s], give or take some."""
    road = straight_road(2, 1200.0, spacing=20.0)
    world = make_world(road, jnp.zeros(2, int), jnp.asarray([100.0, 150.0]), 25.0 * jnp.ones(2), check=False)
    known = jnp.asarray([False, True])
    velocity = jnp.stack([world.speed, jnp.full(2, sideways)], axis=-1)
    mean = jnp.concatenate([jnp.stack([world.x, world.y], axis=-1), velocity], axis=-1)
    covariance = jnp.zeros((2, 4, 4)).at[1, 3, 3].set(sd**2)
    return observe(world, 0, Beliefs(jnp.where(known[:, None], mean, 0.0), covariance, known, known))


def test_a_sideways_speed_that_is_known_stays_and_tells_who_changes_lanes():
    futures, _ = LaneBound()(look(1.0, 0.0), None)
    ends = np.asarray(futures.y[1, :, -1] - futures.y[1, :, 0])
    np.testing.assert_allclose(ends, 6.0, rtol=1e-4)
    keeps, changes = 0.95 * np.exp(-0.5 * 25.0) / 0.2, 0.05 * np.exp(-0.5) / 1.0
    np.testing.assert_allclose(futures.weights[1], np.array([keeps, changes]) / (keeps + changes), rtol=1e-4)


def test_a_sideways_speed_in_doubt_is_corrected_by_each_habit():
    futures, _ = LaneBound()(look(1.0, 0.5), None)
    ends = np.asarray(futures.y[1, :, -1] - futures.y[1, :, 0])
    prior = np.array([0.2, 1.0]) ** 2
    np.testing.assert_allclose(ends, 6.0 * prior / (prior + 0.25), rtol=1e-3)
    spread = prior + 0.25
    odds = np.array([0.95, 0.05]) * np.exp(-0.5 / spread) / np.sqrt(spread)
    np.testing.assert_allclose(futures.weights[1], odds / odds.sum(), rtol=1e-4)


def test_doubt_along_grows_as_a_white_noise_of_acceleration_has_it():
    futures, _ = LaneBound(density=2.0)(look(0.0, 0.0), None)
    np.testing.assert_allclose(futures.along_sd[1, 0, -1], np.sqrt(2.0 * 6.0**3 / 3), rtol=1e-5)


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(ForeseeError, match="keeping_sd"):
        LaneBound(keeping_sd=0.0)
