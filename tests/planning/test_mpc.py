"""Closed loops: limits under doubt, and what they should have been without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom, norm

from foresee.beliefs import Gaussian
from foresee.dynamics import LinearGaussian, Position
from foresee.errors import PlanningError
from foresee.filters import KalmanFilter
from foresee.planning import Constrained, Ilqr, Mpc, Problem, Quadratic, Tightened, compiled
from tests.planning.cars import parking

KEY = jax.random.key(0)
DT = 0.2
A, B = np.array([[1.0, DT], [0.0, 1.0]]), np.array([[0.5 * DT**2], [DT]])
NOISE = np.diag([2e-3, 4e-3])


def wall(x, t):
    return x[:1] - 1.0


def behind_a_wall(horizon=8, risk=0.1):
    """A mass that is drawn to 1.5 and must stay below 1."""
    motion = LinearGaussian(A, NOISE, control=jnp.asarray(B))
    stage = Quadratic(jnp.asarray([1.0, 0.1]), jnp.asarray([0.02]), jnp.asarray([1.5, 0.0]))
    end = Quadratic(jnp.asarray([1.0, 0.1]), goal=jnp.asarray([1.5, 0.0]))
    return Problem(motion, stage, end, [-4.0], [4.0], horizon, limits=wall, risk=risk)


def test_limits_are_kept_at_the_cost_of_a_general_minimiser():
    problem, x = behind_a_wall(), jnp.asarray([0.2, 0.0])
    found = compiled(Constrained())(problem, x)
    assert found.converged
    assert float(found.states[:, 0].max()) <= 1.001

    def cost(u):
        u = jnp.asarray(u).reshape(8, 1)
        return problem.cost(problem.rollout(x, u), u)

    value = jax.jit(jax.value_and_grad(cost))
    rows = jax.jit(lambda u: 1.0 - problem.rollout(x, u.reshape(8, 1))[1:, 0])
    best = minimize(
        lambda u: [np.asarray(part, float) for part in value(u)],
        np.zeros(8),
        jac=True,
        bounds=[(-4, 4)] * 8,
        constraints={"type": "ineq", "fun": lambda u: np.asarray(rows(u))},
        method="SLSQP",
    )
    assert best.success
    np.testing.assert_allclose(found.cost, best.fun, rtol=1e-3)


def test_doubt_moves_a_linear_limit_by_its_quantile():
    covariances = jnp.broadcast_to(jnp.diag(jnp.asarray([0.04, 1.0])), (3, 2, 2))
    moved = Tightened(wall, covariances, jnp.asarray(0.1))(jnp.asarray([0.3, 0.0]), 1)
    np.testing.assert_allclose(moved, 0.3 - 1.0 + norm.ppf(0.9) * 0.2, rtol=1e-6)
    none = Tightened(wall, 0 * covariances, jnp.asarray(0.1))
    np.testing.assert_allclose(none(jnp.asarray([0.3, 0.0]), 1), -0.7, rtol=1e-6)
    assert bool(jnp.isfinite(jax.jacfwd(lambda x: none(x, 1))(jnp.ones(2))).all())


@pytest.mark.usefixtures("optimised")
def test_in_closed_loop_limits_are_overstepped_as_often_as_stated():
    runs, steps, risk = 160, 14, 0.1
    sensor = Position(jnp.asarray([0.1]), 2)
    mpc = Mpc(behind_a_wall(risk=risk), KalmanFilter(), sensor, Constrained(Ilqr(tolerance=1e-5), rounds=4))

    def loop(key):
        def step(carry, key):
            x, intention = carry
            seeing, moving = jax.random.split(key)
            y = sensor(x).sample(key=seeing)
            u, intention, plan = mpc.act(intention, y, key=key)
            x = A @ x + B @ u + jnp.sqrt(jnp.diagonal(NOISE)) * jax.random.normal(moving, (2,))
            return (x, intention), (x[0], u, plan.states[1, 0])

        first = Gaussian(jnp.asarray([0.5, 0.0]), 0.01 * jnp.eye(2))
        start, key = jax.random.split(key)
        begin = (first.sample(key=start), mpc.start(first))
        return jax.lax.scan(step, begin, jax.random.split(key, steps))[1]

    places, inputs, _ = compiled(jax.vmap(loop))(jax.random.split(KEY, runs))
    assert bool(jnp.all(jnp.abs(inputs) <= 4.0))
    # Runs are independent, steps of one are not: each step is held against its own bound, together at 1 in
    # 1,000.
    over = np.asarray(places > 1.0).sum(axis=0)[4:]
    assert over.max() <= binom.ppf(1 - 1e-3 / len(over), runs, risk)
    # And the wall is not kept by staying away from it.
    assert over.mean() / runs > 0.02


def test_what_does_not_fit_is_said():
    with pytest.raises(PlanningError, match="without limits"):
        Ilqr()(behind_a_wall(), jnp.zeros(2), key=KEY)
    with pytest.raises(PlanningError, match="with limits"):
        Constrained()(parking(), jnp.zeros(4), key=KEY)
    with pytest.raises(PlanningError, match="risk between"):
        behind_a_wall(risk=0.0)
    with pytest.raises(PlanningError, match="conditional"):
        Mpc(parking(), KalmanFilter(), Position(jnp.asarray([0.1]), 4))
    with pytest.raises(PlanningError, match="rounds"):
        Constrained(rounds=0)
