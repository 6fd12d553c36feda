"""Traffic that was learned from recordings: everybody acts as a network says, given all the others.

The network is a conditional p(action | what is around, z): the kinematics that follow are exact. The latent z
is a vehicle's own for as long as it drives: how its driver is, as far as the surroundings do not tell. It is
learned as a conditional variational autoencoder over whole stretches, unrolled in closed loop.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.beliefs.gaussian import DiagonalGaussian, as_float
from foresee.driving.futures.encode import BEFORE, OTHER, OWN, Snapshot, encode
from foresee.driving.futures.lanes import lane_numbers
from foresee.driving.traffic_model import AbstractTraffic
from foresee.driving.world import World
from foresee.worlds.agents import AgentEncoder

LATENT = 4
WAYPOINTS = 4  # from so many points of its future a vehicle's z is told in training
BRAKE, PUSH, ASIDE = 5.0, 3.0, 2.0  # the hardest that the network can do: back, ahead, sideways [m/s²]
RETURN, CALM = 0.3, 1.2  # pull to the middle of the lane [1/s²] and damping [1/s] that it adds to
SLOWEST = 4.0  # below this speed the wheel is turned as if it were this [m/s]


class Situation(NamedTuple):
    """One vehicle, as the network is told of it.

    Attributes:
        own, others, there: as in `foresee.driving.futures.encode.Encoded`.
        latent: how its driver is.
    """

    own: Float[Array, "*b 19"]
    others: Float[Array, "*b N 13"]
    there: Bool[Array, "*b N"]
    latent: Float[Array, "*b 4"]


class StepNetwork(eqx.Module):
    """What a vehicle does next: acceleration along and across its lane.

    Args:
        width: size of the layers.
        dropout: probability that a feature is left out in training.
        key: source of the first weights.
    """

    encoder: AgentEncoder
    decode: eqx.nn.MLP
    infer: eqx.nn.MLP

    def __init__(self, *, width: int = 48, dropout: float = 0.1, key: PRNGKeyArray):
        keys = jax.random.split(key, 3)
        self.encoder = AgentEncoder(OWN, OTHER, width=width, dropout=dropout, key=keys[0])
        self.decode = eqx.nn.MLP(width + LATENT, 2, width, 1, jax.nn.silu, key=keys[1])
        known = width + 3 * WAYPOINTS
        self.infer = eqx.nn.MLP(known, 2 * LATENT, width, 1, jax.nn.silu, key=keys[2])

    def __call__(self, case: Situation, *, key: PRNGKeyArray | None = None) -> Float[Array, "2"]:
        """Return the acceleration along and across the lane [m/s²]."""
        context = self.encoder(case.own, case.others, case.there, key=key)
        raw = self.decode(jnp.concatenate([context, case.latent]))
        along = jnp.where(raw[0] > 0, PUSH, BRAKE) * jnp.tanh(raw[0] / jnp.where(raw[0] > 0, PUSH, BRAKE))
        return jnp.stack([along, ASIDE * jnp.tanh(raw[1] / ASIDE)])

    def posterior(self, case: Situation, future: Float[Array, "P 3"]) -> DiagonalGaussian:
        """Return the belief about z once it is known where the vehicle went.

        Args:
            case: the vehicle at the beginning.
            future: displacement along and across from who keeps on [10 m, m], and whether it is known, at
                `WAYPOINTS` times.
        """
        context = self.encoder(case.own, case.others, case.there)
        mean, log_variance = jnp.split(self.infer(jnp.concatenate([context, future.ravel()])), 2)
        return DiagonalGaussian(mean, jnp.exp(jnp.clip(log_variance, -8.0, 4.0)))


class Traffic(NamedTuple):
    """What a model of traffic remembers.

    Attributes:
        x, y: where everybody was, newest first [m].
        seen: who was there.
        latent: how everybody drives.
        tick: steps so far.
    """

    x: Float[Array, "H V"]
    y: Float[Array, "H V"]
    seen: Bool[Array, "H V"]
    latent: Float[Array, "V 4"]
    tick: Int[Array, ""]


class LearnedTraffic(AbstractTraffic):
    """Everybody acts as a network says, which learned from recordings.

    Args:
        network: the network.
        spread: standard deviation of z; 0 for the most usual driver everywhere.
        dt: time between steps [s].
    """

    network: StepNetwork
    spread: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    dt: float = eqx.field(static=True, default=0.1)

    def start(self, world: World) -> Traffic:
        """Return that nothing was seen yet."""
        return nothing_seen(world, self.dt)

    def act(self, world: World, memory: Traffic, *, key: PRNGKeyArray) -> tuple[Float[Array, "V 2"], Traffic]:
        """Return everybody's acceleration [m/s²] and curvature [1/m], and the memory."""
        memory = remember(world, memory)
        drawn = self.spread * jax.random.normal(key, memory.latent.shape, memory.latent.dtype)
        memory = memory._replace(latent=jnp.where(memory.tick == 1, drawn, memory.latent))
        cases = situations(world, memory, self.dt)
        return controls(world, jax.vmap(self.network)(cases)), memory


def nothing_seen(world: World, dt: float) -> Traffic:
    """Return the memory of a model of traffic before it has seen anything."""
    frames, count = round(BEFORE[-1] / dt) + 1, world.vehicles
    nothing = jnp.zeros((frames, count), world.x.dtype)
    latent = jnp.zeros((count, LATENT), world.x.dtype)
    return Traffic(nothing, nothing, nothing > 0, latent, jnp.zeros((), jnp.int32))


def remember(world: World, memory: Traffic) -> Traffic:
    """Put where everybody is now before where they were, and forget the oldest."""
    now = (world.x, world.y, world.alive)
    x, y, seen = (jnp.concatenate([new[None], old[:-1]]) for new, old in zip(now, memory[:3], strict=True))
    return Traffic(x, y, seen, memory.latent, memory.tick + 1)


def situations(world: World, memory: Traffic, dt: float) -> Situation:
    """Return what the network is told of every vehicle; the memory holds the present already."""
    numbers = encode(seen_exactly(world, memory, dt))
    return Situation(numbers.own, numbers.others, numbers.there, memory.latent)


def seen_exactly(world: World, memory: Traffic, dt: float, count: int | None = None) -> Snapshot:
    """Return a world, or the vehicles in its first slots, as somebody sees it who sees everything exactly."""
    lags = jnp.asarray([round(before / dt) for before in BEFORE])
    first = slice(count)
    nothing = jnp.zeros_like(world.x[first])
    return Snapshot(
        x=world.x[first],
        y=world.y[first],
        vx=(world.speed * jnp.cos(world.heading))[first],
        vy=(world.speed * jnp.sin(world.heading))[first],
        before_x=memory.x[lags, first],
        before_y=memory.y[lags, first],
        before_seen=memory.seen[lags, first] & world.alive[first],
        position_sd=nothing,
        velocity_sd=nothing,
        length=world.length[first],
        width=world.width[first],
        offset=world.offset[first],
        known=world.alive[first],
        **lane_numbers(world.road, world.lane[first], world.along[first]),
    )


def controls(world: World, wanted: Float[Array, "V 2"]) -> Float[Array, "V 2"]:
    """Return accelerations [m/s²] and curvatures [1/m] that do what was wanted along and across lanes.

    What is wanted across adds to a gentle pull to the middle of the lane.
    """
    line = world.road.at(world.lane, world.along)
    sideways = world.speed * jnp.sin(world.heading - line.heading)
    pull = wanted[:, 1] - RETURN * world.offset - CALM * sideways
    curvature = line.curvature + pull / jnp.maximum(world.speed, SLOWEST) ** 2
    return jnp.stack([wanted[:, 0], curvature], axis=-1)
