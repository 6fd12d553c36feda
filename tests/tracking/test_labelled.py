from dataclasses import replace

import numpy as np
import pytest

from foresee.errors import TrackingError
from foresee.tracking import Labelled


def some():
    return Labelled(
        frame=np.array([3, 1, 1, 2]),
        name=np.array([7, 9, 7, 7]),
        position=np.array([[3.0, 0.0], [5.0, 5.0], [1.0, 0.0], [2.0, 0.0]]),
        score=np.array([0.3, 0.9, 0.1, 0.2]),
    )


def test_rows_are_found_by_frame_and_put_in_order():
    tracks = some()
    assert len(tracks) == 4
    assert tracks.names.tolist() == [7, 9]
    found = [sorted(tracks.name[rows].tolist()) for rows in tracks.by_frame(np.arange(0, 5))]
    assert found == [[], [7, 9], [7], [7], []]
    ordered = tracks.in_order()
    assert ordered.frame.tolist() == [1, 1, 2, 3]
    assert ordered.score is not None
    assert ordered.score.tolist() == [0.1, 0.9, 0.2, 0.3]
    assert ordered.covariance is None
    assert tracks.select(tracks.name == 9).position.tolist() == [[5.0, 5.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": np.array([7, 7, 7, 7])}, "got 7 twice in frame 1"),
        ({"position": np.full((4, 2), np.nan)}, r"finite position, got \[nan nan\] in row 0"),
        ({"status": np.array([0, 1, 2, 4])}, "expected a status 0 to 3"),
    ],
)
def test_what_cannot_be_is_named(change, message):
    with pytest.raises(TrackingError, match=message):
        replace(some(), **change)


def test_nothing_at_all_is_fine():
    none = Labelled(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)))
    assert len(none) == 0
    assert [len(rows) for rows in none.by_frame(np.arange(2))] == [0, 0]
