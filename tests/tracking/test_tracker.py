"""The tracker: the host against compiled code, a textbook step, evidence, traces, batches, capacity."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from foresee.dynamics import ConstantVelocity
from foresee.errors import OptionError, TrackingError
from foresee.filters import ExtendedKalmanFilter
from foresee.tracking import (
    BeliefPropagation,
    ByCount,
    ByExistence,
    CapacityWarning,
    Detections,
    Gate,
    Labelled,
    NearestNeighbour,
    log_evidence,
    track,
)
from foresee.tracking.sequence import run_scans
from tests.tracking import scenes


@pytest.mark.parametrize(
    ("name", "counted"), [("assignment", False), ("assignment", True), ("messages", False)]
)
def test_host_and_compiled_code_agree(name, counted):
    lifecycle = ByCount(2, 3, 3) if counted else ByExistence()
    made = scenes.tracker(scenes.METHODS[name], gate=Gate(candidates=24), lifecycle=lifecycle)
    detections, truth = scenes.scene(3)
    host, compiled = (
        track(detections, made, method=method, tentative=True) for method in ("host", "compiled")
    )
    np.testing.assert_allclose(host.log_evidences, compiled.log_evidences, rtol=1e-6, atol=1e-4)
    for column in ("scan", "name", "status", "detection"):
        np.testing.assert_array_equal(getattr(host, column), getattr(compiled, column), err_msg=column)
    for column in ("location", "covariance", "existence"):
        one, other = getattr(host, column), getattr(compiled, column)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4, err_msg=column)
    assert len(host) > 3 * len(truth.names)


def test_two_scans_of_one_object_equal_the_textbook():
    """Birth, prediction, correction, existence and evidence written out for one object and one detection."""
    made = scenes.tracker(gate=Gate(1 - 1e-9))
    first, second = np.array([40.0, 50.0]), np.array([42.0, 49.0])
    history = track(Detections([[first], [second]]), made, tentative=True, method="host")
    clutter, chance, area = float(made.clutter), 0.9, scenes.SIDE**2
    unseen = float(made.birth.undetected)
    existence = chance * unseen / (clutter + chance * unseen)
    evidence = np.log(clutter + chance * unseen) - area * (clutter + chance * unseen)
    np.testing.assert_allclose(history.existence[0], existence, rtol=1e-12)
    np.testing.assert_allclose(history.log_evidences[0], evidence, rtol=1e-12)

    A = np.eye(4) + np.eye(4, k=2)
    Q = 0.05 * np.kron([[1 / 3, 1 / 2], [1 / 2, 1]], np.eye(2))
    m, P = np.array([*first, 0, 0]), np.diag([1.0, 1.0, 4.0, 4.0])
    m, P = A @ m, A @ P @ A.T + Q
    S = P[:2, :2] + np.eye(2)
    fit = multivariate_normal.pdf(second, m[:2], S)  # pyright: ignore[reportArgumentType]
    K = P[:, :2] @ np.linalg.inv(S)
    unseen = unseen * (1 - chance) * 0.999 + float(made.birth.rate)
    other, existence = clutter + chance * unseen, existence * 0.999
    found, missed = existence * chance * fit, (1 - existence * chance) * other
    rows = np.flatnonzero(history.scan == 1)
    np.testing.assert_allclose(
        history.log_evidences[1], np.log(found + missed) - area * (clutter + chance * unseen), rtol=1e-12
    )
    after = (found + existence * (1 - chance) * other) / (found + missed)
    np.testing.assert_allclose(history.existence[rows[0]], after, rtol=1e-9)
    share = found / (found + existence * (1 - chance) * other)
    np.testing.assert_allclose(history.location[rows[0]], m + share * K @ (second - m[:2]), rtol=1e-9)
    moved = K @ (second - m[:2])
    spread = P - share * K @ S @ K.T + share * (1 - share) * np.outer(moved, moved)
    np.testing.assert_allclose(history.covariance[rows[0]], spread, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(history.name[rows], np.arange(len(rows)))


def test_gradient_of_the_evidence_equals_finite_differences():
    detections, _ = scenes.scene(5, scans=4, objects=3, clutter=3)
    made = scenes.tracker(BeliefPropagation(20), 3, 3, gate=Gate(1 - 1e-12, candidates=8))
    scans = detections.padded(8)
    assert detections.counts.max() <= 8

    @jax.jit
    def evidence(numbers):
        chance, clutter, density, noise = numbers
        other = eqx.tree_at(
            lambda one: (one.detection, one.clutter, one.motion.acceleration_density, one.sensor.covariance),
            made,
            (chance, clutter, density, noise * jnp.ones(2)),
        )
        return log_evidence(other, scans, 16)

    at = jnp.asarray([0.85, 5e-4, 0.08, 1.2])
    slope = jax.grad(evidence)(at)
    for index, value in enumerate(np.asarray(at)):
        step = 1e-5 * value
        ends = [evidence(at.at[index].set(value + sign * step)) for sign in (1, -1)]
        np.testing.assert_allclose(slope[index], (ends[0] - ends[1]) / (2 * step), rtol=2e-4)


class Counted(ConstantVelocity):
    """Constant velocity that counts how often it is traced."""

    def linear(self, u=None, dt=1.0):
        TRACES.append(1)
        return super().linear(u, dt)


TRACES: list[int] = []


def test_other_numbers_of_detections_trace_nothing():
    made = eqx.tree_at(lambda one: one.motion, scenes.tracker(), Counted(0.05))
    detections = [scenes.scene(seed, scans=5)[0] for seed in range(4)]
    assert len({tuple(one.counts) for one in detections}) == 4
    table = made.begin(32)
    run_scans(made, table, detections[0].padded(32))
    before = len(TRACES)
    assert before > 0
    for index, one in enumerate(detections[1:]):
        louder = eqx.tree_at(lambda model: model.clutter, made, jnp.asarray(1e-4 * (index + 1)))
        run_scans(louder, table, one.padded(32))
    assert len(TRACES) == before


def test_many_scenes_by_vmap_equal_one_by_one():
    made = scenes.tracker(BeliefPropagation(15), objects=3, clutter=3)
    several = [scenes.scene(seed, scans=4, objects=3, clutter=3)[0].padded(16) for seed in range(2)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
    last, tables = eqx.filter_vmap(lambda scans: run_scans(made, made.begin(16), scans))(batch)
    for index, scans in enumerate(several):
        one, each = run_scans(made, made.begin(16), scans)
        np.testing.assert_allclose(tables.log_evidence[index], each.log_evidence, rtol=1e-10)
        np.testing.assert_allclose(last.existence[index], one.existence, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("method", ["host", "compiled"])
def test_a_full_table_grows_with_a_warning_and_loses_nobody(method):
    detections, _ = scenes.scene(1, scans=5)
    made = scenes.tracker(BeliefPropagation(15))
    wanted = track(detections, made, method=method, capacity=32)
    with pytest.warns(CapacityWarning, match="grows from"):
        history = track(detections, made, method=method, capacity=16)
    np.testing.assert_array_equal(history.name, wanted.name)
    np.testing.assert_allclose(history.location, wanted.location, rtol=1e-6)


def test_a_sequence_can_stop_and_go_on():
    detections, _ = scenes.scene(2)
    made = scenes.tracker()
    whole = track(detections, made)
    early = track(detections.part(0, 5), made)
    late = track(Detections([np.zeros((0, 2))], active=[False]), made, after=early.last)
    assert late.log_evidence == 0.0
    times = detections.times[5:]
    rest = Detections([one.values for one in list(detections)[5:]], times)
    gap = Detections(
        [np.zeros((0, 2)), *[one.values for one in rest]], [times[0] - 1, *times], active=[False] + [True] * 7
    )
    resumed = track(gap, made, after=early.last)
    np.testing.assert_allclose(resumed.log_evidence, whole.log_evidences[5:].sum(), rtol=1e-12)


def test_confirmed_tracks_hold_what_they_say():
    """NEES of positions of confirmed tracks over many scenes: 90 % intervals hold 85 to 95 %."""
    inside, total = 0, 0
    for seed in range(8):
        detections, truth = scenes.scene(seed + 100, scans=25)
        found = track(detections, scenes.tracker(), method="host").labelled()
        assert isinstance(found, Labelled)
        for frame in range(5, 25):
            rows, real = (np.flatnonzero(one.frame == frame) for one in (found, truth))
            apart = found.position[rows][:, None] - truth.position[real][None]
            distance = np.linalg.norm(apart, axis=2)
            for i, row in enumerate(rows):
                j = int(np.argmin(distance[i])) if len(real) else -1
                if j < 0 or distance[i, j] > 10.0:
                    continue
                assert found.covariance is not None
                square = apart[i, j] @ np.linalg.solve(found.covariance[row], apart[i, j])
                inside, total = inside + (square < -2 * np.log(0.1)), total + 1
    # Errors of one track hang together over about four scans.
    margin = norm.ppf(0.999) * np.sqrt(0.09 * 4 / total)
    assert total > 1000
    assert 0.85 < inside / total < 0.95
    assert abs(inside / total - 0.9) < 0.02 + margin


def test_bad_input_is_named():
    made = scenes.tracker()
    detections, _ = scenes.scene(0, scans=3)
    with pytest.raises(TrackingError, match="detections of 2 components for this sensor, got 3"):
        track(Detections([np.ones((1, 3))]), made)
    curved = eqx.tree_at(
        lambda one: one.filter, made, ExtendedKalmanFilter(), is_leaf=lambda node: node is made.filter
    )
    with pytest.raises(OptionError, match="linear models without angles for the method host"):
        track(detections, curved, method="host")
    with pytest.raises(OptionError, match=r"expected detection between 0 and 1, got 1\.5"):
        scenes.tracker(detection=1.5)
    with pytest.raises(OptionError, match="end ≤ doubt"):
        ByExistence(confirm=0.3)


def test_crowds_and_identical_detections_are_taken():
    made = scenes.tracker(NearestNeighbour())
    rng = np.random.default_rng(0)
    crowd = [
        rng.uniform(0, scenes.SIDE, (5, 2)),
        rng.uniform(0, 1e4, (100_000, 2)),
        np.ones((50, 2)),
        np.ones((50, 2)),
    ]
    history = track(Detections(crowd), eqx.tree_at(lambda one: one.birth.rate, made, jnp.asarray(1e-5)))
    assert np.isfinite(history.log_evidences).all()
    assert np.isfinite(history.location).all()


def test_on_simulated_radar(shared_data):
    """Nearly as close as a filter told the true associations, whose mean error is 0.93 m there."""
    folder = shared_data / "tracking" / "radar"
    rows = np.loadtxt(folder / "20_detections.csv.gz", delimiter=",", skiprows=1)
    truth = np.loadtxt(folder / "20_truth.csv.gz", delimiter=",", skiprows=1)
    made = eqx.tree_at(
        lambda one: (one.clutter, one.volume, one.birth.undetected, one.birth.rate),
        scenes.tracker(),
        tuple(jnp.asarray(value) for value in (1e-5, 1e6, 2e-5, 2e-8)),
    )
    found = track(Detections.from_rows(rows[:, 0], rows[:, 1:]), made).labelled()
    late = found.frame >= 10
    counts = np.bincount(found.frame[late], minlength=50)[10:]
    assert 19.5 < counts.mean() < 20.5
    nearest = []
    for frame in range(10, 50):
        real = truth[truth[:, 0] == frame][:, [2, 4]]
        apart = np.linalg.norm(found.position[found.frame == frame][:, None] - real[None], axis=2)
        nearest.append(np.minimum(apart.min(axis=0), 10.0))
    assert np.mean(nearest) < 1.05
