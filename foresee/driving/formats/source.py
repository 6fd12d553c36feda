"""The bytes of an input file, unpacked and bounded, or a one-line error."""

import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

from foresee.errors import RecordingError

MOST_BYTES = 2 * 1024**3
OTHERS = {b"PK\x03\x04": "a zip archive", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}


def read_bytes(path: Path) -> bytes:
    """The content of a file, gunzipped if its first bytes say so.

    Raises:
        RecordingError: if it is missing, a directory, unreadable, empty, truncated or too large.
    """
    try:
        if path.is_dir():
            raise RecordingError(f"{path}: expected a file, got a directory")
        data = path.read_bytes()
    except FileNotFoundError:
        raise RecordingError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return unpack(data, str(path))


def unpack(data: bytes, source: str) -> bytes:
    """Gunzip the content of a file if it is gzipped.

    Raises:
        RecordingError: if it is empty, truncated, too large or packed in another way.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise RecordingError(f"{source}: the gzip file is truncated or damaged ({error})") from None
        if len(data) > MOST_BYTES:
            raise RecordingError(f"{source}: expected at most {MOST_BYTES:,} bytes unpacked, got more")
    for magic, name in OTHERS.items():
        if data.startswith(magic):
            raise RecordingError(f"{source}: expected a plain or gzipped file, got {name}; unpack it first")
    if not data.strip():
        raise RecordingError(f"{source}: the file is empty")
    return data


def decode(data: bytes, source: str) -> str:
    """The text of a file.

    Raises:
        RecordingError: if it is not UTF-8 or holds zero bytes.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise RecordingError(f"{source}: expected text in UTF-8, got UTF-16")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordingError(
            f"{source}: expected text in UTF-8, got byte 0x{data[error.start]:02x} at {error.start:,}"
        ) from None
    if "\0" in text:
        raise RecordingError(
            f"{source}: expected text, got binary data (a zero byte at {text.index(chr(0)):,})"
        )
    return text


def parse_json(data: bytes, source: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        RecordingError: if it is damaged or holds something else.
    """
    try:
        value = json.loads(decode(data, source))
    except RecursionError:
        raise RecordingError(f"{source}: the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise RecordingError(
            f"{source}: the JSON is truncated or damaged ({error.msg} in line {error.lineno})"
        ) from None
    except RecordingError:
        raise
    except ValueError as error:  # an integer with more digits than Python reads
        raise RecordingError(f"{source}: the JSON cannot be read ({str(error)[:100]})") from None
    if not isinstance(value, dict):
        raise RecordingError(f"{source}: expected a JSON object, got a {type(value).__name__}")
    return value
