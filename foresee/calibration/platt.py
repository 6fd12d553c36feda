"""Platt scaling for two classes: a sigmoid of the margin. Start with `fit_platt`."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from foresee.calibration.check import check_flags
from foresee.calibration.minimise import minimise
from foresee.calibration.scaler import AbstractScaler, check_calibration_data, check_classes
from foresee.errors import CalibrationError


class Platt(AbstractScaler):
    """Maps the margin, the second logit minus the first, to the probability sigmoid(factor · margin + shift).

    Attributes:
        factor: steepness of the sigmoid.
        shift: log odds at margin 0.
        converged: whether the search ended where the gradient vanishes.
    """

    factor: Float[Array, ""]
    shift: Float[Array, ""]
    converged: Bool[Array, ""]

    def __call__(self, logits: ArrayLike) -> Float[Array, "rows 2"]:
        """Return calibrated probabilities of both classes.

        Raises:
            ShapeError: if there are not two classes.
            CalibrationError: if a logit is not finite.
        """
        odds = self.factor * _margin(check_classes(logits, 2, "Platt")) + self.shift
        return jnp.stack([jax.nn.sigmoid(-odds), jax.nn.sigmoid(odds)], axis=1)


def fit_platt(logits: ArrayLike, labels: ArrayLike) -> Platt:
    """Return the sigmoid under which smoothed labels are most likely (Platt 1999, equations 7 to 11).

    Labels are replaced by (n + 1)/(n + 2) and 1/(n + 2), where n counts the rows of the class: so the sigmoid
    stays finite where the classes can be told apart without error.

    Args:
        logits: shape (rows, 2), held out from training.
        labels: shape (rows,), both classes among them.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if there are not two classes, or the labels are all alike, or a logit is not finite,
            or if the logits are probabilities.
    """
    table, labels = check_calibration_data(logits, labels, "fit_platt")
    if table.shape[1] != 2:
        raise CalibrationError(f"fit_platt: expected logits of 2 classes, got {table.shape[1]}")
    return _fit(table, check_flags(labels, table.shape[0], "fit_platt", "labels"))


@eqx.filter_jit
def _fit(logits: Float[Array, "rows 2"], second: Bool[Array, " rows"]) -> Platt:
    margin = _margin(logits)
    unit = jnp.maximum(jnp.std(margin), jnp.finfo(margin.dtype).tiny)
    ones = jnp.sum(second)
    zeros = second.shape[0] - ones
    target = jnp.where(second, (ones + 1) / (ones + 2), 1 / (zeros + 2)).astype(margin.dtype)

    def loss(parameters: Float[Array, " 2"]) -> Float[Array, ""]:
        odds = parameters[0] * margin / unit + parameters[1]
        return jnp.mean(jax.nn.softplus(odds) - target * odds)

    parameters, converged = minimise(loss, jnp.zeros(2, margin.dtype))
    return Platt(parameters[0] / unit, parameters[1], converged)


def _margin(logits: Float[Array, "rows 2"]) -> Float[Array, " rows"]:
    return logits[:, 1] - logits[:, 0]
