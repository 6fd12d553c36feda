"""Drivers to compare others with: the recorded one, one that does nothing, one that keeps lane and gap."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.driver import AbstractDriver
from foresee.driving.idm import idm_acceleration
from foresee.driving.neighbours import FAR
from foresee.driving.observe import Observation
from foresee.driving.world import Manners
from foresee.dynamics.check import check_not_negative, check_positive

FASTEST = 30.0  # what the lane keeper drives on an empty road, where no limit is lower [m/s]
CLOSEST = 0.5  # a gap reduced by doubt is never taken as less than this share of itself


class Expert(AbstractDriver):
    """The recorded driver: an evaluation leaves the ego to its record to the end.

    Anywhere else it cannot drive, for nothing that a driver sees tells what was recorded.
    """

    name: str = eqx.field(static=True, default="expert")

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def act(self, observation: Any, memory: None, *, key: PRNGKeyArray) -> tuple[Float[Array, "2"], None]:
        """Return no action; it is not used."""
        return jnp.zeros(2), None


class NoAction(AbstractDriver):
    """One who never brakes, accelerates or steers."""

    name: str = eqx.field(static=True, default="none")

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def act(self, observation: Any, memory: None, *, key: PRNGKeyArray) -> tuple[Float[Array, "2"], None]:
        """Return acceleration 0 and curvature 0."""
        return jnp.zeros(2), None


class LaneKeeper(AbstractDriver):
    """One who stays in the middle of its lane and keeps the gap of the intelligent driver model.

    What is believed of the vehicle ahead is taken at its mean. A cautious one takes the gap as smaller by
    some of its standard deviations, but at most by half.

    Args:
        desired_speed: on an empty road, where no speed limit is lower [m/s].
        headway: time kept to the vehicle ahead [s].
        strength: highest acceleration [m/s²].
        comfort: deceleration that is not felt as hard [m/s²].
        standstill: gap kept in a queue [m].
        caution: by how many standard deviations the gap is taken as smaller.
    """

    desired_speed: Float[Array, ""] = eqx.field(converter=as_float, default=FASTEST)
    headway: Float[Array, ""] = eqx.field(converter=as_float, default=1.5)
    strength: Float[Array, ""] = eqx.field(converter=as_float, default=1.4)
    comfort: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)
    standstill: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)
    caution: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)
    name: str = eqx.field(static=True, default="idm")

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "desired_speed", "headway", "strength", "comfort")
        check_not_negative(self, "standstill", "caution")

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def act(
        self, observation: Observation, memory: None, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], None]:
        """Return the acceleration behind the vehicle ahead, and the curvature to the middle of the lane."""
        ahead, zero = observation.ahead, jnp.zeros(1)
        limit = jnp.minimum(self.desired_speed, observation.speed_limit)
        own = (limit, self.headway, self.strength, self.comfort, self.standstill)
        manners = Manners(*[value[None] for value in own] + 4 * [zero])
        gap = jnp.maximum(ahead.gap - self.caution * ahead.gap_sd, CLOSEST * ahead.gap)
        # Before the end of a lane from which one must merge, one stops as behind somebody who stands.
        room = observation.to_end - 0.5 * observation.length
        gaps = jnp.stack([gap, jnp.where(observation.closed, room, FAR)])
        speeds = jnp.stack([observation.speed - ahead.closing, jnp.zeros_like(gap)])
        own_speed = jnp.full_like(gaps, observation.speed)
        wanted = idm_acceleration(manners, own_speed, gaps, speeds).min()
        return jnp.stack([wanted, observation.keep_lane()]), None
