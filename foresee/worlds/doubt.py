"""Where a world does not know: how far networks that explain the data part. Start with `uncertainty`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractBelief, Points
from foresee.errors import OptionError
from foresee.posteriors.network import AbstractNetworks, WeightMixture


def variances(
    belief: AbstractBelief,
    outputs: Callable[[Any], PyTree],
    n: int = 10,
    *,
    key: PRNGKeyArray,
    method: str | None = None,
) -> PyTree[Float[Array, " horizon"]]:
    """Return the variance of a world's outputs over the networks that a belief holds possible.

    Args:
        belief: belief about worlds: an ensemble, `l2m`, `laplace`, `swag`, or `Within` of a belief about a
            part of one, as by `dropout`.
        outputs: what ONE world says: a pytree of arrays with a leading axis of steps, as of predicted states
            and of costs along an unrolled future. Whatever else is random in it has to be the same for all.
        n: how many worlds are drawn. `Points`, as an ensemble or worlds drawn once for many calls, are all
            used.
        key: source of the worlds.
        method: "samples" takes the outputs of drawn worlds, "linear" those of the world linearised about its
            mean weights. None: linear where the belief has a covariance, as of `l2m` and `laplace`, which
            describe that world and no other; drawn far from the mean, weights that the data say nothing of
            spoil it.

    Returns:
        For every leaf of the outputs the variance at every step, averaged over whatever else the leaf holds.
        It is unbiased: n equal weights divide by n − 1.

    Raises:
        OptionError: if the method is none of these, or the belief has no mean world to linearise about.
    """
    if method not in (None, "linear", "samples"):
        raise OptionError(f"variances: expected method 'linear' or 'samples', got {method!r}")
    worlds = belief if isinstance(belief, Points) else belief.points(n, key=key)
    inner = belief.belief if isinstance(belief, Within) else belief
    linear = isinstance(inner, AbstractNetworks) and not isinstance(inner, WeightMixture)
    if method == "linear" and not linear:
        raise OptionError(
            f"variances: expected a belief about weights with a covariance, got {type(inner).__name__}"
        )
    if linear and method != "samples":
        said = _linearised(belief.mean(), worlds, outputs)
    else:
        said = worlds.push(outputs)
    weights = said.weights()
    # One over the effective number of worlds is what a weighted variance falls short of the truth by.
    share = 1 - jnp.sum(weights**2)
    correction = jnp.where(share > 0, 1 / jnp.where(share > 0, share, 1.0), 0.0)

    def variance(leaf):
        apart = leaf - jnp.tensordot(weights, leaf, axes=1)
        each = correction * jnp.tensordot(weights, apart**2, axes=1)
        return jnp.mean(each.reshape(each.shape[0], -1), axis=1)

    return jax.tree.map(variance, said.values)


def _linearised(mean: Any, worlds: Points, outputs: Callable[[Any], PyTree]) -> Points:
    """Return how the outputs change from the mean world to each of the others, to first order in weights."""
    centre, rest = eqx.partition(mean, eqx.is_inexact_array)

    def change(world):
        apart = jax.tree.map(jnp.subtract, eqx.filter(world, eqx.is_inexact_array), centre)
        return jax.jvp(lambda weights: outputs(eqx.combine(weights, rest)), (centre,), (apart,))[1]

    return worlds.push(change)


class Normaliser(eqx.Module):
    """What variances are like where an expert goes, by the number of steps ahead.

    Args:
        mean: pytree like the variances: their mean μ_t over expert sequences.
        deviation: their standard deviation σ_t over expert sequences.
    """

    mean: PyTree[Float[Array, " horizon"]]
    deviation: PyTree[Float[Array, " horizon"]]

    @staticmethod
    def fit(expert_variances: PyTree[Float[Array, "sequences horizon"]]) -> "Normaliser":
        """Return the normaliser of variances along sequences of an expert, which stacks of `variances` are.

        A step at which all sequences have the same variance gets that number as its deviation.
        """

        def deviation(leaf):
            own = jnp.std(leaf, axis=0, ddof=1 if leaf.shape[0] > 1 else 0)
            same = own <= 1e-6 * jnp.mean(jnp.abs(leaf), axis=0)
            return jnp.where(same, jnp.maximum(jnp.mean(jnp.abs(leaf), axis=0), 1e-30), own)

        means = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), expert_variances)
        return Normaliser(means, jax.tree.map(deviation, expert_variances))

    def scores(self, variances: PyTree[Float[Array, " horizon"]]) -> PyTree[Float[Array, " horizon"]]:
        """Return (variance − μ_t) / σ_t."""
        return jax.tree.map(lambda own, mean, sd: (own - mean) / sd, variances, self.mean, self.deviation)

    def __call__(self, variances: PyTree[Float[Array, " horizon"]], hinge: Any = 0.5) -> Float[Array, ""]:
        """Return U = Σ over outputs of the mean over steps of relu((variance − μ_t) / σ_t − hinge).

        It is zero where there is no more doubt than is usual along the expert's way (Henaff, Canziani and
        LeCun 2019, section 3; the hinge .5 is that of their code).
        """
        hinged = jax.tree.map(lambda leaf: jnp.mean(jax.nn.relu(leaf - hinge)), self.scores(variances))
        return jnp.asarray(sum(jax.tree.leaves(hinged)))


def uncertainty(
    belief: AbstractBelief,
    outputs: Callable[[Any], PyTree],
    normaliser: Normaliser,
    n: int = 10,
    hinge: Any = 0.5,
    *,
    key: PRNGKeyArray,
    method: str | None = None,
) -> Float[Array, ""]:
    """Return the cost of leaving what the world knows; it can be differentiated in all that `outputs` uses.

    Args:
        belief: as in `variances`.
        outputs: as in `variances`.
        normaliser: what is usual, for the same outputs, the same belief and the same n.
        n: as in `variances`.
        hinge: standard deviations above the expert's mean that cost nothing.
        key: as in `variances`.
        method: as in `variances`.

    Raises:
        OptionError: as in `variances`.
    """
    return normaliser(variances(belief, outputs, n, key=key, method=method), hinge)


class Within(AbstractBelief):
    """A belief about a part of a model, as a belief about the whole model.

    Args:
        belief: belief about the part, as `dropout(world.network, masks="network")`.
        model: the model.
        where: function of the model that returns the part, as `lambda world: world.network`.
    """

    belief: AbstractBelief
    model: Any
    where: Callable[[Any], Any] = eqx.field(static=True)

    def whole(self, part: Any) -> Any:
        """Return the model with this part in its place."""
        return eqx.tree_at(self.where, self.model, part)

    def mean(self) -> Any:
        """Return the model with the mean of the part."""
        return self.whole(self.belief.mean())

    def sample(self, *, key: PRNGKeyArray) -> Any:
        """Draw one model."""
        return self.whole(self.belief.sample(key=key))

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n weighted models."""
        return self.belief.points(n, key=key).push(self.whole)
