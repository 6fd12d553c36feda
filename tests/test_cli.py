import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from foresee import __version__, cli
from foresee.errors import MissingExtraError, OptionError, RecordingError


def invoke(*arguments: str) -> int:
    """Run the command line in this process and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["foresee", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def job(monkeypatch):
    """A stand-in for the main job; set `.action` to what it does, read `.calls` for what it was given."""
    fake = types.ModuleType("foresee.jobs.drive")
    record = types.SimpleNamespace(calls=[], action=lambda out: None)

    def drive(recordings, *, out, **options):
        record.calls.append({"recordings": recordings, "out": out, **options})
        record.action(out)
        return out

    fake.drive = drive  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "foresee.jobs", types.ModuleType("foresee.jobs"))
    monkeypatch.setitem(sys.modules, "foresee.jobs.drive", fake)
    return record


def raise_it(error):
    def action(out):
        raise error

    return action


def test_version(capsys):
    assert invoke("--version") == 0
    assert capsys.readouterr().out == f"foresee {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["drive", "--no-such-option"],
        ["drive", "--seed", "-1"],
        ["drive", "--units", "furlong"],
        ["drive", "--frame-rate", "0"],
        ["drive", "--frame-rate", "nan"],
        ["drive", "--columns", "x"],
        ["drive", "--columns", "x=a,x=b"],
        ["drive", "--stages", "states,"],
        ["drive", "--methods", ",bc"],
        ["drive", "--seeds", "0"],
        ["drive", "--budget", "-1"],
    ],
)
def test_a_wrong_command_line_gives_2(arguments, capsys, job):
    assert invoke(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err
    assert "Traceback" not in captured.err
    assert not job.calls


def test_missing_file_gives_1_and_one_line(tmp_path, capsys, job):
    assert invoke("drive", str(tmp_path / "none.csv")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "none.csv: no such file" in error
    assert not job.calls


def test_defaults_and_options_reach_the_job(tmp_path, monkeypatch, job):
    monkeypatch.chdir(tmp_path)
    recording = tmp_path / "tracks.csv"
    recording.touch()
    Path("held_out.csv").touch()
    assert invoke("drive") == 0
    options = "--seed 3 -q --stages states,world --columns x=Local_X,y=Local_Y --frame-rate 10 --units ft"
    options += " --gif --png --test held_out.csv --seeds 2 --methods pdm,bc --budget 1.5 --fresh"
    assert invoke("drive", str(recording), "--out", "there", *options.split()) == 0
    plain, full = job.calls
    assert re.fullmatch(r"foresee-out/\d{4}-\d\d-\d\d-\d{6}", plain.pop("out").as_posix())
    assert plain == {
        "recordings": [],
        "seed": 0,
        "quiet": False,
        "stages": None,
        "columns": None,
        "frame_rate": None,
        "feet": None,
        "gif": False,
        "png": False,
        "test": [],
        "seeds": 1,
        "methods": None,
        "budget": None,
        "world": None,
        "fresh": False,
    }
    assert full == {
        "recordings": [recording],
        "out": Path("there"),
        "seed": 3,
        "quiet": True,
        "stages": ("states", "world"),
        "columns": {"x": "Local_X", "y": "Local_Y"},
        "frame_rate": 10.0,
        "feet": True,
        "gif": True,
        "png": True,
        "test": [Path("held_out.csv")],
        "seeds": 2,
        "methods": ("pdm", "bc"),
        "budget": 1.5,
        "world": None,
        "fresh": True,
    }


def test_what_is_not_given_is_taken_from_a_file(tmp_path, job, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "foresee.jobs")  # the file is read by the real room
    monkeypatch.setitem(sys.modules, "foresee.jobs.drive", sys.modules["foresee.jobs.drive"])
    recording, world = tmp_path / "tracks.csv", tmp_path / "world.eqx"
    recording.touch()
    world.touch()
    file = tmp_path / "config.yaml"
    file.write_text(
        f'# remark\nrecordings: ["{recording}"]\nseed: 4\nseeds: 3\nunits: "ft"\nworld: "{world}"\n'
        'methods: ["pdm"]\n'
    )
    assert invoke("drive", "--config", str(file), "--seed", "5") == 0
    (call,) = job.calls
    assert (call["seed"], call["seeds"], call["feet"]) == (5, 3, True)
    assert (call["recordings"], call["world"], call["methods"]) == ([recording], world, ("pdm",))
    file.write_text("seed: 4\nseed: 5\n")
    assert invoke("drive", "--config", str(file)) == 2
    assert "line 2: expected one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RecordingError("a.csv:\nno column x"), 1, "a.csv: no column x"),
        (PermissionError(13, "Permission denied", "results"), 1, "results: Permission denied"),
        (
            MissingExtraError("numpyro", "sampling"),
            1,
            "numpyro is not installed; get it with: pip install 'foresee[sampling]'",
        ),
        (OptionError("no stage 'stats'"), 2, "no stage 'stats'"),
        (KeyboardInterrupt(), 130, "interrupted; nothing was written"),
    ],
)
def test_errors_become_one_line(error, status, line, capsys, job):
    job.action = raise_it(error)
    assert invoke("drive", "--out", "no-such-folder") == status
    assert capsys.readouterr().err == f"foresee: {line}\n"


def test_an_interruption_says_what_was_kept(tmp_path, capsys, job):
    old = tmp_path / "old.txt"
    old.touch()
    os.utime(old, (0, 0))

    def action(out):
        for name in ("states.parquet", "report.html.tmp", ".summary.json"):
            (out / name).touch()
        raise KeyboardInterrupt

    job.action = action
    assert invoke("drive", "--out", str(tmp_path)) == 130
    assert capsys.readouterr().err == f"foresee: interrupted; kept in {tmp_path}: states.parquet\n"


def test_two_runs_in_one_second_get_two_folders(tmp_path, monkeypatch, job):
    monkeypatch.chdir(tmp_path)
    job.action = lambda out: out.mkdir(parents=True)
    assert invoke("drive") == invoke("drive") == invoke("drive") == 0
    assert len({call["out"] for call in job.calls}) == 3


def test_a_real_interrupt_signal_ends_with_130(tmp_path):
    program = (
        "import sys, time, types\n"
        "from foresee import cli\n"
        "fake = types.ModuleType('foresee.jobs.drive')\n"
        "def drive(recordings, **options):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "fake.drive = drive\n"
        "sys.modules['foresee.jobs'] = types.ModuleType('foresee.jobs')\n"
        "sys.modules['foresee.jobs.drive'] = fake\n"
        "sys.argv = ['foresee', 'drive']\n"
        "cli.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "foresee: interrupted; nothing was written\n"
    assert process.returncode == 130
