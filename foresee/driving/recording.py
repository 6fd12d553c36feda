"""What was seen of a stretch of traffic: positions of vehicles over time, and nothing made up."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, Shaped

from foresee.driving.lanes import Lane, check_lanes, lanes_to_text
from foresee.errors import RecordingError
from foresee.storage import whole_file

CHANNELS = ("heading", "speed", "acceleration")
LANES_KEY = "foresee.lanes"  # where a Parquet file keeps the map
TRUTHS = ("x", "y", "heading", "speed", "acceleration", "curvature")


@dataclass(frozen=True, eq=False)
class Truth:
    """What really happened, known only for simulated traffic.

    Where `present` is False the vehicle was not on the road and every other array holds 0.
    Acceleration and curvature are those that lead from one frame to the next.
    Units: metres, radians, m/s, m/s², 1/m.
    """

    present: Bool[np.ndarray, "V T"]
    x: Float[np.ndarray, "V T"]
    y: Float[np.ndarray, "V T"]
    heading: Float[np.ndarray, "V T"]
    speed: Float[np.ndarray, "V T"]
    acceleration: Float[np.ndarray, "V T"]
    curvature: Float[np.ndarray, "V T"]


@dataclass(frozen=True, eq=False)
class Tracks:
    """The positions with every vehicle's first sighting moved to column 0: small enough for one batch.

    Column t of row v is frame `first[v] + t` of the vehicle's scene; positions are in metres and 0 where
    not seen.
    """

    first: Int[np.ndarray, "V"]
    x: Float[np.ndarray, "V L"]
    y: Float[np.ndarray, "V L"]
    seen: Bool[np.ndarray, "V L"]

    def spread(self, values: Float[np.ndarray, "V L"], frames: int) -> Float[np.ndarray, "V T"]:
        """Put values given per track back on the scenes' common grid of `frames` columns, 0 elsewhere."""
        out = np.zeros((len(self.first), frames))
        columns = self.first[:, None] + np.arange(values.shape[1])
        rows = np.broadcast_to(np.arange(len(self.first))[:, None], columns.shape)
        inside = columns < frames
        out[rows[inside], columns[inside]] = values[inside]
        return out


@dataclass(frozen=True, eq=False)
class Recording:
    """Recorded positions of vehicles in one or more scenes, on one grid of frames per scene.

    Row v is a vehicle in a scene, column t is the t-th frame after that scene's first one. A position that
    was not recorded is `seen` False and 0, never NaN. Heading, speed and acceleration are what the file
    claims; they are kept for comparison and trusted by nobody. `given[channel]` tells where the file had a
    value; elsewhere the channel holds 0.

    Attributes:
        source: where the recording came from, in words.
        frame_rate: frames per second [Hz].
        scene: name of the scene of each vehicle.
        vehicle: identity of each vehicle as in the file, unique within a scene.
        kind: "car", "truck", "motorcycle", ... in the file's own words, lower case.
        length: length of each vehicle [m].
        width: width of each vehicle [m].
        x: first coordinate [m].
        y: second coordinate, to the left of the first [m].
        seen: whether the position was recorded.
        reference: the point of the vehicle that x and y describe.
        heading: recorded heading, from the x axis, counter-clockwise [rad].
        speed: recorded speed [m/s].
        acceleration: recorded acceleration along the heading [m/s²].
        given: for each recorded channel, where the file had a value.
        lane: the file's own number of the lane a vehicle is in, -1 where unknown or not seen; where `lanes`
            have numbers as names, it is one of them.
        lanes: name of each scene -> the lanes of its map; scenes without a map are left out.
        notes: what had to be done to the file, with counts.
        truth: what really happened, for simulated traffic.
    """

    source: str
    frame_rate: float
    scene: Shaped[np.ndarray, "V"]
    vehicle: Shaped[np.ndarray, "V"]
    kind: Shaped[np.ndarray, "V"]
    length: Float[np.ndarray, "V"]
    width: Float[np.ndarray, "V"]
    x: Float[np.ndarray, "V T"]
    y: Float[np.ndarray, "V T"]
    seen: Bool[np.ndarray, "V T"]
    reference: Literal["centre", "front"] = "centre"
    heading: Float[np.ndarray, "V T"] | None = None
    speed: Float[np.ndarray, "V T"] | None = None
    acceleration: Float[np.ndarray, "V T"] | None = None
    given: Mapping[str, Bool[np.ndarray, "V T"]] = field(default_factory=dict)
    lane: Int[np.ndarray, "V T"] | None = None
    lanes: Mapping[str, tuple[Lane, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    truth: Truth | None = None

    @property
    def vehicles(self) -> int:
        """Number of vehicles; one that appears in two scenes counts twice."""
        return len(self.vehicle)

    @property
    def frames(self) -> int:
        """Number of columns: frames of the longest scene."""
        return self.seen.shape[1]

    @property
    def seconds(self) -> float:
        """Recorded time, from the first to the last sighting, summed over the scenes [s]."""
        last = self.frames - 1 - np.argmax(self.seen[:, ::-1], axis=1)
        return float(sum(last[self.scene == name].max() for name in self.scenes())) / self.frame_rate

    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes, in the order of the file."""
        return tuple(dict.fromkeys(self.scene.tolist()))

    def gaps(self) -> int:
        """Number of interruptions: runs of unseen frames between two sightings of the same vehicle."""
        starts = self.seen & ~np.pad(self.seen, ((0, 0), (1, 0)))[:, :-1]
        return int(starts.sum()) - self.vehicles

    def select(
        self, vehicles: Shaped[np.ndarray, "..."] | None = None, *, scene: str | None = None
    ) -> "Recording":
        """Keep some vehicles, by a mask or indices, or those of one scene; the grid is cut to what is left.

        Raises:
            RecordingError: if nothing is left or the scene is unknown.
        """
        if scene is not None and scene not in self.scenes():
            raise RecordingError(f"expected one of the scenes {_few(self.scenes())}, got {scene!r}")
        keep = np.zeros(self.vehicles, bool)
        try:
            keep[slice(None) if vehicles is None else vehicles] = True
        except IndexError as error:
            raise RecordingError(
                f"expected a mask or indices of {self.vehicles} vehicles, got {error}"
            ) from None
        if scene is not None:
            keep &= self.scene == scene
        if not keep.any():
            raise RecordingError(
                f"expected at least one of {self.vehicles} vehicles to be selected, got none"
            )
        used = self.seen if self.truth is None else self.seen | self.truth.present
        last = int(np.flatnonzero(used[keep].any(axis=0))[-1]) + 1

        def cut(value):
            if isinstance(value, np.ndarray):
                return value[keep] if value.ndim == 1 else value[keep, :last]
            if isinstance(value, Truth):
                return Truth(**{f.name: cut(getattr(value, f.name)) for f in fields(Truth)})
            return value

        kept = {f.name: cut(getattr(self, f.name)) for f in fields(self)}
        kept["given"] = {name: cut(mask) for name, mask in self.given.items()}
        there = set(self.scene[keep].tolist())
        kept["lanes"] = {name: lanes for name, lanes in self.lanes.items() if name in there}
        return replace(self, **kept)

    def tracks(self) -> Tracks:
        """Move every vehicle's first sighting to column 0 and cut to the longest track."""
        first = np.argmax(self.seen, axis=1)
        last = self.frames - 1 - np.argmax(self.seen[:, ::-1], axis=1)
        columns = first[:, None] + np.arange(int((last - first).max()) + 1)
        inside = columns <= last[:, None]
        columns = np.minimum(columns, self.frames - 1)
        take = [np.where(inside, np.take_along_axis(a, columns, 1), 0) for a in (self.x, self.y)]
        return Tracks(first, take[0], take[1], np.take_along_axis(self.seen, columns, 1) & inside)

    def validate(self) -> "Recording":
        """Return the recording itself if it keeps its promises.

        Raises:
            RecordingError: naming what was expected and what came.
        """
        if not (np.isfinite(self.frame_rate) and self.frame_rate > 0):
            raise RecordingError(f"expected a positive frame rate in Hz, got {self.frame_rate}")
        shape = self.seen.shape
        if len(shape) != 2 or 0 in shape:
            raise RecordingError(
                f"expected at least one vehicle and one frame, got an array of shape {shape}"
            )
        self._check_arrays(shape)
        for name, channel in zip(CHANNELS, (self.heading, self.speed, self.acceleration), strict=True):
            if (channel is None) != (name not in self.given):
                raise RecordingError(
                    f"expected given[{name}] exactly if {name} is recorded, got the opposite"
                )
        never = int((~self.seen.any(axis=1)).sum())
        if never:
            raise RecordingError(f"expected every vehicle to be seen, got {never} never")
        for name, size in (("length", self.length), ("width", self.width)):
            if not (np.isfinite(size) & (size > 0)).all():
                raise RecordingError(f"expected a positive {name} of every vehicle, got {size.min()}")
        if len(set(zip(self.scene.tolist(), self.vehicle.tolist(), strict=True))) < self.vehicles:
            raise RecordingError("expected each vehicle once in its scene, got the same name twice")
        for name, lanes in self.lanes.items():
            if name not in self.scenes():
                raise RecordingError(f"expected lanes of the scenes {_few(self.scenes())}, got {name!r}")
            check_lanes(lanes)
        return self

    def _check_arrays(self, shape: tuple[int, ...]) -> None:
        arrays = {name: getattr(self, name) for name in ("x", "y", "lane", *CHANNELS)}
        arrays |= {f"given[{name}]": mask for name, mask in self.given.items()}
        if self.truth is not None:
            arrays |= {f"truth.{f.name}": getattr(self.truth, f.name) for f in fields(Truth)}
        for name, array in arrays.items():
            if array is not None and array.shape != shape:
                raise RecordingError(f"expected {name} of shape {shape} like seen, got {array.shape}")
            if array is not None and not np.isfinite(array).all():
                wrong = int((~np.isfinite(array)).sum())
                raise RecordingError(f"expected finite values in {name}, got {wrong} that are not")
        for name in ("scene", "vehicle", "kind", "length", "width"):
            if getattr(self, name).shape != shape[:1]:
                raise RecordingError(f"expected {name} of shape {shape[:1]}, got {getattr(self, name).shape}")

    def to_frame(self) -> pl.DataFrame:
        """Tidy table with one row per sighting: scene, id, type, length, width, frame, time, x, y, ..."""
        v, t = np.nonzero(self.seen)
        columns: dict[str, object] = {
            "scene": self.scene[v].astype(str),
            "id": self.vehicle[v].astype(str),
            "type": self.kind[v].astype(str),
            "length": self.length[v],
            "width": self.width[v],
            "frame": t.astype(np.int64),
            "time": t / self.frame_rate,
            "x": self.x[v, t],
            "y": self.y[v, t],
        }
        table = pl.DataFrame(columns)
        for name in ("lane", *CHANNELS):
            values = getattr(self, name)
            if values is not None:
                there = values[v, t] >= 0 if name == "lane" else self.given[name][v, t]
                column = pl.Series(name, values[v, t])
                table = table.with_columns(pl.select(pl.when(pl.Series(there)).then(column)).to_series())
        if self.truth is not None:
            for name in TRUTHS:
                table = table.with_columns(pl.Series(f"true_{name}", getattr(self.truth, name)[v, t]))
        return table

    def write(self, path: str | Path) -> Path:
        """Write the sightings as .parquet or .csv; the file appears whole or not at all.

        `read_recording` gives the same arrays back, except for frames after the last sighting of a scene,
        the notes and the truth where a vehicle was not seen. The map is kept by .parquet only.

        Raises:
            RecordingError: if the ending is another one or the folder cannot be written.
        """
        path = Path(path)
        if path.suffix not in (".parquet", ".csv"):
            raise RecordingError(f"expected a file ending in .parquet or .csv, got {path.name!r}")
        table = self.to_frame()
        try:
            with whole_file(path) as temporary, temporary.open("wb") as file:
                if path.suffix == ".csv":
                    table.write_csv(file)
                else:
                    lanes = {LANES_KEY: lanes_to_text(self.lanes)} if self.lanes else None
                    table.write_parquet(file, metadata=lanes)
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written: {error.strerror or error}") from None
        return path


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")
