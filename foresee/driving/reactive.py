"""Traffic that reacts: who follows whom, who changes lanes, and how the wheel is turned for it.

Car following is `foresee.driving.idm`; changes of lanes follow MOBIL: Kesting, Treiber, Helbing (2007),
"General lane-changing model MOBIL for car-following models", equations 2 and 7.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.driving.idm import cool_acceleration, idm_acceleration
from foresee.driving.neighbours import FAR, NOBODY, Around, Spot, look_around
from foresee.driving.steering import half_body, steer_to
from foresee.driving.world import Manners, World, beside

LEFT, RIGHT = 0, 1
OVER = 0.4  # a body that crosses the marking by more takes room on the other side too [m]
SETTLED = 1.0  # who is farther off the centre line than this does not think of changing again [m]
SLOWEST_CHANGE = 1.5  # below this speed nobody begins to change [m/s]
NEAREST = 2.0  # bumper to bumper, at the side of a change [m]
URGE = 4.0  # advantage of leaving a lane that ends [m/s²]
HURRIED_SHARE = 0.4  # of the headway, that who must merge accepts before and behind itself
URGENT_BRAKE = 5.0  # deceleration that a merging driver may force on others and itself [m/s²]
RUN_UP = 20.0  # who could not merge stops this far before the end of its lane, to merge from there [m]
LEANING_SHARE = 0.4  # of the headway, to vehicles on a lane that one only leans into
PRESSING, BRAKING = 5.0, 15.0  # how fast the acceleration may rise and fall [m/s³]
LOOK_AHEAD = 2.0  # a bend is seen this long before it [s]
COMFORTABLE_SIDEWAYS = 3.0  # in a bend [m/s²]


class Seen(NamedTuple):
    """What every driver sees: around its place on its lane, and on the second lane that it takes room on.

    Gaps are from bumper to bumper [m], `FAR` where nobody is.
    """

    own: Around
    second: Around
    second_lane: Int[Array, " V"]
    aside: Around | None


def see(world: World, side: Array | int | None = None) -> Seen:
    """Return who is around every vehicle, and what it would meet one lane to a side (0 left, 1 right)."""
    lane = jnp.where(world.alive, world.lane, NOBODY)
    second = jnp.where(world.alive, second_lane(world), NOBODY)
    along_second, _ = beside(world, second)
    present = Spot(jnp.concatenate([lane, second]), jnp.concatenate([world.along, along_second]))
    numbers = jnp.arange(world.vehicles)
    owners = jnp.concatenate([numbers, numbers])
    if side is None:
        nothing = Spot(jnp.zeros(0, lane.dtype), jnp.zeros(0, world.along.dtype))
        around, _ = look_around(world.road, present, nothing, owners)
        aside = None
    else:
        cross = world.road.cross(world.lane, world.along)
        to = jnp.where(side == LEFT, cross.left, cross.right)
        along = jnp.where(side == LEFT, cross.along_left, cross.along_right)
        asked = jnp.where(world.alive & (to != second), to, NOBODY)
        around, aside = look_around(world.road, present, Spot(asked, along), owners)
    own, other = (
        jax.tree.map(lambda values, part=part: values[part], around)
        for part in (slice(None, world.vehicles), slice(world.vehicles, None))
    )
    return Seen(
        _gaps(own, world), _gaps(other, world), second, None if aside is None else _gaps(aside, world)
    )


def _gaps(around: Around, world: World) -> Around:
    """Turn distances between centres into gaps between bumpers."""
    half = 0.5 * world.length

    def gap(who: Array, distance: Array) -> Array:
        return jnp.where(who >= 0, distance - half - half[who], FAR)

    return around._replace(
        to_ahead=gap(around.ahead, around.to_ahead), to_behind=gap(around.behind, around.to_behind)
    )


def second_lane(world: World) -> Int[Array, " V"]:
    """Return the other lane that a vehicle takes room on: the one it changes to, or its body reaches into."""
    cross = world.road.cross(world.lane, world.along)
    angle = world.heading - world.road.at(world.lane, world.along).heading
    reach = jnp.abs(world.offset) + half_body(world.length, world.width, angle) - 0.5 * cross.width - OVER
    leans = jnp.where(world.offset > 0, cross.left, cross.right)
    changes = (world.target != world.lane) & ((world.target == cross.left) | (world.target == cross.right))
    return jnp.where(changes, world.target, jnp.where(reach > 0, leans, NOBODY))


def follow(world: World, seen: Seen, dt: float | Float[Array, ""] = 0.1) -> Float[Array, " V"]:
    """Return each driver's acceleration behind the vehicles ahead, and before the end of a lane [m/s²].

    Nobody drives faster than the speed limit, or than is comfortable in the bend ahead. The foot moves no
    faster than `PRESSING` and `BRAKING` allow.
    """
    manners = _in_this_place(world)

    def behind(manners: Manners, who: Array, gap: Array) -> Array:
        there, other = who >= 0, jnp.maximum(who, 0)
        speed = jnp.where(there, world.speed[other], world.speed)
        braking = jnp.where(there, world.acceleration[other], 0.0)
        return cool_acceleration(manners, world.speed, gap, speed, braking)

    wanted = behind(manners, seen.own.ahead, seen.own.to_ahead)
    # Who leaves a lane, or drives near its marking, keeps a short distance to those on it, and none to those
    # beside: only its side is in their way.
    leaning = world.target == world.lane
    brief = jnp.where(leaning, LEANING_SHARE, 1.0) * manners.headway
    hasty = replace(manners, headway=brief)
    aside = behind(hasty, seen.second.ahead, seen.second.to_ahead)
    wanted = jnp.where(leaning & (seen.second.to_ahead < 0), wanted, jnp.minimum(wanted, aside))
    room = world.road.length[world.lane] - world.along - 0.5 * world.length - RUN_UP
    stop = idm_acceleration(manners, world.speed, room, jnp.zeros_like(world.speed))
    walled = world.road.closed[world.lane] & (world.target == world.lane)
    wanted = jnp.where(walled, jnp.minimum(wanted, stop), wanted)
    lowest, highest = world.acceleration - BRAKING * dt, world.acceleration + PRESSING * dt
    return jnp.clip(jnp.clip(wanted, lowest, highest), -world.limits.brake, world.limits.acceleration)


def _in_this_place(world: World) -> Manners:
    """Return the drivers' manners with a desired speed that fits the limit and the bend ahead."""
    bend = world.road.at(world.lane, world.along + LOOK_AHEAD * world.speed).curvature
    bend = jnp.maximum(jnp.abs(bend), jnp.abs(world.road.at(world.lane, world.along).curvature))
    slow = jnp.sqrt(COMFORTABLE_SIDEWAYS / jnp.maximum(bend, 1e-6))
    slow = jnp.minimum(slow, world.road.speed_limit[world.lane])
    return replace(world.manners, desired_speed=jnp.minimum(world.manners.desired_speed, slow))


def steer(world: World) -> Float[Array, " V"]:
    """Return the curvature that brings each vehicle to the middle of the lane it is meant to be on [1/m]."""
    near, known = beside(world, world.target)
    lane = jnp.where(known, world.target, world.lane)
    near = jnp.where(known, near, world.along)
    along, offset = world.road.track(world.x, world.y, lane, near, rounds=1)
    line = world.road.at(lane, along)
    angle = world.heading - line.heading
    return steer_to(offset, angle, line.curvature, world.speed, world.manners.change_time)


def change_lanes(
    world: World, seen: Seen, now: Float[Array, " V"], side: Array | int, who: Bool[Array, " V"]
) -> World:
    """Let the chosen drivers decide for one side by MOBIL; who changes gets another target lane.

    All decide at once but for one side only, so no two can take the same gap from both sides.

    Args:
        world: the traffic.
        seen: what the drivers see, of that side too.
        now: their accelerations without a change [m/s²].
        side: 0 for left, 1 for right.
        who: those that may decide.

    Raises:
        ValueError: if the side was not looked at.
    """
    if seen.aside is None:
        raise ValueError("expected what is seen on the side, got none")
    gain, safe = lane_change_gain(world, seen.own, seen.aside, now)
    cross = world.road.cross(world.lane, world.along)
    to = jnp.where(side == LEFT, cross.left, cross.right)
    merging = world.road.closed[world.lane]
    may = who & world.alive & (to >= 0) & ~world.road.closed[jnp.maximum(to, 0)] & (seen.second_lane != to)
    may &= (world.target == world.lane) & (jnp.abs(world.offset) < SETTLED)
    may &= merging | (world.speed > SLOWEST_CHANGE)
    may &= merging | (world.since_change > 2 * world.manners.change_time)
    go = may & safe & (gain > world.manners.threshold)
    return replace(
        world,
        target=jnp.where(go, to, world.target),
        since_change=jnp.where(go, 0.0, world.since_change),
    )


def lane_change_gain(
    world: World, own: Around, aside: Around, now: Float[Array, " V"]
) -> tuple[Float[Array, " V"], Bool[Array, " V"]]:
    """Return what everybody gains by a change to the side looked at [m/s²], and whether it is safe."""
    merging = world.road.closed[world.lane]
    hurried = jnp.where(merging, HURRIED_SHARE, 1.0)
    manners, speed = world.manners, world.speed

    def with_ahead(who: Array, gap: Array) -> Array:
        hasty = replace(manners, headway=hurried * manners.headway)
        return idm_acceleration(hasty, speed, gap, jnp.where(who >= 0, speed[who], speed))

    def loss(who: Array, gap: Array, ahead: Array) -> tuple[Array, Array]:
        """How the one behind accelerates with another vehicle ahead, and how much less that is than now."""
        theirs = jax.tree.map(lambda values: values[who], manners)
        theirs = replace(theirs, headway=hurried * theirs.headway)
        then = idm_acceleration(theirs, speed[who], gap, ahead)
        return jnp.where(who >= 0, then, 0.0), jnp.where(who >= 0, now[who] - then, 0.0)

    then = with_ahead(aside.ahead, aside.to_ahead)
    pushed, loss_aside = loss(aside.behind, aside.to_behind, speed)
    freed = own.to_behind + own.to_ahead + world.length
    _, loss_behind = loss(own.behind, freed, jnp.where(own.ahead >= 0, speed[own.ahead], FAR))
    brake = jnp.where(merging, URGENT_BRAKE, manners.safe_brake)
    safe = (then > -brake) & (pushed > -brake)
    safe &= (aside.to_ahead > NEAREST) & (aside.to_behind > NEAREST)
    gain = then - now - manners.politeness * (loss_aside + loss_behind)
    return jnp.where(merging, then - now + URGE, gain), safe


def drive(
    world: World,
    side: Array | int | None = None,
    *,
    decide: Bool[Array, ""] | bool = True,
    who: Bool[Array, " V"] | None = None,
    dt: float | Float[Array, ""] = 0.1,
) -> tuple[World, Float[Array, "V 2"], Seen]:
    """Return what every reactive driver does now: target lanes, accelerations and curvatures, and its view.

    Args:
        world: the traffic.
        side: the side to which drivers may decide to change; None: nobody decides.
        decide: whether they decide now; it costs as much as all the rest, and is only done where it is true.
        who: the vehicles that may decide; None: all.
        dt: time until the next step, within which accelerations can only change so much [s].
    """
    seen = see(world)
    wanted = follow(world, seen, dt)
    if side is not None:
        everybody = jnp.ones(world.vehicles, bool) if who is None else who

        def decided(target: Array, since: Array) -> tuple[Array, Array]:
            after = change_lanes(world, see(world, side), wanted, side, everybody)
            return after.target, after.since_change

        target, since = jax.lax.cond(decide, decided, lambda *same: same, world.target, world.since_change)
        world = replace(world, target=target, since_change=since)
    return world, jnp.stack([wanted, steer(world)], axis=-1), seen
