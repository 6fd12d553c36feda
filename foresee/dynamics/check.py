"""Checks of the parameters and arguments of models; traced values pass, for they cannot be looked at."""

from typing import Any

import equinox as eqx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from foresee.errors import ForeseeError, ShapeError


def _concrete(module: eqx.Module, name: str) -> Any:
    value = getattr(module, name)
    return np.zeros(0) if isinstance(value, Tracer) or not hasattr(value, "shape") else np.asarray(value)


def check_not_negative(module: eqx.Module, *names: str) -> None:
    """Raise ForeseeError unless the named parameters are finite numbers ≥ 0."""
    for name in names:
        value = _concrete(module, name)
        if not (np.isfinite(value) & (value >= 0)).all():
            raise ForeseeError(f"{type(module).__name__}: expected {name} finite and ≥ 0, got {value}")


def check_positive(module: eqx.Module, *names: str) -> None:
    """Raise ForeseeError unless the named parameters are positive numbers or infinite."""
    for name in names:
        value = _concrete(module, name)
        if not (value > 0).all():
            raise ForeseeError(f"{type(module).__name__}: expected {name} > 0, got {value}")


def check_size(module: eqx.Module, x: Array, size: int, what: str = "a state") -> None:
    """Raise ShapeError unless x is a vector of `size` numbers."""
    if x.shape != (size,):
        raise ShapeError(f"{type(module).__name__}: expected {what} of shape ({size},), got {x.shape}")
