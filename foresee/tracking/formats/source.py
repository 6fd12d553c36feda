"""The lines of a file that a user brings, unpacked, or one line that says why not."""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from foresee.errors import TrackingError

MOST_BYTES = 2 * 1024**3
OTHERS = {b"PK\x03\x04": "a zip archive", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, gzipped or not.

    Raises:
        TrackingError: if it is missing, unreadable, damaged, too large, or no text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TrackingError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TrackingError(f"{path}: expected a file, got a directory") from None
    except OSError as error:
        raise TrackingError(f"{path}: cannot be read: {error.strerror or error}") from None
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise TrackingError(f"{path}: the gzip file is truncated or damaged ({error})") from None
    for magic, name in OTHERS.items():
        if data.startswith(magic):
            raise TrackingError(f"{path}: expected a plain or gzipped file, got {name}; unpack it first")
    if len(data) > MOST_BYTES:
        raise TrackingError(f"{path}: expected at most {MOST_BYTES:,} bytes, got more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"byte 0x{data[error.start]:02x} at {error.start:,}"
        raise TrackingError(f"{path}: expected text in UTF-8, got {got}") from None
    if "\0" in text:
        raise TrackingError(f"{path}: expected text, got binary data")
    return text.splitlines()


def numbers(
    source: str, lines: list[str], columns: range, what: str, separator: str | None = ","
) -> tuple[Float[np.ndarray, "rows columns"], Int[np.ndarray, " rows"]]:
    """Return the numbers of all lines that are not blank, and the numbers of these lines, counted from 1.

    Args:
        source: name of the file.
        lines: its lines.
        columns: how many columns there may be; all lines have as many as the first.
        what: what a line should be, in words.
        separator: what stands between columns; None for blanks.

    Raises:
        TrackingError: naming the first line that has another number of columns, or what is no finite number.
    """
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    places = np.array([number for number, _ in filled], int)
    cells = [line.strip().rstrip(",").split(separator) for _, line in filled]
    wide = len(cells[0]) if cells else columns.start
    for number, row in zip(places, cells, strict=True):
        if len(row) not in columns or len(row) != wide:
            got = f"{len(row)} columns"
            raise TrackingError(f"{source}, line {number}: expected {what}, got {got}: {shorten(row)}")
    try:
        table = np.array(cells, float).reshape(-1, wide)
    except ValueError:
        raise TrackingError(_first_that_is_none(source, places, cells)) from None
    wrong = np.argwhere(~np.isfinite(table))
    if len(wrong):
        row, column = wrong[0]
        raise TrackingError(
            f"{source}, line {places[row]}: expected finite numbers, got {cells[row][column].strip()!r} in "
            f"column {column + 1}"
        )
    return table, places


def whole(source: str, values: Float[np.ndarray, " rows"], places: Int[np.ndarray, " rows"], what: str):
    """Return a column as whole numbers.

    Raises:
        TrackingError: naming the first line where it is none.
    """
    wrong = np.flatnonzero((values != np.round(values)) | (np.abs(values) > 2**53))
    if len(wrong):
        row = wrong[0]
        raise TrackingError(
            f"{source}, line {places[row]}: expected a whole number as {what}, got {values[row]:g}"
        )
    return values.astype(np.int64)


def shorten(row: list[str], most: int = 60) -> str:
    """Return a line of a file, or its beginning."""
    text = ",".join(row)
    return text if len(text) <= most else text[:most] + "…"


def _first_that_is_none(source: str, places: np.ndarray, cells: list[list[str]]) -> str:
    for number, row in zip(places, cells, strict=True):
        for column, cell in enumerate(row, 1):
            try:
                float(cell)
            except ValueError:
                return (
                    f"{source}, line {number}: expected numbers, got {cell.strip()[:30]!r} in column {column}"
                )
    return f"{source}: expected numbers"
