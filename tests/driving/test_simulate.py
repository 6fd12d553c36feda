"""The closed loop, on a road with four vehicles whose record is a straight line each."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.driver import as_driver
from foresee.driving.generate import KINDS
from foresee.driving.generated import generated_scenarios
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.overlap import separation
from foresee.driving.scenario import Record, Scenario, Script, stack_scenarios
from foresee.driving.simulate import MODES, simulate
from foresee.driving.traffic_model import ReactiveTraffic
from foresee.errors import OptionError, ShapeError

STEPS, LATE, HANDOVER = 50, 10, 5
EGO, FOLLOWER, NEWCOMER, BESIDE = range(4)
ALONG = np.array([100.0, 70.0, 60.0, 160.0])
LANES = np.array([0, 0, 1, 1])
SPEED = 20.0


@pytest.fixture(scope="module")
def scenario():
    """Everybody drives 20 m/s; the newcomer comes into view after a second."""
    frames = np.arange(STEPS + 1)[:, None]
    along = jnp.asarray(ALONG + 0.1 * SPEED * frames)
    present = jnp.asarray((np.arange(4) != NEWCOMER) | (frames >= LATE))
    same, zero = jnp.full((STEPS + 1, 4), SPEED), jnp.zeros((STEPS + 1, 4))
    lane = jnp.broadcast_to(jnp.asarray(LANES, jnp.int32), (STEPS + 1, 4))
    record = Record(along, -3.5 * lane.astype(float), zero, same, zero, zero, lane, along, zero, present)
    road = straight_road(2, 600.0)
    world = make_world(road, lane[0], along[0], same[0], alive=present[0])
    return Scenario(
        world, record, jnp.array(EGO), jnp.array(HANDOVER, jnp.int32), jnp.array(STEPS, jnp.int32)
    )


@pytest.fixture(scope="module")
def episodes(scenario):
    """The same scenario with an ego that brakes with 4 m/s², in all kinds of traffic."""
    driver = as_driver(lambda view: (-4.0, 0.0))
    return {
        mode: eqx.filter_jit(lambda s, m=mode: simulate(s, driver, mode=m, key=jax.random.key(0)))(scenario)
        for mode in ("replay", "reactive", "mixed")
    }


def test_one_program_serves_all_kinds_of_traffic(scenario, episodes):
    driver, traffic = as_driver(lambda view: (-4.0, 0.0)), ReactiveTraffic()
    told = {"driver": driver, "traffic": traffic, "key": jax.random.key(0)}
    together = eqx.filter_jit(lambda s, mode: simulate(s, mode=mode, **told))
    learned = eqx.filter_jit(lambda s: simulate(s, mode="learned", **told))(scenario)
    for mode, alone in {**episodes, "learned": learned}.items():
        same = together(scenario, jnp.asarray(MODES.index(mode)))
        for one, other in zip(jax.tree.leaves(alone.frames), jax.tree.leaves(same.frames), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)


def apart(frames, one, other):
    """Separation of two vehicles' boxes in every frame."""
    size = jnp.full(STEPS + 1, 4.7), jnp.full(STEPS + 1, 1.9)
    boxes = [(frames.x[:, v], frames.y[:, v], frames.heading[:, v], size[0], size[1]) for v in (one, other)]
    return np.asarray(separation(boxes[0], boxes[1]))


@pytest.mark.parametrize("mode", ["replay", "reactive", "mixed"])
def test_the_ego_follows_its_record_until_the_handover_and_its_driver_after(episodes, mode):
    frames = episodes[mode].frames
    np.testing.assert_allclose(frames.x[: HANDOVER + 1, EGO], 100 + 2.0 * np.arange(HANDOVER + 1), atol=1e-6)
    after = np.arange(STEPS + 1 - HANDOVER)
    np.testing.assert_allclose(frames.speed[HANDOVER:, EGO], np.maximum(20 - 0.4 * after, 0), atol=1e-5)
    np.testing.assert_allclose(episodes[mode].actions, [[-4.0, 0.0]] * STEPS)


def test_replayed_vehicles_do_what_they_did(episodes, scenario):
    frames = episodes["replay"].frames
    others = [FOLLOWER, NEWCOMER, BESIDE]
    np.testing.assert_array_equal(frames.alive[:, others], scenario.record.present[:, others])
    np.testing.assert_allclose(frames.x[LATE:, others], scenario.record.x[LATE:, others], atol=1e-9)
    assert not frames.reactive.any()
    assert apart(frames, EGO, FOLLOWER).min() < 0  # it drives through the ego: nobody told it


@pytest.mark.parametrize("mode", ["reactive", "mixed"])
def test_who_reacts_does_not_run_into_the_ego(episodes, mode):
    frames = episodes[mode].frames
    assert apart(frames, EGO, FOLLOWER).min() > 0.5
    assert frames.reactive[-1, FOLLOWER]


def test_only_those_behind_a_changed_vehicle_react_in_mixed_traffic(episodes, scenario):
    frames = episodes["mixed"].frames
    assert not frames.reactive[:, BESIDE].any()
    np.testing.assert_allclose(frames.x[:, BESIDE], scenario.record.x[:, BESIDE], atol=1e-9)
    began = int(np.argmax(frames.reactive[:, FOLLOWER]))
    # 4 m/s² make a metre in .7 s after the handover; who reacts is known one frame later
    assert HANDOVER + 7 <= began <= HANDOVER + 9


def test_who_comes_later_enters_where_it_was_recorded(episodes):
    frames = episodes["reactive"].frames
    assert not frames.alive[LATE - 1, NEWCOMER]
    assert frames.alive[LATE:, NEWCOMER].all()
    np.testing.assert_allclose(frames.x[LATE, NEWCOMER], 60.0 + 2.0 * LATE, atol=1e-6)
    assert frames.reactive[LATE, NEWCOMER]


def test_nobody_enters_where_somebody_is(scenario):
    """The newcomer is recorded on the very place where the vehicle beside stands and does not move."""
    stopped = replace(
        scenario.world,
        along=scenario.world.along.at[BESIDE].set(90.0),
        x=scenario.world.x.at[BESIDE].set(90.0),
        speed=jnp.zeros(4),
    )
    standing = Script(
        jnp.zeros((STEPS, 4, 2)).at[..., 0].set(-4.0),
        jnp.ones((STEPS, 4), bool),
        jnp.full((STEPS, 4), -1, jnp.int32),
    )
    record = replace(scenario.record, x=scenario.record.x.at[:, NEWCOMER].set(88.0))
    blocked = Scenario(stopped, record, scenario.ego, scenario.handover * 0, scenario.frames, standing)
    still = as_driver(lambda view: (-4.0, 0.0))
    frames = jax.jit(lambda s: simulate(s, still, mode="reactive", key=jax.random.key(0)).frames)(blocked)
    assert not frames.alive[:, NEWCOMER].any()
    np.testing.assert_allclose(frames.x[-1, BESIDE], 90.0, atol=1e-9)  # the script holds it


def test_what_cannot_be_driven_is_refused(scenario):
    with pytest.raises(
        OptionError, match="expected a mode out of replay, reactive, mixed, learned, got 'real'"
    ):
        simulate(scenario, as_driver(lambda view: (0, 0)), mode="real", key=jax.random.key(0))
    with pytest.raises(ShapeError, match=r"expected a driver to return \(acceleration, curvature\)"):
        as_driver(lambda view: 1.0).act(None, None, key=jax.random.key(0))
    with pytest.raises(ShapeError, match="expected a driver, or a function of an observation, got int"):
        as_driver(3)
    with pytest.raises(ShapeError, match="a name for each of at least one scenario, got 0 names"):
        stack_scenarios([], [], 0.1)


def test_generated_scenarios_are_reproducible_and_their_record_is_reactive_traffic():
    def draw(seed):
        return generated_scenarios(4, kinds=KINDS[1:3], vehicles=8, seconds=1, key=jax.random.key(seed))

    first, again, other = draw(0), draw(0), draw(1)
    assert first.names == ("cut_in 1", "cut_in 2", "hard_braking 1", "hard_braking 2")
    same = jax.tree.map(lambda a, b: bool((a == b).all()), first.scenario, again.scenario)
    assert all(jax.tree.leaves(same))
    assert not bool((first.scenario.record.x == other.scenario.record.x).all())
    record, world = first.scenario.record, first.scenario.world
    np.testing.assert_array_equal(record.x[:, 0], world.x)
    moved = np.hypot(np.diff(record.x, axis=1), np.diff(record.y, axis=1))
    np.testing.assert_allclose(moved, 0.05 * (record.speed[:, 1:] + record.speed[:, :-1]), atol=0.02)
    assert len(first.select([0, 3])) == 2
    with pytest.raises(OptionError, match="at least one scenario and one kind, got 0 of 7"):
        generated_scenarios(0, key=jax.random.key(0))
