"""The cost of going where a model of traffic does not know what the others will do."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractBelief, Points
from foresee.driving.futures.traffic import (
    StepNetwork,
    Traffic,
    nothing_seen,
    remember,
    situations,
)
from foresee.driving.scenario import Record, Scenario, Scenarios
from foresee.driving.world import MOMENTARY, World
from foresee.posteriors.dropout import dropout
from foresee.worlds.doubt import Normaliser, variances

NEAR = 50.0  # whom the ego's doings concern [m]
DRAWS = 10  # networks drawn, as by Henaff et al. (2019)
EGO = 0  # slot of the ego in a stretch


class TrafficDoubt(eqx.Module):
    """How unsure a belief about networks is of what the vehicles around the ego do next.

    The variance of the accelerations over networks drawn from the belief, in units of what is usual where
    recorded drivers go, by the number of steps ahead; what is up to half a unit more than usual is free
    (`foresee.worlds.doubt.Normaliser`). It can be differentiated in the state of the traffic.

    Attributes:
        belief: about networks: an ensemble as `Points`, or what `foresee.posteriors` makes of one.
        normaliser: what is usual.
        dt: time between steps [s].
        draws: how many networks are drawn.
    """

    belief: AbstractBelief
    normaliser: Normaliser
    dt: float = eqx.field(static=True)
    draws: int = eqx.field(static=True, default=DRAWS)

    def __call__(self, world: World, memory: Traffic, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Return the cost of a state.

        Args:
            world: the traffic after a step.
            memory: the model's memory before it.
            key: source of the networks.
        """
        usual = jax.tree.leaves(self.normaliser.mean)[0].shape[0]
        at = jnp.clip(memory.tick - 1, 0, usual - 1)
        now = jax.tree.map(lambda leaf: leaf[at][None], self.normaliser)
        return now(unsure(self.belief, world, memory, self.dt, self.draws, key=key))


def unsure(
    belief: AbstractBelief, world: World, memory: Traffic, dt: float, draws: int = DRAWS, *, key: PRNGKeyArray
) -> dict[str, Float[Array, "1"]]:
    """Return the variance of what the vehicles near the ego do next, along and across [m²/s⁴]."""
    cases = situations(world, remember(world, memory), dt)
    distance = jnp.hypot(world.x - world.x[EGO], world.y - world.y[EGO])
    near = world.alive & (distance < NEAR) & (jnp.arange(world.vehicles) != EGO)

    def said(network: Callable[..., Any]) -> dict[str, Array]:
        wanted = jnp.where(near[:, None], jax.vmap(network)(cases), 0.0)
        return {"along": wanted[None, :, 0], "across": wanted[None, :, 1]}

    return variances(belief, said, draws, key=key)


def traffic_doubt(
    networks: StepNetwork | AbstractBelief,
    stretches: Scenarios,
    *,
    draws: int = DRAWS,
    key: PRNGKeyArray,
) -> TrafficDoubt:
    """Learn what doubt is usual along recorded stretches, and return the cost of more than that.

    Args:
        networks: stacked networks: several are an ensemble, one alone is doubted by its dropout; or any
            belief about networks.
        stretches: as `foresee.driving.futures.learn_traffic.learn_traffic` takes them.
        draws: how many networks are drawn.
        key: source of the networks.
    """
    belief = networks if isinstance(networks, AbstractBelief) else belief_about(networks)
    keys = jax.random.split(key, len(stretches))
    along = _recorded(belief, stretches.scenario, keys, float(stretches.dt), draws)
    return TrafficDoubt(belief, Normaliser.fit(along), float(stretches.dt), draws)


def belief_about(networks: StepNetwork) -> AbstractBelief:
    """Return the belief that stacked networks make: an ensemble, or the dropout of a single one."""
    count = jax.tree.leaves(eqx.filter(networks, eqx.is_array))[0].shape[0]
    if count > 1:
        return Points(networks)
    one = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, networks)
    return dropout(one, masks="network")


@eqx.filter_jit
def _recorded(
    belief: AbstractBelief, stretches: Scenario, keys: Array, dt: float, draws: int
) -> dict[str, Float[Array, "S T"]]:
    def one(stretch: Scenario, key: Array) -> dict[str, Array]:
        memory = nothing_seen(stretch.world, dt)

        def advance(carry: Any, moment: tuple[Record, Array]) -> tuple[Any, dict[str, Array]]:
            world, memory = carry
            recorded, sub = moment
            memory = remember(world, memory)
            there = {name: getattr(recorded, name) for name in MOMENTARY if hasattr(recorded, name)}
            world = replace(world, **there, alive=recorded.present)
            return (world, memory), unsure(belief, world, memory, dt, draws, key=sub)

        rows = jax.tree.map(lambda leaf: leaf[1:], stretch.record)
        moments = (rows, jax.random.split(key, stretch.record.frames - 1))
        _, along = jax.lax.scan(advance, (stretch.world, memory), moments)
        return jax.tree.map(lambda leaf: leaf[:, 0], along)

    return jax.lax.map(lambda pair: one(*pair), (stretches, keys), batch_size=32)
