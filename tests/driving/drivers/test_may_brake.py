from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.may_brake import GENTLEST, MayBrake
from foresee.driving.forecast import SLOTS, ConstantVelocity
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.sensing import Beliefs
from foresee.errors import ForeseeError

INTERVAL, SPEED, LENGTH = 0.1, 25.0, 4.7
FORECASTER = MayBrake(ConstantVelocity(0.0, 6.0, 0.5))


def view_of(speed, along, velocity_sd=0.0):
    """Somebody is believed to drive ahead of the ego at a speed, in doubt."""
    road, places, speeds = straight_road(2, 1200.0, spacing=20.0), [100.0, along], [SPEED, speed]
    world = make_world(road, jnp.asarray([0, 0]), jnp.asarray(places), jnp.asarray(speeds), check=False)
    known = jnp.asarray([False, True])
    mean = jnp.where(known[:, None], jnp.stack([world.x, world.y, world.speed, 0 * world.x], axis=-1), 0.0)
    covariance = jnp.zeros((2, 4, 4)).at[1, 2, 2].set(velocity_sd**2)
    return observe(world, 0, Beliefs(mean, covariance, known, known))


@jax.jit
def told(acceleration, seconds, velocity_sd=0.0):
    """The futures after somebody had an acceleration for some seconds, and what its braking is."""

    def look(memory, time):
        since = jnp.minimum(time, seconds)
        speed = SPEED + acceleration * since
        view = view_of(speed, 150.0 + SPEED * time + 0.5 * acceleration * since**2, velocity_sd)
        slowing, _ = FORECASTER.slowing(view, memory)
        futures, memory = FORECASTER(view, memory)
        return memory, (futures, slowing, speed)

    times = INTERVAL * jnp.arange(21)
    return jax.tree.map(lambda leaf: leaf[-1], jax.lax.scan(look, FORECASTER.start(), times)[1])


def test_what_brakes_is_believed_to_brake_and_what_goes_on_is_not():
    steady, one = told(0.0, 2.0)[:2]
    assert one.probability[1] < 0.2 * FORECASTER.prior
    futures, other, _ = told(-6.0, 2.0)
    assert other.probability[1] > 0.9
    assert other.mean[1] == pytest.approx(-6.0, abs=0.3)
    assert other.sd[1] == 0
    np.testing.assert_allclose(np.asarray(futures.weights[1]).sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(steady.weights[1, 1], one.probability[1], rtol=1e-6)
    # Nobody who accelerates is taken to brake.
    assert told(3.0, 2.0)[1].probability[1] <= one.probability[1] * (1 + 1e-6)


def test_who_brakes_stands_after_the_square_of_its_speed():
    futures, slowing, speed = told(-6.0, 2.0)
    rolled = float(futures.x[1, -1, -1] - futures.x[1, -1, 0])
    assert rolled == pytest.approx(float(speed) ** 2 / (2 * -float(slowing.mean[1])), rel=1e-3)
    assert (np.diff(np.asarray(futures.x)[1, -1]) >= 0).all()


def test_the_other_futures_stay_as_they_are():
    view = view_of(20.0, 150.0, 1.0)
    alone, _ = ConstantVelocity(0.0, 6.0, 0.5)(view, None)
    both, _ = FORECASTER(view, FORECASTER.start())
    for name in ("x", "y", "heading", "along_sd", "across_sd"):
        np.testing.assert_array_equal(getattr(both, name)[:, :-1], getattr(alone, name))


def test_doubt_about_the_speed_hides_braking_as_bayes_has_it():
    sd = 0.8
    slowing = told(-6.0, 2.0, sd)[1]
    # What the average lags behind after so long: a ramp by its slope times the time constant, less one step.
    seen, noise = told(-6.0, 2.0)[1].mean[1], 2 * sd**2 / FORECASTER.lag**2
    prior, spread = 2.0**2, 2.0**2 + noise

    def density(away, variance):
        return np.exp(-0.5 * away**2 / variance) / np.sqrt(variance)

    brakes = 0.02 * density(seen + 5.0, spread)
    expected = brakes / (brakes + 0.98 * density(seen, 1.0 + noise))
    np.testing.assert_allclose(slowing.probability[1], expected, rtol=1e-3)
    np.testing.assert_allclose(slowing.mean[1], -5.0 + prior / spread * (seen + 5.0), rtol=1e-4)
    np.testing.assert_allclose(slowing.sd[1], np.sqrt(prior * noise / spread), rtol=1e-4)
    assert slowing.probability[1] < told(-6.0, 2.0)[1].probability[1]


def test_somebody_in_a_far_slot_brakes_no_more_than_before_anything_is_known():
    far = MayBrake(ConstantVelocity(0.0, 6.0, 0.5))
    view = view_of(20.0, 150.0)
    many = SLOTS + 1

    def more(leaf):
        return jnp.pad(leaf, [(0, many - leaf.shape[0]), *[(0, 0)] * (leaf.ndim - 1)])

    beliefs = jax.tree.map(more, view.beliefs)
    places = jax.tree.map(more, view.places)
    slowing, _ = far.slowing(replace(view, beliefs=beliefs, places=places), far.start())
    assert slowing.probability.shape == (many,)
    assert slowing.probability[-1] == 0


def test_it_stands_even_where_it_hardly_brakes():
    slowing = told(-0.1, 2.0)[1]
    assert slowing.mean[1] <= -GENTLEST


@pytest.mark.parametrize("wrong", [{"lag": 0.0}, {"braking_sd": -1.0}, {"prior": -0.1}])
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ForeseeError, match=next(iter(wrong))):
        MayBrake(ConstantVelocity(), **wrong)
