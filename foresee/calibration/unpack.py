"""What a file of arrays or a table holds, unpacked and as NumPy columns. Start with `read_content`."""

import gzip
import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from foresee.errors import CalibrationError

MOST_BYTES = 2 * 1024**3  # unpacked


@dataclass(frozen=True, eq=False)
class Content:
    """The arrays or the columns of a file, by name.

    Attributes:
        source: the file.
        arrays: whether they are NumPy arrays, rather than the columns of a table.
        columns: by name; the only array of an npy file has an empty one.
        dropped: whether a first column without a name was left out.
    """

    source: str
    arrays: bool
    columns: dict[str, np.ndarray]
    dropped: bool = False

    @property
    def rows(self) -> int:
        """Number of rows of the first column."""
        return len(next(iter(self.columns.values()), ()))


def read_content(path: Path) -> Content:
    """Read npz, npy, Parquet or text, gzipped or not.

    Raises:
        CalibrationError: if it is missing, damaged, too large or something else.
    """
    source = str(path)
    data = _unzipped(_read_bytes(path), source)
    try:
        if data[:4] == b"PK\x03\x04":
            return _archive(data, source)
        if data[:6] == b"\x93NUMPY":
            return Content(source, True, {"": np.load(io.BytesIO(data), allow_pickle=False)})
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, CalibrationError):
            raise
        reason = "it holds Python objects" if "allow_pickle" in str(error) else "it is damaged"
        raise CalibrationError(f"{source}: expected NumPy arrays, but {reason}") from None
    return _table(data, source)


def as_numbers(column: np.ndarray, what: str, source: str) -> np.ndarray:
    """Return an array or a column as floats.

    Raises:
        CalibrationError: if something in it is no number; the message names the row.
    """
    if column.dtype.kind in "fiu":
        return column.astype(float)
    if column.dtype.kind in "OUS" and column.ndim == 1:
        numbers = pl.Series(column.astype(str)).str.strip_chars().cast(pl.Float64, strict=False)
        if numbers.null_count():
            row = int(numbers.is_null().arg_max() or 0)
            raise CalibrationError(
                f"{source}: expected numbers in {what}, got {shorten(str(column[row]))!r} in row {row}"
            )
        return numbers.to_numpy().astype(float)
    raise CalibrationError(f"{source}: expected numbers in {what}, got {column.dtype}")


def as_labels(column: np.ndarray, classes: tuple[str, ...], rows: int, source: str) -> np.ndarray:
    """Return labels as whole numbers: places among the classes, which text may give by name.

    Raises:
        CalibrationError: if there is not one label per row, or one is no class.
    """
    if column.shape != (rows,):
        raise CalibrationError(
            f"{source}: expected one label for each of {rows:,} rows, got {'×'.join(map(str, column.shape))}"
        )
    if column.dtype.kind in "OUSiu":
        words = np.char.strip(column.astype(str))
        if np.isin(words, classes).all():
            place = {name: index for index, name in enumerate(classes)}
            return np.array([place[word] for word in words], int)
    if column.dtype.kind in "OUS":
        column = as_numbers(column, "the labels", source)
    if column.dtype.kind not in "biuf":
        raise CalibrationError(f"{source}: expected labels that are whole numbers, got {column.dtype}")
    wrong = ~(np.isfinite(column.astype(float)) & (column == np.floor(column.astype(float))))
    wrong |= (column.astype(float) < 0) | (column.astype(float) >= len(classes))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise CalibrationError(
            f"{source}: expected labels 0 to {len(classes) - 1}, got {column[row]} in row {row}"
        )
    return column.astype(int)


def shorten(text: str, most: int = 40) -> str:
    """Return text on one line, cut where it is too long for a message."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise CalibrationError(f"{path}: expected a file, got a directory")
        if path.stat().st_size > MOST_BYTES:
            raise CalibrationError(f"{path}: expected at most {MOST_BYTES:,} bytes, got more")
        return path.read_bytes()
    except FileNotFoundError:
        raise CalibrationError(f"{path}: no such file") from None
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror or error}") from None


def _unzipped(data: bytes, source: str) -> bytes:
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise CalibrationError(f"{source}: the gzip file is truncated or damaged ({error})") from None
        if len(data) > MOST_BYTES:
            raise CalibrationError(f"{source}: expected at most {MOST_BYTES:,} bytes unpacked, got more")
    if not data.strip():
        raise CalibrationError(f"{source}: the file is empty")
    return data


def _archive(data: bytes, source: str) -> Content:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = file.infolist()
        if not any(member.filename.endswith(".npy") for member in members):
            raise CalibrationError(
                f"{source}: expected an npz archive of NumPy arrays, got another zip archive"
            )
        if sum(member.file_size for member in members) > MOST_BYTES:
            raise CalibrationError(f"{source}: expected at most {MOST_BYTES:,} bytes unpacked, got more")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Content(source, True, {name: arrays[name] for name in arrays.files})


def _table(data: bytes, source: str) -> Content:
    try:
        is_parquet = data[:4] == b"PAR1"
        table = pl.read_parquet(io.BytesIO(data)) if is_parquet else _text(data, source)
    except CalibrationError:
        raise
    except (pl.exceptions.PolarsError, OSError, ValueError, OverflowError) as error:
        reason = shorten(str(error).strip().split("\n")[0], 120)
        raise CalibrationError(f"{source}: cannot be read as a table ({reason})") from None
    except BaseException as error:  # polars turns its own crashes on damaged files into this odd class
        if type(error).__name__ != "PanicException":
            raise
        raise CalibrationError(f"{source}: cannot be read as a table (the file is damaged)") from None
    dropped = table.columns[0].strip() in ("", "__index_level_0__") if table.width > 1 else False
    if dropped:
        table = table.drop(table.columns[0])
    columns = {}
    for name in table.columns:
        series = table[name]
        if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
            raise CalibrationError(
                f"{source}: expected numbers in column {shorten(name)!r}, got {series.dtype}"
            )
        if series.null_count():
            row = int(series.is_null().arg_max() or 0)
            raise CalibrationError(
                f"{source}: expected a value in every row of column {shorten(name)!r}, got none in row {row}"
            )
        number = series.dtype.is_numeric() or series.dtype == pl.Boolean
        columns[name.strip()] = (series if number else series.cast(pl.String)).to_numpy()
    return Content(source, False, columns, dropped)


def _text(data: bytes, source: str) -> pl.DataFrame:
    try:
        text = data.decode("utf-8-sig").lstrip("\r\n")
    except UnicodeDecodeError as error:
        raise CalibrationError(
            f"{source}: expected npz, npy, Parquet or text in UTF-8, got byte 0x{data[error.start]:02x} at "
            f"{error.start:,}"
        ) from None
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    if separator not in header and " " in header.strip():
        separator = " "
        text = re.sub(r"[ \t]+", " ", re.sub(r"(?m)^[ \t]+|[ \t]+$", "", text))
    cells = [cell.strip().strip('"') for cell in header.split(separator)]
    if len(cells) > 1 and all(_is_number(cell) for cell in cells) and len(set(cells)) < len(cells):
        raise CalibrationError(
            f"{source}: expected a first line with the names of the columns, got {shorten(header)}"
        )
    return pl.read_csv(
        io.BytesIO(text.encode()), separator=separator, infer_schema=False, raise_if_empty=True
    ).fill_null("")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
