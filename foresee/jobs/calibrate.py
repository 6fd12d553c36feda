"""Predictions in; calibrated ones out, with what they can be trusted for."""

from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from jaxtyping import Float

from foresee import __version__
from foresee.calibration import AbstractScaler
from foresee.calibration.methods import METHODS
from foresee.calibration.read import Predictions, read_predictions
from foresee.calibration.stored import write_scaler
from foresee.errors import CalibrationError, OptionError
from foresee.jobs import judge
from foresee.jobs.folder import keep_compiled, writable_folder
from foresee.jobs.summary import plain, write_summary
from foresee.jobs.terminal import Report, Terminal
from foresee.report.calibration import Findings, calibration_headlines, calibration_page
from foresee.storage import whole_file

RESULTS = ("report.html", "scaler.npz", "calibrated.npz", "summary.json")


def calibrate(
    predictions: Path,
    *,
    out: Path,
    labels: str | Path | None = None,
    ood: Path | None = None,
    method: str = "temperature",
    level: float = 0.9,
    false_alarm: float = 0.05,
    seed: int = 0,
    quiet: bool = False,
) -> Path:
    """Calibrate predictions on one random half of their rows, judge that on the other, and write the results.

    These are scaler.npz, calibrated.npz, report.html and summary.json; every file appears whole or not at
    all.

    Args:
        predictions: file of logits or probabilities, rows × classes.
        out: folder for the results, made if it is not there.
        labels: a file of labels, or the name of the array or column in the predictions that has them.
        ood: file of predictions for rows that the model was not made for.
        method: "temperature", "vector", "platt" or "isotonic".
        level: share of prediction sets that are to hold the true class.
        false_alarm: share of ordinary rows that may be flagged as strange.
        seed: seed of everything random.
        quiet: no progress, no table.

    Returns:
        The folder with the results.

    Raises:
        OptionError: if the method is unknown, or a share is not between 0 and 1.
        CalibrationError: if a file cannot be read or its rows cannot be calibrated with.
        OSError: if the folder cannot be written.
    """
    started = perf_counter()
    _check(method, level, false_alarm)
    terminal = Terminal(quiet)
    keep_compiled()
    with writable_folder(out):
        with terminal.step("read"):
            read = read_predictions(predictions, labels)
            strange = None if ood is None else _read_strange(ood, read)
            if read.labels is None:
                raise CalibrationError(f"{read.source}: expected labels, got none")
            halves = judge.deal(read, read.labels, level, None if ood is None else false_alarm, seed)
        with terminal.step("fit"):
            scaler, fitted = judge.fit_scaler(halves, method)
            after = judge.probabilities_after(scaler, halves.logits)
            _clear(out)
            write_scaler(out / "scaler.npz", scaler)
            _write_calibrated(out / "calibrated.npz", after, halves)
        with terminal.step("judge") as progress:
            summary = _what_was_read(halves, method, level, seed) | fitted
            findings = _judge(halves, after, summary, level, seed, progress)
            if strange is not None:
                findings = _judge_strange(findings, halves, strange, scaler, false_alarm)
        with terminal.step("report"):
            seconds = {f"seconds.{name}": value for name, value in terminal.seconds.items()}
            findings.summary.update(seconds, **{"seconds.total": perf_counter() - started})
            with whole_file(out / "report.html") as temporary:
                temporary.write_text(calibration_page(findings).html(), encoding="utf-8")
            write_summary(out / "summary.json", findings.summary)
    for note in findings.summary["notes"]:
        terminal.remark(f"note: {note}")
    terminal.table(read.source, calibration_headlines(findings.summary))
    terminal.result(f"results in {out}: {', '.join(RESULTS)}")
    return out


def _check(method: str, level: float, false_alarm: float) -> None:
    if method not in METHODS:
        raise OptionError(f"expected a method out of {', '.join(METHODS)}, got {method!r}")
    for name, value in (("level", level), ("false alarm rate", false_alarm)):
        if not 0 < value < 1:
            raise OptionError(f"expected a {name} between 0 and 1, got {value:g}")


def _read_strange(path: Path, read: Predictions) -> Predictions:
    strange = read_predictions(path, labelled=False)
    if strange.table.shape[1] != len(read.classes):
        raise CalibrationError(
            f"{path}: expected {len(read.classes)} classes, as {read.source} has, got "
            f"{strange.table.shape[1]}"
        )
    if strange.probabilities != read.probabilities:
        kinds = [
            "probabilities" if each else "logits" for each in (read.probabilities, strange.probabilities)
        ]
        raise CalibrationError(f"{path}: expected {kinds[0]}, as in {read.source}, got {kinds[1]}")
    if len(strange.table) < 2:
        raise CalibrationError(f"{path}: expected at least 2 rows, got {len(strange.table)}")
    return strange


def _clear(out: Path) -> None:
    """Take away what an earlier run said about other predictions."""
    for stale in RESULTS:
        (out / stale).unlink(missing_ok=True)


def _write_calibrated(path: Path, after: Float[np.ndarray, "rows classes"], halves: judge.Halves) -> None:
    flags = np.zeros(len(after), bool)
    flags[halves.fitted] = True
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, probabilities=after.astype(np.float32), labels=halves.labels, fitted=flags)


def _what_was_read(halves: judge.Halves, method: str, level: float, seed: int) -> judge.Summary:
    read = halves.predictions
    return {
        "version": __version__,
        "seed": seed,
        "method": method,
        "level": level,
        "predictions.source": read.source,
        "predictions.rows": len(read.table),
        "predictions.classes": len(read.classes),
        "predictions.kind": "probabilities" if read.probabilities else "logits",
        "rows.fitted": len(halves.fitted),
        "rows.judged": len(halves.judged),
        "notes": list(read.notes),
    }


def _judge(
    halves: judge.Halves,
    after: Float[np.ndarray, "rows classes"],
    summary: judge.Summary,
    level: float,
    seed: int,
    progress: Report,
) -> Findings:
    if not summary["converged"]:
        summary["notes"].append(
            f"The search for the {summary['method']} scaling found no best value. That happens where every "
            "prediction is right, or none is better than chance; do not rely on what came out."
        )
    progress("scores", 0.0)
    scores = judge.score_numbers(halves, after, seed)
    progress("prediction sets", 0.6)
    strangeness = judge.strangeness_of_all(halves, seed)
    numbers, sets = judge.set_numbers(halves, strangeness, level)
    by_level = judge.coverage_by_level(halves, strangeness)
    rows = halves.judged
    return Findings(
        plain(summary | scores | numbers),
        halves.labels[rows],
        halves.before[rows],
        after[rows],
        sets,
        by_level,
    )


def _judge_strange(
    findings: Findings,
    halves: judge.Halves,
    strange: Predictions,
    scaler: AbstractScaler,
    false_alarm: float,
) -> Findings:
    scores = judge.ood_scores(halves, strange)
    found = {
        "ood.source": strange.source,
        "ood.rows": len(strange.table),
        "ood.detectors": list(scores),
        **judge.ood_numbers(halves, scores, false_alarm),
    }
    pairs = {name: (inside[halves.judged], outside) for name, (inside, outside) in scores.items()}
    after = judge.probabilities_after(scaler, strange.logits())
    return replace(findings, summary=plain(findings.summary | found), strange=pairs, strange_after=after)
