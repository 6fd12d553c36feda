"""The Kalman filter for linear motion and linear sensors."""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from foresee import linalg
from foresee.beliefs.belief import AbstractConditional, AbstractFilter
from foresee.beliefs.conditioning import Seen, condition
from foresee.beliefs.gaussian import Gaussian
from foresee.dynamics.linear import AbstractLinear, LinearGaussian


def _matrices(model: AbstractConditional, u: Any, dt: Any, wanted_by: str) -> LinearGaussian:
    if not isinstance(model, AbstractLinear):
        raise ValueError(
            f"{wanted_by} expected a linear model, got {type(model).__name__}; use ExtendedKalmanFilter or "
            "UnscentedKalmanFilter for this one"
        )
    return model.linear(u, dt)


class KalmanFilter(AbstractFilter):
    """Exact Bayesian filtering of Gaussian beliefs (Kalman 1960; Särkkä 2013, theorem 4.2)."""

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
        model = _matrices(motion, u, dt, "KalmanFilter.predict")
        covariance = linalg.sandwich(model.matrix, belief.covariance)
        if model.covariance.ndim == 1:
            covariance = linalg.add_diagonal(covariance, model.covariance)
        else:
            covariance = covariance + model.covariance
        location = linalg.wrap_components(model.apply(belief.vector()), model.circular)
        return Gaussian(location, covariance, model.circular)

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
        model = _matrices(sensor, u, 0.0, "KalmanFilter.update")
        innovation = linalg.wrap_components(y - model.apply(belief.vector()), model.circular)
        return condition(belief, model.matrix, model.covariance, innovation, seen)
