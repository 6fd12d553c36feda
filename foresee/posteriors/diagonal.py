"""A network and the curvature of its loss in every weight by itself: what a diagonal posterior is made of."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from foresee.beliefs.gaussian import DiagonalGaussian
from foresee.errors import PosteriorError
from foresee.posteriors.jacobian import Jacobian, jacobian
from foresee.posteriors.likelihood import AbstractLikelihood
from foresee.posteriors.network import WeightBelief, WeightMixture
from foresee.posteriors.tuning import PRIOR_PRECISIONS, SCALES, Tuned, tune_by_evidence, tune_by_validation


class DiagonalCurvature(eqx.Module):
    """A trained network with the diagonal of its loss's curvature, short of nothing but the prior.

    The posterior is N(θ̂, diag 1 / (scale · h + λ)).

    Args:
        network: the trained network.
        weights: θ̂: the weights in doubt, None in all other places of the network.
        curvature: h, summed over all rows: a pytree like the weights.
    """

    network: PyTree
    weights: PyTree
    curvature: PyTree

    def belief(self, prior_precision: Any, scale: Any = 1.0) -> WeightBelief:
        """Return the belief about the network under this prior.

        Args:
            prior_precision: λ, the inverse variance of every weight before the data.
            scale: what the curvature is multiplied with.

        Raises:
            PosteriorError: if a precision is not positive: without a prior, no belief is possible about a
                weight in which the loss is flat.
        """
        precisions = self.precisions(prior_precision, scale)
        flat = [leaf for leaf in jax.tree.leaves(precisions) if not isinstance(leaf, Tracer)]
        failed = sum(int(np.sum(~(np.asarray(leaf) > 0))) for leaf in flat)
        if failed:
            raise PosteriorError(
                f"diagonal posterior: expected positive precisions, got {failed} of "
                f"{sum(leaf.size for leaf in flat)} that are not, with prior_precision={prior_precision} and "
                f"scale={scale}; weights without curvature need a prior_precision above zero"
            )
        variances = jax.tree.map(jnp.reciprocal, precisions)
        return WeightBelief(DiagonalGaussian(self.weights, variances), self.network)

    def precisions(self, prior_precision: Any, scale: Any = 1.0) -> PyTree:
        """Return scale · h + λ."""
        return jax.tree.map(lambda leaf: scale * leaf + prior_precision, self.curvature)

    def zeros(self) -> Float[Array, ""]:
        """Return the share of weights in which the loss is exactly flat; only the prior speaks of them."""
        leaves = jax.tree.leaves(self.curvature)
        return jnp.mean(jnp.concatenate([jnp.ravel(leaf == 0) for leaf in leaves]))

    def prepare(self, x: Any) -> tuple[Float[Array, " m"], Jacobian]:
        """Return the outputs at ONE input and their Jacobian, as `tune_by_validation` asks for them."""
        unit = DiagonalGaussian(self.weights, 1.0)
        found = jacobian(WeightBelief(unit, self.network).network, self.weights, x)
        return found.outputs, found

    def spread(self, parts: Jacobian, prior_precision: Any, scale: Any) -> Float[Array, "m m"]:
        """Return the covariance of the outputs."""
        return parts.covariance(jax.tree.map(jnp.reciprocal, self.precisions(prior_precision, scale)))

    def tune(
        self,
        likelihood: AbstractLikelihood | None = None,
        validation: tuple[PyTree, Array] | None = None,
        *,
        prior_precision: Any = None,
        scale: Any = None,
    ) -> Tuned:
        """Return the prior precision and scale: by validation where there are rows for it, else by evidence.

        Args:
            likelihood: what the outputs mean; by evidence it is not needed.
            validation: inputs and targets that were not trained on, some hundred to two thousand rows.
            prior_precision: fixes the prior precision.
            scale: fixes the scale; the evidence cannot find it, so it is 1 there unless named.

        Raises:
            PosteriorError: if there are validation rows but no likelihood.
        """
        return _tuned(self, self.curvature, self.weights, likelihood, validation, prior_precision, scale)


class StackedCurvature(eqx.Module):
    """The curvatures of many networks of one kind, to be tuned together as one mixture.

    Args:
        members: the curvatures, stacked: every array has a leading axis of k.
    """

    members: DiagonalCurvature

    def belief(self, prior_precision: Any, scale: Any = 1.0) -> WeightMixture:
        """Return the mixture of the members' beliefs under one prior; see `DiagonalCurvature.belief`."""
        if not isinstance(prior_precision, Tracer) and not isinstance(scale, Tracer):
            self.members.belief(prior_precision, scale)  # looks at the precisions while they can be seen
        return WeightMixture(eqx.filter_vmap(lambda one: one.belief(prior_precision, scale))(self.members))

    def prepare(self, x: Any) -> tuple[Float[Array, "k m"], Jacobian]:
        """Return the members' outputs at ONE input and their Jacobians."""
        return eqx.filter_vmap(lambda one: one.prepare(x))(self.members)

    def spread(self, parts: Jacobian, prior_precision: Any, scale: Any) -> Float[Array, "k m m"]:
        """Return the covariances of the members' outputs."""
        return eqx.filter_vmap(lambda one, own: one.spread(own, prior_precision, scale))(self.members, parts)

    def tune(
        self,
        likelihood: AbstractLikelihood | None = None,
        validation: tuple[PyTree, Array] | None = None,
        *,
        prior_precision: Any = None,
        scale: Any = None,
    ) -> Tuned:
        """Return one prior precision and scale for all members, judged by the mixture's predictions.

        By evidence it is the sum over members that is greatest. Members tuned each by itself and then mixed
        would doubt too much, because what they disagree about would count twice.

        Args:
            likelihood: as in `DiagonalCurvature.tune`.
            validation: as in `DiagonalCurvature.tune`.
            prior_precision: as in `DiagonalCurvature.tune`.
            scale: as in `DiagonalCurvature.tune`.

        Raises:
            PosteriorError: as in `DiagonalCurvature.tune`.
        """
        own = self.members
        return _tuned(self, own.curvature, own.weights, likelihood, validation, prior_precision, scale)


def _tuned(
    owner: DiagonalCurvature | StackedCurvature,
    curvature: PyTree,
    weights: PyTree,
    likelihood: AbstractLikelihood | None,
    validation: tuple[PyTree, Array] | None,
    prior_precision: Any,
    scale: Any,
) -> Tuned:
    """Choose by validation, by evidence, or not at all."""
    if validation is None and prior_precision is None:
        return tune_by_evidence(curvature, weights, 1.0 if scale is None else scale)
    if validation is None:
        none = jnp.zeros(0)
        named = jnp.asarray(prior_precision, float), jnp.asarray(1.0 if scale is None else scale, float)
        return Tuned(named[0], named[1], jnp.asarray(jnp.nan), none, none, none)
    if likelihood is None:
        raise PosteriorError("tuning: expected a likelihood to judge validation rows by, got none")
    return tune_by_validation(
        owner.prepare,
        owner.spread,
        likelihood,
        validation,
        prior_precisions=PRIOR_PRECISIONS if prior_precision is None else [prior_precision],
        scales=SCALES if scale is None else [scale],
    )
