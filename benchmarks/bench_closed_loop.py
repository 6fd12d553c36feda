"""Drivers judged in closed loop: the built-in ones on US-101 and in generated events."""

import sys
import time
from pathlib import Path

import jax

from benchmarks import measure
from foresee.driving import (
    Expert,
    LaneKeeper,
    NoAction,
    Scenarios,
    Sensing,
    estimate_states,
    evaluate,
    generated_scenarios,
    read_recording,
    scenarios_from_states,
)

CLAIM = "the recorded drivers of US-101 collide with nobody and come exactly as far as they came"
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "traffic" / "us101_tracks.csv.gz"
COLUMNS = {
    "fail_rate": "fail %",
    "progress": "progress",
    "ade": "ADE m",
    "jerk": "jerk m/s³",
    "comfortable": "comfortable %",
}


def judged(report: measure.Report, title: str, scenarios: Scenarios, sensing: Sensing) -> None:
    """Let every built-in driver drive every scenario in all kinds of traffic, and one of them in doubt."""
    runs = [
        (driver, mode, None)
        for driver in (Expert(), NoAction(), LaneKeeper())
        for mode in ("replay", "reactive", "mixed")
    ]
    runs += [(LaneKeeper(), mode, sensing) for mode in ("replay", "reactive")]
    rows = []
    for driver, mode, seen in runs[:2] if report.options.quick else runs:
        evaluate(driver, scenarios, mode, sensing=seen, key=jax.random.key(0))
        begin = time.perf_counter()
        evaluation = evaluate(driver, scenarios, mode, sensing=seen, key=jax.random.key(0))
        seconds = time.perf_counter() - begin
        summary = evaluation.summary()
        cells = []
        for name, words in COLUMNS.items():
            scale = 100 if words.endswith("%") else 1
            one = summary[name]
            cells.append(f"{scale * one.value:.3g} [{scale * one.low:.3g}, {scale * one.high:.3g}]")
        rows.append((f"{driver.name}, {mode}{', sensing' if seen else ''}", len(scenarios), *cells, seconds))
        if isinstance(driver, Expert):
            table = evaluation.table
            report.gate(
                f"{title}, expert, {mode}: no collision", mode != "replay" or int(table["overlap"].sum()) == 0
            )
            report.gate(f"{title}, expert, {mode}: progress 1", bool((table["sdc_progression"] == 1.0).all()))
    report.table(title, ["", "scenarios", *COLUMNS.values(), "warm s"], rows)


def main(arguments: list[str] | None = None) -> int:
    """Judge the built-in drivers."""
    options = measure.options(__doc__, arguments)
    jax.config.update("jax_enable_x64", False)  # as in use
    report = measure.Report("closed_loop", CLAIM, options)
    sensing = Sensing(position_sd=1.0, velocity_sd=2.0, dropout=0.1)
    count = 6 if options.quick else 300
    events = generated_scenarios(
        count, vehicles=24, seconds=2 if options.quick else 12, key=jax.random.key(0)
    )
    judged(report, "generated events and ordinary traffic", events, sensing)
    if DATA.exists() and not options.quick:
        recorded = scenarios_from_states(estimate_states(read_recording(DATA)))
        judged(report, "US-101, every car that is there for 3 s or more", recorded, sensing)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
