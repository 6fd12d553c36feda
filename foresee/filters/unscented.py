"""The unscented Kalman filter: any motion and sensor with Gaussian outcomes, seen at a few chosen points."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee import linalg
from foresee.beliefs.belief import AbstractConditional, AbstractFilter
from foresee.beliefs.conditioning import Seen, seen_components
from foresee.beliefs.gaussian import LOG_TWO_PI, DiagonalGaussian, Gaussian


class Transformed(NamedTuple):
    """A Gaussian belief over x seen through a conditional p(y | x), with x = mean + L ξ and ξ ~ N(0, I).

    Attributes:
        location: mean of y.
        factor: L, the Cholesky factor of the covariance of x.
        slope: D, one row per component of ξ, so that L D is the covariance between x and y and Dᵀ D the
            linear part of the covariance of y.
        noise: the rest of the covariance of y: average noise, and what the curvature of the conditional adds.
        circular: components of y that are angles.
    """

    location: Float[Array, " m"]
    factor: Float[Array, "n n"]
    slope: Float[Array, "n m"]
    noise: Float[Array, "m m"]
    circular: tuple[int, ...]


class UnscentedKalmanFilter(AbstractFilter):
    """Gaussian filtering with 2n + 1 sigma points (Julier and Uhlmann 1997; Särkkä 2013, algorithm 5.14).

    With λ = α² (n + κ) − n the points are the mean and, along every column of the Cholesky factor, the mean ±
    √(n + λ) columns. The sums over points with their weights are written here as first and second central
    differences around the central point. This is the same in exact arithmetic, but has no large weights of
    opposite sign, so float32 loses less; it wraps angles in means and residuals by wrapping the differences;
    and the covariance cannot become indefinite as long as β ≥ α² (with the default α and κ, as long as β ≥
    0).

    Noise may depend on the state: its average over the points is used.

    Args:
        alpha: spread of the points. The customary 10⁻³ is for float64 only: second differences lose α² in
            precision.
        beta: weight of the centre in covariances; 2 allows for a Gaussian's fourth moment.
        kappa: second parameter of the spread. With α = 1, κ = 0 and β = 0 this is the cubature filter
            (Arasaratnam and Haykin 2009).

    Raises:
        ValueError: if α is not positive.
    """

    alpha: float = eqx.field(static=True, default=1.0)
    beta: float = eqx.field(static=True, default=2.0)
    kappa: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        """Check the spread."""
        if not self.alpha > 0:
            raise ValueError(f"UnscentedKalmanFilter: expected alpha > 0, got {self.alpha}")

    def transform(
        self, belief: Gaussian, model: AbstractConditional, u: Any = None, dt: Any = 1.0
    ) -> Transformed:
        """Return the first two moments of y for x drawn from a belief.

        Särkkä 2013, algorithm 5.12, in differences: with d and e the odd and even parts of the change along a
        column and c² = n + λ, the mean is y₀ + Σ e / c², and the covariance is Σ d dᵀ / c² + Σ e eᵀ / c² +
        (β − α²) δ δᵀ with δ = Σ e / c², plus the average noise.
        """
        centre, n = belief.vector(), belief.covariance.shape[0]
        square = self.alpha**2 * (n + self.kappa)
        if not square > 0:
            raise ValueError(f"UnscentedKalmanFilter: expected kappa > {-n} for {n} states, got {self.kappa}")
        factor = linalg.cholesky(belief.covariance)
        steps = square**0.5 * factor.T

        def outcome_at(x: Float[Array, " n"]) -> tuple[Array, Array, Any]:
            outcome: Any = model(x, u, dt)
            return outcome.vector(), _noise(outcome), outcome

        points = jnp.concatenate([centre[None], centre + steps, centre - steps])
        values, noises, outcomes = jax.vmap(outcome_at)(points)
        circular = outcomes.circular
        change = values[1:] - values[0]
        if circular:
            change = jax.vmap(lambda row: linalg.wrap_components(row, circular))(change)
        odd = (0.5 / square**0.5) * (change[:n] - change[n:])
        even = (0.5 / square**0.5) * (change[:n] + change[n:])
        shift = jnp.sum(even, axis=0) / square**0.5
        noise = noises[0] + jnp.sum(noises[1:] - noises[0], axis=0) * (0.5 / square)
        if noise.ndim == 1:
            noise = jnp.diag(noise)
        noise = noise + linalg.matmul(even.T, even) + (self.beta - self.alpha**2) * shift[:, None] * shift
        location = linalg.wrap_components(values[0] + shift, circular)
        return Transformed(location, factor, odd, noise, circular)

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
        moved = self.transform(belief, motion, u, dt)
        covariance = linalg.matmul(moved.slope.T, moved.slope) + moved.noise
        return Gaussian(moved.location, covariance, moved.circular)

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
        """Return the belief corrected by the seen components of `y`, and their log evidence.

        The covariance is in Joseph's form, M Mᵀ + G N Gᵀ with M = L − G Dᵀ, which stays positive
        semi-definite.
        """
        expected = self.transform(belief, sensor, u)
        slope, noise, size = expected.slope, expected.noise, y.shape[0]
        flags = seen_components(seen, size)
        innovation = linalg.wrap_components(y - expected.location, expected.circular)
        count = float(size)
        if flags is not None:
            innovation = jnp.where(flags, innovation, 0.0)
            slope = jnp.where(flags, slope, 0.0)
            noise = linalg.hide_unseen(noise, flags)
            count = jnp.sum(flags).astype(innovation.dtype)
        covariance = linalg.matmul(slope.T, slope) + noise
        root = linalg.cholesky(covariance)
        cross = linalg.matmul(expected.factor, slope)
        gain = linalg.solve_upper(root, linalg.solve_lower(root, cross.T)).T
        white = linalg.solve_lower(root, innovation)
        rest = expected.factor - linalg.matmul(gain, slope.T)
        covariance = linalg.matmul(rest, rest.T) + linalg.sandwich(gain, noise)
        location = linalg.wrap_components(belief.vector() + linalg.matvec(gain, innovation), belief.circular)
        log_evidence = -0.5 * (count * LOG_TWO_PI + jnp.sum(white**2)) - jnp.sum(jnp.log(jnp.diagonal(root)))
        return Gaussian(location, covariance, belief.circular), log_evidence


def _noise(outcome: Gaussian | DiagonalGaussian) -> Float[Array, " m"] | Float[Array, "m m"]:
    return outcome.variances() if isinstance(outcome, DiagonalGaussian) else outcome.covariance
