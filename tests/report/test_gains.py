import numpy as np
import polars as pl
import pytest

from foresee.report.gains import gain_numbers, share_less


def made_table(fails, progress=None):
    """One row per driver, seed and scenario; two scenes; `fails` by driver, seeds by scenarios."""
    parts = []
    for name, rows in fails.items():
        for seed, row in enumerate(np.atleast_2d(rows)):
            count = len(row)
            way = np.ones(count) if progress is None else np.full(count, progress[name])
            parts.append(
                pl.DataFrame(
                    {
                        "driver": [name] * count, "mode": ["replay"] * count, "seed": [seed] * count,
                        "scenario": [f"s{k}" for k in range(count)],
                        "scene": [f"{4 * k // count}" for k in range(count)],
                        "fail": row.astype(bool), "sdc_progression": way,
                    }
                )
            )  # fmt: skip
    return pl.concat(parts)


def test_differences_are_those_of_the_same_scenarios_with_seeds_averaged():
    bad, good = np.arange(40) < 20, np.stack([np.arange(40) < 2, np.arange(40) < 4])
    s = gain_numbers(made_table({"pdm": bad, "mpur": good, "mpur_monitored": good & False}))
    assert s["drivers.mpur.replay.fail_rate_less_than_pdm"] == pytest.approx(17 / 40)
    assert s["drivers.mpur_monitored.replay.fail_rate_less_than_pdm"] == pytest.approx(20 / 40)
    assert s["drivers.mpur_monitored.replay.fail_rate_less_than_unguarded"] == pytest.approx(3 / 40)
    assert "drivers.pdm.replay.fail_rate_less_than_pdm" not in s
    low, high = s["drivers.mpur.replay.fail_rate_less_than_pdm_ci"]
    assert low < 17 / 40 < high


def test_what_progress_a_monitor_costs():
    none = np.zeros(40)
    s = gain_numbers(made_table({"idm": none, "idm_monitored": none}, {"idm": 1.0, "idm_monitored": 0.9}))
    assert s["drivers.idm_monitored.replay.progress_less_than_unguarded"] == pytest.approx(0.1)
    assert not any(name.endswith("than_pdm") for name in s)


def test_without_failures_one_is_not_sure_that_there_is_no_difference():
    groups = np.repeat(np.arange(8), 40)
    none = share_less(np.zeros(320), groups)
    assert none.value == 0.0
    assert none.low < -0.005
    assert none.high > 0.005
    one = share_less((np.arange(320) == 0).astype(float), groups)
    assert one.low < 0 < one.value < one.high


def test_the_interval_holds_the_difference_as_often_as_it_says():
    random, held = np.random.default_rng(0), 0
    groups = np.repeat(np.arange(10), 20)
    for _ in range(60):
        ours, theirs = random.random((2, 200)) < np.array([[0.03], [0.06]])
        found = share_less(theirs.astype(float) - ours, groups)
        held += found.low <= 0.03 <= found.high
    assert held >= 55


def test_a_single_scene_leaves_its_scenarios():
    table = made_table({"pdm": np.arange(40) < 20, "idm": np.arange(40) < 10}).with_columns(scene=pl.lit("a"))
    low, high = gain_numbers(table)["drivers.idm.replay.fail_rate_less_than_pdm_ci"]
    assert 0 < low < 0.25 < high
