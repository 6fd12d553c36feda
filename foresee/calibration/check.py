"""What every public function here asks of predictions and labels, so that wrong input is named, not scored.

Concrete arrays are looked at; traced ones cannot be and pass, so the checks cost nothing inside a compiled
function.
"""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from foresee.beliefs.gaussian import as_float
from foresee.errors import CalibrationError, OptionError, ShapeError

SUM_TOLERANCE = 1e-3  # probabilities stored in half precision, or with four digits, still pass


def is_concrete(*arrays: object) -> bool:
    """Return whether the numbers of all these arrays can be looked at."""
    return not any(isinstance(array, Tracer) for array in arrays)


def check_table(values: ArrayLike, owner: str, what: str) -> Float[Array, "rows columns"]:
    """Return a finite table of floats with at least one row and one column.

    Raises:
        ShapeError: if it is no table, or empty.
        CalibrationError: if a number in it is not finite.
    """
    table = as_float(values)
    if table.ndim != 2 or 0 in table.shape:
        raise ShapeError(f"{owner}: expected {what} of shape (rows, columns), none empty, got {table.shape}")
    _check_finite(table, owner, what)
    return table


def check_vector(values: ArrayLike, owner: str, what: str, rows: int | None = None) -> Float[Array, " rows"]:
    """Return a finite vector of floats, of the given length if there is one.

    Raises:
        ShapeError: if it is no vector, empty, or of another length.
        CalibrationError: if a number in it is not finite.
    """
    vector = as_float(values)
    if vector.ndim != 1 or vector.shape[0] == 0 or (rows is not None and vector.shape[0] != rows):
        length = "rows > 0" if rows is None else rows
        raise ShapeError(f"{owner}: expected {what} of shape ({length},), got {vector.shape}")
    _check_finite(vector, owner, what)
    return vector


def check_logits(logits: ArrayLike, owner: str) -> Float[Array, "rows classes"]:
    """Return logits as floats: finite, with at least two classes.

    Raises:
        ShapeError: if they are no table of at least two columns.
        CalibrationError: if one is not finite.
    """
    table = check_table(logits, owner, "logits")
    if table.shape[1] < 2:
        raise ShapeError(f"{owner}: expected logits of at least 2 classes, got {table.shape}")
    return table


def check_probabilities(probabilities: ArrayLike, owner: str) -> Float[Array, "rows classes"]:
    """Return probabilities as floats: not negative, every row summing to one within 0.001.

    Raises:
        ShapeError: if they are no table of at least two columns.
        CalibrationError: if a row is no distribution; the message names the first such row.
    """
    table = check_table(probabilities, owner, "probabilities")
    if table.shape[1] < 2:
        raise ShapeError(f"{owner}: expected probabilities of at least 2 classes, got {table.shape}")
    if is_concrete(table):
        numbers = np.asarray(table, float)
        negative = np.flatnonzero((numbers < 0).any(1))
        if negative.size:
            raise CalibrationError(
                f"{owner}: expected probabilities ≥ 0, got {numbers[negative[0]].min():.4g} "
                f"in row {negative[0]} (are these logits?)"
            )
        sums = numbers.sum(1)
        off = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
        if off.size:
            raise CalibrationError(
                f"{owner}: expected probabilities that sum to one, got {sums[off[0]]:.6g} in row {off[0]}"
            )
    return table


def check_labels(labels: ArrayLike, rows: int, classes: int, owner: str) -> Int[Array, " rows"]:
    """Return labels as integers between 0 and `classes` − 1, one per row.

    Raises:
        ShapeError: if there is not one label per row.
        CalibrationError: if a label is no integer or out of range.
    """
    array = jnp.asarray(labels)
    if array.shape != (rows,):
        raise ShapeError(f"{owner}: expected labels of shape ({rows},), got {array.shape}")
    if not (jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool):
        raise CalibrationError(f"{owner}: expected integer labels, got {array.dtype}")
    array = array.astype(int)
    if is_concrete(array):
        numbers = np.asarray(array)
        outside = np.flatnonzero((numbers < 0) | (numbers >= classes))
        if outside.size:
            raise CalibrationError(
                f"{owner}: expected labels 0 to {classes - 1}, got {numbers[outside[0]]} in row {outside[0]}"
            )
    return array


def check_flags(flags: ArrayLike, rows: int, owner: str, what: str) -> Bool[Array, " rows"]:
    """Return one yes or no per row, with both of them present.

    Raises:
        ShapeError: if there is not one per row.
        CalibrationError: if all are alike, or some are neither 0 nor 1.
    """
    array = jnp.asarray(flags)
    if array.shape != (rows,):
        raise ShapeError(f"{owner}: expected {what} of shape ({rows},), got {array.shape}")
    if is_concrete(array):
        found = np.unique(np.asarray(array))
        if not np.isin(found, (0, 1)).all():
            raise CalibrationError(
                f"{owner}: expected {what} of 0 and 1, got {found[~np.isin(found, (0, 1))][0]}"
            )
        if found.size < 2:
            raise CalibrationError(f"{owner}: expected {what} of both kinds, got only {int(found[0])}")
    return array.astype(bool)


def check_share(value: float | int, owner: str, what: str) -> float:
    """Return a number strictly between 0 and 1.

    Raises:
        OptionError: if it is not.
    """
    if not 0 < value < 1:
        raise OptionError(f"{owner}: expected {what} between 0 and 1, got {value}")
    return float(value)


def check_choice(value: str, choices: tuple[str, ...], owner: str, what: str) -> None:
    """Raise OptionError unless the value is one of the choices."""
    if value not in choices:
        raise OptionError(f"{owner}: expected {what} to be one of {', '.join(choices)}, got {value!r}")


def is_probabilities(table: ArrayLike) -> bool:
    """Return whether every row of a concrete table is a distribution, rather than logits."""
    numbers = np.asarray(table, float)
    return bool(
        numbers.ndim == 2 and (numbers >= 0).all() and (np.abs(numbers.sum(1) - 1) <= SUM_TOLERANCE).all()
    )


def log_probabilities(probabilities: ArrayLike) -> Float[Array, "rows classes"]:
    """Return logarithms of probabilities, which serve as logits wherever logits are asked for.

    Zeros, as rounding makes them, count as the smallest positive number of the dtype.

    Raises:
        ShapeError: if they are no table of at least two columns.
        CalibrationError: if a row is no distribution.
    """
    table = check_probabilities(probabilities, "log_probabilities")
    return jnp.log(jnp.maximum(table, jnp.finfo(table.dtype).tiny))


def _check_finite(array: Array, owner: str, what: str) -> None:
    if is_concrete(array):
        wrong = np.argwhere(~np.isfinite(np.asarray(array)))
        if wrong.size:
            place = ", ".join(map(str, wrong[0]))
            raise CalibrationError(
                f"{owner}: expected finite {what}, got {np.asarray(array)[tuple(wrong[0])]} at [{place}]"
            )
