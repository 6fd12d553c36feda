"""Learned traffic: exact kinematics under a network, its training in closed loop, its doubt."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving import LaneKeeper, evaluate, generated_scenarios, make_world, straight_road
from foresee.driving.drivers.rollout import windows
from foresee.driving.futures.learn_traffic import (
    TrafficLoss,
    driven,
    learn_traffic,
    unrolled,
    waypoints,
)
from foresee.driving.futures.traffic import LATENT, Situation, StepNetwork, controls, nothing_seen
from foresee.driving.futures.traffic_doubt import belief_about, traffic_doubt
from foresee.errors import OptionError, TrainingError


@pytest.fixture(scope="module")
def scenarios():
    return generated_scenarios(24, kinds=("cruise",), vehicles=5, seconds=2.0, key=jax.random.key(0))


@pytest.fixture(scope="module")
def stretches(scenarios):
    return windows(scenarios, seconds=1.6, every=2.0, nearest=5, thin=2)


@pytest.fixture(scope="module")
def learnt(stretches):
    return learn_traffic(stretches, members=2, width=8, epochs=2, key=jax.random.key(0))


def test_training_keeps_finite_networks(learnt, stretches):
    assert learnt.stretches == len(stretches)
    assert np.isfinite(np.asarray(learnt.fitted.losses)).all()


def test_the_loss_has_the_slope_of_finite_differences(stretches):
    network = StepNetwork(width=8, dropout=0.0, key=jax.random.key(1))
    stretch = jax.tree.map(lambda leaf: leaf[0], stretches.scenario)
    loss = TrafficLoss(dt=0.2)

    @eqx.filter_jit
    def value(shift):
        moved = eqx.tree_at(lambda n: n.decode.layers[-1].bias, network, replace_fn=lambda b: b + shift)
        return loss(moved, stretch, key=jax.random.key(2))

    slope = jax.grad(value)(jnp.zeros(2))
    for i in range(2):
        step = 1e-5 * jnp.eye(2)[i]
        np.testing.assert_allclose(slope[i], (value(step) - value(-step)) / 2e-5, rtol=1e-4, atol=1e-8)


def test_the_ego_follows_its_record_and_nobody_else_is_told_of_the_future(stretches):
    network = StepNetwork(width=8, key=jax.random.key(1))
    stretch = jax.tree.map(lambda leaf: leaf[0], stretches.scenario)
    z = jnp.zeros((stretch.world.vehicles, LATENT))
    x, _ = eqx.filter_jit(unrolled)(network, stretch, z, 0.2, key=None)
    np.testing.assert_allclose(x[:, 0], stretch.record.x[1:, 0])
    assert not driven(stretch)[0]
    assert np.isfinite(waypoints(stretch.world, stretch.record, 0.2)).all()


def test_who_is_off_the_middle_is_drawn_back_to_it():
    road = straight_road(1, 400.0)
    world = make_world(road, jnp.array([0]), jnp.array([50.0]), jnp.array([20.0]), offset=jnp.array([1.0]))
    wanted = controls(world, jnp.array([[0.5, 0.0]]))
    np.testing.assert_allclose(wanted[0], [0.5, -0.3 / 400.0], rtol=1e-6)


def test_learned_traffic_moves_everybody_and_is_the_same_for_a_key(learnt, scenarios):
    few = scenarios.select(range(2))
    options = {"traffic": learnt.traffic(), "keep": 2}
    one, same = (evaluate(LaneKeeper(), few, "learned", key=jax.random.key(5), **options) for _ in range(2))
    np.testing.assert_array_equal(one.episodes.frames.x, same.episodes.frames.x)
    other = evaluate(LaneKeeper(), few, "learned", key=jax.random.key(6), **options)
    assert not np.allclose(one.episodes.frames.x[:, -1, 1:], other.episodes.frames.x[:, -1, 1:])
    with pytest.raises(OptionError, match="expected a traffic model for learned traffic, got none"):
        evaluate(LaneKeeper(), few, "learned", key=jax.random.key(5))


def test_doubt_beyond_the_usual_costs(learnt, stretches):
    few = stretches.select(range(6))
    doubt = traffic_doubt(learnt.networks, few, draws=2, key=jax.random.key(0))
    stretch = jax.tree.map(lambda leaf: leaf[0], few.scenario)
    memory = nothing_seen(stretch.world, 0.2)

    @eqx.filter_jit
    def ask(at):
        world = eqx.tree_at(lambda w: w.speed, stretch.world, at)
        return doubt(world, memory, key=jax.random.key(1))

    speed = stretch.world.speed
    usual, strange = ask(speed), ask(speed.at[0].set(0.0).at[1].set(60.0))
    assert strange >= usual >= 0
    assert np.isfinite(jax.grad(lambda at: ask(at))(speed)).all()


def test_a_single_network_is_doubted_by_its_dropout():
    network = eqx.filter_vmap(lambda k: StepNetwork(width=8, dropout=0.2, key=k))(jax.random.key(0)[None])
    belief = belief_about(network)
    one, other = (belief.sample(key=jax.random.key(i)) for i in range(2))
    case = Situation(jnp.ones(19), jnp.ones((3, 13)), jnp.ones(3, bool), jnp.zeros(LATENT))
    assert not np.allclose(one(case), other(case))
    np.testing.assert_array_equal(one(case), one(case))


def test_too_few_stretches_are_refused(stretches):
    with pytest.raises(TrainingError, match="at least 20 stretches of traffic to learn from, got 3"):
        learn_traffic(stretches.select(range(3)), key=jax.random.key(0))
