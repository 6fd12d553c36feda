"""One contract for every planner: what each must keep, whatever else it does."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import foresee.planning as planning
from foresee.beliefs import Gaussian, Points
from foresee.planning import AbstractPlanner, Cem, Constrained, Ilqr, Mppi, Problem, Quadratic, expected_cost
from tests.planning.cars import parking

KEY = jax.random.key(0)
SPREAD = jnp.asarray([1.0, 0.2])
PLANNERS = {
    "Ilqr": Ilqr(tolerance=1e-10),
    "Constrained": Constrained(Ilqr(tolerance=1e-10), rounds=2),
    "Mppi": Mppi(spread=SPREAD, samples=24, rounds=4, points=4),
    "Cem": Cem(spread=SPREAD, samples=24, rounds=4, points=4),
}
SAMPLERS = [
    Mppi(spread=jnp.ones(1), samples=200, rounds=30),
    Cem(spread=jnp.ones(1), samples=200, rounds=20),
]
X = jnp.asarray([0.3, -0.9, 0.07, 0.8])


def speed_limit(x, t):
    return x[3:] - 2.5


def problem_for(name, weight=50.0):
    plain = parking(horizon=6, dt=0.4, weight=weight, goal=(4.0, 1.0, 0.0, 0.0))
    parts = (plain.dynamics, plain.stage, plain.terminal, plain.lower, plain.upper, 6)
    return Problem(*parts, limits=None if name == "Ilqr" else speed_limit)


def test_nothing_is_left_out():
    kinds = [getattr(planning, name) for name in planning.__all__]
    found = {one.__name__ for one in kinds if inspect.isclass(one) and issubclass(one, AbstractPlanner)}
    assert {name for name in found if not name.startswith("Abstract")} == set(PLANNERS)


@pytest.mark.parametrize("name", PLANNERS)
def test_planner(name):
    planner = PLANNERS[name]

    def run(x, weight, key):
        return planner(problem_for(name, weight), Gaussian(x, 1e-4 * jnp.eye(4)), key=key)

    one = jax.jit(run)
    found = one(X, 50.0, KEY)
    assert found.actions.shape == (6, 2)
    assert found.states.shape == (7, 4)
    problem = problem_for(name)
    assert bool(jnp.all((found.actions >= problem.lower) & (found.actions <= problem.upper)))
    np.testing.assert_allclose(found.states, problem.rollout(X, found.actions), atol=1e-10)
    still = problem.rest()
    assert found.cost < problem.cost(problem.rollout(X, still), still)
    for leaf, again in zip(jax.tree.leaves(found), jax.tree.leaves(one(X, 50.0, KEY)), strict=True):
        np.testing.assert_array_equal(leaf, again)

    starts = jnp.stack([X, X + 0.1, X - 0.2])
    batch = jax.jit(jax.vmap(lambda x: run(x, 50.0, KEY)))(starts)
    for index in range(3):
        np.testing.assert_allclose(batch.actions[index], one(starts[index], 50.0, KEY).actions, atol=1e-6)

    spoilt = one(X * jnp.nan, 50.0, KEY)
    assert not spoilt.converged
    assert not jnp.isfinite(spoilt.cost)
    warm = planner(problem, X, found.actions, key=KEY)
    assert warm.cost <= found.cost * 1.01 + 1e-6


def test_expected_cost_is_the_mean_over_points_and_forbids_what_is_above_the_risk():
    problem = problem_for("Mppi")
    points = Points(jnp.stack([X, X + jnp.asarray([0.0, 0.0, 0.0, 5.0])]), jnp.log(jnp.asarray([0.8, 0.2])))
    still = problem.rest()
    costs = [float(problem.cost(problem.rollout(x, still), still)) for x in points.stacked()]
    free = expected_cost(problem, points, still, forbidding=0.0)
    np.testing.assert_allclose(free, 0.8 * costs[0] + 0.2 * costs[1], rtol=1e-12)
    held = expected_cost(problem, points, still, forbidding=10.0)
    np.testing.assert_allclose(held - free, 10 * 6 * (0.2 - 0.05), rtol=1e-9)


@pytest.mark.parametrize(
    "planner",
    SAMPLERS,
)
def test_samplers_find_the_least_of_a_linear_problem(planner):
    def double(x, u):
        return jnp.stack([x[0] + 0.5 * x[1], x[1] + 0.5 * u[0]])

    weights = Quadratic(jnp.ones(2), jnp.asarray([0.1]))
    problem = Problem(double, weights, Quadratic(jnp.ones(2)), [-2.0], [2.0], 5)
    x = jnp.asarray([1.0, 0.0])
    exact = Ilqr()(problem, x, key=KEY)
    found = jax.jit(lambda key: planner(problem, x, key=key))(KEY)
    assert exact.cost <= found.cost <= exact.cost * 1.02
