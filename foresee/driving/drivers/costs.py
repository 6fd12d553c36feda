"""What a moment of driving costs: PPUU's costs, and progress, comfort and the risk of an own fault.

Every term is differentiable almost everywhere and has finite derivatives at its corners, so that policies can
be trained through a rollout. Terms have no unit, and are about 1 where something is as bad as is allowed. All
formulas are in `docs/costs.md`.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import erfc
from jaxtyping import Array, Float

from foresee.beliefs.gaussian import as_float
from foresee.driving.believed import PLACES
from foresee.driving.comfort import LIMITS
from foresee.driving.observe import Observation
from foresee.driving.policies import FASTEST
from foresee.driving.steering import half_body
from foresee.dynamics.check import check_not_negative, check_positive
from foresee.errors import ForeseeError

NAMES = ("proximity", "lane", "off_road", "progress", "comfort", "risk")
FRAME = 0.1  # the time for which the discount is stated [s]
SLOWEST = 1.0  # a shortfall is relative to at least this speed [m/s]
MOMENTS = (0.0, 0.5, 1.0)  # of the risk's horizon
OWN_BEHIND = PLACES.index("behind")


def _number(value: float) -> Any:
    return eqx.field(converter=as_float, default=value)


class Costs(eqx.Module):
    """Weights and scales of the terms; call it for the weighted sum at one moment.

    Proximity, lane and discount are those of PPUU (Henaff, Canziani and LeCun 2019, "Model-predictive policy
    learning with uncertainty regularization for driving in dense traffic", arXiv 1901.02705); the limits of
    comfort and the horizon of the risk are nuPlan's. The other numbers are places to begin at.

    Args:
        proximity: weight of being too close to a vehicle.
        lane: weight of being away from the middle of a lane.
        off_road: weight of being outside of the road.
        progress: weight of driving slower than one could.
        comfort: weight of jerk and sideways acceleration.
        risk: weight of the probability of touching somebody by one's own fault.
        headway: time that the safe distance ahead covers [s].
        headway_behind: the same for the distance to who is behind [s].
        margin: safe distance at standstill [m].
        side_room: distance between sides from which on nobody is too close [m].
        outside: how far outside of the road costs 1 [m].
        desired_speed: where no other is given and no limit is lower [m/s].
        jerk: along the way, that costs 1 [m/s³].
        lateral_jerk: across, that costs 1 [m/s³].
        lateral_acceleration: across, that costs 1 [m/s²].
        risk_horizon: how far ahead a touch is looked for [s].
        softness: added in squares to every standard deviation of a gap, so that risk always has a slope [m].
        discount: of the costs of a plan, per tenth of a second.

    Raises:
        ForeseeError: if a weight is negative, a scale not positive, or the discount not within 0 and 1.
    """

    proximity: Float[Array, ""] = _number(1.0)
    lane: Float[Array, ""] = _number(0.2)
    off_road: Float[Array, ""] = _number(1.0)
    progress: Float[Array, ""] = _number(0.5)
    comfort: Float[Array, ""] = _number(0.05)
    risk: Float[Array, ""] = _number(5.0)
    headway: Float[Array, ""] = _number(1.5)
    headway_behind: Float[Array, ""] = _number(1.5)
    margin: Float[Array, ""] = _number(1.0)
    side_room: Float[Array, ""] = _number(1.0)
    outside: Float[Array, ""] = _number(1.0)
    desired_speed: Float[Array, ""] = _number(FASTEST)
    jerk: Float[Array, ""] = _number(LIMITS["ego_lon_jerk"][1])
    lateral_jerk: Float[Array, ""] = _number(LIMITS["ego_jerk"][1])
    lateral_acceleration: Float[Array, ""] = _number(LIMITS["ego_lat_acceleration"][1])
    risk_horizon: Float[Array, ""] = _number(0.95)
    softness: Float[Array, ""] = _number(0.25)
    discount: Float[Array, ""] = _number(0.99)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_not_negative(self, *NAMES, "headway", "headway_behind", "risk_horizon")
        check_positive(self, "margin", "side_room", "outside", "desired_speed", "softness", "discount")
        check_positive(self, "jerk", "lateral_jerk", "lateral_acceleration")
        if not isinstance(self.discount, Tracer) and np.any(np.asarray(self.discount) > 1):
            raise ForeseeError(f"Costs: expected a discount of at most 1, got {self.discount}")

    def terms(
        self,
        view: Observation,
        action: Float[Array, "2"],
        last_action: Float[Array, "2"],
        dt: float | int | Float[Array, ""],
        reference_speed: float | int | Float[Array, ""] | None = None,
    ) -> dict[str, Float[Array, ""]]:
        """Return every term by its name in `NAMES`, without weights.

        Args:
            view: what is seen; beliefs count at their mean, but for the risk, which takes all of them.
            action: acceleration [m/s²] and curvature [1/m] that are chosen now.
            last_action: those of the step before.
            dt: time between the two [s].
            reference_speed: that one could drive at, as `traffic_speed` [m/s]; by default the speed limit or
                `desired_speed`, whichever is lower.
        """
        along = view.speed * jnp.cos(view.angle)
        reach = half_body(view.length, view.width, view.angle)
        reference = self.reference(view) if reference_speed is None else reference_speed
        return {
            "proximity": self._proximity(view, reach),
            "lane": half_lane(view.offset, view.lane_width),
            "off_road": beyond_edges(reach, view.edge_left, view.edge_right) / self.outside,
            "progress": shortfall(along, reference),
            "comfort": self.discomfort(view.speed, action, last_action, dt),
            "risk": self._risk(view, reach),
        }

    def __call__(
        self,
        view: Observation,
        action: Float[Array, "2"],
        last_action: Float[Array, "2"],
        dt: float | int | Float[Array, ""],
        reference_speed: float | int | Float[Array, ""] | None = None,
    ) -> Float[Array, ""]:
        """Return the weighted sum of the terms; arguments as in `terms`."""
        return self.weigh(self.terms(view, action, last_action, dt, reference_speed))

    def weigh(self, terms: Mapping[str, Array]) -> Array:
        """Return the weighted sum of terms, of any shape that they share."""
        return sum((getattr(self, name) * terms[name] for name in NAMES), start=jnp.zeros(()))

    def discounts(self, times: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Return by what the costs at times from now [s] are multiplied."""
        return self.discount ** (times / FRAME)

    def reference(self, view: Observation) -> Float[Array, ""]:
        """Return the speed limit or the desired speed, whichever is lower [m/s]."""
        return jnp.minimum(view.speed_limit, self.desired_speed)

    def safe_distance(self, speed: Array, headway: Array) -> Array:
        """Return the distance from which on nobody ahead or behind is too close [m]."""
        return headway * speed + self.margin

    def discomfort(
        self,
        speed: Float[Array, "*t"],
        action: Float[Array, "*t 2"],
        last_action: Float[Array, "*t 2"],
        dt: float | int | Float[Array, "*#t"],
    ) -> Float[Array, "*t"]:
        """Return the squares of both jerks and of the sideways acceleration, relative to their limits.

        Args:
            speed: at which the actions are taken [m/s].
            action: acceleration [m/s²] and curvature [1/m].
            last_action: those of the step before.
            dt: time between the two [s].
        """
        change = (action - last_action) / jnp.asarray(dt)[..., None]
        jerk, swerve = change[..., 0] / self.jerk, speed**2 * change[..., 1] / self.lateral_jerk
        sideways = speed**2 * action[..., 1] / self.lateral_acceleration
        return jerk**2 + swerve**2 + sideways**2

    def _proximity(self, view: Observation, reach: Array) -> Float[Array, ""]:
        """Return the largest product of the two ramps, over the vehicles around."""
        near = view.neighbours
        headway = jnp.stack([self.headway, self.headway_behind] * (len(PLACES) // 2))
        lengthwise = ramp(near.gap, self.safe_distance(view.speed, headway))
        side = jnp.abs(near.lateral) - reach - 0.5 * view.widths[near.slot]
        each = lengthwise * ramp(side, self.side_room)
        return jnp.where(near.exists, each, 0.0).max()

    def _risk(self, view: Observation, reach: Array) -> Float[Array, ""]:
        """Return the probability of touching somebody within the horizon, if all keep their velocities.

        Gaps along and across the lane are independent normal numbers at each of `MOMENTS`; the worst moment
        counts for each vehicle, and vehicles are independent. Who is behind on the own lane is left out.
        """
        near, slot = view.neighbours, view.neighbours.slot
        later = self.risk_horizon * jnp.asarray(MOMENTS, view.speed.dtype)[:, None]
        gap = near.gap - near.closing * later
        gap_sd = self._spread(near.gap_sd, near.speed_sd, later)
        drift, drift_sd = _across(view)
        lateral = near.lateral + (drift - view.speed * jnp.sin(view.angle)) * later
        lateral_sd = self._spread(near.lateral_sd, drift_sd, later)
        sizes = view.length + view.lengths[slot], reach + 0.5 * view.widths[slot]
        each = touching(gap, gap_sd, lateral, lateral_sd, *sizes)
        # Who takes room on two lanes is listed twice.
        order = jnp.arange(len(PLACES))
        again = ((slot[:, None] == slot) & (order < order[:, None])).any(axis=1)
        counts = near.exists & (order != OWN_BEHIND) & ~again
        return either(jnp.where(counts, each.max(axis=0), 0.0))

    def _spread(self, sd: Array, rate_sd: Array, later: Array) -> Array:
        """Return the standard deviation of a gap later on; its square holds that of the softness [m]."""
        return jnp.sqrt(sd**2 + (rate_sd * later) ** 2 + self.softness**2)


def ramp(gap: Float[Array, "*t"], reach: Float[Array, "*#t"]) -> Float[Array, "*t"]:
    """Return 1 from a gap of 0 downwards and 0 from `reach` upwards [m], linear in between."""
    return jnp.clip(1.0 - gap / reach, 0.0, 1.0)


def half_lane(offset: Float[Array, "*t"], lane_width: Float[Array, "*#t"]) -> Float[Array, "*t"]:
    """Return 0 in the middle of a lane and 1 at its marking and beyond, linear in between [m]."""
    return jnp.minimum(2.0 * jnp.abs(offset) / lane_width, 1.0)


def beyond_edges(
    reach: Float[Array, "*t"], edge_left: Float[Array, "*t"], edge_right: Float[Array, "*t"]
) -> Float[Array, "*t"]:
    """Return how far a body's sides are outside of the road [m].

    Args:
        reach: from the centre to either side [m].
        edge_left: from the centre to the left edge, negative outside of the road [m].
        edge_right: the same to the right edge [m].
    """
    return jnp.maximum(reach - edge_left, 0.0) + jnp.maximum(reach - edge_right, 0.0)


def shortfall(speed: Float[Array, "*t"], reference: float | int | Float[Array, "*#t"]) -> Float[Array, "*t"]:
    """Return the share of a reference speed that is missing; 0 for the faster [m/s]."""
    return jnp.maximum(reference - speed, 0.0) / jnp.maximum(reference, SLOWEST)


def touching(
    gap: Float[Array, "*t"],
    gap_sd: Float[Array, "*t"],
    lateral: Float[Array, "*#t"],
    lateral_sd: Float[Array, "*#t"],
    lengths: Float[Array, "*#t"],
    reach: Float[Array, "*#t"],
) -> Float[Array, "*t"]:
    """Return the probability that two bodies touch, if gaps along and across are independent and normal.

    Args:
        gap: from bumper to bumper; who is farther on than both lengths below 0 has passed [m].
        gap_sd: its standard deviation [m].
        lateral: between the centres, across [m].
        lateral_sd: its standard deviation [m].
        lengths: of both bodies together [m].
        reach: of both bodies to the side, from their centres, together [m].
    """
    lengthwise = normal_cdf(-gap / gap_sd) - normal_cdf(-(gap + lengths) / gap_sd)
    sideways = normal_cdf((reach - lateral) / lateral_sd) - normal_cdf((-reach - lateral) / lateral_sd)
    return lengthwise * sideways


def traffic_speed(view: Observation, otherwise: float | int | Float[Array, ""]) -> Float[Array, ""]:
    """Return the mean speed of the vehicles around, as believed; or another one if there are none [m/s]."""
    near = view.neighbours
    count = near.exists.sum()
    mean = jnp.where(near.exists, near.speed, 0.0).sum() / jnp.maximum(count, 1)
    return jnp.where(count > 0, mean, otherwise)


def normal_cdf(z: Float[Array, "*t"]) -> Float[Array, "*t"]:
    """Return the standard normal distribution function, exact in its lower tail."""
    return 0.5 * erfc(-z * np.sqrt(0.5).item())


def either(probabilities: Float[Array, "*t N"]) -> Float[Array, "*t"]:
    """Return the probability that any of independent events happens."""
    return 1.0 - jnp.prod(1.0 - probabilities, axis=-1)


def _across(view: Observation) -> tuple[Float[Array, "6"], Float[Array, "6"]]:
    """Return how fast the vehicles around move to the left of their lanes, and its doubt [m/s]."""
    slot = view.neighbours.slot
    heading = view.places.heading[slot]
    left = jnp.stack([-jnp.sin(heading), jnp.cos(heading)], axis=-1)
    speed = jnp.sum(left * view.beliefs.mean[slot, 2:], axis=-1)
    variance = jnp.einsum("ni,nij,nj->n", left, view.beliefs.covariance[slot, 2:, 2:], left)
    some = variance > 0
    return speed, jnp.where(some, jnp.sqrt(jnp.where(some, variance, 1.0)), 0.0)
