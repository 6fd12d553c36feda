"""The main job: recorded traffic in, calibrated beliefs about every vehicle out.

The stages run one after the other, and each builds on what the ones before it found out:

    read  →  states  →  write, report

A stage adds its name to `STAGES`, its numbers to the summary and its sections to the report.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter

import jax

from foresee import __version__
from foresee.driving.accuracy import accelerations, one_step_scores, truth_scores
from foresee.driving.estimate import estimate_states
from foresee.driving.read import read_recording
from foresee.driving.recording import Recording
from foresee.driving.states import States
from foresee.driving.synthetic import synthetic_recording
from foresee.errors import OptionError
from foresee.jobs import summary as numbers
from foresee.jobs.terminal import Terminal
from foresee.report.drive import Findings, draw_figures, drive_page
from foresee.report.words import headlines
from foresee.storage import whole_file

STAGES = ("states",)


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
) -> Path:
    """Read recordings, estimate what every vehicle did, and write states.parquet, report.html, summary.json.

    Every file appears whole or not at all.

    Args:
        recordings: files to read; none: a synthetic recording whose truth is known.
        out: folder for the results, made if it is not there.
        seed: seed of everything random.
        quiet: no progress, no table.
        stages: names of the first stages to run; None: all.
        columns: what the file calls its columns, as {"x": "Local_X"}.
        frame_rate: frames per second [Hz], where the file only counts frames.
        feet: whether lengths in the file are feet; None: what its format says.

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
    terminal = Terminal(quiet)
    _keep_compiled()
    with _writable_folder(out):
        with terminal.step("read"):
            recording = _read(recordings, seed, columns, frame_rate, feet)
        for note in recording.notes:
            terminal.remark(f"note: {note}")
        with terminal.step("states") as progress:
            states = estimate_states(recording, seed=seed, progress=progress)
            _write_states(out, states)
        with terminal.step("report") as progress:
            findings = _score(states, chosen, seed)
            figures = draw_figures(findings, progress)
            seconds = {f"seconds.{name}": value for name, value in terminal.seconds.items()}
            findings.summary.update(seconds, **{"seconds.total": perf_counter() - started})
            with whole_file(out / "report.html") as temporary:
                temporary.write_text(drive_page(findings, figures).html(), encoding="utf-8")
            numbers.write_summary(out / "summary.json", findings.summary)
    terminal.table(recording.source, headlines(findings.summary))
    terminal.result(f"results in {out}: report.html, states.parquet, summary.json")
    return out


def _keep_compiled() -> None:
    """Keep what JAX compiles in the user's cache, so that only the first run waits for it."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "foresee" / "jax"))


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


def _write_states(out: Path, states: States) -> None:
    """Write the table, and take away what an earlier run said about other states."""
    buffer = io.BytesIO()  # so that a full disk is met by Python, as an OSError
    states.to_frame().write_parquet(buffer)
    with whole_file(out / "states.parquet") as temporary:
        temporary.write_bytes(buffer.getbuffer())
        for stale in ("report.html", "summary.json"):
            (out / stale).unlink(missing_ok=True)


def _score(states: States, stages: tuple[str, ...], seed: int) -> Findings:
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
    return Findings(states, one_step, truth, numbers.plain(summary))


@contextmanager
def _writable_folder(out: Path) -> Iterator[None]:
    """Make the folder and try it before any work is done; leave no empty one behind if the work fails."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
        yield
    except BaseException:
        for folder in missing:
            try:
                folder.rmdir()
            except OSError:
                break  # it holds something, or was never made
        raise
