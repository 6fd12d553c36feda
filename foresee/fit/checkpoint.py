"""Checkpoints of a training run: one file that appears whole or not at all, and a check that it belongs."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from foresee.errors import ForeseeError
from foresee.storage import whole_file


def fingerprint(*trees: PyTree) -> str:
    """Return a digest of all arrays and structures, to tell whether a run is the one that was interrupted."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        if isinstance(leaf, jax.Array | np.ndarray):
            array = np.asarray(_plain(leaf))
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        elif isinstance(leaf, bool | int | float | str):
            digest.update(repr(leaf).encode())
    return digest.hexdigest()


def write(path: Path, mark: str, epoch: int, state: PyTree, record: PyTree) -> None:
    """Write everything that going on needs; an interruption leaves the checkpoint before."""
    leaves = {f"state_{i}": np.asarray(_plain(leaf)) for i, leaf in enumerate(jax.tree.leaves(state))}
    leaves |= {f"record_{i}": np.asarray(leaf)[: epoch + 1] for i, leaf in enumerate(jax.tree.leaves(record))}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, mark=np.asarray(mark), epoch=np.asarray(epoch), **leaves)  # pyright: ignore[reportArgumentType]


def read(path: Path, mark: str, state: PyTree, record: PyTree) -> tuple[int, Any, Any]:
    """Return the epoch, state and record of a checkpoint.

    Args:
        path: file that `write` made.
        mark: fingerprint of the run that is to go on.
        state: state of the same structure, whose values are not used.
        record: record with room for all epochs, into which the written ones are put.

    Raises:
        ForeseeError: if the file is no checkpoint, or one of another run or a longer one.
    """
    try:
        with np.load(path) as file:
            held = {name: file[name] for name in file.files}
        written, epoch = str(held["mark"]), int(held["epoch"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ForeseeError(f"{path}: expected a checkpoint of a training run, got: {error}") from error
    if written != mark:
        raise ForeseeError(
            f"{path}: expected a checkpoint of this run, got one of another model, data, key or option; "
            "move it away to start anew"
        )
    room = jax.tree.leaves(record)[0].shape[0] - 1
    if epoch > room:
        raise ForeseeError(f"{path}: expected a checkpoint of at most {room} epochs, got one of {epoch}")
    leaves, structure = jax.tree.flatten(state)
    filled = [_like(held[f"state_{i}"], leaf) for i, leaf in enumerate(leaves)]
    rows, record_structure = jax.tree.flatten(record)
    rows = [leaf.at[: epoch + 1].set(held[f"record_{i}"]) for i, leaf in enumerate(rows)]
    return epoch, jax.tree.unflatten(structure, filled), jax.tree.unflatten(record_structure, rows)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(array: np.ndarray, leaf: Any) -> Any:
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    return jnp.asarray(array, leaf.dtype)
