"""Lines of straight pieces: lengths, points at regular distances, and feet."""

import numpy as np

from foresee.driving.lines import distance, foot, joined, resample, sampled, total_length

CORNER = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0]])


def test_length_and_points():
    assert total_length(CORNER) == 15.0
    np.testing.assert_allclose(resample(CORNER, 4), [[0, 0], [5, 0], [10, 0], [10, 5]])
    np.testing.assert_allclose(joined([CORNER, CORNER[-1:] + 1e-9, CORNER[-1:] + 1]), [*CORNER, [11, 6]])


def test_feet_beside_and_beyond():
    points = np.array([[3.0, 2.0], [12.0, 4.0], [-4.0, 1.0], [9.0, 8.0], [12.0, -1.0]])
    along, away = foot(points, CORNER)
    np.testing.assert_allclose(along, [3.0, 14.0, -4.0, 18.0, 10.0])
    np.testing.assert_allclose(away, [2.0, 2.0, np.hypot(4, 1), np.hypot(1, 3), np.hypot(2, 1)])
    np.testing.assert_allclose(distance(points, CORNER), away)


def test_samples_of_a_circle():
    angle = np.linspace(0, 2 * np.pi, 500)
    circle = 30 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x, y, heading, curvature = sampled(circle, 2.0 * np.arange(100), ring=True).T
    np.testing.assert_allclose(np.hypot(x, y), 30, atol=0.01)
    np.testing.assert_allclose(np.diff(heading), 2 / 30, rtol=0.02)
    np.testing.assert_allclose(curvature, 1 / 30, rtol=0.02)


def test_samples_go_straight_on_beyond_the_end():
    x, y, heading, curvature = sampled(CORNER[:2], 2.0 * np.arange(8), ring=False).T
    np.testing.assert_allclose(x, 2.0 * np.arange(8))
    assert not np.any(y)
    assert not np.any(heading)
    assert not np.any(curvature)
