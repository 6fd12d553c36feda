"""Traffic left to itself: nobody collides or vanishes, and it flows as the theory of car following says."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.flow import flow, flow_many
from foresee.driving.idm import equilibrium_gap
from foresee.driving.make_road import ring_road, straight_road
from foresee.driving.make_world import make_world, sample_manners, usual_manners
from foresee.driving.overlap import overlaps

pytestmark = pytest.mark.usefixtures("optimised")

CIRCUMFERENCE, SLOTS = 3000.0, 120  # wide enough for its bend to slow nobody down


@pytest.fixture(scope="module")
def thousand():
    """A thousand worlds of 60 s: three lanes of a ring, from nearly empty to dense, all drivers different."""
    road = ring_road(3, 600.0, spacing=4.0)

    def one(key):
        drawn, placed, paced = jax.random.split(key, 3)
        spacing = jax.random.uniform(placed, minval=16.0, maxval=75.0)
        rank = jnp.arange(24) // 3
        along = 5.0 + spacing * rank + 0.2 * spacing * jax.random.uniform(drawn, (24,))
        speed = 0.6 * jnp.minimum(spacing - 6.0, 25.0) * jax.random.uniform(paced, (24,), minval=0.8)
        manners = sample_manners(24, desired_speed=30.0, key=drawn)
        return make_world(road, jnp.arange(24) % 3, along, speed, manners=manners)

    worlds = jax.vmap(one)(jax.random.split(jax.random.key(0), 1000))
    return worlds, *flow_many(eqx.tree_at(lambda w: w.road, worlds, road), 600)


def test_nobody_collides_in_a_thousand_worlds(thousand):
    _, after, watch = thousand
    assert int(watch.collided.sum()) == 0
    assert int(watch.off_road.sum()) == 0
    assert float(watch.least_ttc.min()) > 1.5  # the usual bound between safe and dangerous [s]
    assert float(watch.hardest_brake.max()) < 8.0
    bare = eqx.tree_at(lambda w: w.road, after, None)
    assert not bool(jax.jit(jax.vmap(overlaps))(bare).any())  # every pair, at the end


def test_no_vehicle_is_lost_and_many_change_lanes(thousand):
    before, after, _ = thousand
    assert bool(after.alive.all())
    assert int((after.lane != before.lane).sum()) > 1000
    assert int(after.faults.sum()) == 0
    for values in (after.x, after.y, after.speed, after.along):
        assert bool(jnp.isfinite(values).all())


@pytest.fixture(scope="module")
def single_lane():
    """One lane of a ring for 5 minutes, 6 to 120 equal vehicles, calm or jumpy, one of them slower at first.

    Jumpy drivers are those of Treiber, Hennecke, Helbing (2000), table 1, whose traffic is unstable at medium
    densities. The last world begins as a queue at standstill.
    """
    road = ring_road(1, CIRCUMFERENCE, spacing=10.0)
    calm = replace(usual_manners(SLOTS), strength=jnp.full(SLOTS, 3.0), comfort=jnp.full(SLOTS, 3.0))
    jumpy = replace(
        usual_manners(SLOTS),
        headway=jnp.full(SLOTS, 1.2),
        strength=jnp.full(SLOTS, 0.5),
        comfort=jnp.full(SLOTS, 3.0),
    )
    worlds = []
    for manners in (calm, jumpy):
        for count in (6, 15, 30, 45, 60, 75, 90, 105, 120):
            along = (jnp.arange(SLOTS) * CIRCUMFERENCE / count + 1.0) % CIRCUMFERENCE
            gap = CIRCUMFERENCE / count - 4.7
            speeds = jnp.linspace(0.0, 33.0, 2000)
            wanted = equilibrium_gap(jax.tree.map(lambda leaf: leaf[0], manners), speeds)
            speed = jnp.interp(gap, wanted, speeds)
            world = make_world(
                road,
                jnp.zeros(SLOTS, int),
                along,
                jnp.full(SLOTS, speed).at[0].multiply(0.7),
                alive=jnp.arange(SLOTS) < count,
                manners=manners,
            )
            worlds.append(world)
    queue = make_world(
        road,
        jnp.zeros(SLOTS, int),
        300.0 + 6.7 * jnp.arange(SLOTS),
        jnp.zeros(SLOTS),
        alive=jnp.arange(SLOTS) < 45,
        manners=calm,
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *worlds, queue)
    return stacked, *flow_many(eqx.tree_at(lambda w: w.road, stacked, road), 3000)


def spread(world):
    """Mean and standard deviation of the speeds of each world's vehicles."""
    alive = np.asarray(world.alive)
    speed = np.where(alive, np.asarray(world.speed), np.nan)
    return np.nanmean(speed, axis=1), np.nanstd(speed, axis=1)


def test_calm_traffic_settles_on_the_fundamental_diagram(single_lane):
    before, after, watch = single_lane
    mean, deviation = spread(after)
    count = np.asarray(before.alive).sum(axis=1)[:9]
    calm = jax.tree.map(lambda leaf: leaf[0, 0], before.manners)
    speeds = np.linspace(0, 33.3, 20001)
    wanted = np.asarray(equilibrium_gap(calm, jnp.asarray(speeds)))
    theory = np.interp(float(after.road.length[0]) / count - 4.7, wanted, speeds)
    np.testing.assert_allclose(mean[:9], theory, rtol=0.002)
    assert (deviation[:9] < 0.02 * theory + 0.05).all()
    flows = count * mean[:9] / CIRCUMFERENCE * 3600
    assert flows.argmax() in (5, 6, 7)  # free below 25, congested above 35 vehicles per kilometre
    assert int(watch.collided.sum()) == 0


def test_stop_and_go_waves_appear_where_traffic_is_dense(single_lane):
    _, after, _ = single_lane
    _, deviation = spread(after)
    sparse, dense = deviation[9:11], deviation[13:16]
    assert (sparse < 0.5).all()
    assert dense.max() > 3.0


def test_a_jam_dissolves(single_lane):
    before, after, _ = single_lane
    assert float(jnp.max(before.speed[-1])) == 0.0
    mean, deviation = spread(after)
    assert mean[-1] == pytest.approx(mean[3], rel=0.01)  # 45 vehicles as in the fourth world
    assert deviation[-1] < 1.5


def test_who_is_on_a_ramp_merges():
    road = straight_road(2, 1500.0, ramp=(150.0, 400.0))
    lane = jnp.array([2, 2, 2, 0, 1, 0, 1, 0, 1])
    along = jnp.array([20.0, 50.0, 80.0, 60.0, 75.0, 110.0, 125.0, 160.0, 175.0])
    world = make_world(road, lane, along, jnp.full(9, 18.0))
    after, watch = eqx.filter_jit(flow)(world, 400)
    assert bool((after.lane[:3] < 2).all())
    assert not bool(watch.collided.any() | watch.off_road.any())


def test_the_gradient_through_a_rollout_is_that_of_finite_differences():
    road = ring_road(1, 300.0)

    def travelled(headway, first_speed):
        manners = replace(usual_manners(6), headway=jnp.full(6, headway))
        speed = jnp.full(6, 12.0).at[0].set(first_speed)
        world = make_world(road, jnp.zeros(6, int), 45.0 * jnp.arange(6.0) + 3.0, speed, manners=manners)
        after, _ = flow(world, 50)
        return jnp.sum(after.speed * jnp.arange(1.0, 7.0)) + jnp.sum(after.offset**2)

    both = jax.jit(jax.value_and_grad(travelled, (0, 1)))
    slopes = both(1.5, 10.0)[1]
    for slope, (one, two) in zip(slopes, ((1e-5, 0.0), (0.0, 1e-5)), strict=True):
        difference = (both(1.5 + one, 10.0 + two)[0] - both(1.5 - one, 10.0 - two)[0]) / 2e-5
        np.testing.assert_allclose(slope, difference, rtol=1e-4)
