"""The report of the main job: what was read, what was learned, and how far to trust the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from foresee.driving.accuracy import OneStepScores, TruthScores
from foresee.driving.findings import DriversFindings, Part, Training, WorldFindings
from foresee.driving.states import States
from foresee.report import consistency, paths
from foresee.report.baselines import Driven, draw_drivers, driver_sections, driver_tiles
from foresee.report.estimates import reading, state_sections, state_tiles, vehicle_title
from foresee.report.foretelling import draw_errors, draw_intervals, world_section
from foresee.report.guard import draw_alarms, draw_roc, monitor_section
from foresee.report.learning import draw_trainings, learning_sections, part_blocks
from foresee.report.page import Block, Figures, Heading, Items, Page, Section, Tiles
from foresee.report.verdict import verdict, verdict_tiles
from foresee.report.words import count, number


@dataclass(frozen=True, eq=False)
class Findings:
    """All that a run found out, and the numbers of summary.json; what did not run is absent.

    Attributes:
        states: what every vehicle did.
        one_step: how well the next frame was predicted.
        truth: errors against the truth, where that is known.
        summary: every number on the page.
        driven: what there is to show of drivers.
        parts: what was learned from, chosen by and judged on.
        world: how well the learned world foretells.
        drivers: how drivers compare that learned or use what was learned.
    """

    states: States
    one_step: OneStepScores
    truth: TruthScores | None
    summary: dict[str, Any]
    driven: Driven | None = None
    parts: tuple[Part, ...] = ()
    world: WorldFindings | None = None
    drivers: DriversFindings | None = None

    @property
    def trainings(self) -> dict[str, Training]:
        """Return everything that was trained."""
        world = {} if self.world is None else {"world": self.world.training}
        return {**world, **({} if self.drivers is None else self.drivers.trainings)}


def draw_figures(findings: Findings, progress: Callable[[str, float], None]) -> dict[str, Block]:
    """Draw everything the page shows; this is what takes time."""
    states, scores = findings.states, findings.one_step
    out: dict[str, Block] = {}
    progress("map", 0.0)
    out["map"] = paths.draw_map(states)
    chosen = paths.choose_vehicles(states)
    for i, (vehicle, why) in enumerate(chosen):
        progress("vehicles", 0.2 + 0.4 * i / len(chosen))
        out[f"vehicle {i} title"] = Heading(vehicle_title(states, vehicle, why))
        out[f"vehicle {i}"] = Figures(paths.draw_vehicle(states, vehicle), "three")
    progress("consistency", 0.6)
    out["accelerations"] = Figures(consistency.draw_accelerations(states))
    if scores.rows:
        rate = states.recording.frame_rate
        drawn = [consistency.draw_reliability(scores), consistency.draw_nis(scores)]
        drawn.append(consistency.draw_autocorrelation(scores, rate))
        learning = consistency.draw_learning(states)
        out["innovations"] = Figures((*drawn, *([learning] if learning else [])))
    if findings.truth is not None and findings.truth.rows:
        out["nees"] = Figures((consistency.draw_nees(findings.truth),))
    progress("drivers", 0.8)
    if findings.driven is not None and findings.summary.get("scenarios.count"):
        out |= draw_drivers(findings.summary)
    out |= _draw_learned(findings)
    progress("page", 1.0)
    return out


def _draw_learned(findings: Findings) -> dict[str, Block]:
    """Draw the world, the monitor and the trainings, as far as there are any."""
    out: dict[str, Block] = {}
    if findings.summary.get("world.ade_4s") is not None:
        out |= {"errors": draw_errors(findings.summary), "intervals": draw_intervals(findings.summary)}
    monitor = None if findings.drivers is None else findings.drivers.monitor
    drawn = {
        "roc": None if monitor is None else draw_roc(monitor),
        "alarms": draw_alarms(findings.summary),
        "losses": draw_trainings(findings.trainings),
    }
    return out | {name: figure for name, figure in drawn.items() if figure is not None}


def drive_page(findings: Findings, figures: Mapping[str, Block]) -> Page:
    """Put the page together; every number of it comes from `findings.summary`, but for those of trainings."""
    summary = findings.summary
    said = verdict(summary)
    states = Tiles(state_tiles(summary))
    first: tuple[Block, ...] = (Tiles((*state_tiles(summary), *driver_tiles(summary))),)
    if said:
        first = (Items(said, "verdict"), *_tiles(summary), *_notes(findings))
    read = Section(
        "What was read",
        (
            *((states,) if said else ()),
            *reading(summary),
            *part_blocks(summary, findings.parts),
            figures["map"],
        ),
    )
    sections = [
        Section("What came out", first),
        *(() if said else (read,)),
        *driver_sections(summary, findings.driven, figures),
        *monitor_section(summary, figures),
        *world_section(summary, figures),
        *learning_sections(summary, findings.trainings, figures),
        *((read,) if said else ()),
        *state_sections(findings.states, summary, figures, truth=findings.truth is not None),
    ]
    vehicles = count(summary["recording.vehicles"], "vehicle")
    subtitle = f"{summary['recording.source']} · {vehicles} · {number(summary['recording.seconds'], 1)} s"
    footer = (
        f"foresee {summary['version']}, seed {summary['seed']}, {number(summary['seconds.total'], 1)} s in "
        "all. The numbers are those of summary.json; states.parquet holds every vehicle in every frame. "
        "Intervals in brackets are 95 %; those of states treat vehicles, not rows, as independent."
    )
    return Page(_title(findings), subtitle, tuple(sections), footer)


def _title(findings: Findings) -> str:
    if findings.drivers is not None:
        return "Who drives best in this traffic, and how sure one may be"
    if findings.driven is not None:
        return "What every vehicle did, and how others would have driven"
    return "What every vehicle did, and how sure one may be"


def _tiles(summary: Mapping[str, Any]) -> tuple[Tiles, ...]:
    tiles = verdict_tiles(summary)
    return (Tiles(tiles),) if tiles else ()


def _notes(findings: Findings) -> tuple[Items, ...]:
    notes = () if findings.drivers is None else findings.drivers.notes
    return (Items(notes),) if notes else ()
