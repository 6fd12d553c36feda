"""Traffic left to itself: every vehicle reacts to the others, and what goes wrong is counted."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float

from foresee.driving.neighbours import FAR
from foresee.driving.overlap import boxes, separation
from foresee.driving.reactive import Seen, drive
from foresee.driving.world import World, step

DECIDE_EVERY = 5


class Watch(eqx.Module):
    """What happened to every vehicle so far.

    Attributes:
        collided: whether its box overlapped that of the one ahead, on a lane that both take room on.
        off_road: whether it left the drivable area sideways.
        least_ttc: shortest time to collision behind the one ahead at constant speeds [s].
        worst_jerk: largest change of acceleration per time [m/s³].
        hardest_brake: largest deceleration [m/s²].
    """

    collided: Bool[Array, "*b V"]
    off_road: Bool[Array, "*b V"]
    least_ttc: Float[Array, "*b V"]
    worst_jerk: Float[Array, "*b V"]
    hardest_brake: Float[Array, "*b V"]


def no_watch(world: World) -> Watch:
    """Return what is known before anything has happened."""
    zero = jnp.zeros_like(world.x)
    no = jnp.zeros_like(world.alive)
    return Watch(no, no, zero + FAR, zero, zero)


def flow(
    world: World, steps: int, *, dt: float | Float[Array, ""] = 0.1, unroll: int = 1
) -> tuple[World, Watch]:
    """Let traffic drive itself for a number of steps; batches come from `jax.vmap`.

    Drivers decide about lanes every fifth step, about the left and the right one by turns.

    Args:
        world: the traffic at the start.
        steps: how many steps.
        dt: how long one is [s].
        unroll: steps per turn of the compiled loop.

    Returns:
        The traffic at the end, and what went wrong on the way.
    """

    def advance(carry: tuple[World, Watch], tick: Array) -> tuple[tuple[World, Watch], None]:
        world, watch = carry

        now = tick % DECIDE_EVERY == 0
        world, actions, seen = drive(world, (tick // DECIDE_EVERY) % 2, decide=now, dt=dt)
        moved = step(world, actions, dt)
        return (moved, observe_step(watch, world, moved, seen, dt)), None

    return jax.lax.scan(advance, (world, no_watch(world)), jnp.arange(steps), unroll=unroll)[0]


def flow_many(
    worlds: World,
    steps: int,
    *,
    dt: float | Float[Array, ""] = 0.1,
    devices: Sequence[Any] | None = None,
) -> tuple[World, Watch]:
    """Let many worlds on one road drive themselves, spread over all devices; compiled once per shape.

    Args:
        worlds: the worlds, stacked along a leading axis; the road is not stacked, for all share it.
        steps: how many steps.
        dt: how long one is [s].
        devices: where to run; by default as many as the number of worlds can be divided by.

    Returns:
        The same as `flow`, stacked, with the road as it was given.
    """
    every = jax.devices() if devices is None else list(devices)
    share = next(n for n in range(len(every), 0, -1) if worlds.x.shape[0] % n == 0)
    mesh = jax.make_mesh((share,), ("worlds",), devices=every[:share], axis_types=(AxisType.Auto,))
    split, whole = NamedSharding(mesh, PartitionSpec("worlds")), NamedSharding(mesh, PartitionSpec())
    road = jax.device_put(worlds.road, whole)
    placed = eqx.tree_at(
        lambda w: w.road, jax.device_put(eqx.tree_at(_road, worlds, None), split), road, is_leaf=_none
    )
    return _flow_many(placed, steps, dt)


def _road(world: Any) -> Any:
    return world.road


def _none(leaf: Any) -> bool:
    return leaf is None


@eqx.filter_jit
def _flow_many(worlds: World, steps: int, dt: Any) -> tuple[World, Watch]:
    axes = jax.tree.map(lambda _: 0, worlds)
    axes = eqx.tree_at(_road, axes, jax.tree.map(lambda _: None, worlds.road))
    return jax.vmap(lambda world: flow(world, steps, dt=dt), in_axes=(axes,), out_axes=(axes, 0))(worlds)


def observe_step(watch: Watch, before: World, after: World, seen: Seen, dt: Any) -> Watch:
    """Add one step to what happened; neighbours are those seen before it."""
    collided, ttc = watch.collided, watch.least_ttc
    for around in (seen.own, seen.second):
        who, there = jnp.maximum(around.ahead, 0), (around.ahead >= 0) & before.alive
        mine = boxes(before)
        theirs = tuple(values[who] for values in mine)
        near = there & (around.to_ahead < 5.0)
        touching = near & (separation(mine, theirs) < 0)  # pyright: ignore[reportArgumentType]
        collided = collided | touching
        closing = before.speed - before.speed[who]
        time = around.to_ahead / jnp.maximum(closing, 1e-3)
        ttc = jnp.where(there, jnp.minimum(ttc, jnp.maximum(time, 0.0)), ttc)
    cross = after.road.cross(after.lane, after.along)
    half = 0.5 * after.width
    off = (after.offset + half > cross.reach_left) | (half - after.offset > cross.reach_right)
    jerk = jnp.where(after.alive, jnp.abs(after.acceleration - before.acceleration) / dt, 0.0)
    return Watch(
        collided,
        watch.off_road | (off & after.alive),
        ttc,
        jnp.maximum(watch.worst_jerk, jerk),
        jnp.maximum(watch.hardest_brake, jnp.where(after.alive, -after.acceleration, 0.0)),
    )
