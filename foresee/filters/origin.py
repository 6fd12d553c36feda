"""Counting a linear run from a near point, so that float32 does not spend its digits on where the map begins.

At coordinates near 10⁵ m a float32 number is known to 8 mm only, and every rounded mean spoils the innovation
that follows. For linear models the same run can be computed in differences from a fixed point r: the motion's
offset gains (F − I) r, and every observation loses H r once, before the loop.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee import linalg
from foresee.beliefs.belief import AbstractFilter
from foresee.beliefs.gaussian import Gaussian
from foresee.dynamics.linear import AbstractLinear, LinearGaussian
from foresee.filters.kalman import KalmanFilter


class Origin(NamedTuple):
    """The point that a run was counted from, and its last mean counted from there, for going on exactly."""

    point: Float[Array, " n"]
    last: Float[Array, " n"]


class FromPoint(AbstractLinear):
    """A linear motion in differences from a point.

    Args:
        model: motion of the state itself.
        point: what is subtracted from the state.
    """

    model: AbstractLinear
    point: Float[Array, " n"]

    def linear(self, u: Any = None, dt: Any = 1.0) -> LinearGaussian:
        """Return the matrices."""
        model = self.model.linear(u, dt)
        # F − I is formed first: where a component stays, its large coordinate must not be rounded.
        change = model.matrix - jnp.eye(self.point.shape[0], dtype=model.matrix.dtype)
        offset = linalg.matvec(change, self.point)
        return LinearGaussian(
            model.matrix, model.covariance, offset if model.offset is None else offset + model.offset
        )

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Any:
        """Return the belief about the difference after `dt` seconds."""
        return self.linear(u, dt)(x, None, dt)


def near(
    filter: AbstractFilter, prior: Any, motion: Any, sensors: tuple, after: Origin | None
) -> Origin | None:
    """Return where to count from: the prior mean, or as the stretch before; None if not all is linear."""
    models = (motion, *sensors)
    linear = isinstance(filter, KalmanFilter) and all(isinstance(model, AbstractLinear) for model in models)
    if not linear or any(getattr(part, "circular", ()) for part in (prior, *models)):
        return None
    if not isinstance(prior.location, jax.Array) or prior.location.ndim != 1:
        return None
    if after is not None:
        return after
    point = jax.lax.stop_gradient(prior.location)  # the result does not depend on it
    return Origin(point, prior.location - point)


def differences(
    origin: Origin,
    prior: Gaussian,
    motion: AbstractLinear,
    sensors: tuple,
    series: tuple,
    inputs: Any,
    dt: Any,
) -> tuple[Gaussian, AbstractLinear, tuple, tuple]:
    """Return prior, motion, sensors and observations in differences from an origin."""
    motion = FromPoint(motion, origin.point)
    if inputs is None and jnp.ndim(dt) == 0:
        motion = motion.linear(None, dt)
    models = [model.linear() for model in sensors]
    shifted = tuple(values - model.apply(origin.point) for model, values in zip(models, series, strict=True))
    bare = tuple(LinearGaussian(model.matrix, model.covariance) for model in models)
    return Gaussian(origin.last, prior.covariance), motion, bare, shifted


def restored(origin: Origin, run: Any) -> Any:
    """Return a run with its means counted from zero again."""
    means = (run.predicted.location, run.filtered.location, run.last.location)
    shifted = tuple(mean + origin.point for mean in means)
    run = eqx.tree_at(lambda r: (r.predicted.location, r.filtered.location, r.last.location), run, shifted)
    return eqx.tree_at(lambda r: r.origin, run, Origin(origin.point, means[2]), is_leaf=lambda x: x is None)
