"""Iterative LQR with inputs in a box: one problem, or many by `vmap`, and derivatives of the solution."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractBelief
from foresee.errors import PlanningError
from foresee.planning.descent import Rules, begin, descend, descend_in_turns
from foresee.planning.planner import AbstractPlanner, Plan, certain_state, first_actions
from foresee.planning.problem import Problem
from foresee.planning.sweep import lanes_of

LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
WIDTH = 128  # problems of a batch that are worked on at a time
ROUNDING = 30  # a tolerance below so many units of rounding cannot be tested


class Ilqr(AbstractPlanner):
    """Control-limited differential dynamic programming with Gauss–Newton curvature (Tassa et al. 2014).

    Every step solves the quadratic model around the last trajectory from its end on, with inputs exactly in
    their box, and then tries several step lengths along the feedback at once. Steps that lower nothing raise
    a damping; it ends after `steps` tries at the latest, at once where the first inputs have no finite
    cost.
    The plan is a local minimum near the inputs to begin with; a belief counts by its mean.

    Derivatives of the actions are those of the minimum (the implicit function theorem, with exact second
    derivatives and the inputs at their bounds held there), not of the way to it: they are as exact as the
    plan is converged. They exist where the minimum is strict.

    Args:
        tolerance: share of the cost that a further step would have to gain.
        steps: most tries.
        lengths: step lengths that are tried.
        width: how many problems of a batch are worked on at a time.
    """

    tolerance: float = eqx.field(static=True, default=1e-6)
    steps: int = eqx.field(static=True, default=100)
    lengths: tuple[float, ...] = eqx.field(static=True, default=LENGTHS)
    width: int = eqx.field(static=True, default=WIDTH)

    def __check_init__(self) -> None:
        """Check the numbers."""
        if not self.tolerance >= 0 or self.steps < 1 or self.width < 1:
            raise PlanningError(
                "Ilqr: expected tolerance ≥ 0, steps ≥ 1 and width ≥ 1, got "
                f"{self.tolerance}, {self.steps} and {self.width}"
            )
        if not self.lengths or not all(0 < length <= 1 for length in self.lengths):
            raise PlanningError(f"Ilqr: expected step lengths in (0, 1], got {self.lengths}")

    def __call__(
        self,
        problem: Problem,
        belief: AbstractBelief | Float[Array, "..."],
        warm: Float[Array, "..."] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Plan:
        """Return the plan; nothing here is random."""
        if problem.limits is not None:
            raise PlanningError("Ilqr: expected a problem without limits; Constrained keeps them")
        x = certain_state(belief)
        actions, converged, taken = minimise(self, problem, x, first_actions(problem, warm, x.dtype))
        states = problem.rollout(x, actions)
        return Plan(actions, states, problem.cost(states, actions), converged, taken)


def minimise(
    rules: Ilqr, problem: Problem, x: Float[Array, " n"], actions: Float[Array, "T m"]
) -> tuple[Float[Array, "T m"], Array, Array]:
    """Return the least actions near some, whether they converged, and the steps taken."""
    arrays, rest = eqx.partition(problem, eqx.is_array)
    numbers, others = eqx.partition(arrays, eqx.is_inexact_array)
    solve = jax.custom_jvp(_solver(rules, rest))

    @solve.defjvp
    def _tangent(primals: tuple, tangents: tuple) -> tuple:
        numbers, others, x, _ = primals
        actions, converged, taken = solve(*primals)

        def total(actions: Array, numbers: Any, x: Array) -> Array:
            whole = eqx.combine(numbers, others, rest)
            return whole.cost(whole.rollout(x, actions), actions)

        def bounds(numbers: Any) -> tuple[Array, Array]:
            whole = eqx.combine(numbers, others, rest)
            return whole.lower, whole.upper

        moved = (tangents[0], tangents[2])
        change = _moved_minimum(total, bounds, actions, (numbers, x), moved)
        return (actions, converged, taken), (change, jnp.zeros_like(converged), jnp.zeros_like(taken))

    best, converged, taken = solve(numbers, others, x, actions)
    return best, converged > 0, taken.astype(int)


def _moved_minimum(
    total: Callable, bounds: Callable, actions: Float[Array, "T m"], given: tuple, moved: tuple
) -> Float[Array, "T m"]:
    """Return how the least actions move with what the problem was given."""
    (lower, upper), (lower_moved, upper_moved) = jax.jvp(bounds, given[:1], moved[:1])
    low, high = actions <= lower, actions >= upper
    held = jnp.where(low, lower_moved, jnp.where(high, upper_moved, 0.0)).ravel()
    free = ~(low | high).ravel()

    def slope(flat: Array, *given: Any) -> Array:
        return jax.grad(total)(flat.reshape(actions.shape), *given).ravel()

    flat = actions.ravel()
    hessian = jax.jacfwd(slope)(flat, *given)
    _, pulled = jax.jvp(partial(slope, flat), given, moved)
    pulled = pulled + hessian @ held
    both = free[:, None] & free[None, :]
    change = jnp.linalg.solve(
        jnp.where(both, hessian, jnp.eye(flat.size, dtype=flat.dtype)), jnp.where(free, -pulled, held)
    )
    return change.reshape(actions.shape)


def _solver(rules: Ilqr, rest: Any) -> Callable:
    """Return a function of a problem's arrays, a state and actions that minimises, alone or by `vmap`.

    What it tells besides the actions is told in floating point numbers, whose tangents are plain zeros.
    """

    def descent_rules(dtype: Any) -> Rules:
        tolerance = max(rules.tolerance, ROUNDING * float(jnp.finfo(dtype).eps))
        return Rules(jnp.asarray(rules.lengths, dtype), tolerance, rules.steps)

    @custom_vmap
    def solve(numbers: Any, others: Any, x: Array, actions: Array) -> tuple[Array, Array, Array]:
        problem = eqx.combine(numbers, others, rest)
        axes = jax.tree.map(lambda _: None, problem)
        lanes = lanes_of(problem, axes, problem.lower[:, None], problem.upper[:, None])
        end = descend(lanes, x[:, None], actions[:, :, None], descent_rules(x.dtype))
        return end.inputs[:, :, 0], end.converged[0].astype(x.dtype), end.taken[0].astype(x.dtype)

    @solve.def_vmap
    def _many(size: int, batched: Any, numbers: Any, others: Any, x: Array, actions: Array) -> tuple:
        problems = eqx.combine(numbers, others, rest)
        flags = eqx.combine(batched[0], batched[1], jax.tree.map(lambda _: False, rest))
        axes = jax.tree.map(lambda flag: 0 if flag else None, flags)

        def spread(array: Array, flag: bool) -> Array:
            return jnp.moveaxis(array, 0, -1) if flag else jnp.repeat(array[..., None], size, axis=-1)

        lower, upper = spread(problems.lower, flags.lower), spread(problems.upper, flags.upper)

        def make(which: Array | None) -> Any:
            if which is None:
                return lanes_of(problems, axes, lower, upper)
            some = jax.tree.map(lambda leaf, flag: leaf[which] if flag else leaf, problems, flags)
            return lanes_of(some, axes, lower[:, which], upper[:, which])

        everything = begin(make(None), spread(x, batched[2]), spread(actions, batched[3]))
        width = min(rules.width, size)
        best, converged, taken = descend_in_turns(make, everything, descent_rules(x.dtype), width)
        return (best, converged.astype(x.dtype), taken.astype(x.dtype)), (True, True, True)

    return solve
