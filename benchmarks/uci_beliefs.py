"""What the beliefs of the UCI benchmark predict, and how good that is.

Predictions leave JAX as means and variances of mixtures of normal distributions, so that scores for many
factors cost no more programs to compile.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp, ndtr

from benchmarks.uci_networks import DROPOUT, Method, Problem, Trained
from foresee.beliefs.belief import Points
from foresee.posteriors.diagonal import StackedCurvature
from foresee.posteriors.dropout import dropout
from foresee.posteriors.l2m import l2m_curvature, second_moments
from foresee.posteriors.laplace import curvature_of, posterior
from foresee.posteriors.likelihood import HeteroscedasticLikelihood, call
from foresee.posteriors.predict import predict
from foresee.posteriors.tuning import tune_by_validation

PASSES = 50  # of dropout
TUNING = 500  # rows held back that the prior precision is chosen by, at most


@dataclass(frozen=True)
class Predicted:
    """Mixtures of normal distributions, shape (splits, rows, n), and what came true, shape (splits, rows).

    Attributes:
        means: of the components, in units of the data.
        variances: of the components.
        y: the true number.
    """

    means: np.ndarray
    variances: np.ndarray
    y: np.ndarray

    def first(self) -> "Predicted":
        """Return what the first component says by itself."""
        return Predicted(self.means[..., :1], self.variances[..., :1], self.y)

    def scores(self, factors: Any = 1.0) -> dict[str, np.ndarray]:
        """Return negative log density, error and coverage of 90 %, one number of each for every split.

        Args:
            factors: what standard deviations are multiplied by, one number or one for every split.
        """
        wide = np.sqrt(self.variances) * np.reshape(factors, (-1, 1, 1))
        z = (self.y[..., None] - self.means) / wide
        count = self.means.shape[-1]
        densities = logsumexp(-0.5 * z**2 - np.log(wide), axis=-1) - np.log(count * np.sqrt(2 * np.pi))
        errors = np.mean(self.means, axis=-1) - self.y
        # Within the middle 90 % of probability is the same as between two quantiles, without a search.
        inside = np.abs(np.mean(ndtr(z), axis=-1) - 0.5) <= 0.45
        return {
            "nll": -np.mean(densities, axis=1),
            "rmse": np.sqrt(np.mean(errors**2, axis=1)),
            "coverage": np.mean(inside, axis=1),
        }


@functools.cache
def predictor(drops: bool) -> Callable[..., Any]:
    """Return the function that predicts by beliefs of all splits for rows of their own."""

    def one_split(models, x):
        arrays, rest = eqx.partition(models, eqx.is_array)
        first = eqx.combine(jax.tree.map(lambda leaf: leaf[0], arrays), rest)
        belief = dropout(first) if drops else Points(models)
        return _moments(belief, first.likelihood(), x)

    return eqx.filter_jit(eqx.filter_vmap(one_split))


def predicted(problem: Problem, method: Method, networks: Trained, rows: np.ndarray, room: int) -> Predicted:
    """Return what ensembles, single networks or dropout say of rows.

    Args:
        problem: the set.
        method: what the belief is made of.
        networks: trained.
        rows: rows of every split.
        room: how many rows are worked on, so that rows held back and test rows take one program.
    """
    filled = np.resize(rows.T, (max(room, rows.shape[1]), len(rows))).T
    x = jnp.asarray(problem.x[filled], jnp.float32)
    means, variances = predictor(method is DROPOUT)(jax.tree.map(_device, networks.models), x)
    count = rows.shape[1]
    means, variances = (np.asarray(part, np.float64)[:, :count] for part in (means, variances))
    return Predicted(means, variances, problem.y[rows, 0])


def doubted(
    problem: Problem, kind: str, trial: Trained, models: Trained, held: np.ndarray
) -> tuple[Predicted, Predicted, np.ndarray]:
    """Return what posteriors around trained networks say of rows held back and of test rows.

    The prior precision, and for L2M the scale of the curvature, are those with which the trial loses least on
    rows held back; the networks that have seen all training rows take them over. All is done between the
    networks' own scales, where outputs are linear in the last layer.

    Args:
        problem: the set.
        kind: "l2m" or "laplace".
        trial: networks that have not seen the rows held back.
        models: networks that have.
        held: rows held back of every split.

    Returns:
        Predictions of the trial and of the models, and the chosen precision and scale, shape (splits, 2).
    """
    # One program for the trial and one for the models: two batches of eigenvalue decompositions in one
    # program wait for each other without end where XLA has two threads.
    least = jnp.asarray(models.least)
    *first, chosen = _tuning(kind)(_side(problem, trial, held), least, trial.batch)
    second = _applying(kind)(_side(problem, models, problem.test), least, models.batch, chosen)
    both = (first, second)
    found = []
    for (means, variances), networks, rows in zip(both, (trial, models), (held, problem.test), strict=True):
        scales = networks.models.network.scales.value
        centre, width = (
            np.asarray(part, np.float64)[:, :1] for part in (scales.targets, scales.target_deviations)
        )
        found.append(Predicted(centre + width * means, width**2 * variances, problem.y[rows, 0]))
    return *found, np.asarray(chosen)


def _side(problem: Problem, networks: Trained, rows: np.ndarray) -> dict[str, Any]:
    """Return networks, the rows they were trained on and the rows to predict, standardised."""
    scales = jax.tree.map(
        lambda leaf: leaf[:, 0, None].astype(np.float64), networks.models.network.scales.value
    )

    def standard(chosen):
        x = (problem.x[chosen] - scales.inputs) / scales.input_deviations
        y = (problem.y[chosen] - scales.targets) / scales.target_deviations
        return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)

    models, states = jax.tree.map(_device, (networks.models, networks.states))
    return {"models": models, "states": states, "seen": standard(networks.seen), "rows": standard(rows)}


@functools.cache
def _tuning(kind: str) -> Callable[..., Any]:
    """Return the function that tunes and predicts by the same rows, for all splits."""

    def one_split(side, least, batch):
        likelihood = HeteroscedasticLikelihood(least)
        prepare, spread, belief = KINDS[kind](side, likelihood, batch)
        kept = jax.tree.map(lambda leaf: leaf[:TUNING], side["rows"])
        scales = {} if kind == "l2m" else {"scales": [1.0]}
        tuned = tune_by_validation(prepare, spread, likelihood, kept, **scales)
        means, variances = _moments(belief(tuned.prior_precision, tuned.scale), likelihood, side["rows"][0])
        return means, variances, jnp.stack([tuned.prior_precision, tuned.scale])

    return eqx.filter_jit(eqx.filter_vmap(one_split, in_axes=(eqx.if_array(0), 0, None)))


@functools.cache
def _applying(kind: str) -> Callable[..., Any]:
    """Return the function that predicts with what `_tuning` has chosen, for all splits."""

    def one_split(side, least, batch, chosen):
        likelihood = HeteroscedasticLikelihood(least)
        belief = KINDS[kind](side, likelihood, batch)[-1]
        return _moments(belief(chosen[0], chosen[1]), likelihood, side["rows"][0])

    return eqx.filter_jit(eqx.filter_vmap(one_split, in_axes=(eqx.if_array(0), 0, None, 0)))


def _l2m(side: dict[str, Any], likelihood: Any, batch: int) -> tuple[Callable, Callable, Callable]:
    rows = len(side["seen"][1])

    def one(model, state):
        moments = second_moments(state, model)
        inner = eqx.tree_at(lambda found: found.values, moments, moments.values.network.network)
        return l2m_curvature(model.network.network, inner, rows, batch_size=batch)

    curvatures = StackedCurvature(eqx.filter_vmap(one)(side["models"], side["states"]))
    return curvatures.prepare, curvatures.spread, curvatures.belief


def _laplace(side: dict[str, Any], likelihood: Any, batch: int) -> tuple[Callable, Callable, Callable]:
    arrays, rest = eqx.partition(side["models"].network.network, eqx.is_array)
    network = eqx.combine(jax.tree.map(lambda leaf: leaf[0], arrays), rest)
    curvature = curvature_of(network, likelihood, side["seen"], structure="last_full")

    def belief(prior_precision, scale):
        return posterior(curvature, prior_precision)

    def spread(x, prior_precision, scale):
        return belief(prior_precision, scale).outputs(x).covariance

    return lambda x: (call(curvature.network, x), x), spread, belief


KINDS = {"l2m": _l2m, "laplace": _laplace}


def _moments(belief: Any, likelihood: Any, x: Any) -> tuple[Any, Any]:
    """Return means and variances of what a belief says of rows."""

    def one(x):
        found = predict(belief, likelihood, x, key=jax.random.key(0), n=PASSES)
        return found.means[:, 0], (found.noise + found.doubt)[:, 0]

    return jax.lax.map(one, x, batch_size=min(len(x), 512))


def _device(leaf: Any) -> Any:
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf
