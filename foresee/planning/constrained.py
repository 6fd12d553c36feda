"""Limits on the state, kept by an augmented Lagrangian around iLQR; and limits that doubt moves inwards."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractBelief
from foresee.errors import PlanningError
from foresee.planning.ilqr import Ilqr
from foresee.planning.planner import AbstractPlanner, Plan, certain_state, first_actions
from foresee.planning.problem import Problem
from foresee.planning.squares import AbstractSquares, Total

OUTSIDE = -1.0  # what a limit is at the step that nothing can be done about


class Penalty(AbstractSquares):
    """(ρ/2) Σ max(0, g + λ/ρ)² for limits g ≤ 0 with multipliers λ at every step.

    Args:
        limits: x, t ↦ g.
        multipliers: λ.
        stiffness: ρ.
    """

    limits: Callable
    multipliers: Float[Array, "P k"]
    stiffness: Float[Array, ""]

    def residuals(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return how far limits are overstepped, the multipliers' share included."""
        beyond = self.limits(x, t) + self.multipliers[t] / self.stiffness
        return jnp.sqrt(0.5 * self.stiffness) * jnp.maximum(0.0, beyond)


class AtEnd(AbstractSquares):
    """A penalty at the last step."""

    penalty: Penalty
    horizon: int = eqx.field(static=True)

    def residuals(self, x: Float[Array, " n"], u: Float[Array, " m"] | None = None, t: Any = 0) -> Array:
        """Return those of the last step."""
        return self.penalty.residuals(x, u, self.horizon)


class Sum(eqx.Module):
    """A cost and penalties, where the cost is no sum of squares."""

    cost: Callable
    penalty: AbstractSquares

    def __call__(self, *at: Any) -> Array:
        """Return both together."""
        return self.cost(*at) + self.penalty(*at)


def _with(cost: Callable, penalty: AbstractSquares) -> Callable:
    return Total(cost, penalty) if isinstance(cost, AbstractSquares) else Sum(cost, penalty)


class Constrained(AbstractPlanner):
    """iLQR that keeps a problem's limits, by multipliers that grow (Nocedal and Wright 2006, section 17.3).

    `converged` says that iLQR converged and no limit is overstepped by more than the tolerance. The cost of
    the plan is that of the problem, without multipliers. Derivatives are those of the last round, whose
    multipliers count as constants.

    Args:
        inner: the planner of every round.
        rounds: number of rounds.
        stiffness: ρ of the first round.
        growth: factor of ρ from round to round.
        tolerance: by how much a limit may be overstepped.
    """

    inner: Ilqr = eqx.field(default_factory=Ilqr)
    rounds: int = eqx.field(static=True, default=6)
    stiffness: float = eqx.field(static=True, default=10.0)
    growth: float = eqx.field(static=True, default=4.0)
    tolerance: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self) -> None:
        """Check the numbers."""
        if self.rounds < 1 or not self.stiffness > 0 or not self.growth >= 1:
            raise PlanningError(
                "Constrained: expected rounds ≥ 1, stiffness > 0 and growth ≥ 1, got "
                f"{self.rounds}, {self.stiffness} and {self.growth}"
            )

    def __call__(
        self,
        problem: Problem,
        belief: AbstractBelief | Float[Array, "..."],
        warm: Float[Array, "..."] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Plan:
        """Return the plan; nothing here is random."""
        if problem.limits is None:
            raise PlanningError("Constrained: expected a problem with limits; Ilqr does without")
        limits, horizon = problem.limits, problem.horizon
        x = certain_state(belief)
        actions = first_actions(problem, warm, x.dtype)
        steps = jnp.arange(horizon + 1)

        def beyond(states: Array) -> Array:
            """Return the limits along a trajectory; the first state is what it is."""
            found = jax.vmap(limits)(states, steps)
            return jnp.where(steps[:, None] == 0, OUTSIDE, found)

        def go(carry: tuple, stiffness: Array) -> tuple[tuple, Plan]:
            actions, multipliers = carry
            penalty = Penalty(limits, multipliers, stiffness)
            freed = eqx.tree_at(
                lambda one: (one.stage, one.terminal, one.limits),
                problem,
                (_with(problem.stage, penalty), _with(problem.terminal, AtEnd(penalty, horizon)), None),
                is_leaf=lambda leaf: leaf is problem.stage or leaf is problem.terminal or leaf is limits,
            )
            found = self.inner(freed, x, actions)
            raised = jnp.maximum(0.0, multipliers + stiffness * beyond(found.states))
            return (found.actions, jax.lax.stop_gradient(raised)), found

        none = jnp.zeros_like(beyond(jnp.broadcast_to(x, (horizon + 1, x.shape[0]))))
        stiff = jnp.asarray([self.stiffness * self.growth**k for k in range(self.rounds)], x.dtype)
        _, plans = jax.lax.scan(go, (actions, none), stiff)
        last = jax.tree.map(lambda leaf: leaf[-1], plans)
        kept = jnp.all(beyond(last.states) <= self.tolerance)
        cost = problem.cost(last.states, last.actions)
        return Plan(last.actions, last.states, cost, last.converged & kept, jnp.sum(plans.iterations))


class Tightened(eqx.Module):
    """Limits moved inwards, so that a Gaussian state keeps all with a probability of at least 1 - risk.

    g + z √(∇gᵀ Σ ∇g) with z the normal quantile of 1 - risk/k for k limits: exact for one linear limit, to
    first order and cautious (Boole) for others; Blackmore, Ono and Williams 2011, section III.

    Args:
        limits: x, t ↦ g.
        covariances: Σ of the state at every step.
        risk: in every step.
    """

    limits: Callable
    covariances: Float[Array, "P n n"]
    risk: Float[Array, ""]

    def __call__(self, x: Float[Array, " n"], t: Any) -> Float[Array, " k"]:
        """Return the limits on the mean."""
        values = self.limits(x, t)
        slopes = jax.jacfwd(lambda x: self.limits(x, t))(x)
        variances = jnp.sum((slopes @ self.covariances[t]) * slopes, axis=1)
        # The root has no slope at zero, where a limit has none or there is no doubt.
        deviations = jnp.where(variances > 0, jnp.sqrt(jnp.where(variances > 0, variances, 1.0)), 0.0)
        return values + norm.ppf(1 - self.risk / values.shape[0]) * deviations
