"""The main job: recorded traffic in, calibrated beliefs, a learned world and judged drivers out.

The stages run one after the other, and each builds on what the ones before it found out:

    read  →  states  →  baselines  →  world  →  policies  →  report

A stage adds its name to `STAGES`, its numbers to the summary and its sections to the report. What is finished
is kept in a hidden folder beside the results, and the same command goes on from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import Any

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
from foresee.jobs.config import FILE, METHODS, STAGES, Options, write_config
from foresee.jobs.folder import keep_compiled, writable_folder, write_table
from foresee.jobs.learned import POLICIES, Learned, pieces_of
from foresee.jobs.progress import Pieces
from foresee.jobs.replay import clips_of, draw_pictures, remove_pictures
from foresee.jobs.terminal import Terminal
from foresee.report.baselines import Driven
from foresee.report.drive import Findings, draw_figures, drive_page
from foresee.report.words import headlines
from foresee.storage import whole_file

RESULTS = (
    "report.html", "states.parquet", "baselines.parquet", "metrics.parquet", "world.eqx", "config.yaml",
    "summary.json",
)  # fmt: skip
VEHICLES, SECONDS = 90, 45.0  # of the recording that is made up


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
    test: Sequence[Path] = (),
    seeds: int = 1,
    methods: tuple[str, ...] | None = None,
    budget: float | None = None,
    world: Path | None = None,
    fresh: bool = False,
) -> Path:
    """Read recordings, estimate what every vehicle did, learn to foretell and to drive, and judge drivers.

    The results are states.parquet, baselines.parquet, world.eqx, policies/, metrics.parquet, report.html,
    summary.json and config.yaml; every file appears whole or not at all.

    Args:
        recordings: files to read; none: a synthetic recording whose truth is known.
        out: folder for the results, made if it is not there.
        seed: seed of everything random.
        quiet: no progress, no table.
        stages: names of the first stages to run; None: all, as far as the recording allows.
        columns: what the file calls its columns, as {"x": "Local_X"}.
        frame_rate: frames per second [Hz], where the file only counts frames.
        feet: whether lengths in the file are feet; None: what its format says.
        gif: whether to write the most telling clip of the replay as replay.gif.
        png: whether to write pictures of it into the folder frames.
        test: files that are held out to judge drivers with; none: the last part of the recording.
        seeds: how many times every policy is trained.
        methods: drivers beside the baselines; None: all.
        budget: minutes that learning may take, about; None: as usual.
        world: file of a world that was learned before, to use instead of a new one.
        fresh: whether to throw away what an interrupted run has finished.

    Returns:
        The folder with the results.

    Raises:
        OptionError: if a stage or method is unknown or an option has nothing to apply to.
        RecordingError: if a file cannot be read as a recording, or is too short for a stage asked for.
        OSError: if the folder cannot be written.
    """
    started = perf_counter()
    options = Options(
        recordings=tuple(map(str, recordings)), test=tuple(map(str, test)),
        stages=STAGES if stages is None else stages, methods=METHODS if methods is None else methods,
        seed=seed, seeds=seeds, budget=budget, columns=None if columns is None else dict(columns),
        frame_rate=frame_rate, units=None if feet is None else "ft" if feet else "m",
        world=None if world is None else str(world),
    )  # fmt: skip
    if (gif or png) and "baselines" not in options.stages:
        raise OptionError("pictures of the replay need the stage baselines, and it is not among the stages")
    terminal = Terminal(quiet)
    keep_compiled()
    with writable_folder(out):
        with terminal.step("read"):
            recording = _read(options.recordings, options)
            held_out = _read(options.test, options) if options.test else None
        for note in recording.notes:
            terminal.remark(f"note: {note}")
        pieces = pieces_of(out, options, recording, held_out, fresh, terminal)
        try:
            states = _states(recording, out, options, pieces, terminal)
            learned, baselines = _judged(states, held_out, options, out, pieces, terminal)
            with terminal.step("report") as progress:
                findings = _score(states, baselines, learned, options)
                figures = draw_figures(findings, progress)
                if findings.driven is not None:
                    draw_pictures(findings.driven.clips, out, gif=gif, png=png, progress=progress)
                seconds = {f"seconds.{name}": value for name, value in terminal.seconds.items()}
                findings.summary.update(seconds, **{"seconds.total": perf_counter() - started})
                with whole_file(out / "report.html") as temporary:
                    temporary.write_text(drive_page(findings, figures).html(), encoding="utf-8")
                write_config(out / FILE, options)
                numbers.write_summary(out / "summary.json", findings.summary)
        finally:
            pieces.forget_empty()
    terminal.table(recording.source, headlines(findings.summary))
    written = [name for name in (*RESULTS, "policies", "replay.gif") if (out / name).exists()]
    terminal.result(f"results in {out}: {', '.join(written)}")
    if learned.error is not None and stages is not None:
        raise learned.error  # what was asked for by its name could not be done
    return out


def _judged(
    states: States,
    held_out: Recording | None,
    options: Options,
    out: Path,
    pieces: Pieces,
    terminal: Terminal,
) -> tuple[Learned, Baselines | None]:
    """Learn as far as that can be done; where no driver is learned, let baselines drive everybody."""
    learned, baselines = Learned(), None
    if "world" in options.stages:
        with terminal.step("parts") as progress:
            others = None
            if held_out is not None:
                others = _estimated(held_out, "test states", options, pieces, progress)
            learned.part(states, others)
    if "baselines" in options.stages and not ("policies" in options.stages and learned.parts):
        baselines = _drive_instead(states, terminal, out, options.seed)
    learned.learn(options, out, pieces, terminal)
    for note in learned.notes:
        terminal.remark(f"note: {note}")
    if "baselines" in options.stages and baselines is None and learned.contest is None:
        baselines = _drive_instead(states, terminal, out, options.seed)
    return learned, baselines


def _read(files: Sequence[str], options: Options) -> Recording:
    if not files:
        return synthetic_recording(options.seed, vehicles=VEHICLES, seconds=SECONDS)
    paths = [Path(each) for each in files]
    return read_recording(
        paths,
        columns=options.columns,
        frame_rate=options.frame_rate,
        units=options.units,  # pyright: ignore[reportArgumentType]
    )


def _states(recording: Recording, out: Path, options: Options, pieces: Pieces, terminal: Terminal) -> States:
    with terminal.step("states") as progress:
        states = _estimated(recording, "states", options, pieces, progress)
        _clear(out)
        write_table(out / "states.parquet", states.to_frame())
    return states


def _estimated(recording: Recording, name: str, options: Options, pieces: Pieces, progress: Any) -> States:
    """Return the states of a recording; of what is kept, the recording itself is left out."""
    made: list[States] = []

    def make() -> dict[str, Any]:
        made.append(estimate_states(recording, seed=options.seed, progress=progress))
        return {
            each.name: getattr(made[0], each.name)
            for each in fields(States)
            if each.name not in ("recording", "tracks")
        }

    held = pieces(name, make)
    return made[0] if made else States(recording=recording, tracks=recording.tracks(), **held)


def _clear(out: Path) -> None:
    """Take away what an earlier run said about other states."""
    for stale in RESULTS:
        (out / stale).unlink(missing_ok=True)
    for stale in (out / POLICIES).glob("*.eqx"):
        stale.unlink()
    if (out / POLICIES).is_dir() and not any((out / POLICIES).iterdir()):
        (out / POLICIES).rmdir()
    remove_pictures(out)


def _drive_instead(states: States, terminal: Terminal, out: Path, seed: int) -> Baselines:
    with terminal.step("baselines") as progress:
        baselines = run_baselines(states, seed=seed, progress=progress)
        if baselines.evaluations:
            write_table(out / "baselines.parquet", baselines.table())
    for note in baselines.notes:
        terminal.remark(f"note: {note}")
    return baselines


def _score(states: States, baselines: Baselines | None, learned: Learned, options: Options) -> Findings:
    one_step, truth = one_step_scores(states), truth_scores(states)
    summary = {
        "version": __version__,
        "seed": options.seed,
        "seeds": options.seeds,
        "stages": list(options.stages),
        **numbers.recording_numbers(states.recording),
        **numbers.noise_numbers(states.learned),
        **numbers.states_numbers(states, one_step),
        **numbers.acceleration_numbers(*accelerations(states)),
        **numbers.truth_numbers(truth),
    }
    driven = None
    if baselines is not None:
        scenes = len(states.recording.scenes())
        summary |= numbers.baselines_numbers(baselines, scenes, seed=options.seed)
        if baselines.evaluations:
            driven = Driven(baselines.table(), clips_of(baselines, seed=options.seed))
    if "world" in options.stages:
        summary |= learned.numbers(len(states.recording.scenes()))
    if learned.contest is not None:
        driven = learned.contest.driven()
    more = {"parts": learned.described(), "world": learned.world_findings(), "drivers": learned.drivers()}
    known = {each.name for each in fields(Findings)}
    more = {name: value for name, value in more.items() if name in known}
    return Findings(states, one_step, truth, numbers.plain(summary), driven, **more)
