"""Ensembles: several networks trained side by side, as one belief over networks. Start with `ensemble`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from foresee.beliefs.belief import Points
from foresee.beliefs.gaussian import as_float
from foresee.errors import OptionError, PosteriorError
from foresee.fit import Fitted, fit
from foresee.fit.known import Known, trainable
from foresee.posteriors.likelihood import AbstractLikelihood, GaussianLikelihood, SupervisedLoss, call


def ensemble(
    make: Callable[[PRNGKeyArray], Any],
    likelihood: AbstractLikelihood,
    data: tuple[PyTree, Any],
    *,
    key: PRNGKeyArray,
    members: int = 5,
    bootstrap: bool = False,
    perturb: bool = False,
    precision: float | int = 0.0,
    **training: Any,
) -> Points:
    """Train networks that differ by chance and return them as equally weighted points.

    Networks as they are make a deep ensemble (Lakshminarayanan, Pritzel and Blundell 2017). A `make` that
    returns a `RandomizedPrior` makes an ensemble with randomized prior functions (Osband, Aslanides and
    Cassirer 2018), as a rule with `bootstrap` or `perturb`. All members are trained in one compiled loop.

    For a linear f of the form of p with weights drawn from N(0, I/`precision`), Gaussian noise, `perturb`
    and training to the end, every member is an exact draw from the posterior (Osband et al. 2018, Lemma 3).

    Args:
        make: function of a key that makes one network.
        likelihood: what the outputs mean.
        data: inputs and targets with one leading axis of rows.
        key: source of randomness.
        members: how many networks.
        bootstrap: whether every member sees rows drawn with replacement.
        perturb: whether every member sees targets with its own draw of the likelihood's Gaussian noise added,
            the same one in every epoch.
        precision: of a normal prior about zero over what is learned: precision/2 · ‖θ‖² is added to the loss
            summed over all rows. Unlike weight decay it does not depend on the number of rows.
        **training: options of `foresee.fit.fit`, as epochs, batch_size and optimizer.

    Raises:
        PosteriorError: if a member does not stay finite, or there is no Gaussian noise to perturb targets by.
        OptionError: if an option has a value nothing can be done with.
        ShapeError: if leading axes do not fit each other.
    """
    if members < 1:
        raise OptionError(f"ensemble: expected at least 1 member, got {members}")
    if not precision >= 0:
        raise OptionError(f"ensemble: expected a precision of at least 0, got {precision}")
    if bootstrap and training.get("rows") is not None:
        raise OptionError("ensemble: expected rows or bootstrap, got both; draw the rows yourself")
    makers, order, draws, noise = jax.random.split(key, 4)
    networks = _networks(make, jax.random.split(makers, members))
    count = np.shape(jax.tree.leaves(data)[0])[0]
    if bootstrap:
        training["rows"] = bootstrap_rows(count, members, key=draws)
    seen = count if training.get("rows") is None else np.shape(training["rows"])[-1]
    if not perturb and not precision:
        fitted = fit(networks, SupervisedLoss(likelihood), data, key=order, members=members, **training)
        return Points(_checked(fitted, members))
    kicks = Known(_noise(likelihood, data[1], members, key=noise) if perturb else None)
    pulled = _Perturbed(networks, kicks)
    loss = _PerturbedLoss(likelihood, jnp.asarray(precision / seen))
    numbered = (*data, jnp.arange(count))
    fitted = fit(pulled, loss, numbered, key=order, members=members, **training)
    return Points(_checked(fitted, members).network)


@eqx.filter_jit
def _networks(make: Callable[[PRNGKeyArray], Any], keys: Key[Array, " members"]) -> Any:
    """Return networks made of these keys, stacked."""
    return eqx.filter_vmap(make)(keys)


def bootstrap_rows(rows: int, members: int, *, key: PRNGKeyArray) -> Int[Array, "members rows"]:
    """Draw rows with replacement, as many as there are, for every member."""
    return jax.random.randint(key, (members, rows), 0, rows)


class _Perturbed(eqx.Module):
    """A network with the noise that is added to its targets; None adds none."""

    network: Any
    noise: Known


class _PerturbedLoss(eqx.Module):
    """The loss of an example (x, y, number), y perturbed, and its share of the prior's pull on the weights.

    An example without a number, as of validation data, is judged as it is.
    """

    likelihood: AbstractLikelihood
    pull: Float[Array, ""]

    def __call__(self, model: _Perturbed, example: tuple[Any, ...], *, key: PRNGKeyArray) -> Float[Array, ""]:
        x, y, *number = example
        loss = self.likelihood.loss
        if not number:
            return loss(call(model.network, x, key=key), y)
        noise = model.noise.fixed()
        y = y if noise is None else y + noise[number[0]]
        learned = jax.tree.leaves(eqx.filter(model.network, trainable(model.network)))
        squares = sum(jnp.sum(leaf**2) for leaf in learned)
        return loss(call(model.network, x, key=key), y) + 0.5 * self.pull * squares


def _noise(likelihood: Any, y: Any, members: int, *, key: PRNGKeyArray) -> Array:
    """Draw the noise of every target for every member."""
    if not isinstance(likelihood, GaussianLikelihood):
        raise PosteriorError(
            f"ensemble: expected GaussianLikelihood to perturb targets by, got {type(likelihood).__name__}"
        )
    y = as_float(y)
    return likelihood.noise * jax.random.normal(key, (members, *y.shape), y.dtype)


def _checked(fitted: Fitted, members: int) -> PyTree:
    """Return the networks, or raise where one is no longer finite."""
    lost = members - int(np.sum(np.asarray(fitted.finite)))
    if lost:
        raise PosteriorError(
            f"ensemble: expected {members} members with finite weights and losses, got {lost} without; "
            "take a smaller learning rate, or look for NaN in the data"
        )
    return fitted.model
