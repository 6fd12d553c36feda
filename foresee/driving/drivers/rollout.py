"""The closed loop that gradients go through: short windows of scenarios, few vehicles, few steps."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.driving.driver import AbstractDriver
from foresee.driving.observe import observe
from foresee.driving.scenario import Record, Scenario, Scenarios
from foresee.driving.sensing import know_exactly
from foresee.driving.traffic_model import AbstractTraffic, ReactiveTraffic
from foresee.driving.world import MOMENTARY, World, keep_where, step
from foresee.errors import OptionError, RecordingError

TrainingMode = Literal["replay", "reactive", "learned"]
TRAINING_MODES: tuple[TrainingMode, ...] = get_args(TrainingMode)
EGO = 0  # slot of the ego in a window
AIMED_AT = 1.0  # a reactive vehicle aims at the lane it is recorded on so much later [s]
LONG_AGO = 100.0  # since the last change of lanes at the start [s]
NEVER = 1e6  # how far away a vehicle is that is never there [m]


class Ahead(eqx.Module):
    """What happened in a closed loop of T steps.

    Attributes:
        ego: x, y [m], heading [rad] and speed [m/s] of the ego after every step.
        costs: cost of the ego's every action where it was taken, and what followed from it.
        doubts: what the traffic model doubted after every step; 0 without one.
    """

    ego: Float[Array, "*b T 4"]
    costs: Float[Array, "*b T"]
    doubts: Float[Array, "*b T"]


def windows(
    scenarios: Scenarios,
    *,
    seconds: float | int = 4.0,
    least: float | int | None = None,
    every: float | int = 1.0,
    nearest: int = 20,
    thin: int = 2,
) -> Scenarios:
    """Cut scenarios into short ones of the same length, with the ego in slot 0 and few vehicles around it.

    A window begins every so many seconds from the handover on and is kept where the ego's record fills it, or
    `least` of it; `scenario.frames` says how many frames are recorded. The others are those that come nearest
    to the ego's record while it lasts. Names are kept, so that what belongs to one scenario can be found.

    Args:
        scenarios: the situations.
        seconds: length of a window [s].
        least: how much of it has to be recorded; None: all of it [s].
        every: time between two beginnings [s].
        nearest: number of vehicles that are kept, the ego included.
        thin: keep one frame out of so many.

    Raises:
        OptionError: if a number is not positive, or a window not of at least one step.
        RecordingError: if no scenario is long enough.
    """
    least = seconds if least is None else min(least, seconds)
    options = {"seconds": seconds, "least": least, "every": every, "nearest": nearest, "thin": thin}
    for name, value in options.items():
        if not value > 0:
            raise OptionError(f"expected {name} to be positive, got {value}")
    steps, enough = (round(time / scenarios.dt / thin) for time in (seconds, least))
    if enough < 1:
        raise OptionError(f"expected windows of at least a step of {thin * scenarios.dt:g} s, got {least} s")
    first, last = (np.asarray(leaf) for leaf in (scenarios.scenario.handover, scenarios.scenario.frames))
    stride = max(round(every / scenarios.dt), 1)
    starts = [np.arange(a, b - enough * thin + 1, stride) for a, b in zip(first, last, strict=True)]
    which = np.repeat(np.arange(len(starts)), [len(some) for some in starts])
    if not len(which):
        longest = float((last - first).max() * scenarios.dt)
        raise RecordingError(
            f"expected a scenario of at least the horizon of {least:g} s, got at most {longest:g} s"
        )
    cut = _cut(
        scenarios.scenario, jnp.asarray(which), jnp.asarray(np.concatenate(starts)),
        steps, thin, min(nearest, scenarios.scenario.record.x.shape[-1]), scenarios.dt,
    )  # fmt: skip
    names, groups = ([column[i] for i in which] for column in (scenarios.names, scenarios.groups))
    return Scenarios(tuple(names), tuple(groups), cut, scenarios.dt * thin)


@eqx.filter_jit
def _cut(
    scenario: Scenario, which: Array, starts: Array, steps: int, thin: int, count: int, dt: float
) -> Scenario:
    later = round(AIMED_AT / dt)

    def one(number: Array, start: Array) -> Scenario:
        world, record, ego = jax.tree.map(
            lambda leaf: leaf[number], (scenario.world, scenario.record, scenario.ego)
        )
        end = scenario.frames[number]
        frames = jnp.minimum(start + thin * jnp.arange(steps + 1), end)
        last = jnp.minimum((end - start) // thin, steps)
        rows = jax.tree.map(lambda leaf: leaf[frames], record)
        slots = _nearest(rows, ego, count, jnp.arange(steps + 1) <= last)
        rows = jax.tree.map(lambda leaf: leaf[:, slots], rows)
        soon = jnp.minimum(start + later, record.frames - 1)
        lane = jnp.where(record.present[soon], record.lane[soon], record.lane[start])[slots]
        zero = jnp.zeros(count, rows.x.dtype)
        now = jax.tree.map(lambda leaf: leaf[0], rows)
        begun = replace(
            world,
            **{name: getattr(now, name) for name in MOMENTARY if hasattr(now, name)},
            length=world.length[slots],
            width=world.width[slots],
            manners=jax.tree.map(lambda leaf: leaf[slots], world.manners),
            alive=now.present,
            target=lane,
            since_change=zero + LONG_AGO,
            faults=jnp.zeros(count, world.faults.dtype),
        )
        zeros = jnp.zeros((), jnp.int32)
        return Scenario(begun, rows, zeros + EGO, zeros, last.astype(zeros.dtype))

    return jax.vmap(one)(which, starts)


def _nearest(rows: Record, ego: Int[Array, ""], count: int, during: Bool[Array, " T"]) -> Int[Array, " K"]:
    """Return the slots of those that come nearest to the ego's record, the ego first."""
    own = (rows.x[:, ego][:, None], rows.y[:, ego][:, None])
    square = (rows.x - own[0]) ** 2 + (rows.y - own[1]) ** 2
    least = jnp.where(rows.present & during[:, None], square, NEVER**2).min(axis=0).at[ego].set(-1.0)
    return jax.lax.top_k(-least, count)[1]


def unroll(
    driver: AbstractDriver,
    window: Scenario,
    dt: float | Float[Array, ""],
    *,
    mode: TrainingMode | str = "replay",
    traffic: AbstractTraffic | None = None,
    cost: Callable[..., Float[Array, ""]] | None = None,
    doubt: Callable[..., Float[Array, ""]] | None = None,
    doubt_every: int = 1,
    recompute: bool = False,
    key: PRNGKeyArray,
) -> Ahead:
    """Let a driver drive through a window, so that gradients flow from what happens back to its weights.

    Args:
        driver: drives the ego, and sees the others exactly.
        window: the situation, as `windows` cuts them.
        dt: time between frames [s].
        mode: how the others move. "replay": as recorded. "reactive": by the intelligent driver model.
            "learned": by the traffic model. Who comes later enters where it was recorded.
        traffic: the model; one given in other modes is asked too, so that `doubt` has its memory.
        cost: cost(view, action, last_action, dt) of an action, as `foresee.driving.drivers.costs.Costs`.
        doubt: doubt(world, memory, key=key), a number: how unsure the traffic model is after a step.
        doubt_every: it is asked after every so many steps, and stands for all of these; it may be costly.
        recompute: whether a step is computed again on the way back, in twice the time, rather than kept.
        key: the randomness of driver, traffic and doubt.

    Raises:
        OptionError: if the mode is unknown, or there is no model to move the others.
    """
    if mode not in TRAINING_MODES:
        raise OptionError(f"expected a mode out of {', '.join(TRAINING_MODES)}, got {mode!r}")
    if mode == "learned" and traffic is None:
        raise OptionError("expected a traffic model in learned traffic, got none")
    rules = ReactiveTraffic(dt) if mode == "reactive" else None
    zero = jnp.zeros((), window.world.x.dtype)

    def advance(carry: Any, moment: tuple[Record, Array, Array]) -> tuple[Any, tuple[Array, Array, Array]]:
        world, last, memory, remembered = carry
        recorded, key, number = moment
        acted, moving, doubted = jax.random.split(key, 3)
        view = observe(world, EGO, know_exactly(world, EGO))
        action, remembered = driver.act(view, remembered, key=acted)
        price = zero if cost is None else cost(view, action, last, dt)
        actions = None
        if traffic is not None:
            actions, memory = traffic.act(world, memory, key=moving)
        if rules is not None:
            actions, _ = rules.act(world, None, key=moving)
        moved = _move(world, action, None if mode == "replay" else actions, recorded, dt)
        unsure = zero
        if doubt is not None and doubt_every == 1:
            unsure = doubt(moved, memory, key=doubted)
        elif doubt is not None:
            asked = number % doubt_every == doubt_every - 1
            told = partial(doubt, key=doubted)
            ask = lambda *now: doubt_every * told(*now)  # noqa: E731
            unsure = jax.lax.cond(asked, ask, lambda *now: zero, moved, memory)
        ego = jnp.stack([moved.x[EGO], moved.y[EGO], moved.heading[EGO], moved.speed[EGO]])
        return (moved, action, memory, remembered), (ego, price, unsure)

    world = window.world
    last = jnp.stack([world.acceleration[EGO], world.curvature[EGO]])
    memory = None if traffic is None else traffic.start(world)
    rows = jax.tree.map(lambda leaf: leaf[1:], window.record)
    keys = jax.random.split(key, window.record.frames - 1)
    body = jax.checkpoint(advance) if recompute else advance
    begin = (world, last, memory, driver.start())
    _, out = jax.lax.scan(body, begin, (rows, keys, jnp.arange(keys.shape[0])))
    return Ahead(*out)


def _move(
    world: World, action: Array, actions: Array | None, recorded: Record, dt: float | Float[Array, ""]
) -> World:
    """Return the world a step later: the ego by its action, the others by theirs or as recorded."""
    me = jnp.arange(world.vehicles) == EGO
    if actions is not None:
        moved = step(world, jnp.where(me[:, None], action, actions), dt)
        entering = recorded.present & ~world.alive & ~me
        moved = keep_where(entering, _placed(world, recorded), moved)
    else:
        # Only the ego is to be moved, so only its own place on the road is looked up.
        names = (*MOMENTARY, "length", "width", "faults", "manners")
        parts = {name: getattr(world, name) for name in names}
        alone = replace(world, **jax.tree.map(lambda leaf: leaf[EGO : EGO + 1], parts))
        ego = step(alone, action[None], dt)
        others = _placed(world, recorded)
        own = {name: getattr(others, name).at[EGO].set(getattr(ego, name)[0]) for name in MOMENTARY}
        moved = replace(others, **own, time=world.time + dt)
    return replace(moved, target=moved.target.at[EGO].set(moved.lane[EGO]))


def _placed(world: World, recorded: Record) -> World:
    """Return the world with everybody where they were recorded."""
    there = {name: getattr(recorded, name) for name in MOMENTARY if hasattr(recorded, name)}
    return replace(world, **there, alive=recorded.present, target=recorded.lane)
