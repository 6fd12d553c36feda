"""Closed loop: a driver in recorded or reactive traffic, frame after frame."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.driving.driver import AbstractDriver
from foresee.driving.observe import observe
from foresee.driving.overlap import overlaps
from foresee.driving.reactive import drive, see
from foresee.driving.scenario import Record, Scenario, Script
from foresee.driving.sensing import AbstractSensing, Beliefs, know_exactly
from foresee.driving.traffic_model import AbstractTraffic
from foresee.driving.world import MOMENTARY, World, keep_where, step
from foresee.errors import OptionError

Mode = Literal["replay", "reactive", "mixed", "learned"]
MODES: tuple[Mode, ...] = get_args(Mode)
ASTRAY = 1.0  # a leader farther than this from its record is no longer where its follower's record saw it [m]
DECIDING = 0.5  # time between decisions about lanes, left and right by turns [s]


class Frame(eqx.Module):
    """What is kept of one frame; with a leading axis, of all frames of an episode.

    Attributes:
        x, y, heading, speed, acceleration, curvature, alive, lane, along, offset: as in `World`; acceleration
            and curvature are those that led to this frame.
        target: lane that each vehicle's driver keeps to.
        reactive: which vehicles react, rather than follow their record.
        beliefs: what the ego believed about the others when it acted in this frame, if it sensed at all.
    """

    x: Float[Array, "*t V"]
    y: Float[Array, "*t V"]
    heading: Float[Array, "*t V"]
    speed: Float[Array, "*t V"]
    acceleration: Float[Array, "*t V"]
    curvature: Float[Array, "*t V"]
    alive: Bool[Array, "*t V"]
    lane: Int[Array, "*t V"]
    along: Float[Array, "*t V"]
    offset: Float[Array, "*t V"]
    reactive: Bool[Array, "*t V"]
    beliefs: Beliefs | None


class Episode(eqx.Module):
    """A scenario as it was driven: T + 1 frames from the start, T actions of the ego.

    Attributes:
        frames: the states; frame 0 is the start.
        actions: acceleration [m/s²] and curvature [1/m] that the driver asked for.
        world: the traffic after the last frame.
        scenario: what was driven.
    """

    frames: Frame
    actions: Float[Array, "*b T 2"]
    world: World
    scenario: Scenario


def simulate(
    scenario: Scenario,
    driver: AbstractDriver,
    *,
    mode: Mode | str | Int[Array, ""] = "replay",
    dt: float | Float[Array, ""] = 0.1,
    sensing: AbstractSensing | None = None,
    traffic: AbstractTraffic | None = None,
    key: PRNGKeyArray,
) -> Episode:
    """Drive one scenario in closed loop; batches come from `jax.vmap`.

    Args:
        scenario: the situation.
        driver: drives the ego from the handover on.
        mode: what the others do. "replay": they follow the record, whatever the ego does. "reactive": they
            follow the record's first frame and then drive themselves; who comes later enters where it was
            recorded, as soon as there is room. "mixed": they follow the record until the one ahead of them is
            no longer where it was recorded, and drive themselves from then on. "learned": as in "reactive",
            but they do what a model of traffic says. As an array, its number in `MODES`: one program serves
            all of them.
        dt: time between frames [s].
        sensing: how the ego sees the others; None: exactly.
        traffic: the model that moves the others in "learned" traffic; its time step has to be `dt`.
        key: the randomness of sensing, driver and traffic.

    Returns:
        All frames of the record's length, those after `scenario.frames` too.

    Raises:
        OptionError: if the mode is unknown, or there is no model to move the others.
    """
    if isinstance(mode, str):
        check_mode(mode, traffic)
    every = decision_steps(dt)
    world, ego = scenario.world, scenario.ego
    me = jnp.arange(world.vehicles) == ego
    free = _is(mode, "reactive") | _is(mode, "learned")  # nobody but the ego follows the record
    reactive = jnp.broadcast_to(jnp.asarray(free), me.shape) & ~me
    first = know_exactly(world, ego) if sensing is None else sensing.start(world, ego)

    def advance(carry: Any, moment: Any) -> tuple[Any, tuple[Frame, Array]]:
        world, reactive, arrived, beliefs, memory, moved_by = carry
        tick, now, script, key = moment
        sensed, acted = jax.random.split(key)
        moving = jax.random.fold_in(key, 2)
        if sensing is None:
            beliefs = know_exactly(world, ego)
        else:
            beliefs = sensing.update(beliefs, world, ego, dt, key=sensed)
        action, memory = driver.act(observe(world, ego, beliefs), memory, key=acted)
        frame = _frame(world, reactive, None if sensing is None else beliefs)
        reactive = _if(_is(mode, "mixed"), lambda: _released(world, now, reactive, me), reactive)

        def replayed() -> tuple[World, Array, Any]:
            return world, jnp.zeros((world.vehicles, 2), world.x.dtype), moved_by

        def reacting() -> tuple[World, Array, Any]:
            return *react(world, reactive, script, tick, every, dt), moved_by

        def learned() -> tuple[World, Array, Any]:
            if traffic is None:
                return replayed()  # checked before
            actions, remembered = traffic.act(world, moved_by, key=moving)
            return world, forced(actions, script), remembered

        world, actions, moved_by = _one_of(mode, (replayed, reacting, reacting, learned))
        moved = step(world, jnp.where(me[:, None], action, actions), dt)
        handed = tick >= scenario.handover
        recorded = _row(scenario.record, tick + 1)
        driven = (reactive & arrived) | (me & handed)
        moved = _put(moved, recorded, ~driven & (~jnp.asarray(free) | (me & ~handed)))
        moved, arrived = _if(free, lambda: _enter(moved, recorded, arrived), (moved, arrived))
        moved = replace(moved, target=jnp.where(me, moved.lane, moved.target))
        return (moved, reactive, arrived, beliefs, memory, moved_by), (frame, action)

    steps = scenario.record.frames - 1
    moments = (
        jnp.arange(steps),
        jax.tree.map(lambda leaf: leaf[:-1], scenario.record),
        scenario.script,
        jax.random.split(key, steps),
    )
    begun = traffic.start(world) if traffic is not None and _is(mode, "learned") is not False else None
    start = (world, reactive, world.alive, first, driver.start(), begun)
    (world, reactive, _, beliefs, *_), (frames, actions) = jax.lax.scan(advance, start, moments)
    last = _frame(world, reactive, None if sensing is None else beliefs)
    frames = jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), frames, last)
    return Episode(frames, actions, world, scenario)


def check_mode(mode: Any, traffic: Any) -> None:
    """Check what the others are to do.

    Raises:
        OptionError: if the mode is unknown, or there is no model to move the others.
    """
    if mode not in MODES:
        raise OptionError(f"expected a mode out of {', '.join(MODES)}, got {mode!r}")
    if mode == "learned" and traffic is None:
        raise OptionError("expected a traffic model for learned traffic, got none")


def _is(mode: Mode | str | Int[Array, ""], name: Mode) -> Bool[Array, ""] | bool:
    """Return whether that is the mode; an array where the mode is one."""
    return mode == name if isinstance(mode, str) else mode == MODES.index(name)


def _if(told: Bool[Array, ""] | bool, make: Callable[[], Any], otherwise: Any) -> Any:
    """Return what is made if that is so; only an array makes a program with both."""
    if isinstance(told, bool):
        return make() if told else otherwise
    return jax.lax.cond(told, make, lambda: otherwise)


def _one_of(mode: Mode | str | Int[Array, ""], makers: tuple[Callable[[], Any], ...]) -> Any:
    """Return what the maker of the mode makes; the same maker is compiled once."""
    if isinstance(mode, str):
        return makers[MODES.index(mode)]()
    own = tuple(dict.fromkeys(makers))
    return jax.lax.switch(jnp.asarray([own.index(each) for each in makers])[mode], own)


def _frame(world: World, reactive: Array, beliefs: Beliefs | None) -> Frame:
    return Frame(
        world.x, world.y, world.heading, world.speed, world.acceleration, world.curvature, world.alive,
        world.lane, world.along, world.offset, reactive, beliefs,
    )  # fmt: skip


def _row(record: Record, frame: Array) -> Record:
    return jax.tree.map(lambda leaf: leaf[frame], record)


def _put(world: World, recorded: Record, chosen: Bool[Array, " V"]) -> World:
    """Move the chosen vehicles to where they were recorded; who was not is gone."""
    there = replace(
        world,
        **{name: getattr(recorded, name) for name in MOMENTARY if hasattr(recorded, name)},
        alive=recorded.present,
        target=recorded.lane,
    )
    return keep_where(chosen & recorded.present, there, _gone(world, chosen & ~recorded.present))


def _gone(world: World, who: Bool[Array, " V"]) -> World:
    return replace(world, alive=world.alive & ~who)


def _enter(world: World, recorded: Record, arrived: Bool[Array, " V"]) -> tuple[World, Bool[Array, " V"]]:
    """Let vehicles that come into view enter where they were recorded if nobody is there."""
    waiting = recorded.present & ~arrived
    there = _put(world, recorded, waiting)
    room = replace(there, length=there.length + jnp.maximum(there.speed, 2.0))
    blocked = (overlaps(room) & (world.alive | waiting)[None]).any(axis=1)
    entering = waiting & ~blocked
    return keep_where(entering, there, world), arrived | entering


def decision_steps(dt: float | int | Float[Array, ""]) -> int:
    """Return the number of steps between decisions about lanes; 5 where the time step is traced."""
    return max(round(DECIDING / dt), 1) if isinstance(dt, float | int) else 5


def react(
    world: World,
    reactive: Array,
    script: Script | None,
    tick: Array,
    every: int,
    dt: float | Float[Array, ""],
) -> tuple[World, Float[Array, "V 2"]]:
    """Let the reactive drivers act, and force on them what the script says.

    Args:
        world: the traffic.
        reactive: who may decide about lanes.
        script: this step's part of what is forced, or None.
        tick: number of the step.
        every: steps between decisions about lanes, left and right by turns.
        dt: time between steps [s].

    Returns:
        The traffic with the target lanes decided on, and everybody's accelerations and curvatures.
    """
    if script is not None:
        aimed = jnp.where(script.target >= 0, script.target, world.target)
        world = replace(world, target=aimed)
    now = tick % every == 0
    world, actions, _ = drive(world, (tick // every) % 2, decide=now, who=reactive, dt=dt)
    return world, forced(actions, script)


def forced(actions: Float[Array, "V 2"], script: Script | None) -> Float[Array, "V 2"]:
    """Return actions with what the script forces on some vehicles in their place."""
    return actions if script is None else jnp.where(script.scripted[:, None], script.actions, actions)


def _released(world: World, now: Record, reactive: Array, me: Array) -> Bool[Array, " V"]:
    """Return who reacts once the one ahead is not where the record has it."""
    astray = jnp.hypot(world.x - now.x, world.y - now.y) > ASTRAY
    astray = world.alive & (reactive | me) & (astray | ~now.present)
    seen = see(world)

    def led_astray(who: Array) -> Array:
        return (who >= 0) & astray[who]

    entered = led_astray(seen.own.ahead) | led_astray(seen.second.ahead)
    return reactive | (entered & world.alive & ~me)
