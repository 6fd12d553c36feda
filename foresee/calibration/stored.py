"""Fitted scalers in files. Start with `write_scaler` and `read_scaler`."""

import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from foresee.calibration.isotonic import Isotonic
from foresee.calibration.platt import Platt
from foresee.calibration.scaler import AbstractScaler
from foresee.calibration.temperature import Temperature
from foresee.calibration.vector import Vector
from foresee.errors import CalibrationError
from foresee.storage import whole_file

KINDS: dict[str, type[AbstractScaler]] = {
    "temperature": Temperature,
    "vector": Vector,
    "platt": Platt,
    "isotonic": Isotonic,
}


def write_scaler(path: str | Path, scaler: AbstractScaler) -> None:
    """Write a fitted scaler as npz: its method by name, and its numbers under the names of its attributes.

    Raises:
        CalibrationError: if it is none of those that `calibrate` fits.
    """
    found = [name for name, kind in KINDS.items() if type(scaler) is kind]
    if not found:
        raise CalibrationError(
            f"write_scaler: expected one of {', '.join(KINDS)}, got {type(scaler).__name__}"
        )
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(scaler, field.name)) for field in fields(scaler)}  # pyright: ignore
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, method=np.asarray(found[0]), **arrays)


def read_scaler(path: str | Path) -> AbstractScaler:
    """Read a scaler that `write_scaler` wrote; it is called with logits, shape (rows, classes).

    Raises:
        CalibrationError: if the file holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kind = KINDS[str(arrays["method"])]
            return kind(**{field.name: jnp.asarray(arrays[field.name]) for field in fields(kind)})  # pyright: ignore
    except (ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"{path}: expected a scaler that `write_scaler` wrote") from error
