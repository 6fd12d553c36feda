"""How good a plan is by the metrics that episodes are judged by, and what it is expected to lose in doubt."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.beliefs.gaussian import as_float
from foresee.driving.comfort import comfort, within
from foresee.driving.contact import CONE, REAR_AXLE, STOPPED
from foresee.driving.drivers.plan import Plan, Way
from foresee.driving.drivers.proposals import Nearby, likeliest
from foresee.driving.drivers.risk import collision_probability, overlap_probability
from foresee.driving.observe import Observation
from foresee.driving.scores import AGAINST, OVERSPEED, TIME_TO_COLLISION, WEIGHTS
from foresee.driving.steering import half_body

OFF_ROAD = 0.3  # how far a corner may be outside of the drivable area, or as far as it is now [m]
LITTLE = 0.1  # if the best plan comes less far than this, no plan is blamed for coming less far [m]
SLOWEST = 5.0  # progress is measured against that at the present speed, or at least this one [m/s]


class Standing(NamedTuple):
    """How a plan lies on the road: T points.

    Arc length since now and offset to the left of the middle of the lane [m], how far a corner is outside of
    the drivable area [m], whether the body is on two lanes or off the road, and whether it goes against the
    traffic.
    """

    along: Float[Array, " T"]
    offset: Float[Array, " T"]
    outside: Float[Array, " T"]
    astray: Bool[Array, " T"]
    against: Bool[Array, " T"]


def standing(view: Observation, plan: Plan, way: Way) -> Standing:
    """Return how a plan lies on the road."""
    along, offset = way.track(plan.x, plan.y)
    road = way.at(along)
    angle = plan.heading - road.heading
    half = half_body(view.length, view.width, angle)
    outside = jnp.maximum(offset + half - road.reach_left, half - offset - road.reach_right)
    astray = (jnp.abs(offset) + half > 0.5 * road.width) | (outside > 0)
    return Standing(along, offset, outside, astray, jnp.cos(angle) < 0)


class Scored(NamedTuple):
    """What nuPlan's metrics say of a plan; gates are True where it may be driven."""

    no_collision: Bool[Array, "*p"]
    on_road: Bool[Array, "*p"]
    right_way: Bool[Array, "*p"]
    in_time: Bool[Array, "*p"]
    comfortable: Bool[Array, "*p"]
    within_limit: Float[Array, "*p"]
    progress: Float[Array, "*p"]

    def total(self) -> Float[Array, " P"]:
        """Return the score of each of several plans: gates times the weighted mean of the rest."""
        gates = self.no_collision & self.on_road & self.right_way
        farthest = jnp.max(jnp.where(gates, self.progress, 0.0))
        share = jnp.where(farthest > LITTLE, self.progress / jnp.maximum(farthest, LITTLE), 1.0)
        parts = {
            "ego_progress_along_expert_route": jnp.clip(share, 0.0, 1.0),
            "time_to_collision_within_bound": self.in_time,
            "speed_limit_compliance": self.within_limit,
            "ego_is_comfortable": self.comfortable,
        }
        mean = sum(weight * parts[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
        return gates * mean


def score(view: Observation, plan: Plan, way: Way, around: Nearby, step: float) -> Scored:
    """Return what nuPlan's metrics say of one plan, if everybody does what is likeliest.

    They are those by which an episode is judged, `foresee.driving.metrics`; progress is still in metres.

    Args:
        view: what the driver knows.
        plan: what is to be judged.
        way: along the lane.
        around: the others, at the times of the plan.
        step: time between the points of the plan [s].
    """
    stand = standing(view, plan, way)
    at_fault, near = _meet(view, plan, around, stand.astray, step)
    later = jnp.arange(len(plan.times)) > 0
    felt = within(comfort(plan.acceleration, plan.curvature, plan.speed, later, step))
    moved = jnp.where(stand.against, plan.speed * step, 0.0)
    excess = jnp.maximum(plan.speed - view.speed_limit, 0.0).mean()
    return Scored(
        ~at_fault.any(),
        (stand.outside <= OFF_ROAD + jnp.maximum(stand.outside[0], 0.0)).all(),
        moved.sum() <= AGAINST,
        ~near.any(),
        jnp.stack(list(felt.values())).all(),
        jnp.maximum(1 - excess / OVERSPEED, 0.0),
        stand.along[-1],
    )


def _meet(
    view: Observation, plan: Plan, around: Nearby, astray: Bool[Array, " T"], step: float
) -> tuple[Bool[Array, "T V"], Bool[Array, "T V"]]:
    """Return where the ego touches somebody by its fault for the first time, and where it is about to.

    As `foresee.driving.contact` and `foresee.driving.metrics` have it, with all that is needed of two boxes
    computed once.
    """
    futures = likeliest(around.futures)
    x, y, heading = (values[:, 0].T for values in (futures.x, futures.y, futures.heading))
    speed = jnp.hypot(*(jnp.asarray(jnp.gradient(values, axis=0)) for values in (x, y))) / step
    ours = _Turned(jnp.cos(plan.heading)[:, None], jnp.sin(plan.heading)[:, None])
    theirs = _Turned(jnp.cos(heading), jnp.sin(heading))
    length, width, lengths, widths = view.length, view.width, around.lengths, around.widths
    c = ours.cos * theirs.cos + ours.sin * theirs.sin
    s = ours.cos * theirs.sin - ours.sin * theirs.cos
    away = x - plan.x[:, None], y - plan.y[:, None]
    own_speed = plan.speed[:, None]
    ahead, aside = ours.seen(*away)
    # Place of the one, its speed, and half sizes, along four axes.
    wide, long = jnp.abs(s), jnp.abs(c)
    axes = (
        (ahead, speed * c - own_speed, 0.5 * (length + lengths * long + widths * wide)),
        (aside, speed * s, 0.5 * (width + lengths * wide + widths * long)),
        (theirs.seen(*away)[0], speed - own_speed * c, 0.5 * (lengths + length * long + width * wide)),
        (theirs.seen(*away)[1], own_speed * s, 0.5 * (widths + length * wide + width * long)),
    )
    touching = futures.known
    enter, leave = -jnp.inf, jnp.inf
    for place, rate, reach in axes:
        touching = touching & (jnp.abs(place) <= reach)
        per = 1 / jnp.where(jnp.abs(rate) < 1e-6, 1e-6, rate)
        enter = jnp.maximum(enter, -place * per - reach * jnp.abs(per))
        leave = jnp.minimum(leave, -place * per + reach * jnp.abs(per))
    # Its front bumper is a box without length.
    half = 0.5 * length
    front = jnp.abs(ahead - half) <= axes[0][2] - half
    front &= jnp.abs(aside) <= axes[1][2]
    front &= jnp.abs(axes[2][0] - half * c) <= axes[2][2] - half * long
    front &= jnp.abs(axes[3][0] + half * s) <= axes[3][2] - half * wide
    # Who is within a cone, seen from the rear axle.
    ahead = ahead + REAR_AXLE * length
    inside = ahead**2 >= jnp.cos(CONE) ** 2 * (ahead**2 + aside**2)
    fresh = jnp.cumsum(touching, axis=0) <= touching
    to_side = astray[:, None]
    moving = own_speed > STOPPED
    fault = moving & ((speed <= STOPPED) | (~(inside & (ahead < 0)) & (front | to_side)))
    asked = (inside & (ahead > 0)) | (~inside & to_side)
    asked &= futures.known & (jnp.cumsum(touching, axis=0) == 0) & moving
    return touching & fresh & fault, asked & (enter <= leave) & (leave >= 0) & (enter < TIME_TO_COLLISION)


class _Turned(NamedTuple):
    """Cosine and sine of the heading in whose frame something is seen."""

    cos: Array
    sin: Array

    def seen(self, dx: Array, dy: Array) -> tuple[Array, Array]:
        """Return how far ahead and to the left something is."""
        return self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx


class Loss(eqx.Module):
    """How much is lost when somebody is hit, and so on, in points such as a plan is scored by.

    Attributes:
        collision: of a collision, at once; of one that may come later it is the less, for until then one will
            know more and decide anew.
        near: of being less than 0.95 s away from one, in the same way.
        patience: time after which a danger counts e times less [s].
        progress: of not moving on at all.
        off_road: of half a metre outside of the drivable area.
        jerk: of a jerk of 1 m/s³, all the time; it grows with the square of small ones.
        harsh: jerk above which it grows in proportion: in an emergency harshness is a small matter [m/s³].
        acceleration: of an acceleration of 1 m/s², all the time.
        limit: of 1 m/s above the speed limit.
        change: of deciding for another share of the desired speed than before, by all of it.
        swerve: of deciding for another place across the lane, 1 m away.
    """

    collision: Float[Array, ""] = eqx.field(converter=as_float, default=100.0)
    near: Float[Array, ""] = eqx.field(converter=as_float, default=5.0)
    patience: Float[Array, ""] = eqx.field(converter=as_float, default=4.0)
    progress: Float[Array, ""] = eqx.field(converter=as_float, default=5.0)
    off_road: Float[Array, ""] = eqx.field(converter=as_float, default=10.0)
    jerk: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    harsh: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)
    acceleration: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)
    limit: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    change: Float[Array, ""] = eqx.field(converter=as_float, default=0.3)
    swerve: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)


def expected_loss(
    loss: Loss, view: Observation, plan: Plan, way: Way, around: Nearby, step: float
) -> Float[Array, ""]:
    """Return what a plan is expected to lose, under all futures of the others and their doubt.

    Where nothing is in doubt it orders plans as their score does; but it is smooth.

    Args:
        loss: how much is lost by what.
        view: what the driver knows.
        plan: what is to be judged.
        way: along the lane.
        around: the others, at the times of the plan.
        step: time between the points of the plan [s].
    """
    stand = standing(view, plan, way)
    others = around.futures, around.lengths, around.widths
    own = plan.x, plan.y, plan.heading, view.length, view.width
    soon = jnp.exp(-plan.times / loss.patience)[:, None] * ~following(view, around)
    hit = soon * collision_probability(*own, *others)
    near = soon * overlap_probability(*own, *others, speed=plan.speed, seconds=TIME_TO_COLLISION)
    reference = jnp.maximum(view.speed, SLOWEST) * plan.times[-1]
    outside = jnp.maximum(stand.outside - jnp.maximum(stand.outside[0], 0.0), 0.0)
    excess = jnp.maximum(plan.speed - view.speed_limit, 0.0)
    jerk, sideways = jnp.diff(plan.acceleration) / step, plan.curvature * plan.speed**2
    return (
        loss.collision * hit.max(axis=0).sum()
        + loss.near * near.max(axis=0).sum()
        - loss.progress * stand.along[-1] / reference
        + loss.off_road * jnp.mean((outside / 0.5) ** 2)
        + loss.jerk * jnp.mean(2 * loss.harsh**2 * (jnp.sqrt(1 + (jerk / loss.harsh) ** 2) - 1))
        + loss.acceleration * jnp.mean(plan.acceleration**2 + sideways**2)
        + loss.limit * jnp.mean(excess)
    )


def following(view: Observation, around: Nearby) -> Bool[Array, " V"]:
    """Return who drives behind the ego, so that it is not the ego's fault if it is hit from there."""
    futures = around.futures
    c, s = jnp.cos(view.heading), jnp.sin(view.heading)
    dx, dy = futures.x[:, :, 0].mean(axis=1) - view.x, futures.y[:, :, 0].mean(axis=1) - view.y
    behind = c * dx + s * dy < -0.5 * view.length
    return behind & (jnp.abs(c * dy - s * dx) < 0.5 * (view.width + around.widths))
