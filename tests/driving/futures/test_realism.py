"""Realism: features of known motion, and likelihoods counted by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.futures import realism
from foresee.driving.futures.baselines import constant_velocity
from foresee.driving.make_road import straight_road
from foresee.errors import OptionError

T, DT = 9, 0.5
LENGTH, WIDTH = jnp.asarray([4.0, 4.0]), jnp.asarray([2.0, 2.0])


@pytest.fixture(scope="module")
def road():
    return straight_road(1, 200.0)


def paths(speeds=(5.0, 10.0), acceleration=0.0, beside=0.0, lead=50.0):
    """Two vehicles one behind the other: the one behind is the second, and may accelerate."""
    time = DT * np.arange(T)
    x = np.stack([20 + lead + speeds[0] * time, 20 + speeds[1] * time + 0.5 * acceleration * time**2])
    y = np.stack([np.zeros(T), np.full(T, beside)])
    return realism.Paths(jnp.asarray(x), jnp.asarray(y), jnp.zeros((2, T)))


def of(path, road, there=None):
    there = jnp.ones((2, T), bool) if there is None else there
    return realism.features(path, there, LENGTH, WIDTH, road, DT)


def test_features_of_known_motion(road):
    values, valid = of(paths(acceleration=1.0, beside=0.3), road)
    time = DT * np.arange(T)
    np.testing.assert_allclose(values["linear_speed"][1, 1:-1], (10 + time)[1:-1])
    np.testing.assert_allclose(values["linear_acceleration"][1, 2:-2], 1.0)
    np.testing.assert_allclose(values["angular_speed"], 0.0)
    gap = 50 - 5 * time - 0.5 * time**2 - 4
    np.testing.assert_allclose(values["distance_to_nearest_object"][1], gap)
    np.testing.assert_allclose(values["time_to_collision"][1, 1:-1], (gap / (5 + time))[1:-1])
    np.testing.assert_allclose(values["distance_to_road_edge"][1], -(1.75 - 0.3 - 1.0), atol=1e-6)
    assert valid["linear_speed"][0].tolist() == [False] + [True] * (T - 2) + [False]
    assert valid["linear_acceleration"][0].tolist() == [False] * 2 + [True] * (T - 4) + [False] * 2
    outside, _ = of(paths(beside=2.0), road)
    assert not outside["offroad_indication"][0].any()
    assert outside["offroad_indication"][1].all()
    np.testing.assert_allclose(outside["distance_to_road_edge"][1], 1.25, atol=1e-6)


def test_circling_has_a_turn_rate(road):
    turn = 0.2 * DT * jnp.arange(T)
    round_ = realism.Paths(
        jnp.stack([20 + 10 * jnp.sin(turn)] * 2),
        jnp.stack([10 - 10 * jnp.cos(turn)] * 2),
        jnp.stack([turn] * 2),
    )
    values, _ = of(round_, road)
    np.testing.assert_allclose(values["angular_speed"][0, 1:-1], 0.2)
    np.testing.assert_allclose(values["angular_acceleration"][0, 2:-2], 0.0, atol=1e-9)


def test_likelihoods_are_counted(road):
    """Three simulations, of which one is what happened and one collides."""
    recorded = paths()
    simulated = realism.Paths(
        *(
            jnp.stack([getattr(each, name) for each in (recorded, paths((5.0, 18.0), lead=20.0), recorded)])
            for name in ("x", "y", "heading")
        )
    )
    there = jnp.ones((2, T), bool)
    got = realism.realism(simulated, recorded, there, LENGTH, WIDTH, road, dt=DT)
    # Speeds 5 and 10 are in bins of width 2.5: the first is always right, the second in two of three.
    number = 3 * (T - 2)
    first, second = (number + 0.1) / (number + 1.0), (2 / 3 * number + 0.1) / (number + 1.0)
    assert got.terms["linear_speed"] == pytest.approx(np.sqrt(first * second))
    assert got.terms["collision_indication"] == pytest.approx(1 - 1.001 / 3.002)
    assert got.terms["offroad_indication"] == pytest.approx(1 - 0.001 / 3.002)
    weights = {name: term.weight for name, term in realism.TERMS.items()}
    assert sum(weights.values()) == pytest.approx(1.0)
    assert got.meta == pytest.approx(sum(weights[name] * value for name, value in got.terms.items()))
    assert realism.mean_realism([got, got]) == got
    alone = realism.realism(
        simulated, recorded, there, LENGTH, WIDTH, road, dt=DT, scored=jnp.asarray([True, False])
    )
    assert alone.terms["linear_speed"] == pytest.approx(first)


def test_wrong_questions_are_errors(road):
    recorded = paths()
    with pytest.raises(OptionError, match="5 times"):
        realism.realism(recorded, recorded, jnp.ones((2, 4), bool), LENGTH, WIDTH, road, dt=DT)
    with pytest.raises(OptionError, match="to compare"):
        realism.realism(recorded, recorded, jnp.zeros((2, T), bool), LENGTH, WIDTH, road, dt=DT)
    with pytest.raises(OptionError, match="one scene"):
        realism.mean_realism([])


def test_futures_of_a_window_begin_now(windows):
    drawn, recorded, there, scored = realism.paths_of_window(constant_velocity(windows), windows, 2)
    assert drawn.x.shape == (1, windows.row.shape[1], 5)
    np.testing.assert_allclose(drawn.x[0][there], recorded.x[there], atol=1e-3)
    assert scored.tolist() == windows.counted[2].tolist()
