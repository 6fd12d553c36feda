"""iLQR against Riccati's recursion, a general minimiser, finite differences and stated problems."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from foresee.beliefs import Gaussian
from foresee.dynamics import KinematicBicycle, LinearGaussian
from foresee.errors import PlanningError, ShapeError
from foresee.planning import Ilqr, Problem, Quadratic, compiled, plan
from tests.planning.cars import parking

KEY = jax.random.key(0)
STARTS = jnp.asarray([[0.3, -0.9, 0.07, 0.8], [-0.5, 0.7, -0.2, 0.4], [0.8, -0.2, 0.4, 1.3]])
EXACT = Ilqr(tolerance=1e-13)


def riccati(a, b, q, r, end, x, steps):
    """The textbook recursion for Σ xᵀQx + uᵀRu."""
    value, gains = end, []
    for _ in range(steps):
        gain = np.linalg.solve(r + b.T @ value @ b, b.T @ value @ a)
        value = q + a.T @ value @ (a - b @ gain)
        gains.append(gain)
    actions = []
    for gain in gains[::-1]:
        actions.append(-gain @ x)
        x = a @ x + b @ actions[-1]
    return np.array(actions), value


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_a_linear_problem_takes_one_step_and_equals_riccati(inputs):
    random = np.random.default_rng(inputs)
    a, b = np.eye(3) + 0.3 * random.normal(size=(3, 3)), random.normal(size=(3, inputs))
    q, r, end = np.diag([1.0, 0.5, 0.1]), np.diag(0.3 + np.arange(inputs)), 5 * np.eye(3)
    x = random.normal(size=3)
    expected, value = riccati(a, b, q, r, end, x, 12)
    motion = LinearGaussian(a, jnp.zeros(3), control=jnp.asarray(b))
    free = jnp.full(inputs, jnp.inf)
    problem = Problem(motion, Quadratic(q, r), Quadratic(end), -free, free, 12)
    found = plan(problem, Gaussian(jnp.asarray(x), 0.1 * jnp.eye(3)), key=KEY)
    np.testing.assert_allclose(found.actions, expected, atol=1e-10)
    np.testing.assert_allclose(found.cost, x @ value @ x, rtol=1e-10)
    assert found.iterations == 1
    assert found.converged


def test_bounds_hold_and_no_general_minimiser_finds_less():
    problem = parking(horizon=10, dt=0.4)
    total = jax.jit(jax.value_and_grad(lambda u, x: problem.cost(problem.rollout(x, u), u)))
    for x in STARTS:
        found = plan(problem, x, key=KEY)
        assert found.converged
        assert bool(jnp.all((found.actions >= problem.lower) & (found.actions <= problem.upper)))
        assert bool(jnp.any((found.actions == problem.lower) | (found.actions == problem.upper)))

        def flat(u, x=x):
            value, slope = total(u.reshape(10, 2), x)
            return float(value), np.asarray(slope).ravel()

        box = list(zip(np.tile(problem.lower, 10), np.tile(problem.upper, 10), strict=True))
        near = minimize(flat, np.asarray(found.actions).ravel(), jac=True, bounds=box, method="L-BFGS-B")
        assert found.cost <= near.fun * (1 + 1e-5)
        np.testing.assert_allclose(found.states, problem.rollout(x, found.actions), atol=1e-12)


def test_a_batch_equals_a_loop_and_compiled_equals_plain():
    problem = parking(horizon=8, dt=0.4)
    random = np.random.default_rng(0)
    many = jnp.asarray(STARTS[0] + 0.3 * random.normal(size=(7, 4)))
    planner = Ilqr(width=2)  # fewer at a time than there are, so they take turns

    def run(weight, x):
        return planner(parking(horizon=8, dt=0.4, weight=weight), x, key=KEY)

    weights = jnp.linspace(20, 60, 7)
    batch = compiled(jax.vmap(run))(weights, many)
    one = compiled(run)
    for index in range(7):
        alone = one(weights[index], many[index])
        np.testing.assert_allclose(batch.actions[index], alone.actions, atol=1e-8)
        assert batch.iterations[index] == alone.iterations
        assert batch.converged[index]
    eager = planner(problem, many[0], key=KEY)
    np.testing.assert_allclose(plan(problem, many[0], key=KEY).actions, eager.actions, atol=1e-8)
    shared = jax.vmap(lambda x: planner(problem, x, key=KEY).cost)(many)
    assert shared.shape == (7,)


def test_slopes_through_the_solution_equal_finite_differences():
    x = STARTS[0]
    given = {"goal": jnp.asarray([3.0, 0.5, 0.0, 0.0]), "wheelbase": jnp.asarray(2.5), "x": x}
    given |= {"limits": jnp.asarray([1.5, 0.4]), "weight": jnp.asarray(5.0)}

    def actions(given):
        rest = {name: value for name, value in given.items() if name != "x"}
        return EXACT(parking(horizon=6, dt=0.5, **rest), given["x"], key=KEY)

    found = actions(given)
    assert bool(jnp.any(jnp.abs(found.actions) == given["limits"]))  # so bounds take part
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))

    def measure(given):
        result = actions(given)
        return jnp.sum(weights * result.actions) + 0.1 * jnp.sum(result.states[-1]) + 0.01 * result.cost

    value = jax.jit(measure)
    slopes = jax.jit(jax.grad(measure))(given)
    for name, leaf in given.items():
        direction = jnp.ones_like(leaf) / max(leaf.size, 1) + 0.1 * jnp.arange(leaf.size).reshape(leaf.shape)
        ends = [value(given | {name: leaf + step * direction}) for step in (1e-5, -1e-5)]
        np.testing.assert_allclose(
            jnp.sum(slopes[name] * direction), (ends[0] - ends[1]) / 2e-5, rtol=2e-4, atol=1e-6, err_msg=name
        )


def test_any_cost_will_do_and_a_warm_start_saves_steps():
    problem = parking(horizon=8, dt=0.4)

    def smooth(x, u, t):
        return problem.stage(x, u, t) + 0.01 * (1 - jnp.cos(x[2]))

    plain = Problem(problem.dynamics, smooth, problem.terminal, problem.lower, problem.upper, 8)
    found = plan(plain, STARTS[0], key=KEY)
    assert found.converged
    slope = jax.grad(lambda u: plain.cost(plain.rollout(STARTS[0], u), u))(found.actions)
    inside = (found.actions > plain.lower) & (found.actions < plain.upper)
    np.testing.assert_allclose(jnp.where(inside, slope, 0.0), 0.0, atol=0.05)
    again = plan(plain, STARTS[0], found.actions, key=KEY)
    assert again.iterations <= 2 < found.iterations
    near = parking(goal=(2.0, -0.7, 0.0, 0.5))
    moving = Problem(KinematicBicycle(), near.stage, near.terminal, -jnp.ones(2), jnp.ones(2), 8, 0.4)
    assert plan(moving, STARTS[0], key=KEY).converged


def test_what_cannot_be_planned_is_said():
    problem = parking(horizon=4)

    def spoil(x, u, t):
        return jnp.nan * u[0]

    spoilt = Problem(problem.dynamics, spoil, problem.terminal, -jnp.ones(2), jnp.ones(2), 4)
    found = plan(spoilt, STARTS[0], key=KEY)
    assert not found.converged
    assert not jnp.isfinite(found.cost)
    assert found.iterations == 0
    many = jax.vmap(lambda x: Ilqr()(problem, x, key=KEY))(STARTS.at[1].set(jnp.nan))
    assert many.converged.tolist() == [True, False, True]
    cliff = Problem(
        problem.dynamics, lambda x, u, t: -jnp.sum(u**2), problem.terminal, -jnp.ones(2), jnp.ones(2), 4
    )
    assert bool(jnp.all(jnp.abs(plan(cliff, STARTS[0], key=KEY).actions) <= 1))

    parts = (problem.dynamics, problem.stage, problem.terminal)
    with pytest.raises(PlanningError, match="horizon of at least 1"):
        Problem(*parts, -jnp.ones(2), jnp.ones(2), 0)
    with pytest.raises(PlanningError, match="lower ≤ upper"):
        Problem(*parts, jnp.ones(2), -jnp.ones(2), 4)
    with pytest.raises(ShapeError, match="one shape"):
        Problem(*parts, -jnp.ones(2), jnp.ones(3), 4)
    with pytest.raises(PlanningError, match="eigenvalue -1"):
        Quadratic(jnp.asarray([1.0, -1.0]))
    with pytest.raises(PlanningError, match="symmetric"):
        Quadratic(jnp.asarray([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(PlanningError, match="finite"):
        Quadratic(jnp.asarray([1.0, jnp.nan]))
    with pytest.raises(ShapeError, match="begin with"):
        plan(problem, STARTS[0], jnp.zeros((3, 2)), key=KEY)
    with pytest.raises(ShapeError, match="state of shape"):
        plan(problem, STARTS, key=KEY)
    with pytest.raises(PlanningError, match="steps"):
        Ilqr(steps=0)


def test_stated_cold_starts(shared_data):
    stated = json.loads((shared_data / "problems" / "mpc_cold_starts.json").read_text())
    found = compiled(jax.vmap(lambda x: Ilqr()(parking(), x, key=KEY)))(jnp.asarray(stated["starts"]))
    assert bool(found.converged.all())
    assert bool(jnp.all(jnp.abs(found.actions) <= jnp.asarray(stated["control_limits"])))
    # The mean that was measured with IPOPT on the same problems, in another run.
    assert found.cost.mean() <= 1.01 * stated["measured"]["casadi_ipopt"][2]
