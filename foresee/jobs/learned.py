"""The learned stages of the main job: what they need, what they wrote, and what stopped them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from foresee import __version__
from foresee.driving.findings import DriversFindings, Part, WorldFindings
from foresee.driving.futures.learn import EPOCHS
from foresee.driving.recording import Recording
from foresee.driving.states import States
from foresee.errors import ForeseeError, RecordingError, RoadError, TrainingError
from foresee.jobs.baselines import FOUND, FROM_MAP
from foresee.jobs.beside import beside
from foresee.jobs.config import Options
from foresee.jobs.contest import Contest, run_contest, write_policies
from foresee.jobs.drivers import ALWAYS
from foresee.jobs.folder import write_table
from foresee.jobs.lessons import Lessons, first_lessons
from foresee.jobs.parts import NAMES, Parts, make_parts
from foresee.jobs.progress import Pieces, digest
from foresee.jobs.terminal import Terminal
from foresee.jobs.worlds import World, run_world, world_numbers, write_world

POLICIES = "policies"  # the folder with the drivers
USUAL = 3.0  # minutes that learning takes by default on two cores, about


@dataclass(eq=False)
class Learned:
    """What the learned stages found out; what is None did not run, or could not.

    Attributes:
        parts: the recording in parts.
        world: what foretells.
        contest: the drivers.
        error: why no more could be learned.
    """

    parts: Parts | None = None
    world: World | None = None
    contest: Contest | None = None
    error: ForeseeError | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be learned, and why."""
        if self.error is None:
            return ()
        what = "nothing was learned" if self.world is None else "no driver was learned"
        return (f"{what}: {self.error}",)

    def part(self, states: States, test: States | None) -> None:
        """Part the recording, or keep why that cannot be done."""
        try:
            self.parts = make_parts(states, test)
        except (RecordingError, RoadError) as error:
            self.error = error

    def learn(self, options: Options, out: Path, pieces: Pieces, terminal: Terminal) -> None:
        """Learn what traffic does, and to drive, as far as that can be done, and write what came of it.

        Raises:
            ForeseeError: if a world that was given cannot be used.
        """
        parts = self.parts
        if parts is None:
            return
        share = 1.0 if options.budget is None else options.budget / USUAL
        pieces.begin()

        def lessons(progress: Any) -> Lessons:
            return first_lessons(parts, options, pieces, share=share, progress=progress)

        try:
            if "policies" not in options.stages:
                self._learn_world(parts, options, out, pieces, share, terminal)
                return
            with beside(lessons) as under_way:
                world = self._learn_world(parts, options, out, pieces, share, terminal)
                with terminal.step("policies") as progress:
                    self.contest = run_contest(
                        parts, world, under_way, options, pieces, share=share, progress=progress
                    )
                    self._write(self.contest, out)
        except (RecordingError, TrainingError) as error:
            if options.world is not None and self.world is None:
                raise
            self.error = error

    def _learn_world(
        self, parts: Parts, options: Options, out: Path, pieces: Pieces, share: float, terminal: Terminal
    ) -> World:
        file = None if options.world is None else Path(options.world)
        with terminal.step("world") as progress:
            world = run_world(
                parts, pieces, epochs=max(round(EPOCHS * share), 1), seed=options.seed, file=file,
                progress=progress,
            )  # fmt: skip
            write_world(out / "world.eqx", world.model, 1 / parts.scenarios["train"].dt)
        self.world = world
        return world

    @staticmethod
    def _write(contest: Contest, out: Path) -> None:
        table = contest.findings.table
        write_policies(out / POLICIES, contest.drivers)
        write_table(out / "metrics.parquet", table)
        rules = table.filter(pl.col("driver").is_in(ALWAYS)).drop("seed")
        write_table(out / "baselines.parquet", rules)

    def described(self) -> tuple[Part, ...]:
        """Return what is in every part."""
        return () if self.parts is None else self.parts.described()

    def world_findings(self) -> WorldFindings | None:
        """Return how well the world foretells."""
        return None if self.world is None else self.world.findings

    def drivers(self) -> DriversFindings | None:
        """Return how the drivers compare."""
        return None if self.contest is None else self.contest.findings

    def numbers(self, scenes: int) -> dict[str, Any]:
        """Return what is to be said of this in the summary; names that do not apply are null.

        Args:
            scenes: number of scenes in the recording.
        """
        out: dict[str, Any] = {"learned.notes": list(self.notes), "parts.by": None}
        if self.parts is not None:
            out["parts.by"] = self.parts.by
            for part in self.described():
                prefix = f"parts.{part.name}"
                out |= {f"{prefix}.scenes": len(part.scenes), f"{prefix}.vehicles": part.vehicles}
                out |= {f"{prefix}.seconds": part.seconds, f"{prefix}.scenarios": part.scenarios}
        # The two that people look for are always there.
        out |= {"world.min_ade_6_4s": None, "world.coverage_90_4s": None}
        out |= world_numbers(self.world_findings())
        if self.contest is not None and self.parts is not None:
            sources = [each for name, each in self.parts.sources.items() if not name.startswith("test: ")]
            own = {
                "scenarios.road": " or ".join(name for name in (FROM_MAP, FOUND) if name in sources) or None,
                "scenarios.roads_from_map": sources.count(FROM_MAP),
                "scenarios.roads_found": sources.count(FOUND),
                "scenarios.roads_missing": scenes - len(sources),
                "scenarios.notes": [*self.parts.notes, *self.contest.findings.notes],
            }
            out |= own | self.contest.numbers
        return out


def pieces_of(
    out: Path,
    options: Options,
    recording: Recording,
    held_out: Recording | None,
    fresh: bool,
    terminal: Terminal,
) -> Pieces:
    """Return what an earlier run has finished, if it had the same input and options."""
    told = {name: each for name, each in options.lasting().items() if name not in ("recordings", "test")}
    pieces = Pieces(out, digest(__version__, NAMES, told, recording, held_out), fresh=fresh)
    if pieces.resumed:
        terminal.remark("going on from what an earlier run has finished; --fresh begins anew")
    elif pieces.other and not fresh:
        terminal.remark("an earlier run here had other input or options, so this one begins anew")
    return pieces
