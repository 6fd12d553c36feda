import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from foresee import cli
from foresee.calibration import Isotonic, Platt, Temperature
from foresee.calibration.stored import read_scaler
from foresee.errors import CalibrationError, OptionError
from foresee.jobs.calibrate import RESULTS, calibrate

PROMISED = (
    "ece_before",
    "ece_after",
    "nll_before",
    "nll_after",
    "temperature",
    "conformal_90.coverage",
    "conformal_90.size",
)
SHARPER = 2.5


def example(rows=400, classes=3, seed=0):
    """Logits that are too large by a factor, and labels drawn from the right probabilities."""
    random = np.random.default_rng(seed)
    logits = 1.5 * random.normal(size=(rows, classes))
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (right.cumsum(axis=1) < random.uniform(size=(rows, 1))).sum(axis=1)
    return SHARPER * logits, labels


def stored(path, predictions, labels=None):
    arrays = {"predictions": predictions} | ({} if labels is None else {"labels": labels})
    np.savez(path, **arrays)
    return path


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    logits, labels = example()
    stored(folder / "logits.npz", logits, labels)
    stored(folder / "strange.npz", 0.2 * example(rows=90, seed=1)[0])
    return folder


@pytest.fixture(scope="module")
def done(folder):
    out = calibrate(folder / "logits.npz", out=folder / "out", ood=folder / "strange.npz", quiet=True)
    return out, json.loads((out / "summary.json").read_text())


@pytest.fixture
def without_report(monkeypatch):
    """Leave the drawing of figures to the test that looks at them."""
    page = SimpleNamespace(html=lambda: "")
    monkeypatch.setattr("foresee.jobs.calibrate.calibration_page", lambda findings: page)


def test_it_writes_what_it_promises(done):
    out, summary = done
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULTS)
    for key in PROMISED:
        assert isinstance(summary[key], float), key
    assert summary["predictions.kind"] == "logits"
    assert (summary["rows.fitted"], summary["rows.judged"]) == (200, 200)
    assert summary["temperature"] == pytest.approx(SHARPER, rel=0.2)
    assert summary["ece_after"] < summary["ece_before"]
    assert summary["nll_change_ci"][1] < 0
    low, high = summary["conformal_90.band"]
    for kind in ("conformal_90", "conformal_90.aps", "conformal_90.raps"):
        assert low <= summary[f"{kind}.coverage"] <= high
        assert 1 <= summary[f"{kind}.size"] <= 3
    assert summary["ood.entropy.auroc"] > 0.8
    low, high = summary["ood.entropy.false_alarms_band"]
    assert low <= summary["ood.entropy.false_alarms"] <= high
    assert summary["ood.detectors"] == ["entropy", "max_softmax", "energy"]


def test_the_numbers_are_those_of_the_half_that_nothing_was_fitted_to(folder, done):
    out, summary = done
    with np.load(out / "calibrated.npz") as found, np.load(folder / "logits.npz") as given:
        judged = ~found["fitted"]
        rows, truth = np.arange(200), given["labels"][judged]
        before, after = softmax(given["predictions"])[judged], found["probabilities"][judged]
        np.testing.assert_array_equal(found["labels"], given["labels"])
        expected = softmax(given["predictions"] / summary["temperature"])
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    assert summary["nll_before"] == pytest.approx(-np.log(before[rows, truth]).mean(), abs=1e-6)
    assert summary["nll_after"] == pytest.approx(-np.log(after[rows, truth]).mean(), abs=1e-5)
    assert summary["accuracy_after"] == np.mean(after.argmax(axis=1) == truth)
    sets = 1 - before <= summary["conformal_90.threshold"]
    assert summary["conformal_90.size"] == pytest.approx(sets.sum(axis=1).mean())
    assert summary["conformal_90.coverage"] == pytest.approx(sets[rows, truth].mean())


def test_the_report_is_one_file_with_the_same_numbers(done):
    out, summary = done
    page = (out / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 8
    assert "http" not in page.replace("http-equiv", "")
    for key, digits in (("ece_after", 4), ("nll_before", 4), ("temperature", 3), ("ood.energy.auroc", 4)):
        assert f"{summary[key]:.{digits}f}".replace("-", "−") in page, key
    assert "Strange rows" in page


def test_the_scaler_can_be_loaded(folder, done):
    out, _ = done
    scaler = read_scaler(out / "scaler.npz")
    assert isinstance(scaler, Temperature)
    with np.load(out / "calibrated.npz") as found, np.load(folder / "logits.npz") as given:
        np.testing.assert_allclose(scaler(given["predictions"]), found["probabilities"], atol=1e-6)
    with pytest.raises(CalibrationError, match="expected a scaler"):
        read_scaler(out / "calibrated.npz")


def test_the_same_seed_gives_the_same_results_and_another_does_not(folder, done, without_report):
    _, first = done
    runs = []
    for seed in (0, 1):
        out = calibrate(folder / "logits.npz", out=folder / f"seed {seed}", seed=seed, quiet=True)
        runs.append(json.loads((out / "summary.json").read_text()))
    common = {key for key in runs[0] if not key.startswith("seconds.")}
    assert {key: first[key] for key in common} == {key: runs[0][key] for key in common}
    assert runs[1]["ece_after"] != first["ece_after"]
    assert not any(key.startswith("ood.") for key in common)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_other_methods_and_probabilities(method, tmp_path, without_report):
    logits, labels = example(rows=240, classes=2)
    stored(tmp_path / "p.npz", softmax(logits), labels)
    out = calibrate(tmp_path / "p.npz", out=tmp_path / "out", method=method, level=0.8, quiet=True)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["temperature"] is None
    assert summary["predictions.kind"] == "probabilities"
    assert summary["nll_after"] < summary["nll_before"]
    assert "conformal_80.coverage" in summary
    assert isinstance(read_scaler(out / "scaler.npz"), (Platt, Isotonic))


def test_results_of_an_earlier_run_are_taken_away(folder, tmp_path, monkeypatch):
    for name in RESULTS:
        (tmp_path / name).write_text("old")
    stored(tmp_path / "bad.npz", example()[0], np.full(400, 7))
    with pytest.raises(CalibrationError):
        calibrate(tmp_path / "bad.npz", out=tmp_path, quiet=True)
    assert (tmp_path / "summary.json").read_text() == "old"  # nothing was learned, nothing is lost
    monkeypatch.setattr("foresee.jobs.calibrate.judge.score_numbers", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        calibrate(folder / "logits.npz", out=tmp_path, quiet=True)
    assert not (tmp_path / "summary.json").exists()
    assert (tmp_path / "scaler.npz").exists()


def raise_interrupt(*_, **__):
    raise KeyboardInterrupt


LOGITS, LABELS = example(rows=40)
BAD = [
    ({"labels": LABELS + 1}, {}, "expected labels 0 to 2, got 3"),
    ({"labels": LABELS[:9]}, {}, "one label for each of 40 rows, got 9"),
    ({"labels": 0 * LABELS}, {}, "labels of at least two classes"),
    ({}, {}, "expected labels under one of"),
    (
        {"predictions": np.where(LOGITS > 2, np.nan, LOGITS), "labels": LABELS},
        {},
        "expected finite predictions, got nan in row",
    ),
    ({"predictions": 0.9 * softmax(LOGITS), "labels": LABELS}, {}, "sums to 0.9"),
    ({"labels": LABELS}, {"level": 0.99}, "needs at least 99, so 198 in all"),
    ({"labels": LABELS}, {"method": "platt"}, "expected logits of 2 classes, got 3"),
]


@pytest.mark.parametrize(("arrays", "options", "message"), BAD, ids=[message[:25] for *_, message in BAD])
def test_bad_input_is_one_line_that_names_the_file(arrays, options, message, tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, **({"predictions": LOGITS} | arrays))
    with pytest.raises(CalibrationError) as raised:
        calibrate(path, out=tmp_path / "out", quiet=True, **options)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_strange_rows_must_fit(folder, tmp_path):
    for rows, message in (
        (softmax(LOGITS), "expected logits, as in"),
        (LOGITS[:, :2], "expected 3 classes, as"),
        (LOGITS[:1], "at least 2 rows, got 1"),
    ):
        stored(tmp_path / "strange.npz", rows)
        with pytest.raises(CalibrationError, match=message):
            calibrate(folder / "logits.npz", out=tmp_path / "out", ood=tmp_path / "strange.npz", quiet=True)
    stored(tmp_path / "few.npz", LOGITS, LABELS)
    with pytest.raises(
        CalibrationError, match=r"a false alarm rate of 0\.01 cannot be attained with 20 rows"
    ):
        calibrate(tmp_path / "few.npz", out=tmp_path, ood=folder / "logits.npz", false_alarm=0.01, quiet=True)


def test_options_that_are_none(folder, tmp_path):
    wrong: Any = ({"method": "magic"}, {"level": 1.0}, {"false_alarm": 0.0})
    for options in wrong:
        with pytest.raises(OptionError):
            calibrate(folder / "logits.npz", out=tmp_path, quiet=True, **options)


def test_a_temperature_without_a_best_value_is_said_to_have_none(tmp_path, without_report):
    stored(tmp_path / "sure.npz", 3 * np.eye(3)[LABELS], LABELS)
    out = calibrate(tmp_path / "sure.npz", out=tmp_path / "out", quiet=True)
    summary = json.loads((out / "summary.json").read_text())
    assert not summary["converged"]
    assert "found no best value" in summary["notes"][0]


def invoke(*arguments):
    """Run the command line in this process and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["foresee", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return int(stop.value.code or 0)


def test_the_command(folder, tmp_path, capsys, without_report):
    with np.load(folder / "logits.npz") as given:
        np.save(tmp_path / "p.npy", given["predictions"])
        np.savetxt(tmp_path / "labels.txt", given["labels"], fmt="%d")
    out = tmp_path / "out"
    options = ("--labels", tmp_path / "labels.txt", "--out", out, "--seed", 3, "--level", 0.8)
    assert invoke("calibrate", tmp_path / "p.npy", *options) == 0
    printed = capsys.readouterr()
    assert "LAC sets at 80 %" in printed.out.replace("\N{NO-BREAK SPACE}", " ")
    assert f"results in {out}: report.html, scaler.npz, calibrated.npz, summary.json" in printed.out
    assert "fit: done in" in printed.err
    assert json.loads((out / "summary.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    "arguments", [["--level", "1"], ["--method", "magic"], ["--seed", "-1"], ["--false-alarm", "nan"]]
)
def test_a_wrong_command_line_gives_2(folder, arguments, capsys):
    assert invoke("calibrate", folder / "logits.npz", *arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_file_gives_1_and_one_line(tmp_path, capsys):
    assert invoke("calibrate", tmp_path / "none.npz") == 1
    assert invoke("calibrate", stored(tmp_path / "bare.npz", LOGITS), "--out", tmp_path / "out") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("foresee: ")]
    assert lines[0].endswith("none.npz: no such file")
    assert "bare.npz: expected labels under one of" in lines[1]
    assert len(lines) == 2
    assert not (tmp_path / "out").exists()


def test_an_interruption_gives_130(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("foresee.jobs.calibrate.judge.score_numbers", raise_interrupt)
    assert invoke("calibrate", folder / "logits.npz", "--out", tmp_path, "-q") == 130
    assert "interrupted; kept in" in capsys.readouterr().err


def test_real_predictions(shared_data, tmp_path, without_report):
    out = calibrate(shared_data / "logits" / "lenet-5-cifar-10.npz", out=tmp_path, quiet=True)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["predictions.kind"] == "probabilities"
    assert summary["ece_after"] <= 0.022 < 0.1 < summary["ece_before"]
    assert (
        summary["conformal_90.band"][0] <= summary["conformal_90.coverage"] <= summary["conformal_90.band"][1]
    )
    assert summary["conformal_90.size"] == pytest.approx(3.42, abs=0.15)
