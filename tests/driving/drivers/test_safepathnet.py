# pyright: reportArgumentType=false
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.plan import for_each, way_of
from foresee.driving.drivers.proposals import nearby
from foresee.driving.drivers.safepathnet import Chosen, SafePathNet
from foresee.driving.drivers.scoring import expected_loss
from foresee.driving.drivers.tracking import Tracker, course_of
from foresee.driving.forecast import ConstantVelocity, Futures
from foresee.driving.futures.learned import Learned
from foresee.driving.futures.network import TIMES, FutureModel, FutureNetwork
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.sensing import know_exactly

KEY, SPEED = jax.random.key(0), 15.0
LATER = np.asarray((0.0, *TIMES))
BRAKING, LEFT = 3.0, 1.2  # of the second way [m/s², m]
FRESH = Chosen(jnp.zeros(()), jnp.zeros(()), jnp.ones(()))
SLOWER = (0.0, 1.5)


@jax.jit
def see(world):
    return observe(world, 0, know_exactly(world, 0))


def world_with(gap, speed):
    """The ego, and another one so far ahead of it at another speed."""
    road = straight_road(3, 800.0)
    along = jnp.asarray([100.0, 100.0 + gap + 4.7])
    return make_world(road, jnp.asarray([1, 1]), along, jnp.asarray([SPEED, speed]))


@pytest.fixture(scope="module")
def driver():
    networks = eqx.filter_vmap(lambda key: FutureNetwork(width=8, key=key))(jax.random.split(KEY, 2))
    return SafePathNet(Learned(FutureModel(networks), nearest=2), slower=jnp.asarray(SLOWER), nearest=2)


@pytest.fixture(scope="module")
def views():
    """The road ahead free, or blocked by somebody who stands."""
    return {"free": see(world_with(200.0, SPEED)), "blocked": see(world_with(30.0, 0.0))}


def two_ways(view, weight):
    """Going on, or braking and going to the left."""
    along = np.stack([SPEED * LATER, np.maximum.accumulate(SPEED * LATER - 0.5 * BRAKING * LATER**2)])
    left = np.stack([0 * LATER, LEFT * (1 - np.exp(-LATER))])
    heading = jnp.zeros((1, 2, len(LATER)))
    sd = 0.3 + 0.5 * LATER + heading
    weights = jnp.asarray([[weight, 1 - weight]])
    place = jnp.asarray(along)[None] + view.x, jnp.asarray(left)[None] + view.y
    return Futures(jnp.asarray(LATER), *place, heading, sd, 0.2 + 0 * sd, weights, jnp.asarray([True]))


@eqx.filter_jit
def judge(driver, view, own, last=FRESH):
    futures, _ = ConstantVelocity(density=jnp.asarray(0.1))(view, None)
    candidates = driver.candidates(view, futures, own, last)
    way = way_of(view)
    around = nearby(view, futures, driver.times, driver.nearest)
    lost = for_each(
        candidates.plans, lambda plan: expected_loss(driver.loss, view, plan, way, around, driver.step)
    )
    return candidates, lost, driver.pick(view, candidates)


def fit_twin(tracker, speed, acceleration, along):
    """Weighted least squares by NumPy: the same curve, found from the position at every time."""
    counts = slice(1, 1 + round(float(tracker.reach) / 0.5))
    t, along = LATER[counts], along[counts]
    lag = float(tracker.lag)
    fading = lag * (t - lag * (1 - np.exp(-t / lag)))
    table = np.stack([0.5 * t**2 - fading, t**3 / 6], axis=1) / t[:, None]
    return np.linalg.lstsq(table, (along - speed * t - acceleration * fading) / t, rcond=None)[0]


def test_a_way_is_fitted_as_by_least_squares(views):
    view = replace(views["free"], acceleration=jnp.asarray(-0.7))
    tracker = Tracker()

    @jax.jit
    def fitted(view, own):
        course = course_of(way_of(view), own)
        return course, tracker.fit(view, course)

    course, (begin, rate) = fitted(view, two_ways(view, 0.5))
    np.testing.assert_allclose(course.along[0], SPEED * LATER, atol=1e-6)
    np.testing.assert_allclose(course.offset[1], LEFT * (1 - np.exp(-LATER)), atol=1e-6)
    for i in range(2):
        twin = fit_twin(tracker, SPEED, -0.7, np.asarray(course.along[i]))
        np.testing.assert_allclose([begin[i], rate[i]], twin, rtol=1e-6, atol=1e-9)


def test_plans_begin_as_the_ego_moves_and_are_what_their_accelerations_lead_to(driver, views):
    view = replace(views["free"], acceleration=jnp.asarray(0.8))
    candidates, _, _ = judge(driver, view, two_ways(view, 0.5))
    plans, fine = candidates.plans, np.linspace(0, driver.horizon, 4001)
    np.testing.assert_allclose(plans.acceleration[:, 0], 0.8, atol=1e-9)
    np.testing.assert_allclose(plans.speed[:, 0], SPEED)
    for number in range(4):
        begin, rate = float(candidates.begin[number]), float(candidates.rate[number])
        lag = float(driver.tracker.lags(view, candidates.begin[number]))
        asked = begin + rate * fine + (0.8 - begin) * np.exp(-fine / lag)
        speed = SPEED + np.concatenate([[0.0], np.cumsum(0.5 * (asked[1:] + asked[:-1]) * fine[1])])
        stopped = np.minimum.accumulate(speed) <= 0
        speed = np.where(stopped, 0.0, speed)
        gone = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * fine[1])])
        at = np.searchsorted(fine, np.asarray(plans.times) - 1e-9)
        np.testing.assert_allclose(plans.speed[number], speed[at], atol=0.01)
        still = ~stopped[at]
        np.testing.assert_allclose((plans.x[number] - view.x)[still], gone[at][still], atol=0.02)


def test_the_cost_is_that_of_a_twin(driver, views):
    view, weight = views["blocked"], 0.7
    own = two_ways(view, weight)
    last = Chosen(jnp.asarray(1.0), jnp.asarray(0.5), jnp.zeros(()))
    chooser = replace(driver, habit=jnp.asarray(2.5))
    candidates, lost, _ = judge(chooser, view, own, last)
    loss = jax.tree.map(float, driver.loss)
    t = LATER[1 : 1 + round(float(driver.tracker.reach) / 0.5)]
    sd = np.maximum(0.3 + 0.5 * t, 1.0)
    twin = []
    for slower in SLOWER:
        for share, aim in ((weight, 0.0), (1 - weight, LEFT * (1 - np.exp(-LATER[-1])))):
            nats = -np.log(share) + 0.5 * np.mean((0.5 * slower * t**2 / sd) ** 2)
            change = loss.change * (slower - 1.0) ** 2 + loss.swerve * (aim - 0.5) ** 2
            twin.append(change + 2.5 * nats)
    np.testing.assert_allclose(candidates.cost, np.asarray(twin) + np.asarray(lost), rtol=1e-6)


def test_a_blocked_way_is_not_chosen_however_likely(driver, views):
    for name, braking in (("free", False), ("blocked", True)):
        view = views[name]
        candidates, _, (action, chosen) = judge(driver, view, two_ways(view, 0.9))
        best = int(jnp.argmin(candidates.cost))
        assert (candidates.way[best] == 1) == braking
        assert (action[0] < -0.3) == braking
        assert chosen.fresh == 0


def test_without_choosing_the_likeliest_way_is_driven(driver, views):
    likely, view = replace(driver, choose=jnp.asarray(0.0)), views["blocked"]
    for weight, way in ((0.9, 0), (0.1, 1)):
        candidates, _, _ = judge(likely, view, two_ways(view, weight))
        best = int(jnp.argmin(candidates.cost))
        assert (candidates.way[best], candidates.slower[best]) == (way, 0.0)


def test_jerk_is_limited_unless_braking_is_urgent():
    tracker, view = Tracker(), see(world_with(200.0, SPEED))
    comfort = float(tracker.comfort)
    for begin, share in ((3.0, 1.0), (-comfort, 1.0), (-2 * comfort, 4.0)):
        jerk = abs(begin) / float(tracker.lags(view, jnp.asarray(begin)))
        assert jerk <= share * float(tracker.jerk) + 1e-9
    assert tracker.lags(view, jnp.asarray(-2 * comfort)) < tracker.lags(view, jnp.asarray(0.0))


def test_one_of_many_is_the_same_and_the_network_drives(driver, views):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views.values())
    act = eqx.filter_jit(lambda driver, view: driver.act(view, driver.start(), key=KEY)[0])
    many = eqx.filter_jit(jax.vmap(lambda view: driver.act(view, driver.start(), key=KEY)[0]))(stacked)
    assert jnp.isfinite(many).all()
    for number, view in enumerate(views.values()):
        np.testing.assert_allclose(many[number], act(driver, view), atol=1e-9)


def test_the_cost_has_finite_slopes_also_where_it_stops(driver, views):
    @jax.jit
    @jax.grad
    def slope(speed, view):
        view = replace(view, speed=speed)
        futures, _ = ConstantVelocity()(view, None)
        return driver.candidates(view, futures, two_ways(view, 0.5), FRESH).cost.sum()

    for speed in (0.0, SPEED):
        assert jnp.isfinite(slope(jnp.asarray(speed), views["blocked"]))
