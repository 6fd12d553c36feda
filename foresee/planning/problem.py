"""A control problem as data: how a state moves, what a step and an end cost, and what inputs are allowed."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from foresee.beliefs.belief import AbstractConditional
from foresee.beliefs.gaussian import as_float
from foresee.errors import PlanningError, ShapeError

Step = int | Int[Array, ""]


class Problem(eqx.Module):
    """What a planner minimises: Σ stage(x_t, u_t, t) + terminal(x_T) with x_{t+1} = dynamics(x_t, u_t).

    Parameters belong into the callables as leaves (write them as `equinox.Module`s): then one compilation
    serves all their values, batches come from `jax.vmap`, and derivatives reach them. Costs that are
    `foresee.planning.squares.AbstractSquares` are minimised by Gauss and Newton's method.

    Args:
        dynamics: x, u ↦ the next state; or a conditional, of whose belief the mean is taken.
        stage: x, u, t ↦ cost of a step; t is its number.
        terminal: x ↦ cost of the state after the last step.
        lower, upper: bounds of the inputs; may be infinite.
        horizon: number of steps T.
        dt: duration of a step in seconds, for dynamics that are a conditional.
        limits: x, t ↦ a vector that shall not be positive at any step after the first; for planners that
            keep limits (`Constrained`, `Mppi`, `Cem`).
        risk: highest probability in every step with which any of the limits may be overstepped, where the
            state
            is in doubt.

    Raises:
        ShapeError: if the bounds are not two vectors of one length.
        PlanningError: if a lower bound lies above its upper one or is not a number, or the horizon is no
            positive whole number.
    """

    dynamics: Callable
    stage: Callable
    terminal: Callable
    lower: Float[Array, " m"] = eqx.field(converter=as_float)
    upper: Float[Array, " m"] = eqx.field(converter=as_float)
    horizon: int = eqx.field(static=True)
    dt: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    limits: Callable | None = None
    risk: Float[Array, ""] = eqx.field(converter=as_float, default=0.05)

    def __check_init__(self) -> None:
        """Check the box and the horizon."""
        if self.lower.ndim != 1 or self.lower.shape != self.upper.shape or not self.lower.size:
            raise ShapeError(
                f"Problem: expected bounds of one shape (m,), got {self.lower.shape} and {self.upper.shape}"
            )
        if isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < 1:
            raise PlanningError(f"Problem: expected a horizon of at least 1 step, got {self.horizon!r}")
        if not isinstance(self.risk, Tracer) and not 0 < float(self.risk) < 1:
            raise PlanningError(f"Problem: expected a risk between 0 and 1, got {float(self.risk)}")
        if not isinstance(self.lower, Tracer) and not isinstance(self.upper, Tracer):
            lower, upper = np.asarray(self.lower), np.asarray(self.upper)
            if not (lower <= upper).all():
                raise PlanningError(
                    f"Problem: expected lower ≤ upper bounds of inputs, got {lower} and {upper}"
                )

    @property
    def inputs(self) -> int:
        """Number of components of an input."""
        return self.lower.shape[-1]

    def step(self, x: Float[Array, " n"], u: Float[Array, " m"]) -> Float[Array, " n"]:
        """Return the next state."""
        if isinstance(self.dynamics, AbstractConditional):
            return self.dynamics(x, u, self.dt).mean()
        return self.dynamics(x, u)

    def rollout(self, x: Float[Array, " n"], actions: Float[Array, "T m"]) -> Float[Array, "P n"]:
        """Return the states that the actions lead through, the first one included."""

        def step(x: Array, u: Array) -> tuple[Array, Array]:
            onward = self.step(x, u)
            return onward, onward

        _, states = jax.lax.scan(step, x, actions)
        return jnp.concatenate([x[None], states])

    def cost(self, states: Float[Array, "P n"], actions: Float[Array, "T m"]) -> Float[Array, ""]:
        """Return what a trajectory costs."""
        steps = jnp.arange(self.horizon)
        return jnp.sum(jax.vmap(self.stage)(states[:-1], actions, steps)) + self.terminal(states[-1])

    def clip(self, actions: Float[Array, "*T m"]) -> Float[Array, "*T m"]:
        """Return the nearest allowed inputs."""
        return jnp.clip(actions, self.lower, self.upper)

    def rest(self, dtype: Any = float) -> Float[Array, "T m"]:
        """Return the allowed inputs that are nearest to none, for a cold start."""
        return self.clip(jnp.zeros((self.horizon, self.inputs), dtype))
