"""SWAG: the belief about weights that the path of stochastic gradient descent traces. Start with `swag`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from foresee.beliefs.belief import Points
from foresee.beliefs.gaussian import as_float
from foresee.errors import OptionError, PosteriorError
from foresee.fit import fit
from foresee.posteriors.likelihood import AbstractLikelihood, SupervisedLoss
from foresee.posteriors.network import AbstractWeights, WeightBelief


class SwagWeights(AbstractWeights):
    """A normal distribution with covariance scale/2 · (diag(v) + D Dᵀ / (K − 1)).

    See Maddox et al. (2019), equation 1.

    Args:
        location: pytree of the average weights.
        variance: pytree of the weights' variances v along the path.
        deviations: pytree of the last K deviations D from the running average, stacked along a leading axis.
        scale: factor of the covariance; 1 is what the path says, 0 the average weights alone.
    """

    location: PyTree[Float[Array, "..."]]
    variance: PyTree[Float[Array, "..."]]
    deviations: PyTree[Float[Array, "..."]]
    scale: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)

    def mean(self) -> PyTree:
        """Return the average weights."""
        return self.location

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw weights."""
        leaves, structure = jax.tree.flatten(self.location)
        common, *keys = jax.random.split(key, len(leaves) + 1)
        own = jax.tree.unflatten(structure, keys)
        low = jax.random.normal(common, (self._rank(),))

        def draw(mean, variance, deviations, sub):
            noise = jnp.sqrt(0.5 * variance) * jax.random.normal(sub, mean.shape, mean.dtype)
            shared = jnp.tensordot(low.astype(mean.dtype), deviations, axes=1)
            return mean + jnp.sqrt(self.scale) * (noise + shared / np.sqrt(2 * self._rank() - 2))

        return jax.tree.map(draw, self.location, self.variance, self.deviations, own)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n independent, equally weighted draws."""
        return Points(jax.vmap(lambda sub: self.sample(key=sub))(jax.random.split(key, n)))

    def through(self, jacobian: PyTree) -> Float[Array, "m m"]:
        """Return J Σ Jᵀ."""

        def own(slope, variance):
            flat = slope.reshape(slope.shape[0], -1)
            return (flat * variance.reshape(-1)) @ flat.T

        def along(slope, deviations):
            return slope.reshape(slope.shape[0], -1) @ deviations.reshape(self._rank(), -1).T

        diagonal = sum(jax.tree.leaves(jax.tree.map(own, jacobian, self.variance)))
        low = jnp.asarray(sum(jax.tree.leaves(jax.tree.map(along, jacobian, self.deviations))))
        return 0.5 * self.scale * (diagonal + low @ low.T / (self._rank() - 1))

    def _rank(self) -> int:
        return jax.tree.leaves(self.deviations)[0].shape[0]


class Path(NamedTuple):
    """Where gradient descent has been.

    Attributes:
        steps: steps taken.
        count: iterates recorded.
        average: their average.
        squares: the sum of their squared deviations from the average.
        deviations: the last deviations from the running average; iterate i lies in row i modulo their number.
    """

    steps: Int[Array, ""]
    count: Int[Array, ""]
    average: PyTree
    squares: PyTree
    deviations: PyTree


def record_path(rank: int, every: Any) -> optax.GradientTransformationExtraArgs:
    """Return a transformation that changes no update and keeps the moments of the path.

    It comes last in a chain. Memory is `rank` + 2 times that of the weights, however long the path is.

    Args:
        rank: how many deviations are kept.
        every: steps from one recorded iterate to the next.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        rows = jax.tree.map(lambda leaf: jnp.zeros((rank, *leaf.shape), leaf.dtype), params)
        return Path(jnp.zeros((), int), jnp.zeros((), int), zeros, zeros, rows)

    def update(updates, state, params=None, **_):
        path: Path = state
        steps = path.steps + 1
        due = steps % every == 0
        count = path.count + due
        share = due / jnp.maximum(count, 1)
        row = (count - 1) % rank

        def moved(average, squares, deviations, parameter, step):
            # Welford's form: a difference of mean squares would lose all digits of a small variance.
            new = parameter + step
            shift = new - average
            after = average + share.astype(shift.dtype) * shift
            squares = squares + due * shift * (new - after)
            return after, squares, deviations.at[row].set(jnp.where(due, new - after, deviations[row]))

        trees = (path.average, path.squares, path.deviations, params, updates)
        leaves = [moved(*given) for given in zip(*map(jax.tree.leaves, trees), strict=True)]
        structure = jax.tree.structure(params)
        three = (jax.tree.unflatten(structure, list(column)) for column in zip(*leaves, strict=True))
        return updates, Path(steps, count, *three)

    return optax.GradientTransformationExtraArgs(init, update)


@functools.cache  # a function made anew would be compiled anew
def _descent(rank: int) -> Callable[[Any], optax.GradientTransformation]:
    """Return the function that makes the optimiser of its hyperparameters."""

    def make(given):
        descent = optax.sgd(given["rate"], given["momentum"])
        return optax.chain(descent, record_path(rank, given["every"]))

    return make


def swag(
    network: Any,
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, Any],
    *,
    key: PRNGKeyArray,
    rank: int = 20,
    scale: float | int = 1.0,
    learning_rate: float | int = 0.01,
    momentum: float | int = 0.9,
    epochs: int = 20,
    batch_size: int = 128,
    every: int | None = None,
    **training: Any,
) -> WeightBelief:
    """Go on training a network by stochastic gradient descent; its path stands for a belief.

    The learning rate stays constant and decides, with the batch size, how wide the belief is (Maddox et al.
    2019). Predict with `method="samples"`, as the source does, or linearised by default.

    Args:
        network: a trained network.
        likelihood: what its outputs mean.
        data: inputs and targets with one leading axis of rows.
        key: source of randomness.
        rank: how many of the last recorded iterates span the low-rank part, at least 2.
        scale: factor of the covariance.
        learning_rate: of the descent.
        momentum: of the descent.
        epochs: how often every row is seen.
        batch_size: rows in a step.
        every: steps between recorded iterates; None for one an epoch.
        **training: further options of `foresee.fit.fit`, as rows, weights and trainable.

    Raises:
        PosteriorError: if the path does not stay finite, or fewer iterates than `rank` are recorded on it.
        OptionError: if an option has a value nothing can be done with.
    """
    for name, value, least in (("rank", rank, 2), ("scale", scale, 0), ("every", every or 1, 1)):
        if not value >= least:
            raise OptionError(f"swag: expected {name} of at least {least}, got {value}")
    if not learning_rate > 0 or not 0 <= momentum < 1:
        raise OptionError(
            f"swag: expected a positive learning rate and momentum in [0, 1), got {learning_rate}, {momentum}"
        )
    refused = {"optimizer", "validation", "patience", "members", "hyperparameters"} & set(training)
    if refused:
        raise OptionError(f"swag: expected options that leave the path alone, got {sorted(refused)}")
    chosen = training.get("rows")
    count = np.shape(jax.tree.leaves(data)[0])[0] if chosen is None else np.shape(chosen)[-1]
    an_epoch = -(-count // min(batch_size, count))
    every = an_epoch if every is None else every
    if (recorded := epochs * an_epoch // every) < rank:
        raise PosteriorError(
            f"swag: expected at least rank = {rank} recorded iterates, got {recorded}; run more epochs, "
            "record more often, or lower the rank"
        )
    rates = {"rate": as_float(learning_rate), "momentum": as_float(momentum), "every": jnp.asarray(every)}
    fitted = fit(
        network,
        SupervisedLoss(likelihood),
        data,
        key=key,
        optimizer=_descent(rank),
        epochs=epochs,
        batch_size=batch_size,
        hyperparameters=rates,
        **training,
    )
    if not bool(fitted.finite):
        raise PosteriorError("swag: expected a path that stays finite, got one that does not; lower the rate")
    path = fitted.optimizer_state[-1]
    variance = jax.tree.map(lambda squares: jnp.maximum(squares, 0) / path.count, path.squares)
    return WeightBelief(SwagWeights(path.average, variance, path.deviations, scale), fitted.model)
