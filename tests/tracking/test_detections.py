"""Detections: what is refused and what it says, and that padding and parts keep every row."""

import numpy as np
import pytest

from foresee.errors import TrackingError
from foresee.tracking import Detections

SCANS = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((0, 2)), np.array([[5.0, 6.0]])]


def test_scans_keep_their_rows_and_empty_ones_count():
    detections = Detections(SCANS, [0.0, 0.5, 0.5], [[0.1, 0.9], [], [1.0]])
    assert len(detections) == 3
    np.testing.assert_array_equal(detections.counts, [2, 0, 1])
    np.testing.assert_allclose(detections.dt(), [0.0, 0.5, 0.0])
    for scan, values in zip(detections, SCANS, strict=True):
        np.testing.assert_array_equal(scan.values, values)
    padded = detections.padded()
    assert padded.values.shape == (3, 2, 2)
    np.testing.assert_array_equal(padded.seen, [[1, 1], [0, 0], [1, 0]])
    assert padded.score is not None
    np.testing.assert_allclose(padded.score, [[0.1, 0.9], [0, 0], [1.0, 0]])
    part = detections.part(1, 3)
    np.testing.assert_array_equal(part.values, [[5.0, 6.0]])
    np.testing.assert_array_equal(part.frames, [1, 2])
    assert part.scores is not None
    np.testing.assert_array_equal(part.scores, [1.0])


def test_rows_of_a_table_may_come_in_any_order_and_numbers_may_be_missing():
    detections = Detections.from_rows([7, 4, 7], [[1.0], [2.0], [3.0]], seconds=0.1)
    np.testing.assert_array_equal(detections.frames, [4, 5, 6, 7])
    np.testing.assert_array_equal(detections.counts, [1, 0, 0, 2])
    np.testing.assert_allclose(detections.times, [0.0, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(detections.scan(3).values, [[1.0], [3.0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "at least one scan"),
        (([[[1.0, np.nan]]],), r"finite detections, got \[ 1. nan\] in scan 0, row 0"),
        (([[[1.0, 2.0]], [[1.0]]],), "of one size in all scans"),
        (([[1.0, 2.0]],), r"shape \(rows, m\), got \(2,\) in scan 0"),
        ((SCANS, [0.0, 2.0, 1.0]), "in order of time, got 1.0 after 2.0"),
        ((SCANS, [0.0, np.nan, 1.0]), "times as 3 finite values"),
        ((SCANS, [0.0, 1.0]), "times as 3 finite values"),
        ((SCANS, None, [[0.1, 1.2], [], [1.0]]), r"within \[0, 1\], got 1.2 in scan 0"),
        ((SCANS, None, [[0.1, np.nan], [], [1.0]]), r"within \[0, 1\], got nan in scan 0"),
        ((SCANS, None, [[0.1], [], [1.0]]), "one score per detection"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(TrackingError, match=message):
        Detections(*arguments)


def test_a_sensor_that_did_not_look_has_nothing_to_report():
    with pytest.raises(TrackingError, match="did not look, got some in scan 2"):
        Detections(SCANS, active=[True, True, False])
    with pytest.raises(TrackingError, match="whole numbers"):
        Detections.from_rows([0.5], [[1.0]])
    with pytest.raises(TrackingError, match="at most 1 detections, got 2 in scan 0"):
        Detections(SCANS).padded(1)
