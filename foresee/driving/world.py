"""The state of a piece of traffic, and how it moves on when every vehicle acts."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.beliefs.gaussian import as_float
from foresee.driving.road import Road
from foresee.dynamics.arc import arc
from foresee.linalg import wrap_angle

# what changes from step to step about a vehicle
MOMENTARY = (
    "x", "y", "heading", "speed", "acceleration", "curvature", "alive", "lane", "along", "offset", "target",
    "since_change",
)  # fmt: skip


class Limits(eqx.Module):
    """What a vehicle can do: hardest braking and acceleration [m/s²], curvature [1/m], sideways [m/s²]."""

    brake: Float[Array, ""] = eqx.field(converter=as_float, default=8.0)
    acceleration: Float[Array, ""] = eqx.field(converter=as_float, default=4.0)
    curvature: Float[Array, ""] = eqx.field(converter=as_float, default=0.2)
    sideways: Float[Array, ""] = eqx.field(converter=as_float, default=8.0)


class Manners(eqx.Module):
    """The manners of the drivers of reactive vehicles, one number per vehicle.

    Attributes:
        desired_speed: on an empty road [m/s].
        headway: time kept to the vehicle ahead [s].
        strength: highest acceleration [m/s²].
        comfort: deceleration that is not felt as hard [m/s²].
        standstill: gap kept in a queue [m].
        politeness: how much others' loss counts against one's own gain when changing lanes.
        threshold: gain that a change of lanes must bring [m/s²].
        safe_brake: deceleration that a change may force on the one behind [m/s²].
        change_time: about how long a change of lanes lasts [s].
    """

    desired_speed: Float[Array, "*b V"]
    headway: Float[Array, "*b V"]
    strength: Float[Array, "*b V"]
    comfort: Float[Array, "*b V"]
    standstill: Float[Array, "*b V"]
    politeness: Float[Array, "*b V"]
    threshold: Float[Array, "*b V"]
    safe_brake: Float[Array, "*b V"]
    change_time: Float[Array, "*b V"]


class World(eqx.Module):
    """All vehicles of a piece of road at one time; `foresee.driving.make_world` makes one.

    Position is that of a vehicle's centre. Dead slots hold vehicles that have left or not come yet; nobody
    sees them. Lane and arc length say where on the road a vehicle is, and follow from its position.

    Attributes:
        x, y: position [m].
        heading: direction [rad].
        speed: speed, never negative [m/s].
        acceleration: of the last step [m/s²].
        curvature: of the last step's path [1/m].
        length, width: size [m].
        alive: whether there is a vehicle in this slot.
        lane: number of the lane its centre is on.
        along: arc length on that lane [m].
        offset: distance to the left of that lane's centre line [m].
        target: the lane that its driver keeps to, or changes to.
        since_change: time since its driver last decided for another lane [s].
        faults: how many actions were not finite and were taken as none.
        manners: the manners of the drivers.
        road: the lanes.
        limits: what vehicles can do.
        time: since the start [s].
    """

    x: Float[Array, "*b V"]
    y: Float[Array, "*b V"]
    heading: Float[Array, "*b V"]
    speed: Float[Array, "*b V"]
    acceleration: Float[Array, "*b V"]
    curvature: Float[Array, "*b V"]
    length: Float[Array, "*b V"]
    width: Float[Array, "*b V"]
    alive: Bool[Array, "*b V"]
    lane: Int[Array, "*b V"]
    along: Float[Array, "*b V"]
    offset: Float[Array, "*b V"]
    target: Int[Array, "*b V"]
    since_change: Float[Array, "*b V"]
    faults: Int[Array, "*b V"]
    manners: Manners
    road: Road
    limits: Limits
    time: Float[Array, "*b"]

    @property
    def vehicles(self) -> int:
        """Number of slots for vehicles."""
        return self.x.shape[-1]


def bounded(actions: Float[Array, "V 2"], speed: Float[Array, " V"], limits: Limits) -> Float[Array, "V 2"]:
    """Return accelerations and curvatures that a vehicle can do at its speed; not finite ones become 0."""
    actions = jnp.where(jnp.isfinite(actions), actions, 0.0)
    most = jnp.minimum(limits.curvature, limits.sideways / jnp.maximum(speed, 1.0) ** 2)
    return jnp.stack(
        [
            jnp.clip(actions[..., 0], -limits.brake, limits.acceleration),
            jnp.clip(actions[..., 1], -most, most),
        ],
        axis=-1,
    )


def step(world: World, actions: Float[Array, "V 2"], dt: float | Float[Array, ""] = 0.1) -> World:
    """Let every vehicle drive for dt seconds with its action (acceleration [m/s²], curvature [1/m]).

    A vehicle follows the arc of its curvature, stops rather than backs up, and is within its limits. An
    action that is not finite is counted in `faults` and taken as none. Who passes the end of a lane goes on
    on the one that follows, or has left the road.
    """
    wrong = ~jnp.isfinite(actions).all(axis=-1) & world.alive
    applied = bounded(actions, world.speed, world.limits)
    acceleration, curvature = applied[..., 0], applied[..., 1]
    ending = world.speed + acceleration * dt
    # Who brakes to a stop within the step covers v²/2a, and its acceleration over the step is smaller.
    stops = ending < 0
    braking = jnp.where(stops, -acceleration, 1.0)
    distance = jnp.where(stops, world.speed**2 / (2 * braking), (world.speed + 0.5 * acceleration * dt) * dt)
    x, y, heading = arc(world.x, world.y, world.heading, distance, curvature * distance)
    moved = replace(
        world,
        x=x,
        y=y,
        heading=wrap_angle(heading),
        speed=jnp.maximum(ending, 0.0),
        acceleration=jnp.where(stops, -world.speed / dt, acceleration),
        curvature=curvature,
    )
    moved = relocate(moved, world.along + distance)
    moved = keep_where(world.alive, moved, world)
    return replace(
        moved, time=world.time + dt, since_change=world.since_change + dt, faults=world.faults + wrong
    )


def relocate(world: World, near: Float[Array, " V"]) -> World:
    """Find every vehicle's lane, arc length and offset from its position and a guessed arc length [m]."""
    road = world.road
    along, offset = road.track(world.x, world.y, world.lane, near, rounds=1)
    cross = road.cross(world.lane, along)
    to_left = (offset > 0.5 * cross.width) & (cross.left >= 0)
    to_right = (offset < -0.5 * cross.width) & (cross.right >= 0)
    lane = jnp.where(to_left, cross.left, jnp.where(to_right, cross.right, world.lane))
    guess = jnp.where(to_left, cross.along_left, jnp.where(to_right, cross.along_right, along))
    # At the end of a lane the way goes on on the following one that is nearest.
    beyond = guess - road.length[lane]
    following = _following(world, lane, beyond)
    over = (beyond > 0) & (following >= 0)
    target = jnp.where(over & (world.target == lane), following, world.target)
    lane, guess = jnp.where(over, following, lane), jnp.where(over, beyond, guess)
    crossed = to_left | to_right | over
    there = road.track(world.x, world.y, lane, guess, rounds=1)
    along, offset = jnp.where(crossed, there[0], along), jnp.where(crossed, there[1], offset)
    left_road = (along - 0.5 * world.length > road.length[lane]) & (road.successors[lane, 0] < 0)
    return replace(
        world, lane=lane, along=along, offset=offset, target=target, alive=world.alive & ~left_road
    )


def _following(world: World, lane: Int[Array, " V"], beyond: Float[Array, " V"]) -> Int[Array, " V"]:
    """Return the lane after the given one, at a fork the one that is nearest; -1 where there is none."""
    after = world.road.successors[lane]
    if after.shape[-1] == 1:
        return after[..., 0]
    choices = jnp.maximum(after, 0).T
    _, apart = jax.vmap(lambda k: world.road.track(world.x, world.y, k, beyond))(choices)
    best = jnp.argmin(jnp.where(after.T >= 0, jnp.abs(apart), jnp.inf), axis=0)
    return jnp.take_along_axis(after, best[..., None], axis=-1)[..., 0]


def keep_where(chosen: Bool[Array, " V"], new: World, old: World) -> World:
    """Return the new state of the chosen vehicles and the old one of all others."""
    return replace(
        new, **{name: jnp.where(chosen, getattr(new, name), getattr(old, name)) for name in MOMENTARY}
    )


def beside(world: World, lane: Int[Array, " V"]) -> tuple[Float[Array, " V"], Bool[Array, " V"]]:
    """Return each vehicle's arc length on its own or a neighbouring lane, and whether it is one of these."""
    cross = world.road.cross(world.lane, world.along)
    is_left, is_right, own = lane == cross.left, lane == cross.right, lane == world.lane
    along = jnp.where(own, world.along, jnp.where(is_left, cross.along_left, cross.along_right))
    return along, (own | is_left | is_right) & (lane >= 0)
