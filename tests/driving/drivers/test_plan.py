import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.plan import for_each, roll_out, way_of
from foresee.driving.make_road import ring_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.sensing import know_exactly
from foresee.driving.world import step

LENGTH = 300.0


@pytest.fixture(scope="module")
def world():
    """One vehicle 10 m before a ring closes, beside the middle of its lane."""
    world = make_world(
        ring_road(1, LENGTH), jnp.asarray([0]), jnp.asarray([LENGTH - 10.0]), jnp.asarray([4.0]),
        offset=jnp.asarray([0.4]),
    )  # fmt: skip
    return eqx.tree_at(lambda w: w.acceleration, world, jnp.asarray([0.7]))


@pytest.fixture(scope="module")
def view(world):
    return jax.jit(lambda world: observe(world, 0, know_exactly(world, 0)))(world)


def test_a_plan_is_what_the_simulator_makes_of_its_actions(world, view):
    rng = np.random.default_rng(0)
    actions = np.stack([rng.normal(0, 4, 30), rng.normal(0, 0.1, 30)], axis=-1)
    actions[3:9, 0] = -9.0  # it stops, and goes on later
    actions[12, 1] = np.nan
    plan = jax.jit(roll_out)(view, jnp.asarray(actions), 0.2)
    moved, one = world, jax.jit(step)
    for k, action in enumerate(actions):
        moved = one(moved, jnp.asarray(action)[None], 0.2)
        # A step off the ring's single lane is of no matter to the kinematics.
        for name in ("x", "y", "heading", "speed", "acceleration", "curvature"):
            expected = float(getattr(moved, name)[0])
            assert float(getattr(plan, name)[k + 1]) == pytest.approx(expected, abs=1e-9), (name, k)
    assert float(plan.speed.min()) == 0.0
    assert float(plan.acceleration[0]) == 0.7
    np.testing.assert_allclose(plan.times, 0.2 * np.arange(31))


def test_each_of_several_plans_is_looked_at_alone(view):
    plans = jax.vmap(lambda a: roll_out(view, jnp.full((3, 2), a), 0.5))(jnp.asarray([0.0, 0.1]))
    plans = eqx.tree_at(lambda p: p.times, plans, plans.times[0])
    ends = for_each(plans, lambda plan: plan.x[-1] * plan.times[-1])
    np.testing.assert_allclose(ends, plans.x[:, -1] * 1.5)


def test_the_way_goes_on_where_the_next_lane_begins(view):
    way = way_of(view)
    along, offset = jnp.asarray([-5.0, 0.0, 6.0, 25.0]), jnp.asarray([1.0, -1.0, 0.5, 1.5])
    x, y, heading = view.road.place(jnp.zeros(4, int), (view.along + along) % LENGTH, offset)
    found = way.track(x, y)
    np.testing.assert_allclose(found[0], along, atol=0.02)
    np.testing.assert_allclose(found[1], offset, atol=0.02)
    there = way.at(along)
    np.testing.assert_allclose(jnp.cos(there.heading - heading), 1.0, atol=1e-4)
    np.testing.assert_allclose(there.curvature, 2 * np.pi / LENGTH, rtol=1e-2)
    # Beyond its end it goes straight on.
    far = way.at(jnp.asarray([200.0, 210.0]))
    assert float(jnp.hypot(*jnp.diff(jnp.stack([far.x, far.y]), axis=1)[:, 0])) == pytest.approx(10.0)


def test_places_on_the_way_have_slopes(view):
    way = way_of(view)
    slope = jax.grad(lambda x: way.track(x, view.y + 1.0)[1])(view.x + 3.0)
    assert np.isfinite(slope)
