import importlib
import sys
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402

from foresee.driving.environment import NAME, HighwayEnv, HighwayVectorEnv  # noqa: E402
from foresee.driving.highway import Highway  # noqa: E402
from foresee.driving.picture import ASPHALT, EGO, GROUND, NOSE, OTHER  # noqa: E402
from foresee.driving.sensing import Sensing  # noqa: E402
from foresee.driving.vector import layout  # noqa: E402
from foresee.errors import MissingExtraError, OptionError  # noqa: E402

TASK = {"lanes": 2, "length": 400.0, "vehicles": 8, "duration": 4.0}
STRAIGHT = np.zeros(2, np.float32)


@pytest.fixture(scope="module")
def highway():
    return Highway(**TASK)


@pytest.fixture
def env(highway):
    return HighwayEnv(render_mode="rgb_array", highway=highway)


def test_the_checker_of_gymnasium_has_nothing_to_say():
    made = gymnasium.make(NAME, render_mode="rgb_array", **TASK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)


def test_many_are_the_same_as_each_by_itself(highway):
    """In every step of several episodes: what is seen, what is earned, what ends, and what is told."""
    many = HighwayVectorEnv(2, highway=highway)
    each = gymnasium.vector.SyncVectorEnv([lambda: HighwayEnv(highway=highway)] * 2)
    assert many.observation_space == each.observation_space
    assert many.action_space == each.action_space
    assert many.metadata["autoreset_mode"] == each.metadata["autoreset_mode"]
    rng = np.random.default_rng(0)
    one, two, ended, cut = many.reset(seed=7), each.reset(seed=7), 0, 0
    np.testing.assert_allclose(one[0], two[0], atol=1e-6)
    for _ in range(100):
        actions = (rng.uniform(-1, 1, (2, 2)) * [0.3, 0.5]).astype(np.float32)
        one, two = many.step(actions), each.step(actions)
        np.testing.assert_allclose(one[0], two[0], atol=1e-5)
        np.testing.assert_allclose(one[1], two[1], atol=1e-5)
        np.testing.assert_array_equal(one[2], two[2])
        np.testing.assert_array_equal(one[3], two[3])
        assert set(one[4]) == set(two[4])
        for name, values in one[4].items():
            np.testing.assert_allclose(values, two[4][name], atol=1e-4)
            assert values.dtype == two[4][name].dtype
        ended, cut = ended + one[2].sum(), cut + one[3].sum()
    assert ended > 0
    assert cut > 0


def run_until_over(envs):
    for count in range(1, 200):
        step = envs.step(np.zeros((2, 2), np.float32))
        if (step[2] | step[3]).any():
            return count, step
    raise AssertionError("no episode ended")


def test_an_episode_can_begin_anew_in_the_same_step_or_only_when_asked(highway):
    following, same, asked = (
        HighwayVectorEnv(2, highway=highway, autoreset_mode=mode)
        for mode in ("NextStep", "SameStep", "Disabled")
    )
    starts = [envs.reset(seed=3)[0] for envs in (following, same, asked)]
    np.testing.assert_array_equal(starts[0], starts[1])
    (count, last), (count_same, step), (count_asked, end) = map(run_until_over, (following, same, asked))
    assert count == count_same == count_asked
    over = last[2] | last[3]
    np.testing.assert_array_equal(np.stack(step[4]["final_obs"][over]), last[0][over])
    np.testing.assert_array_equal(step[4]["_final_obs"], over)
    again, reward, ended, cut, _ = following.step(np.zeros((2, 2), np.float32))
    np.testing.assert_array_equal(step[0][over], again[over])
    for values in (reward, ended, cut):
        assert not values[over].any()
    np.testing.assert_array_equal(end[0], last[0])
    with pytest.raises(OptionError, match="expected a reset of environments"):
        asked.step(np.zeros((2, 2), np.float32))
    fresh, _ = asked.reset(options={"reset_mask": over})
    np.testing.assert_array_equal(fresh[over], again[over])
    np.testing.assert_array_equal(fresh[~over], last[0][~over])
    asked.step(np.zeros((2, 2), np.float32))


def put(env, *, along, lane_of=None):
    """Move the ego along the road, or onto another vehicle."""
    state = env._batch.states
    world = state.world
    x, lane = (along, world.lane[0, 0]) if lane_of is None else (world.x[0, lane_of], world.lane[0, lane_of])
    y = -3.5 * lane
    moved = eqx.tree_at(
        lambda w: (w.x, w.y, w.along, w.lane, w.target),
        world,
        tuple(
            values.at[0, 0].set(value)
            for values, value in (
                (world.x, x), (world.y, y), (world.along, x), (world.lane, lane), (world.target, lane)
            )
        ),
    )  # fmt: skip
    env._batch.states = eqx.tree_at(lambda s: s.world, state, moved)


def test_episodes_end_for_the_reasons_that_are_stated(env):
    def told(info):
        return {name for name in ("collision", "off_road", "arrived") if info[name]}

    env.reset(seed=1)
    put(env, along=394.0)
    _, reward, ended, cut, info = env.step(STRAIGHT)
    assert (ended, cut, told(info)) == (True, False, {"arrived"})
    assert reward > 0
    env.reset(seed=1)
    put(env, along=0.0, lane_of=3)
    _, reward, ended, cut, info = env.step(STRAIGHT)
    assert (ended, cut, told(info)) == (True, False, {"collision"})
    assert reward < -15
    env.reset(seed=1)
    for _ in range(40):
        _, _, ended, cut, info = env.step(np.asarray([0.0, 1.0], np.float32))
        if ended:
            break
    assert told(info) in ({"off_road"}, {"off_road", "collision"})
    env.reset(seed=1)
    put(env, along=250.0)
    steps = [env.step(np.asarray([-0.2, 0.0], np.float32)) for _ in range(40)]
    assert [step[2] or step[3] for step in steps] == [False] * 39 + [True]
    assert steps[-1][3]
    assert not steps[-1][2]


def test_the_reward_is_that_of_the_formula(env, highway):
    """Progress minus proximity, lane and comfort, from the numbers of the observation."""
    env.reset(seed=5)
    rng = np.random.default_rng(1)
    names = {name.split(" [")[0]: i for i, name in enumerate(layout())}
    for _ in range(12):
        seen, reward, ended, _, info = env.step((rng.uniform(-1, 1, 2) * [1.0, 0.2]).astype(np.float32))
        assert not ended
        speed, angle = info["speed"], 0.1 * seen[names["angle"]]
        gap = 50.0 * seen[names["ahead.gap"]]
        near = np.clip(1 - gap / (1.5 * speed + 1), 0, 1)
        aside = min(abs(3.5 * seen[names["offset"]]) / 1.75, 1.0)
        hard = (3.0 * seen[names["acceleration"]]) ** 2 + (0.02 * seen[names["curvature"]] * speed**2) ** 2
        expected = speed * np.cos(angle) / 30.0 - near - 0.2 * aside - 0.1 * min(hard / 9.0, 1.0)
        np.testing.assert_allclose(reward, expected, atol=1e-4)


def test_the_picture_shows_the_ego_and_the_others(env):
    env.reset(seed=2)
    put(env, along=100.0)
    frame = env.render()
    assert frame.shape == (120, 640, 3)
    assert frame.dtype == np.uint8

    def share(colour):
        return (frame == np.asarray(colour)).all(axis=2)

    own = share(EGO)
    pixels = 4.7 * 1.9 * 25
    assert 0.75 * pixels < own.sum() < 1.1 * pixels
    rows, columns = np.nonzero(own)
    assert abs(columns.mean() - 640 / 3) < 6
    assert abs(rows.mean() - 60) < 2
    assert share(OTHER).sum() > 0.8 * pixels
    assert share(NOSE).any()
    assert 0.2 < share(ASPHALT).mean() < 0.6
    assert 0.3 < share(GROUND).mean() < 0.8


def test_an_ego_that_senses_goes_on_in_the_same_form():
    """What a step returns has the form of what it was given, in the world's precision."""
    highway = Highway(**TASK, sensing=Sensing())
    state = highway.blank()
    after, outcome = eqx.filter_eval_shape(
        lambda state, key: highway.advance(state, jnp.zeros(2), True, key=key), state, jax.random.key(0)
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert outcome.observation.shape == (len(layout()),)


def test_every_seed_begins_with_vehicles_apart(highway):
    """And different seeds with different traffic."""
    worlds = jax.jit(jax.vmap(lambda key: highway._draw(key).along))(jax.random.split(jax.random.key(0), 50))
    along = np.asarray(worlds)
    assert len(np.unique(along[:, 0])) == 50
    assert along.min() > 0
    assert along.max() < 300.0


def test_without_gymnasium_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "foresee.driving.environment")
    with pytest.raises(MissingExtraError, match=r"pip install 'foresee\[gym\]'"):
        importlib.import_module("foresee.driving.environment")


def test_wrong_options_are_named(highway):
    with pytest.raises(OptionError, match="render_mode"):
        HighwayEnv(render_mode="human", highway=highway)
    with pytest.raises(OptionError, match="at least one environment"):
        HighwayVectorEnv(0, highway=highway)
    with pytest.raises(OptionError, match="rows more than 25 m apart"):
        Highway(length=100.0)
    with pytest.raises(OptionError, match="seeds and flags"):
        HighwayVectorEnv(2, highway=highway).reset(seed=[1])
