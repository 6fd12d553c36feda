"""Temperature scaling: one number that all logits are divided by. Start with `fit_temperature`."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from foresee.calibration.check import check_logits
from foresee.calibration.scaler import AbstractScaler, check_calibration_data

STEPS = 100
WIDEST = math.log(1e5)  # the search stops at logits this many times larger or smaller than the natural scale


class Temperature(AbstractScaler):
    """Divides logits by a temperature: above one it makes predictions less certain, below one more.

    Attributes:
        temperature: the divisor.
        converged: whether the temperature is the best there is. False where the likelihood has no maximum:
            when every prediction is right (the best temperature is zero) or none is better than chance
            (infinity).
    """

    temperature: Float[Array, ""]
    converged: Bool[Array, ""]

    def __call__(self, logits: ArrayLike) -> Float[Array, "rows classes"]:
        """Return calibrated probabilities.

        Raises:
            ShapeError: if the logits are no table.
            CalibrationError: if a logit is not finite.
        """
        return jax.nn.softmax(check_logits(logits, "Temperature") / self.temperature)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> Temperature:
    """Return the temperature under which the labels are most likely (Guo et al. 2017).

    The negative log likelihood is convex in the inverse temperature, so its slope has one root; it is found
    by Newton steps in the logarithm, kept inside a bracket. The gradient of the temperature with respect to
    the logits is that of the root (the implicit function theorem).

    Args:
        logits: shape (rows, classes), held out from training.
        labels: shape (rows,).

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a logit is not finite, a label out of range, or if the logits are probabilities.
    """
    return _fit(*check_calibration_data(logits, labels, "fit_temperature"))


@eqx.filter_jit
def _fit(logits: Float[Array, "rows classes"], labels: Array) -> Temperature:
    shifted = logits - jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    spread = jax.lax.stop_gradient(jnp.sqrt(jnp.mean(jnp.var(shifted, axis=1))))
    unit = jnp.where(spread > 0, spread, 1.0)
    scaled = shifted / unit
    picked = jnp.take_along_axis(scaled, labels[:, None], axis=1)[:, 0]
    frozen = jax.lax.stop_gradient((scaled, picked))
    place, converged = _root(*frozen, jnp.clip(jnp.log(unit), -WIDEST, WIDEST))
    # One more Newton step: it moves nothing, and carries the gradient of the root.
    slope, change = _slope(place, scaled, picked)
    change = jax.lax.stop_gradient(change)
    safe = jnp.where(change > 0, change, 1.0)
    place = place - jnp.where(converged & (change > 0), slope / safe, 0.0)
    return Temperature(unit * jnp.exp(-place), converged)


def _slope(
    place: Float[Array, ""], scaled: Float[Array, "rows classes"], picked: Float[Array, " rows"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the slope of the loss in the inverse temperature exp(place), and how it changes with place."""
    inverse = jnp.exp(place)
    weights = jax.nn.softmax(inverse * scaled)
    mean = jnp.sum(weights * scaled, axis=1)
    variance = jnp.sum(weights * (scaled - mean[:, None]) ** 2, axis=1)
    return jnp.mean(mean - picked), inverse * jnp.mean(variance)


def _root(
    scaled: Float[Array, "rows classes"], picked: Float[Array, " rows"], start: Float[Array, ""]
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    tolerance = 8 * jnp.finfo(scaled.dtype).eps

    def go_on(carry: tuple) -> Bool[Array, ""]:
        _, _, _, done, number = carry
        return ~done & (number < STEPS)

    def step(carry: tuple) -> tuple:
        place, low, high, _, number = carry
        slope, change = _slope(place, scaled, picked)
        low, high = jnp.where(slope < 0, place, low), jnp.where(slope > 0, place, high)
        newton = place - slope / jnp.where(change > 0, change, 1.0)
        inside = (change > 0) & (newton > low) & (newton < high)
        after = jnp.where(slope == 0, place, jnp.where(inside, newton, 0.5 * (low + high)))
        done = jnp.abs(after - place) <= tolerance * (1 + jnp.abs(place))
        return after, low, high, done, number + 1

    bound = jnp.asarray(2 * WIDEST, scaled.dtype)
    carry = (start, -bound, bound, jnp.asarray(False), jnp.asarray(0))
    place, _, _, done, _ = jax.lax.while_loop(go_on, step, carry)
    return place, done & (jnp.abs(place) < WIDEST)
