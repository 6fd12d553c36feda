"""Real traffic: are the intervals of the next position right on rows that nothing was learned on?"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import measure
from foresee.driving import Recording, read_recording, synthetic_recording
from foresee.driving.accuracy import accelerations, one_step_scores, truth_scores
from foresee.driving.estimate import estimate_states

CLAIM = "the 90 % intervals of the next recorded position hold 85 to 95 % of held-out rows, along and across"
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "traffic"
LEVELS, AXES = (0.5, 0.9, 0.99), ("along", "across")


def recordings(quick: bool) -> dict[str, Callable[[], Recording]]:
    """Return what to smooth: the synthetic recording, and the real ones where they are at hand."""
    found: dict[str, Callable[[], Recording]] = {"synthetic highway": synthetic_recording}
    tracks, scenes = DATA / "us101_tracks.csv.gz", sorted(DATA.glob("USA_US101-*.xml"))
    if quick:
        return found
    if tracks.exists():
        found["US-101, 33 scenes"] = lambda: read_recording(tracks)
    if scenes:
        found[f"US-101, {len(scenes)} CommonRoad files"] = lambda: read_recording(scenes)
    return found


def scored(name: str, recording: Recording, report: measure.Report) -> dict:
    """Return one row of the table, and gate the coverage."""
    begin = time.perf_counter()
    states = estimate_states(recording)
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    estimate_states(recording)
    warm = time.perf_counter() - begin
    scores = one_step_scores(states)
    before, after = accelerations(states)
    row: dict = {"vehicles": recording.vehicles, "rows": scores.rows}
    for level, both in zip(LEVELS, scores.coverage_by_axis, strict=True):
        for axis, share in zip(AXES, both, strict=True):
            row[f"{100 * level:.0f} % {axis}"] = share.value
            if level == 0.9:
                text = f"{name}: the 90 % interval {axis} holds 85 to 95 %"
                report.gate(text, 0.85 <= share.value <= 0.95, f"{share.value:.4f}")
    row |= {"log score": scores.log_score.value, "constant velocity": scores.naive_log_score.value}
    row |= {"raw acceleration sd": before.deviation, "smoothed": after.deviation}
    row |= {"first call [s]": first, "warm [s]": warm}
    truth = truth_scores(states)
    if truth is not None:
        report.facts[f"{name}: root mean squared error, raw"] = truth.raw
        report.facts[f"{name}: root mean squared error, smoothed"] = truth.smoothed
        report.facts[f"{name}: NEES (6 is right), mean and median"] = [
            truth.nees_mean.value,
            truth.nees_median,
        ]
    return row


def main(arguments: list[str] | None = None) -> int:
    """Learn, filter, smooth and score every recording."""
    options = measure.options(__doc__, arguments)
    report = measure.Report("us101", CLAIM, options)
    rows = [(name, scored(name, read(), report)) for name, read in recordings(options.quick).items()]
    report.table(
        "predicting the next position on held-out rows",
        ["", *rows[0][1]],
        [(name, *values.values()) for name, values in rows],
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
