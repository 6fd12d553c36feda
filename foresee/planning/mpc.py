"""Model-predictive control: believe, plan, give the first input, and go on from the rest of the plan."""

from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractConditional, AbstractFilter
from foresee.errors import PlanningError
from foresee.planning.constrained import Tightened
from foresee.planning.ilqr import Ilqr
from foresee.planning.planner import AbstractPlanner, Plan
from foresee.planning.problem import Problem


class Intention(NamedTuple):
    """What a controller remembers: its belief about the state to come, and the inputs it means to give."""

    belief: Any
    actions: Float[Array, "T m"]


class Mpc(eqx.Module):
    """A controller that plans anew after every observation, from a filter's belief.

    Where the problem has limits they are kept with its `risk`: the limits are moved inwards by the doubt that
    the filter will have just before the observation of each step, predicted along the last plan. With linear
    motion, linear sensors and one linear limit the probability to overstep it in the next step is then at
    most `risk`, as long as a plan that keeps the limits is found.

    Args:
        problem: what to minimise; its dynamics are the motion, with noise, that the filter predicts by.
        filter: how the belief is kept.
        sensor: what is observed.
        planner: how to plan; one that keeps limits where there are any.

    Raises:
        PlanningError: if the dynamics are no conditional.
    """

    problem: Problem
    filter: AbstractFilter
    sensor: AbstractConditional
    planner: AbstractPlanner = eqx.field(default_factory=Ilqr)

    def __check_init__(self) -> None:
        """Check that the motion has noise to predict by."""
        if not isinstance(self.problem.dynamics, AbstractConditional):
            raise PlanningError("Mpc: expected dynamics that are a conditional, with noise to predict by")

    @property
    def motion(self) -> AbstractConditional:
        """The problem's dynamics, with noise."""
        return cast(AbstractConditional, self.problem.dynamics)

    def start(self, belief: Any) -> Intention:
        """Return what is remembered before the first observation: a belief, and nothing to do yet."""
        return Intention(belief, self.problem.rest(belief.mean().dtype))

    def act(
        self, intention: Intention, y: Float[Array, " k"], seen: Any = None, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, " m"], Intention, Plan]:
        """Return the input after an observation, what is remembered, and the whole plan."""
        belief, _ = self.filter.update(intention.belief, self.sensor, y, seen)
        problem = self.problem
        if problem.limits is not None:
            covariances = self.foreseen(belief, intention.actions)
            moved = Tightened(problem.limits, covariances, problem.risk)
            problem = eqx.tree_at(
                lambda one: one.limits, problem, moved, is_leaf=lambda leaf: leaf is problem.limits
            )
        plan = self.planner(problem, belief, intention.actions, key=key)
        u = plan.actions[0]
        following = jnp.concatenate([plan.actions[1:], plan.actions[-1:]])
        onward = self.filter.predict(belief, self.motion, u, problem.dt)
        return u, Intention(onward, following), plan

    def foreseen(self, belief: Any, actions: Float[Array, "T m"]) -> Float[Array, "P n n"]:
        """Return the covariances that the filter will have before each observation along a plan."""

        def step(belief: Any, u: Array) -> tuple[Any, Array]:
            ahead = self.filter.predict(belief, self.motion, u, self.problem.dt)
            # What is most likely to be seen leaves the mean where it is, and the doubt smaller.
            corrected, _ = self.filter.update(ahead, self.sensor, self.sensor(ahead.mean()).mean())
            return corrected, ahead.covariance

        _, ahead = jax.lax.scan(step, belief, actions)
        return jax.lax.stop_gradient(jnp.concatenate([belief.covariance[None], ahead]))
