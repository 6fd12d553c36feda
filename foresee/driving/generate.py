"""Situations on a highway from a seed: free traffic, jams, and events that recordings hardly have.

One straight road of four lanes with a ramp serves all kinds, so that situations with the same numbers of
vehicles and steps have the same shapes and can be stacked, whatever their kinds. A situation is a pure
function of its key: `jax.vmap` over keys makes thousands.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world, sample_manners
from foresee.driving.occluded import occluded
from foresee.driving.rare_events import (
    CHANCES,
    Actor,
    Chance,
    Ego,
    Parameters,
    between,
    car_size,
    cut_in,
    debris,
    hard_braking,
    merge,
    ordinary,
    stop_and_go,
)
from foresee.driving.road import Road
from foresee.driving.world import World
from foresee.errors import OptionError

Kind = Literal["cruise", "cut_in", "hard_braking", "debris", "merge", "jam", "occluded"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LANES, ROW = 4, 8  # a row of others is one vehicle before and one behind the ego on every lane
EGO, ACTOR, LEADER = 0, 1, 2  # slots; the third one is anybody but for "occluded"
LONGEST = 130.0  # room kept for a vehicle and the gap before it [m]
FASTEST = 45.0  # room kept for the time of the situation [m/s]
OPENS, ENDS, RAMP_BEGINS = 100.0, 400.0, 200.0  # ramp: after the ego's start, and before it opens [m]
SPACING = 10.0  # of the road's samples: it is straight [m]

EVENTS: Mapping[str, Callable[[Ego, Array, Parameters, Chance], Actor | tuple[Actor, Actor]]] = {
    "cruise": ordinary,
    "cut_in": cut_in,
    "hard_braking": hard_braking,
    "debris": debris,
    "merge": merge,
    "jam": ordinary,
    "occluded": occluded,
}


class Generated(eqx.Module):
    """A situation at its start, and what will be forced on some vehicles.

    Attributes:
        world: the traffic.
        ego: slot of the vehicle that is to be driven.
        script: forced acceleration [m/s²] and curvature [1/m] at every step.
        scripted: where they replace what the driver would do.
        target: lane that a driver is made to change to or keep, -1 for its own choice.
    """

    world: World
    ego: Int[Array, "*b"]
    script: Float[Array, "*b T V 2"]
    scripted: Bool[Array, "*b T V"]
    target: Int[Array, "*b T V"]


def generate(
    kind: Kind | str,
    *,
    vehicles: int,
    seconds: float | int,
    key: PRNGKeyArray,
    parameters: Parameters | None = None,
    dt: float | int = 0.1,
) -> Generated:
    """Draw a situation; `Parameters` states the distributions.

    The ego has slot 0 and drives on the middle of a uniformly drawn lane (for "merge" the right one). Slot 1
    has the vehicle of the event; the others fill the lanes before and behind. Speeds, sizes, and time gaps
    are independent; the rest of the drivers' manners is that of `sample_manners`.

    - "cruise": free traffic; the vehicle ahead is one like the others.
    - "cut_in": from a lane beside, each side as likely, somebody slower changes to the ego's lane.
    - "hard_braking": the vehicle ahead brakes, drives on slowly for a while, and is then free.
    - "debris": an obstacle lies in the lane, with nobody between it and the ego.
    - "merge": somebody comes up the ramp and merges as its driver likes; nothing is forced.
    - "occluded": the vehicle ahead (slot 2) hides a stopped car in the lane (slot 1), swerves around it late
      to a lane beside, and so reveals it.
    - "jam": dense and slow; the first vehicles of all lanes, side by side, stop and go together with the
      speed v · (1 ± depth · sin(2π t / period)), so that waves run back through the traffic.

    No vehicles overlap at the start. Gaps of "cut_in", "hard_braking", "debris" and "occluded" that were
    drawn below `least_gap` + margin are widened to that: an ego that keeps its speed until the event (or
    until it can be seen), then reacts within 0.5 s and brakes with 8 m/s², touches nobody ahead.

    Args:
        kind: what happens.
        vehicles: number of vehicles, ego and actor included, at least 2, for "occluded" 3, in a jam 6.
        seconds: duration of the script [s].
        key: the randomness.
        parameters: the distributions.
        dt: time between steps [s].

    Raises:
        OptionError: if the kind is unknown or a number is out of range.
    """
    if kind not in KINDS:
        raise OptionError(f"expected a kind out of {', '.join(KINDS)}, got {kind!r}")
    fewest = LEADER + {"jam": LANES, "occluded": 1}.get(kind, 0)
    if vehicles < fewest:
        raise OptionError(f"expected at least {fewest} vehicles for {kind!r}, got {vehicles}")
    if not 0 < dt <= seconds < math.inf:
        raise OptionError(
            f"expected a positive time between steps within the duration, got {dt} and {seconds}"
        )
    p = Parameters() if parameters is None else parameters
    begin = LONGEST * (1 + _rows(vehicles))
    times = jnp.arange(round(seconds / dt)) * jnp.asarray(dt, float)
    chances, manners = jax.random.split(key)
    chance = _throw(vehicles, chances)
    where, pace = chance.ego_uniform
    lane = jnp.where(kind == "merge", LANES - 1, (where * LANES).astype(jnp.int32))
    speed = between(p.jam_speed if kind == "jam" else p.speed, pace)
    length, width = car_size(p, chance.ego_normal)
    ego = Ego(lane, speed, length)
    event = EVENTS[kind](ego, times, p, chance.event)
    actors = (event,) if isinstance(event, Actor) else event
    actor, last = actors[0], actors[-1]
    gradient = jnp.zeros(()) if kind == "jam" else p.faster_left
    room = actor if len(actors) == 1 else last._replace(lane=last.target[0])
    placed = _place_others(vehicles - 1 - len(actors), ego, actor, room, gradient, p, chance)

    def joined(of_ego: Array, name: str, of_others: Array) -> Array:
        chosen = jnp.stack([of_ego, *(getattr(each, name) for each in actors)])
        return jnp.concatenate([chosen.astype(of_others.dtype), of_others])

    lane = joined(ego.lane, "lane", placed.lane)
    along = begin + joined(jnp.zeros(()), "ahead", placed.along)
    speed = joined(ego.speed, "speed", placed.speed)
    # Side by side, so that nobody comes to drive before those who stop and go whatever happens.
    first = _first_of_lane(lane, along) & (kind == "jam")
    along = jnp.where(first, along.max(), along)
    speed = jnp.where(first, ego.speed, speed)
    drivers = sample_manners(vehicles, key=manners)
    wanted = between(p.eager, chance.eager) * (p.speed.mean() if kind == "jam" else ego.speed)
    # Who cuts in is slow because it likes to be: it does not hurry away once it is in.
    if kind == "cut_in":
        wanted = jnp.where(jnp.arange(vehicles) == ACTOR, jnp.maximum(actor.speed, 1.0), wanted)
    world = make_world(
        _road(vehicles, float(seconds)),
        lane,
        jnp.where(lane < LANES, along, along - (begin + OPENS - RAMP_BEGINS)),
        speed,
        length=joined(length, "length", placed.length),
        width=joined(width, "width", placed.width),
        manners=eqx.tree_at(lambda m: m.desired_speed, drivers, wanted),
    )
    script, scripted, target = _script(actors, vehicles)
    if kind == "jam":
        waves = stop_and_go(ego, times, p, chance.event)[:, None, None] * jnp.array([1.0, 0.0])
        script = jnp.where(first[:, None], waves, script)
        scripted = scripted | first
        target = jnp.where(first, lane.astype(jnp.int32), target)
    return Generated(world, jnp.asarray(EGO, jnp.int32), script, scripted, target)


def _rows(vehicles: int) -> int:
    return -(-max(vehicles - LEADER, 1) // ROW)


def _road(vehicles: int, seconds: float) -> Road:
    with jax.ensure_compile_time_eval():
        return _kept_road(vehicles, seconds, jnp.result_type(float).name)


@lru_cache(maxsize=8)
def _kept_road(vehicles: int, seconds: float, dtype: str) -> Road:
    """The road does not depend on luck, and takes longer to make than all the rest."""
    begin = LONGEST * (1 + _rows(vehicles))
    length = 2 * begin + max(FASTEST * seconds, ENDS) + LONGEST
    length = SPACING * math.ceil(length / SPACING)
    road = straight_road(LANES, length, ramp=(begin + OPENS, begin + ENDS), spacing=SPACING)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf, road)


class _Chance(NamedTuple):
    """All independent numbers of a situation; the others' by row, side (0 ahead, 1 behind) and lane."""

    ego_uniform: Float[Array, "2"]
    ego_normal: Float[Array, "2"]
    event: Chance
    eager: Float[Array, " V"]
    phase: Float[Array, " L"]
    uniform: Float[Array, "3 R 2 L"]
    normal: Float[Array, "4 R 2 L"]


def _throw(vehicles: int, key: PRNGKeyArray) -> _Chance:
    rows = (_rows(vehicles), 2, LANES)
    uniforms, normals = jax.random.split(key)

    def cut(values: Callable[[tuple[int]], Array], *shapes: tuple[int, ...]) -> list[Array]:
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        parts = jnp.split(values((int(ends[-1]),)), ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    ego, event, eager, phase, uniform = cut(
        lambda shape: jax.random.uniform(uniforms, shape),
        (2,), CHANCES[:1], (vehicles,), (LANES,), (3, *rows),
    )  # fmt: skip
    ego_size, bell, normal = cut(
        lambda shape: jax.random.truncated_normal(normals, -2.0, 2.0, shape), (2,), CHANCES[1:], (4, *rows)
    )
    return _Chance(ego, ego_size, Chance(event, bell), eager, phase, uniform, normal)


class _Others(eqx.Module):
    lane: Int[Array, " N"]
    along: Float[Array, " N"]
    speed: Float[Array, " N"]
    length: Float[Array, " N"]
    width: Float[Array, " N"]


def _place_others(
    count: int, ego: Ego, actor: Actor, room: Actor, gradient: Array, p: Parameters, chance: _Chance
) -> _Others:
    """Fill the lanes outwards from the ego and the actor, by turns before and behind.

    The lane of `room` is filled outwards from its place; that is the actor, or who will come to be there.
    """
    kinds, long, wide = chance.uniform
    truck = kinds < p.truck_share
    length, width = car_size(p, chance.normal[:2])
    length = jnp.where(truck, between(p.truck_length, long), length)
    width = jnp.where(truck, between(p.truck_width, wide), width)
    lanes = jnp.arange(LANES)
    speed = ego.speed + gradient * (ego.lane - lanes)
    speed = jnp.maximum(speed * (1 + p.speed_spread * chance.normal[2]), 0.0)
    gap = p.standstill + speed * p.headway * jnp.exp(p.headway_spread * chance.normal[3])

    # The ego's and the actor's lanes are filled from these two outwards, with room for the actor before the
    # ego where it is to come over; the other lanes from a random phase.
    has_ego = lanes == ego.lane
    taken = has_ego | (lanes == room.lane)
    front = jnp.where(has_ego, jnp.maximum(actor.ahead, 0.0), room.ahead)
    rear = jnp.where(has_ego, 0.0, room.ahead)
    longer = jnp.where(has_ego, jnp.maximum(ego.length, actor.length), room.length)
    inner = jnp.stack([longer, jnp.where(has_ego, ego.length, room.length)])
    inner = jnp.where(taken, inner, length[0, 0])
    spacing = gap + 0.5 * (length + jnp.concatenate([inner[None], length[:-1]]))
    phase = chance.phase * spacing[0, 0]
    base = jnp.where(taken, jnp.stack([front, rear]), jnp.stack([phase - spacing[0, 0], phase]))
    along = base + jnp.array([1.0, -1.0])[:, None] * jnp.cumsum(spacing, axis=0)
    lane = jnp.broadcast_to(lanes, speed.shape)
    return _Others(*(values.reshape(-1)[:count] for values in (lane, along, speed, length, width)))


def _script(actors: tuple[Actor, ...], vehicles: int) -> tuple[Array, Array, Array]:
    """What is forced on the actors, among all vehicles."""
    slots = jnp.arange(vehicles)
    steps = actors[0].scripted.shape[0]
    script, scripted = jnp.zeros((steps, vehicles, 2)), jnp.zeros((steps, vehicles), bool)
    target = jnp.full((steps, vehicles), -1, jnp.int32)
    for slot, actor in enumerate(actors, ACTOR):
        forced = jnp.stack([actor.acceleration, actor.curvature], axis=-1)
        script = jnp.where((slots == slot)[:, None], forced[:, None], script)
        scripted = jnp.where(slots == slot, actor.scripted[:, None], scripted)
        target = jnp.where(slots == slot, actor.target[:, None].astype(jnp.int32), target)
    return script, scripted, target


def _first_of_lane(lane: Array, along: Array) -> Array:
    """Which vehicles are the first of their lane; never the ego."""
    ahead = (lane[:, None] == lane) & (along[None] > along[:, None])
    return ~ahead.any(axis=1) & (jnp.arange(lane.shape[0]) != EGO)
