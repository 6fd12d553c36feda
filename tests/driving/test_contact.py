import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.contact import NEVER, WORDS, bearing, contacts, time_to_contact


def corners(x, y, heading, length, width):
    """Corners of one box, in order, and the directions of its sides."""
    forward = np.array([np.cos(heading), np.sin(heading)])
    left = np.array([-forward[1], forward[0]])
    signs = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * 0.5
    points = np.array([x, y]) + signs[:, :1] * length * forward + signs[:, 1:] * width * left
    return points, (forward, left)


def touch(one, other):
    """Whether two boxes touch, by their shadows on all four axes."""
    (first, axes), (second, more) = corners(*one), corners(*other)
    for axis in (*axes, *more):
        a, b = first @ axis, second @ axis
        if a.min() > b.max() or b.min() > a.max():
            return False
    return True


def test_time_to_contact_is_that_of_boxes_moved_in_small_steps():
    rng = np.random.default_rng(0)
    count, fine = 100, 0.04
    boxes = np.stack(
        [
            rng.uniform(-14, 14, (2, count)),
            rng.uniform(-14, 14, (2, count)),
            rng.uniform(-3, 3, (2, count)),
            rng.uniform(2, 8, (2, count)),
            rng.uniform(1, 3, (2, count)),
        ]
    )
    speeds = rng.uniform(0, 12, (2, count))
    ego, others = (tuple(jnp.asarray(values) for values in boxes[:, i]) for i in (0, 1))
    got = np.asarray(jax.jit(time_to_contact)(ego, others, *jnp.asarray(speeds)))
    hits = 0
    for k in range(count):
        wanted = NEVER
        for step in range(int(4 / fine)):
            moved = boxes[:, :, k].copy()
            moved[0] += np.cos(moved[2]) * speeds[:, k] * step * fine
            moved[1] += np.sin(moved[2]) * speeds[:, k] * step * fine
            if touch(moved[:, 0], moved[:, 1]):
                wanted = step * fine
                break
        if wanted < NEVER:
            hits += 1
            assert got[k] == pytest.approx(wanted, abs=fine)
        else:
            assert got[k] > 4 - 2 * fine or got[k] == NEVER
    assert hits > 15


def one_contact(x, y, heading=0.0, *, ego_speed=10.0, speed=5.0, astray=False):
    """The contact of the ego, 4 m by 2 m at the origin, with one vehicle of the same size."""
    column = lambda value: jnp.full((1, 1), float(value))  # noqa: E731
    ego = tuple(column(value) for value in (0, 0, 0, 4, 2))
    other = tuple(column(value) for value in (x, y, heading, 4, 2))
    found = jitted(
        ego, other, jnp.full(1, ego_speed), column(speed), jnp.ones((1, 1), bool), jnp.full(1, astray)
    )
    return WORDS[int(found.kind[0])], bool(found.at_fault[0])


jitted = jax.jit(contacts)


def test_the_first_contact_is_classified_and_blamed_as_nuplan_does():
    assert one_contact(4.1, 0) == ("nothing", False)
    assert one_contact(3.9, 0) == ("hit with the front", True)
    assert one_contact(3.9, 1.9) == ("hit with the front", True)
    assert one_contact(-3.9, 0) == ("hit from behind", False)
    assert one_contact(3.9, 0, speed=0.04) == ("hit a stopped vehicle", True)
    assert one_contact(3.9, 0, speed=0.06) == ("hit with the front", True)
    assert one_contact(-3.9, 0, ego_speed=0.04) == ("hit while stopped", False)
    assert one_contact(-3.9, 0, ego_speed=0.06) == ("hit from behind", False)
    # Beside, with the front bumper free: the fault is of who was not on its own lane.
    assert one_contact(-1.0, 1.9) == ("hit at the side", False)
    assert one_contact(-1.0, 1.9, astray=True) == ("hit at the side", True)


def test_behind_is_within_thirty_degrees_of_straight_back_from_the_rear_axle():
    zero, turn, length, width = (jnp.asarray([value]) for value in (0.0, 0.3, 5.0, 2.0))
    axle = -0.28 * 5 * np.array([np.cos(0.3), np.sin(0.3)])
    for angle in (0.0, 2.0, -2.9, 3.1):
        x, y = axle + 7 * np.array([np.cos(0.3 + angle), np.sin(0.3 + angle)])
        other = (jnp.asarray([x]), jnp.asarray([y]), turn, length, width)
        assert float(bearing((zero, zero, turn, length, width), other)[0]) == pytest.approx(angle)


def test_every_vehicle_counts_once_and_only_where_it_is_there():
    frames = 4
    ego = tuple(jnp.full((frames, 1), value) for value in (0.0, 0.0, 0.0, 4.0, 2.0))
    x = jnp.asarray([[9.0, 3.0, 3.0], [3.9, 3.0, 3.0], [9.0, 3.0, 3.0], [3.5, 3.0, 3.0]])
    others = (x, *(jnp.full((frames, 3), value) for value in (0.0, 0.0, 4.0, 2.0)))
    there = jnp.asarray(
        [[True, False, False], [True, False, False], [True, True, False], [True, True, False]]
    )
    found = jax.jit(contacts)(ego, others, jnp.full(4, 9.0), jnp.full((4, 3), 5.0), there, jnp.zeros(4, bool))
    np.testing.assert_array_equal(found.first.sum(axis=0), [1, 1, 0])
    np.testing.assert_array_equal(np.argmax(found.first, axis=0)[:2], [1, 2])
    np.testing.assert_array_equal(found.touching.sum(axis=0), [2, 2, 0])
    np.testing.assert_array_equal(found.at_fault, [True, True, False])
