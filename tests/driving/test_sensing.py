import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.sensing import Sensing, hidden, know_exactly, worst_sd
from foresee.errors import ForeseeError

DT, FRAMES, MANY = 0.1, 25, 240
DENSITY, POSITION_SD, NEWCOMER_SD, DROPOUT = 0.8, 0.6, 5.0, 0.2


@functools.cache
def road():
    return straight_road(3, 400.0, spacing=20.0)


def world_of(lanes, along, *, offset=None, speed=25.0):
    count = len(lanes)
    return make_world(
        road(),
        jnp.asarray(lanes),
        jnp.asarray(along, float),
        jnp.full(count, speed),
        offset=None if offset is None else jnp.asarray(offset, float),
        check=False,
    )


def constant_velocity(dt):
    """Matrices of the textbook for state x, y, vx, vy."""
    eye = np.eye(2)
    matrix = np.block([[eye, dt * eye], [0 * eye, eye]])
    noise = DENSITY * np.block([[dt**3 / 3 * eye, dt**2 / 2 * eye], [dt**2 / 2 * eye, dt * eye]])
    return matrix, noise


@pytest.fixture(scope="module")
def run():
    """Vehicles that move as the filter believes they do, and what it believed of them."""
    rng = np.random.default_rng(3)
    matrix, noise = constant_velocity(DT)
    factor = np.linalg.cholesky(noise)
    state = np.zeros((MANY, 4))
    state[:, 0] = rng.uniform(50, 350, MANY)
    state[:, 2] = 25.0 + NEWCOMER_SD * rng.normal(size=MANY)
    state[:, 3] = 0.2 * NEWCOMER_SD * rng.normal(size=MANY)
    states = [state]
    for _ in range(FRAMES - 1):
        states.append(states[-1] @ matrix.T + rng.normal(size=(MANY, 4)) @ factor.T)
    states = np.stack(states)
    states[:, 0] = [0.0, 0.0, 25.0, 0.0]  # the ego, which everybody's newcomers are compared with
    world = world_of(np.ones(MANY, int), states[0, :, 0])
    sensing = Sensing(POSITION_SD, None, DROPOUT, 1e4, DENSITY, NEWCOMER_SD, 1e3, occlusion=False)

    @jax.jit
    def believe(states, key):
        def frame(beliefs, moment):
            state, key = moment
            x, y, vx, vy = state.T
            now = eqx.tree_at(
                lambda w: (w.x, w.y, w.heading, w.speed, w.along),
                world,
                (x, y, jnp.arctan2(vy, vx), jnp.hypot(vx, vy), x),
            )
            beliefs = sensing.update(beliefs, now, 0, DT, key=key)
            return beliefs, beliefs

        keys = jax.random.split(key, FRAMES)
        return jax.lax.scan(frame, sensing.start(world, 0), (states, keys))[1]

    return states, jax.tree.map(np.asarray, believe(jnp.asarray(states), jax.random.key(1)))


def test_errors_are_as_large_as_believed(run):
    """The squared Mahalanobis distance of the truth has mean 4 and variance 8 per vehicle."""
    states, beliefs = run
    assert not beliefs.known[:, 0].any()
    for frame in (0, 5, FRAMES - 1):
        known = beliefs.known[frame]
        error = states[frame, known] - beliefs.mean[frame, known]
        squares = np.einsum("vi,vij,vj->v", error, np.linalg.inv(beliefs.covariance[frame, known]), error)
        assert abs(squares.mean() - 4.0) < 4.0 * np.sqrt(8.0 / known.sum())
        ninety = (squares < 7.779).mean()  # quantile of chi-square with 4 degrees of freedom
        assert abs(ninety - 0.9) < 4.0 * np.sqrt(0.09 / known.sum())


def test_doubt_is_that_of_the_textbook_filter(run):
    """The covariance does not depend on what is measured, only on when."""
    _, beliefs = run
    matrix, noise = constant_velocity(DT)
    observe, measured = np.eye(2, 4), POSITION_SD**2 * np.eye(2)
    first = np.diag([POSITION_SD**2, POSITION_SD**2, NEWCOMER_SD**2, (0.2 * NEWCOMER_SD) ** 2])
    for vehicle in range(1, 12):
        covariance = None
        for frame in range(FRAMES):
            seen = beliefs.seen[frame, vehicle]
            if covariance is not None:
                covariance = matrix @ covariance @ matrix.T + noise
                if seen:
                    gain = covariance @ observe.T @ np.linalg.inv(observe @ covariance @ observe.T + measured)
                    covariance = (np.eye(4) - gain @ observe) @ covariance
            elif seen:
                covariance = first
            assert beliefs.known[frame, vehicle] == (covariance is not None)
            expected = np.zeros((4, 4)) if covariance is None else covariance
            np.testing.assert_allclose(beliefs.covariance[frame, vehicle], expected, rtol=1e-9, atol=1e-9)


def test_dropouts_come_as_often_as_stated(run):
    _, beliefs = run
    share = 1 - beliefs.seen[:, 1:].mean()
    assert abs(share - DROPOUT) < 4 * np.sqrt(DROPOUT * (1 - DROPOUT) / beliefs.seen[:, 1:].size)


def test_newcomers_and_those_lost_again():
    """Measured velocities weigh by their precision; what is not seen is doubted more, and then forgotten."""
    world = world_of([1, 1, 1], [0.0, 30.0, 60.0])
    sensing = Sensing(position_sd=0.3, velocity_sd=2.0, dropout=0.0, newcomer_sd=5.0, forget_sd=3.0)
    update = jax.jit(lambda beliefs, world, key: sensing.update(beliefs, world, 0, DT, key=key))
    key = jax.random.key(0)
    beliefs = update(sensing.start(world, 0), world, key)
    np.testing.assert_array_equal(beliefs.known, [False, True, False])  # the third is hidden by the second
    expected = np.diag([0.09, 0.09, 1 / (1 / 25 + 1 / 4), 1 / (1 / 1 + 1 / 4)])
    np.testing.assert_allclose(beliefs.covariance[1], expected, atol=1e-12)
    gone = eqx.tree_at(lambda w: w.alive, world, jnp.asarray([True, False, False]))
    doubts = []
    for _ in range(30):
        beliefs = update(beliefs, gone, key)
        doubts.append(float(worst_sd(beliefs.covariance)[1]))
    lost = doubts.index(0.0)
    assert np.all(np.diff(doubts[:lost]) > 0)
    assert 2.0 < doubts[lost - 1] <= 3.0
    assert not beliefs.known.any()
    assert np.all(np.asarray(beliefs.mean) == 0.0)


def test_hidden_is_who_is_behind_a_box():
    """Against points on the line of sight, each looked for in every box."""
    rng = np.random.default_rng(5)
    count = 40
    world = world_of(rng.integers(0, 3, count), rng.uniform(0, 200, count), offset=rng.uniform(-1, 1, count))
    world = eqx.tree_at(lambda w: w.heading, world, jnp.asarray(rng.uniform(-0.3, 0.3, count)))
    x, y, heading = (np.asarray(values) for values in (world.x, world.y, world.heading))
    part = np.linspace(0, 1, 4001)[:, None]
    compared, look = 0, jax.jit(hidden)
    for ego in (0, 7):
        found = np.asarray(look(world, ego))
        for target in range(count):
            if target == ego:
                continue
            px = x[ego] + part * (x[target] - x[ego]) - x
            py = y[ego] + part * (y[target] - y[ego]) - y
            along = np.abs(np.cos(heading) * px + np.sin(heading) * py) - 0.5 * np.asarray(world.length)
            across = np.abs(np.cos(heading) * py - np.sin(heading) * px) - 0.5 * np.asarray(world.width)
            inside = np.delete(np.maximum(along, across).min(axis=0), [ego, target])
            if abs(inside.min()) > 0.05:  # a corner that is barely touched may fall between two points
                assert found[target] == (inside.min() < 0), (ego, target)
                compared += 1
    assert compared > 60


def test_range_and_exact_knowledge():
    world = world_of([0, 1, 2, 1], [0.0, 50.0, 99.0, 101.0])
    world = eqx.tree_at(lambda w: w.alive, world, jnp.asarray([True, True, True, True]).at[1].set(False))
    sensing = Sensing(range=100.0)
    visible, exact = jax.jit(lambda world: (sensing.sees(world, 0), know_exactly(world, 0)))(world)
    np.testing.assert_array_equal(visible, [False, False, True, False])
    np.testing.assert_array_equal(exact.known, [False, False, True, True])
    np.testing.assert_allclose(exact.mean[2], [99.0, -7.0, 25.0, 0.0], atol=1e-9)
    assert not np.asarray(exact.covariance).any()


def test_types_stay_those_of_the_world():
    world = world_of([1, 1], [0.0, 40.0])
    world = jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.float64 else a, world)
    for sensing in (Sensing(), Sensing(velocity_sd=1.0)):
        start = sensing.start(world, 0)
        after = eqx.filter_eval_shape(
            lambda b, s=sensing: s.update(b, world, 0, key=jax.random.key(0)), start
        )
        assert [a.dtype for a in jax.tree.leaves(after)] == [a.dtype for a in jax.tree.leaves(start)]


def test_wrong_numbers_are_named():
    with pytest.raises(ForeseeError, match="position_sd"):
        Sensing(position_sd=-1.0)
    with pytest.raises(ForeseeError, match="dropout of at most 1"):
        Sensing(dropout=1.5)
