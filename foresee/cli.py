"""The command line: `foresee COMMAND …`.

Exit status: 0 done, 1 the input was wrong, 2 the command line was wrong, 130 interrupted. Jobs are imported
inside their command, so that `--help`, `--version` and a misspelt file name answer at once.
"""

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from foresee import __version__
from foresee.errors import ForeseeError, MissingExtraError, OptionError

app = typer.Typer(
    name="foresee",
    help="Noisy observations in, decisions out, and the doubt carried honestly all the way between.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; the entry point of the installed `foresee` script."""
    try:
        app(prog_name="foresee")
    except KeyboardInterrupt:
        print("foresee: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"foresee {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    pass


def _finite_positive(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"expected a finite number above 0, got {value}")
    return value


def _share(value: float) -> float:
    if not 0 < value < 1:
        raise typer.BadParameter(f"expected a number between 0 and 1, got {value}")
    return value


@app.command()
def drive(
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(
            help="CommonRoad XML, CSV or Parquet files, gzipped or not; none: a synthetic recording.",
            metavar="RECORDING",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; default: a dated folder under foresee-out/.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of everything random; default: 0.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
    stages: Annotated[
        str | None,
        typer.Option(
            help="First stages to run, out of states,baselines,world,policies; default: all of them.",
            metavar="NAMES",
        ),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            help="A recording held out to judge drivers with, again for more; default: the last quarter.",
            metavar="RECORDING",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="How many times every policy is trained; default: 1.", show_default=False),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Drivers beside the baselines, as pdm,bc,mpur; default: all.", metavar="NAMES"),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(callback=_finite_positive, help="Learning may take about so long.", metavar="MINUTES"),
    ] = None,
    world: Annotated[
        Path | None, typer.Option(help="A world.eqx of an earlier run, instead of learning one.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--fresh", help="Go on from what an earlier run has finished, or begin anew."),
    ] = True,
    config: Annotated[
        Path | None,
        typer.Option(help="A config.yaml of an earlier run: options that are not given are taken from it."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="What the file calls its columns, as x=Local_X,y=Local_Y.", metavar="NAME=COLUMN,…"
        ),
    ] = None,
    frame_rate: Annotated[
        float | None,
        typer.Option(callback=_finite_positive, help="Frames per second, where the file counts frames."),
    ] = None,
    units: Annotated[
        Literal["m", "ft"] | None,
        typer.Option(help="Unit of length in the file; default: what the format says."),
    ] = None,
    gif: Annotated[
        bool, typer.Option("--gif", help="Write the most telling clip of the replay as replay.gif.")
    ] = False,
    png: Annotated[
        bool, typer.Option("--png", help="Write one picture of it per second into the folder frames.")
    ] = False,
) -> None:
    """Turn recorded traffic into beliefs about what vehicles did, learn from it, and judge drivers in it."""
    given = {
        "recordings": list(recordings or []) or None,
        "test": test or None,
        "seed": seed,
        "stages": _split_names(stages, "--stages"),
        "seeds": seeds,
        "methods": _split_names(methods, "--methods"),
        "budget": budget,
        "world": world,
        "columns": _split_columns(columns),
        "frame_rate": frame_rate,
        "feet": None if units is None else units == "ft",
    }
    folder = _dated_folder() if out is None else out
    with _one_line_errors(folder):
        options = _with_config(config, given)
        named = [options["recordings"], options["test"], [options["world"]] if options["world"] else []]
        for path in (path for paths in named for path in paths):
            if not path.exists():
                _fail(f"{path}: no such file")
        _compile_sooner()
        from foresee.jobs.drive import drive as run_drive

        paths = options.pop("recordings")
        run_drive(paths, out=folder, quiet=quiet, fresh=not resume, gif=gif, png=png, **options)


@app.command()
def calibrate(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="npz, npy, CSV or Parquet of logits or probabilities, rows × classes, gzipped or not.",
            metavar="PREDICTIONS",
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            help="File of labels, or the array or column of PREDICTIONS that has them; default: label.",
            metavar="FILE_OR_COLUMN",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; default: a dated folder under foresee-out/.")
    ] = None,
    method: Annotated[
        Literal["temperature", "vector", "platt", "isotonic"], typer.Option(help="How to calibrate.")
    ] = "temperature",
    level: Annotated[
        float,
        typer.Option(callback=_share, help="Share of prediction sets that are to hold the true class."),
    ] = 0.9,
    ood: Annotated[
        Path | None,
        typer.Option(help="Predictions for rows the model was not made for, laid out as PREDICTIONS."),
    ] = None,
    false_alarm: Annotated[
        float, typer.Option(callback=_share, help="Share of ordinary rows that may be flagged as strange.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Make predicted probabilities true, and say how far they can be trusted."""
    folder = _dated_folder() if out is None else out
    with _one_line_errors(folder):
        for path in (predictions, *([] if ood is None else [ood])):
            if not path.exists():
                _fail(f"{path}: no such file")
        from foresee.jobs.calibrate import calibrate as run_calibrate

        run_calibrate(
            predictions,
            out=folder,
            labels=labels,
            ood=ood,
            method=method,
            level=level,
            false_alarm=false_alarm,
            seed=seed,
            quiet=quiet,
        )


@app.command()
def track(
    detections: Annotated[
        Path,
        typer.Argument(
            help="MOTChallenge or KITTI detections, or CSV of positions by scan or time; gzipped or not.",
            metavar="DETECTIONS",
        ),
    ],
    format: Annotated[
        Literal["mot", "kitti", "csv"] | None,
        typer.Option(help="Format of the file; default: told by its content.", show_default=False),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Who really was where, in the same format, to judge by.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; default: a dated folder under foresee-out/.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Follow many objects through detections without names, and say how sure that is."""
    folder = _dated_folder() if out is None else out
    with _one_line_errors(folder):
        for path in (detections, *([] if truth is None else [truth])):
            if not path.exists():
                _fail(f"{path}: no such file")
        from foresee.jobs.track import track as run_track

        run_track(detections, out=folder, format=format, truth=truth, seed=seed, quiet=quiet)


@app.command()
def plan(
    map_file: Annotated[
        Path,
        typer.Argument(
            help="MovingAI .map, a picture, or an npz of occupancy, gzipped or not.", metavar="MAP"
        ),
    ],
    start: Annotated[str, typer.Option(help="Column and row from the top left.", metavar="X,Y")],
    goal: Annotated[str, typer.Option(help="Column and row from the top left.", metavar="X,Y")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; default: a dated folder under foresee-out/.")
    ] = None,
    method: Annotated[
        Literal["jump_point", "astar", "any_angle"],
        typer.Option(help="How to search; the first two are exact."),
    ] = "jump_point",
    threshold: Annotated[
        float, typer.Option(callback=_share, help="Cells at least so probably occupied are obstacles.")
    ] = 0.5,
    radius: Annotated[float, typer.Option(min=0, help="Radius of the robot [cells].")] = 0.0,
    collision: Annotated[
        float | None,
        typer.Option(
            callback=_finite_positive,
            help="What a cell's length inside an obstacle costs: find the path of least expected cost.",
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(callback=_finite_positive, help="The search stops after so long.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Find a shortest path on a map, or prove that there is none."""
    places = {name: _column_and_row(text, name) for name, text in (("--start", start), ("--goal", goal))}
    folder = _dated_folder() if out is None else out
    with _one_line_errors(folder):
        if not map_file.exists():
            _fail(f"{map_file}: no such file")
        from foresee.jobs.plan import plan as run_plan

        run_plan(
            map_file,
            start=places["--start"],
            goal=places["--goal"],
            out=folder,
            method=method,
            threshold=threshold,
            radius=radius,
            collision=collision,
            seconds=seconds,
            quiet=quiet,
        )


def _column_and_row(text: str, option: str) -> tuple[int, int]:
    try:
        column, row = (int(word) for word in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"expected a column and a row, as 12,40, got {text!r}", param_hint=option
        ) from None
    return column, row


def _compile_sooner() -> None:
    """Have XLA generate code the older way, unless it was told: the main job compiles for most of its time.

    Its loops over small arrays are compiled in two thirds of the time and run about as fast.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_use_fusion_emitters" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()


def _with_config(config: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the main job: those that are given, else those of a file, else the usual ones."""
    held: dict[str, Any] = {}
    if config is not None:
        from foresee.jobs.config import read_config

        held = read_config(config)
        if "units" in held:
            units = held.pop("units")
            held["feet"] = None if units is None else units == "ft"
        for name in ("recordings", "test"):
            held[name] = [Path(each) for each in held.get(name, ())]
        if held.get("world") is not None:
            held["world"] = Path(held["world"])
    usual = {"recordings": [], "test": [], "seed": 0, "seeds": 1}
    return {
        name: value if value is not None else held.get(name, usual.get(name)) for name, value in given.items()
    }


def _split_names(text: str | None, hint: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise typer.BadParameter(f"expected names separated by commas, got {text!r}", param_hint=hint)
    return names


def _split_columns(texts: list[str] | None) -> dict[str, str] | None:
    if not texts:
        return None
    mapping: dict[str, str] = {}
    for pair in ",".join(texts).split(","):
        name, equals, column = (part.strip() for part in pair.partition("="))
        if not (name and equals and column):
            raise typer.BadParameter(f"expected NAME=COLUMN, got {pair!r}", param_hint="--columns")
        if name in mapping:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint="--columns")
        mapping[name] = column
    return mapping


def _dated_folder() -> Path:
    """A folder under foresee-out/ that no earlier run has used."""
    name = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    folder = Path("foresee-out") / name
    again = 2
    while folder.exists():
        folder = Path("foresee-out") / f"{name}-{again}"
        again += 1
    return folder


@contextmanager
def _one_line_errors(folder: Path) -> Iterator[None]:
    """Turn wrong input, a refusing disk and Ctrl-C into one line and the exit status they stand for."""
    started = time.time()
    try:
        yield
    except KeyboardInterrupt:
        _fail(f"interrupted; {_what_was_kept(folder, started)}", status=130)
    except OptionError as error:
        _fail(str(error), status=2)
    except (ForeseeError, MissingExtraError) as error:
        _fail(str(error))
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        _fail(f"{error.filename}: {reason}" if error.filename else reason)


def _what_was_kept(folder: Path, started: float) -> str:
    """Name the results this run finished; half-written files have hidden or `.tmp` names."""
    slack = 2.0  # seconds; some file systems store modification times no finer
    try:
        finished = sorted(
            path.name
            for path in folder.iterdir()
            if not path.name.startswith(".")
            and path.suffix != ".tmp"
            and path.stat().st_mtime > started - slack
        )
    except OSError:
        finished = []
    text = f"kept in {folder}: {', '.join(finished)}" if finished else "nothing was written"
    more = (folder / ".progress").is_dir()
    return f"{text}; the same command goes on from there" if more else text


def _fail(message: str, status: int = 1) -> NoReturn:
    print("foresee: " + " ".join(message.split()), file=sys.stderr)
    raise typer.Exit(status)


if __name__ == "__main__":
    main()
