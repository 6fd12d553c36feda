"""Errors that persist: smooth stationary noise, to be carried beside the state that it disturbs."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.beliefs.gaussian import Gaussian, as_float
from foresee.dynamics.check import check_not_negative, check_positive
from foresee.dynamics.linear import AbstractLinear, LinearGaussian


class CorrelatedError(AbstractLinear):
    """Independent Matérn-3/2 processes: state [errors…, their rates of change…].

    A position that comes from tracking a picture errs smoothly: what is wrong now is nearly as wrong a tenth
    of a second later. Each component has the covariance function s² (1 + λ|t|) exp(−λ|t|) (Hartikainen and
    Särkkä 2010, eq. 12 with ν = 3/2).

    Args:
        standard_deviation: s of every component, in the unit of the error.
        rate: λ in 1/s of every component; the error is forgotten within a few 1/λ.

    Raises:
        ValueError: if a standard deviation is negative or a rate not positive.
    """

    standard_deviation: Float[Array, " d"] = eqx.field(converter=as_float)
    rate: Float[Array, " d"] = eqx.field(converter=as_float)

    def __check_init__(self) -> None:
        """Check the signs of the parameters."""
        check_not_negative(self, "standard_deviation")
        check_positive(self, "rate")

    def stationary(self) -> Gaussian:
        """Return the belief about the error when nothing has been seen."""
        variance = self.standard_deviation**2
        diagonal = jnp.concatenate([variance, variance * self.rate**2])
        return Gaussian(jnp.zeros_like(diagonal), jnp.diag(diagonal))

    def linear(self, u: Any = None, dt: Any = 1.0) -> LinearGaussian:
        """Return the matrices for a duration of `dt` seconds."""
        rate, size = self.rate, self.rate.shape[0]
        kept = jnp.exp(-rate * dt)
        # exp(A dt) for the companion form of (d/dt + λ)², one 2 × 2 block per component.
        block = kept * jnp.stack([1 + rate * dt, jnp.full(size, dt), -(rate**2) * dt, 1 - rate * dt])
        matrix = jnp.concatenate(
            [jnp.concatenate([jnp.diag(block[0]), jnp.diag(block[1])], axis=1),
             jnp.concatenate([jnp.diag(block[2]), jnp.diag(block[3])], axis=1)]
        )  # fmt: skip
        # ∫ of the noise over dt: what is gone of the stationary covariance. The first entry starts with
        # (λt)³ and would lose all digits as a difference of larger numbers; hence the series for short
        # durations.
        t, variance = rate * dt, self.standard_deviation**2
        gone, left = -jnp.expm1(-2 * t), kept**2
        series = left * t**3 * (4 / 3 + t * (2 / 3 + t * (4 / 15 + t * 4 / 45)))
        here = variance * jnp.where(t < 0.05, series, gone - left * (2 * t + 2 * t**2))
        between = variance * rate * left * 2 * t**2
        there = variance * rate**2 * (gone + left * (2 * t - 2 * t**2))
        covariance = jnp.concatenate(
            [jnp.concatenate([jnp.diag(here), jnp.diag(between)], axis=1),
             jnp.concatenate([jnp.diag(between), jnp.diag(there)], axis=1)]
        )  # fmt: skip
        return LinearGaussian(matrix, covariance)

    def __call__(self, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0) -> Gaussian:
        """Return the belief about the error after `dt` seconds."""
        model = self.linear(u, dt)
        return Gaussian(model.apply(x), model.covariance)
