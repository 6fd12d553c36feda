"""Files that belong to a recording: found beside it, passed along with it, or kept in one folder with it."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foresee.driving.formats.source import read_bytes
from foresee.driving.formats.table import headless, plain
from foresee.errors import RecordingError

ENDINGS = (".csv", ".txt", ".parquet", ".xml", ".json", ".osm")
HEAD = 65_536  # bytes that tell what a file is


@dataclass(frozen=True)
class Beside:
    """Where a recording lies and which maps were passed along with it.

    Attributes:
        path: the file of the recording, or None if only its bytes are known.
        maps: map files that were passed along.
        used: those of the maps and walkers that some recording has taken.
        walkers: INTERACTION's files of vehicles -> of the pedestrians at the same place and time.
    """

    path: Path | None = None
    maps: tuple[Path, ...] = ()
    used: set[Path] = field(default_factory=set)
    walkers: Mapping[Path, Path] = field(default_factory=dict)

    def sibling(self, source: str, old: str, new: str, what: str) -> bytes:
        """The companion whose name has `new` where the recording's has `old`, gzipped or not.

        Raises:
            RecordingError: if there is none, saying what it is for.
        """
        name = self.path.name if self.path else Path(source).name
        if self.path is None or old not in name:
            raise RecordingError(f"{source}: expected a file ..{old} with its {new[1:]} beside it ({what})")
        stem = name.rsplit(old, 1)[0]
        for ending in ("", ".gz"):
            path = self.path.with_name(stem + new + ending)
            if path.is_file():
                return read_bytes(path)
        raise RecordingError(f"{source}: expected {stem}{new} beside it ({what}), found none")

    def lanelet2(self, source: str) -> Path | None:
        """The Lanelet2 map: the one passed along, map.osm beside the recording, or the only .osm beside it.

        Raises:
            RecordingError: if several were passed along and it is not clear which to take.
        """
        passed = [path for path in self.maps if _kind(path) == "osm"]
        near = [path for path in passed if self.path and path.parent == self.path.parent]
        for some in (passed, near):
            if len(some) == 1:
                self.used.add(some[0])
                return some[0]
        if passed:
            raise RecordingError(f"{source}: expected one Lanelet2 map with it, got {len(passed)}")
        beside = sorted(self.path.parent.glob("*.osm")) if self.path else []
        named = [path for path in beside if path.name == "map.osm"]
        return (named or (beside if len(beside) == 1 else [None]))[0]

    def argoverse(self, scenario: str) -> Path | None:
        """The map of an Argoverse 2 scenario: passed along or beside it, told by the scenario's name."""
        passed = [path for path in self.maps if _kind(path) == "argoverse"]
        named = [path for path in passed if scenario in path.name] or (passed if len(passed) == 1 else [])
        if named:
            self.used.add(named[0])
            return named[0]
        if self.path is None or not re.fullmatch(r"[\w.-]{1,100}", scenario):  # the name comes from the file
            return None
        beside = self.path.with_name(f"log_map_archive_{scenario}.json")
        return beside if beside.is_file() else None


def gather(paths: list[Path], *, together: bool = True) -> tuple[list[Path], Beside]:
    """Tell recordings from maps and from companions, and open folders.

    Args:
        paths: files and folders.
        together: whether INTERACTION's pedestrians are put beside the vehicles of the same scene.

    Returns:
        The recordings, and what was passed along with them.

    Raises:
        RecordingError: if there is no recording.
    """
    recordings: list[Path] = []
    maps: list[Path] = []
    for path in paths:
        inside = _inside(path)
        for one in inside:
            kind = _kind(one)
            if kind in ("osm", "argoverse") and path == one:
                maps.append(one)
            elif kind == "recording" or (kind == "prose" and path == one):
                recordings.append(one)
        if path != inside[0] and not any(one in recordings for one in inside):
            raise RecordingError(f"{path}: expected recordings in the folder, found only what goes with them")
    if not recordings:
        raise RecordingError(
            f"{paths[0]}: expected a file of recorded traffic, got a map or a table about one; "
            "give the file with the positions, or the folder"
        )
    walkers = {
        path.with_name(path.name.replace("pedestrian_", "vehicle_", 1)): path
        for path in recordings
        if together and path.name.startswith("pedestrian_tracks_")
    }
    walkers = {vehicles: path for vehicles, path in walkers.items() if vehicles in recordings}
    alone = [path for path in recordings if path not in walkers.values()]
    return alone, Beside(maps=tuple(maps), walkers=walkers)


def _inside(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        names = sorted(path.iterdir())
    except (OSError, ValueError):
        return [path]
    files = [one for one in names if not one.name.startswith(".") and one.is_file()]
    files = [one for one in files if one.name.removesuffix(".gz").lower().endswith(ENDINGS)]
    if not files:
        raise RecordingError(f"{path}: expected recordings in the folder, found no {', '.join(ENDINGS)} file")
    return files


def _kind(path: Path) -> str:
    """By its first bytes: a map ("osm", "argoverse"), one "about" recordings, "prose" or a "recording"."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head[:2] == b"\x1f\x8b":
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD)
    except (OSError, ValueError, zlib.error):
        return "recording"  # reading it as one says what is wrong
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin[:1] == b"<":
        return "osm" if re.search(rb"<\s*([A-Za-z]+:)?osm[\s>]", begin) else "recording"
    if begin[:1] == b"{":
        parts = re.search(rb'"(drivable_areas|lane_segments|pedestrian_crossings)"', begin)
        return "argoverse" if parts else "recording"
    first = begin.split(b"\n", 1)[0].decode("utf-8", "replace")
    columns = {plain(name) for name in re.split(r"[,;\t]", first)}
    if path.suffix == ".txt" and not headless(first) and len(columns) == 1:
        return "prose"
    about = {"initial_frame", "final_frame"} <= columns or {"frame_rate", "location_id"} <= columns
    return "about" if about and not {"x", "x_center"} & columns else "recording"
