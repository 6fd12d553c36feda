"""Futures of vehicles that may brake to a stop, whatever else is foretold of them."""

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.beliefs.gaussian import as_float
from foresee.driving.forecast import SLOTS, AbstractForecaster, Futures
from foresee.driving.observe import Observation
from foresee.dynamics.check import check_not_negative, check_positive

GENTLEST = 0.5  # who brakes does so by at least this much [m/s²]


class Averages(NamedTuple):
    """What is remembered: the other forecaster's memory, and averages of velocities in the first slots.

    Attributes:
        forecaster: that memory.
        velocity: averages over a while [m/s].
        known: whose there are.
    """

    forecaster: Any
    velocity: Float[Array, "S 2"]
    known: Bool[Array, " S"]


class Slowing(NamedTuple):
    """How vehicles brake if they do: mean, standard deviation [m/s²], and how probable it is."""

    mean: Float[Array, " V"]
    sd: Float[Array, " V"]
    probability: Float[Array, " V"]


class MayBrake(AbstractForecaster):
    """What another forecaster foretells, and one future more of everybody: to brake until it stands.

    Accelerations are normal, about 0 for who goes on and about `braking` for who brakes. What is seen of a
    vehicle's acceleration is weighed against both, by Bayes' rule: that gives the probability that it brakes,
    and how hard. So it is believed of nobody for long who goes on, and soon of who begins to brake. An
    acceleration is seen as the difference of the believed velocity from its average over `lag`; the belief's
    own doubt says how much of that is noise.

    Args:
        forecaster: the other one.
        braking: mean acceleration of who brakes to a stop, negative [m/s²].
        braking_sd: its standard deviation [m/s²].
        steady_sd: standard deviation of the acceleration of who goes on [m/s²].
        prior: probability that somebody brakes to a stop, before anything is known of it.
        lag: time over which velocities are averaged [s].
        interval: time between observations [s].
    """

    forecaster: AbstractForecaster
    braking: Float[Array, ""] = eqx.field(converter=as_float, default=-5.0)
    braking_sd: Float[Array, ""] = eqx.field(converter=as_float, default=2.0)
    steady_sd: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    prior: Float[Array, ""] = eqx.field(converter=as_float, default=0.02)
    lag: Float[Array, ""] = eqx.field(converter=as_float, default=0.4)
    interval: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "braking_sd", "steady_sd", "lag", "interval")
        check_not_negative(self, "prior")

    def start(self) -> Averages:
        """Return the other memory, and that nobody was seen yet."""
        return Averages(self.forecaster.start(), jnp.zeros((SLOTS, 2)), jnp.zeros(SLOTS, bool))

    def __call__(self, view: Observation, memory: Averages) -> tuple[Futures, Averages]:
        """Return the other futures and that of braking, which is the last."""
        futures, remembered = self.forecaster(view, memory.forecaster)
        slowing, memory = self.slowing(view, memory)
        return joined(futures, view, slowing), memory._replace(forecaster=remembered)

    def slowing(self, view: Observation, memory: Averages) -> tuple[Slowing, Averages]:
        """Return how vehicles brake if they do, and how probable it is, and the new averages."""
        beliefs, count = view.beliefs, min(view.beliefs.known.shape[0], SLOTS)
        velocity, known = beliefs.mean[:count, 2:], beliefs.known[:count]
        there = (known & memory.known[:count])[:, None]
        average = jnp.where(there, memory.velocity[:count], velocity)
        forward = _forward(view)[:count]
        seen = ((velocity - average) * forward).sum(axis=-1) / self.lag
        doubt = jnp.einsum("vi,vij,vj->v", forward, beliefs.covariance[:count, 2:, 2:], forward)
        # That of the average is taken to be as large, and independent.
        noise = 2 * jnp.maximum(doubt, 0.0) / self.lag**2
        gain = self.braking_sd**2 / (self.braking_sd**2 + noise)
        mean = jnp.minimum(self.braking + gain * (seen - self.braking), -GENTLEST)
        sd = self.braking_sd * jnp.sqrt(1 - gain)
        # Otherwise who accelerates hard would be taken to brake, for that is the wider distribution.
        slower = jnp.minimum(seen, 0.0)
        brakes = self.prior * _normal(slower - self.braking, self.braking_sd**2 + noise)
        goes_on = (1 - self.prior) * _normal(slower, self.steady_sd**2 + noise)
        share = jnp.minimum(self.interval / self.lag, 1.0)
        kept = (average + share * (velocity - average)).astype(memory.velocity.dtype)
        averages = memory._replace(
            velocity=memory.velocity.at[:count].set(kept), known=memory.known.at[:count].set(known)
        )
        rest = (0, beliefs.known.shape[0] - count)
        rows = (mean, sd, brakes / (brakes + goes_on))
        return Slowing(*(jnp.pad(row, rest) for row in rows)), averages


def joined(futures: Futures, view: Observation, slowing: Slowing) -> Futures:
    """Return futures with one more of every vehicle: along its likeliest way, but braking until it stands.

    Args:
        futures: what is foretold otherwise.
        view: what is seen, with the beliefs that the futures begin with.
        slowing: how vehicles brake, and how probable it is.
    """
    best = jnp.argmax(futures.weights, axis=-1)[:, None, None]
    ways = (futures.x, futures.y, futures.heading, futures.across_sd)
    x, y, heading, across = (jnp.take_along_axis(way, best, axis=1)[:, 0] for way in ways)
    forward, covariance = _forward(view), view.beliefs.covariance
    speed = jnp.maximum(jnp.einsum("vi,vi->v", forward, view.beliefs.mean[:, 2:]), 0.0)[:, None]
    brakes = jnp.minimum(slowing.mean, -GENTLEST)[:, None]
    lasts = jnp.minimum(futures.times, -speed / brakes)
    driven = speed * lasts + 0.5 * brakes * lasts**2
    steps = jnp.hypot(jnp.diff(x), jnp.diff(y))
    along = jnp.pad(jnp.cumsum(steps, axis=-1), ((0, 0), (1, 0)))
    x, y, heading, across = (
        jax.vmap(jnp.interp)(driven, along, way) for way in (x, y, jnp.unwrap(heading), across)
    )
    blocks = covariance.reshape(-1, 2, 2, 2, 2)  # position or velocity, x or y, twice
    part = jnp.einsum("vi,vaibj,vj->vab", forward, blocks, forward)[..., None]
    variance = part[:, 0, 0] + 2 * part[:, 0, 1] * lasts + part[:, 1, 1] * lasts**2
    variance = jnp.maximum(variance, 0.0) + (0.5 * slowing.sd[:, None] * lasts**2) ** 2
    sd = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    chance = slowing.probability[:, None]
    more = {"x": x, "y": y, "heading": heading, "along_sd": sd, "across_sd": across}
    joint = {
        name: jnp.concatenate([getattr(futures, name), each[:, None]], axis=1) for name, each in more.items()
    }
    weights = jnp.concatenate([futures.weights * (1 - chance), chance], axis=1)
    return replace(futures, **joint, weights=weights)


def _forward(view: Observation) -> Float[Array, "V 2"]:
    """Return the directions of the lanes that vehicles are on."""
    heading = view.places.heading
    return jnp.stack([jnp.cos(heading), jnp.sin(heading)], axis=-1)


def _normal(away: Float[Array, " V"], variance: Float[Array, " V"]) -> Float[Array, " V"]:
    return jnp.exp(-0.5 * away**2 / variance) / jnp.sqrt(variance)
