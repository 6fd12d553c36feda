"""Vehicles put on a road: one by one, or as traffic of a given density."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from foresee.driving.overlap import boxes, separation
from foresee.driving.road import Road
from foresee.driving.world import Limits, Manners, World
from foresee.errors import WorldError

CAR = (4.7, 1.9)


def usual_manners(count: int, *, desired_speed: float | int | Array = 120 / 3.6) -> Manners:
    """Return drivers as on a highway (Kesting, Treiber, Helbing 2010, "Enhanced IDM", table 1).

    Args:
        count: how many.
        desired_speed: on an empty road, one for all or one each [m/s].
    """
    values = (desired_speed, 1.5, 1.4, 2.0, 2.0, 0.25, 0.2, 3.0, 4.0)
    return Manners(*(jnp.broadcast_to(jnp.asarray(value, float), (count,)) for value in values))


def sample_manners(count: int, *, desired_speed: float | int = 120 / 3.6, key: PRNGKeyArray) -> Manners:
    """Draw drivers around the usual ones.

    Desired speeds are normal with a standard deviation of 10 %, headway, strength and comfort log-normal with
    20 %, all cut at two standard deviations; politeness is uniform between 0 and 0.5.

    Args:
        count: how many.
        desired_speed: mean desired speed [m/s].
        key: the randomness.
    """
    usual = usual_manners(count, desired_speed=desired_speed)
    speeds, headways, strengths, comforts, polite = jax.random.split(key, 5)

    def spread(values: Array, share: float, key: PRNGKeyArray) -> Array:
        return values * jnp.exp(share * jax.random.truncated_normal(key, -2.0, 2.0, (count,)))

    return Manners(
        usual.desired_speed * (1 + 0.1 * jax.random.truncated_normal(speeds, -2.0, 2.0, (count,))),
        spread(usual.headway, 0.2, headways),
        spread(usual.strength, 0.2, strengths),
        spread(usual.comfort, 0.2, comforts),
        usual.standstill,
        jax.random.uniform(polite, (count,), maxval=0.5),
        usual.threshold,
        usual.safe_brake,
        usual.change_time,
    )


def make_world(
    road: Road,
    lane: Int[Array, " V"],
    along: Float[Array, " V"],
    speed: Float[Array, " V"],
    *,
    length: Float[Array, " V"] | None = None,
    width: Float[Array, " V"] | None = None,
    offset: Float[Array, " V"] | None = None,
    alive: Array | None = None,
    manners: Manners | None = None,
    limits: Limits | None = None,
    check: bool = True,
) -> World:
    """Put vehicles on lanes of a road, in the direction of the lanes.

    Args:
        road: the lanes.
        lane: number of each vehicle's lane.
        along: arc length of each vehicle's centre on it [m].
        speed: speed [m/s].
        length: length of each vehicle, 4.7 m by default.
        width: width of each vehicle, 1.9 m by default.
        offset: distance to the left of the centre line, 0 by default [m].
        alive: slots that hold a vehicle, all by default.
        manners: their manners, the usual ones by default.
        limits: what vehicles can do.
        check: whether to look at the result with `check_world`; inside `jax.jit` and `jax.vmap` nobody looks.

    Raises:
        WorldError: if the vehicles cannot stand there.
    """
    count = lane.shape[0]
    zero = jnp.zeros(count, jnp.result_type(float))
    offset = zero if offset is None else jnp.asarray(offset)
    along, speed = zero + along, zero + speed
    x, y, heading = road.place(lane, along, offset)
    world = World(
        x, y, heading, speed, zero, zero,
        zero + CAR[0] if length is None else zero + length,
        zero + CAR[1] if width is None else zero + width,
        jnp.ones(count, bool) if alive is None else jnp.asarray(alive),
        jnp.asarray(lane, jnp.int32), along, offset, jnp.asarray(lane, jnp.int32), zero + 100.0,
        jnp.zeros(count, jnp.int32),
        usual_manners(count) if manners is None else manners,
        road,
        Limits() if limits is None else limits,
        jnp.zeros(()),
    )  # fmt: skip
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(world))
    return check_world(world) if check and not traced else world


def check_world(world: World) -> World:
    """Return a world if its vehicles can stand where they are.

    Raises:
        WorldError: if a number is not finite, a size is not positive, or two vehicles overlap, naming them.
    """
    alive = np.asarray(world.alive)
    for name in ("x", "y", "heading", "speed", "length", "width"):
        values = np.asarray(getattr(world, name))
        wrong = np.flatnonzero(alive & ~np.isfinite(values))
        if len(wrong):
            raise WorldError(
                f"expected a finite {name} of every vehicle, got {values[wrong[0]]} of vehicle {wrong[0]}"
            )
    for name in ("length", "width"):
        wrong = np.flatnonzero(alive & ~(np.asarray(getattr(world, name)) > 0))
        if len(wrong):
            raise WorldError(f"expected a positive {name} of every vehicle, got none of vehicle {wrong[0]}")
    pair = _overlapping(world, np.flatnonzero(alive))
    if pair is not None:
        raise WorldError(f"expected vehicles apart from each other, got {pair[0]} and {pair[1]} overlapping")
    return world


def _overlapping(world: World, there: np.ndarray) -> tuple[int, int] | None:
    """Return two vehicles that overlap, or None; looks at those only that are near each other in x."""
    x, y, heading, length, width = (np.asarray(values)[there] for values in boxes(world))
    order = np.argsort(x, kind="stable")
    box = tuple(values[order] for values in (x, y, heading, length, width))
    reach = float(np.hypot(length, width).max(initial=0.0))
    for ahead in range(1, len(order)):
        near = np.flatnonzero(box[0][ahead:] - box[0][:-ahead] <= reach)
        if not len(near):
            return None
        one, other = (tuple(values[rows] for values in box) for rows in (near, near + ahead))
        touching = near[np.asarray(separation(one, other)) < 0]  # pyright: ignore[reportArgumentType]
        if len(touching):
            first, second = sorted((order[touching[0]], order[touching[0] + ahead]))
            return int(there[first]), int(there[second])
    return None
