"""How unlike the training data an input is. Start with `Energy`, or `fit_neighbours` if there are features.

Every detector is called with the same record, `NetworkOutputs`, and returns one score per row, higher where
the row is more likely out of distribution. A detector that needs what the record does not hold says so.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from foresee.beliefs.gaussian import as_float
from foresee.calibration.check import check_logits, check_probabilities, check_table, is_concrete
from foresee.errors import CalibrationError, ShapeError


class NetworkOutputs(eqx.Module):
    """What a network, or several, said of a number of rows. What is not at hand is None.

    Args:
        logits: shape (rows, classes).
        features: what the last layer sees, shape (rows, features).
        member_probabilities: of an ensemble or of samples of the weights, shape (members, rows, classes).

    Raises:
        ShapeError: if shapes are wrong or the numbers of rows differ.
        CalibrationError: if a number is not finite or probabilities are none.
    """

    logits: Float[Array, "rows classes"] | None
    features: Float[Array, "rows features"] | None
    member_probabilities: Float[Array, "members rows classes"] | None

    def __init__(
        self,
        logits: ArrayLike | None = None,
        features: ArrayLike | None = None,
        member_probabilities: ArrayLike | None = None,
    ):
        owner = "NetworkOutputs"
        self.logits = None if logits is None else check_logits(logits, owner)
        self.features = None if features is None else check_table(features, owner, "features")
        self.member_probabilities = None if member_probabilities is None else _members(member_probabilities)
        sizes = {name: table.shape[-2] for name, table in vars(self).items() if table is not None}
        if len(set(sizes.values())) > 1:
            raise ShapeError(f"{owner}: expected one number of rows, got {sizes}")

    def probabilities(self) -> Float[Array, "rows classes"]:
        """Return class probabilities: the members' mean where there are members, else of the logits.

        Raises:
            CalibrationError: if there are neither.
        """
        if self.member_probabilities is not None:
            return jnp.mean(self.member_probabilities, axis=0)
        if self.logits is None:
            raise CalibrationError("expected NetworkOutputs with logits or member_probabilities, got neither")
        return jax.nn.softmax(self.logits)

    def need(self, name: str, owner: str) -> Array:
        """Return one of the arrays.

        Raises:
            CalibrationError: if it is not there.
        """
        array = getattr(self, name)
        if array is None:
            raise CalibrationError(f"{owner}: expected NetworkOutputs with {name}, got none")
        return array


class AbstractDetector(eqx.Module):
    """A score of every row, higher where it is more likely out of distribution."""

    @abc.abstractmethod
    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row.

        Raises:
            CalibrationError: if the outputs lack what the detector needs.
        """


class Entropy(AbstractDetector):
    """Entropy of the class probabilities in nats."""

    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row, from logits or members."""
        return jnp.sum(entr(outputs.probabilities()), axis=1)


class MaxSoftmax(AbstractDetector):
    """One minus the probability of the most probable class (Hendrycks and Gimpel 2017)."""

    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row, from logits or members.

        From logits it is summed over the other classes: where the network is all but certain, rows still
        differ.
        """
        table = outputs.probabilities()
        top = jnp.argmax(table, axis=1)[:, None] == jnp.arange(table.shape[1])
        return jnp.sum(jnp.where(top, 0.0, table), axis=1)


class Energy(AbstractDetector):
    """Free energy −T log Σ exp(logit / T) (Liu et al. 2020, equation 4).

    Args:
        temperature: T; not the one that calibrates, as a rule 1.
    """

    temperature: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)

    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row, from logits."""
        logits = outputs.need("logits", "Energy")
        return -self.temperature * jax.nn.logsumexp(logits / self.temperature, axis=1)


class MutualInformation(AbstractDetector):
    """What the members' disagreement adds to the entropy, in nats (Houlsby et al. 2011, BALD)."""

    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row, from members."""
        members = outputs.need("member_probabilities", "MutualInformation")
        mean = jnp.mean(members, axis=0)
        # As mean KL(member ‖ mean): the difference of two entropies would cancel where members agree.
        safe = jnp.where(members > 0, members, 1.0)
        ratio = jnp.log(safe) - jnp.log(jnp.where(mean > 0, mean, 1.0))
        return jnp.mean(jnp.sum(jnp.where(members > 0, members * ratio, 0.0), axis=2), axis=0)


class EnsembleVariance(AbstractDetector):
    """Variance of the members' probabilities, summed over classes."""

    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row, from members."""
        members = outputs.need("member_probabilities", "EnsembleVariance")
        return jnp.sum(jnp.var(members, axis=0), axis=1)


def _members(values: ArrayLike) -> Float[Array, "members rows classes"]:
    array = as_float(values)
    if array.ndim != 3 or 0 in array.shape:
        raise ShapeError(
            "NetworkOutputs: expected member_probabilities of shape (members, rows, classes), "
            f"got {array.shape}"
        )
    if is_concrete(array):
        check_probabilities(np.asarray(array).reshape(-1, array.shape[2]), "NetworkOutputs")
    return array
