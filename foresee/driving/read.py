"""The front door for recordings: files in, one recording out, whatever the format."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from foresee.driving import commonroad, ngsim, tidy
from foresee.driving.recording import CHANNELS, Recording
from foresee.driving.rows import MOST_CELLS, shorten
from foresee.driving.source import decode, read_bytes, unpack
from foresee.driving.table import headless, read_table
from foresee.errors import RecordingError


def read_recording(
    paths: str | Path | Iterable[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read one or more files of recorded traffic; the format is told by their content, not their names.

    Known are CommonRoad XML, tables with named columns (CSV or Parquet) and NGSIM's own layouts, each
    plain or gzipped.

    Args:
        paths: the file or files. Scenes of several files stay apart.
        columns: what the file calls its columns, as {"x": "Local_X"}, where it uses names of its own.
        frame_rate: frames per second [Hz], where the file only counts frames.
        units: unit of length in the file, "m" or "ft"; by default what the format says (NGSIM: feet).

    Raises:
        RecordingError: one line that says what was expected and what came.
    """
    several = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not several:
        raise RecordingError("expected at least one file, got none")
    recordings = [
        recording_from_bytes(
            read_bytes(path), shorten(path, 200), columns=columns, frame_rate=frame_rate, units=units
        )
        for path in several
    ]
    return recordings[0] if len(recordings) == 1 else join_recordings(recordings)


def recording_from_bytes(
    data: bytes,
    source: str,
    *,
    columns: Mapping[str, str] | None = None,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read the content of a file; `source` names it in errors. Options as in `read_recording`.

    Raises:
        RecordingError: one line that says what was expected and what came.
    """
    data = unpack(data, source)
    scene = Path(source).name.split(".")[0] or "scene"
    begin = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if begin == b"<" or data[:4] in (b"\xff\xfe<\0", b"\xfe\xff\0<"):
        if columns:
            raise RecordingError(f"{source}: --columns is for tables, got an XML file")
        return commonroad.recording_from_commonroad(data, source, frame_rate=frame_rate, units=units)
    options = {"columns": columns, "frame_rate": frame_rate, "units": units}
    if begin in (b"{", b"["):
        raise RecordingError(f"{source}: expected CommonRoad XML, CSV or Parquet, got JSON")
    if data[:4] != b"PAR1":
        text = decode(data, source)
        if headless(text) and "," not in text.lstrip().split("\n")[0]:
            return ngsim.recording_from_text(text, source, scene, **options)
    table = read_table(data, source)
    if ngsim.is_ngsim(table.columns):
        return ngsim.recording_from_ngsim(table, source, scene, **options)
    return tidy.recording_from_table(table, source, scene, **options)


def join_recordings(recordings: list[Recording]) -> Recording:
    """Put recordings with the same frame rate into one; scenes with the same name are told apart.

    Raises:
        RecordingError: if frame rates or reference points differ, or the result would be too large.
    """
    first = recordings[0]
    for other in recordings[1:]:
        for name in ("frame_rate", "reference"):
            if getattr(other, name) != getattr(first, name):
                raise RecordingError(
                    f"expected files with one {name.replace('_', ' ')}, got {getattr(first, name)} in "
                    f"{first.source} and {getattr(other, name)} in {other.source}"
                )
    frames = max(recording.frames for recording in recordings)
    if frames * sum(recording.vehicles for recording in recordings) > MOST_CELLS:
        raise RecordingError(
            f"expected at most {MOST_CELLS:,} cells of vehicles × frames, got more; read fewer files"
        )

    def wide(array: np.ndarray) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, frames - array.shape[1])))

    joined = {
        name: np.concatenate([getattr(recording, name) for recording in recordings])
        for name in ("vehicle", "kind", "length", "width")
    }
    joined |= {
        name: np.concatenate([wide(getattr(recording, name)) for recording in recordings])
        for name in ("x", "y", "seen")
    }
    given = {}
    for name in CHANNELS:
        if any(name in recording.given for recording in recordings):
            blank = [np.zeros_like(recording.seen) for recording in recordings]
            given[name] = np.concatenate(
                [wide(r.given.get(name, b)) for r, b in zip(recordings, blank, strict=True)]
            )
            joined[name] = np.concatenate(
                [
                    wide(b.astype(float) if getattr(r, name) is None else getattr(r, name))
                    for r, b in zip(recordings, blank, strict=True)
                ]
            )
    return replace(
        first,
        source=f"{len(recordings)} files, {first.source} to {recordings[-1].source}",
        scene=_distinct_scenes(recordings),
        given=given,
        truth=None,
        notes=tuple(f"{r.source}: {note}" for r in recordings for note in r.notes),
        **joined,
    ).validate()


def _distinct_scenes(recordings: list[Recording]) -> np.ndarray:
    taken: set[str] = set()
    names: list[str] = []
    for recording in recordings:
        renamed = {}
        for scene in recording.scenes():
            name, number = scene, 2
            while name in taken:
                name, number = f"{scene} ({number})", number + 1
            taken.add(name)
            renamed[scene] = name
        names += [renamed[scene] for scene in recording.scene.tolist()]
    return np.array(names, dtype=object)
