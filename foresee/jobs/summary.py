"""The numbers of a run under flat, stable names: what summary.json holds and the report shows."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foresee.driving.accuracy import (
    AXES,
    LEVELS,
    Accelerations,
    OneStepScores,
    TruthScores,
)
from foresee.driving.intervals import Estimate
from foresee.driving.recording import Recording
from foresee.driving.states import Learned, States
from foresee.jobs.baselines import FOUND, FROM_MAP, MODES, Baselines
from foresee.storage import whole_file

Summary = dict[str, Any]


def recording_numbers(recording: Recording) -> Summary:
    """What was read."""
    span = recording.tracks()
    last = span.seen.shape[1] - span.seen[:, ::-1].argmax(axis=1)
    return {
        "recording.source": recording.source,
        "recording.scenes": len(recording.scenes()),
        "recording.vehicles": recording.vehicles,
        "recording.seconds": recording.seconds,
        "recording.frame_rate": recording.frame_rate,
        "recording.sightings": int(recording.seen.sum()),
        "recording.gaps": recording.gaps(),
        "recording.missing": int(last.sum() - recording.seen.sum()),
        "recording.reference": recording.reference,
        "recording.notes": list(recording.notes),
    }


def noise_numbers(learned: tuple[Learned, ...]) -> Summary:
    """The learned noise with its standard errors; units are in the report."""
    out: Summary = {}
    for parameter in learned:
        out[f"noise.{parameter.name}"] = parameter.value
        out[f"noise.{parameter.name}_se"] = parameter.standard_error
    return out


def states_numbers(states: States, scores: OneStepScores) -> Summary:
    """How well the next frame was predicted."""
    out: Summary = {
        "states.rows": int(states.alive.sum()),
        "states.scored_rows": scores.rows,
        "states.scored_vehicles": scores.vehicles,
    }
    for level, both, by_axis in zip(LEVELS, scores.coverage, scores.coverage_by_axis, strict=True):
        name = f"states.coverage_{round(100 * level)}"
        out |= _with_interval(name, both)
        for axis, estimate in zip(AXES, by_axis, strict=True):
            out |= _with_interval(f"{name}_{axis}", estimate)
    out |= _with_interval("states.log_score", scores.log_score)
    out |= _with_interval("states.log_score_naive", scores.naive_log_score)
    out |= _with_interval("states.log_score_gain", scores.gain)
    out["states.compared_rows"] = scores.compared
    out["states.nis_mean"] = float(scores.nis.mean()) if scores.rows else None
    out["states.nis_distance"] = scores.nis_distance
    for axis, correlation in zip(AXES, scores.autocorrelation.T, strict=True):
        out[f"states.autocorrelation_1_{axis}"] = float(correlation[0])
    return out


def acceleration_numbers(before: Accelerations, after: Accelerations) -> Summary:
    """How wild the accelerations are before and after, on the same rows."""
    out: Summary = {"accelerations.rows": before.rows}
    for name, wild in (("raw", before), ("smoothed", after)):
        out |= {
            f"accelerations.{name}_sd": wild.deviation,
            f"accelerations.{name}_largest": wild.largest,
            f"accelerations.{name}_over_5": wild.over_5,
            f"accelerations.{name}_over_10": wild.over_10,
        }
    return out


def truth_numbers(scores: TruthScores | None) -> Summary:
    """How far from the truth raw and smoothed states are; empty where the truth is not known."""
    if scores is None:
        return {}
    out: Summary = {"truth.rows": scores.rows}
    for quantity in scores.raw:
        out[f"truth.rmse_{quantity}_raw"] = scores.raw[quantity]
        out[f"truth.rmse_{quantity}"] = scores.smoothed[quantity]
        out[f"truth.rmse_{quantity}_all_rows"] = scores.everywhere[quantity]
    for quantity, estimates in scores.coverage.items():
        for level, estimate in zip(LEVELS, estimates, strict=True):
            out |= _with_interval(f"truth.coverage_{round(100 * level)}_{quantity}", estimate)
    out |= _with_interval("truth.nees_mean", scores.nees_mean)
    out["truth.nees_median"] = scores.nees_median
    out["truth.nees_distance"] = scores.nees_distance
    return out


def baselines_numbers(baselines: Baselines, scenes: int, *, seed: int) -> Summary:
    """What was driven, and how it went; no numbers of drivers where nothing was driven.

    Intervals take scenes for independent of each other. Where there is only one, they take its scenarios for
    independent, as nothing else can be drawn again.
    """
    sources = list(baselines.roads.values())
    out: Summary = {
        "scenarios.count": 0,
        "scenarios.scenes": 0,
        "scenarios.seconds": 0.0,
        "scenarios.road": " or ".join(name for name in (FROM_MAP, FOUND) if name in sources) or None,
        "scenarios.roads_from_map": sources.count(FROM_MAP),
        "scenarios.roads_found": sources.count(FOUND),
        "scenarios.roads_missing": scenes - len(sources),
        "scenarios.notes": list(baselines.notes),
    }
    scenarios = baselines.scenarios
    if scenarios is None:
        return out
    by_scene = len(set(scenarios.groups)) > 1
    out |= {
        "scenarios.count": len(scenarios),
        "scenarios.scenes": len(set(scenarios.groups)),
        "scenarios.seconds": float(np.sum(np.asarray(scenarios.scenario.frames)) * scenarios.dt),
        "scenarios.independent": "scenes" if by_scene else "scenarios",
        "scenarios.drivers": list(dict.fromkeys(each.driver for each in baselines.evaluations)),
        "scenarios.modes": list(MODES),
    }
    if not by_scene:
        scenarios = replace(scenarios, groups=scenarios.names)
    for evaluation in baselines.evaluations:
        prefix = f"drivers.{evaluation.driver}.{evaluation.mode}"
        out[f"{prefix}.failures"] = int(evaluation.table["fail"].sum())
        out[f"{prefix}.seconds"] = evaluation.seconds
        for name, estimate in replace(evaluation, scenarios=scenarios).summary(seed=seed).items():
            out |= _with_interval(f"{prefix}.{name}", estimate)
    return out


def plain(summary: Mapping[str, Any]) -> Summary:
    """Replace every number that is not finite by None, in lists too: JSON knows no NaN."""

    def clean(value: Any) -> Any:
        if isinstance(value, list):
            return [clean(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: clean(value) for name, value in summary.items()}


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write the numbers as JSON; the file appears whole or not at all."""
    text = json.dumps(plain(summary), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _with_interval(name: str, estimate: Estimate) -> Summary:
    return {name: estimate.value, f"{name}_ci": [estimate.low, estimate.high]}
