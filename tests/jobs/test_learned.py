import json
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from foresee.driving.drivers.stored import load_driver
from foresee.errors import RecordingError
from foresee.jobs import contest, parts, policies, progress, worlds
from foresee.jobs import drive as job
from foresee.jobs.drivers import over_seeds
from tests.jobs.true_states import true_states

pytestmark = pytest.mark.slow
METHODS = ("bc", "cw_erm", "mper")
WRITTEN = ["baselines.parquet", "config.yaml", "metrics.parquet", "policies", "report.html", "states.parquet"]


def quick_states(recording, *, seed, progress=None):
    states = true_states(recording)
    return replace(states, filtered=states.mean)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Little to learn from, small networks, one kind of traffic."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "estimate_states", quick_states)
        patch.setattr(job, "VEHICLES", 30)
        patch.setattr(job, "SECONDS", 28.0)
        for where, name, value in (
            (worlds, "NETWORKS", 2), (worlds, "WIDTH", 8), (policies, "SIZES", (8, 1)),
            (contest, "SIZES", (8, 1)), (policies, "COPIES", 1),
            (policies, "NEAREST", 6), (policies, "SECONDS", 2.0), (parts, "LONGEST", 4.0),
            (contest, "MONITORED", False), (contest, "MODES", ("replay",)), (contest, "SHOWN", ("mper",)),
        ):  # fmt: skip
            patch.setattr(where, name, value)
        jax.config.update("jax_enable_x64", False)  # as in use, and in all threads
        yield
        jax.config.update("jax_enable_x64", True)


def run(out, **options):
    return job.drive(out=out, quiet=True, methods=METHODS, budget=0.1, **options)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """One run of all stages that nothing interrupts."""
    return run(tmp_path_factory.mktemp("whole"))


def test_everything_is_written(whole):
    names = sorted(path.name for path in whole.iterdir() if not path.name.startswith("."))
    assert names == [*WRITTEN, "summary.json", "world.eqx"]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["learned.notes"] == []
    assert summary["world.ade_4s"] > summary["world.min_ade_6_4s"] > 0
    for name in ("constant_velocity", "kalman", "imm", "idm"):
        assert summary[f"world.{name}.ade_4s"] > 0
        assert summary[f"world.gain_{name}_4s"] == pytest.approx(
            summary[f"world.{name}.ade_4s"] - summary["world.ade_4s"]
        )
    assert summary["world.samples.nll_4s"] is None
    assert summary["scenarios.drivers"] == ["expert", "none", "idm", *METHODS]
    for name in summary["scenarios.drivers"]:
        low, high = summary[f"drivers.{name}.replay.fail_rate_ci"]
        assert low <= summary[f"drivers.{name}.replay.fail_rate"] <= high
    assert summary["drivers.expert.replay.fail_rate"] == 0
    assert 0 <= summary["ablations.errors_of_bc_in_training.share.fail_rate"] <= 1
    assert summary["parts.by"] == "time"
    parts = [summary[f"parts.{name}.seconds"] for name in ("train", "validation", "test")]
    assert sum(parts) <= 28.1


def test_the_table_has_a_row_for_every_drive(whole):
    table = pl.read_parquet(whole / "metrics.parquet")
    summary = json.loads((whole / "summary.json").read_text())
    assert table.height == 6 * summary["scenarios.count"]
    assert table.select("driver", "mode", "seed", "scenario").is_unique().all()
    share = table.filter(driver="bc")["fail"].cast(pl.Float64).mean()
    assert share == pytest.approx(summary["drivers.bc.replay.fail_rate"])


def test_policies_are_loaded_in_one_line(whole):
    assert sorted(path.stem for path in (whole / "policies").iterdir()) == sorted(METHODS)
    for name in METHODS:
        policy: Any = load_driver(whole / "policies" / f"{name}.eqx")
        assert policy.name == name
        assert np.isfinite(np.asarray(policy(jnp.zeros(59)))).all()


def test_an_interrupted_run_ends_as_if_nothing_had_happened(whole, tmp_path, monkeypatch):
    write, random = progress.write_piece, np.random.default_rng(0)
    pieces = len(list((whole / ".progress").glob("*.npz")))
    stops = sorted(random.choice(pieces, 3, replace=False).tolist())
    for stop in stops:
        calls = list((tmp_path / ".progress").glob("*.npz"))  # those before it are finished already

        def interrupted(path, value, calls=calls, stop=stop):
            calls.append(path)
            if len(calls) > stop:
                raise KeyboardInterrupt
            write(path, value)

        monkeypatch.setattr(progress, "write_piece", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
        monkeypatch.setattr(progress, "write_piece", write)
        assert not list(tmp_path.rglob("*.tmp"))
    run(tmp_path)
    same_results(whole, tmp_path)


def same_results(one, two):
    first, second = (pl.read_parquet(out / "metrics.parquet") for out in (one, two))
    assert first.equals(second)
    for path in (one / "policies").iterdir():
        assert eqx.tree_equal(load_driver(path), load_driver(two / "policies" / path.name))
    numbers = [json.loads((out / "summary.json").read_text()) for out in (one, two)]
    told = [{k: v for k, v in each.items() if "seconds" not in k} for each in numbers]
    assert told[0] == told[1]


def test_a_world_of_another_frame_rate_is_refused(whole, tmp_path):
    model = worlds.read_world(whole / "world.eqx", 10.0)
    worlds.write_world(tmp_path / "world.eqx", model, 25.0)
    with pytest.raises(RecordingError, match="10 frames per second, as the recording has, got 25"):
        run(tmp_path / "out", world=tmp_path / "world.eqx")


def test_a_mean_over_seeds_is_less_sure_than_one_over_scenes():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 5).astype(str)
    values = random.random((4, 50)) + random.normal(size=(4, 1))
    counted = np.ones_like(values, bool)
    both = over_seeds(values, groups, counted, is_share=False, seed=0)
    alone = over_seeds(values[:1], groups, counted[:1], is_share=False, seed=0)
    assert both.value == pytest.approx(values.mean())
    assert both.high - both.low > alone.high - alone.low
    same = over_seeds(np.tile(values[:1], (4, 1)), groups, counted, is_share=False, seed=0)
    assert (same.value, same.low) == pytest.approx((alone.value, alone.low), abs=0.05)
    assert jax.numpy.isfinite(both.low)
