import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from foresee.dynamics import ConstantAcceleration, ConstantVelocity, CoordinatedTurn, SingerAcceleration
from foresee.errors import ForeseeError, ShapeError

LINEAR = {
    "velocity": (ConstantVelocity(jnp.array([0.5, 2.0])), np.array([[0, 1], [0, 0]])),
    "acceleration": (
        ConstantAcceleration(jnp.array([0.5, 2.0])),
        np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]),
    ),
    "singer": (
        SingerAcceleration(jnp.array([0.5, 2.0]), 1.7),
        np.array([[0, 1, 0], [0, 0, 1], [0, 0, -1 / 1.7]]),
    ),
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("dt", [0.01, 0.4, 3.0])
def test_linear_models_are_van_loans_matrices(name, dt):
    """Van Loan 1978: the discrete model from one exponential of a block matrix."""
    model, drift = LINEAR[name]
    n = len(drift)
    got = model.linear(None, dt)
    for dimension, density in enumerate([0.5, 2.0]):
        noise = np.zeros((n, n))
        noise[-1, -1] = density
        block = expm(np.block([[-drift, noise], [np.zeros((n, n)), drift.T]]) * dt)
        matrix = block[n:, n:].T
        pick = np.ix_(np.arange(n) * 2 + dimension, np.arange(n) * 2 + dimension)
        np.testing.assert_allclose(np.asarray(got.matrix)[pick], matrix, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            np.asarray(got.covariance)[pick], matrix @ block[:n, n:], rtol=1e-9, atol=1e-13
        )
    cross = np.ix_(np.arange(n) * 2, np.arange(n) * 2 + 1)
    assert not np.asarray(got.covariance)[cross].any()


@pytest.mark.parametrize("name", LINEAR)
def test_two_half_steps_are_one(name):
    model, _ = LINEAR[name]
    half, whole = model.linear(None, 0.35), model.linear(None, 0.7)
    np.testing.assert_allclose(half.matrix @ half.matrix, whole.matrix, rtol=1e-13, atol=1e-14)
    two = half.matrix @ half.covariance @ half.matrix.T + half.covariance
    np.testing.assert_allclose(two, whole.covariance, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", LINEAR)
def test_no_time_changes_nothing(name):
    model, _ = LINEAR[name]
    got = jax.jit(lambda dt: model.linear(None, dt))(0.0)
    np.testing.assert_array_equal(got.matrix, np.eye(len(got.matrix)))
    assert not np.asarray(got.covariance).any()


def test_infinite_time_is_constant_acceleration():
    singer = SingerAcceleration(0.3, jnp.inf, 1).linear(None, 0.6)
    plain = ConstantAcceleration(0.3, 1).linear(None, 0.6)
    np.testing.assert_allclose(singer.matrix, plain.matrix, rtol=1e-14)
    np.testing.assert_allclose(singer.covariance, plain.covariance, rtol=1e-13)


def test_call_is_the_linear_model():
    for model, drift in LINEAR.values():
        x = jnp.arange(2.0 * len(drift))
        belief, matrices = model(x, None, 0.3), model.linear(None, 0.3)
        np.testing.assert_allclose(belief.location, matrices.matrix @ x)
        np.testing.assert_array_equal(belief.covariance, matrices.covariance)


TURN = CoordinatedTurn(0.4, 0.02)


def turn_rate_equation(state):
    _, _, speed, heading, rate = state.T
    zero = np.zeros_like(speed)
    return np.stack([speed * np.cos(heading), speed * np.sin(heading), zero, rate, zero], axis=1)


@pytest.mark.parametrize("rate", [0.5, -0.3, 1e-3, 1e-9, 0.0])
def test_coordinated_turn_follows_the_arc(rate):
    mean = TURN(jnp.array([1.0, 2.0, 10.0, 0.4, rate]), None, 2.0).mean()
    state = np.array([[1.0, 2.0, 10.0, 0.4, rate]])
    h = 2.0 / 400
    for _ in range(400):  # Runge–Kutta of order four
        k1 = turn_rate_equation(state)
        k2 = turn_rate_equation(state + h / 2 * k1)
        k3 = turn_rate_equation(state + h / 2 * k2)
        k4 = turn_rate_equation(state + h * k3)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    np.testing.assert_allclose(mean, state[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "x", [[0.0, 0.0, 15.0, 3.1, 0.2], [5.0, 5.0, 10.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0, 1.0]]
)
def test_coordinated_turn_moments_are_those_of_the_equation(x):
    n, steps, dt = 40_000, 40, 0.5
    rng, h = np.random.default_rng(2), 0.5 / 40
    state = np.tile(np.array(x), (n, 1))
    for _ in range(steps):
        state = state + h * turn_rate_equation(state + h / 2 * turn_rate_equation(state))
        state[:, 2] += np.sqrt(0.4 * h) * rng.normal(size=n)
        state[:, 4] += np.sqrt(0.02 * h) * rng.normal(size=n)
    belief = TURN(jnp.array(x), None, dt)
    expected = np.asarray(belief.covariance)
    deviation = np.sqrt(np.diag(expected)) + 1e-9
    assert belief.circular == (3,)
    # Five standard errors of a mean; the rest is what linearisation leaves.
    excess = np.abs(state.mean(0) - np.asarray(belief.mean())) - 5 * deviation / np.sqrt(n)
    assert (excess < 0.01).all()
    # Five standard errors of a correlation, and the 40 Euler steps' error of order h.
    scale = np.outer(deviation, deviation)
    seen = np.ix_(*[np.flatnonzero(deviation > 1e-6)] * 2)
    np.testing.assert_allclose(
        (np.cov(state.T) / scale)[seen], (expected / scale)[seen], atol=5 / np.sqrt(n) * 1.5 + 0.04
    )


def test_coordinated_turn_in_two_half_steps():
    x = jnp.array([0.0, 0.0, 12.0, 0.3, 0.4])
    errors = []
    for dt in (0.2, 0.1):
        half = TURN(x, None, dt / 2)
        jacobian = jax.jacfwd(lambda s, dt=dt: TURN(s, None, dt / 2).mean())(half.mean())
        two = TURN(half.mean(), None, dt / 2)
        whole = TURN(x, None, dt)
        np.testing.assert_allclose(two.mean(), whole.mean(), rtol=1e-12)
        covariance = jacobian @ half.covariance @ jacobian.T + two.covariance
        errors.append(np.abs(covariance - whole.covariance).max())
    assert errors[0] < 1e-3 * np.abs(whole.covariance).max()
    assert errors[1] < errors[0] / 3.5  # vanishes at least as dt²


def test_coordinated_turn_at_rest_and_without_time():
    x = jnp.array([1.0, 2.0, 3.0, 0.5, 0.2])
    still = TURN(x, None, 0.0)
    np.testing.assert_allclose(still.mean(), x)
    assert not np.asarray(still.covariance).any()

    def total(state, dt, model):
        belief = model(state, None, dt)
        return jnp.sum(belief.mean()) + jnp.sum(belief.covariance)

    for state in (jnp.zeros(5), x, x.at[3].set(jnp.pi), x.at[4].set(0.0)):
        for leaf in jax.tree.leaves(jax.grad(total, (0, 1, 2))(state, 0.5, TURN)):
            assert np.isfinite(leaf).all()


def test_turn_across_the_seam_has_a_short_residual():
    belief = TURN(jnp.array([0.0, 0.0, 1.0, np.pi - 0.05, 0.1]), None, 1.0)
    residual = belief.residual(jnp.array([0.0, 0.0, 1.0, -np.pi + 0.05, 0.1]))
    np.testing.assert_allclose(residual[3], 0.0, atol=1e-12)


def test_bad_arguments():
    with pytest.raises(ForeseeError, match="acceleration_density finite and ≥ 0, got -1"):
        ConstantVelocity(-1.0)
    with pytest.raises(ShapeError, match=r"shape \(\) or \(2,\), got \(3,\)"):
        ConstantAcceleration(jnp.ones(3))
    with pytest.raises(ForeseeError, match="time > 0, got 0"):
        SingerAcceleration(1.0, 0.0)
    with pytest.raises(ShapeError, match="dimensions ≥ 1, got 0"):
        ConstantVelocity(1.0, 0)
    with pytest.raises(ForeseeError, match="turn_density"):
        CoordinatedTurn(1.0, jnp.nan)
    with pytest.raises(ShapeError, match=r"a state of shape \(4,\), got \(3,\)"):
        ConstantVelocity(1.0)(jnp.ones(3))


def test_batches_are_loops():
    states = jax.random.normal(jax.random.key(0), (5, 5))
    step = lambda x, dt: TURN(x, None, dt)  # noqa: E731
    durations = jnp.linspace(0.0, 1.0, 5)
    batch = jax.jit(jax.vmap(step))(states, durations)
    for index in range(5):
        one = step(states[index], durations[index])
        np.testing.assert_allclose(batch.location[index], one.location, rtol=1e-12)
        np.testing.assert_allclose(batch.covariance[index], one.covariance, rtol=1e-12, atol=1e-15)
