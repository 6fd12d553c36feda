"""What every fitted map from logits to calibrated probabilities has in common."""

import abc

import equinox as eqx
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from foresee.calibration.check import check_labels, check_logits, is_concrete, is_probabilities
from foresee.errors import CalibrationError, ShapeError


class AbstractScaler(eqx.Module):
    """A fitted map from a network's logits to calibrated probabilities."""

    @abc.abstractmethod
    def __call__(self, logits: ArrayLike) -> Float[Array, "rows classes"]:
        """Return calibrated probabilities of rows × classes of logits."""


def check_calibration_data(
    logits: ArrayLike, labels: ArrayLike, owner: str
) -> tuple[Float[Array, "rows classes"], Array]:
    """Return logits and labels that a scaler can be fitted to.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a logit is not finite, a label out of range, or if the logits are probabilities.
    """
    table = check_logits(logits, owner)
    if is_concrete(table) and is_probabilities(table):
        # Scaling them as they are would be wrong without a sign of it.
        raise CalibrationError(
            f"{owner}: expected logits, got rows that sum to one; pass log_probabilities(...) of them"
        )
    return table, check_labels(labels, table.shape[0], table.shape[1], owner)


def check_classes(logits: ArrayLike, classes: int, owner: str) -> Float[Array, "rows classes"]:
    """Return logits of as many classes as were fitted.

    Raises:
        ShapeError: if the number of classes is another.
        CalibrationError: if a logit is not finite.
    """
    table = check_logits(logits, owner)
    if table.shape[1] != classes:
        raise ShapeError(f"{owner}: expected logits of {classes} classes, got {table.shape}")
    return table
