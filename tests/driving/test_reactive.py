"""Decisions about lanes and the way the wheel is turned, against MOBIL written out and a tape measure."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world, usual_manners
from foresee.driving.reactive import LEFT, drive, follow, lane_change_gain, second_lane, see, steer
from foresee.driving.world import step

ROAD = straight_road(3, 600.0)
#        0: decides      1: ahead   2: behind   3: left ahead   4: left behind
LANE = jnp.array([1, 1, 1, 0, 0])
ALONG = jnp.array([100.0, 125.0, 70.0, 150.0, 60.0])
SPEED = jnp.array([22.0, 15.0, 22.0, 25.0, 24.0])


@pytest.fixture(scope="module")
def five():
    world = make_world(ROAD, LANE, ALONG, SPEED)
    return world, *eqx.filter_jit(lambda w: (see(w, LEFT), follow(w, see(w, LEFT), 1e9)))(world)


def idm(speed, gap, ahead, headway=1.5, strength=1.4, comfort=2.0, standstill=2.0, desired=120 / 3.6):
    room = standstill + max(
        0.0, speed * headway + speed * (speed - ahead) / (2 * np.sqrt(strength * comfort))
    )
    return strength * (1 - (speed / desired) ** 4 - (room / gap) ** 2)


def cool(speed, gap, ahead, braking=0.0, strength=1.4, comfort=2.0):
    """The enhanced model with its constant-acceleration heuristic, written out case by case."""
    plain, lead = idm(speed, gap, ahead), min(braking, strength)
    if ahead * (speed - ahead) < -2 * gap * lead:
        constant = speed**2 * lead / max(ahead**2 - 2 * gap * lead, 1e-6)
    else:
        constant = lead - max(speed - ahead, 0.0) ** 2 / (2 * gap)
    if plain >= constant:
        return plain
    return 0.01 * plain + 0.99 * (constant + comfort * np.tanh((plain - constant) / comfort))


def test_everybody_sees_who_is_next(five):
    _, seen, _ = five
    np.testing.assert_array_equal(seen.own.ahead, [1, -1, 0, -1, 3])
    np.testing.assert_array_equal(seen.own.behind, [2, 0, -1, 4, -1])
    np.testing.assert_allclose(seen.own.to_ahead[:1], 25 - 4.7, atol=1e-6)
    assert (int(seen.aside.ahead[0]), int(seen.aside.behind[0])) == (3, 4)
    np.testing.assert_allclose([seen.aside.to_ahead[0], seen.aside.to_behind[0]], [45.3, 35.3], atol=1e-6)


def test_following_is_the_equation(five):
    _, _, now = five
    expected = [
        cool(22, 20.3, 15), cool(15, 1e6, 15), cool(22, 25.3, 22), cool(25, 1e6, 25), cool(24, 85.3, 25),
    ]  # fmt: skip
    np.testing.assert_allclose(now, np.clip(expected, -8, 4), rtol=1e-5, atol=1e-6)


def test_the_gain_is_that_of_mobil(five):
    world, seen, now = five
    gain, safe = eqx.filter_jit(lane_change_gain)(world, seen.own, seen.aside, now)
    politeness = 0.25
    own = idm(22, 45.3, 25) - cool(22, 20.3, 15)
    new_follower = idm(24, 35.3, 22) - cool(24, 85.3, 25)
    old_follower = idm(22, 25 + 30 - 4.7, 15) - cool(22, 25.3, 22)
    np.testing.assert_allclose(gain[0], own + politeness * (new_follower + old_follower), rtol=1e-4)
    assert bool(safe[0])


def test_a_change_of_lanes_takes_its_time_and_is_comfortable():
    world = make_world(ROAD, jnp.array([1, 1]), jnp.array([50.0, 300.0]), jnp.array([25.0, 25.0]))
    world = replace(world, target=jnp.array([0, 1]))

    def advance(world):
        moved, actions, _ = drive(world)
        moved = step(moved, actions, 0.1)
        return moved, (moved.y[0], moved.curvature[0] * moved.speed[0] ** 2, moved.y[1])

    history = jax.lax.scan(lambda w, _: advance(w), world, None, length=80)[1]
    ys, sideways, other = (np.asarray(values) for values in history)
    arrived = 0.1 * np.argmax(ys > -0.3)
    assert 3.0 < arrived < 5.5  # seconds, of a stated change time of 4
    assert abs(ys[-1]) < 0.05
    assert ys.max() < 0.1
    assert np.abs(sideways).max() <= 2.02
    np.testing.assert_allclose(other, -3.5, atol=1e-6)


def test_who_reaches_over_the_marking_takes_room_on_both_lanes():
    world = make_world(
        ROAD,
        jnp.array([1, 1, 1, 0]),
        jnp.array([10.0, 50.0, 90.0, 130.0]),
        jnp.full(4, 20.0),
        offset=jnp.array([0.0, 1.3, -1.3, 1.3]),
    )
    np.testing.assert_array_equal(second_lane(world), [-1, 0, 2, -1])
    world = replace(world, target=jnp.array([2, 1, 1, 0]))
    np.testing.assert_array_equal(second_lane(world), [2, 0, 2, -1])


def test_in_a_bend_everybody_slows_down_and_keeps_the_lane():
    road = straight_road(2, 900.0, curvature=1 / 60)
    world = make_world(road, jnp.array([0, 1]), jnp.array([10.0, 10.0]), jnp.array([18.0, 18.0]))

    def advance(world, _):
        moved, actions, _ = drive(world)
        return step(moved, actions, 0.1), None

    world = jax.jit(lambda w: jax.lax.scan(advance, w, None, length=200)[0])(world)
    np.testing.assert_allclose(world.offset, 0.0, atol=0.1)
    np.testing.assert_allclose(world.speed, np.sqrt(3.0 * np.array([60.0, 63.5])), rtol=0.02)


def test_nobody_exceeds_the_speed_limit():
    road = straight_road(1, 900.0, speed_limit=20.0)

    @jax.jit
    def wanted(speed):
        world = make_world(road, jnp.array([0]), jnp.array([10.0]), speed[None], manners=usual_manners(1))
        return follow(world, see(world))[0], steer(world)[0]

    assert float(wanted(jnp.array(18.0))[0]) > 0
    assert float(wanted(jnp.array(21.0))[0]) < 0
    np.testing.assert_allclose(wanted(jnp.array(18.0))[1], 0.0, atol=1e-9)
