"""What a run has finished so far, kept beside its results, so that the same command goes on from there."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import polars as pl

from foresee.driving.accuracy import OneStepScores
from foresee.driving.findings import Training
from foresee.driving.futures.scores import ForecastScores
from foresee.driving.intervals import Estimate
from foresee.driving.recording import Recording
from foresee.driving.states import Learned, OneStep
from foresee.storage import whole_file

FOLDER, MARK = ".progress", "mark"
KINDS = {
    each.__name__: each for each in (Estimate, ForecastScores, Learned, OneStep, OneStepScores, Training)
}
T = TypeVar("T")


class Pieces:
    """Finished pieces of a run, in a hidden folder beside the results.

    Args:
        out: the folder with the results.
        mark: what tells this run from others: a digest of its input and options.
        fresh: whether to throw away what is there.
    """

    def __init__(self, out: Path, mark: str, *, fresh: bool = False):
        self.folder, self.mark = out / FOLDER, mark
        before = self._marked()
        self.other = before is not None and before != mark
        self.resumed = before == mark and not fresh
        if not self.resumed and self.folder.exists():
            shutil.rmtree(self.folder)

    def __call__(self, name: str, make: Callable[[], T]) -> T:
        """Return a piece: read if it was finished before, else made now and kept."""
        path = self.path(f"{name}.npz")
        if path.exists():
            found = read_piece(path)
            if found is not None:
                return found[0]
        value = make()
        self.begin()
        write_piece(path, value)
        return value

    def path(self, name: str) -> Path:
        """Return where a file of this run is kept."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Return whether a piece was finished before."""
        return self.path(f"{name}.npz").exists()

    def begin(self) -> None:
        """Make the folder, if it is not there yet."""
        if self._marked() is not None:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            with whole_file(self.folder / MARK) as temporary:
                temporary.write_bytes(self.mark.encode())
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def forget_empty(self) -> None:
        """Take the folder away if no piece is in it."""
        if self.folder.is_dir() and all(path.name == MARK for path in self.folder.iterdir()):
            shutil.rmtree(self.folder)

    def _marked(self) -> str | None:
        try:
            return (self.folder / MARK).read_text()
        except OSError:
            return None


def digest(*parts: Any) -> str:
    """Return a digest of recordings, arrays, and whatever JSON can write."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Recording):
            for each in fields(part):
                found.update(f"{each.name}:".encode())
                _take(found, getattr(part, each.name))
        else:
            _take(found, part)
    return found.hexdigest()


def _take(found: Any, value: Any) -> None:
    if isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"{value.shape}{value.dtype}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, np.ndarray):
        found.update(repr(value.tolist()).encode())
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            _take(found, getattr(value, each.name))
    elif isinstance(value, Mapping):
        for name in value:
            found.update(repr(name).encode())
            _take(found, value[name])
    elif isinstance(value, tuple | list):
        found.update(f"{len(value)}".encode())
        for each in value:
            _take(found, each)
    else:
        found.update(repr(value).encode())


def write_piece(path: Path, value: Any) -> None:
    """Write numbers, texts, arrays, tables, and the dataclasses named in `KINDS`, nested as one likes."""
    arrays: dict[str, np.ndarray] = {}
    shape = _shape_of(value, arrays)
    buffer = io.BytesIO()  # so that a full disk is met by Python, as an OSError
    np.savez(buffer, shape=np.asarray(json.dumps(shape)), **arrays)  # pyright: ignore[reportArgumentType]
    with whole_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_piece(path: Path) -> tuple[Any] | None:
    """Return what `write_piece` wrote, by itself in a tuple; None if the file is something else."""
    try:
        with Path(path).open("rb") as opened, np.load(opened) as file:
            arrays = {name: file[name] for name in file.files}
        return (_value_of(json.loads(str(arrays["shape"])), arrays),)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None


def _shape_of(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return the structure of a value for JSON, and put its arrays aside."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, pl.DataFrame):
        buffer = io.BytesIO()
        value.write_parquet(buffer)
        return ["table", _put(np.frombuffer(buffer.getvalue(), np.uint8), arrays)]
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        array = np.asarray(value)
        kind = "texts" if array.dtype == object else "array"
        return [kind, _put(array.astype(str) if kind == "texts" else array, arrays)]
    if isinstance(value, Mapping):
        return ["dict", [[name, _shape_of(each, arrays)] for name, each in value.items()]]
    if isinstance(value, tuple | list):
        return ["tuple", [_shape_of(each, arrays) for each in value]]
    kind = type(value).__name__
    if KINDS.get(kind) is not type(value):
        raise TypeError(f"expected a piece made of {', '.join(KINDS)}, arrays and numbers, got {kind}")
    return [kind, [[each.name, _shape_of(getattr(value, each.name), arrays)] for each in fields(value)]]


def _put(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    name = f"array_{len(arrays)}"
    arrays[name] = array
    return name


def _value_of(shape: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(shape, list):
        return shape
    kind, held = shape
    match kind:
        case "array":
            return arrays[held]
        case "texts":
            return arrays[held].astype(object)
        case "table":
            return pl.read_parquet(io.BytesIO(arrays[held].tobytes()))
        case "dict":
            return {name: _value_of(each, arrays) for name, each in held}
        case "tuple":
            return tuple(_value_of(each, arrays) for each in held)
        case _:
            return KINDS[kind](**{name: _value_of(each, arrays) for name, each in held})
