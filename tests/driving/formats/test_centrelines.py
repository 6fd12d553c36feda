import numpy as np

from foresee.driving.formats.centrelines import lanes_from_centres


def line(begin, end, points=11) -> np.ndarray:
    return np.linspace(begin, end, points).astype(float)


def read(centres):
    lanes, notes = lanes_from_centres(centres, {})
    return {lane.name: lane for lane in lanes}, notes


def test_lanes_beside_each_other():
    lanes, notes = read(
        {
            "left": line([0, 4], [100, 4]),
            "middle": line([0, 0], [100, 0], 51),
            "oncoming": line([100, -3], [0, -3]),
            "far": line([0, 50], [100, 50]),
        }
    )
    np.testing.assert_allclose(lanes["middle"].left[[0, -1]], [[0, 2], [100, 2]], atol=1e-9)
    np.testing.assert_allclose(lanes["middle"].right[:, 1], -2, atol=1e-9)  # as far as the left one
    np.testing.assert_allclose(lanes["far"].left[:, 1], 51.75)
    np.testing.assert_allclose(lanes["oncoming"].left[[0, -1]], [[100, -4.75], [0, -4.75]])
    assert (lanes["middle"].left_neighbour, lanes["left"].right_neighbour) == ("left", "middle")
    assert (lanes["middle"].right_neighbour, lanes["oncoming"].left_neighbour) == (None, None)
    assert "for 2 of 4 without any 1.75 m away" in notes[0]


def test_a_lane_beside_a_short_part_is_no_neighbour():
    lanes, _ = read({"long": line([0, 0], [100, 0]), "short": line([0, 3.5], [30, 3.5])})
    assert lanes["long"].left_neighbour is None
    assert lanes["short"].right_neighbour == "long"


def test_ends_that_meet():
    lanes, _ = read(
        {
            "a": line([0, 0], [50, 0]),
            "b": line([50.3, 0.1], [99, 0]),
            "right": np.array([[50.0, 0.0], [60, -4], [65, -12]]),
            "across": line([50, 0], [50, 30]),
            "back": line([50, 0], [0, 1]),
        }
    )
    assert lanes["a"].successors == ("b", "right")
    assert lanes["b"].successors == ()


def test_a_ring_keeps_its_width():
    angle = np.linspace(0, 2 * np.pi, 200)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    lanes, _ = read({"inner": 20 * ring, "outer": 24 * ring})
    np.testing.assert_allclose(np.hypot(*lanes["inner"].right.T), 22, atol=0.05)
    np.testing.assert_allclose(np.hypot(*lanes["outer"].left.T), 22, atol=0.05)
    assert lanes["outer"].left_neighbour == "inner"


def test_points_that_turn_back():
    lanes, _ = read({"a": np.array([[0.0, 0.0], [10, 0], [0, 0]])})
    assert np.isfinite(lanes["a"].left).all()
