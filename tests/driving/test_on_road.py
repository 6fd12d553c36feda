import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.make_road import straight_road
from foresee.driving.on_road import standing

LENGTH, WIDTH = 12.0, 2.5


@eqx.filter_jit
def stand(road, x, y, heading):
    return standing(road, x, y, heading, jnp.asarray(LENGTH), jnp.asarray(WIDTH))


def test_a_long_vehicle_in_a_bend_is_as_far_outside_as_its_outermost_corner():
    radius = 60.0  # of the middle of lane 0, which bends to the left; lane 1 is outside of it
    road = straight_road(2, 150.0, curvature=1 / radius)
    rng = np.random.default_rng(0)
    along, offset = rng.uniform(20, 130, 40), rng.uniform(-6.5, 3.0, 40)
    turn, heading = along / radius, along / radius + rng.uniform(-0.3, 0.3, 40)
    x, y = (radius - offset) * np.sin(turn), radius - (radius - offset) * np.cos(turn)
    got = stand(road, *(jnp.asarray(values) for values in (x, y, heading)))
    signs = 0.5 * np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])
    forward = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    corners = np.stack([x, y], axis=1)[:, None] + (
        signs[:, :1] * LENGTH * forward[:, None] + signs[:, 1:] * WIDTH * left[:, None]
    )
    distance = np.hypot(corners[..., 0], corners[..., 1] - radius)
    inner, marking, outer = radius - 1.75, radius + 1.75, radius + 5.25
    outside = np.maximum(np.maximum(inner - distance, distance - outer), 0).max(axis=1)
    np.testing.assert_allclose(got.outside, outside, atol=0.01)  # the lanes are sampled every 2 m
    assert 5 < (outside > 0.1).sum() < 35
    lanes = ((distance > low) & (distance < high) for low, high in ((inner, marking), (marking, outer)))
    on_one = np.any([np.all(on, axis=1) for on in lanes], axis=0)
    off = np.abs(distance[..., None] - np.array([inner, marking, outer])).min(axis=(1, 2))
    clear = off > 0.02
    np.testing.assert_array_equal(np.asarray(got.astray)[clear], ~on_one[clear])
    assert not np.asarray(got.against).any()


def test_the_road_ends_where_a_lane_does_from_which_one_must_merge():
    road = straight_road(1, 400.0, ramp=(150.0, 250.0))
    x = jnp.asarray([200.0, 260.0, 410.0, -5.0, 200.0])
    y = jnp.asarray([-3.5, -3.5, 0.0, 0.0, 0.0])
    heading = jnp.asarray([0.0, 0.0, 0.0, 0.0, 3.0])
    got = stand(road, x, y, heading)
    assert float(got.outside[0]) == 0.0
    assert float(got.outside[1]) == pytest.approx(3.5 + 0.5 * WIDTH - 1.75, abs=0.01)  # the nearest is beside
    np.testing.assert_array_equal(got.outside[2:4], 0.0)  # beyond the ends of the map the road goes on
    np.testing.assert_array_equal(got.against, [False, False, False, False, True])
    assert not bool(got.astray[0])
