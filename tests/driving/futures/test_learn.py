"""Learning what traffic does next, from a made-up recording in which everybody keeps its speed."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving import make_world, observe, straight_road
from foresee.driving.drivers.stored import load_module, save_module
from foresee.driving.futures.encode import to_lane
from foresee.driving.futures.learn import Blur, examples_of, learn_futures, lessons, mirrored, stretch_of
from foresee.driving.futures.learned import SLOTS, Learned
from foresee.driving.futures.network import TIMES, FutureModel, FutureNetwork, joined
from foresee.driving.futures.windows import windows_from_states
from foresee.driving.sensing import know_exactly
from foresee.errors import TrainingError
from foresee.storage import load, save
from foresee.worlds.trajectories import Trajectories
from tests.made_up import made_roads


@pytest.fixture(scope="module")
def windows(states):
    return windows_from_states(states, made_roads(), horizon=6.0, every=0.1)


@pytest.fixture(scope="module")
def learnt(windows):
    return learn_futures(windows, windows, members=2, width=8, epochs=3, key=jax.random.key(0))


def test_learning_lowers_the_loss_and_keeps_every_network(learnt, windows):
    assert learnt.dropped == 0
    assert learnt.lessons[0] == 4 * learnt.lessons[1]  # two kinds of noise, two mirrors
    losses = np.asarray(learnt.fitted.losses)
    assert (losses[:, -1] < losses[:, 0]).all()
    assert (learnt.model.stretch > 0).all()


def test_what_was_learned_comes_back_from_a_file(learnt, windows, tmp_path):
    save(tmp_path / "world.eqx", learnt.model)
    like = FutureModel(
        eqx.filter_vmap(lambda k: FutureNetwork(width=8, key=k))(jax.random.split(jax.random.key(1)))
    )
    again = load(tmp_path / "world.eqx", like)
    row = jax.tree.map(lambda leaf: leaf[0], lessons(examples_of(windows), key=jax.random.key(0)).row)
    for one, other in zip(
        *(jax.tree.leaves(model.of_row(row)) for model in (learnt.model, again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("belief", ["l2m", "dropout"])
def test_networks_may_be_drawn_from_the_belief_about_one(windows, belief, tmp_path):
    drawn = learn_futures(
        windows, windows, members=3, belief=belief, width=8, epochs=3, key=jax.random.key(0)
    )
    assert drawn.fitted.losses.shape[0] == 1
    row = jax.tree.map(lambda leaf: leaf[0], lessons(examples_of(windows), key=jax.random.key(0)).row)
    told = drawn.model.of_row(row)
    assert jax.tree.leaves(eqx.filter(drawn.model.networks, eqx.is_array))[0].shape[0] == 3
    assert np.isfinite(np.asarray(told.ways.means)).all()
    assert (np.asarray(told.disagreement).max(axis=(0, 1)) > 1e-4).all()
    save_module(tmp_path / "world.eqx", drawn.model, {})
    again = load_module(tmp_path / "world.eqx")[0].of_row(row)
    for one, other in zip(*(jax.tree.leaves(each) for each in (told, again)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stretched_intervals_hold_what_they_say(windows):
    held_out = lessons(examples_of(windows), key=jax.random.key(0))
    shape = held_out.truth.shape
    draw = np.random.default_rng(0).normal(size=shape)

    made_up = held_out._replace(truth=jnp.asarray(draw), scored=jnp.ones(shape[:2], bool))
    # Everybody's mean is known, and every error taken for half of what it is.
    size = (shape[0], 1, *shape[1:])
    ways = Trajectories(jnp.zeros(size), jnp.full(size, 0.5), jnp.zeros(size[:2]))
    np.testing.assert_allclose(stretch_of(ways, made_up), 2.0, rtol=0.1)


def test_too_little_to_learn_from_is_said(windows):
    few = windows.select(np.arange(2))
    with pytest.raises(TrainingError, match="at least 50 vehicles in snapshots to learn from, got"):
        learn_futures(few, windows, members=1, width=8, epochs=1, key=jax.random.key(0))


def test_a_mirror_turns_left_into_right_and_back(windows):
    one = jax.tree.map(lambda leaf: leaf[0], examples_of(windows))
    scene, y = mirrored(one.scene, one.y, jnp.asarray(True))
    np.testing.assert_array_equal(scene.has_left, one.scene.has_right)
    plain, seen = to_lane(one.scene, one.x, one.y), to_lane(scene, one.x, y)
    np.testing.assert_allclose(seen[0], plain[0], atol=1e-4)
    np.testing.assert_allclose(seen[1], -plain[1], atol=1e-4)
    back, y = mirrored(scene, y, jnp.asarray(True))
    np.testing.assert_array_equal(y, one.y)
    np.testing.assert_array_equal(back.vy, one.scene.vy)


def test_noise_is_told_and_is_as_large_as_told(windows):
    one = jax.tree.map(lambda leaf: leaf[0], examples_of(windows))
    blur = Blur(position_sd=0.5, velocity_sd=1.0, often=1.0)
    seen = jax.vmap(lambda key: blur(one.scene, key=key))(jax.random.split(jax.random.key(0), 2000))
    error = (seen.x - one.scene.x) / seen.position_sd
    assert abs(float(error.std()) - 1) < 0.05
    assert float(seen.position_sd.max()) <= 0.5
    assert float(jnp.abs(seen.velocity_sd - 2 * seen.position_sd).max()) < 1e-5


def test_networks_that_part_are_in_doubt():
    one, two = (Trajectories(jnp.full((1, 2, 2), m), jnp.ones((1, 2, 2)), jnp.zeros(1)) for m in (-1.0, 1.0))
    both = joined(jax.tree.map(lambda *leaves: jnp.stack(leaves), one, two), jnp.ones((2, 2)))
    np.testing.assert_allclose(both.ways.sds, np.sqrt(2.0), rtol=1e-6)  # total variance: 1 + 1
    np.testing.assert_allclose(both.disagreement, 1.0, rtol=1e-5)


@pytest.fixture(scope="module")
def behind_the_wheel(learnt):
    lane, along, speed = (
        jnp.array([0, 0, 1]),
        jnp.array([100.0, 140.0, 90.0]),
        jnp.array([20.0, 15.0, 10.0]),
    )
    world = make_world(straight_road(2, 500.0), lane, along, speed)
    view = observe(world, 0, know_exactly(world, 0))
    learned = Learned(learnt.model, nearest=2)
    return view, learned, eqx.filter_jit(Learned.look)


def test_futures_begin_where_vehicles_are(behind_the_wheel):
    view, learned, look = behind_the_wheel
    outlook, memory = look(learned, view, learned.start())
    futures = outlook.futures
    assert futures.x.shape == (3, 6, 1 + len(TIMES))
    np.testing.assert_array_equal(futures.known, [False, True, True])
    np.testing.assert_allclose(futures.x[1, :, 0], view.beliefs.mean[1, 0], rtol=1e-5)
    np.testing.assert_allclose(outlook.own.x[0, :, 0], view.x, rtol=1e-5)
    np.testing.assert_allclose(futures.weights[1].sum(), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(outlook.slots, [2, 1])
    assert memory.seen[0, [1, 2, SLOTS]].all()
    assert not memory.seen[0, 0]  # the ego is not among the others


def test_the_past_is_known_after_a_second(behind_the_wheel):
    view, learned, look = behind_the_wheel
    memory = learned.start()
    before = []
    for _ in range(11):
        outlook, memory = look(learned, view, memory)
        before.append(np.asarray(outlook.scene.before_seen).all(axis=1))
    np.testing.assert_array_equal(before[4], [False, False])
    np.testing.assert_array_equal(before[5], [True, False])
    np.testing.assert_array_equal(before[10], [True, True])


def test_doubt_of_the_beliefs_is_told(behind_the_wheel):
    view, learned, look = behind_the_wheel
    beliefs = replace(view.beliefs, covariance=jnp.broadcast_to(0.25 * jnp.eye(4), (3, 4, 4)))
    outlook, _ = look(learned, replace(view, beliefs=beliefs), learned.start())
    np.testing.assert_allclose(outlook.scene.position_sd, [0.5, 0.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(outlook.futures.along_sd[1, :, 0], 0.5, rtol=1e-6)
