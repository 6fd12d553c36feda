import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from foresee.errors import OptionError, ShapeError
from foresee.fit import fit
from foresee.worlds import Deterministic, Unrolled, mean_step, sampled_step, squared_error, unroll

KEY = jax.random.key(0)
ADAM = optax.adam(1e-2)
ACTIONS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
TURN = np.array([[0.97, 0.2], [-0.2, 0.97]])


def step(state, action):
    return {"a": 0.9 * state["a"] + action, "count": state["count"] + 1}


START = {"a": jnp.asarray([1.0, -1.0]), "count": jnp.asarray(0)}


def test_unroll_is_the_loop_for_any_pytree():
    states, state = [], START
    for action in ACTIONS:
        state = step(state, action)
        states.append(state)
    got = unroll(step, START, ACTIONS)
    np.testing.assert_allclose(got["a"], np.stack([state["a"] for state in states]), rtol=1e-12)
    np.testing.assert_array_equal(got["count"], np.arange(1, 7))


def test_steps_without_actions_and_with_keys_of_their_own():
    def drawn(state, action, *, key):
        assert action is None
        return state + jax.random.normal(key)

    got = unroll(drawn, jnp.zeros(()), None, length=4, key=KEY)
    expected = np.cumsum([jax.random.normal(key) for key in jax.random.split(KEY, 4)])
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_checkpoints_change_no_gradient():
    world = Deterministic(2, 2, 2, width=4, depth=1, key=KEY)

    def end(actions, checkpoint):
        one = lambda state, action: mean_step(world, state, action)  # noqa: E731
        return jnp.sum(unroll(one, jnp.ones(2), actions, checkpoint=checkpoint)[-1])

    plain, again = (jax.grad(end)(ACTIONS, flag) for flag in (False, True))
    assert np.abs(plain).min() > 0
    np.testing.assert_allclose(plain, again, rtol=1e-12)


def test_the_number_of_steps_must_be_known_and_one():
    with pytest.raises(OptionError, match="expected actions or a length"):
        unroll(step, START, None)
    with pytest.raises(ShapeError, match="expected one number of steps"):
        unroll(step, START, ACTIONS, length=5)


def test_the_loss_is_the_discounted_mean_of_errors_along_the_models_own_way():
    world = Deterministic(2, 2, 2, width=4, depth=1, key=KEY)
    start, targets = jnp.asarray([0.5, 0.1]), jnp.asarray(np.random.default_rng(1).normal(size=(6, 2)))
    state, errors = start, []
    for action, target in zip(ACTIONS, targets, strict=True):
        state = state + world(state, action).mean()
        errors.append(float(squared_error(state, target)))
    weights = 0.8 ** np.arange(6)
    got = Unrolled(discount=0.8)(world, (start, ACTIONS, targets), key=KEY)
    np.testing.assert_allclose(got, np.sum(weights * errors) / np.sum(weights), rtol=1e-10)
    drawn = Unrolled(sampled_step)(world, (start, ACTIONS, targets), key=KEY)
    assert abs(float(drawn) - np.mean(errors)) > 1e-3


def test_unrolled_training_drifts_less_than_training_on_noisy_steps():
    """Noise on the inputs of a regression makes its slopes too small: an oscillator that dies down."""
    rng = np.random.default_rng(2)
    states = [rng.normal(size=(64, 2))]
    for _ in range(100):
        states.append(states[-1] @ TURN.T)
    truth = np.stack(states, axis=1)
    noisy = truth[:, :17] + 0.4 * rng.normal(size=(64, 17, 2))
    assert np.linalg.norm(truth[:, -1]) / np.linalg.norm(truth[:, 0]) > 0.3

    def drift(window):
        rows = noisy[:, :-1].reshape(-1, 16 // window, window, 2)[:, :, 0].reshape(-1, 2)
        targets = noisy[:, 1:].reshape(-1, window, 2)
        data = (jnp.asarray(rows), None, jnp.asarray(targets))
        # At first nothing moves; the rollouts of a random one explode.
        still = lambda one: one.network.network.layers[0].weight  # noqa: E731
        world = eqx.tree_at(still, Deterministic(2, 0, 2, depth=0, key=KEY), jnp.zeros((2, 2)))
        options = {"key": KEY, "optimizer": ADAM, "epochs": 120, "batch_size": max(16, 256 // window)}
        world = fit(world, Unrolled(), data, **options).model

        def go(start):
            return unroll(lambda state, _: mean_step(world, state, None), start, None, length=100)

        apart = np.asarray(jax.vmap(go)(jnp.asarray(truth[:, 0]))) - truth[:, 1:]
        return np.sqrt(np.mean(np.sum(apart**2, axis=-1), axis=0))[[9, 29, 99]]

    # After 100 steps the one that dies down is at rest, and cannot be further off than that.
    assert np.all(drift(16) < np.array([0.3, 0.6, 1.0]) * drift(1))
