"""What the ego would do over the next seconds, and the way along its lane that it would do it on."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.driving.neighbours import HOPS
from foresee.driving.observe import Observation
from foresee.driving.road import SHARPEST
from foresee.driving.world import Limits
from foresee.dynamics.arc import arc
from foresee.linalg import wrap_angle

SAMPLES, BEHIND = 32, 4  # points of a way, and how many of them are behind the vehicle
SECONDS, LEAST_REACH = 5.0, 20.0  # a way reaches as far as one comes at one's speed, and so much farther [m]


class Plan(eqx.Module):
    """Where the ego would be at T times, the first of which is now.

    Attributes:
        times: from now on [s].
        x, y: position of the centre [m].
        heading: direction [rad].
        speed: speed [m/s].
        acceleration: that led to each point, the present one at the first [m/s²].
        curvature: of the path that led to each point [1/m].
    """

    times: Float[Array, " T"]
    x: Float[Array, "*b T"]
    y: Float[Array, "*b T"]
    heading: Float[Array, "*b T"]
    speed: Float[Array, "*b T"]
    acceleration: Float[Array, "*b T"]
    curvature: Float[Array, "*b T"]


def roll_out(
    view: Observation,
    actions: Float[Array, "A 2"],
    dt: float | int | Float[Array, ""],
    limits: Limits | None = None,
) -> Plan:
    """Return where a series of actions leads the ego, exactly as `foresee.driving.world.step` does.

    Args:
        view: what the driver knows, of which only the own state is used.
        actions: acceleration [m/s²] and curvature [1/m] of each step.
        dt: duration of a step [s].
        limits: what the ego can do; those of `Limits()` by default.
    """
    limits = Limits() if limits is None else limits
    actions = jnp.where(jnp.isfinite(actions), actions, 0.0)
    asked = jnp.clip(actions[:, 0], -limits.brake, limits.acceleration)
    # A speed that is kept from becoming negative at every step is the running sum less its own lowest value.
    total = jnp.cumsum(jnp.concatenate([view.speed[None], asked * dt]))
    speed = total - jnp.minimum(jax.lax.cummin(total), 0.0)
    before, stops = speed[:-1], speed[:-1] + asked * dt < 0
    braking = jnp.where(stops, -asked, 1.0)
    distance = jnp.where(stops, before**2 / (2 * braking), (before + 0.5 * asked * dt) * dt)
    most = jnp.minimum(limits.curvature, limits.sideways / jnp.maximum(before, 1.0) ** 2)
    curvature = jnp.clip(actions[:, 1], -most, most)
    turned = jnp.cumsum(curvature * distance)
    heading = view.heading + jnp.concatenate([jnp.zeros_like(turned[:1]), turned])
    none = jnp.zeros_like(distance)
    dx, dy, _ = arc(none, none, heading[:-1], distance, curvature * distance)
    first = [view.acceleration[None], view.curvature[None]]
    return Plan(
        jnp.arange(len(speed)) * dt,
        view.x + jnp.pad(jnp.cumsum(dx), (1, 0)),
        view.y + jnp.pad(jnp.cumsum(dy), (1, 0)),
        wrap_angle(heading),
        speed,
        jnp.concatenate([first[0], jnp.where(stops, -before / dt, asked)]),
        jnp.concatenate([first[1], curvature]),
    )


def for_each(plans: Plan, function: Callable[[Plan], Any]) -> Any:
    """Return what a function of one plan says of each of several that share their times, stacked."""
    rest = (plans.x, plans.y, plans.heading, plans.speed, plans.acceleration, plans.curvature)
    return jax.vmap(lambda *leaves: function(Plan(plans.times, *leaves)))(*rest)


class Across(eqx.Module):
    """What the road is like at places of a way.

    Attributes:
        x, y: the middle of the lane [m].
        heading: its direction, not wrapped [rad].
        curvature: its curvature, positive to the left [1/m].
        width: width of the lane [m].
        reach_left, reach_right: how far the drivable area reaches from the middle [m].
    """

    x: Float[Array, "*v"]
    y: Float[Array, "*v"]
    heading: Float[Array, "*v"]
    curvature: Float[Array, "*v"]
    width: Float[Array, "*v"]
    reach_left: Float[Array, "*v"]
    reach_right: Float[Array, "*v"]


class Way(eqx.Module):
    """The middle of the ego's lane, and of the lanes that follow it, sampled at a regular distance.

    Arc lengths count from the place of the ego, so that they go on where one lane follows another. Between
    samples all is interpolated linearly; beyond both ends the way goes straight on.

    Attributes:
        points: x, y [m], heading [rad], curvature [1/m], width and reach to the left and right [m].
        spacing: distance between samples [m].
    """

    points: Float[Array, "*b S 7"]
    spacing: Float[Array, "*b"]

    def at(self, along: Float[Array, "*v"]) -> Across:
        """Return what the road is like at arc lengths [m]."""
        position = along / self.spacing + BEHIND
        inside = jnp.clip(position, 0.0, self.points.shape[0] - 1.0)
        low = jnp.clip(jax.lax.stop_gradient(inside).astype(jnp.int32), 0, self.points.shape[0] - 2)
        part = (inside - low)[..., None]
        values = (1 - part) * self.points[low] + part * self.points[low + 1]
        x, y, heading, *rest = (values[..., i] for i in range(7))
        beyond = (position - inside) * self.spacing
        return Across(x + beyond * jnp.cos(heading), y + beyond * jnp.sin(heading), heading, *rest)

    def track(
        self, x: Float[Array, "*v"], y: Float[Array, "*v"]
    ) -> tuple[Float[Array, "*v"], Float[Array, "*v"]]:
        """Return arc length and offset to the left of points [m], from the sample nearest to each.

        To second order in the distance to that sample, which is at most half of the spacing for points
        beside the way: some millimetres in a bend of 100 m radius.
        """
        line_x, line_y = self.points[:, 0], self.points[:, 1]
        square = (line_x - x[..., None]) ** 2 + (line_y - y[..., None]) ** 2
        nearest = jnp.argmin(jax.lax.stop_gradient(square), axis=-1)
        row = self.points[nearest]
        dx, dy, c, s = x - row[..., 0], y - row[..., 1], jnp.cos(row[..., 2]), jnp.sin(row[..., 2])
        ahead, aside = c * dx + s * dy, c * dy - s * dx
        # Beyond the last sample the way is straight, whatever it was like up to there.
        ends = (nearest == 0) & (ahead < 0) | (nearest == self.points.shape[0] - 1) & (ahead > 0)
        bend = jnp.where(ends, 0.0, row[..., 3])
        stretched = jnp.maximum(1 - bend * aside, SHARPEST)
        along = (nearest - BEHIND) * self.spacing + ahead / stretched
        return along, aside - 0.5 * bend * ahead**2 / stretched


def way_of(view: Observation) -> Way:
    """Return the way along the ego's lane, as far as it comes within some seconds."""
    road = view.road
    reach = LEAST_REACH + SECONDS * jax.lax.stop_gradient(view.speed)
    spacing = reach / (SAMPLES - 1 - BEHIND)
    where = view.along + (jnp.arange(SAMPLES) - BEHIND) * spacing
    lanes = jnp.broadcast_to(view.lane, where.shape)
    for _ in range(HOPS):
        following = road.successors[lanes, 0]
        over = (where > road.length[lanes]) & (following >= 0)
        where = jnp.where(over, where - road.length[lanes], where)
        lanes = jnp.where(over, following, lanes)
    line, cross = road.at(lanes, where), road.cross(lanes, where)
    points = [line.x, line.y, jnp.unwrap(line.heading), line.curvature]
    points += [cross.width, cross.reach_left, cross.reach_right]
    return Way(jnp.stack(points, axis=-1), spacing)
