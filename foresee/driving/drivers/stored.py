"""Drivers and worlds in files that say themselves what they hold, so that one line loads them.

A file holds the names of the classes, their settings and the shapes of their arrays as JSON, and the arrays.
Only classes of this library are made again, and nothing else in a file is ever run.
"""

import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from foresee.driving.driver import AbstractDriver
from foresee.errors import ForeseeError
from foresee.storage import whole_file

FORMAT, ROOM = "foresee module 1", "foresee."
READING = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, ImportError, BadZipFile)
# What else a module may hold: its layers, and the functions between them.
LAYERS = {each.__name__: each for each in (eqx.nn.Linear, eqx.nn.MLP, eqx.nn.Dropout, eqx.nn.LayerNorm)}


def save_driver(path: str | Path, driver: AbstractDriver) -> None:
    """Save a driver; the file appears whole or not at all.

    Args:
        path: file to write, named `.eqx` by convention.
        driver: what to keep, of this library.

    Raises:
        ForeseeError: if part of the driver cannot be kept, as a function of one's own.
    """
    with whole_file(path) as temporary:
        save_module(temporary, driver, {"kind": "driver", "name": str(getattr(driver, "name", ""))})


def load_driver(path: str | Path) -> AbstractDriver:
    """Load a driver that `save_driver` kept.

    Raises:
        ForeseeError: if the file holds something else.
    """
    driver, _ = load_module(path)
    if not isinstance(driver, AbstractDriver):
        raise ForeseeError(f"{path}: expected a driver, got {type(driver).__name__}")
    return driver


def save_module(path: str | Path, module: eqx.Module, said: Mapping[str, Any]) -> None:
    """Write a module of this library, and what is to be known of it."""
    arrays: dict[str, np.ndarray] = {}
    shape = {"format": FORMAT, "said": dict(said), "module": _shape_of(module, arrays)}
    buffer = io.BytesIO()  # so that a full disk is met by Python, as an OSError
    np.savez(buffer, shape=np.asarray(json.dumps(shape)), **arrays)  # pyright: ignore[reportArgumentType]
    Path(path).write_bytes(buffer.getbuffer())


def load_module(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Return a module that `save_module` wrote, and what is to be known of it.

    Raises:
        ForeseeError: if the file holds something else.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened) as file:
            arrays = {name: file[name] for name in file.files}
        shape = json.loads(str(arrays["shape"]))
        if shape["format"] != FORMAT:
            raise ValueError(f"format {shape['format']!r}")
        return _value_of(shape["module"], arrays), shape["said"]
    except FileNotFoundError:
        raise
    except READING as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ForeseeError(f"{path}: expected a driver or a world, got: {reason}") from error


@cache
def _functions() -> dict[str, Any]:
    """Return the functions that may stand between layers, by name."""
    plain = eqx.nn.MLP(1, 1, 1, 0, key=jax.random.key(0)).final_activation  # Equinox does not name it
    return {
        "silu": jax.nn.silu,
        "relu": jax.nn.relu,
        "gelu": jax.nn.gelu,
        "tanh": jnp.tanh,
        "identity": plain,
    }


def _shape_of(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return the structure of a value for JSON, and put its arrays aside."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, jax.Array | np.ndarray):
        name = f"array_{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"array": name}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_shape_of(each, arrays) for each in value]}
    if isinstance(value, eqx.Module):
        kind = type(value)
        known = (
            kind.__name__ if LAYERS.get(kind.__name__) is kind else f"{kind.__module__}:{kind.__qualname__}"
        )
        if known != kind.__name__ and not kind.__module__.startswith(ROOM):
            raise ForeseeError(f"expected a module of foresee to save, got one of {kind.__module__}")
        held = {each.name: _shape_of(getattr(value, each.name), arrays) for each in fields(value)}
        return {"class": known, "fields": held}
    for name, function in _functions().items():
        if value is function:
            return {"function": name}
    raise ForeseeError(f"expected arrays, settings and modules to save, got {type(value).__name__}")


def _value_of(shape: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(shape, dict):
        return shape
    if "array" in shape:
        return jnp.asarray(arrays[shape["array"]])
    if "function" in shape:
        return _functions()[shape["function"]]
    if "class" in shape:
        made = object.__new__(_class_of(shape["class"]))
        for name, held in shape["fields"].items():
            object.__setattr__(made, name, _value_of(held, arrays))
        return made
    (kind, held), *_ = shape.items()
    return {"tuple": tuple, "list": list}[kind](_value_of(each, arrays) for each in held)


def _class_of(name: str) -> type:
    """Return a class by its name; only modules of this library and a few layers are ever looked up."""
    if name in LAYERS:
        return LAYERS[name]
    room, _, kind = name.partition(":")
    if not room.startswith(ROOM) or not kind.isidentifier():
        raise ValueError(f"the class {name!r}")
    found = getattr(importlib.import_module(room), kind)
    if not (isinstance(found, type) and issubclass(found, eqx.Module)):
        raise ValueError(f"the class {name!r}")
    return found
