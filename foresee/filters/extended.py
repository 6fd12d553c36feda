"""The extended Kalman filter: differentiable models, linearised by automatic differentiation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee import linalg
from foresee.beliefs.belief import AbstractConditional, AbstractFilter
from foresee.beliefs.conditioning import Seen, condition
from foresee.beliefs.gaussian import DiagonalGaussian, Gaussian


def linearize(
    model: AbstractConditional, x: Float[Array, " n"], u: Any = None, dt: Any = 1.0
) -> tuple[Gaussian | DiagonalGaussian, Float[Array, "m n"]]:
    """Return the belief p(y | x) at x and the Jacobian of its mean."""

    def mean(point: Float[Array, " n"]) -> tuple[Array, Any]:
        outcome: Any = model(point, u, dt)
        return outcome.vector(), outcome

    jacobian, outcome = jax.jacfwd(mean, has_aux=True)(x)
    return outcome, jacobian


class ExtendedKalmanFilter(AbstractFilter):
    """Gaussian filtering with first-order linearisation (Särkkä 2013, algorithm 5.4).

    Args:
        iterations: how often the sensor is linearised again around the corrected mean; 1 is the plain
            filter, more is the iterated filter of Gauss-Newton type (Bell and Cathey 1993), better where
            noise is small and the sensor is curved.
    """

    iterations: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        """Check the number of iterations."""
        if self.iterations < 1:
            raise ValueError(f"ExtendedKalmanFilter: expected iterations ≥ 1, got {self.iterations}")

    def predict(
        self,
        belief: Gaussian,
        motion: AbstractConditional,
        u: Any = None,
        dt: Any = 1.0,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Gaussian:
        """Return the belief after `dt` seconds."""
        outcome, jacobian = linearize(motion, belief.vector(), u, dt)
        covariance = linalg.sandwich(jacobian, belief.covariance)
        if isinstance(outcome, DiagonalGaussian):
            covariance = linalg.add_diagonal(covariance, outcome.variances())
        else:
            covariance = covariance + outcome.covariance
        return Gaussian(
            linalg.wrap_components(outcome.vector(), outcome.circular), covariance, outcome.circular
        )

    def update(
        self,
        belief: Gaussian,
        sensor: AbstractConditional,
        y: Float[Array, " m"],
        seen: Seen = None,
        u: Any = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Gaussian, Float[Array, ""]]:
        """Return the belief corrected by the seen components of `y`, and their log evidence."""
        prior = belief.vector()
        point = prior
        corrected, log_evidence = belief, jnp.zeros((), belief.covariance.dtype)
        for _ in range(self.iterations):
            outcome, jacobian = linearize(sensor, point, u)
            # Seen from the prior mean, the linearisation around `point` predicts h(point) + H (prior −
            # point).
            lead = linalg.matvec(jacobian, linalg.wrap_components(prior - point, belief.circular))
            innovation = linalg.wrap_components(outcome.residual(y) - lead, outcome.circular)
            noise = outcome.variances() if isinstance(outcome, DiagonalGaussian) else outcome.covariance
            corrected, log_evidence = condition(belief, jacobian, noise, innovation, seen)
            point = corrected.vector()
        return corrected, log_evidence
