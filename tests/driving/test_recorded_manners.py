import numpy as np

from foresee.driving.recorded_manners import manners_of

RATE = 10.0


def test_manners_are_told_from_speed_and_gap():
    frames, headway, speed = 40, 1.1, 10.0
    highest = np.array([12.0, 12.0, 20.0])
    desired = np.maximum(1.05 * highest, 1.05 * np.quantile(highest, 0.9))
    free = np.sqrt(1 - (speed / desired[1]) ** 4)
    gap = (2.0 + headway * speed) / free
    along = np.array([100.0, 100.0 - gap - 4.0, 0.0]) + speed * np.arange(frames)[:, None] / RATE
    speeds = np.full((frames, 3), speed)
    speeds[0] = highest
    moving = {"speed": speeds, "lane": np.array([[0, 0, 1]] * frames), "along": along}
    got = manners_of(np.ones((frames, 3), bool), moving, np.full(3, 4.0))
    np.testing.assert_allclose(got[0], desired)
    # The first and the third follow nobody, and are taken to be like the second.
    np.testing.assert_allclose(got[1], headway, atol=1e-9)
    nobody = manners_of(np.ones((frames, 1), bool), {k: v[:, :1] for k, v in moving.items()}, np.full(1, 4.0))
    assert nobody[1, 0] == 1.5
