from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.mpc import Mpc, descended, sampled
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.policies import LaneKeeper
from foresee.driving.sensing import know_exactly
from foresee.driving.world import step
from foresee.errors import ForeseeError, OptionError

KEY = jax.random.key(0)
LENGTH = 4.7
SIZE, STARTS = 6, 4
DRIVERS = {
    "gradient": Mpc(nearest=3),
    "sampling": Mpc(warm=LaneKeeper(), solver="sampling", nearest=3),
}
# How far ahead somebody is, how fast it is and brakes, and how fast the ego is.
BRAKES, BLOCKED, FREE = (30.0, 20.0, 2.5, 20.0), (60.0, 0.0, 0.0, 20.0), (300.0, 30.0, 0.0, 20.0)
SITUATIONS = (BRAKES, BLOCKED, FREE)
SECONDS = 10.0


@pytest.fixture(scope="module")
def bowl():
    """A quadratic function with its minimum, and where to begin."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))
    matrix = turn @ np.diag(np.geomspace(0.5, 3.0, SIZE)) @ turn.T
    slope = rng.normal(size=SIZE)

    def cost(x):
        return 0.5 * x @ jnp.asarray(matrix) @ x - jnp.asarray(slope) @ x

    return cost, np.linalg.solve(matrix, slope), jnp.asarray(rng.normal(size=(STARTS, SIZE)))


def test_slopes_find_the_minimum_of_a_quadratic_function(bowl):
    cost, least, starts = bowl
    point, value = jax.jit(lambda starts: descended(cost, starts, curvature=3.0, steps=30))(starts)
    np.testing.assert_allclose(point, least, atol=1e-3)
    assert value == pytest.approx(float(cost(least)), abs=1e-5)


def test_samples_come_near_the_minimum_of_a_quadratic_function(bowl):
    cost, least, starts = bowl
    look = jax.jit(lambda starts, key: sampled(cost, starts, key=key, samples=400, rounds=8))
    for key in jax.random.split(KEY, 3):
        point, value = look(starts, key)
        assert value == pytest.approx(float(cost(point)))
        assert value - cost(least) < 0.02 * (min(map(cost, starts)) - cost(least))


def test_neither_ends_worse_than_it_began(bowl):
    """The function is rough, and one start is at its minimum already."""
    cost, least, starts = bowl
    starts = starts.at[2].set(least)

    def rough(x):
        return cost(x) + jnp.sum(1 - jnp.cos(20 * (x - least)))

    for found in (
        descended(rough, starts, curvature=0.01, steps=2),
        sampled(rough, starts, key=KEY, rounds=1),
    ):
        np.testing.assert_allclose(found[0], least, atol=1e-6)
        assert found[1] == pytest.approx(float(rough(least)))


def test_compiled_and_not_they_do_the_same(bowl):
    cost, _, starts = bowl
    for solve in (
        lambda s: descended(cost, s, steps=1),
        lambda s: sampled(cost, s, key=KEY, samples=8, rounds=1),
    ):
        with jax.disable_jit():
            plain = solve(starts)
        np.testing.assert_allclose(jax.jit(solve)(starts)[0], plain[0], atol=1e-9)


def test_side_by_side_they_do_the_same_as_alone(bowl):
    cost, _, starts = bowl
    several = jnp.stack([starts, -starts, 2 * starts])
    for solve in (lambda s: descended(cost, s)[0], lambda s: sampled(cost, s, key=KEY, samples=8)[0]):
        each = jax.jit(jax.vmap(solve))(several)
        np.testing.assert_allclose(each, np.stack([jax.jit(solve)(one) for one in several]), atol=1e-9)


def look(world):
    return observe(world, 0, know_exactly(world, 0))


def traffic(gap, ahead, speed):
    """The ego on the only lane, and somebody ahead."""
    along = jnp.stack([jnp.asarray(100.0), 100.0 + gap + LENGTH])
    return make_world(
        straight_road(1, 900.0), jnp.zeros(2, int), along, jnp.stack([speed, ahead]), check=False
    )


@pytest.fixture(scope="module")
def driven():
    """What one driver does in several situations, frame by frame."""
    driver = DRIVERS["gradient"]

    def one(gap, ahead, brake, speed):
        def advance(carry, _):
            world, memory = carry
            action, memory = driver.act(look(world), memory, key=KEY)
            actions = jnp.stack([action, jnp.stack([-brake, jnp.zeros(())])])
            return (step(world, actions), memory), (action, world.x, world.speed, world.offset)

        begin = (traffic(gap, ahead, speed), driver.start())
        return jax.lax.scan(advance, begin, None, length=round(SECONDS / 0.1))[1]

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(*map(jnp.asarray, zip(*SITUATIONS, strict=True))))


def test_it_brakes_for_who_brakes_and_stops_behind_who_stands(driven):
    actions, x, speed, _ = driven
    gap = x[..., 1] - x[..., 0] - LENGTH
    for number in (SITUATIONS.index(BRAKES), SITUATIONS.index(BLOCKED)):
        assert gap[number].min() > 0.5
        assert actions[number, :40, 0].min() < -1.0
        assert speed[number, -1, 0] < 3.0


def test_it_comes_nearer_to_the_desired_speed_without_a_jerk_and_keeps_its_lane(driven):
    actions, _, speed, offset = (part[SITUATIONS.index(FREE)] for part in driven)
    assert speed[-1, 0] > 22.0
    assert np.abs(np.diff(actions[:, 0], prepend=0.0)).max() < 0.41
    assert np.abs(offset[:, 0]).max() < 0.05


@pytest.fixture(scope="module")
def sampling():
    """What the one that draws samples decides in two situations, alone and both at once."""
    driver = DRIVERS["sampling"]
    views = [look(traffic(*map(jnp.asarray, now))) for now in ((25.0, 12.0, 20.0), (60.0, 0.0, 20.0))]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views)
    one = jax.jit(lambda view, key: driver.act(view, driver.start(), key=key))
    many = jax.jit(jax.vmap(lambda view: driver.act(view, driver.start(), key=KEY)))
    return views, one, many(both)


def test_with_samples_too_and_the_same_key_draws_the_same(sampling):
    views, one, (actions, memory) = sampling
    for view, action, jerks in zip(views, actions, memory.jerks, strict=True):
        alone, remembered = one(view, KEY)
        np.testing.assert_allclose(alone, action, atol=1e-9)
        np.testing.assert_allclose(remembered.jerks, jerks, atol=1e-9)
        np.testing.assert_array_equal(one(view, KEY)[0], alone)
        assert not np.array_equal(one(view, jax.random.key(1))[0], alone)
        assert alone[0] < -0.5


def test_it_begins_its_plan_and_the_plan_is_what_the_world_does(sampling):
    driver, (views, _, (actions, memory)) = DRIVERS["sampling"], sampling

    @jax.jit
    def plan_of(view, jerks):
        here = driver.situation(view, driver.forecaster(view, None)[0])
        costs = jax.vmap(lambda one: driver.cost(here, one))(driver.starts(here, 0 * jerks, None))
        cost, slope = jax.value_and_grad(driver.cost, 1)(here, jerks)
        return driver.plan(here, jerks), cost, costs, slope

    for view, action, jerks in zip(views, actions, memory.jerks, strict=True):
        plan, cost, costs, slope = jax.tree.map(np.asarray, plan_of(view, jerks))
        assert cost <= costs.min() + 1e-9
        assert np.isfinite(slope).all()
        gain = np.diff(plan.acceleration)
        assert action[0] == pytest.approx(plan.acceleration[0] + driver.interval / driver.step * gain[0])
        world = traffic(jnp.asarray(200.0), jnp.asarray(0.0), view.speed)
        mean = 0.5 * (plan.acceleration[1:] + plan.acceleration[:-1])
        bend = 0.5 * (plan.curvature[1:] + plan.curvature[:-1])
        for number in range(3):
            first = jnp.stack([mean[number], bend[number]])
            world = step(world, jnp.stack([first, 0 * first]), driver.step)
            moved = [float(value[0]) for value in (world.x, world.y, world.speed)]
            expected = [value[number + 1] for value in (plan.x, plan.y, plan.speed)]
            np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_between_two_plans_it_carries_out_the_last_one():
    driver = Mpc(nearest=3, every=2)
    world = traffic(*(jnp.asarray(value) for value in BRAKES[:2]), jnp.asarray(BRAKES[3]))
    view = observe(world, jnp.asarray(0), know_exactly(world, jnp.asarray(0)))
    act = jax.jit(lambda *given, key: driver.act(*given, key=key))
    _, first = act(view, driver.start(), key=KEY)
    action, second = act(view, first, key=KEY)
    _, third = act(view, second, key=KEY)
    part = driver.interval / driver.step
    later = (1 - part) * first.jerks + part * jnp.pad(first.jerks[1:], ((0, 1), (0, 0)))
    np.testing.assert_allclose(second.jerks, later)
    here = driver.situation(view, driver.forecaster(view, None)[0])
    np.testing.assert_allclose(action, driver.beginning(here, second.jerks))
    again = Mpc(nearest=3).act(view, second._replace(age=first.age - 1), key=KEY)[1]
    np.testing.assert_allclose(third.jerks, again.jerks, atol=1e-9)
    assert [int(each.age) for each in (first, second, third)] == [1, 0, 1]


def test_the_end_of_a_closed_lane_is_somebody_who_stands_there():
    road = straight_road(1, 900.0, ramp=(100.0, 300.0))
    lane = int(np.flatnonzero(np.asarray(road.closed))[0])
    driver = DRIVERS["gradient"]

    world = make_world(road, jnp.asarray([lane, 0]), jnp.full(2, 120.0), jnp.ones(2), check=False)

    @jax.jit
    def end(world):
        view = look(world)
        here = driver.situation(view, driver.forecaster(view, None)[0])
        return here.futures.x[-1, 0] - view.x, here.futures.known, view.to_end

    ahead, known, to_end = end(world)
    assert known[-1]
    np.testing.assert_allclose(ahead, to_end, rtol=1e-3)


def test_an_unknown_solver_and_numbers_without_sense_are_refused():
    with pytest.raises((OptionError, TypeError), match="solver"):  # the second where types are checked
        Mpc(solver="guess")  # pyright: ignore[reportArgumentType]
    with pytest.raises(OptionError, match="1 step"):
        Mpc(steps=0)
    with pytest.raises(OptionError, match="and 0"):
        Mpc(every=0)
    with pytest.raises(ForeseeError, match="strength"):
        Mpc(strength=0.0)
    assert eqx.tree_equal(replace(Mpc(), name="other").start(), Mpc().start())
