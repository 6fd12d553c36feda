"""Linear control against textbook recursions, finite differences and simulated noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from foresee.beliefs import Gaussian
from foresee.dynamics import LinearGaussian
from foresee.errors import CovarianceError, PlanningError, ShapeError
from foresee.filters import KalmanFilter, run
from foresee.planning import (
    controllable,
    detectable,
    discretised,
    finite_lqr,
    lqg,
    lqr,
    observable,
    place_poles,
    stabilisable,
    steady_observer,
    with_integral,
)

A = np.array([[1.05, 0.2, 0.0], [0.0, 0.9, 0.3], [0.1, 0.0, 0.8]])
B = np.array([[0.0, 0.1], [0.5, 0.0], [0.0, 1.0]])
C = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
Q, R = np.diag([1.0, 0.2, 0.1]), np.array([[0.5, 0.1], [0.1, 0.3]])
W, V = np.diag([0.02, 0.05, 0.01]), np.diag([0.1, 0.2])


def by_iteration(a, b, q, r, steps):
    """Riccati's recursion as it stands in a textbook."""
    value, gains = q, []
    for _ in range(steps):
        gains.append(np.linalg.inv(r + b.T @ value @ b) @ b.T @ value @ a)
        value = q + a.T @ value @ a - a.T @ value @ b @ gains[-1]
    return gains, value


def test_regulators_equal_the_textbook_recursion():
    gains, value = by_iteration(A, B, Q, R, 400)
    forever = lqr(A, B, Q, R)
    np.testing.assert_allclose(forever.gain, gains[-1], atol=1e-10)
    np.testing.assert_allclose(forever.value, value, atol=1e-10)
    finite = jax.jit(finite_lqr, static_argnums=5)(A, B, Q, R, Q, 7)
    np.testing.assert_allclose(finite.gain[::-1], gains[:7], atol=1e-12)
    changing = finite_lqr(np.stack([A, 1.1 * A]), B, np.stack([Q, 2 * Q]), R, Q, 2)
    last, value = by_iteration(1.1 * A, B, Q, R, 1)
    value = value + Q  # 2 Q in that step
    np.testing.assert_allclose(changing.gain[1], last[0], atol=1e-12)
    first = np.linalg.solve(R + B.T @ value @ B, B.T @ value @ A)
    np.testing.assert_allclose(changing.gain[0], first, atol=1e-12)
    np.testing.assert_allclose(changing(jnp.ones(3), 0), -first @ np.ones(3), atol=1e-12)


def test_slopes_through_the_regulator_equal_finite_differences():
    def measure(scale):
        found = finite_lqr(scale * A, B, Q, scale**2 * R, Q, 5)
        return jnp.sum(found.gain) + jnp.sum(found.value[0])

    slope = (measure(1 + 1e-6) - measure(1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(measure)(1.0), slope, rtol=1e-7)


def test_lqg_equals_its_textbook_twin_and_a_filter_that_has_settled():
    found = lqg(A, B, C, Q, R, W, V)
    _, predicted = by_iteration(A.T, C.T, W, V, 2_000)
    gain = predicted @ C.T @ np.linalg.inv(C @ predicted @ C.T + V)
    np.testing.assert_allclose(found.observer.gain, gain, atol=1e-8)
    np.testing.assert_allclose(found.regulator, by_iteration(A, B, Q, R, 2_000)[0][-1], atol=1e-8)

    prior = Gaussian(jnp.zeros(3), jnp.eye(3))
    settled = run(KalmanFilter(), LinearGaussian(A, W), LinearGaussian(C, V), prior, jnp.zeros((300, 2)))
    np.testing.assert_allclose(found.observer.covariance, settled.last.covariance, atol=1e-10)

    # The cost of a step in the long run, from the covariance at which (x, error of the prediction) settles.
    loop = np.asarray(found.closed_loop())
    kept, driven = (
        np.asarray(found.a @ found.observer.gain),
        np.asarray(found.b @ found.regulator @ found.observer.gain),
    )
    noise = np.block([[W, W], [W, W]]) + np.block(
        [[driven @ V @ driven.T, driven @ V @ kept.T], [kept @ V @ driven.T, kept @ V @ kept.T]]
    )
    settled = scipy.linalg.solve_discrete_lyapunov(loop, noise)
    lasting = np.eye(3) - gain @ C
    u = np.asarray(found.regulator) @ np.hstack([np.eye(3), -lasting])
    fed = np.asarray(found.regulator) @ gain
    expected = np.trace(Q @ settled[:3, :3]) + np.trace(R @ (u @ settled @ u.T + fed @ V @ fed.T))
    np.testing.assert_allclose(found.cost, expected, rtol=1e-8)


def test_regulator_and_observer_are_separate():
    found = lqg(A, B, C, Q, R, W, V)
    poles = np.sort_complex(np.linalg.eigvals(np.array(found.closed_loop(), float)))
    parts = [A - B @ np.asarray(found.regulator), A - A @ np.asarray(found.observer.gain) @ C]
    separate = np.sort_complex(np.linalg.eigvals(np.array(scipy.linalg.block_diag(*parts), float)))
    np.testing.assert_allclose(poles, separate, atol=1e-9)
    assert np.abs(poles).max() < 1
    other = lqg(A, B, C, 5 * Q, R, W, V)
    np.testing.assert_allclose(other.observer.gain, found.observer.gain)  # what is wanted does not matter

    def step(carry, key):
        x, belief = carry
        one, two = jax.random.split(key)
        y = C @ x + jnp.sqrt(jnp.diagonal(V)) * jax.random.normal(one, (2,))
        u, belief = found.act(belief, y)
        cost = x @ Q @ x + u @ R @ u
        return (A @ x + B @ u + jnp.sqrt(jnp.diagonal(W)) * jax.random.normal(two, (3,)), belief), cost

    keys = jax.random.split(jax.random.key(1), 20_000)
    _, costs = jax.jit(lambda keys: jax.lax.scan(step, (jnp.zeros(3), found.start(jnp.zeros(3))), keys))(keys)
    batches = np.asarray(costs)[2_000:].reshape(60, -1).mean(axis=1)  # long enough to be nearly independent
    error = 4 * batches.std(ddof=1) / np.sqrt(len(batches))
    assert abs(batches.mean() - float(found.cost)) < error


def test_what_can_be_steered_and_seen():
    lost = np.diag([0.5, 1.2])
    assert controllable(A, B)
    assert observable(A, C)
    assert not controllable(lost, np.array([[0.0], [1.0]]))
    assert stabilisable(lost, np.array([[0.0], [1.0]]))
    assert not stabilisable(lost, np.array([[1.0], [0.0]]))
    assert not observable(lost, np.array([[0.0, 1.0]]))
    assert detectable(lost, np.array([[0.0, 1.0]]))
    wanted = np.array([0.1, 0.5 + 0.2j, 0.5 - 0.2j])
    poles = np.linalg.eigvals(A - B @ place_poles(A, B, wanted))
    np.testing.assert_allclose(np.sort_complex(poles), np.sort_complex(wanted), atol=1e-9)
    with pytest.raises(PlanningError, match="controllable"):
        place_poles(lost, np.array([[0.0], [1.0]]), [0.1, 0.2])
    with pytest.raises(PlanningError, match="2 poles"):
        place_poles(lost, np.ones((2, 1)), [0.1])


def test_an_integral_leaves_no_lasting_error():
    a, b = discretised([[0.0, 1.0], [0.0, -0.3]], [[0.0], [2.0]], 0.1)
    np.testing.assert_allclose(a, scipy.linalg.expm(0.1 * np.array([[0.0, 1.0], [0.0, -0.3]])), atol=1e-14)
    larger = with_integral(a, b, [[1.0, 0.0]])
    regulator = lqr(*larger, np.diag([1.0, 0.1, 0.5]), [[0.1]])
    x, total = np.zeros(2), 0.0
    for _ in range(400):
        u = np.asarray(regulator(jnp.asarray([*x, total])))
        total += x[0] - 2.0
        x = a @ x + b @ (u + 0.7)  # a push that nobody told the regulator about
    np.testing.assert_allclose(x, [2.0, 0.0], atol=1e-6)


def test_what_has_no_regulator_is_said():
    with pytest.raises(PlanningError, match="brought to rest"):
        lqr(np.diag([0.5, 1.2]), np.array([[1.0], [0.0]]), np.eye(2), np.eye(1))
    with pytest.raises(PlanningError, match="eigenvalue"):
        lqr(A, B, -Q, R)
    with pytest.raises(PlanningError, match="finite"):
        lqr(A * np.nan, B, Q, R)
    with pytest.raises(ShapeError, match="weights of shape"):
        lqr(A, B, Q, np.eye(3))
    with pytest.raises(ShapeError, match="B of shape"):
        lqr(A, B[:2], Q, R)
    with pytest.raises(PlanningError, match="at least 1 step"):
        finite_lqr(A, B, Q, R, Q, 0)
    with pytest.raises(CovarianceError):
        steady_observer(A, C, -W, V)
