import numpy as np
import pytest

from foresee.errors import TrackingError
from foresee.tracking import Labelled
from foresee.tracking.scores import image_overlap, overlap_above, overlap_in_space, pair, share_inside


def inside(points, box):
    x, y, length, width, yaw = box
    along = (points[:, 0] - x) * np.cos(yaw) + (points[:, 1] - y) * np.sin(yaw)
    across = (points[:, 1] - y) * np.cos(yaw) - (points[:, 0] - x) * np.sin(yaw)
    return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)


def test_yawed_boxes_overlap_as_counted_on_a_grid():
    random = np.random.default_rng(0)
    n = 40
    a, b = (
        np.column_stack(
            [random.uniform(-1, 1, (n, 2)), random.uniform(0.5, 3, (n, 2)), random.uniform(-4, 4, n)]
        )
        for _ in "ab"
    )
    side = np.linspace(-4, 4, 801)
    grid = np.column_stack([each.ravel() for each in np.meshgrid(side, side)])
    found = overlap_above(a, b)
    for k in range(n):
        one, other = inside(grid, a[k]), inside(grid, b[k])
        assert found[k] == pytest.approx(np.sum(one & other) / np.sum(one | other), abs=0.02)
    np.testing.assert_allclose(overlap_above(b, a), found)
    np.testing.assert_allclose(overlap_above(a, a), 1)


def test_boxes_of_known_overlap():
    above = np.array([[0.0, 0, 2, 2, 0]])
    turned = np.array([[0.0, 0, 2, 2, np.pi / 4]])
    octagon = 8 * (np.sqrt(2) - 1)  # what two squares of side 2 share when one is turned by 45°
    assert overlap_above(above, turned)[0] == pytest.approx(octagon / (8 - octagon))
    low = np.array([[0.0, 0, 0, 2, 2, 2, 0.3]])
    high = low + np.array([0, 0, 1, 0, 0, 0, 0])
    assert overlap_in_space(low, high)[0] == pytest.approx(1 / 3)
    assert overlap_in_space(low, low + np.array([0, 0, 2, 0, 0, 0, 0]))[0] == 0
    one, other = np.array([[0.0, 0, 4, 2]]), np.array([[2.0, 0, 4, 2]])
    assert image_overlap(one, other)[0] == pytest.approx(4 / 12)
    assert share_inside(one, other)[0] == 0.5
    assert image_overlap(one, one + np.array([10, 0, 0, 0]))[0] == image_overlap(one * 0, one * 0)[0] == 0


def test_only_what_can_be_compared_is():
    rows = Labelled(np.zeros(1, int), np.zeros(1, int), np.zeros((1, 2)), box=np.ones((1, 4)))
    with pytest.raises(TrackingError, match="expected boxes of 7 numbers"):
        pair(rows, rows, "space")
    with pytest.raises(TrackingError, match="expected tracks with 2 coordinates"):
        pair(rows, Labelled(np.zeros(1, int), np.zeros(1, int), np.zeros((1, 3))))
    near = Labelled(np.zeros(1, int), np.zeros(1, int), np.array([[3.0, 4.0]]))
    assert pair(rows, near, reach=20.0).frames[0].likeness[0] == pytest.approx(0.75)
    assert len(pair(rows, near, reach=5.0).frames[0].row) == 0
