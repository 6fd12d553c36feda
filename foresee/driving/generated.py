"""Generated situations as scenarios: their record is what happens when a reactive driver drives the ego."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.driving.generate import KINDS, Generated, Kind, generate
from foresee.driving.rare_events import Parameters
from foresee.driving.scenario import Record, Scenario, Scenarios, Script
from foresee.driving.simulate import decision_steps, react
from foresee.driving.world import World, step
from foresee.errors import OptionError


def generated_scenarios(
    count: int,
    *,
    kinds: Sequence[Kind] = KINDS,
    vehicles: int = 24,
    seconds: float | int = 10.0,
    key: PRNGKeyArray,
    parameters: Parameters | None = None,
    dt: float | int = 0.1,
) -> Scenarios:
    """Draw scenarios of rare events and ordinary traffic, as many of each kind as of the others.

    The record of a scenario, and so its expert, is what happens when the ego too is driven by the intelligent
    driver model with MOBIL. Every scenario is independent of the others: each is a group of its own.

    Args:
        count: how many in all; the first kinds get one more if it cannot be divided.
        kinds: what happens, as in `foresee.driving.generate.generate`.
        vehicles: vehicles in each, the ego included.
        seconds: how long each lasts [s].
        key: the randomness.
        parameters: the distributions.
        dt: time between frames [s].

    Raises:
        OptionError: if there is to be no scenario, or a kind is unknown.
    """
    if count < 1 or not kinds:
        raise OptionError(f"expected at least one scenario and one kind, got {count} of {len(kinds)}")
    parts, names = [], []
    for place, kind in enumerate(kinds):
        share = len(range(place, count, len(kinds)))
        if not share:
            continue
        keys = jax.random.split(jax.random.fold_in(key, place), share)
        parts.append(_drawn(keys, kind, vehicles, float(seconds), parameters, float(dt)))
        names += [f"{kind} {number + 1}" for number in range(share)]
    drawn = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return Scenarios(tuple(names), tuple(names), _witnessed(drawn, float(dt)), float(dt))


@eqx.filter_jit
def _drawn(
    keys: Array, kind: Kind, vehicles: int, seconds: float, parameters: Parameters | None, dt: float
) -> Generated:
    return jax.vmap(
        lambda key: generate(kind, vehicles=vehicles, seconds=seconds, key=key, parameters=parameters, dt=dt)
    )(keys)


@eqx.filter_jit
def _witnessed(drawn: Generated, dt: float) -> Scenario:
    return jax.vmap(lambda one: scenario_of(one, dt=dt))(drawn)


def scenario_of(drawn: Generated, *, dt: float | Float[Array, ""] = 0.1) -> Scenario:
    """Let reactive drivers drive a generated situation, the ego too, and take that as its record."""
    script = Script(drawn.script, drawn.scripted, drawn.target)
    steps, every = drawn.script.shape[0], decision_steps(dt)
    everybody = jnp.ones(drawn.world.vehicles, bool)

    def advance(world: World, moment: tuple[Array, Script]) -> tuple[World, Record]:
        tick, forced = moment
        decided, actions = react(world, everybody, forced, tick, every, dt)
        return step(decided, actions, dt), _row(world)

    world, rows = jax.lax.scan(advance, drawn.world, (jnp.arange(steps), script))
    record = jax.tree.map(lambda many, last: jnp.concatenate([many, last[None]]), rows, _row(world))
    start = jnp.zeros((), jnp.int32)
    return Scenario(drawn.world, record, drawn.ego, start, jnp.full_like(start, steps), script)


def _row(world: World) -> Record:
    return Record(
        world.x, world.y, world.heading, world.speed, world.acceleration, world.curvature, world.lane,
        world.along, world.offset, world.alive,
    )  # fmt: skip
