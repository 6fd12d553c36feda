import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from foresee.driving.evaluate import evaluate
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.metrics import UNITS
from foresee.driving.scenario import Record, Scenario, stack_scenarios
from foresee.errors import ShapeError

KEY = jax.random.key(0)
FRAMES = 26
ROAD = straight_road(2, 400.0)


def scenario(speeds, places, lanes, recorded=None):
    """Everybody keeps its speed; the ego is in slot 0, and was recorded with that speed or another one."""
    speeds, places, lanes = (jnp.asarray(values) for values in (speeds, places, lanes))
    world = make_world(ROAD, lanes, places, speeds)
    shape = (FRAMES, len(speeds))
    speeds = speeds if recorded is None else speeds.at[0].set(recorded)
    along = places + speeds * 0.1 * jnp.arange(FRAMES)[:, None]
    everywhere = jnp.broadcast_to(lanes, shape)
    x, y, heading = ROAD.place(everywhere, along, jnp.zeros(shape))
    zero, speed = jnp.zeros(shape), jnp.broadcast_to(speeds, shape)
    record = Record(
        x, y, heading, speed, zero, zero, world.lane + jnp.zeros(shape, jnp.int32), along, zero, zero == 0
    )
    ego, handover, last = (jnp.asarray(number, jnp.int32) for number in (0, 0, FRAMES - 1))
    return Scenario(world, record, ego, handover, last)


def some():
    """Free road; slow traffic ahead; one that makes the driver below fail to answer; somebody behind."""
    made = [
        scenario([10.0, 10.0, 10.0], [50.0, 90.0, 20.0], [0, 0, 1]),
        scenario([15.0, 5.0, 10.0], [50.0, 70.0, 20.0], [0, 0, 1], 5.0),
        scenario([19.0, 10.0, 10.0], [50.0, 120.0, 20.0], [0, 0, 1]),
        scenario([10.0, 10.0, 16.0], [50.0, 10.0, 40.0], [0, 0, 0], 16.0),
        scenario([12.0, 12.0, 12.0], [50.0, 90.0, 20.0], [0, 0, 1]),
    ]
    return stack_scenarios(made, ["free", "slow", "nan", "chased", "fast"], 0.1, ["a", "a", "b", "b", "c"])


calls = []


def straight_on(view):
    """Does nothing, except that it has no answer for high speeds."""
    calls.append(1)
    return jnp.stack([jnp.where(view.speed > 18, jnp.nan, 0.0), jnp.zeros(())])


@pytest.fixture(scope="module")
def judged():
    calls.clear()
    return evaluate(straight_on, some(), key=KEY, keep=3)


def test_a_function_is_a_driver_and_every_scenario_a_row(judged):
    assert judged.driver == "straight_on"
    table = judged.table
    assert table["scenario"].to_list() == ["free", "slow", "nan", "chased", "fast"]
    assert table["group"].to_list() == ["a", "a", "b", "b", "c"]
    assert table["outcome"].to_list() == [
        "did not fail",
        "hit the vehicle ahead",
        *["did not fail"] * 3,
    ]
    assert table["contact"].to_list() == [
        "nothing",
        "hit with the front",
        "nothing",
        "hit from behind",
        "nothing",
    ]
    assert table["against"].to_list() == [None, 1, None, 2, None]
    # 15.3 m apart, 10 m/s faster
    assert table["failed_at"].to_list()[1] == pytest.approx(1.6)
    assert table["failed_at"].null_count() == 4
    np.testing.assert_allclose(table["sdc_progression"], [1.0, 3.0, 1.0, 10 / 16, 1.0], atol=1e-6)
    np.testing.assert_allclose(table["ade_2s"], np.array([0, 10, 0, 6, 0]) * 1.05, atol=1e-5)
    assert table["ade_4s"].null_count() == 5  # the scenarios last 2.5 s


def test_values_are_there_for_every_frame(judged):
    assert set(judged.values) == set(judged.units) == set(UNITS)
    assert judged.counted.shape == (5, FRAMES)
    assert judged.counted.all()
    gap = judged.values["distance_to_nearest"][1]
    np.testing.assert_allclose(gap[:16], 20 - 4.7 - 1.0 * np.arange(16), atol=1e-5)
    assert judged.values["at_fault_collision"][1].argmax() == 16
    assert judged.values["overlap"][3].any()
    assert all(np.isfinite(values).all() for values in judged.values.values())


def test_an_answer_that_is_no_number_is_counted_and_harms_nobody_else(judged):
    assert judged.table["faults"].to_list() == [0, 0, FRAMES - 1, 0, 0]
    assert judged.table["fail"].to_list() == [False, True, False, False, False]
    assert judged.table["success"].to_list() == [True, False, True, False, True]  # the fourth is too slow


def test_episodes_are_kept_failed_ones_first(judged):
    np.testing.assert_array_equal(judged.episodes.scenario, [1, 0, 2])
    assert judged.episodes.frames.x.shape == (3, FRAMES, 3)
    assert isinstance(judged.episodes.frames.x, np.ndarray)
    np.testing.assert_allclose(judged.episodes.frames.x[0, :, 0], 50 + 1.5 * np.arange(FRAMES), atol=1e-5)


def test_other_scenarios_of_the_same_shape_are_not_compiled_again(judged):
    before = len(calls)
    heard = []
    again = evaluate(
        straight_on,
        some().select([4, 3, 2, 1, 0]),
        key=KEY,
        progress=lambda step, share: heard.append((step, share)),
    )
    assert len(calls) == before
    assert heard == [("straight_on", 0.0), ("straight_on", 1.0)]
    sort = [table.sort("scenario").drop("faults") for table in (again.table, judged.table)]
    assert sort[0].equals(sort[1])


def test_the_summary_draws_groups(judged):
    summary = judged.summary()
    assert summary["fail_rate"].value == pytest.approx(0.2)
    assert summary["fail_rate"].low == 0.0
    assert 0.2 < summary["fail_rate"].high <= 1.0
    assert summary["collisions"].value == pytest.approx(0.4)
    assert summary["progress"].value == pytest.approx(np.mean([1.0, 3.0, 1.0, 10 / 16, 1.0]))
    assert summary["off_road"].low == 0.0
    assert np.isnan(summary["ade_4s"].value)
    assert judged.summary(seed=1)["fail_rate"].value == summary["fail_rate"].value


def test_wrong_input_is_named():
    with pytest.raises(ShapeError, match="at least one scenario, got none"):
        evaluate(straight_on, some().select(np.zeros(0, int)), key=KEY)
    with pytest.raises(ShapeError, match="a driver, or a function"):
        evaluate(3, some(), key=KEY)


def test_the_table_can_be_written(judged, tmp_path):
    judged.table.write_csv(tmp_path / "table.csv")
    assert pl.read_csv(tmp_path / "table.csv").height == 5
    assert eqx.tree_equal(judged.scenarios.scenario.ego, jnp.zeros(5, jnp.int32))
