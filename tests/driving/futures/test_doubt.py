from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.policy import new_policy
from foresee.driving.drivers.rollout import unroll
from foresee.driving.futures.doubt import Doubt, Past, disagreement, fit_doubt
from foresee.driving.futures.network import FutureModel, FutureNetwork
from foresee.errors import RecordingError
from tests.evaluations import made_scenarios


@pytest.fixture(scope="module")
def model():
    keys = jax.random.split(jax.random.key(0), 2)
    return FutureModel(eqx.filter_vmap(lambda key: FutureNetwork(width=8, key=key))(keys))


def thinned(scenarios, frames=12):
    record = jax.tree.map(lambda leaf: leaf[:, : 2 * frames : 2], scenarios.scenario.record)
    short = replace(scenarios.scenario, record=record, frames=jnp.full(len(scenarios), frames - 1))
    return replace(scenarios, scenario=short, dt=2 * scenarios.dt)


def test_doubt_is_none_where_networks_agree_and_usual_on_recorded_ways(model):
    windows = thinned(made_scenarios(2))
    doubt = fit_doubt(model, windows)
    assert float(doubt.mean) > 0
    first = eqx.filter(model.networks, eqx.is_array)
    same = jax.tree.map(lambda leaf: jnp.stack([leaf[0]] * 2), first)
    alike = FutureModel(eqx.combine(same, model.networks))
    assert float(fit_doubt(alike, windows).mean) < 1e-9
    with pytest.raises(RecordingError, match="windows of more than 1 s"):
        fit_doubt(model, thinned(made_scenarios(2), frames=4))


def test_policies_can_follow_its_gradient(model):
    window = jax.tree.map(lambda leaf: leaf[0], thinned(made_scenarios(1), frames=8).scenario)
    policy = new_policy(8, 1, key=jax.random.key(1))
    doubt = Doubt(model, hinge=0.0, dt=0.2)

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def doubted(policy):
        ahead = unroll(policy, window, 0.2, traffic=Past(0.2), doubt=doubt, key=jax.random.key(0))
        return ahead.doubts.mean()

    value, slope = doubted(policy)
    assert float(value) > 0
    steps = [np.asarray(leaf) for leaf in jax.tree.leaves(slope)]
    assert all(np.isfinite(leaf).all() for leaf in steps)
    assert any(np.abs(leaf).max() > 0 for leaf in steps)


def test_what_nobody_knows_is_not_counted(model):
    from foresee.driving.futures.traffic import remember, seen_exactly

    world = jax.tree.map(lambda leaf: leaf[0], made_scenarios(1).scenario.world)
    past = Past(0.2)
    scene = seen_exactly(world, remember(world, past.start(world)), 0.2)
    gone = replace(world, alive=world.alive.at[3].set(False), x=world.x.at[3].set(jnp.inf))
    there = seen_exactly(gone, remember(gone, past.start(gone)), 0.2)
    assert np.isfinite(float(disagreement(model, replace(there, x=scene.x))))
