"""The interacting multiple model filter: several motions, and switches from one to another at any time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from foresee import linalg
from foresee.beliefs.belief import AbstractBelief, AbstractConditional, AbstractFilter
from foresee.beliefs.conditioning import Seen
from foresee.beliefs.gaussian import Gaussian, as_float
from foresee.beliefs.mixture import Mixture, stack
from foresee.errors import ForeseeError, ShapeError


def _optional_float(value: Any) -> Array | None:
    return None if value is None else as_float(value)


class InteractingMultipleModel(AbstractFilter):
    """Filtering with K motions between which the truth switches as a Markov chain (Blom and Bar-Shalom 1988).

    The belief is a `Mixture` of one Gaussian per mode, whose weights are the probabilities of the modes.
    Motions are given as a tuple of K conditionals over the same state, in place of one motion. Where the
    modes differ in what is observed as well, a tuple of K sensors takes the place of one sensor.

    Args:
        filter: what moves and corrects the Gaussian of one mode: Kalman, extended or unscented.
        transition: probabilities of going from mode i (row) to mode j (column) between two rows, whatever
            their distance in time. Rows are normalised, so that learning by gradient keeps them
            probabilities.
        rates: instead of `transition`, switches per second from mode i to mode j, which makes the
            probabilities right for every duration. The diagonal is not used.

    Raises:
        ShapeError: if the matrix is not square.
        ForeseeError: unless exactly one of the two is given and it holds probabilities, or rates.
    """

    filter: AbstractFilter
    transition: Float[Array, "K K"] | None = eqx.field(converter=_optional_float, default=None)
    rates: Float[Array, "K K"] | None = eqx.field(converter=_optional_float, default=None)
    together: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        """Check the matrix."""
        if (self.transition is None) == (self.rates is None):
            raise ForeseeError("InteractingMultipleModel: expected either transition or rates")
        matrix = self.rates if self.transition is None else self.transition
        if matrix is None or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            got = None if matrix is None else matrix.shape
            raise ShapeError(f"InteractingMultipleModel: expected a square matrix, got {got}")
        if isinstance(matrix, Tracer):
            return
        values = np.asarray(matrix, float)
        if self.transition is None:
            values = values - np.diag(np.diag(values))
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ForeseeError(f"InteractingMultipleModel: expected finite numbers ≥ 0, got {values}")
        if self.rates is None and np.abs(values.sum(axis=1) - 1).max() > 1e-4:
            raise ForeseeError(f"InteractingMultipleModel: expected rows that sum to 1, got {values}")

    @property
    def modes(self) -> int:
        """Number of modes."""
        matrix = self.rates if self.transition is None else self.transition
        return 0 if matrix is None else matrix.shape[0]

    def begin(self, prior: AbstractBelief, weights: Float[Array, " K"] | None = None) -> Mixture:
        """Return a prior as this filter needs it: a Gaussian is taken for every mode.

        Args:
            prior: a Gaussian; or a mixture with one component per mode.
            weights: probabilities of the modes at the start; None for equal ones, or those of the mixture.

        Raises:
            ShapeError: if the mixture does not have one component per mode.
        """
        if not isinstance(prior, Mixture):
            prior = Mixture(jax.tree.map(lambda leaf: jnp.stack([leaf] * self.modes), prior))
        if prior.log_weights.shape != (self.modes,):
            raise ShapeError(
                f"InteractingMultipleModel: expected a prior of {self.modes} components, "
                f"got {prior.log_weights.shape}"
            )
        log_weights = jax.nn.log_softmax(prior.log_weights) if weights is None else jnp.log(as_float(weights))
        return Mixture(prior.components, log_weights.astype(jax.tree.leaves(prior.components)[0].dtype))

    def transition_over(self, dt: Any = 1.0) -> Float[Array, "K K"]:
        """Return the probabilities of going from mode i to mode j within one row of `dt` seconds."""
        if self.rates is None:
            if self.transition is None:
                raise ForeseeError("InteractingMultipleModel: expected either transition or rates")
            return self.transition / jnp.sum(self.transition, axis=1, keepdims=True)
        rates = self.rates * (1 - jnp.eye(self.modes, dtype=self.rates.dtype))
        if self.modes == 2:
            # exp(G t) in closed form: the distance from equilibrium decays with the sum of the two rates.
            total = rates[0, 1] + rates[1, 0]
            # −expm1(−total t) / total, which is t for a total of zero.
            positive = total > 0
            reach = jnp.where(positive, -jnp.expm1(-total * dt) / jnp.where(positive, total, 1.0), dt)
            leave = reach * jnp.stack([rates[0, 1], rates[1, 0]])
            return jnp.stack([jnp.stack([1 - leave[0], leave[0]]), jnp.stack([leave[1], 1 - leave[1]])])
        return jax.scipy.linalg.expm((rates - jnp.diag(jnp.sum(rates, axis=1))) * dt)

    def mix(
        self, belief: Mixture, transition: Float[Array, "K K"]
    ) -> tuple[list[Gaussian], Float[Array, " K"]]:
        """Return the belief given each next mode, and the probabilities of the next modes.

        Bar-Shalom, Li and Kirubarajan 2001, eqs. 11.6.6-7 to -12.
        """
        locations, covariances, circular = gaussians(belief)
        joint = belief.weights()[:, None] * transition.astype(belief.log_weights.dtype)
        following = jnp.sum(joint, axis=0)
        reached = following > 0
        # A mode that cannot be reached keeps its own belief, with weight zero.
        shares = jnp.where(
            reached, joint / jnp.where(reached, following, 1.0), jnp.eye(self.modes, dtype=joint.dtype)
        )
        return [merged(shares[:, j], locations, covariances, circular) for j in range(self.modes)], following

    def predict(
        self,
        belief: Mixture,
        motion: AbstractConditional | tuple[AbstractConditional, ...],
        u: Any = None,
        dt: Any = 1.0,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Mixture:
        """Return the belief after `dt` seconds: mixed over the switches first, then moved in every mode."""
        motions = self.per_mode(motion, "motion")
        mixed, weights = self.mix(belief, self.transition_over(dt))
        if self.together:
            move = jax.vmap(lambda one, model: self.filter.predict(one, model, u, dt))
            moved = move(stack(mixed), _stacked(motions, "motion"))
        else:
            moved = stack(
                [self.filter.predict(one, model, u, dt) for one, model in zip(mixed, motions, strict=True)]
            )
        positive = weights > 0
        log_weights = jnp.where(positive, jnp.log(jnp.where(positive, weights, 1.0)), -jnp.inf)
        return Mixture(moved, log_weights)

    def update(
        self,
        belief: Mixture,
        sensor: AbstractConditional | tuple[AbstractConditional, ...],
        y: Float[Array, " m"],
        seen: Seen = None,
        u: Any = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Mixture, Float[Array, ""]]:
        """Return the belief corrected in every mode, and the log evidence of the mixture."""
        sensors = (
            self.per_mode(sensor, "sensor") if isinstance(sensor, (tuple, list)) else (sensor,) * self.modes
        )
        if self.together:
            correct = jax.vmap(lambda one, model: self.filter.update(one, model, y, seen, u))
            corrected, terms = correct(belief.components, _stacked(sensors, "sensor"))
        else:
            pairs = [
                self.filter.update(belief.component(k), model, y, seen, u) for k, model in enumerate(sensors)
            ]
            corrected, terms = stack([one for one, _ in pairs]), jnp.stack([term for _, term in pairs])
        before = jax.nn.log_softmax(belief.log_weights)
        joint = before + terms
        log_evidence = jax.nn.logsumexp(joint)
        if seen is not None:  # exactly zero, not only up to rounding
            log_evidence = jnp.where(jnp.any(jnp.asarray(seen)), log_evidence, 0.0)
        return Mixture(corrected, joint - log_evidence), log_evidence

    def per_mode(self, models: Any, name: str) -> tuple[AbstractConditional, ...]:
        """Return one model per mode, or raise ShapeError."""
        if not isinstance(models, (tuple, list)) or len(models) != self.modes:
            got = len(models) if isinstance(models, (tuple, list)) else type(models).__name__
            raise ShapeError(
                f"InteractingMultipleModel: expected a tuple of {self.modes} for {name}, got {got}"
            )
        return tuple(models)


def merged(
    weights: Float[Array, " K"],
    locations: Float[Array, "K n"],
    covariances: Float[Array, "K n n"],
    circular: tuple[int, ...],
) -> Gaussian:
    """Return the Gaussian with the moments of a mixture, as `match_moments` does.

    Written out mode by mode instead of as sums over an axis, which takes half the time for a batch of series.
    """
    centre = locations[jnp.argmax(weights)] if circular else jnp.zeros_like(locations[0])
    shifts = [
        linalg.wrap_components(location - centre, circular) if circular else location
        for location in locations
    ]
    shift = sum((weight * one for weight, one in zip(weights, shifts, strict=True)), jnp.zeros_like(centre))
    covariance = jnp.zeros_like(covariances[0])
    for weight, one, spread in zip(weights, shifts, covariances, strict=True):
        apart = one - shift
        covariance = covariance + weight * (spread + apart[:, None] * apart[None, :])
    return Gaussian(linalg.wrap_components(centre + shift, circular), covariance, circular)


def gaussians(belief: Mixture) -> tuple[Float[Array, "K n"], Float[Array, "K n n"], tuple[int, ...]]:
    """Return the means and covariances of a belief's modes, and which components are angles."""
    components = belief.components
    if not isinstance(components, Gaussian):
        raise ForeseeError(
            f"InteractingMultipleModel: expected Gaussian modes, got {type(components).__name__}"
        )
    return jax.vmap(lambda one: one.vector())(components), components.covariance, components.circular


def _stacked(models: tuple[AbstractConditional, ...], name: str) -> AbstractConditional:
    """Return models of one class as one, with a leading axis of modes on every parameter."""
    if len({jax.tree.structure(model) for model in models}) > 1:
        raise ForeseeError(f"InteractingMultipleModel: expected one class for {name} with together=True")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
