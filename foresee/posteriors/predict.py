"""Prediction under any belief about networks. Start with `predict`."""

from functools import partial
from typing import Any, overload

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractBelief, Points
from foresee.beliefs.gaussian import Gaussian
from foresee.beliefs.mixture import Mixture
from foresee.errors import OptionError
from foresee.posteriors.likelihood import (
    AbstractLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
    HeteroscedasticLikelihood,
    call,
)
from foresee.posteriors.prediction import ClassPrediction, NumberPrediction

Prediction = ClassPrediction | NumberPrediction


@overload
def predict(
    belief: AbstractBelief,
    likelihood: CategoricalLikelihood,
    x: Any,
    *,
    key: PRNGKeyArray,
    n: int = 64,
    method: str | None = None,
) -> ClassPrediction: ...


@overload
def predict(
    belief: AbstractBelief,
    likelihood: GaussianLikelihood | HeteroscedasticLikelihood,
    x: Any,
    *,
    key: PRNGKeyArray,
    n: int = 64,
    method: str | None = None,
) -> NumberPrediction: ...


@overload
def predict(
    belief: AbstractBelief,
    likelihood: AbstractLikelihood,
    x: Any,
    *,
    key: PRNGKeyArray,
    n: int = 64,
    method: str | None = None,
) -> Prediction: ...


def predict(
    belief: AbstractBelief,
    likelihood: AbstractLikelihood,
    x: Any,
    *,
    key: PRNGKeyArray,
    n: int = 64,
    method: str | None = None,
) -> Prediction:
    """Return what a belief about networks says of ONE input; `jax.vmap` or `predict_rows` for many.

    Args:
        belief: belief about networks: any posterior of this room, an ensemble, or `certain(network)`.
        likelihood: what the networks' outputs mean.
        x: one input.
        key: source of randomness; a prediction from weighted networks draws nothing.
        n: how many networks, or outputs of the linearised network, are drawn. Weighted networks, as of an
            ensemble, are all used.
        method: "linear" linearises the network in its weights, "samples" draws weights. None: linear where
            the belief has a covariance, which is what a Laplace approximation is meant for.

    Raises:
        OptionError: if the method is none of these, or does not fit the belief.
    """
    if method not in (None, "linear", "samples"):
        raise OptionError(f"predict: expected method 'linear' or 'samples', got {method!r}")
    if hasattr(belief, "outputs") and method != "samples":
        return from_outputs(belief.outputs(x), likelihood, n, key=key)  # pyright: ignore
    if method == "linear":
        raise OptionError(
            f"predict: expected a belief about weights with a covariance, got {type(belief).__name__}"
        )
    networks = belief if isinstance(belief, Points) else belief.points(n, key=key)
    return from_members(networks.push(lambda network: call(network, x)), likelihood)


@eqx.filter_jit
def predict_rows(
    belief: AbstractBelief,
    likelihood: AbstractLikelihood,
    rows: PyTree,
    *,
    key: PRNGKeyArray,
    n: int = 64,
    method: str | None = None,
    at_once: int = 256,
) -> Prediction:
    """Return the predictions for many inputs, stacked, a few hundred at a time so that memory suffices.

    Networks are drawn once for all rows.

    Args:
        belief: as in `predict`.
        likelihood: as in `predict`.
        rows: inputs with one leading axis.
        key: as in `predict`.
        n: as in `predict`.
        method: as in `predict`.
        at_once: how many rows are worked on together.
    """
    if not isinstance(belief, Points) and (method == "samples" or not hasattr(belief, "outputs")):
        belief = belief.points(n, key=key)
    one = partial(predict, belief, likelihood, key=key, n=n, method=method)
    return jax.lax.map(one, rows, batch_size=at_once)


def certain(network: PyTree) -> Points:
    """Return the belief that this network is the right one, to predict by it as by any other."""
    arrays, rest = eqx.partition(eqx.nn.inference_mode(network), eqx.is_array)
    return Points(eqx.combine(jax.tree.map(lambda leaf: leaf[None], arrays), rest))


def from_members(outputs: Points, likelihood: AbstractLikelihood) -> Prediction:
    """Return the prediction of weighted networks by their outputs.

    Raises:
        OptionError: if the likelihood is none of those of this room.
    """
    values, log_weights = outputs.values, outputs.log_weights
    if isinstance(likelihood, CategoricalLikelihood):
        return ClassPrediction(values, log_weights)
    if isinstance(likelihood, GaussianLikelihood | HeteroscedasticLikelihood):
        means, noise = jax.vmap(likelihood.moments)(values)
        return NumberPrediction(means, noise, jnp.zeros_like(noise), log_weights)
    raise OptionError(f"predict: expected a likelihood of foresee, got {type(likelihood).__name__}")


def from_outputs(
    outputs: Gaussian | Mixture, likelihood: AbstractLikelihood, n: int, *, key: PRNGKeyArray
) -> Prediction:
    """Return the prediction of a Gaussian belief about the outputs, or of a mixture of such beliefs.

    Means of numbers are exact; logits are drawn, in antithetic pairs. Of a heteroscedastic network the doubt
    about the noise's size is drawn too. The components of a mixture share the draws evenly.
    """
    if isinstance(outputs, Mixture):
        return _from_mixture(outputs, likelihood, n, key=key)
    if isinstance(likelihood, GaussianLikelihood):
        mean, noise = likelihood.moments(outputs.mean())
        doubt = jnp.diagonal(outputs.covariance)
        return NumberPrediction(mean[None], noise[None], doubt[None], jnp.zeros(1, doubt.dtype))
    return from_members(outputs.points(n, key=key), likelihood)


def _from_mixture(
    outputs: Mixture, likelihood: AbstractLikelihood, n: int, *, key: PRNGKeyArray
) -> Prediction:
    """Return one prediction that joins those of all components."""
    k = outputs.log_weights.shape[0]
    share = max(2, -(-n // k))

    def own(component, sub):
        return from_outputs(component, likelihood, share, key=sub)

    each = eqx.filter_vmap(own)(outputs.components, jax.random.split(key, k))
    shares = jax.nn.log_softmax(outputs.log_weights)[:, None] + jax.nn.log_softmax(each.log_weights)
    weighted = eqx.tree_at(lambda one: one.log_weights, each, shares)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), weighted)
