"""Tables of text or Parquet as polars frames: separators, headers, numbers, names."""

import io
import re

import polars as pl

from foresee.driving.formats.rows import shorten
from foresee.driving.formats.source import decode
from foresee.driving.recording import LANES_KEY
from foresee.errors import RecordingError


def plain(name: str) -> str:
    """A column's name in lower case with single underscores: `Local_X`, `local x` and `localX` agree."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def first_line(text: str) -> str:
    """The first line that is not blank."""
    return next((line for line in text.splitlines() if line.strip()), "")


def is_number(cell: str) -> bool:
    """Whether a cell of text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def headless(text: str) -> bool:
    """Whether the table begins with numbers and not with the names of columns."""
    return all(is_number(cell) for cell in re.split(r"[,;\s]+", first_line(text).strip(" ,;\t")) if cell)


def read_table(data: bytes, source: str) -> pl.DataFrame:
    """Parquet, or text with a header, as a frame; every cell of text stays text.

    Raises:
        RecordingError: if it is neither.
    """
    try:
        if data[:4] == b"PAR1":
            return pl.read_parquet(io.BytesIO(data))
        return _read_text(decode(data, source), source)
    except RecordingError:
        raise
    except (pl.exceptions.PolarsError, OSError, ValueError, OverflowError) as error:
        what = shorten(str(error).strip().split("\n")[0], 120)
        raise RecordingError(f"{source}: cannot be read as a table ({what})") from None
    except BaseException as error:  # polars turns its own crashes on damaged files into this odd class
        if type(error).__name__ != "PanicException":
            raise
        raise RecordingError(f"{source}: cannot be read as a table (the file is damaged)") from None


def _read_text(text: str, source: str) -> pl.DataFrame:
    header = first_line(text)
    separator = max(",;\t", key=header.count)
    if headless(text):
        raise RecordingError(
            f"{source}: expected a first line with the names of the columns, got numbers: {shorten(header)}"
        )
    if separator not in header:
        separator = " "
        text = re.sub(r"[ \t]+", " ", re.sub(r"(?m)^[ \t]+|[ \t]+$", "", text))
    table = _parse(text, separator, has_header=True)
    if separator == ";":  # where ; separates, a comma is the decimal point
        table = table.with_columns(pl.all().str.replace_all(",", ".", literal=True))
    return table


def read_columns(text: str) -> pl.DataFrame:
    """Columns of text without a header, separated by blanks; short rows are filled with null."""
    text = re.sub(r"[ \t]+", " ", re.sub(r"(?m)^[ \t]+|[ \t]+$", "", text))
    return _parse(text, " ", has_header=False)


def _parse(text: str, separator: str, *, has_header: bool) -> pl.DataFrame:
    return pl.read_csv(
        io.BytesIO(text.lstrip("\r\n").encode()),
        separator=separator,
        has_header=has_header,
        infer_schema=False,
        truncate_ragged_lines=True,
        raise_if_empty=True,
        quote_char='"' if separator != " " else None,
    )


def needed(table: pl.DataFrame, names: tuple[str, ...], source: str) -> dict[str, str]:
    """Find columns that a format always has, whatever the case of their letters: {"xCenter": "xCenter"}.

    Raises:
        RecordingError: naming those that are missing, or if there is no row.
    """
    plains = {plain(column): column for column in reversed(table.columns)}
    missing = [name for name in names if plain(name) not in plains]
    if missing:
        there = ", ".join(shorten(column, 30) for column in table.columns[:15])
        raise RecordingError(f"{source}: missing column {', '.join(missing)}; got columns {there}")
    if table.height == 0:
        raise RecordingError(f"{source}: expected rows, got none")
    return {name: plains[plain(name)] for name in names}


def lanes_of_parquet(data: bytes) -> str | None:
    """The map that `Recording.write` put into a Parquet file, as text."""
    try:
        return pl.read_parquet_metadata(io.BytesIO(data)).get(LANES_KEY)
    except (pl.exceptions.PolarsError, OSError, ValueError):
        return None


def as_number(table: pl.DataFrame, column: str) -> pl.Series:
    """A column as float64, null where it holds no number."""
    series = table[column]
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        return pl.Series(column, [None] * len(series), pl.Float64)
    if series.dtype == pl.String:
        series = series.str.strip_chars()
    return series.cast(pl.Float64, strict=False).alias(column)


def as_text(table: pl.DataFrame, column: str) -> pl.Series:
    """A column as text; whole numbers without a decimal point, however many digits they have."""
    series = table[column]
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        return pl.Series(column, [None] * len(series), pl.String)
    if series.dtype.is_float() and series.drop_nulls().is_finite().all():
        whole = series.cast(pl.Int64, strict=False)
        if (whole.cast(pl.Float64) == series.cast(pl.Float64)).fill_null(True).all():
            series = whole
    return series.cast(pl.String, strict=False).str.replace_all("\0", "", literal=True)


def as_frame_number(table: pl.DataFrame, column: str, source: str) -> pl.Series:
    """A column as int64 frame numbers, null where it holds no number.

    Raises:
        RecordingError: if a number is not whole or does not fit.
    """
    number = as_number(table, column)
    number = pl.select(pl.when(pl.lit(number).is_finite()).then(pl.lit(number))).to_series()
    bad = number.filter(((number - number.floor()) != 0) | (number.abs() >= 9e18))
    if len(bad):
        raise RecordingError(f"{source}: expected whole frame numbers in {shorten(column)}, got {bad[0]:g}")
    exact = table[column].str.strip_chars() if table[column].dtype == pl.String else table[column]
    if exact.dtype != pl.String and not exact.dtype.is_integer():
        return number.cast(pl.Int64, strict=False).alias(column)
    # text and integers go straight to int64: float64 cannot tell frames beyond 2^53 apart
    exact = exact.cast(pl.Int64, strict=False)
    return (
        pl.select(pl.coalesce(pl.lit(exact), pl.lit(number.cast(pl.Int64, strict=False))))
        .to_series()
        .alias(column)
    )
