"""The benchmarks run without any peer, check their results, and report what goes wrong."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.machine import write_json
from benchmarks.measure import Entry, Filtered, NotSupported, Options, Report

ROOT = Path(__file__).resolve().parent.parent
# These take minutes when every shape is checked, so `make bench` alone runs them.
LONG = {
    "bench_closed_loop",
    "bench_crossing",
    "bench_drivers",
    "bench_driving_speed",
    "bench_ood",
    "bench_thrown_object",
    "bench_tracking",
    "bench_traffic",
    "bench_us101",
}
NAMES = sorted({path.stem for path in (ROOT / "benchmarks").glob("bench_*.py")} - LONG)


@pytest.mark.parametrize("name", NAMES)
def test_runs_without_peers(name, tmp_path, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.main(["--quick", "--peers", "none", "--out", str(tmp_path)]) == 0
    assert "foresee" in capsys.readouterr().out
    content = json.loads((tmp_path / f"{name.removeprefix('bench_')}.json").read_text())
    assert content["gates_failed"] == 0
    assert content["cases"]
    assert content["quick"]
    assert {"jax", "numpy", "filterpy"} <= set(content["versions"])
    assert {"load_before", "load_after", "processor"} <= set(content["machine"])


def test_main_runs_what_is_named_and_knows_its_names(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--peers", "none", "--out", str(tmp_path)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "compile_once"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compile_once     ok" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["compile_once.json"]
    wrong = subprocess.run(
        [*command, "kalmann"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "unknown benchmark kalmann" in wrong.stderr


def constant(value):
    """Return a candidate whose every number is `value`."""
    return lambda problem: (
        lambda: Filtered(np.full((3, 2), value), np.full((3, 2, 2), value), np.asarray(value))
    )


def test_a_wrong_result_fails_the_gate_and_a_failing_peer_gets_a_row(tmp_path):
    def absent(problem) -> Any:
        return importlib.import_module("no_such_library")

    def refuses(problem):
        raise NotSupported("only on Tuesdays")

    report = Report("trial", "none", Options(quick=True, peers=None, out=tmp_path))
    entries = [
        Entry("foresee", constant(1.0), peer=False),
        Entry("same", constant(1.0 + 1e-12)),
        Entry("absent", absent),
        Entry("refuses", refuses),
    ]
    rows = report.compare("fine", None, entries)
    assert "No module named 'no_such_library'" in rows["absent"].status
    assert rows["refuses"].status == "not run: only on Tuesdays"
    assert rows["same"].steps == 3
    assert report.finish() == 0
    rows = report.compare("wrong", None, [entries[0], Entry("other", constant(1.001))])
    assert rows["other"].deviation == pytest.approx(0.001 / 2)
    report.compare("NaN", None, [entries[0], Entry("other", constant(np.nan))])
    report.compare("broken", None, [Entry("foresee", refuses, peer=False)])
    assert report.finish() == 1
    assert json.loads((tmp_path / "trial.json").read_text())["gates_failed"] == 3


def test_peers_are_left_out_on_request(tmp_path):
    entries = [
        Entry("foresee", constant(1.0), peer=False),
        Entry("FilterPy", constant(1.0)),
        Entry("x", constant(1.0)),
    ]
    for peers, expected in (
        ((), {"foresee"}),
        (("filterpy",), {"foresee", "FilterPy"}),
        (None, {"foresee", "FilterPy", "x"}),
    ):
        report = Report("trial", "none", Options(quick=True, peers=peers, out=tmp_path))
        assert set(report.compare("any", None, entries)) == expected


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = write_json(tmp_path / "a" / "b.json", {"x": np.float64(1 / 3), "y": float("inf"), "z": (1, "ä")})
    assert json.loads(path.read_text()) == {"x": 0.333333, "y": "inf", "z": [1, "ä"]}
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text())["z"] == [1, "ä"]
    assert [found.name for found in path.parent.iterdir()] == ["b.json"]
