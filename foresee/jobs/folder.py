"""The folder a job writes into, its tables, and the cache of what JAX compiles."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import jax
import polars as pl

from foresee.storage import whole_file


def keep_compiled() -> None:
    """Keep what JAX compiles in the user's cache, so that only the first run waits for it."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "foresee" / "jax"))


@contextmanager
def writable_folder(out: Path) -> Iterator[None]:
    """Make the folder and try it before any work is done; leave no empty one behind if the work fails."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
        yield
    except BaseException:
        for folder in missing:
            try:
                folder.rmdir()
            except OSError:
                break  # it holds something, or was never made
        raise


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table as Parquet; the file appears whole or not at all."""
    buffer = io.BytesIO()  # so that a full disk is met by Python, as an OSError
    table.write_parquet(buffer)
    with whole_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
