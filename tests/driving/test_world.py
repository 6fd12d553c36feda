"""One step of all vehicles, against circles, stopping distances and the road they are on."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.flow import flow
from foresee.driving.make_road import ring_road, straight_road
from foresee.driving.make_world import check_world, make_world, sample_manners, usual_manners
from foresee.driving.world import step
from foresee.errors import WorldError

stepped = eqx.filter_jit(step)
THREE = straight_road(3, 400.0)


def cars(along, lane, speed, road=THREE, **more):
    return make_world(road, jnp.array(lane), jnp.array(along, float), jnp.array(speed, float), **more)


def test_a_constant_curvature_is_a_circle():
    world = cars([10.0, 50.0, 90.0, 130.0], [1, 1, 1, 1], [10.0, 10.0, 20.0, 0.0])
    actions = jnp.array([[0.0, 0.02], [0.0, 0.0], [0.0, -0.01], [1.0, 0.05]])
    for _ in range(10):
        world = stepped(world, actions, 0.1)
    # after one second: an arc of 10 m with radius 50 m, a line, and an arc of 20 m with radius 100 m
    np.testing.assert_allclose(world.x[0], 10 + 50 * np.sin(0.2), atol=1e-6)
    np.testing.assert_allclose(world.y[0], -3.5 + 50 * (1 - np.cos(0.2)), atol=1e-6)
    np.testing.assert_allclose(world.x[1:3], [60.0, 90 + 100 * np.sin(0.2)], atol=1e-6)
    np.testing.assert_allclose(world.heading, [0.2, 0.0, -0.2, 0.05 * 0.5], atol=1e-6)
    np.testing.assert_allclose(world.speed, [10.0, 10.0, 20.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(world.along[:2], world.x[:2], atol=1e-6)
    np.testing.assert_allclose(world.time, 1.0)


def test_who_brakes_stops_and_does_not_back_up():
    world = cars([10.0, 50.0, 90.0, 130.0], [0, 1, 2, 0], [1.0, 2.0, 0.0, 5.0])
    start = world.x
    actions = jnp.array([[-4.0, 0.0], [-4.0, 0.0], [-4.0, 0.0], [-8.0, 0.0]])
    for _ in range(10):
        world = stepped(world, actions, 0.1)
    np.testing.assert_allclose(world.speed, 0.0, atol=1e-9)
    np.testing.assert_allclose(world.x - start, [1 / 8, 4 / 8, 0.0, 25 / 16], atol=1e-6)


def test_actions_are_held_within_what_a_vehicle_can_do():
    world = cars([10.0, 50.0, 90.0, 130.0], [1, 1, 1, 1], [30.0, 2.0, 30.0, 30.0])
    world = stepped(world, jnp.array([[99.0, 0.0], [0.0, 9.0], [-99.0, 9.0], [0.0, 0.0]]), 0.1)
    np.testing.assert_allclose(world.acceleration, [4.0, 0.0, -8.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(world.curvature, [0.0, 0.2, 8.0 / 900, 0.0], atol=1e-6)


def test_what_is_not_finite_is_counted_and_harms_nobody_else():
    world = cars([10.0, 50.0, 90.0, 130.0], [1, 1, 1, 1], [30.0, 20.0, 30.0, 30.0])
    good = jnp.zeros((4, 2))
    bad = good.at[1].set(jnp.array([jnp.nan, jnp.inf]))
    worlds = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), world)
    both = jax.jit(jax.vmap(lambda w, a: step(w, a, 0.1)))(worlds, jnp.stack([bad, good]))
    np.testing.assert_array_equal(both.faults, [[0, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(both.x[0], both.x[1])
    assert all(np.isfinite(leaf).all() for leaf in (both.x, both.y, both.speed, both.along))


def test_lanes_change_at_the_marking_and_vehicles_leave_at_the_end():
    world = cars([10.0, 50.0, 396.0, 130.0], [1, 1, 1, 1], [10.0, 10.0, 30.0, 10.0])
    alive = jnp.array([True, True, True, False])
    world = eqx.tree_at(lambda w: (w.alive, w.heading), world, (alive, jnp.array([0.5, -0.5, 0.0, 0.0])))
    seen = []
    for _ in range(5):
        world = stepped(world, jnp.zeros((4, 2)), 0.1)
        seen.append(np.asarray(world.lane))
    np.testing.assert_array_equal(np.array(seen)[:, 0], [1, 1, 1, 0, 0])  # 1.75 m at 4.8 m/s
    np.testing.assert_array_equal(np.array(seen)[:, 1], [1, 1, 1, 2, 2])
    np.testing.assert_array_equal(world.alive, [True, True, False, False])
    np.testing.assert_allclose(world.x[3], 130.0)  # who is not there does not move


def test_a_ring_goes_on_and_on():
    road = ring_road(2, 200.0)
    world = cars([10.0, 190.0, 90.0, 130.0], [0, 1, 1, 0], [10.0] * 4, road)
    radius = 200 / (2 * np.pi)
    curvature = jnp.array([1 / radius, 1 / (radius + 3.5), 1 / (radius + 3.5), 1 / radius])
    for _ in range(100):
        world = stepped(world, jnp.stack([jnp.zeros(4), curvature], 1), 0.1)
    driven = np.array([10, 190, 90, 130]) + 100
    np.testing.assert_allclose(world.along, driven % np.asarray(road.length[world.lane]), atol=0.05)
    np.testing.assert_allclose(world.offset, 0.0, atol=0.05)
    assert world.alive.all()


def test_a_step_is_differentiable():
    world = cars([10.0, 50.0, 90.0, 130.0], [1, 1, 1, 1], [10.0, 0.2, 20.0, 5.0])

    def far(push, turn):
        actions = jnp.array([[1.0, 0.02], [-4.0, 0.0], [0.0, -0.01], [1.0, 0.05]]) + jnp.stack([push, turn])
        after = step(world, actions, 0.1)
        return jnp.sum(after.x + 2 * after.y + after.along + after.offset**2 + after.speed)

    slopes = jax.jit(jax.grad(far, (0, 1)))(0.0, 0.0)
    value = jax.jit(far)
    for slope, one in zip(slopes, np.eye(2), strict=True):
        difference = (value(*(1e-5 * one)) - value(*(-1e-5 * one))) / 2e-5
        np.testing.assert_allclose(slope, difference, rtol=1e-4)


def test_worlds_that_cannot_be_are_refused_by_name():
    good = cars([10.0, 50.0, 10.0], [1, 1, 2], [10.0, 10.0, 10.0])
    assert check_world(good) is good
    with pytest.raises(WorldError, match="got 0 and 1 overlapping"):
        cars([10.0, 13.0], [1, 1], [10.0, 10.0])
    with pytest.raises(WorldError, match="finite speed of every vehicle, got nan of vehicle 1"):
        cars([10.0, 50.0], [1, 1], [10.0, np.nan])
    with pytest.raises(WorldError, match="positive width of every vehicle, got none of vehicle 0"):
        cars([10.0, 50.0], [1, 1], [10.0, 10.0], width=jnp.array([0.0, 2.0]))
    dead = cars([10.0, 13.0], [1, 1], [10.0, 10.0], alive=jnp.array([True, False]))
    assert check_world(dead) is dead
    nobody = cars([], jnp.zeros(0, int), [])
    assert step(check_world(nobody), jnp.zeros((0, 2)), 0.1).vehicles == 0
    assert jax.jit(flow, static_argnums=1)(nobody, 6)[0].vehicles == 0
    many = cars(10.0 * np.arange(38), [1] * 38, [9.0] * 38)
    with pytest.raises(WorldError, match="got 20 and 21 overlapping"):
        check_world(replace(many, x=many.x.at[21].add(-6.0)))


def test_drivers_are_drawn_as_stated():
    count = 4000
    manners = sample_manners(count, desired_speed=30.0, key=jax.random.key(0))
    usual = usual_manners(1)
    speeds = np.asarray(manners.desired_speed) / 30.0
    # a normal cut at two standard deviations keeps a standard deviation of 0.880
    assert abs(speeds.mean() - 1) < 4 * 0.088 / np.sqrt(count)
    assert abs(speeds.std() / 0.0880 - 1) < 4 / np.sqrt(2 * count)
    for name in ("headway", "strength", "comfort"):
        logs = np.log(np.asarray(getattr(manners, name)) / float(getattr(usual, name)[0]))
        assert abs(logs.mean()) < 4 * 0.176 / np.sqrt(count)
        assert abs(logs.std() / 0.176 - 1) < 4 / np.sqrt(2 * count)
