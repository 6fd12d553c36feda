"""The main job: recorded traffic in, calibrated beliefs and judged drivers out.

The stages run one after the other, and each builds on what the ones before it found out:

    read  →  states  →  baselines  →  report

A stage adds its name to `STAGES`, its numbers to the summary and its sections to the report.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

import polars as pl

from foresee import __version__
from foresee.driving.accuracy import accelerations, one_step_scores, truth_scores
from foresee.driving.estimate import estimate_states
from foresee.driving.read import read_recording
from foresee.driving.recording import Recording
from foresee.driving.states import States
from foresee.driving.synthetic import synthetic_recording
from foresee.errors import OptionError
from foresee.jobs import summary as numbers
from foresee.jobs.baselines import Baselines, run_baselines
from foresee.jobs.folder import keep_compiled, writable_folder
from foresee.jobs.replay import clips_of, draw_pictures, remove_pictures
from foresee.jobs.terminal import Terminal
from foresee.report.baselines import Driven
from foresee.report.drive import Findings, draw_figures, drive_page
from foresee.report.words import headlines
from foresee.storage import whole_file

RESULTS = ("report.html", "states.parquet", "baselines.parquet", "summary.json")
STAGES = ("states", "baselines")


def drive(
    recordings: Sequence[Path] = (),
    *,
    out: Path,
    seed: int = 0,
    quiet: bool = False,
    stages: tuple[str, ...] | None = None,
    columns: Mapping[str, str] | None = None,
    frame_rate: float | None = None,
    feet: bool | None = None,
    gif: bool = False,
    png: bool = False,
) -> Path:
    """Read recordings, estimate what every vehicle did, let baselines drive instead, and write the results.

    These are states.parquet, baselines.parquet, report.html and summary.json; every file appears whole or
    not at all.

    Args:
        recordings: files to read; none: a synthetic recording whose truth is known.
        out: folder for the results, made if it is not there.
        seed: seed of everything random.
        quiet: no progress, no table.
        stages: names of the first stages to run; None: all.
        columns: what the file calls its columns, as {"x": "Local_X"}.
        frame_rate: frames per second [Hz], where the file only counts frames.
        feet: whether lengths in the file are feet; None: what its format says.
        gif: whether to write the most telling clip of the replay as replay.gif.
        png: whether to write pictures of it into the folder frames.

    Returns:
        The folder with the results.

    Raises:
        OptionError: if a stage is unknown or an option has nothing to apply to.
        RecordingError: if a file cannot be read as a recording.
        OSError: if the folder cannot be written.
    """
    started = perf_counter()
    chosen = choose_stages(stages)
    if not recordings and (columns or frame_rate is not None or feet is not None):
        raise OptionError("columns, frame rate and units describe a file, and no recording is named")
    if (gif or png) and "baselines" not in chosen:
        raise OptionError("pictures of the replay need the stage baselines, and it is not among the stages")
    terminal = Terminal(quiet)
    keep_compiled()
    with writable_folder(out):
        with terminal.step("read"):
            recording = _read(recordings, seed, columns, frame_rate, feet)
        for note in recording.notes:
            terminal.remark(f"note: {note}")
        with terminal.step("states") as progress:
            states = estimate_states(recording, seed=seed, progress=progress)
            _clear(out)
            _write_table(out / "states.parquet", states.to_frame())
        baselines = _drive_instead(states, terminal, out, seed) if "baselines" in chosen else None
        with terminal.step("report") as progress:
            findings = _score(states, baselines, chosen, seed)
            figures = draw_figures(findings, progress)
            if findings.driven is not None:
                draw_pictures(findings.driven.clips, out, gif=gif, png=png, progress=progress)
            seconds = {f"seconds.{name}": value for name, value in terminal.seconds.items()}
            findings.summary.update(seconds, **{"seconds.total": perf_counter() - started})
            with whole_file(out / "report.html") as temporary:
                temporary.write_text(drive_page(findings, figures).html(), encoding="utf-8")
            numbers.write_summary(out / "summary.json", findings.summary)
    terminal.table(recording.source, headlines(findings.summary))
    written = [name for name in (*RESULTS, "replay.gif") if (out / name).exists()]
    terminal.result(f"results in {out}: {', '.join(written)}")
    return out


def choose_stages(names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the stages to run, in order.

    Raises:
        OptionError: if a name is unknown or the names are not the first ones of the pipeline.
    """
    if names is None:
        return STAGES
    for name in names:
        if name not in STAGES:
            raise OptionError(f"expected stages out of {', '.join(STAGES)}, got {name!r}")
    if names != STAGES[: len(names)] or not names:
        raise OptionError(
            f"expected the first of {', '.join(STAGES)}, in this order, got {', '.join(names)!r}"
        )
    return names


def _read(
    recordings: Sequence[Path],
    seed: int,
    columns: Mapping[str, str] | None,
    frame_rate: float | None,
    feet: bool | None,
) -> Recording:
    if not recordings:
        return synthetic_recording(seed)
    units = None if feet is None else "ft" if feet else "m"
    return read_recording(recordings, columns=columns, frame_rate=frame_rate, units=units)


def _clear(out: Path) -> None:
    """Take away what an earlier run said about other states."""
    for stale in RESULTS:
        (out / stale).unlink(missing_ok=True)
    remove_pictures(out)


def _write_table(path: Path, table: pl.DataFrame) -> None:
    buffer = io.BytesIO()  # so that a full disk is met by Python, as an OSError
    table.write_parquet(buffer)
    with whole_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _drive_instead(states: States, terminal: Terminal, out: Path, seed: int) -> Baselines:
    with terminal.step("baselines") as progress:
        baselines = run_baselines(states, seed=seed, progress=progress)
        if baselines.evaluations:
            _write_table(out / "baselines.parquet", baselines.table())
    for note in baselines.notes:
        terminal.remark(f"note: {note}")
    return baselines


def _score(states: States, baselines: Baselines | None, stages: tuple[str, ...], seed: int) -> Findings:
    one_step, truth = one_step_scores(states), truth_scores(states)
    summary = {
        "version": __version__,
        "seed": seed,
        "stages": list(stages),
        **numbers.recording_numbers(states.recording),
        **numbers.noise_numbers(states.learned),
        **numbers.states_numbers(states, one_step),
        **numbers.acceleration_numbers(*accelerations(states)),
        **numbers.truth_numbers(truth),
    }
    driven = None
    if baselines is not None:
        summary |= numbers.baselines_numbers(baselines, len(states.recording.scenes()), seed=seed)
        if baselines.evaluations:
            driven = Driven(baselines.table(), clips_of(baselines, seed=seed))
    return Findings(states, one_step, truth, numbers.plain(summary), driven)
