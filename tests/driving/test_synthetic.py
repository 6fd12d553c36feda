import time
from dataclasses import fields

import numpy as np
import pytest

from foresee.driving import Truth, synthetic_recording
from foresee.driving.synthetic import Jitter
from foresee.errors import RecordingError


@pytest.fixture(scope="module")
def recording():
    return synthetic_recording()


def test_same_seed_same_recording(recording):
    again = synthetic_recording(0)
    np.testing.assert_array_equal(recording.x, again.x)
    np.testing.assert_array_equal(recording.seen, again.seen)
    assert not np.array_equal(recording.seen, synthetic_recording(1).seen)


def test_quick_and_of_the_promised_size(recording):
    begin = time.process_time()
    synthetic_recording(5)
    assert time.process_time() - begin < 1.0
    assert 35 <= recording.vehicles <= 40
    assert recording.frame_rate == 10
    assert recording.seconds == pytest.approx(20, abs=0.5)
    assert recording.gaps() > 5


def test_truth_is_an_exact_bicycle(recording):
    """From frame to frame: an arc of the stated curvature, driven at the stated acceleration."""
    truth, dt = recording.truth, 0.1
    both = truth.present[:, 1:] & truth.present[:, :-1]
    x, y, heading, speed, accel, bend = (getattr(truth, f.name)[:, :-1][both] for f in fields(Truth)[1:])
    length = speed * dt + accel * dt**2 / 2
    after = heading + bend * length
    radius = 1 / np.where(np.abs(bend) > 1e-6, bend, np.inf)
    straight = np.abs(bend) <= 1e-6
    expected = {
        "x": x + np.where(straight, length * np.cos(heading), radius * (np.sin(after) - np.sin(heading))),
        "y": y + np.where(straight, length * np.sin(heading), radius * (np.cos(heading) - np.cos(after))),
        "heading": after,
        "speed": speed + accel * dt,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(truth, name)[:, 1:][both], values, atol=1e-5)


def test_truth_is_what_vehicles_can_do(recording):
    truth, on = recording.truth, recording.truth.present
    assert truth.speed[on].min() >= 0
    assert truth.speed[on].max() < 30
    assert np.abs(truth.acceleration[on]).max() <= 8
    assert np.abs(truth.speed**2 * truth.curvature)[on].max() < 3.1
    assert truth.acceleration[on].min() < -2, "somebody brakes"


def corners(recording, v, k):
    truth = recording.truth
    c, s = np.cos(truth.heading[v, k]), np.sin(truth.heading[v, k])
    half = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * [recording.length[v] / 2, recording.width[v] / 2]
    return half @ np.array([[c, s], [-s, c]]) + [truth.x[v, k], truth.y[v, k]]


def apart(one, other) -> bool:
    """Separating axes of two rectangles."""
    for box in (one, other):
        for axis in (box[1] - box[0], box[2] - box[1]):
            a, b = one @ axis, other @ axis
            if a.max() < b.min() or b.max() < a.min():
                return True
    return False


@pytest.mark.parametrize(
    ("seed", "vehicles", "seconds"), [(0, 40, 20), (1, 40, 20), (2, 60, 30), (3, 25, 15)]
)
def test_nobody_overlaps(seed, vehicles, seconds):
    recording = synthetic_recording(seed, vehicles=vehicles, seconds=seconds)
    truth = recording.truth
    assert truth is not None
    for k in range(0, truth.x.shape[1], 2):
        here = np.flatnonzero(truth.present[:, k])
        distance = np.hypot(*(z[here, k][:, None] - z[here, k] for z in (truth.x, truth.y)))
        for i, j in zip(*np.nonzero(np.triu(distance < 16, 1)), strict=True):
            assert apart(corners(recording, here[i], k), corners(recording, here[j], k))


def test_noise_is_as_documented():
    """Variance and autocovariance of the errors, each within 4 standard errors from independent vehicles."""
    jitter = Jitter()
    recording = synthetic_recording(4, vehicles=300)
    assert recording.truth is not None
    for seen, true in ((recording.x, recording.truth.x), (recording.y, recording.truth.y)):
        error = np.where(recording.seen, seen - true, np.nan)
        for lag in (0, 1, 3, 10):
            products = error[:, lag:] * error[:, : error.shape[1] - lag]
            count = np.isfinite(products).sum(axis=1)
            each = np.nanmean(products[count > 30], axis=1)
            weight = count[count > 30] / count[count > 30].sum()
            mean = float(weight @ each)
            standard_error = float(np.sqrt(weight**2 @ (each - mean) ** 2))
            expected = jitter.drift**2 * np.exp(-0.1 * lag / jitter.drift_time) + (lag == 0) * jitter.white**2
            assert abs(mean - expected) < 4 * standard_error
    assert np.sqrt(jitter.white**2 + jitter.drift**2) == pytest.approx(0.29, abs=0.005)


def test_dropouts_as_documented():
    recording = synthetic_recording(7, vehicles=300, jitter=Jitter(lost=0.02, burst=0.0))
    assert recording.truth is not None
    present = recording.truth.present
    n = present.sum()
    lost = 1 - recording.seen[present].mean()
    assert abs(lost - 0.02) < 4 * np.sqrt(0.02 * 0.98 / n)
    perfect = synthetic_recording(7, jitter=Jitter(0.0, 0.0, 1.0, 0.0, 0.0))
    assert perfect.truth is not None
    assert perfect.gaps() == 0
    np.testing.assert_array_equal(perfect.x[perfect.seen], perfect.truth.x[perfect.seen])


def test_drivers_differ_change_lanes_enter_and_leave(recording):
    truth = recording.truth
    on = truth.present
    assert (~on[:, 0] & on.any(axis=1)).sum() > 5
    assert (on[:, 0] & ~on[:, -1]).sum() > 5
    mean = np.array([truth.speed[v][on[v]].mean() for v in range(len(on))])
    assert mean.std() > 0.3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vehicles": 0}, "vehicles from 1 to 2000, got 0"),
        ({"seconds": float("nan")}, "seconds from"),
        ({"frame_rate": 1.0}, "frame_rate from 4"),
        ({"jitter": Jitter(lost=2.0)}, "lost from 0 to 1"),
        ({"jitter": Jitter(lost=1.0)}, "seen twice, got none"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(RecordingError, match=words):
        synthetic_recording(**options)


@pytest.mark.parametrize(
    "options", [{"vehicles": 1}, {"vehicles": 3, "seconds": 1.0}, {"frame_rate": 30.0, "seconds": 3.0}]
)
def test_small_ones(options):
    synthetic_recording(**options)


def test_the_lanes_are_those_that_were_driven_on(recording):
    lanes = recording.lanes["synthetic"]
    assert [(lane.left_neighbour, lane.right_neighbour) for lane in lanes] == [
        (None, "1"), ("0", "2"), ("1", "3"), ("2", None)
    ]  # fmt: skip
    centres = []
    for lane in lanes:
        np.testing.assert_allclose(np.hypot(*(lane.left - lane.right).T), 3.6, atol=1e-6)
        middle, part = 0.5 * (lane.left + lane.right), np.linspace(0, 1, 5000)
        every = np.linspace(0, 1, len(middle))
        centres.append(np.stack([np.interp(part, every, column) for column in middle.T], axis=1))
    truth = recording.truth
    at = np.stack([truth.x[truth.present], truth.y[truth.present]], axis=1)[::10]
    apart = np.min(
        [np.hypot(*(at[:, None] - line).transpose(2, 0, 1)).min(axis=1) for line in centres], axis=0
    )
    assert apart.max() < 1.8 + 0.2  # between two lanes, who changes
    assert np.median(apart) < 0.1
    assert recording.select(np.arange(3)).lanes.keys() == {"synthetic"}
