"""A driver that looks for the plan of least expected cost, by samples or by slopes, and begins it.

The two ways of looking are `foresee.driving.drivers.solvers`.
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.believed import PLACES
from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.costs import Costs
from foresee.driving.drivers.lane_bound import LaneBound
from foresee.driving.drivers.plan import Plan, Way, roll_out, way_of
from foresee.driving.drivers.plan_costs import plan_terms
from foresee.driving.drivers.solvers import Vector, descended, sampled
from foresee.driving.forecast import AbstractForecaster, Futures, of_slots
from foresee.driving.idm import idm_acceleration
from foresee.driving.neighbours import FAR
from foresee.driving.observe import Observation
from foresee.driving.world import Limits, Manners
from foresee.dynamics.check import check_positive
from foresee.errors import OptionError

NEAREST = 10  # so many vehicles are looked at
SLOWEST = 5.0  # below this speed the wheel is turned as at this one [m/s]
BRAKES = (3.0, 8.0, 16.0)  # of plans that only brake; asking for twice the hardest comes to it sooner [m/s²]
APPROACH = 2.0  # in which one comes to the desired speed, at the soonest [s]
RETURN = 1.3  # rate at which an offset from the middle of the lane goes back [1/s]
SOLVERS = ("gradient", "sampling")
WEIGHTS = {
    "proximity": 0.6, "lane": 0.4, "comfort": 0.4, "risk": 40.0, "headway": 1.0, "headway_behind": 0.2,
    "discount": 0.95,
}  # fmt: skip


class Intended(NamedTuple):
    """What is remembered: the forecaster's memory, that of the driver that is asked, the last plan, its age.

    The plan is jerk along and across the way in each of its steps, in units of what costs 1. Its age is the
    number of decisions since it was made, and 0 once a new one is due.
    """

    forecaster: Any
    warm: Any
    jerks: Float[Array, "T 2"]
    age: Int[Array, ""]


class Situation(NamedTuple):
    """What plans are made and judged with.

    Attributes:
        view: what the driver knows; its sizes are those of the vehicles in `futures`.
        futures: of the nearest vehicles, and of the end of the lane where that is closed.
        way: along the lane.
    """

    view: Observation
    futures: Futures
    way: Way


def _costs() -> Costs:
    return Costs(**{name: as_float(value) for name, value in WEIGHTS.items()})


class Mpc(AbstractDriver):
    """Begins the plan that is expected to cost least, under all futures of the others and their doubt.

    A plan is a series of jerks along and across the way, from the acceleration and the curvature on that
    the vehicle has; so a shorter vector is a smoother ride. The best of some simple plans, the last plan
    among them, is improved by slopes or by samples. The ego's own motion is exact.

    Args:
        forecaster: foresees what the others do, with doubt.
        costs: what costs how much.
        warm: a driver whose action, held, is one of the plans to begin with; none by default.
        strength: highest acceleration [m/s²].
        spread: of the samples, in units of the jerk that costs 1.
        solver: "gradient" or "sampling".
        steps: steps of the gradient.
        samples: samples in a round.
        rounds: rounds of samples.
        nearest: number of vehicles that are looked at.
        horizon: how far plans reach [s].
        step: time between their points [s].
        interval: time between two decisions [s].
        every: number of decisions that come of one plan.

    Raises:
        OptionError: if the solver is unknown, or has nothing to do.
    """

    forecaster: AbstractForecaster = eqx.field(default_factory=LaneBound)
    costs: Costs = eqx.field(default_factory=_costs)
    warm: AbstractDriver | None = None
    strength: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)
    spread: Float[Array, ""] = eqx.field(converter=as_float, default=0.3)
    solver: Literal["gradient", "sampling"] = eqx.field(static=True, default="gradient")
    steps: int = eqx.field(static=True, default=4)
    samples: int = eqx.field(static=True, default=32)
    rounds: int = eqx.field(static=True, default=2)
    nearest: int = eqx.field(static=True, default=NEAREST)
    horizon: float = eqx.field(static=True, default=4.0)
    step: float = eqx.field(static=True, default=0.4)
    interval: float = eqx.field(static=True, default=0.1)
    every: int = eqx.field(static=True, default=1)
    name: str = eqx.field(static=True, default="mpc")

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "strength", "spread", "horizon", "step", "interval")
        if self.solver not in SOLVERS:
            raise OptionError(f"expected a solver out of {', '.join(SOLVERS)}, got {self.solver!r}")
        if min(self.steps, self.samples - 1, self.rounds, self.nearest, self.every) < 1:
            raise OptionError(
                "expected at least 1 step, 2 samples, 1 round, 1 vehicle and 1 decision, got "
                f"{self.steps}, {self.samples}, {self.rounds}, {self.nearest} and {self.every}"
            )

    @property
    def points(self) -> int:
        """Number of steps of a plan."""
        return round(self.horizon / self.step)

    def start(self) -> Intended:
        """Return that nothing is intended yet."""
        warm = None if self.warm is None else self.warm.start()
        return Intended(self.forecaster.start(), warm, jnp.zeros((self.points, 2)), jnp.zeros((), jnp.int32))

    def act(
        self, observation: Observation, memory: Intended, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], Intended]:
        """Return the beginning of the best plan that was found."""
        futures, foreseen = self.forecaster(observation, memory.forecaster)
        asked, remembered = None, None
        if self.warm is not None:
            asked, remembered = self.warm.act(observation, memory.warm, key=jax.random.fold_in(key, 1))
        here = self.situation(observation, futures)

        def anew() -> Float[Array, "T 2"]:
            return self.best(here, self.starts(here, memory.jerks, asked), key)

        jerks = jax.lax.cond(memory.age == 0, anew, lambda: self._shifted(memory.jerks))
        intended = Intended(foreseen, remembered, jerks, (memory.age + 1) % self.every)
        return self.beginning(here, jerks), intended

    def best(self, here: Situation, starts: Float[Array, "S T 2"], key: PRNGKeyArray) -> Float[Array, "T 2"]:
        """Return the best plan that is found from some on."""

        def cost(flat: Vector) -> Float[Array, ""]:
            return self.cost(here, flat.reshape(starts.shape[1:]))

        flat = starts.reshape(starts.shape[0], -1)
        if self.solver == "gradient":
            # That of comfort alone, in these units.
            curvature = 2 * self.costs.comfort / self.points
            found, _ = descended(cost, flat, curvature=curvature, steps=self.steps)
        else:
            options = {"samples": self.samples, "rounds": self.rounds}
            found, _ = sampled(cost, flat, key=key, spread=self.spread, **options)
        return found.reshape(starts.shape[1:])

    def situation(self, view: Observation, futures: Futures) -> Situation:
        """Return what plans are made and judged with.

        Args:
            view: what the driver knows.
            futures: of the vehicles in all slots.
        """
        slots, way = of_slots(view, self.nearest), way_of(view)
        near = futures.select(slots).at(jnp.arange(self.points + 1) * self.step)
        view, near = _with_end(view, way, slots, near)
        near, way = jax.lax.optimization_barrier((near, way))
        return Situation(view, near, way)

    def cost(self, here: Situation, jerks: Float[Array, "T 2"]) -> Float[Array, ""]:
        """Return what the plan of some jerks is expected to cost.

        As `foresee.driving.drivers.plan_costs.expected_cost`, but what risk was run is not over once it has
        been run: otherwise to go through somebody fast would cost less than to brake too late.
        """
        now, plan = jnp.stack([here.view.acceleration, here.view.curvature]), self.plan(here, jerks)
        terms = plan_terms(plan, here.futures, here.view, self.costs, now)
        terms["risk"] = jax.lax.cummax(terms["risk"])
        terms["lane"] = terms["lane"] ** 2  # no descent leads away from a corner, as in the middle of a lane
        weight = self.costs.discounts(plan.times[1:])
        return jnp.sum(weight * self.costs.weigh(terms)[1:]) / jnp.sum(weight)

    def plan(self, here: Situation, jerks: Float[Array, "T 2"]) -> Plan:
        """Return where jerks lead; acceleration and curvature of the plan are those at its points."""
        view = here.view
        along, across = self._knots(here, jerks)
        mean = 0.5 * (along[1:] + along[:-1])
        # How fast and how far one has come, to know how the lane bends there.
        speed = jnp.maximum(view.speed + jnp.pad(jnp.cumsum(mean), (1, 0)) * self.step, 0.0)
        where = jnp.pad(jnp.cumsum(0.5 * (speed[1:] + speed[:-1])), (1, 0)) * self.step
        bend = here.way.at(jax.lax.stop_gradient(where)).curvature
        curvature = bend + across / jnp.maximum(speed, SLOWEST) ** 2
        curvature = curvature.at[0].set(view.curvature)
        actions = jnp.stack([mean, 0.5 * (curvature[1:] + curvature[:-1])], axis=-1)
        rolled = roll_out(view, actions, self.step)
        return replace(rolled, acceleration=along, curvature=curvature)

    def beginning(self, here: Situation, jerks: Float[Array, "T 2"]) -> Float[Array, "2"]:
        """Return acceleration [m/s²] and curvature [1/m] until the next decision."""
        share = self.interval / self.step
        along, across = (k[0] + share * (k[1] - k[0]) for k in self._knots(here, jerks))
        bend = here.view.lane_curvature
        return jnp.stack([along, bend + across / jnp.maximum(here.view.speed, SLOWEST) ** 2])

    def starts(
        self, here: Situation, last: Float[Array, "T 2"], asked: Float[Array, "2"] | None
    ) -> Float[Array, "S T 2"]:
        """Return simple plans: the last one, to follow, to brake, to change lanes, and what was asked.

        Args:
            here: what plans are made with.
            last: the last plan.
            asked: action of the driver that is asked, if there is one.
        """
        view = here.view
        follow, keep = self._following(view), self._returning(view, 0.0)
        plans = [(follow, keep)]
        plans += [(jnp.full_like(follow, -brake), keep) for brake in BRAKES]
        for side, there in ((1.0, view.has_left), (-1.0, view.has_right)):
            aside = self._returning(view, jnp.where(there, side * view.lane_width, 0.0))
            plans.append((jnp.zeros_like(follow), aside))
        if asked is not None:
            push = _aside(view, asked[1])
            plans.append((jnp.full_like(follow, asked[0]), self._returning(view, 0.0, push)))
        now = jnp.stack([view.acceleration, _aside(view, view.curvature)])
        knots = jnp.stack([jnp.stack(plan, axis=-1) for plan in plans])
        first = jnp.broadcast_to(now, (len(plans), 1, 2))
        jerks = jnp.diff(jnp.concatenate([first, knots], axis=1), axis=1) / self.step
        return jnp.concatenate([self._shifted(last)[None], jerks / self._units()])

    def _shifted(self, last: Float[Array, "T 2"]) -> Float[Array, "T 2"]:
        """Return the last plan as it is from one decision later on."""
        part = self.interval / self.step
        return (1 - part) * last + part * jnp.pad(last[1:], ((0, 1), (0, 0)))

    def _units(self) -> Float[Array, "2"]:
        return jnp.stack([self.costs.jerk, self.costs.lateral_jerk])

    def _knots(self, here: Situation, jerks: Array) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
        """Return accelerations along and across the way at the points of a plan, now first [m/s²]."""
        view, limits = here.view, Limits()
        gained = jnp.pad(jnp.cumsum(jerks * self._units(), axis=0), ((1, 0), (0, 0))) * self.step
        # The costs do not mind driving faster than one desires.
        most = jnp.clip((self.costs.reference(view) - view.speed) / APPROACH, -1.0, self.strength)
        # What is beyond the hardest braking is not done, but one comes to that in less time.
        along = jnp.clip(view.acceleration + gained[:, 0], -2 * limits.brake, most)
        across = _aside(view, view.curvature) + gained[:, 1]
        return along.at[0].set(view.acceleration), jnp.clip(across, -limits.sideways, limits.sideways)

    def _following(self, view: Observation) -> Float[Array, " T"]:
        """Return the accelerations of the intelligent driver model behind who is ahead and goes on."""
        one = jnp.ones(1, view.speed.dtype)
        reference, zero = self.costs.reference(view), jnp.zeros_like(one)
        manners = Manners(reference * one, 1.0 * one, self.strength * one, 2 * one, one, *4 * [zero])
        ahead = jnp.stack([view.speed - view.ahead.closing, jnp.zeros_like(view.speed)])
        room = jnp.where(view.closed, view.to_end - 0.5 * view.length, FAR)

        def advance(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            gap, speed = carry
            wanted = idm_acceleration(manners, speed + 0 * gap, gap, ahead).min()
            wanted = jnp.clip(wanted, -BRAKES[-1], self.strength)
            later = jnp.maximum(speed + wanted * self.step, 0.0)
            return (gap + (ahead - 0.5 * (speed + later)) * self.step, later), wanted

        begin = (jnp.stack([view.ahead.gap, room]), view.speed)
        return jax.lax.scan(advance, begin, None, length=self.points)[1]

    def _returning(self, view: Observation, aim: Any, push: Any = None) -> Float[Array, " T"]:
        """Return accelerations across the lane that lead to an offset from its middle, critically damped.

        The offset less the aim is (p + q t + r t²) exp(-λ t), with place, speed and acceleration of now.
        """
        t, rate = jnp.arange(1, self.points + 1) * self.step, RETURN
        push = _aside(view, view.curvature) if push is None else push
        p = view.offset - aim
        q = view.speed * jnp.sin(view.angle) + rate * p
        r = 0.5 * push + rate * q - 0.5 * rate**2 * p
        inside = 2 * r - 2 * rate * (q + 2 * r * t) + rate**2 * (p + q * t + r * t**2)
        return inside * jnp.exp(-rate * t)


def _aside(view: Observation, curvature: Float[Array, ""]) -> Float[Array, ""]:
    """Return the acceleration across the lane that a curvature means [m/s²]."""
    return (curvature - view.lane_curvature) * jnp.maximum(view.speed, SLOWEST) ** 2


def _with_end(view: Observation, way: Way, slots: Array, near: Futures) -> tuple[Observation, Futures]:
    """Return view and futures of some vehicles alone, and of the end of a closed lane, where one stands."""
    end = way.at(view.to_end)
    shape = (1, *near.x.shape[1:])
    sure = jnp.zeros(shape, near.x.dtype)
    weights = jnp.zeros_like(near.weights[:1]).at[:, 0].set(1.0)
    stands = [sure + value for value in (end.x, end.y, end.heading)]
    there = (*stands, sure, sure, weights, view.closed[None])
    names = ("x", "y", "heading", "along_sd", "across_sd", "weights", "known")
    both = (jnp.concatenate([getattr(near, name), more]) for name, more in zip(names, there, strict=True))
    lengths = jnp.append(view.lengths[slots], 0.0)
    widths = jnp.append(view.widths[slots], view.lane_width)
    same, named = slots == view.behind.slot, view.neighbours.slot
    behind = jnp.where(same.any(), jnp.argmax(same), -1).astype(named.dtype)
    renamed = replace(view.neighbours, slot=named.at[PLACES.index("behind")].set(behind))
    return replace(view, lengths=lengths, widths=widths, neighbours=renamed), Futures(near.times, *both)
