"""Learning traffic that reacts: recorded stretches in, a `LearnedTraffic` out, trained in closed loop."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import DiagonalGaussian, as_float
from foresee.driving.futures.traffic import (
    LATENT,
    WAYPOINTS,
    LearnedTraffic,
    StepNetwork,
    controls,
    remember,
    situations,
)
from foresee.driving.scenario import Record, Scenario, Scenarios
from foresee.driving.world import MOMENTARY, World, keep_where, step
from foresee.errors import TrainingError
from foresee.fit import Fitted, fit

EPOCHS, BATCH, RATE, DECAY, CLIP = 8, 16, 2e-3, 0.1, 1.0
DRIVEN = 14  # the nearest so many vehicles are driven in training: who is farther away lacks surroundings
SOFT = 0.2  # distances below this count less [m]
FEWEST = 20  # stretches, below which nothing is learned


class TrafficLoss(eqx.Module):
    """How far vehicles that the network drives come to be from where they were recorded.

    Attributes:
        beta: weight of the KL divergence of z's posterior from its prior.
        latent_dropout: probability that z is drawn from the prior instead (Henaff et al. 2019, section 3).
        dt: time between the frames of a stretch [s].
    """

    beta: Float[Array, ""] = eqx.field(converter=as_float, default=0.03)
    latent_dropout: Float[Array, ""] = eqx.field(converter=as_float, default=0.5)
    dt: float = eqx.field(static=True, default=0.2)

    def __call__(self, network: StepNetwork, stretch: Scenario, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Return the loss of one stretch."""
        choose, draw, prior, dropped = jax.random.split(key, 4)
        traffic = LearnedTraffic(network, dt=self.dt)
        world, record = stretch.world, stretch.record
        memory = remember(world, traffic.start(world))
        cases = situations(world, memory, self.dt)
        told = jax.vmap(network.posterior)(cases, waypoints(world, record, self.dt))
        z = told.location + jnp.sqrt(told.variance) * jax.random.normal(draw, told.location.shape)
        alone = jax.random.normal(prior, z.shape)
        z = jnp.where(jax.random.bernoulli(choose, self.latent_dropout), alone, z)
        kl = jax.vmap(lambda one: one.kl_divergence(DiagonalGaussian(jnp.zeros(LATENT), 1.0)))(told)
        x, y = unrolled(network, stretch, z, self.dt, key=dropped)
        rows = jax.tree.map(lambda leaf: leaf[1:], record)
        counted = driven(stretch) & jnp.cumprod(rows.present, axis=0).astype(bool)
        apart = jnp.sqrt((x - rows.x) ** 2 + (y - rows.y) ** 2 + SOFT**2) - SOFT
        distance = jnp.sum(jnp.where(counted, apart, 0.0)) / jnp.maximum(counted.sum(), 1)
        return distance + self.beta * jnp.sum(kl * counted[0]) / jnp.maximum(counted[0].sum(), 1)


def driven(stretch: Scenario) -> Array:
    """Return whom the network drives in training: the vehicles nearest to the ego, and not the ego."""
    slots = jnp.arange(stretch.world.vehicles)
    return stretch.world.alive & (slots != stretch.ego) & (slots <= DRIVEN)


def unrolled(
    network: StepNetwork, stretch: Scenario, z: Float[Array, "V Z"], dt: float, *, key: PRNGKeyArray | None
) -> tuple[Float[Array, "T V"], Float[Array, "T V"]]:
    """Return where everybody comes to be; the ego and those far away follow the record.

    Args:
        network: what drives the others.
        stretch: the situation and its record.
        z: how everybody drives.
        dt: time between frames [s].
        key: source of what is left out by dropout, the same all along; None: nothing is.
    """
    traffic, who = LearnedTraffic(network, dt=dt), driven(stretch)
    keys = None if key is None else jax.random.split(key, len(who))

    def advance(carry: Any, recorded: Record) -> tuple[Any, tuple[Array, Array]]:
        world, memory = carry
        memory = remember(world, memory)
        cases = situations(world, memory._replace(latent=z), dt)
        if keys is None:
            wanted = jax.vmap(network)(cases)
        else:
            wanted = jax.vmap(lambda case, sub: network(case, key=sub))(cases, keys)
        moved = step(world, controls(world, wanted), dt)
        there = {name: getattr(recorded, name) for name in MOMENTARY if hasattr(recorded, name)}
        placed = replace(moved, **there, alive=recorded.present, target=recorded.lane)
        moved = keep_where(who, moved, placed)
        return (moved, memory), (moved.x, moved.y)

    rows = jax.tree.map(lambda leaf: leaf[1:], stretch.record)
    _, path = jax.lax.scan(advance, (stretch.world, traffic.start(stretch.world)), rows)
    return path


def waypoints(world: World, record: Record, dt: float) -> Float[Array, "V P 3"]:
    """Return where vehicles will be compared with who keeps on, along [10 m] and across [m], if known."""
    steps = record.frames - 1
    at = jnp.asarray([steps * (i + 1) // WAYPOINTS for i in range(WAYPOINTS)])
    c, s = jnp.cos(world.heading)[:, None], jnp.sin(world.heading)[:, None]
    dx, dy = (record.x[at] - world.x).T, (record.y[at] - world.y).T
    there = record.present[at].T & world.alive[:, None]
    ahead = c * dx + s * dy - world.speed[:, None] * at * dt
    numbers = jnp.stack([ahead / 10, c * dy - s * dx, jnp.ones_like(dx)], axis=-1)
    return jnp.where(there[..., None], numbers, 0.0)


@dataclass(frozen=True, eq=False)
class LearntTraffic:
    """What came of learning traffic.

    Attributes:
        networks: stacked along a leading axis.
        fitted: how training went.
        stretches: how many were learned from.
    """

    networks: StepNetwork
    fitted: Fitted
    stretches: int

    def traffic(self, member: int = 0, *, dt: float = 0.1) -> LearnedTraffic:
        """Return the traffic that one of the networks makes."""
        network = jax.tree.map(lambda leaf: leaf[member] if eqx.is_array(leaf) else leaf, self.networks)
        return LearnedTraffic(network, dt=dt)


def learn_traffic(
    stretches: Scenarios,
    *,
    members: int = 1,
    width: int = 48,
    epochs: int = EPOCHS,
    latent_dropout: float | int = 0.5,
    validation: Scenarios | None = None,
    checkpoint: Path | None = None,
    progress: bool | Callable[[float], None] = False,
    key: PRNGKeyArray,
) -> LearntTraffic:
    """Train networks to drive everybody but the ego as recorded, in closed loop over whole stretches.

    Args:
        stretches: short scenarios of one length, as `foresee.driving.drivers.rollout.windows` cuts them, with
            the ego in slot 0 and the others in the order of their distance.
        members: how many networks are trained side by side.
        width: size of their layers.
        epochs: how often every stretch is seen.
        latent_dropout: probability that z is drawn from the prior in training.
        validation: stretches of other scenes, which tell when to stop.
        checkpoint: file to go on from.
        progress: whether to show a bar, or what is told the share of the epochs that is done.
        key: source of the first weights, the order and z.

    Raises:
        TrainingError: if there is too little to learn from, or no network stays finite.
    """
    if len(stretches) < FEWEST:
        raise TrainingError(
            f"expected at least {FEWEST} stretches of traffic to learn from, got {len(stretches)}"
        )
    first, order = jax.random.split(key)
    networks = eqx.filter_vmap(lambda sub: StepNetwork(width=width, key=sub))(
        jax.random.split(first, members)
    )
    steps = epochs * -(-len(stretches) // BATCH)
    options = {"epochs": epochs, "batch_size": BATCH, "optimizer": _schedule(steps), "members": members}
    options |= {"checkpoint": checkpoint, "progress": progress, "key": order}
    if validation is not None:
        options["validation"] = validation.scenario
    loss = TrafficLoss(latent_dropout=latent_dropout, dt=float(stretches.dt))
    fitted = fit(networks, loss, stretches.scenario, **options)
    sound = np.flatnonzero(np.asarray(fitted.finite))
    if not len(sound):
        raise TrainingError(f"expected a finite loss, got none with any of {members} networks")
    kept = jax.tree.map(lambda leaf: leaf[sound] if eqx.is_array(leaf) else leaf, fitted.model)
    return LearntTraffic(kept, fitted, len(stretches))


@lru_cache(maxsize=8)
def _schedule(steps: int) -> optax.GradientTransformation:
    """Return the optimiser; the same one for the same number of steps, for a new one is a new program."""
    rate = optax.cosine_decay_schedule(RATE, steps)
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.adamw(rate, weight_decay=DECAY))
