"""What the vehicles around may do next: several futures each, with probabilities and doubt, on the map.

A forecaster turns what a driver has seen so far into futures; planners take the cost that is expected under
them, and need not know whether a network or a straight line made them.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.beliefs.gaussian import as_float
from foresee.driving.observe import Observation
from foresee.dynamics.check import check_positive
from foresee.errors import OptionError

STEP, HORIZON = 0.5, 6.0  # between the points of a future, and how far it reaches [s]
SLOTS = 128  # vehicles in higher slots are foretold without their past
POINTS = round(HORIZON / STEP)


class Futures(eqx.Module):
    """K futures of the vehicle in every slot, at T times from now; a mixture of Gaussians each.

    Attributes:
        times: from now on [s].
        x, y: mean position of the centre on the map [m].
        heading: direction in which the vehicle then points [rad].
        along_sd, across_sd: standard deviations of the position along and across that direction [m].
        weights: probability of each of a vehicle's futures; they sum to one.
        known: which slots hold a vehicle that anything is known of.
    """

    times: Float[Array, " T"]
    x: Float[Array, "*b V K T"]
    y: Float[Array, "*b V K T"]
    heading: Float[Array, "*b V K T"]
    along_sd: Float[Array, "*b V K T"]
    across_sd: Float[Array, "*b V K T"]
    weights: Float[Array, "*b V K"]
    known: Bool[Array, "*b V"]

    def select(self, slots: Array) -> "Futures":
        """Keep the vehicles in some slots, in that order."""
        rest: Any = (self.x, self.y, self.heading, self.along_sd, self.across_sd, self.weights, self.known)
        return Futures(self.times, *(leaf[slots] for leaf in rest))

    def at(self, times: Float[Array, " S"]) -> "Futures":
        """Return the futures at other times, between the first and the last one, by straight lines."""
        index = jnp.clip(jnp.searchsorted(self.times, times) - 1, 0, len(self.times) - 2)
        part = (times - self.times[index]) / (self.times[index + 1] - self.times[index])

        def between(values: Array) -> Array:
            return values[..., index] + part * (values[..., index + 1] - values[..., index])

        turn = between(jnp.unwrap(self.heading, axis=-1))
        x, y, along_sd, across_sd = map(between, (self.x, self.y, self.along_sd, self.across_sd))
        return Futures(times, x, y, turn, along_sd, across_sd, self.weights, self.known)


class AbstractForecaster(eqx.Module):
    """What turns observations into futures; it may remember some of what it saw."""

    @abc.abstractmethod
    def start(self) -> Any:
        """Return the memory before the first observation."""

    @abc.abstractmethod
    def __call__(self, view: Observation, memory: Any) -> tuple[Futures, Any]:
        """Return the futures of the vehicles in all slots from now on, and the new memory.

        The first time is 0, now. The ego's own slot is not known to anybody but itself: its futures are not
        among these.
        """


class ConstantVelocity(AbstractForecaster):
    """Everybody goes straight on at the speed that it is believed to have.

    The doubt is that of the belief, carried on with a white noise of acceleration: after a time t the
    variance is that of position plus velocity times t, and a further density · t³ / 3.

    Args:
        density: how restless vehicles are believed to be [m²/s³]; 0 leaves the doubt of the belief alone.
        horizon: how far to look [s].
        step: time between points [s].
    """

    density: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)
    horizon: float = eqx.field(static=True, default=HORIZON)
    step: float = eqx.field(static=True, default=STEP)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "horizon", "step")
        if self.step > self.horizon:
            raise OptionError(f"expected a step of at most the horizon, got {self.step} and {self.horizon}")

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def __call__(self, view: Observation, memory: None) -> tuple[Futures, None]:
        """Return one future each."""
        beliefs = view.beliefs
        times = jnp.arange(round(self.horizon / self.step) + 1) * self.step
        x, y, vx, vy = (beliefs.mean[:, i, None] for i in range(4))
        moving = vx**2 + vy**2 > 0.25
        # The direction of who hardly moves is that of its lane.
        lane = view.places.heading[:, None]
        heading = jnp.where(moving, jnp.arctan2(jnp.where(moving, vy, 0.0), jnp.where(moving, vx, 1.0)), lane)
        along, across = _carried(beliefs.covariance, heading[:, 0], times, self.density)
        shape = (x.shape[0], len(times))
        straight = (x + vx * times, y + vy * times, jnp.broadcast_to(heading, shape), along, across)
        weights = jnp.ones((shape[0], 1), x.dtype)
        rows = [leaf[:, None] for leaf in straight]
        return Futures(times, rows[0], rows[1], rows[2], rows[3], rows[4], weights, beliefs.known), None


def _carried(
    covariance: Float[Array, "V 4 4"], heading: Float[Array, " V"], times: Array, density: Array
) -> tuple[Float[Array, "V T"], Float[Array, "V T"]]:
    """Return the standard deviations along and across a direction at later times."""
    c, s = jnp.cos(heading), jnp.sin(heading)

    def one(direction: Array) -> Array:
        blocks = covariance.reshape(-1, 2, 2, 2, 2)  # position or velocity, x or y, twice
        part = jnp.einsum("vi,vaibj,vj->vab", direction, blocks, direction)
        variance = part[:, 0, 0, None] + 2 * part[:, 0, 1, None] * times + part[:, 1, 1, None] * times**2
        variance = jnp.maximum(variance, 0.0) + density * times**3 / 3
        return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)

    return one(jnp.stack([c, s], -1)), one(jnp.stack([-s, c], -1))


def of_slots(view: Observation, count: int) -> Array:
    """Return the slots of the believed vehicles nearest to the ego, at most so many."""
    beliefs = view.beliefs
    square = (beliefs.mean[:, 0] - view.x) ** 2 + (beliefs.mean[:, 1] - view.y) ** 2
    away = jnp.where(beliefs.known, square, jnp.inf)
    return jax.lax.top_k(-jax.lax.stop_gradient(away), min(count, away.shape[0]))[1]
