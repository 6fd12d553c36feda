"""A map with its queries prepared: corners, their hub labels, and answers in microseconds."""

import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from foresee.errors import MapError, OptionError, ShapeError
from foresee.planning.corners import corners_of
from foresee.planning.grid import Grid, Place
from foresee.planning.hub_labels import HubLabels, hub_labels
from foresee.planning.lookup import look_up, look_up_many
from foresee.planning.path import GridPath, Watch
from foresee.planning.subgoals import subgoal_graph
from foresee.storage import whole_file


@dataclass(frozen=True, eq=False)
class Prepared:
    """A map whose shortest paths are looked up rather than searched for; from `prepare` or `read_prepared`.

    Attributes:
        grid: the map.
        labels: of its corners.
    """

    grid: Grid
    labels: HubLabels

    def path(self, start: Place, goal: Place) -> GridPath:
        """Look up a shortest path between two cells.

        Its `expanded` counts the entries of labels that were read.

        Args:
            start: column and row.
            goal: column and row.

        Raises:
            PlaceError: if start or goal are off the map or inside an obstacle.
        """
        watch = Watch()
        grid, labels, corners = self.grid, self.labels, corners_of(self.grid)
        first, last = grid.cell(start, "start"), grid.cell(goal, "goal")
        measures, read = look_up(
            first, last, grid.moves, grid.stride, corners.cells, corners.number, corners.across, corners.down,
            labels.first, labels.hubs, labels.lengths, labels.onward,
        )  # fmt: skip
        if not len(measures[0]):
            return GridPath.none(read, watch)
        return GridPath.measured(measures, read, watch)

    def lengths(
        self,
        starts: Int[np.ndarray, "starts 2"],
        goals: Int[np.ndarray, "goals 2"],
        *,
        workers: int | None = None,
    ) -> Float[np.ndarray, " starts"]:
        """Look up only the lengths of many shortest paths, on all cores; infinite where there is no path.

        Args:
            starts: columns and rows.
            goals: columns and rows.
            workers: threads; by default one per core.

        Raises:
            ShapeError: if there are not as many goals as starts.
            OptionError: if there is no worker.
            PlaceError: if a start or goal is off the map or inside an obstacle.
        """
        if len(starts) != len(goals):
            raise ShapeError(f"expected as many goals as starts, got {len(goals)} and {len(starts)}")
        workers = (os.cpu_count() or 1) if workers is None else workers
        if workers < 1:
            raise OptionError(f"expected at least 1 worker, got {workers}")
        grid, labels, corners = self.grid, self.labels, corners_of(self.grid)
        firsts, lasts = grid.cells(starts, "start"), grid.cells(goals, "goal")
        found = np.empty(len(starts))

        def part(chosen: slice) -> None:
            look_up_many(
                firsts[chosen], lasts[chosen], found[chosen], grid.moves, grid.stride, corners.cells,
                corners.number, corners.across, corners.down, labels.first, labels.hubs, labels.lengths,
            )  # fmt: skip

        part(slice(0, 0))  # compiles, and nothing else, before there are threads
        edges = np.linspace(0, len(starts), 8 * workers + 1).astype(int)
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(part, [slice(one, two) for one, two in pairwise(edges.tolist())]))
        return found


def prepare(grid: Grid) -> Prepared:
    """Prepare a map for many queries: seconds of work, then microseconds per exact path.

    What is kept grows with the corners of the obstacles: maps of streets and rooms are small, cells blocked
    at random are not.
    """
    corners = corners_of(grid)
    return Prepared(grid, hub_labels(*subgoal_graph(grid, corners)))


def write_prepared(path: str | Path, prepared: Prepared) -> None:
    """Keep what `prepare` has made; the file appears whole or not at all."""
    arrays = {field.name: getattr(prepared.labels, field.name) for field in fields(HubLabels)}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, map=np.array(_fingerprint(prepared.grid)), **arrays)


def read_prepared(path: str | Path, grid: Grid) -> Prepared:
    """Read what `write_prepared` has kept of this map.

    Raises:
        MapError: if the file is of another map, or of something else.
        OSError: if there is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            owner = str(stored["map"])
            labels = HubLabels(**{field.name: stored[field.name] for field in fields(HubLabels)})
    except (KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise MapError(f"{path}: expected what `write_prepared` keeps of a map, got: {error}") from error
    if owner != _fingerprint(grid):
        raise MapError(f"{path}: expected what was prepared for this map, got that of another one")
    return Prepared(grid, labels)


def _fingerprint(grid: Grid) -> str:
    return sha256(str(grid.free.shape).encode() + np.packbits(grid.free).tobytes()).hexdigest()
