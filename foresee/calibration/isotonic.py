"""Isotonic calibration: any increasing map, class by class. Start with `fit_isotonic`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from scipy.optimize import isotonic_regression

from foresee.calibration.check import is_concrete
from foresee.calibration.scaler import AbstractScaler, check_calibration_data, check_classes
from foresee.errors import CalibrationError


class Isotonic(AbstractScaler):
    """Maps the log odds of every class against the rest, and normalises what comes out.

    Attributes:
        odds: log odds at the knots of every class, increasing; classes with fewer knots repeat their last.
        probability: at these knots, not decreasing; in between it is interpolated.
    """

    odds: Float[Array, "classes knots"]
    probability: Float[Array, "classes knots"]

    def __call__(self, logits: ArrayLike) -> Float[Array, "rows classes"]:
        """Return calibrated probabilities.

        Raises:
            ShapeError: if the logits do not have the classes that were fitted.
            CalibrationError: if a logit is not finite.
        """
        table = log_odds(check_classes(logits, self.odds.shape[0], "Isotonic"))
        single = jax.vmap(jnp.interp, in_axes=(1, 0, 0), out_axes=1)(table, self.odds, self.probability)
        return single / jnp.sum(single, axis=1, keepdims=True)


def fit_isotonic(logits: ArrayLike, labels: ArrayLike) -> Isotonic:
    """Return the increasing maps closest to the labels, class against rest (Zadrozny and Elkan 2002).

    The pools of adjacent violators are SciPy's. It runs on the host and has no gradient; the fitted map is
    compiled and differentiated as any other. A frequency of zero among n rows is taken for 1 / (2 n + 2), so
    that no label that comes later is held impossible.

    Args:
        logits: shape (rows, classes), held out from training.
        labels: shape (rows,).

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a logit is not finite, a label out of range, if the logits are probabilities, or
            if they are traced.
    """
    table, labels = check_calibration_data(logits, labels, "fit_isotonic")
    if not is_concrete(table, labels):
        raise CalibrationError(
            "fit_isotonic: expected concrete arrays, got traced ones; call it outside of jit"
        )
    odds = np.asarray(log_odds(table))
    rows, classes = odds.shape
    knots = [_knots(odds[:, index], np.asarray(labels) == index) for index in range(classes)]
    longest = max(len(place) for place, _ in knots)
    padded = [[np.pad(part, (0, longest - len(part)), mode="edge") for part in pair] for pair in knots]
    place, height = np.asarray(padded).transpose(1, 0, 2)
    return Isotonic(
        jnp.asarray(place, table.dtype), jnp.asarray(np.maximum(height, 0.5 / (rows + 1)), table.dtype)
    )


def log_odds(logits: Float[Array, "rows classes"]) -> Float[Array, "rows classes"]:
    """Return log p − log(1 − p) of every class, exact even where 1 − p would be rounded to zero."""
    top = jnp.argmax(logits, axis=1)[:, None] == jnp.arange(logits.shape[1])
    normalised = jax.nn.log_softmax(logits)
    others = logsumexp(jnp.where(top, -jnp.inf, normalised), axis=1, keepdims=True)
    # Only the most probable class can have p > ½; for the others 1 − p loses nothing.
    rest = jnp.log1p(-jnp.exp(jnp.where(top, -1.0, normalised)))
    return normalised - jnp.where(top, others, rest)


def _knots(scores: np.ndarray, happened: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the flat pieces of the increasing map, and its height there."""
    place, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean = np.bincount(index, happened) / counts
    height = isotonic_regression(mean, weights=counts).x
    change = np.flatnonzero(np.diff(height) != 0)
    ends = np.unique(np.concatenate([[0], change, change + 1, [len(place) - 1]]))
    return place[ends], height[ends]
