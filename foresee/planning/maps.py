"""Maps in files: MovingAI .map and its scenarios, pictures, arrays of occupancy. Start with `read_map`."""

import gzip
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.errors import MapError
from foresee.planning.grid import MOST_CELLS, Grid

MOST_BYTES = 2 * 1024**3  # unpacked
PASSABLE = b".GS"  # ground, and swamp, which is entered at no extra cost
BLOCKED = b"@OTW"  # out of bounds, trees, water
NAMES = ("occupancy", "probability", "occupied", "blocked")
FREE_NAMES = ("free", "passable")
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"P5", b"P2")


@dataclass(frozen=True, eq=False)
class Map:
    """A map as it was read.

    Attributes:
        source: the file.
        kind: its format, in words.
        occupancy: probability that a cell is occupied, rows from the top; 0 or 1 where nothing else is known.
    """

    source: str
    kind: str
    occupancy: Float[np.ndarray, "rows columns"]

    def grid(self, threshold: float = 0.5) -> Grid:
        """Return the grid on which cells occupied with this probability or more are blocked."""
        if not 0 < threshold <= 1:
            raise MapError(f"expected a threshold above 0 and at most 1, got {threshold}")
        return Grid(self.occupancy < threshold)


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Queries with published optimal lengths.

    Attributes:
        starts: column and row.
        goals: column and row.
        lengths: published length of a shortest path [cells].
        digits: digits after the point that each length was published with.
    """

    starts: Int[np.ndarray, "queries 2"]
    goals: Int[np.ndarray, "queries 2"]
    lengths: Float[np.ndarray, " queries"]
    digits: Int[np.ndarray, " queries"]

    def __len__(self) -> int:
        return len(self.lengths)


def read_map(path: str | Path) -> Map:
    """Read a map; the format is told by the content, and any file may be gzipped.

    It may be MovingAI's .map; a PNG (or JPEG, BMP, PGM), whose dark pixels are obstacles; an npz or npy array
    with probabilities of occupancy from 0 to 1 (or truth values), rows from the top, under the name
    `occupancy`, or `free` for its opposite.

    Raises:
        MapError: if it cannot be read as a map; the message is one line and names the file.
        OSError: if there is no such file.
    """
    content = _unpacked(Path(path))
    if content[:4] in (b"PK\x03\x04", b"PK\x05\x06") or content[:6] == b"\x93NUMPY":
        return Map(str(path), "array of occupancy", _array(path, content))
    if content.startswith(PICTURES):
        return Map(str(path), "picture", _picture(path, content))
    if content[:4].lower() == b"type":
        return Map(str(path), "MovingAI map", (~_moving_ai(path, content)).astype(float))
    raise MapError(
        f"{path}: expected a MovingAI map (its first word is 'type'), a picture, an npz or an npy file, got "
        f"a file that begins with {content[:12]!r}"
    )


def read_scenarios(path: str | Path) -> Scenarios:
    """Read a MovingAI .scen file, gzipped or not.

    Raises:
        MapError: if a line is not that of a scenario.
    """
    lines = _unpacked(Path(path)).decode("utf-8", "replace").splitlines()
    if not lines or not lines[0].lower().startswith("version"):
        raise MapError(f"{path}: expected a scenario file, whose first line begins with 'version'")
    places, lengths, digits = [], [], []
    for number, line in enumerate(lines[1:], start=2):
        words = line.split()
        if not words:
            continue
        try:
            places.append([int(word) for word in words[-5:-1]])
            lengths.append(float(words[-1]))
        except ValueError:
            places.append([])
        if len(words) < 9 or len(places[-1]) != 4:
            raise MapError(
                f"{path}, line {number}: expected bucket, map, width, height, start column and row, goal "
                f"column and row, and length, got {line[:80]!r}"
            )
        digits.append(len(words[-1].partition(".")[2]))
    table = np.array(places, np.int64).reshape(-1, 4)
    return Scenarios(table[:, :2], table[:, 2:], np.array(lengths, float), np.array(digits, np.int64))


def _unpacked(path: Path) -> bytes:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            content = (gzip.GzipFile(fileobj=file) if packed else file).read(MOST_BYTES + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise MapError(f"{path}: expected a whole gzip file, got: {error}") from error
    if len(content) > MOST_BYTES:
        raise MapError(f"{path}: expected at most {MOST_BYTES:,} bytes, got more")
    if not content:
        raise MapError(f"{path}: expected a map, got an empty file")
    return content


def _moving_ai(path: str | Path, content: bytes) -> Bool[np.ndarray, "rows columns"]:
    """Return which cells are free."""
    head, mark, body = content.partition(b"\nmap")
    words = head.split()
    values = dict(zip(words[::2], words[1::2], strict=False))
    try:
        rows, columns = int(values[b"height"]), int(values[b"width"])
    except (KeyError, ValueError):
        raise MapError(f"{path}: expected lines 'height N' and 'width N' before the line 'map'") from None
    if not mark or rows < 1 or columns < 1 or rows * columns > MOST_CELLS:
        raise MapError(f"{path}: expected a line 'map' after a height and a width of 1 or more")
    lines = body.split(b"\n")[1:]
    lines = [line.rstrip(b"\r") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    wrong = next((number for number, line in enumerate(lines) if len(line) != columns), None)
    if len(lines) != rows or wrong is not None:
        got = f"{len(lines)} rows" if wrong is None else f"{len(lines[wrong])} cells in row {wrong}"
        raise MapError(f"{path}: expected {rows} rows of {columns} cells, as its head says, got {got}")
    cells = np.frombuffer(b"".join(lines), np.uint8).reshape(rows, columns)
    strange = set(np.unique(cells).tolist()) - set(PASSABLE + BLOCKED)
    if strange:
        raise MapError(
            f"{path}: expected cells out of {(PASSABLE + BLOCKED).decode()}, got {chr(min(strange))!r}"
        )
    return np.isin(cells, np.frombuffer(PASSABLE, np.uint8))


def _picture(path: str | Path, content: bytes) -> Float[np.ndarray, "rows columns"]:
    """Return how dark each pixel is."""
    from PIL import Image  # comes with matplotlib

    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > MOST_CELLS:
                raise MapError(f"{path}: expected at most {MOST_CELLS:,} pixels, got {picture.size}")
            if picture.mode in ("I", "I;16", "F"):
                raise MapError(f"{path}: expected a picture of 8 bits per colour, got mode {picture.mode}")
            opaque = Image.new("RGBA", picture.size, "white")
            opaque.alpha_composite(picture.convert("RGBA"))
            light = np.asarray(opaque.convert("L"), float)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, MapError):
            raise
        raise MapError(f"{path}: expected a picture that can be read, got: {error}") from error
    return 1 - light / 255


def _array(path: str | Path, content: bytes) -> Float[np.ndarray, "rows columns"]:
    """Return probabilities of occupancy."""
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            name, array = "occupancy", loaded
        else:
            known = [each for each in (*NAMES, *FREE_NAMES) if each in loaded.files]
            if not known and len(loaded.files) != 1:
                raise MapError(f"{path}: expected an array 'occupancy' or 'free', got {loaded.files}")
            name = known[0] if known else loaded.files[0]
            array = loaded[name]
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MapError(f"{path}: expected NumPy arrays, got: {error}") from error
    except ValueError as error:
        if isinstance(error, MapError):
            raise
        raise MapError(f"{path}: expected NumPy arrays without Python objects, got: {error}") from error
    if array.ndim != 2 or not array.size or array.dtype.kind not in "bfiu":
        raise MapError(
            f"{path}: expected {name} as rows × columns of numbers, got {array.dtype} {array.shape}"
        )
    values = array.astype(float)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise MapError(
            f"{path}: expected {name} between 0 and 1, got values from {values.min()} to {values.max()}"
        )
    return 1 - values if name in FREE_NAMES else values
