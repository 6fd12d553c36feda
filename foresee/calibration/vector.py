"""Vector scaling: a factor and a shift for the logit of every class. Start with `fit_vector`."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from foresee.calibration.check import is_concrete
from foresee.calibration.minimise import minimise
from foresee.calibration.scaler import AbstractScaler, check_calibration_data, check_classes
from foresee.calibration.temperature import fit_temperature
from foresee.errors import OptionError


class Vector(AbstractScaler):
    """Multiplies every class's logit, less the mean of its row, by a factor and adds a shift.

    Attributes:
        factor: one per class.
        shift: one per class.
        converged: whether the search ended where the gradient vanishes.
    """

    factor: Float[Array, " classes"]
    shift: Float[Array, " classes"]
    converged: Bool[Array, ""]

    def __call__(self, logits: ArrayLike) -> Float[Array, "rows classes"]:
        """Return calibrated probabilities.

        Raises:
            ShapeError: if the logits do not have the classes that were fitted.
            CalibrationError: if a logit is not finite.
        """
        table = check_classes(logits, self.factor.shape[0], "Vector")
        return jax.nn.softmax(self.factor * _centred(table) + self.shift)


def fit_vector(logits: ArrayLike, labels: ArrayLike, penalty: float | Float[Array, ""] = 1.0) -> Vector:
    """Return the factors and shifts under which the labels are most likely (Guo et al. 2017, section 4.2).

    A normal prior of precision `penalty` holds the relative factors at one and the shifts at zero about the
    best single temperature: with few rows per class, temperature scaling is what remains.

    Args:
        logits: shape (rows, classes), held out from training.
        labels: shape (rows,).
        penalty: precision of the prior; as many rows count as much as it does.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a logit is not finite, a label out of range, or if the logits are probabilities.
        OptionError: if the penalty is negative.
    """
    table, labels = check_calibration_data(logits, labels, "fit_vector")
    if is_concrete(penalty) and not penalty >= 0:
        raise OptionError(f"fit_vector: expected a penalty ≥ 0, got {penalty}")
    return _fit(table, labels, jnp.asarray(penalty, table.dtype))


@eqx.filter_jit
def _fit(logits: Float[Array, "rows classes"], labels: Array, penalty: Float[Array, ""]) -> Vector:
    rows, classes = logits.shape
    temperature = fit_temperature(logits, labels).temperature
    scaled = _centred(logits) / temperature

    def loss(parameters: tuple[Array, Array]) -> Float[Array, ""]:
        factor, shift = parameters
        chosen = jax.nn.log_softmax(factor * scaled + shift)
        likelihood = jnp.sum(jnp.take_along_axis(chosen, labels[:, None], axis=1))
        prior = 0.5 * penalty * (jnp.sum((factor - 1) ** 2) + jnp.sum(shift**2))
        return (prior - likelihood) / (rows + penalty)  # of the order of 1 however strong the prior is

    start = (jnp.ones(classes, logits.dtype), jnp.zeros(classes, logits.dtype))
    (factor, shift), converged = minimise(loss, start)
    return Vector(factor / temperature, shift, converged)


def _centred(logits: Float[Array, "rows classes"]) -> Float[Array, "rows classes"]:
    # A number added to a whole row means nothing in logits, but would with unequal factors.
    return logits - jnp.mean(logits, axis=1, keepdims=True)
