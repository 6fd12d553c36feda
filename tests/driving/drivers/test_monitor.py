# pyright: reportArgumentType=false
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.calibration import auroc
from foresee.driving.arenas import Arena
from foresee.driving.drivers.monitor import Monitored
from foresee.driving.drivers.monitor_fit import Scored, fit_monitor, monitor_scores
from foresee.driving.futures.learned import Learned
from foresee.driving.futures.network import FutureModel, FutureNetwork
from foresee.driving.generated import generated_scenarios
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.policies import NoAction
from foresee.driving.sensing import know_exactly
from foresee.driving.simulate import simulate
from foresee.errors import CalibrationError

KEY, WIDTH, FALSE_ALARM = jax.random.key(0), 8, 0.2
SCENARIOS = 24


@pytest.fixture(scope="module")
def forecaster():
    networks = eqx.filter_vmap(lambda key: FutureNetwork(width=WIDTH, key=key))(jax.random.split(KEY, 2))
    return Learned(FutureModel(networks), nearest=3)


@pytest.fixture(scope="module")
def arena():
    events = generated_scenarios(SCENARIOS, kinds=("hard_braking",), vehicles=3, seconds=5.0, key=KEY)
    return Arena("events", events, "reactive", None)


@pytest.fixture(scope="module")
def fitted(forecaster, arena):
    return fit_monitor(NoAction(), [arena], [arena], forecaster=forecaster, false_alarm=FALSE_ALARM, key=KEY)


@pytest.fixture(scope="module")
def scores(fitted, arena):
    return monitor_scores(NoAction(), fitted.monitor, arena, key=jax.random.key(5))


def test_a_driver_that_never_brakes_is_told_from_one_that_need_not(fitted, scores):
    assert fitted.episodes == SCENARIOS
    assert 0 < fitted.failures < SCENARIOS
    assert fitted.failures == scores.failed.sum()
    assert scores.auroc().value == pytest.approx(fitted.auroc.value, abs=1e-3)
    assert fitted.auroc.value > 0.85
    assert fitted.auroc.low <= fitted.auroc.value <= fitted.auroc.high


def test_false_alarms_are_as_rare_as_stated(fitted, scores):
    harmless = ~scores.failed & scores.counted.any(axis=1)
    above = scores.highest()[harmless] > float(fitted.monitor.threshold)
    assert above.sum() == harmless.sum() - fitted.threshold.rank
    assert fitted.threshold.expected_rate() <= FALSE_ALARM
    assert fitted.false_alarms.value == pytest.approx(above.mean())
    low, high = fitted.threshold.rate_interval()
    assert low < fitted.threshold.expected_rate() < high


def test_frames_before_a_failure_are_those_within_three_seconds(scores):
    last = scores.counted.shape[1] - scores.counted[:, ::-1].argmax(axis=1)
    for soon, counted, failed, end in zip(scores.soon, scores.counted, scores.failed, last, strict=True):
        assert soon.sum() == (min(30, end) if failed else 0)
        assert not (soon & ~counted).any()


def with_threshold(fitted, value):
    return Monitored(NoAction(), replace(fitted.monitor, threshold=jnp.asarray(value)))


def test_an_endless_threshold_leaves_the_driver_alone_and_a_low_one_brakes(fitted, arena):
    scenario = jax.tree.map(lambda leaf: leaf[0], arena.scenarios.scenario)

    @eqx.filter_jit
    def driven(driver):
        episode = simulate(scenario, driver, mode="reactive", key=KEY)
        return episode.frames.speed[:, 0], episode.actions

    plain, actions = driven(with_threshold(fitted, jnp.inf))
    np.testing.assert_array_equal(actions, 0.0)
    alert, held = driven(with_threshold(fitted, -jnp.inf))
    assert (held != 0).any(axis=1).all()
    assert alert[-1] < plain[-1]
    assert with_threshold(fitted, 0.0).name == "none_monitored"


def seen(gap, speed):
    along = jnp.asarray([100.0, 104.7 + gap, 60.0])
    world = make_world(
        straight_road(2, 600.0), jnp.asarray([0, 0, 1]), along, jnp.asarray([20.0, speed, 20.0])
    )
    return jax.jit(lambda world: observe(world, 0, know_exactly(world, 0)))(world)


def test_an_alarm_lasts_for_a_while_and_brakes_no_harder_than_it_takes(fitted):
    views = [seen(12.0, 2.0), seen(150.0, 19.0)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views)
    swapped = jax.tree.map(lambda leaf: leaf[::-1], both)

    @eqx.filter_jit
    def act(driver, views, memory):
        return jax.vmap(lambda view, memory: driver.act(view, memory, key=KEY))(views, memory)

    alert, quiet = with_threshold(fitted, -jnp.inf), with_threshold(fitted, jnp.inf)
    start = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), alert.start())
    actions, memory = act(alert, both, start)
    assert actions[0, 0] < -5.0
    assert abs(actions[1, 0]) <= 0.4 + 1e-9
    np.testing.assert_allclose(actions[:, 1], 0.0, atol=1e-6)
    np.testing.assert_allclose(act(alert, swapped, start)[0], actions[::-1], atol=1e-9)
    held = 1
    for _ in range(15):
        actions, memory = act(quiet, both, memory)
        held += int((actions[0] != 0).any())
    assert held == 10


def test_the_area_is_that_of_calibration():
    rng = np.random.default_rng(0)
    score, soon = rng.normal(size=(6, 20)), rng.random((6, 20)) < 0.3
    score = score + soon
    everything = np.ones_like(soon)
    scored = Scored(score, soon, everything, soon.any(axis=1), tuple("abcdef"))
    assert scored.auroc().value == pytest.approx(float(auroc(score.ravel(), soon.ravel())))


def test_nothing_can_be_learned_where_nothing_fails(forecaster, arena, scores):
    chosen = np.resize(np.flatnonzero(~scores.failed), SCENARIOS)  # as many, so that nothing is compiled anew
    harmless = Arena("calm", arena.scenarios.select(chosen), "reactive", None)
    with pytest.raises(CalibrationError, match="some that do not"):
        fit_monitor(NoAction(), [harmless], [harmless], forecaster=forecaster, key=KEY)
