"""Futures of vehicles that mostly stay in their lanes: a noisy sideways speed is no change of lanes yet."""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.beliefs.gaussian import as_float
from foresee.driving.forecast import HORIZON, STEP, AbstractForecaster, ConstantVelocity, Futures
from foresee.driving.observe import Observation
from foresee.driving.sensing import Beliefs
from foresee.dynamics.check import check_not_negative, check_positive


class _Habit(NamedTuple):
    """Beliefs as they are if sideways speeds have a spread, and how well that explains each of them."""

    beliefs: Beliefs
    evidence: Float[Array, " V"]


class LaneBound(AbstractForecaster):
    """Everybody goes straight on, and either keeps its lane or changes it: two futures each.

    Across the lane, speeds are small for who keeps it and may be larger for who changes it: two normal
    distributions around 0. What is believed of a vehicle is corrected by each, and their probabilities follow
    from how well each explains what is believed. So a sideways speed that is known exactly stays as it is,
    and one that is noise is taken for noise.

    Args:
        keeping_sd: standard deviation of the speed across the lane of who keeps it [m/s].
        changing_sd: that of who changes it [m/s].
        changing: probability that somebody changes lanes, before anything is known of it.
        density: how restless vehicles are believed to be along their lanes [m²/s³].
        horizon: how far to look [s].
        step: time between points [s].
    """

    keeping_sd: Float[Array, ""] = eqx.field(converter=as_float, default=0.2)
    changing_sd: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    changing: Float[Array, ""] = eqx.field(converter=as_float, default=0.05)
    density: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    horizon: float = eqx.field(static=True, default=HORIZON)
    step: float = eqx.field(static=True, default=STEP)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "keeping_sd", "changing_sd")
        check_not_negative(self, "changing", "density")

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def __call__(self, view: Observation, memory: None) -> tuple[Futures, None]:
        """Return two futures each: of keeping the lane and of changing it."""
        straight = ConstantVelocity(0.0, self.horizon, self.step)
        keeping, changing = (_if_sideways(view, sd) for sd in (self.keeping_sd, self.changing_sd))
        one, _ = straight(replace(view, beliefs=keeping.beliefs), None)
        other, _ = straight(replace(view, beliefs=changing.beliefs), None)
        likely = jnp.stack(
            [(1 - self.changing) * keeping.evidence, self.changing * changing.evidence], axis=-1
        )
        weights = likely / likely.sum(axis=-1, keepdims=True)
        names = ("x", "y", "heading", "along_sd", "across_sd")
        both = (jnp.concatenate([getattr(one, name), getattr(other, name)], axis=1) for name in names)
        x, y, heading, along, across = both
        # Restless is who brakes or accelerates; across the lane there is the other habit for that.
        restless = along**2 + self.density * one.times**3 / 3
        along = jnp.where(restless > 0, jnp.sqrt(jnp.where(restless > 0, restless, 1.0)), 0.0)
        return Futures(one.times, x, y, heading, along, across, weights, view.beliefs.known), None


def _if_sideways(view: Observation, sd: Float[Array, ""]) -> _Habit:
    """Correct beliefs by the knowledge that speeds across the lane are 0, give or take some."""
    beliefs, heading = view.beliefs, view.places.heading
    none = jnp.zeros_like(heading)
    across = jnp.stack([none, none, -jnp.sin(heading), jnp.cos(heading)], axis=-1)
    gain = jnp.einsum("vij,vj->vi", beliefs.covariance, across)
    spread = jnp.einsum("vi,vi->v", across, gain) + sd**2
    speed = jnp.einsum("vi,vi->v", across, beliefs.mean)
    mean = beliefs.mean - gain * (speed / spread)[:, None]
    covariance = beliefs.covariance - gain[:, :, None] * gain[:, None, :] / spread[:, None, None]
    # Beyond some standard deviations it is no use to know how improbable exactly something is.
    evidence = jnp.exp(-0.5 * jnp.minimum(speed**2 / spread, 50.0)) / jnp.sqrt(spread)
    return _Habit(replace(beliefs, mean=mean, covariance=covariance), evidence)
