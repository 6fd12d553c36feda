"""A driver whose plans come out of the network that foretells the others: it picks the one of least cost.

Source: Pini, Perone, Ahuja, Ferreira, Niendorf, Zagoruyko (2022), "Safe real-world autonomous driving by
learning to predict and plan with a mixture of experts", arXiv 2211.02131.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.plan import Plan, for_each, way_of
from foresee.driving.drivers.proposals import nearby
from foresee.driving.drivers.scoring import Loss, expected_loss
from foresee.driving.drivers.tracking import Course, Tracker, course_of
from foresee.driving.forecast import Futures
from foresee.driving.futures.learned import Learned
from foresee.driving.observe import Observation
from foresee.dynamics.check import check_not_negative

NEAREST = 8  # so many vehicles are looked at
SLOWER = (0.0, 0.5, 1.5, 4.0)
RAREST = 1e-6  # no way counts as less probable than this
LEAST_SD = 1.0  # how far along its way a plan may be from what was foretold, at least, and still be usual [m]


def _row(*values: float) -> Float[Array, " N"]:
    return jnp.asarray(values, float)


def _loss() -> Loss:
    return Loss(collision=300.0, patience=2.0, progress=12.0, jerk=2.0, swerve=0.3, change=0.3)


class Candidates(NamedTuple):
    """Plans to choose from: P = K ways, each at several speeds; the ways as foretold come first.

    Attributes:
        plans: the plans.
        cost: what each is expected to cost, and how unusual it is; the least is chosen.
        surprise: negative logarithm of the probability that a recorded driver does so, up to a constant.
        way: number of the way.
        slower: what is taken off its acceleration [m/s²].
        begin, rate: acceleration that is aimed at [m/s²], and its change [m/s³].
        course: the ways.
    """

    plans: Plan
    cost: Float[Array, " P"]
    surprise: Float[Array, " P"]
    way: Int[Array, " P"]
    slower: Float[Array, " P"]
    begin: Float[Array, " P"]
    rate: Float[Array, " P"]
    course: Course


class Chosen(NamedTuple):
    """What was chosen last: what is taken off the acceleration [m/s²], where it leads across the lane [m].

    `fresh` is 1 as long as nothing was chosen yet.
    """

    slower: Float[Array, ""]
    aim: Float[Array, ""]
    fresh: Float[Array, ""]


class SafePathNet(AbstractDriver):
    """Chooses, of what recorded drivers would do in its place, what is expected to cost least.

    One look of the networks gives several plans of the ego with probabilities, and several futures of
    everybody else. Every plan may also be driven more slowly. There is no rule to fall back on.

    With `choose` 0 it does what is likeliest without asking for the cost.

    Args:
        forecaster: foretells the ego and the others.
        loss: what costs how much.
        tracker: makes a way drivable.
        choose: how much the cost counts.
        habit: what a plan costs that is e times less probable.
        slower: what is taken off the acceleration of a way; the first one is 0 [m/s²].
        nearest: number of vehicles that are looked at.
        horizon: how far the plans reach [s].
        step: time between their points [s].
    """

    forecaster: Learned
    loss: Loss = eqx.field(default_factory=_loss)
    tracker: Tracker = eqx.field(default_factory=Tracker)
    choose: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    habit: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    slower: Float[Array, " S"] = eqx.field(default_factory=lambda: _row(*SLOWER))
    nearest: int = eqx.field(static=True, default=NEAREST)
    horizon: float = eqx.field(static=True, default=4.0)
    step: float = eqx.field(static=True, default=0.4)
    name: str = eqx.field(static=True, default="safepathnet")

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_not_negative(self, "choose", "habit")

    @property
    def times(self) -> Float[Array, " T"]:
        """Times of the points of a plan, from now on [s]."""
        return jnp.arange(round(self.horizon / self.step) + 1) * self.step

    def start(self) -> tuple[Any, Chosen]:
        """Return the forecaster's memory, and that nothing was chosen."""
        return self.forecaster.start(), Chosen(jnp.zeros(()), jnp.zeros(()), jnp.ones(()))

    def act(
        self, observation: Observation, memory: tuple[Any, Chosen], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], tuple[Any, Chosen]]:
        """Return the beginning of the chosen plan."""
        outlook, remembered = self.forecaster.look(observation, memory[0])
        candidates = self.candidates(observation, outlook.futures, outlook.own, memory[1])
        action, chosen = self.pick(observation, candidates)
        return action, (remembered, chosen)

    def candidates(self, view: Observation, futures: Futures, own: Futures, last: Chosen) -> Candidates:
        """Return the plans and what they cost.

        Args:
            view: what the driver knows.
            futures: of the vehicles in all slots.
            own: of the ego, as the only one.
            last: what was chosen last.
        """
        way = way_of(view)
        course = course_of(way, own)
        begin, rate = self.tracker.fit(view, course)
        ways, speeds = begin.shape[0], self.slower.shape[0]
        number, slower = jnp.tile(jnp.arange(ways), speeds), jnp.repeat(self.slower, ways)
        begin, rate = begin[number] - slower, rate[number]
        each = Course(course.times, *(leaf[number] for leaf in course[1:]))
        plans = self.tracker.plan(view, way, each, begin, rate, self.times)
        around = nearby(view, futures, self.times, self.nearest)
        cost = for_each(plans, lambda one: expected_loss(self.loss, view, one, way, around, self.step))
        aim = each.offset[:, -1]
        cost += (1 - last.fresh) * self.loss.change * (slower - last.slower) ** 2
        cost += (1 - last.fresh) * self.loss.swerve * (aim - last.aim) ** 2
        surprise = -jnp.log(jnp.maximum(own.weights[0], RAREST))[number]
        surprise += _apart(slower, each, self.tracker.reach)
        cost = self.choose * cost + (self.choose * self.habit + 1 - self.choose) * surprise
        return Candidates(plans, cost, surprise, number, slower, begin, rate, course)

    def pick(self, view: Observation, candidates: Candidates) -> tuple[Float[Array, "2"], Chosen]:
        """Return the beginning of the plan of least cost, and that it was chosen."""
        best = jnp.argmin(candidates.cost)
        way, slower = candidates.way[best], candidates.slower[best]
        begin, rate = candidates.begin[best], candidates.rate[best]
        action = self.tracker.action(view, candidates.course, way, begin, rate)
        return action, Chosen(slower, candidates.course.offset[way, -1], jnp.zeros(()))


def _apart(slower: Float[Array, " P"], course: Course, reach: Float[Array, ""]) -> Float[Array, " P"]:
    """Return how much less probable it is to be so much slower: mean of half the squared distance in sds."""
    t = course.times
    counts = (t > 0) & (t <= reach)
    square = (0.5 * slower[:, None] * t**2) ** 2 / jnp.maximum(course.along_sd, LEAST_SD) ** 2
    return 0.5 * jnp.sum(jnp.where(counts, square, 0.0), axis=1) / jnp.maximum(counts.sum(), 1)
