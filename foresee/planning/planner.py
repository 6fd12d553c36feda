"""What every planner takes and returns."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.beliefs.belief import AbstractBelief
from foresee.errors import ShapeError
from foresee.planning.problem import Problem


class Plan(eqx.Module):
    """Inputs to give, and what is expected to come of them.

    Attributes:
        actions: the inputs, always within the problem's box.
        states: that they lead through from the belief's mean, without noise.
        cost: what the planner minimised. Not finite where no allowed inputs with a finite cost were found.
        converged: whether the planner's own test of being done holds; False where it only ran out of steps.
        iterations: number of improvements.
    """

    actions: Float[Array, "T m"]
    states: Float[Array, "P n"]
    cost: Float[Array, ""]
    converged: Bool[Array, ""]
    iterations: Int[Array, ""]


class AbstractPlanner(eqx.Module):
    """A way to look for the inputs that cost least."""

    @abc.abstractmethod
    def __call__(
        self,
        problem: Problem,
        belief: AbstractBelief | Float[Array, "..."],
        warm: Float[Array, "..."] | None = None,
        *,
        key: PRNGKeyArray,
    ) -> Plan:
        """Return a plan.

        Args:
            problem: what to minimise.
            belief: about the state now; a vector is one that is certain.
            warm: inputs to begin with; those nearest to zero by default.
            key: source of randomness, for planners that use any.
        """


def certain_state(belief: Any) -> Float[Array, " n"]:
    """Return the mean of a belief, or the state itself.

    Raises:
        ShapeError: if it is no vector.
    """
    x = belief.mean() if isinstance(belief, AbstractBelief) else belief
    if getattr(x, "ndim", None) != 1:
        raise ShapeError(f"expected a state of shape (n,), got {getattr(x, 'shape', type(x).__name__)}")
    return x


def first_actions(problem: Problem, warm: Array | None, dtype: Any) -> Float[Array, "T m"]:
    """Return the inputs to begin with, brought into the box.

    Raises:
        ShapeError: if they are not one for each step.
    """
    if warm is None:
        return problem.rest(dtype)
    if warm.shape != (problem.horizon, problem.inputs):
        raise ShapeError(
            f"expected inputs to begin with of shape {(problem.horizon, problem.inputs)}, got {warm.shape}"
        )
    return problem.clip(warm)
