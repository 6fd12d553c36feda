"""Drivers that simulate several proposals, judge them, and carry out the beginning of the best.

Source: Dauner, Hallgarten, Geiger, Chitta (2023), "Parting with misconceptions about learning-based vehicle
motion planning", section 3 (PDM-Closed).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.lane_bound import LaneBound
from foresee.driving.drivers.may_brake import MayBrake
from foresee.driving.drivers.plan import Plan, for_each, way_of
from foresee.driving.drivers.proposals import Proposer, nearby
from foresee.driving.drivers.scoring import Loss, expected_loss, score
from foresee.driving.forecast import AbstractForecaster, ConstantVelocity
from foresee.driving.observe import Observation

NEAREST = 12  # so many vehicles are looked at


class Pdm(AbstractDriver):
    """The published driver: of all proposals the one with the best score; if all collide, it brakes.

    Everybody is taken to do what is likeliest. With the usual forecaster that is to go straight on.

    Args:
        forecaster: foresees what the others do.
        proposer: makes the plans to choose from.
        nearest: number of vehicles that are looked at.
    """

    forecaster: AbstractForecaster = eqx.field(default_factory=ConstantVelocity)
    proposer: Proposer = eqx.field(default_factory=Proposer)
    nearest: int = eqx.field(static=True, default=NEAREST)
    name: str = eqx.field(static=True, default="pdm")

    def start(self) -> Any:
        """Return the forecaster's memory."""
        return self.forecaster.start()

    def act(
        self, observation: Observation, memory: Any, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], Any]:
        """Return the first action of the best plan."""
        futures, memory = self.forecaster(observation, memory)
        way, proposer = way_of(observation), self.proposer
        around = nearby(observation, futures, proposer.times, self.nearest)
        proposed = proposer(observation, way, around)
        scored = for_each(proposed.plans, lambda plan: score(observation, plan, way, around, proposer.step))
        total = scored.total()
        # Who only brakes is no proposal, but the way out where all others collide.
        clear = scored.no_collision & ~proposed.braking
        total = jnp.where(proposed.braking, jnp.where(clear.any(), -1.0, 1.0), total)
        return first_action(proposed.plans, jnp.argmax(total)), memory


class _Decided(NamedTuple):
    """What an expected driver remembers: its forecaster's memory, share of the desired speed and aim [m]."""

    forecaster: Any
    share: Array
    aim: Array


def _smooth() -> Proposer:
    return Proposer(brakes=jnp.asarray([4.0, 8.0, 8.0]), haste=jnp.asarray([20.0, 20.0, 100.0]), reaction=0.6)


def _careful() -> Loss:
    return Loss(collision=1000.0, patience=2.5)


class ExpectedPdm(AbstractDriver):
    """The same driver in doubt: of all proposals the one that is expected to lose least.

    All futures of the others count with their probabilities, and their doubt makes the loss smooth: nothing
    is either safe or not. It begins with the acceleration that it has and prefers what it decided before.

    Args:
        forecaster: foresees what the others do, with doubt.
        proposer: makes the plans to choose from.
        loss: how much is lost by what.
        nearest: number of vehicles that are looked at.
    """

    forecaster: AbstractForecaster = eqx.field(default_factory=lambda: MayBrake(LaneBound()))
    proposer: Proposer = eqx.field(default_factory=_smooth)
    loss: Loss = eqx.field(default_factory=_careful)
    nearest: int = eqx.field(static=True, default=NEAREST)
    name: str = eqx.field(static=True, default="pdm_expected")

    def start(self) -> _Decided:
        """Return the forecaster's memory, and that nothing is decided but to go on in the middle."""
        return _Decided(self.forecaster.start(), jnp.ones(()), jnp.zeros(()))

    def act(
        self, observation: Observation, memory: _Decided, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], _Decided]:
        """Return the first action of the plan that is expected to lose least."""
        futures, remembered = self.forecaster(observation, memory.forecaster)
        way, proposer, loss = way_of(observation), self.proposer, self.loss
        around = nearby(observation, futures, proposer.times, self.nearest)
        proposed = proposer(observation, way, around)
        cost = for_each(
            proposed.plans, lambda plan: expected_loss(loss, observation, plan, way, around, proposer.step)
        )
        cost += loss.change * (proposed.share - memory.share) ** 2
        cost += loss.swerve * (proposed.aim - memory.aim) ** 2
        best = jnp.argmin(cost)
        decided = _Decided(remembered, proposed.share[best], proposed.aim[best])
        return first_action(proposed.plans, best), decided


def first_action(plans: Plan, best: Any) -> Float[Array, "2"]:
    """Return acceleration [m/s²] and curvature [1/m] with which one of several plans begins."""
    return jnp.stack([plans.acceleration[best, 1], plans.curvature[best, 1]])
