"""Other motions, sensors and several of them: what the core does with all that is not one linear model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from foresee.beliefs import Mixture
from foresee.dynamics import ConstantVelocity, Position, RangeBearing
from foresee.filters import (
    ExtendedKalmanFilter,
    InteractingMultipleModel,
    KalmanFilter,
    UnscentedKalmanFilter,
)
from foresee.tracking import BeliefPropagation, Birth, Detections, Tracker, advance, track
from foresee.tracking.sequence import run_scans
from tests.tracking import scenes

SPREAD = [jnp.inf, jnp.inf, 2.0, 2.0]


def place(y):
    return jnp.stack([y[0] * jnp.cos(y[1]), y[0] * jnp.sin(y[1]), 0.0, 0.0])


def polar(filter):
    return Tracker(
        ConstantVelocity(0.05),
        RangeBearing([1.0, 1e-4]),
        Birth(SPREAD, 1e-4, 1e-2, start=place),
        0.95,
        1e-3,
        1.0,
        600.0,
        filter=filter,
    )


def test_a_birth_takes_from_a_detection_what_it_says():
    """The closed form for a position; and for range and bearing the Jacobian of polar coordinates."""
    belief = scenes.tracker().birth(jnp.asarray([3.0, -4.0]), Position([1.0, 2.0], 4))
    np.testing.assert_allclose(belief.location, [3, -4, 0, 0], atol=1e-12)
    np.testing.assert_allclose(belief.covariance, np.diag([1.0, 2.0, 4.0, 4.0]), atol=1e-12)
    belief = polar(ExtendedKalmanFilter()).birth(jnp.asarray([50.0, 0.7]), RangeBearing([1.0, 1e-4]))
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    np.testing.assert_allclose(belief.location[:2], 50 * turn[:, 0], rtol=1e-10)
    wanted = turn @ np.diag([1.0, 50.0**2 * 1e-4]) @ turn.T
    np.testing.assert_allclose(belief.covariance[:2, :2], wanted, rtol=1e-8)


def test_range_and_bearing_by_two_filters():
    """Two objects, one of which passes the angle of ±π; both filters find both within three deviations."""
    rng = np.random.default_rng(2)
    time = np.arange(6.0)
    paths = np.stack([np.stack([60 + time, 40 - time], 1), np.stack([0 * time - 70, 2.5 - time], 1)], 1)
    noise = rng.normal(size=(6, 2, 2)) * [1.0, 0.01]
    echoes = np.stack([np.linalg.norm(paths, axis=2), np.arctan2(paths[..., 1], paths[..., 0])], 2) + noise
    echoes[..., 1] = (echoes[..., 1] + np.pi) % (2 * np.pi) - np.pi
    for filter in (ExtendedKalmanFilter(), UnscentedKalmanFilter()):
        last = track(Detections(list(echoes)), polar(filter), capacity=8).last
        slots = np.flatnonzero(np.asarray(last.confirmed()))
        assert len(slots) == 2
        for slot in slots:
            apart = paths[-1] - np.asarray(last.belief.location)[slot, :2]
            nearest = apart[np.argmin(np.linalg.norm(apart, axis=1))]
            spread = np.asarray(last.belief.covariance)[slot, :2, :2]
            assert nearest @ np.linalg.solve(spread, nearest) < 9.0


def test_several_motions_per_track():
    """Two motions of equal densities give the answer of one; two others follow a turn."""
    single = scenes.tracker(BeliefPropagation(20), objects=2, clutter=2)
    switching = InteractingMultipleModel(KalmanFilter(), jnp.asarray([[0.95, 0.05], [0.1, 0.9]]))
    places = lambda one: (one.motion, one.filter)  # noqa: E731
    is_leaf = lambda node: node is single.filter  # noqa: E731
    same, other = (
        eqx.tree_at(places, single, (tuple(map(ConstantVelocity, pair)), switching), is_leaf=is_leaf)
        for pair in ((0.05, 0.05), (0.001, 3.0))
    )
    detections, _ = scenes.scene(7, scans=6, objects=2, clutter=2)
    scans = detections.padded(16)
    one, several = (run_scans(model, model.begin(16), scans)[1] for model in (single, same))
    np.testing.assert_allclose(several.log_evidence, one.log_evidence, rtol=1e-9)
    np.testing.assert_allclose(several.existence, one.existence, atol=1e-9)
    time = np.arange(16.0)[:, None]
    path = np.where(
        time < 8, np.concatenate([20 + 3 * time, 60 + 0 * time], 1), [44, 60] + (time - 8) * [0, 3]
    )
    history = track(Detections(list(path[:, None])), other, capacity=8)
    belief = history.last.belief
    assert isinstance(belief, Mixture)
    assert len(history.names()) == 1
    np.testing.assert_allclose(history.location[-1, :2], path[-1], atol=1.5)


def test_sensors_take_turns_on_one_table():
    """A second sensor is a second tracker on the same tables: smaller doubt, the same names."""
    radar = scenes.tracker(objects=1, clutter=1)
    camera = eqx.tree_at(lambda one: one.sensor, radar, Position([0.25, 0.25], 4))
    rng = np.random.default_rng(4)
    tables = {"radar": radar.begin(), "both": radar.begin()}
    for second in range(8):
        position = np.array([[40.0 + 2 * second, 30.0]])
        first = Detections([position + rng.normal(size=(1, 2))]).scan(0)
        first = eqx.tree_at(lambda scan: scan.dt, first, np.asarray(1.0))
        # At the same moment: no time passes.
        second_look = Detections([position + 0.5 * rng.normal(size=(1, 2))]).scan(0)
        tables = {name: advance(radar, table, first) for name, table in tables.items()}
        tables["both"] = advance(camera, tables["both"], second_look)
    spread = {}
    for name, table in tables.items():
        slots = np.flatnonzero(table.confirmed())
        assert len(slots) == 1
        assert table.name[slots[0]] == 0
        spread[name] = np.trace(table.belief.covariance[slots[0], :2, :2])
    assert spread["both"] < 0.5 * spread["radar"]


def test_a_scan_in_which_nobody_looked_says_nothing():
    made = scenes.tracker(objects=1, clutter=1)
    looked = track(Detections([[[5.0, 5.0]], [[5.0, 5.0]], np.zeros((0, 2))]), made, tentative=True)
    away = Detections([[[5.0, 5.0]], [[5.0, 5.0]], np.zeros((0, 2))], active=[True, True, False])
    not_looked = track(away, made, tentative=True)
    missed, kept = looked.existence[looked.scan == 2][0], not_looked.existence[not_looked.scan == 2][0]
    before = not_looked.existence[not_looked.scan == 1][0]
    assert missed < kept
    np.testing.assert_allclose(kept, before * 0.999, rtol=1e-9)
    assert not_looked.log_evidences[2] == 0.0
    compiled = track(away, made, tentative=True, method="compiled")
    np.testing.assert_allclose(compiled.existence, not_looked.existence, rtol=1e-6)


def test_gradients_pass_by_empty_slots_of_a_curved_sensor():
    made = eqx.tree_at(
        lambda one: one.association,
        polar(ExtendedKalmanFilter()),
        BeliefPropagation(10),
    )
    scans = Detections([[[50.0, 0.7]], [[51.0, 0.71]]]).padded(4)

    def evidence(clutter):
        tracker = eqx.tree_at(lambda one: one.clutter, made, clutter)
        return jnp.sum(run_scans(tracker, tracker.begin(4), scans)[1].log_evidence)

    at = jnp.asarray(1e-3)
    slope = jax.grad(evidence)(at)
    ends = [evidence(at * (1 + step)) for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-8, rtol=1e-5)
