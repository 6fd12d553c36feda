"""The page shows what was measured, and nothing breaks where little was."""

import json

from benchmarks import tables

MACHINE = {
    "processor": "one",
    "cores": 2,
    "python": "3.11",
    "device": "cpu",
    "time": "2026-01-02T03:04:05Z",
    "load_before": [0.5, 0, 0],
    "load_after": [3.0, 0, 0],
}


def test_the_page_shows_the_kept_results():
    _, between, _ = tables.parts_of_page(tables.PAGE.read_text())
    assert between == tables.markdown(), "run python -m benchmarks.tables --write"


def test_no_results_are_said_to_be_none(tmp_path):
    assert "No results" in tables.markdown(tmp_path)


def test_times_are_sorted_and_what_did_not_run_comes_last(tmp_path):
    row = {
        "status": "ok",
        "median_us": 3.0,
        "repeats": 3,
        "first_call_s": 1.0,
        "deviation": 1e-12,
        "note": "",
    }
    rows = [
        row | {"name": "absent", "minimum_us": None, "status": "not run: a | b"},
        row | {"name": "slow", "minimum_us": 12.345678},
        row | {"name": "fast", "minimum_us": 2.0},
    ]
    content = {
        "benchmark": "trial",
        "claim": "a is fast",
        "gates": [{"holds": True}, {"holds": False}],
        "cases": [{"title": "case", "rows": rows}, {"title": "other", "rows": [{"name": "x", "MSE": 1 / 3}]}],
        "facts": {"targets": [{"target": "one", "value": None, "limit": 2.0, "met": False}]},
        "machine": MACHINE,
        "versions": {"jax": "1"},
    }
    (tmp_path / "trial.json").write_text(json.dumps(content))
    text = tables.markdown(tmp_path)
    assert text.index("| fast | 2 |") < text.index("| slow | 12.35 |") < text.index("| absent |")
    assert "not run: a \\| b" in text
    assert "| x | 0.3333 |" in text
    assert "| one |  | 2 | no |" in text
    assert "A is fast. 1 of 2 correctness gates hold." in text
    assert "upper bounds" in text
