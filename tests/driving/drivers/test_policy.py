from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.drivers.policy import (
    bounded_acceleration,
    features,
    highway_action,
    member,
    members_of,
    new_policies,
    new_policy,
)
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.sensing import know_exactly
from foresee.driving.vector import vector
from foresee.errors import OptionError, ShapeError
from foresee.storage import load, save

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def view():
    """At 20 m/s, half a metre too far left, 30 m behind somebody at 15 m/s."""
    world = make_world(
        straight_road(2, 500.0), jnp.asarray([0, 0]), jnp.asarray([100.0, 134.7]), jnp.asarray([20.0, 15.0]),
        offset=jnp.asarray([0.5, 0.0]),
    )  # fmt: skip
    return jax.jit(lambda world: observe(world, 0, know_exactly(world, 0)))(world)


def with_last(policy, bias):
    """The same hidden layers, and a last one that always says the same."""
    last = policy.layers[-1]
    last = jax.tree.unflatten(
        jax.tree.structure(last), [jnp.zeros_like(last.weight), jnp.asarray(bias, last.weight.dtype)]
    )
    return replace(policy, layers=(*policy.layers[:-1], last))


def test_it_keeps_to_what_it_aims_at_as_the_view_does(view):
    policy = new_policy(8, 1, key=KEY)
    action, memory = with_last(policy, [0.0, 0.0, 0.0]).act(view, None, key=KEY)
    assert memory is None
    np.testing.assert_allclose(action, [0.0, view.keep_lane()], atol=1e-9)
    aside = with_last(policy, [0.0, np.arctanh(1 / 1.5), 0.0])(vector(view))
    np.testing.assert_allclose(aside[1], view.keep_lane(view.lane_width), rtol=1e-9)
    pushed = with_last(policy, [0.0, 0.0, 0.5])(vector(view))
    added = 1.5 * np.tanh(0.5 / 1.5) / 20.0**2
    np.testing.assert_allclose(pushed[1], view.keep_lane() + added, rtol=1e-9)


def test_acceleration_is_bounded_smoothly():
    push = jnp.asarray([-1e3, -1.0, 0.0, 1.0, 1e3])
    wanted = -1.5 + 4.5 * np.tanh(np.asarray(push) / 4.5 + np.arctanh(1.5 / 4.5))
    np.testing.assert_allclose(bounded_acceleration(push), wanted, atol=1e-12)
    np.testing.assert_allclose(
        bounded_acceleration(push)[jnp.asarray([0, 2, 4])], [-6.0, 0.0, 3.0], atol=1e-9
    )


def test_the_network_is_told_how_hard_it_will_have_to_brake(view):
    numbers = np.asarray(vector(view))
    shown = np.asarray(features(jnp.asarray(numbers)))
    np.testing.assert_array_equal(shown[:59], numbers)
    assert shown[59] == pytest.approx(5 / 35)  # 30 m ahead
    assert shown[65] == pytest.approx(5 / 35 * 0.5)  # closing with 5 m/s
    assert shown[71] == pytest.approx(5.0**2 / (2 * 31.0) / 3.0)
    assert np.all(shown[60:65] == 0)  # nobody else is there


def test_what_is_saved_drives_as_before(view, tmp_path):
    policy = new_policy(8, 1, name="bc", key=KEY)
    save(tmp_path / "bc.eqx", policy)
    again = load(tmp_path / "bc.eqx", new_policy(8, 1, name="bc", key=jax.random.key(1)))
    np.testing.assert_array_equal(again(vector(view)), policy(vector(view)))
    assert again.name == "bc"
    assert np.any(policy(vector(view)) != new_policy(8, 1, key=jax.random.key(1))(vector(view)))


def test_gradients_are_finite_where_nobody_is_and_nothing_moves():
    policy, numbers = new_policy(4, 1, key=KEY), jnp.asarray([[0.0], [-10.0], [10.0]]) * jnp.ones(59)
    gradient = jax.jit(jax.vmap(jax.grad(lambda n: policy(n).sum())))(numbers)
    assert np.isfinite(gradient).all()


def test_several_lie_along_one_axis():
    many = new_policies(3, 4, 2, name="mper", key=KEY)
    assert members_of(many) == 3
    assert many.name == member(many, 1).name == "mper"
    assert replace(many, name="vg").name == "vg"
    with pytest.raises(ShapeError, match="leading axis"):
        members_of(member(many, 0))
    with pytest.raises(OptionError, match="hidden layer"):
        new_policy(0, key=KEY)


def test_it_drives_in_the_environment_of_gymnasium():
    pytest.importorskip("gymnasium")
    from foresee.driving.environment import HighwayEnv

    env = HighwayEnv(lanes=2, length=400.0, vehicles=4, duration=2.0)
    policy = with_last(new_policy(8, 1, key=KEY), [1.0, 0.0, 0.0])
    numbers, _ = env.reset(seed=0)
    speed = 10 * numbers[0]
    for _ in range(5):
        action = highway_action(policy, jnp.asarray(numbers))
        numbers, _, ended, _, _ = env.step(np.asarray(action, np.float32))
        assert not ended
    pushed = -1.5 + 4.5 * np.tanh(1 / 4.5 + np.arctanh(1.5 / 4.5))
    assert 10 * numbers[0] == pytest.approx(speed + 0.5 * pushed, abs=1e-3)
