"""Drivers in three arenas: real traffic, the same seen through bad eyes, and rare events.

The main job learns from recorded traffic: several seeds, equal budgets, all chosen on validation scenes. Its
drivers then drive six-second episodes of the test scenes, seen clearly and badly, and rare events that nobody
has learned from.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from benchmarks import measure
from foresee.driving import estimate_states, read_recording, scenarios_from_states, synthetic_recording
from foresee.driving.arenas import BAD_EYES, EYES, RAW_BAD_EYES, RAW_WORSE_EYES, WORSE_EYES, rare_events
from foresee.driving.bootstrap import grouped_mean
from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.monitor import Monitor, Monitored
from foresee.driving.drivers.pdm import ExpectedPdm, Pdm
from foresee.driving.drivers.proposals import Proposer
from foresee.driving.drivers.stored import load_driver
from foresee.driving.evaluate import Evaluation
from foresee.driving.policies import Expert, LaneKeeper, NoAction
from foresee.driving.scenario import Scenarios
from foresee.driving.sensing import AbstractSensing
from foresee.jobs import drive as job
from foresee.jobs.fleet import Entrant, drive_entrants, one_of
from foresee.jobs.parts import make_parts
from foresee.jobs.watch import GUARDED, guarded_branch

CLAIM = (
    "a driver that minds its doubt fails no more than PDM, stays comfortable and fails less in rare events"
)
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "traffic" / "us101_tracks.csv.gz"
OUT = Path(__file__).resolve().parent / "results" / "drivers"
SEEDS, EVENTS, SECONDS = 5, 400, 6.0
HEADS = (
    "driver",
    "seeds",
    "fails %",
    "less than PDM %",
    "progress",
    "ADE [m]",
    "jerk [m/s³]",
    "comfortable %",
)
UNWATCHED = ("none", "idm", "pdm, no jerk limit")


@dataclass(frozen=True)
class Place:
    """Where drivers are compared: situations, what the others do, and how the driver sees them."""

    name: str
    scenarios: Scenarios
    mode: str
    sensing: AbstractSensing | None
    drivers: tuple[str, ...] | None = None


def trained(
    quick: bool,
) -> tuple[dict[str, dict[int, AbstractDriver]], Monitor | None, Scenarios, dict[str, Any]]:
    """Run the main job; return its drivers by name and seed, its monitor, short episodes, and its numbers."""
    recordings = [DATA] if DATA.exists() and not quick else []
    out = OUT / ("quick" if quick else "us101" if recordings else "synthetic")
    job.drive(recordings, out=out, seeds=1 if quick else SEEDS, quiet=quick, budget=0.05 if quick else None)
    made_up = synthetic_recording(vehicles=job.VEHICLES, seconds=job.SECONDS)
    recording = read_recording(recordings[0]) if recordings else made_up
    parts = make_parts(estimate_states(recording))
    seconds = 3.0 if quick else SECONDS
    scenarios = scenarios_from_states(
        parts.states["test"], parts.roads["test"], seconds=seconds, longest=seconds, every=1.0
    )
    drivers: dict[str, dict[int, AbstractDriver]] = {}
    monitor: Monitor | None = None
    for path in sorted((out / "policies").glob("*.eqx")):
        if path.stem.endswith(GUARDED):
            monitor = cast(Monitored, load_driver(path)).monitor
            continue
        stem, _, number = path.stem.rpartition("_")
        name, seed = (stem, int(number)) if number.isdigit() else (path.stem, 0)
        drivers.setdefault(name, {})[seed] = load_driver(path)
    return drivers, monitor, scenarios, json.loads((out / "summary.json").read_text())


def entrants(drivers: Mapping[str, Mapping[int, AbstractDriver]], monitor: Monitor | None) -> list[Entrant]:
    """Return everybody who takes part, first seeds with the monitor, too; all are one program."""
    rules = {
        "none": NoAction(),
        "idm": LaneKeeper(),
        "pdm": Pdm(),
        "pdm, in doubt": ExpectedPdm(),
        "pdm, no jerk limit": Pdm(proposer=Proposer(jerk=1e4)),
    }
    everybody = {**{name: {0: rule} for name, rule in rules.items()}, **drivers}
    kinds: dict[str, AbstractDriver] = {}
    for own in everybody.values():
        kinds.setdefault(_kind(own[0]), _nameless(own[0]))
    out = [Entrant("expert", Expert(), program="expert")]
    for name, own in everybody.items():
        for seed, driver in own.items():
            branch = _kind(driver)
            fleet = {**kinds, branch: _nameless(driver)}
            chosen = one_of(tuple(fleet.values()), list(fleet).index(branch))
            out.append(Entrant(name, guarded_branch(chosen, monitor, False), seed, "fleet"))
            if monitor is not None and seed == 0 and name not in UNWATCHED:
                out.append(Entrant(name + GUARDED, guarded_branch(chosen, monitor, True), seed, "fleet"))
    return out


def _kind(driver: AbstractDriver) -> str:
    """Return a text that is the same for drivers that differ in numbers only."""
    leaves, structure = jax.tree.flatten(_nameless(driver))
    return f"{structure} {[getattr(leaf, 'shape', leaf) for leaf in leaves]}"


def _nameless(driver: AbstractDriver) -> AbstractDriver:
    return replace(driver, name="") if hasattr(driver, "name") else driver  # pyright: ignore[reportArgumentType]


def compared(place: Place, fleet: list[Entrant], report: measure.Report) -> dict[str, dict[str, Any]]:
    """Let everybody drive, print the table, and return its rows by driver."""
    chosen = [each for each in fleet if place.drivers is None or each.name in place.drivers]
    seen = [replace(each, sensing=place.sensing) for each in chosen]
    done = drive_entrants(seen, [place.mode], place.scenarios, seed=0, progress=lambda text, share: None)
    by_name: dict[str, list[Evaluation]] = {}
    for (name, _, _), judged in done.items():
        by_name.setdefault(name, []).append(judged)
    groups = np.array(place.scenarios.groups)
    failed = {name: np.mean([_column(each, "fail") for each in own], axis=0) for name, own in by_name.items()}
    rows = {}
    for name, own in by_name.items():
        rate = grouped_mean(failed[name], groups)
        less = grouped_mean(failed["pdm"] - failed[name], groups)
        mean = {key: float(np.mean([_column(each, key) for each in own])) for key in COLUMNS}
        rows[name] = {"seeds": len(own), "fail_rate": rate.value, "fail_rate_ci": [rate.low, rate.high]}
        rows[name] |= {"less": less.value, "less_ci": [less.low, less.high], **mean}
        alone = by_name.get(name.removesuffix(GUARDED))
        if name.endswith(GUARDED) and alone is not None:
            saved = grouped_mean(_column(alone[0], "fail") - _column(own[0], "fail"), groups)
            rows[name] |= {"saved": saved.value, "saved_ci": [saved.low, saved.high]}
    report.table(
        f"{place.name}: {len(place.scenarios)} episodes", list(HEADS), [_row(n, r) for n, r in rows.items()]
    )
    report.facts[place.name] = rows
    return rows


COLUMNS = ("sdc_progression", "log_divergence", "jerk", "ego_is_comfortable")


def _column(judged: Evaluation, name: str) -> np.ndarray:
    return judged.table[name].cast(float).fill_null(0.0).to_numpy()


def _row(name: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    def share(value: float, ends: list[float]) -> str:
        return f"{100 * value:.1f} [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"

    return (
        name, row["seeds"], share(row["fail_rate"], row["fail_rate_ci"]), share(row["less"], row["less_ci"]),
        f"{row['sdc_progression']:.3f}", f"{row['log_divergence']:.2f}", f"{row['jerk']:.2f}",
        f"{100 * row['ego_is_comfortable']:.1f}",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Train, drive, compare."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("drivers", CLAIM, options)
    drivers, monitor, recorded, summary = trained(options.quick)
    fleet = entrants(drivers, monitor)
    events = rare_events(
        10 if options.quick else EVENTS, 4.0 if options.quick else 10.0, key=jax.random.key(2026)
    )
    raw = ("idm", "pdm", "pdm, no jerk limit")
    places = [
        Place("clean", recorded, "replay", None),
        Place("bad eyes", recorded, "replay", BAD_EYES),
        Place("worse eyes", recorded, "replay", WORSE_EYES),
        Place("bad eyes, raw detections", recorded, "replay", RAW_BAD_EYES, raw),
        Place("worse eyes, raw detections", recorded, "replay", RAW_WORSE_EYES, raw),
        Place("rare events", events, "reactive", EYES),
    ]
    rows = {place.name: compared(place, fleet, report) for place in places[: 2 if options.quick else None]}
    clean = rows["clean"]
    finite = all(np.isfinite(row["fail_rate"]) for row in clean.values())
    report.gate("every driver has a rate of failures", finite, f"{len(clean)} drivers")
    for name in ("safepathnet", "mper", "mpur", "mpc"):
        if name in clean:
            report.target(f"{name}: failures on clean US-101", clean[name]["fail_rate"], 0.006)
            report.target(
                f"{name}: ADE against PDM's",
                clean[name]["log_divergence"] / clean["pdm"]["log_divergence"],
                1,
            )
    kept = ("world.", "monitor.", "ablations.", "seconds.", "parts.")
    report.facts["job"] = {name: value for name, value in summary.items() if name.startswith(kept)}
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
