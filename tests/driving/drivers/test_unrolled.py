from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.costs import Costs
from foresee.driving.drivers.policy import member, new_policies, new_policy
from foresee.driving.drivers.rollout import Ahead, unroll, windows
from foresee.driving.drivers.unrolled import Coefficients, Student, UnrolledLoss, train_unrolled
from foresee.driving.traffic_model import AbstractTraffic
from foresee.errors import OptionError, RecordingError, ShapeError
from foresee.fit.known import Known
from tests.evaluations import made_scenarios

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def cut():
    return windows(made_scenarios(2), seconds=0.8, every=2.0, nearest=3, thin=2)


@pytest.fixture(scope="module")
def window(cut):
    """The ego is a little off its record, and nearer to the one ahead, who is slower."""
    one = jax.tree.map(lambda leaf: leaf[0], cut.scenario)
    world = one.world
    world = replace(
        world,
        y=world.y.at[0].add(0.3),
        offset=world.offset.at[0].add(0.3),
        speed=world.speed.at[1].set(7.0),
    )
    return replace(one, world=world)


class Braking(AbstractTraffic):
    """Everybody brakes, the harder the longer it has been."""

    hardness: jax.Array

    def start(self, world):
        return jnp.ones(())

    def act(self, world, memory, *, key):
        return jnp.stack([jnp.full_like(world.x, -self.hardness * memory), 0 * world.x], axis=1), memory + 1


def gap_doubt(world, memory, *, key):
    """Something smooth that depends on the ego, in the place of a model's doubt."""
    return jnp.exp(-0.02 * (world.x[1] - world.x[0]))


def lane_cost(view, action, last_action, dt):
    """Something simple that is at its least in the middle of the lane."""
    return (view.offset / 0.5) ** 2


def test_windows_may_end_with_the_record(cut):
    got = windows(made_scenarios(1), seconds=0.8, least=0.4, every=1.8, nearest=2, thin=2)
    np.testing.assert_array_equal(got.scenario.frames, [4, 4, 4, 2])
    np.testing.assert_array_equal(got.scenario.record.x[-1, :, 0], [104.0, 106.0, 108.0, 109.0, 109.0])


def test_windows_hold_the_record_and_who_comes_nearest(cut):
    whole = made_scenarios(2).scenario.record
    assert cut.dt == pytest.approx(0.2)
    assert cut.names == ("s0/0",) * 3 + ("s1/1",) * 3
    record = cut.scenario.record
    assert record.x.shape == (6, 5, 3)
    np.testing.assert_array_equal(record.x[1], whole.x[0, 20:30:2][:, jnp.asarray([0, 2, 1])])
    np.testing.assert_array_equal(cut.scenario.world.x, record.x[:, 0])
    np.testing.assert_array_equal(cut.scenario.frames, 4)


@pytest.mark.parametrize(("mode", "cost"), [("replay", Costs()), ("reactive", lane_cost)])
def test_gradients_are_those_of_finite_differences(window, mode, cost):
    """Through four steps, of imitation, cost and doubt together, along a random direction of all weights."""
    policy = new_policy(6, 1, key=KEY)
    weights = Known(Coefficients(1.0, 1.0, 0.7))
    loss = UnrolledLoss(cost, None, gap_doubt, jnp.asarray(0.2), mode)
    keys = iter(jax.random.split(KEY, 10))
    direction = jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape), policy)

    @jax.jit
    def along(step):
        return jax.value_and_grad(lambda s: loss(Student(at(s), weights), window, key=KEY))(step)

    def at(step):
        return jax.tree.map(lambda leaf, way: leaf + step * way, policy, direction)

    slope = along(0.03)[1]
    around = (along(0.03 + 1e-5)[0] - along(0.03 - 1e-5)[0]) / 2e-5
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(slope, around, rtol=1e-5)


def test_a_traffic_model_moves_the_others_and_tells_its_doubt(window):
    def speed(world, memory, *, key):
        return world.speed[1] + 0.0 * memory

    drive = eqx.filter_jit(
        lambda traffic: unroll(
            new_policy(4, 1, key=KEY), window, 0.2, mode="learned", traffic=traffic, doubt=speed, key=KEY
        )
    )
    got = drive(Braking(jnp.asarray(1.0)))
    begun = window.world.speed[1]
    np.testing.assert_allclose(got.doubts, begun - 0.2 * np.cumsum([1, 2, 3, 4]), rtol=1e-12)
    np.testing.assert_array_equal(got.costs, 0.0)
    assert got.ego.shape == (4, 4)


def test_a_doubt_that_is_asked_for_rarely_stands_for_all_steps(window):
    def drive(every):
        policy = new_policy(4, 1, key=KEY)

        def doubts(weight):
            moved = eqx.tree_at(lambda p: p.layers[-1].bias, policy, policy.layers[-1].bias + weight)
            return unroll(moved, window, 0.2, doubt=gap_doubt, doubt_every=every, key=KEY).doubts

        return jax.jit(doubts)(0.0), jax.jit(jax.jacfwd(doubts))(0.0)

    (every, slopes), (rare, rare_slopes) = drive(1), drive(2)
    for often, seldom in ((every, rare), (slopes, rare_slopes)):
        np.testing.assert_array_equal(seldom[0::2], 0.0)
        np.testing.assert_allclose(seldom[1::2], 2 * often[1::2], rtol=1e-9)
    assert np.abs(slopes).max() > 0


def test_every_method_brings_back_who_left_the_lane(cut):
    """Two methods and two members at once, and one that diverges; the same key gives the same weights."""
    policies = new_policies(2, 4, 1, key=KEY)
    begun = eqx.tree_at(lambda p: p.layers[-1].bias, policies, jnp.asarray([[0.0, 0.4, 1.0]] * 2))
    methods = {
        "mper": Coefficients(1.0),
        "mpur": Coefficients(0.0, 1.0, 0.01),
        "wild": Coefficients(imitation=jnp.nan),
    }

    def train():
        return train_unrolled(
            begun, cut, methods=methods, doubt=gap_doubt, costs=lane_cost, epochs=40, batch_size=6,
            learning_rate=0.03, perturbations=None, key=KEY,
        )  # fmt: skip

    got, again = train(), train()
    assert got.fitted.losses.shape == (6, 40)
    for name in methods:
        assert got.policies[name].name == name
        assert got.diverged[name].all() == (name == "wild")
        for one, other in zip(*(jax.tree.leaves(r.policies[name]) for r in (got, again)), strict=True):
            np.testing.assert_array_equal(one, other)
    losses = np.asarray(got.fitted.losses)
    assert np.all(losses[:4, -1] < 0.5 * losses[:4, 0])
    # Steps that lead nowhere are left out: these are the last good weights.
    for one, other in zip(jax.tree.leaves(got.policies["wild"]), jax.tree.leaves(begun), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_the_record_does_not_cover_does_not_count(window):
    loss = UnrolledLoss(Costs(), None, None, jnp.asarray(0.2))
    ahead = Ahead(jnp.arange(16.0).reshape(4, 4), jnp.arange(4.0), jnp.arange(4.0))
    short = replace(window, frames=jnp.asarray(2))
    all_three = Coefficients(1.0, 10.0, 100.0)
    away = np.hypot(ahead.ego[:2, 0] - short.record.x[1:3, 0], ahead.ego[:2, 1] - short.record.y[1:3, 0])
    wanted = np.mean(np.sqrt(away**2 + 0.01) - 0.1) + 10 * 0.5 * 0.99**2 + 100 * 0.5
    assert loss.weighed(ahead, short, all_three) == pytest.approx(wanted)


def test_what_cannot_be_trained_is_refused(cut, window):
    scenarios, policies = made_scenarios(1), new_policies(1, 4, 1, key=KEY)
    with pytest.raises(RecordingError, match=r"at least the horizon of 8 s, got at most 5\.9 s"):
        windows(scenarios, seconds=8)
    with pytest.raises(OptionError, match="nearest to be positive, got 0"):
        windows(scenarios, nearest=0)
    with pytest.raises(OptionError, match=r"a step of 0\.2 s"):
        windows(scenarios, seconds=0.05)
    with pytest.raises(OptionError, match="doubt of the traffic model for mpur"):
        train_unrolled(policies, cut, methods={"mpur": Coefficients(0.0, 1.0, 0.5)}, key=KEY)
    with pytest.raises(OptionError, match="at least one method"):
        train_unrolled(policies, cut, methods={}, key=KEY)
    with pytest.raises(ShapeError, match="leading axis"):
        train_unrolled(member(policies, 0), cut, methods={"mper": Coefficients(1.0)}, key=KEY)
    with pytest.raises(ShapeError, match=r"windows of 0\.2 s a step, got 0\.1 s"):
        train_unrolled(policies, cut, methods={"mper": Coefficients(1.0)}, validation=scenarios, key=KEY)
    for mode, told in (("learned", "a traffic model"), ("backwards", "a mode out of replay")):
        with pytest.raises(OptionError, match=told):
            unroll(member(policies, 0), window, 0.2, mode=mode, key=KEY)
