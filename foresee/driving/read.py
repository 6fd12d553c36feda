"""The front door for recordings: files and folders in, one recording out, whatever the format."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foresee.driving.formats import argoverse, commonroad, exid, highd, interaction, ngsim, tidy, waymo
from foresee.driving.formats.companions import Beside, gather
from foresee.driving.formats.rows import MOST_CELLS, shorten
from foresee.driving.formats.source import decode, parse_json, read_bytes, unpack
from foresee.driving.formats.table import headless, lanes_of_parquet, read_table
from foresee.driving.formats.tidy import listed
from foresee.driving.lanes import lanes_from_text
from foresee.driving.recording import CHANNELS, Recording
from foresee.errors import RecordingError


def read_recording(
    paths: str | Path | Iterable[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    frame_rate: float | int | None = None,
    units: str | None = None,
) -> Recording:
    """Read files or folders of recorded traffic; the format is told by their content, not their names.

    Known are, plain or gzipped:

    - CommonRoad XML, with its lanelets;
    - tables with one row per sighting and named columns, CSV or Parquet;
    - NGSIM's own layouts, with or without a header;
    - highD, and exiD with its siblings: a folder, or XX_tracks.csv with its XX_tracksMeta.csv and
      XX_recordingMeta.csv beside it;
    - INTERACTION's CSV of vehicles or of pedestrians;
    - Argoverse 2's scenarios as Parquet, with the map log_map_archive_<scenario>.json beside them;
    - scenes of the Waymo Open Motion Dataset as JSON, the way Nocturne and GPUDrive keep them.

    A Lanelet2 map (.osm) for INTERACTION or exiD is given as another path; otherwise it is map.osm beside the
    recording, or the only .osm there. `recording.notes` say which map was taken and what was left out.

    Args:
        paths: the files or folders. Scenes of several files stay apart.
        columns: what the file calls its columns, as {"x": "Local_X"}, where it uses names of its own; a table
            is then read by these names, whatever its layout.
        frame_rate: frames per second [Hz], where the file only counts frames.
        units: unit of length in the file, "m" or "ft"; by default what the format says (NGSIM: feet).

    Raises:
        RecordingError: one line that says what was expected and what came.
    """
    several = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not several:
        raise RecordingError("expected at least one file, got none")
    files, beside = gather(several, together=not columns)
    recordings = [
        recording_from_bytes(
            read_bytes(path),
            shorten(path, 200),
            columns=columns,
            frame_rate=frame_rate,
            units=units,
            beside=replace(beside, path=path),
        )
        for path in files
    ]
    spare = [path for path in (*beside.maps, *beside.walkers.values()) if path not in beside.used]
    if spare:
        raise RecordingError(f"{spare[0]}: expected what belongs to a recording, got what none of them takes")
    return recordings[0] if len(recordings) == 1 else join_recordings(recordings)


def recording_from_bytes(
    data: bytes,
    source: str,
    *,
    columns: Mapping[str, str] | None = None,
    frame_rate: float | int | None = None,
    units: str | None = None,
    beside: Beside | None = None,
) -> Recording:
    """Read the content of a file; `source` names it in errors. Options as in `read_recording`.

    Args:
        data: the content.
        source: names it in errors, and its scene where the file does not.
        columns: names of its columns.
        frame_rate: frames per second [Hz].
        units: unit of length.
        beside: where companions and maps are; by default there are none.

    Raises:
        RecordingError: one line that says what was expected and what came.
    """
    data = unpack(data, source)
    scene = Path(source).name.split(".")[0] or "scene"
    begin = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    clock = {"frame_rate": frame_rate, "units": units}
    if begin in (b"<", b"{", b"[") or data[:4] in (b"\xff\xfe<\0", b"\xfe\xff\0<"):
        if columns:
            raise RecordingError(
                f"{source}: --columns is for tables, got {'JSON' if begin in b'{[' else 'an XML'} file"
            )
        if begin in (b"{", b"["):
            return _recording_from_json(data, source, scene, clock)
        return commonroad.recording_from_commonroad(data, source, **clock)
    if data[:4] != b"PAR1":
        text = decode(data, source)
        if headless(text) and "," not in text.lstrip().split("\n")[0]:
            return ngsim.recording_from_text(text, source, scene, columns=columns, **clock)
    table = read_table(data, source)
    if ngsim.is_ngsim(table.columns):
        return ngsim.recording_from_ngsim(table, source, scene, columns=columns, **clock)
    if not columns:
        beside = beside or Beside()
        if highd.is_highd(table.columns):
            return highd.recording_from_highd(table, source, beside, **clock)
        if exid.is_exid(table.columns):
            return exid.recording_from_exid(table, source, beside, **clock)
        if argoverse.is_argoverse(table.columns):
            return argoverse.recording_from_argoverse(table, source, scene, beside, **clock)
        if interaction.is_interaction(table.columns):
            return interaction.recording_from_interaction(table, source, scene, beside, **clock)
    recording = tidy.recording_from_table(table, source, scene, columns=columns, **clock)
    kept = lanes_of_parquet(data) if data[:4] == b"PAR1" else None
    return recording if kept is None else _with_kept(recording, kept)


def _recording_from_json(data: bytes, source: str, scene: str, clock: Mapping[str, Any]) -> Recording:
    content = parse_json(data, source)
    if "lane_segments" in content:
        raise RecordingError(f"{source}: expected recorded traffic, got the map of an Argoverse 2 scenario")
    if "objects" not in content:
        raise RecordingError(
            f"{source}: expected the JSON of a Waymo scene, with objects, "
            f"got {listed(list(content)) or 'nothing'}"
        )
    return waymo.recording_from_waymo(content, source, scene, **clock)


def _with_kept(recording: Recording, text: str) -> Recording:
    maps = {scene: lanes for scene, lanes in lanes_from_text(text).items() if scene in recording.scenes()}
    return replace(recording, lanes=maps).validate()


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

    def wide(array: np.ndarray, filled: int = 0) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, frames - array.shape[1])), constant_values=filled)

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
    if any(recording.lane is not None for recording in recordings):
        joined["lane"] = np.concatenate(
            [wide(np.full(r.seen.shape, -1) if r.lane is None else r.lane, -1) for r in recordings]
        )
    names = _distinct_scenes(recordings)
    return replace(
        first,
        source=f"{len(recordings)} files, {first.source} to {recordings[-1].source}",
        scene=np.array(
            [new[s] for r, new in zip(recordings, names, strict=True) for s in r.scene.tolist()], dtype=object
        ),
        lanes={
            new[s]: lanes for r, new in zip(recordings, names, strict=True) for s, lanes in r.lanes.items()
        },
        given=given,
        truth=None,
        notes=tuple(f"{r.source}: {note}" for r in recordings for note in r.notes),
        **joined,
    ).validate()


def _distinct_scenes(recordings: list[Recording]) -> list[dict[str, str]]:
    """For each recording, old name of a scene -> new one that no other has."""
    taken: set[str] = set()
    renamed: list[dict[str, str]] = []
    for recording in recordings:
        names = {}
        for scene in recording.scenes():
            name, number = scene, 2
            while name in taken:
                name, number = f"{scene} ({number})", number + 1
            taken.add(name)
            names[scene] = name
        renamed.append(names)
    return renamed
