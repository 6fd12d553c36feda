"""The front door: `calibrate` fits any of the scalers by its name."""

from collections.abc import Callable

from jax.typing import ArrayLike

from foresee.calibration.check import check_choice
from foresee.calibration.isotonic import fit_isotonic
from foresee.calibration.platt import fit_platt
from foresee.calibration.scaler import AbstractScaler
from foresee.calibration.temperature import fit_temperature
from foresee.calibration.vector import fit_vector

METHODS: dict[str, Callable[[ArrayLike, ArrayLike], AbstractScaler]] = {
    "temperature": fit_temperature,
    "vector": fit_vector,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}


def calibrate(logits: ArrayLike, labels: ArrayLike, method: str = "temperature") -> AbstractScaler:
    """Return a map from logits to calibrated probabilities, fitted to held-out examples.

    Args:
        logits: shape (rows, classes), of examples the network was not trained on. Where only probabilities
            are at hand, `log_probabilities` of them serves, here and when the map is called.
        labels: shape (rows,).
        method: "temperature" (one number: the place to start), "vector" (two numbers per class), "isotonic"
            (any increasing map per class, for thousands of rows) or "platt" (a sigmoid, two classes only).

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a logit is not finite, a label out of range, if the logits are probabilities, or
            if the method cannot work with these classes.
        OptionError: if there is no such method.
    """
    check_choice(method, tuple(METHODS), "calibrate", "method")
    return METHODS[method](logits, labels)
