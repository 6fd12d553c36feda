"""Files that appear whole or not at all, and beliefs kept in them."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import equinox as eqx

from foresee.errors import ForeseeError

T = TypeVar("T")


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and move it there when the block ends well.

    If the block fails or is interrupted, the temporary file is removed and what stood at `path` before is
    untouched.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: str | Path, tree: object) -> None:
    """Save any pytree of arrays, such as a belief or a whole filter run, so that it can be gone on from.

    Args:
        path: file to write; it appears whole or not at all.
        tree: what to keep.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        eqx.tree_serialise_leaves(file, tree)


def load(path: str | Path, like: T) -> T:
    """Load what `save` kept, bit for bit.

    Args:
        path: file written by `save`.
        like: a pytree of the same structure, shapes and types; its values are not used.

    Raises:
        ForeseeError: if the file holds something else.
    """
    try:
        with Path(path).open("rb") as file:
            return eqx.tree_deserialise_leaves(file, like)
    except (RuntimeError, ValueError, EOFError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ForeseeError(
            f"{path}: expected what `save` wrote for such a belief, got: {first_line}"
        ) from error
