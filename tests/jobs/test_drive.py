import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import foresee
from foresee.driving import synthetic_recording
from foresee.driving.states import QUANTITIES, Learned, OneStep, States
from foresee.errors import OptionError, RecordingError
from foresee.jobs import drive as job
from foresee.jobs import replay
from foresee.jobs.baselines import Baselines
from foresee.jobs.config import read_config
from foresee.jobs.drive import drive
from foresee.report.words import number, percent
from tests.evaluations import companions, made_evaluations

STATES = ["config.yaml", "report.html", "states.parquet", "summary.json"]
RESULTS = ["baselines.parquet", *STATES]


def quick_states(recording, *, seed, progress=None) -> States:
    """A stand-in for smoothing: interpolated positions, their gradients, made-up scores."""
    random = np.random.default_rng(seed)
    tracks, rate = recording.tracks(), recording.frame_rate
    shape = tracks.seen.shape
    last = shape[1] - 1 - np.argmax(tracks.seen[:, ::-1], axis=1)
    alive = np.arange(shape[1]) <= last[:, None]
    mean = np.zeros((*shape, 6))
    for v, rows in enumerate(alive):
        seen, every = np.flatnonzero(tracks.seen[v]), np.flatnonzero(rows)
        x, y = (np.interp(every, seen, a[v, seen]) for a in (tracks.x, tracks.y))
        dx, dy = (np.gradient(a) * rate if len(a) > 1 else np.zeros(1) for a in (x, y))
        mean[v, rows, :4] = np.stack([x, y, np.arctan2(dy, dx), np.hypot(dx, dy)], axis=1)
    scores = random.normal(size=(*shape, 2))
    late = np.arange(shape[1]) >= shape[1] // 2
    if progress is not None:
        progress("learning", 0.5)
        progress("smoothing", 1.0)
    return States(
        recording=recording,
        tracks=tracks,
        alive=alive,
        mean=mean,
        covariance=np.broadcast_to(0.04 * np.eye(6), (*shape, 6, 6)).copy(),
        modes=np.ones((*shape, 1)),
        learned=(Learned("white", 0.25, 0.01, "m"), Learned("odd", 1e-7, float("nan"), "1/m")),
        one_step=OneStep(
            scored=tracks.seen & late,
            learned_on=tracks.seen & ~late,
            log_density=-(scores**2).sum(axis=-1),
            normal_scores=scores,
            ranks=0.5 + 0.4 * np.tanh(scores),
        ),
        loss_history=np.linspace(2.0, 1.0, 20),
    )


def quick_baselines(states, *, seed, progress) -> Baselines:
    """A stand-in for the evaluation of the baselines, made by hand."""
    progress("3 of 6 evaluations", 0.5)
    return Baselines(made_evaluations(), companions(), {"s0": "map", "s1": "map"}, ("one was left out",))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(job, "estimate_states", quick_states)
    monkeypatch.setattr(job, "run_baselines", quick_baselines)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two small recordings as files, the second without the truth."""
    folder = tmp_path_factory.mktemp("recordings")
    first = synthetic_recording(1, vehicles=8, seconds=6).write(folder / "one.csv")
    table = pl.read_csv(first)
    second = folder / "two.parquet"
    table.select([name for name in table.columns if not name.startswith("true_")]).write_parquet(second)
    return first, second


def names(folder: Path) -> list[str]:
    """What is in a folder, but for what is hidden there to go on from."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".progress")


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_writes_whole_files(quick, files, tmp_path, capsys):
    out = drive([files[0]], out=tmp_path / "a" / "b", seed=3)
    assert names(out) == RESULTS
    table = pl.read_parquet(out / "states.parquet")
    assert {"scene", "id", "frame", "time", "seen"} <= set(table.columns)
    assert all({name, f"{name}_sd"} <= set(table.columns) for name in QUANTITIES)
    summary = summary_of(out)
    assert summary["recording.vehicles"] == table.select(pl.struct("scene", "id").n_unique()).item()
    assert summary["states.rows"] == table.height
    assert summary["recording.sightings"] == int(table["seen"].sum())
    assert summary["recording.missing"] == table.height - summary["recording.sightings"]
    assert summary["noise.white"] == 0.25
    assert summary["noise.white_se"] == 0.01
    assert summary["noise.odd_se"] is None
    assert summary["seed"] == 3
    steps = ("seconds.read", "seconds.states", "seconds.baselines")
    assert summary["seconds.total"] >= sum(summary[name] for name in steps)
    driven = pl.read_parquet(out / "baselines.parquet")
    assert driven.height == 6 * summary["scenarios.count"]
    assert driven["fail"].sum() == 7
    assert summary["drivers.idm.replay.fail_rate"] == 0.2
    for name in ("coverage_50", "coverage_90", "coverage_99", "coverage_90_along", "coverage_90_across"):
        low, high = summary[f"states.{name}_ci"]
        assert 0 <= low <= summary[f"states.{name}"] <= high <= 1
    captured = capsys.readouterr()
    assert "states: learning" in captured.err
    assert "baselines: 3 of 6 evaluations" in captured.err
    assert "note: one was left out" in captured.err
    assert "log score" in captured.out
    assert "idm fails" in captured.out
    assert "report.html" in captured.out


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    """The results of one run that several tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "estimate_states", quick_states)
        patch.setattr(job, "run_baselines", quick_baselines)
        return drive([files[0]], out=tmp_path_factory.mktemp("finished"), quiet=True)


def test_the_report_shows_the_numbers_of_the_summary(finished):
    out = finished
    text, s = (out / "report.html").read_text(), summary_of(out)
    for name in ("truth.rmse_position", "truth.rmse_speed", "states.log_score"):
        assert f'<div class="value">{number(s[name], 2)}' in text, name
    for level in (50, 90, 99):
        for axis in ("_along", "_across", ""):
            assert percent(s[f"states.coverage_{level}{axis}"]) in text
    assert percent(s["accelerations.raw_over_5"]) in text
    assert f"{s['recording.sightings']:,}" in text
    assert "Against the truth" in text
    assert "how others would have driven" in text
    assert percent(s["drivers.none.replay.fail_rate"]) in text


def test_the_report_needs_no_network_and_describes_its_images(finished):
    text = (finished / "report.html").read_text()
    assert set(re.findall(r"[a-z]{1,9}://[^\"' ]*", text)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not an address
    assert "script-src 'sha256-" in text
    sources = re.findall(r'<img alt="([^"]+)" src="([^"]{5})', text)
    assert len(sources) == text.count("<img ") > 10
    assert all(alt and start == "data:" for alt, start in sources)
    assert len(text) < 4_000_000


def test_the_first_stage_alone(quick, files, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "write_png", lambda clip, path, time: path.touch())  # it has tests of its own
    drive([files[0]], out=tmp_path, quiet=True, gif=True, png=True)
    pictures = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert pictures == [f"{second:02d}.png" for second in range(6)]  # from the start to 2 s after the failure
    assert names(tmp_path) == sorted([*RESULTS, "frames", "replay.gif"])
    (tmp_path / "frames" / "mine.txt").touch()
    drive([files[0]], out=tmp_path, quiet=True, stages=("states",))
    assert names(tmp_path) == sorted([*STATES, "frames"])  # nothing of the run before but what is not ours
    assert names(tmp_path / "frames") == ["mine.txt"]
    summary = summary_of(tmp_path)
    assert not [name for name in summary if name.startswith(("drivers.", "scenarios."))]
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "how sure one may be" in text
    assert "Drivers compared" not in text


def test_nothing_to_drive_still_gives_a_whole_report(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(job, "estimate_states", quick_states)

    def none(*_, **__):
        return Baselines((), (), {}, ("scene a is left out",))

    monkeypatch.setattr(job, "run_baselines", none)
    drive([files[1]], out=tmp_path, gif=True)
    assert names(tmp_path) == STATES
    assert summary_of(tmp_path)["scenarios.count"] == 0
    assert summary_of(tmp_path)["scenarios.road"] is None
    assert "scene a is left out" in (tmp_path / "report.html").read_text()
    captured = capsys.readouterr()
    assert "none, see the report" in captured.out
    assert "scene a is left out" in captured.err


def test_several_recordings_without_truth_and_quietly(quick, files, tmp_path, capsys):
    out = drive([files[1], files[1]], out=tmp_path, quiet=True)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    summary = summary_of(out)
    assert summary["recording.scenes"] == 2
    assert not [name for name in summary if name.startswith("truth.")]
    assert "Against the truth" not in (out / "report.html").read_text()


def test_two_rows_are_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "estimate_states", quick_states)
    short = tmp_path / "short.csv"
    short.write_text("id,frame,x,y\n1,0,0,0\n1,1,1,0\n")
    out = drive([short], out=tmp_path / "out", quiet=True, frame_rate=10.0)
    assert names(out) == STATES
    assert summary_of(out)["accelerations.raw_sd"] is None
    assert "expected a vehicle to be seen over at least 15 m" in summary_of(out)["scenarios.notes"][0]


def test_columns_and_units_reach_the_reader(quick, tmp_path):
    table = tmp_path / "feet.csv"
    rows = "".join(f"1,{t},{t * 5.0},0\n" for t in range(30))
    table.write_text("who,frame,forward,y\n" + rows)
    options = {"columns": {"id": "who", "x": "forward"}, "frame_rate": 10.0, "feet": True}
    out = drive([table], out=tmp_path / "out", quiet=True, **options)
    x = pl.read_parquet(out / "states.parquet")["x"]
    assert x[-1] - x[0] == pytest.approx(29 * 5 * 0.3048)


def test_options_without_a_file_are_refused(tmp_path):
    with pytest.raises(OptionError, match="no recording"):
        drive([], out=tmp_path / "out", frame_rate=10.0)
    with pytest.raises(OptionError, match="need the stage baselines"):
        drive([], out=tmp_path / "out", stages=("states",), gif=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stages", [("world",), ("baselines",), ("states", "states"), ("states", "fly"), ()])
def test_stages_that_cannot_run(stages, tmp_path):
    with pytest.raises(OptionError, match=r"expected .*states"):
        drive([], out=tmp_path / "out", stages=stages)
    assert not (tmp_path / "out").exists()


def test_what_is_too_short_to_learn_from_is_told_and_the_rest_is_as_before(quick, files, tmp_path, capsys):
    drive([files[0]], out=tmp_path / "one")
    text = "nothing was learned: expected somebody to be there for at least 4 s in each of 3 parts, got "
    assert text in capsys.readouterr().err
    summary = summary_of(tmp_path / "one")
    assert summary["learned.notes"][0].startswith(text)
    assert summary["world.min_ade_6_4s"] is None
    assert names(tmp_path / "one") == RESULTS
    with pytest.raises(RecordingError, match="in each of 3 parts"):  # by its name it was asked for
        drive([files[0]], out=tmp_path / "two", stages=("states", "baselines", "world"), quiet=True)
    assert names(tmp_path / "two") == RESULTS


def test_the_same_command_goes_on_and_another_one_begins_anew(quick, files, tmp_path, monkeypatch, capsys):
    drive([files[0]], out=tmp_path, quiet=True, stages=("states",))
    first = pl.read_parquet(tmp_path / "states.parquet")
    calls = []

    def counted(recording, **options):
        calls.append(options["seed"])
        return quick_states(recording, **options)

    monkeypatch.setattr(job, "estimate_states", counted)
    drive([files[0]], out=tmp_path)
    assert "going on from what an earlier run has finished" in capsys.readouterr().err
    assert not calls
    assert pl.read_parquet(tmp_path / "states.parquet").equals(first)
    assert names(tmp_path) == RESULTS
    drive([files[0]], out=tmp_path, fresh=True, quiet=True)
    drive([files[0]], out=tmp_path, seed=1)
    assert calls == [0, 1]
    assert "had other input or options" in capsys.readouterr().err


def test_the_same_again_from_the_file_of_options(quick, files, tmp_path):
    drive([files[1]], out=tmp_path / "one", seed=2, stages=("states",), quiet=True)
    held = read_config(tmp_path / "one" / "config.yaml")
    assert held["recordings"] == (str(files[1]),)
    assert (held["seed"], held["stages"]) == (2, ("states",))


def test_an_unwritable_folder_is_met_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(job, "_read", lambda *_: pytest.fail("read before the folder was tried"))
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file") as error:
            drive([], out=out, quiet=True)
        assert error.value.filename is not None
    assert names(tmp_path) == ["file"]


def test_bad_input_leaves_no_folder_behind(tmp_path):
    (tmp_path / "empty.csv").touch()
    with pytest.raises(RecordingError):
        drive([tmp_path / "empty.csv"], out=tmp_path / "a" / "b", quiet=True)
    assert names(tmp_path) == ["empty.csv"]


def test_a_folder_that_was_there_stays_as_it_was(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    (tmp_path / "empty.csv").touch()
    with pytest.raises(RecordingError):
        drive([tmp_path / "empty.csv"], out=tmp_path / "out", quiet=True)
    assert names(tmp_path / "out") == ["mine.txt"]


def test_a_failure_in_the_report_does_not_leave_an_old_one(quick, files, tmp_path, monkeypatch):
    drive([files[0]], out=tmp_path, quiet=True)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "draw_figures", fail)
    with pytest.raises(OSError, match="No space"):
        drive([files[0]], out=tmp_path, quiet=True, seed=1)
    assert names(tmp_path) == ["baselines.parquet", "states.parquet"]  # nothing that describes other states


def run_command(tmp_path: Path, recording: Path, change: str) -> subprocess.Popen:
    """Start `foresee drive` in its own process with `change` made to the job, and stand-in states."""
    here = Path(__file__).resolve()
    program = (
        "import importlib.util, os, sys, time\n"
        f"spec = importlib.util.spec_from_file_location('stand_in', {str(here)!r})\n"
        "stand_in = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(stand_in)\n"
        "from foresee import cli\n"
        "from foresee.jobs import drive as job\n"
        "job.estimate_states = stand_in.quick_states\n"
        "job.run_baselines = stand_in.quick_baselines\n"
        "def wait(*_, **__):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        f"{change}\n"
        f"sys.argv = ['foresee', 'drive', {str(recording)!r}, '--out', 'out', '-q']\n"
        "cli.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(foresee.__file__).parents[1]), "XLA_FLAGS": ""}
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True
    )


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("job.estimate_states = wait", []),
        ("from pathlib import Path; Path.write_bytes = wait", []),
        ("job.run_baselines = wait", ["states.parquet"]),
        ("job.draw_figures = wait", ["baselines.parquet", "states.parquet"]),
        ("job.write_config = wait", ["baselines.parquet", "report.html", "states.parquet"]),
        ("Path = type(job.Path()); Path.write_text = wait", ["baselines.parquet", "states.parquet"]),
        ("job.numbers.write_summary = wait", [name for name in RESULTS if name != "summary.json"]),
    ],
)
def test_an_interruption_leaves_whole_files_only(change, kept, files, tmp_path):
    with run_command(tmp_path, files[0], change) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    assert process.returncode == 130
    going_on = "; the same command goes on from there"
    told = f"kept in out: {', '.join(kept)}{going_on}" if kept else "nothing was written"
    assert error == f"foresee: interrupted; {told}\n"
    assert (names(tmp_path / "out") if kept else names(tmp_path)) == kept


def test_a_full_disk_is_one_line_and_no_half_file(files, tmp_path):
    change = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))"
    with run_command(tmp_path, files[0], change) as process:
        assert process.stderr is not None
        error = process.stderr.read()
    assert process.returncode == 1
    assert error.startswith("foresee: ")
    assert error.count("\n") == 1
    assert names(tmp_path) == []


@pytest.mark.slow
def test_the_first_stage_as_it_is(files, tmp_path):
    out = drive([files[0]], out=tmp_path, quiet=True, stages=("states",))
    summary = summary_of(out)
    assert names(out) == STATES
    assert summary["truth.rmse_position"] < summary["truth.rmse_position_raw"]
    assert summary["truth.rmse_speed"] < 0.5 * summary["truth.rmse_speed_raw"]
    assert summary["truth.rmse_acceleration"] < 0.1 * summary["truth.rmse_acceleration_raw"]
    low, high = summary["states.coverage_90_ci"]
    assert low - 0.05 < 0.9 < high + 0.05
    assert summary["states.log_score_gain"] > 0
