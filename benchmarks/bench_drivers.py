"""Drivers in three arenas: real traffic, the same seen through bad eyes, and rare events.

The main job learns from recorded traffic: several seeds, equal budgets, all chosen on validation scenes. Its
drivers then drive six-second episodes of the test scenes, seen clearly and badly, and rare events that nobody
has learned from.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

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
from foresee.jobs import contest
from foresee.jobs import drive as job
from foresee.jobs.fleet import Entrant, drive_entrants
from foresee.jobs.parts import make_parts, spread
from foresee.jobs.progress import Pieces, digest
from foresee.jobs.watch import GUARDED

CLAIM = (
    "a driver that minds its doubt fails no more than PDM, stays comfortable and fails less in rare events"
)
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "traffic" / "us101_tracks.csv.gz"
OUT = Path(__file__).resolve().parent / "results" / "drivers"
SEEDS, EVENTS, SECONDS = 5, 200, 6.0
EPISODES = 150  # of the test scenes that are seen badly
FEW = 16  # scenarios of the job's own comparison, which is not what is asked here
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
STEPS = (  # from one driver to the next
    ("bc", "cw_erm"), ("bc", "mper"), ("vg", "mpur"), ("pdm", "pdm, in doubt"), ("pdm", "safepathnet"),
    ("safepathnet_likely", "safepathnet"), ("pdm", "pdm" + GUARDED),
    ("idm", "idm" + GUARDED), ("pdm, in doubt", "pdm, in doubt" + GUARDED),
)  # fmt: skip
SCORES = {
    "ade_4s": "ADE [m]", "min_ade_6_4s": "minADE of 6 [m]", "coverage_90_1s": "90 % along, 1 s",
    "coverage_90_2s": "2 s", "coverage_90_4s": "4 s", "coverage_across_90_4s": "90 % across, 4 s",
}  # fmt: skip
SLOW = ("mpc", "pdm_expected")  # judged by the job alone: minutes for every arena
IN_EVENTS = ("idm", "pdm", "pdm, in doubt", "safepathnet", "mper", "mpur")
WATCHED = ("idm", "pdm", "pdm, in doubt")  # where monitors have something to save


@dataclass(frozen=True)
class Place:
    """Where drivers are compared: situations, what the others do, and how the driver sees them."""

    name: str
    scenarios: Scenarios
    mode: str
    sensing: AbstractSensing | None
    drivers: tuple[str, ...] | None = None


class Trained(NamedTuple):
    """What the main job left: where, drivers by name and seed, monitor, short episodes, and its numbers."""

    out: Path
    drivers: dict[str, dict[int, AbstractDriver]]
    monitor: Monitor | None
    scenarios: Scenarios
    summary: dict[str, Any]


def trained(quick: bool) -> Trained:
    """Run the main job, or go on with it."""
    recordings = [DATA] if DATA.exists() and not quick else []
    out = OUT / ("quick" if quick else "us101" if recordings else "synthetic")
    if not (out / "summary.json").exists():  # what was learned is kept; without the folder it begins anew
        contest.JUDGED = FEW
        options: dict[str, Any] = {"seeds": 1, "budget": 0.05} if quick else {"seeds": SEEDS}
        job.drive(recordings, out=out, quiet=quick, **options)
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
        if name == "mpc" and seed > 0:
            continue  # it differs only in where the planner begins, and is slow
        drivers.setdefault(name, {})[seed] = load_driver(path)
    return Trained(out, drivers, monitor, scenarios, json.loads((out / "summary.json").read_text()))


RULES: dict[str, AbstractDriver] = {
    "none": NoAction(),
    "idm": LaneKeeper(),
    "pdm": Pdm(),
    "pdm, in doubt": ExpectedPdm(),
    "pdm, no jerk limit": Pdm(proposer=Proposer(jerk=1e4)),
}


def entrants(drivers: Mapping[str, Mapping[int, AbstractDriver]], monitor: Monitor | None) -> list[Entrant]:
    """Return everybody who takes part, some with the monitor, too; each kind of driver is one program."""
    everybody = {**{name: {0: rule} for name, rule in RULES.items()}, **drivers}
    if "safepathnet" in drivers:
        chooses: Any = drivers["safepathnet"][0]
        everybody["safepathnet_likely"] = {0: replace(chooses, choose=jnp.zeros_like(chooses.choose))}
    out = [Entrant("expert", Expert(), program="expert")]
    for name, own in everybody.items():
        for seed, driver in own.items():
            plain, kind = _nameless(driver), _kind(driver)
            out.append(Entrant(name, plain, seed, kind))
            if monitor is not None and seed == 0 and name in WATCHED:
                out.append(Entrant(name + GUARDED, Monitored(plain, monitor, ""), seed, kind + GUARDED))
    return out


def _kind(driver: AbstractDriver) -> str:
    """Return a text that is the same for drivers that differ in numbers only."""
    leaves, structure = jax.tree.flatten(_nameless(driver))
    return f"{structure} {[getattr(leaf, 'shape', leaf) for leaf in leaves]}"


def _nameless(driver: AbstractDriver) -> AbstractDriver:
    return replace(driver, name="") if hasattr(driver, "name") else driver  # pyright: ignore[reportArgumentType]


def compared(
    place: Place, fleet: list[Entrant], pieces: Pieces, report: measure.Report
) -> dict[str, dict[str, Any]]:
    """Let everybody drive who has not yet, print the table, and return its rows by driver."""
    if place.drivers is None:
        chosen = [each for each in fleet if each.name not in SLOW and not each.name.endswith(GUARDED)]
    else:
        chosen = [each for each in fleet if each.name in place.drivers]
    seen = [replace(each, sensing=place.sensing) for each in chosen]

    def finish(entrant: Entrant, mode: str, run: Callable[[], Evaluation]) -> pl.DataFrame:
        return pieces(f"{place.name} {entrant.name} {entrant.seed}", lambda: run().table)

    quiet: Any = {"progress": lambda text, share: None, "finish": finish}
    done = drive_entrants(seen, [place.mode], place.scenarios, seed=0, **quiet)
    by_name: dict[str, list[pl.DataFrame]] = {}
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
    report.table(
        f"{place.name}: {len(place.scenarios)} episodes", list(HEADS), [_row(n, r) for n, r in rows.items()]
    )
    report.facts[place.name] = rows
    report.facts[f"{place.name}: steps"] = _steps(place, failed, groups, report)
    return rows


def _steps(
    place: Place, failed: Mapping[str, np.ndarray], groups: np.ndarray, report: measure.Report
) -> dict[str, list[float]]:
    """Return by how much the failures of one driver are fewer than those of the one before, and print it."""
    out = {}
    for before, after in STEPS:
        if before in failed and after in failed:
            less = grouped_mean(failed[before] - failed[after], groups)
            out[f"{before} to {after}"] = [less.value, less.low, less.high]
    if out:
        shown = [(name, *(f"{100 * value:.1f}" for value in values)) for name, values in out.items()]
        report.table(f"{place.name}: failures saved [%]", ["step", "mean", "from", "to"], shown)
    return out


COLUMNS = ("sdc_progression", "log_divergence", "jerk", "ego_is_comfortable")


def _column(table: pl.DataFrame, name: str) -> np.ndarray:
    return table[name].cast(float).fill_null(0.0).to_numpy()


def _row(name: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    def share(value: float, ends: list[float]) -> str:
        return f"{100 * value:.1f} [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"

    return (
        name, row["seeds"], share(row["fail_rate"], row["fail_rate_ci"]), share(row["less"], row["less_ci"]),
        f"{row['sdc_progression']:.3f}", f"{row['log_divergence']:.2f}", f"{row['jerk']:.2f}",
        f"{100 * row['ego_is_comfortable']:.1f}",
    )  # fmt: skip


def foretold(summary: Mapping[str, Any], report: measure.Report) -> None:
    """Print how well the world of the job foretells the test scenes, beside forecasts without learning."""
    rows = []
    for name in ("", "constant_velocity.", "kalman.", "imm.", "idm.", "samples."):
        cells = [summary.get(f"world.{name}{score}") for score in SCORES]
        if name == "samples.":
            cells[0] = None  # none of them is the likeliest
        shown = ["" if each is None else f"{each:.3f}" for each in cells]
        rows.append((name.rstrip(".").replace("_", " ") or "the learned world", *shown))
    report.table("futures of test scenes, up to 4 s", ["forecast", *SCORES.values()], rows)
    plain = [summary[f"world.{name}.ade_4s"] for name in ("constant_velocity", "kalman", "imm", "idm")]
    ade, nearest = summary["world.ade_4s"], summary["world.min_ade_6_4s"]
    report.target("world: ADE of the likeliest against the best without learning", ade / min(plain), 0.85)
    report.target("world: minADE of six against constant velocity", nearest / plain[0], 0.6)
    samples = summary["world.samples.min_ade_6_4s"]
    report.target("world: minADE of six against six samples of it", nearest / samples, 0.6)


def main(arguments: list[str] | None = None) -> int:
    """Train, drive, compare."""
    options = measure.options(__doc__, arguments)
    jax.config.update("jax_enable_x64", False)  # as in use
    report = measure.Report("drivers", CLAIM, options)
    out, drivers, monitor, recorded, summary = trained(options.quick)
    fleet = entrants(drivers, monitor)
    events = rare_events(
        10 if options.quick else EVENTS, 4.0 if options.quick else 10.0, key=jax.random.key(2026)
    )
    files = sorted((out / "policies").glob("*.eqx"))
    (out / "arenas").mkdir(exist_ok=True)
    pieces = Pieces(out / "arenas", digest([path.read_bytes() for path in files], len(events)))
    pieces.begin()
    raw, some = ("idm", "pdm", "pdm, no jerk limit"), spread(recorded, EPISODES)
    places = [
        Place("clean", recorded, "replay", None),
        Place("bad eyes", some, "replay", BAD_EYES),
        Place("rare events", events, "reactive", EYES, (*IN_EVENTS, *(each + GUARDED for each in WATCHED))),
        Place("worse eyes", some, "replay", WORSE_EYES),
        Place("bad eyes, raw detections", some, "replay", RAW_BAD_EYES, raw),
        Place("worse eyes, raw detections", some, "replay", RAW_WORSE_EYES, raw),
    ]
    rows = {}
    wanted = places[: 2 if options.quick else None]
    try:
        for place in wanted:
            rows[place.name] = compared(place, fleet, pieces, report)
    except KeyboardInterrupt:  # what is finished is worth a table
        report.facts["not run"] = [place.name for place in wanted if place.name not in rows]
        if not rows:
            raise
    clean = rows["clean"]
    foretold(summary, report)
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
