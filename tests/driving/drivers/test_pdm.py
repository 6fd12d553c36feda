from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.pdm import ExpectedPdm, Pdm
from foresee.driving.drivers.plan import for_each, roll_out, way_of
from foresee.driving.drivers.proposals import nearby
from foresee.driving.drivers.scoring import Loss, expected_loss, score
from foresee.driving.forecast import ConstantVelocity
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.sensing import know_exactly
from foresee.driving.world import step

KEY = jax.random.key(0)
STEP, POINTS, LENGTH, WIDTH = 0.2, 21, 4.7, 1.9
DRIVERS = {"pdm": Pdm(), "pdm_expected": ExpectedPdm()}
# Only what the score knows too, which says nothing about how much is felt within its limits.
LOSS = Loss(jerk=0.0, acceleration=0.0)
SPEEDS = (12.0, 16.0, 20.0, 24.0)  # at which the plans that are compared come to drive


def traffic(gap, ahead, speed=20.0):
    """The ego on the right of two lanes, somebody ahead on it, and somebody beside on the other one."""
    return make_world(
        straight_road(2, 1200.0, spacing=20.0), jnp.asarray([0, 0, 1]),
        jnp.asarray([100.0, 100.0 + gap + LENGTH, 101.0]),
        jnp.stack(list(map(jnp.asarray, (speed, ahead, 20.0)))), check=False,
    )  # fmt: skip


def look(world):
    return observe(world, 0, know_exactly(world, 0))


@pytest.fixture(scope="module", params=DRIVERS)
def compiled(request):
    driver = DRIVERS[request.param]
    assert driver.name == request.param

    @jax.jit
    def drive(gaps, ahead, speed):
        """The first action in each of several situations, and the ends of 15 s in them."""

        def one(gap, ahead, speed):
            def advance(carry, _):
                world, memory = carry
                action, memory = driver.act(look(world), memory, key=KEY)
                return (step(world, jnp.zeros((3, 2)).at[0].set(action)), memory), action

            world = traffic(gap, ahead, speed)
            (world, _), actions = jax.lax.scan(advance, (world, driver.start()), None, length=150)
            return actions, world

        return jax.vmap(one)(gaps, ahead, speed)

    return driver, jax.tree.map(np.asarray, drive(*map(jnp.asarray, zip(*SITUATIONS, strict=True))))


SITUATIONS = ((30.0, 2.0, 20.0), (400.0, 25.0, 20.0), (60.0, 15.0, 20.0))


def test_it_brakes_for_who_is_slow_and_does_not_touch_it(compiled):
    _, (actions, world) = compiled
    assert actions[0, :10, 0].min() < -2.0
    assert np.all(world.x[:, 1] - world.x[:, 0] > LENGTH)
    assert abs(world.speed[2, 0] - 15.0) < 1.0


def test_on_an_empty_road_it_comes_to_the_speed_it_desires_in_the_middle_of_its_lane(compiled):
    driver, (actions, world) = compiled
    assert world.speed[1, 0] == pytest.approx(float(driver.proposer.desired_speed), rel=0.1)
    assert abs(world.offset[1, 0]) < 0.1
    assert np.all(np.abs(np.diff(actions[1, :, 0], prepend=0.0)) <= driver.proposer.jerk * 0.1 + 1e-6)


def test_one_at_a_time_does_what_many_at_once_do(compiled):
    driver, (actions, _) = compiled
    view = look(traffic(*SITUATIONS[0]))
    alone, _ = driver.act(view, driver.start(), key=KEY)  # not compiled either
    np.testing.assert_allclose(alone, actions[0, 0], atol=1e-9)


@pytest.fixture(scope="module")
def judged():
    """Plans that come to drive faster or slower behind somebody at 12 m/s, their scores and their losses."""
    doubtful = ConstantVelocity(density=0.3)

    @jax.jit
    def judge(gap, density):
        view = look(traffic(gap, 12.0))
        way, times = way_of(view), jnp.arange(POINTS) * STEP
        futures, _ = eqx.tree_at(lambda f: f.density, doubtful, density)(view, None)
        around = nearby(view, futures, times, 3)
        gains = (jnp.asarray(SPEEDS) - 20.0) / 4.0
        actions = jax.vmap(lambda gain: jnp.zeros((POINTS - 1, 2)).at[:, 0].set(gain))(gains)

        def losses(actions):
            plans = jax.vmap(lambda one: roll_out(view, one, STEP))(actions)
            plans = replace(plans, times=times)
            lost = for_each(plans, lambda plan: expected_loss(LOSS, view, plan, way, around, STEP))
            return lost.sum(), (lost, plans)

        slope, (lost, plans) = jax.grad(losses, has_aux=True)(actions)
        return for_each(plans, lambda plan: score(view, plan, way, around, STEP)), lost, slope, plans

    return lambda gap, density=0.0: jax.tree.map(np.asarray, judge(gap, density))


def test_the_score_is_that_of_the_textbook(judged):
    gap, others = 28.0, ((LENGTH + 28.0, 12.0, 0.0), (1.0, 20.0, 3.5))
    scored, _, _, plans = judged(gap)
    limits = 2.4, -4.05
    for k in range(len(SPEEDS)):
        way = plans.x[k] - plans.x[k][0]
        collides = near = False
        for t, time in enumerate(plans.times):
            for ahead, speed, left in others:
                apart = ahead + speed * time - way[t]
                closing = plans.speed[k][t] - speed
                same_lane = abs(left) < WIDTH
                collides |= same_lane and abs(apart) <= LENGTH
                if same_lane and apart > LENGTH and closing > 0 and not collides:
                    near |= (apart - LENGTH) / closing < 0.95
        assert scored.no_collision[k] == (not collides)
        assert scored.in_time[k] == (not near)
        assert scored.progress[k] == pytest.approx(way[-1], abs=1e-6)
        assert scored.comfortable[k] == (limits[1] <= plans.acceleration[k][-1] <= limits[0])
    assert scored.on_road.all()
    assert scored.right_way.all()
    np.testing.assert_array_equal(scored.within_limit, 1.0)
    gates = scored.no_collision
    share = np.clip(scored.progress / np.max(np.where(gates, scored.progress, 0.0)), 0, 1)
    weighted = 5 * share + 5 * scored.in_time + 4 + 2 * scored.comfortable
    np.testing.assert_allclose(type(scored)(*map(jnp.asarray, scored)).total(), gates * weighted / 16)
    assert 0 < gates.sum() < len(SPEEDS)


@pytest.mark.parametrize("gap", [3.0, 20.0, 28.0, 60.0])
def test_without_doubt_the_plan_that_loses_least_is_the_one_with_the_best_score(judged, gap):
    scored, lost, _, _ = judged(gap)
    total = np.asarray(type(scored)(*map(jnp.asarray, scored)).total())
    if total.max() > 0:
        assert np.argmin(lost) == np.argmax(total)
    collides = ~scored.no_collision
    if collides.any() and not collides.all():
        assert lost[collides].min() > lost[~collides].max()


def test_doubt_makes_danger_grow_gradually_and_what_is_lost_has_slopes(judged):
    certain, doubtful = judged(28.0), judged(28.0, 1.0)
    assert doubtful[1][1] > certain[1][1]
    assert doubtful[1][3] < certain[1][3]
    for slope in (certain[2], doubtful[2]):
        assert np.isfinite(slope).all()
    # To brake harder lowers what a dangerous plan loses.
    assert (doubtful[2][3][:, 0] > 0).any()
