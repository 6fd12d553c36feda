"""Planning by samples, for costs and motions without useful slopes and for any belief: MPPI and the CEM."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractBelief, AbstractConditional, Points
from foresee.beliefs.gaussian import as_float
from foresee.errors import PlanningError
from foresee.planning.planner import AbstractPlanner, Plan, certain_state, first_actions
from foresee.planning.problem import Problem

LEAST_SPREAD = 1e-3  # of the first one, below which the cross-entropy method does not go


def expected_cost(
    problem: Problem,
    points: Points,
    actions: Float[Array, "T m"],
    forbidding: float | Float[Array, ""] = 1e4,
    *,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:
    """Return what actions are expected to cost from a state in doubt.

    Where the problem has limits, the probability of overstepping any of them in a step counts as far as it is
    above the problem's risk, times `forbidding`.

    Args:
        problem: what to minimise.
        points: where the state may be now, as a belief's `points`.
        actions: the inputs.
        forbidding: what a step costs that oversteps a limit for certain.
        key: randomness of the motion's noise, for dynamics that are a conditional; without it the motion is
            that of its means.
    """
    steps = jnp.arange(problem.horizon)
    dynamics = problem.dynamics

    def follow(x: Array, key: Array | None) -> tuple[Array, Array]:
        if key is None or not isinstance(dynamics, AbstractConditional):
            states = problem.rollout(x, actions)
        else:

            def step(x: Array, at: tuple) -> tuple[Array, Array]:
                onward = dynamics(x, at[0], problem.dt).sample(key=at[1])
                return onward, onward

            _, after = jax.lax.scan(step, x, (actions, jax.random.split(key, problem.horizon)))
            states = jnp.concatenate([x[None], after])
        if problem.limits is None:
            over = jnp.zeros(problem.horizon, bool)
        else:
            over = jnp.any(jax.vmap(problem.limits)(states[1:], steps + 1) > 0, axis=1)
        return problem.cost(states, actions), over

    values = points.stacked()
    keys = None if key is None else jax.random.split(key, values.shape[0])
    costs, over = jax.vmap(follow, in_axes=(0, None if keys is None else 0))(values, keys)
    weights = points.weights()
    return weights @ costs + forbidding * jnp.sum(jnp.maximum(0.0, weights @ over - problem.risk))


class AbstractSampler(AbstractPlanner):
    """A planner that tries sequences of inputs around a mean, moves the mean, and keeps the best of all."""

    spread: eqx.AbstractVar[Array]
    samples: eqx.AbstractVar[int]
    rounds: eqx.AbstractVar[int]
    points: eqx.AbstractVar[int]
    noisy: eqx.AbstractVar[bool]
    tolerance: eqx.AbstractVar[float]

    @abc.abstractmethod
    def moved(self, tried: Array, costs: Array, mean: Array, spread: Array) -> tuple[Array, Array]:
        """Return the mean and the spread of the next round."""


def _look(
    self: AbstractSampler, problem: Problem, belief: Any, warm: Array | None, key: PRNGKeyArray
) -> Plan:
    x = certain_state(belief)
    first = first_actions(problem, warm, x.dtype)
    start, *rounds = jax.random.split(key, self.rounds + 1)
    noise = jax.random.fold_in(start, 1) if self.noisy else None  # the same for all, so that they compare
    if isinstance(belief, AbstractBelief) and self.points > 1:
        points = belief.points(self.points, key=start)
    else:
        points = Points(x[None], jnp.zeros(1, x.dtype))

    def value(actions: Array) -> Array:
        cost = expected_cost(problem, points, actions, key=noise)
        return jnp.where(jnp.isfinite(cost), cost, jnp.inf)

    def look(carry: tuple, key: Array) -> tuple[tuple, Array]:
        mean, spread, best, least = carry
        drawn = jax.random.normal(key, (self.samples, *mean.shape), mean.dtype)
        tried = problem.clip(jnp.concatenate([mean[None], best[None], mean + spread * drawn]))
        costs = jax.vmap(value)(tried)
        lowest = jnp.argmin(costs)
        best = jnp.where(costs[lowest] < least, tried[lowest], best)
        mean, spread = self.moved(tried, costs, mean, spread)
        return (problem.clip(mean), spread, best, jnp.minimum(costs[lowest], least)), least

    spread = jnp.broadcast_to(self.spread, first.shape).astype(x.dtype)
    begin = (first, spread, first, value(first))
    (mean, _, best, least), before = jax.lax.scan(look, begin, jnp.stack(rounds))
    last = value(mean)
    best, least = jnp.where(last < least, mean, best), jnp.minimum(last, least)
    settled = jnp.isfinite(least) & (before[-1] - least <= self.tolerance * jnp.abs(least))
    return Plan(best, problem.rollout(x, best), least, settled, jnp.sum(jnp.diff(before, append=least) < 0))


class Mppi(AbstractSampler):
    """Model-predictive path integral control: the mean moves to the average of samples, weighted by cost.

    Weights are exp(-(cost - least) / (temperature · mean excess over the least)), so that units of the cost
    do not matter (Williams et al. 2018, section III). The plan is the best of all that was tried, never
    worse than the inputs to begin with. `converged` says that the last round gained nothing more; nothing
    here knows of a minimum.

    Args:
        spread: standard deviation of the samples of each input.
        temperature: small makes greedy.
        samples: in a round.
        rounds: number of rounds.
        points: that stand for the belief; 1 takes its mean.
        noisy: whether the motion's noise is drawn too.
        tolerance: share of the cost by which the last round may still gain.
    """

    spread: Float[Array, "*m"] = eqx.field(converter=as_float)
    temperature: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)
    samples: int = eqx.field(static=True, default=256)
    rounds: int = eqx.field(static=True, default=10)
    points: int = eqx.field(static=True, default=16)
    noisy: bool = eqx.field(static=True, default=False)
    tolerance: float = eqx.field(static=True, default=1e-2)

    def __check_init__(self) -> None:
        """Check the numbers."""
        _check(self)

    def moved(self, tried: Array, costs: Array, mean: Array, spread: Array) -> tuple[Array, Array]:
        """Return the weighted mean; samples come nearer by a tenth."""
        excess = jnp.where(jnp.isfinite(costs), costs - jnp.min(costs), jnp.inf)
        finite = jnp.isfinite(excess)
        usual = jnp.sum(jnp.where(finite, excess, 0.0)) / jnp.maximum(jnp.sum(finite), 1)
        scale = jnp.maximum(self.temperature * usual, jnp.finfo(costs.dtype).tiny)
        weights = jnp.where(finite, jnp.exp(-jnp.where(finite, excess, 0.0) / scale), 0.0)
        total = jnp.sum(weights)
        average = jnp.tensordot(weights, tried, axes=1) / jnp.where(total > 0, total, 1.0)
        return jnp.where(total > 0, average, mean), 0.9 * spread

    def __call__(
        self,
        problem: Problem,
        belief: AbstractBelief | Float[Array, "..."],
        warm: Float[Array, "..."] | None = None,
        *,
        key: PRNGKeyArray,
    ) -> Plan:
        """Return the best plan that was tried."""
        return _look(self, problem, belief, warm, key)


class Cem(AbstractSampler):
    """The cross-entropy method: mean and spread become those of the best samples (Rubinstein 1999).

    The plan is the best of all that was tried, as with `Mppi`.

    Args:
        spread: standard deviation of the samples of each input in the first round.
        elite: share of the samples that counts as the best.
        samples: in a round.
        rounds: number of rounds.
        points: that stand for the belief; 1 takes its mean.
        noisy: whether the motion's noise is drawn too.
        tolerance: share of the cost by which the last round may still gain.
    """

    spread: Float[Array, "*m"] = eqx.field(converter=as_float)
    elite: float = eqx.field(static=True, default=0.1)
    samples: int = eqx.field(static=True, default=256)
    rounds: int = eqx.field(static=True, default=10)
    points: int = eqx.field(static=True, default=16)
    noisy: bool = eqx.field(static=True, default=False)
    tolerance: float = eqx.field(static=True, default=1e-2)

    def __check_init__(self) -> None:
        """Check the numbers."""
        _check(self)
        if not 0 < self.elite <= 1:
            raise PlanningError(f"Cem: expected an elite share in (0, 1], got {self.elite}")

    def moved(self, tried: Array, costs: Array, mean: Array, spread: Array) -> tuple[Array, Array]:
        """Return mean and spread of the best samples."""
        count = max(int(self.elite * tried.shape[0]), 2)
        _, which = jax.lax.top_k(-costs, count)
        best = tried[which]
        any_finite = jnp.isfinite(jnp.min(costs))
        new_spread = jnp.maximum(jnp.std(best, axis=0), LEAST_SPREAD * self.spread)
        return jnp.where(any_finite, best.mean(axis=0), mean), jnp.where(any_finite, new_spread, spread)

    def __call__(
        self,
        problem: Problem,
        belief: AbstractBelief | Float[Array, "..."],
        warm: Float[Array, "..."] | None = None,
        *,
        key: PRNGKeyArray,
    ) -> Plan:
        """Return the best plan that was tried."""
        return _look(self, problem, belief, warm, key)


def _check(self: AbstractSampler) -> None:
    if min(self.samples - 1, self.rounds, self.points) < 1:
        raise PlanningError(
            f"{type(self).__name__}: expected at least 2 samples, 1 round and 1 point, got {self.samples}, "
            f"{self.rounds} and {self.points}"
        )
