"""Places along and across lanes: against plain NumPy, their own inverse, and finite differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresee.driving.lanes import Lane
from foresee.driving.make_road import ring_road, road_from_lanes, straight_road
from foresee.driving.road import Road

BEND = 1 / 60.0
LANES, LENGTH, WIDTH = 3, 150.0, 3.5


QUICK = {"xla_backend_optimization_level": 0}  # to compile
AT, CROSS, PLACE, TRACK, PROJECT, NEAREST, OUTSIDE = (
    jax.jit(method, compiler_options=QUICK)
    for method in (Road.at, Road.cross, Road.place, Road.track, Road.project, Road.nearest, Road.outside)
)


@pytest.fixture(scope="module")
def bend() -> Road:
    return straight_road(LANES, LENGTH, width=WIDTH, curvature=BEND)


@pytest.fixture(scope="module")
def winding() -> Road:
    """One lane whose curvature swings between 1/40 and -1/40, with points rounded to centimetres."""
    s = np.arange(0.0, 200.0, 1.0)
    heading = np.cumsum(np.cos(s / 20) / 40)
    line = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    across = 1.75 * np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    return road_from_lanes([Lane("winding", np.round(line + across, 2), np.round(line - across, 2))])


def twin_line(road: Road, lane: int, along: np.ndarray) -> np.ndarray:
    """x, y and heading of a centre line at arc lengths: interpolated samples, straight on beyond the ends."""
    samples, spacing, length = np.asarray(road.line[lane]), float(road.spacing), float(road.length[lane])
    inside = np.clip(along, 0, length)
    grid = spacing * np.arange(len(samples))
    x, y, heading = (np.interp(inside, grid, samples[:, k]) for k in range(3))
    return np.stack([x + (along - inside) * np.cos(heading), y + (along - inside) * np.sin(heading), heading])


def twin_project(road: Road, lane: int, x: float, y: float) -> tuple[float, float]:
    """Arc length and offset of the nearest foot of a perpendicular: a fine grid, then bisection."""

    def ahead(s):
        line = twin_line(road, lane, np.asarray(s, float))
        return np.cos(line[2]) * (x - line[0]) + np.sin(line[2]) * (y - line[1])

    grid = np.arange(-60.0, float(road.length[lane]) + 60.0, 0.1)
    value, (line_x, line_y, _) = ahead(grid), twin_line(road, lane, grid)
    roots = np.flatnonzero((value[:-1] > 0) & (value[1:] <= 0))
    best = roots[np.hypot(x - line_x[roots], y - line_y[roots]).argmin()]
    low, high = grid[best], grid[best + 1]
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ahead(middle) > 0 else (low, middle)
    line = twin_line(road, lane, np.asarray(low))
    return float(low), float(np.cos(line[2]) * (y - line[1]) - np.sin(line[2]) * (x - line[0]))


@partial(jax.jit, compiler_options=QUICK)
def there_and_back(road: Road, lane, along, offset, miss):
    x, y, _ = road.place(lane, along, offset)
    return road.track(x, y, lane, along + miss), road.project(x, y), road.nearest(x, y)


@settings(max_examples=40)
@given(
    lane=st.integers(0, LANES - 1),
    along=st.floats(-30, LENGTH + 30),
    offset=st.floats(-12, 25),
    miss=st.floats(-2, 2),
)
def test_track_and_project_undo_place(bend, lane, along, offset, miss):
    (found, aside), (every, offsets), _ = there_and_back(
        bend, jnp.asarray(lane), jnp.asarray(along), jnp.asarray(offset), jnp.asarray(miss)
    )
    np.testing.assert_allclose([found, aside], [along, offset], atol=0.02 if 0 < along < LENGTH else 0.05)
    np.testing.assert_allclose([every[lane], offsets[lane]], [along, offset], atol=1e-4)


@settings(max_examples=25)
@given(lane=st.integers(0, LANES - 1), along=st.floats(0, 140), offset=st.floats(-1.7, 1.7))
def test_nearest_finds_the_lane(bend, lane, along, offset):
    place = there_and_back(
        bend, jnp.asarray(lane), jnp.asarray(along), jnp.asarray(offset), jnp.asarray(0.0)
    )[2]
    assert int(place.lane) == lane
    np.testing.assert_allclose([place.along, place.offset], [along, offset], atol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_project_against_numpy(winding, seed):
    random = np.random.default_rng(seed)
    along, offset = random.uniform(-20, 220), random.uniform(-15, 15)
    x, y, heading = twin_line(winding, 0, np.asarray(along))
    x, y = x - offset * np.sin(heading), y + offset * np.cos(heading)
    found = PROJECT(winding, jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose([found[0][0], found[1][0]], twin_project(winding, 0, x, y), atol=2e-3)


def test_at_against_numpy(winding):
    along = np.linspace(-20, 220, 97)
    line = AT(winding, jnp.zeros(97, int), jnp.asarray(along))
    np.testing.assert_allclose(
        np.stack([line.x, line.y, line.heading]), twin_line(winding, 0, along), atol=1e-9
    )


def test_a_bend_is_a_circle(bend):
    along = jnp.linspace(0.0, LENGTH, 41)
    line = AT(bend, jnp.zeros(41, int), along)
    np.testing.assert_allclose(line.x, np.sin(BEND * along) / BEND, atol=0.02)
    np.testing.assert_allclose(line.y, (1 - np.cos(BEND * along)) / BEND, atol=0.02)
    np.testing.assert_allclose(line.curvature[3:-3], BEND, rtol=1e-3)
    cross = CROSS(bend, jnp.ones(41, int), along)
    np.testing.assert_allclose(cross.width, WIDTH, atol=5e-3)
    np.testing.assert_allclose(cross.reach_left, 1.5 * WIDTH, atol=1e-2)
    np.testing.assert_allclose(cross.reach_right, 1.5 * WIDTH, atol=1e-2)
    inside = slice(2, 38)
    np.testing.assert_allclose(cross.along_left[inside] * (1 + BEND * WIDTH), along[inside], atol=0.05)
    np.testing.assert_array_equal(cross.left[inside], 0)
    np.testing.assert_array_equal(cross.right[inside], 2)


def test_gradients_are_those_of_finite_differences(winding):
    def foot(place):
        along, offset = winding.track(place[:1], place[1:], jnp.zeros(1, int), jnp.asarray([77.0]))
        return jnp.concatenate([along, offset])

    def put(where):
        x, y, heading = winding.place(jnp.asarray(0), where[0], where[1])
        return jnp.stack([x, y, heading])

    step = 1e-6
    for function, at in (
        (foot, jnp.stack(PLACE(winding, jnp.asarray(0), jnp.asarray(77.3), jnp.asarray(4.0))[:2])),
        (put, jnp.array([77.3, 4.0])),
    ):
        slopes = jax.jit(jax.jacfwd(function), compiler_options=QUICK)(at)
        function = jax.jit(function, compiler_options=QUICK)
        for k in range(2):
            shift = step * jnp.eye(2)[k]
            measured = (function(at + shift) - function(at - shift)) / (2 * step)
            np.testing.assert_allclose(slopes[:, k], measured, rtol=3e-3, atol=3e-3)


def test_float32_is_enough(winding):
    single = jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.float64 else a, winding)
    along = jnp.linspace(0.0, 190.0, 50)
    x, y, _ = PLACE(winding, jnp.zeros(50, int), along, jnp.full(50, 2.0))
    found, offset = TRACK(
        single, jnp.float32(x), jnp.float32(y), jnp.zeros(50, int), jnp.float32(along) + jnp.float32(0.5)
    )
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, along, atol=5e-3)
    np.testing.assert_allclose(offset, 2.0, atol=5e-3)


def test_outside_counts_from_the_edge_of_all_lanes(bend):
    for lane, offset, wanted in ((0, 0.0, 0.0), (1, -1.75, 0.0), (0, 3.0, 1.25), (2, -5.0, 3.25)):
        x, y, _ = PLACE(bend, jnp.asarray(lane), jnp.asarray(70.0), jnp.asarray(offset))
        np.testing.assert_allclose(OUTSIDE(bend, x, y), wanted, atol=0.02)
    x, y, _ = PLACE(bend, jnp.asarray(1), bend.length[1] + 4.0, jnp.asarray(0.0))
    np.testing.assert_allclose(OUTSIDE(bend, x, y), 4.0, atol=0.5)


def test_heading_chooses_between_carriageways():
    x = np.linspace(0.0, 100.0, 11)
    y = np.zeros(11)
    there = Lane("there", np.stack([x, y], axis=1), np.stack([x, y - 3.5], axis=1))
    back = Lane("back", np.stack([x[::-1], y], axis=1), np.stack([x[::-1], y + 3.5], axis=1))
    road = road_from_lanes([there, back])
    place = jnp.asarray(50.0), jnp.asarray(-0.5)
    assert int(NEAREST(road, *place, None).lane) == 0
    assert int(NEAREST(road, *place, jnp.asarray(np.pi)).lane) == 1
    assert int(NEAREST(road, *place, jnp.asarray(0.1)).lane) == 0


def test_arc_lengths_beside_a_ramp_never_jump():
    road = straight_road(2, 600.0, ramp=(301.0, 455.0))
    along = jnp.linspace(250.0, 500.0, 1001)
    cross = CROSS(road, jnp.full(1001, 1), along)
    beside = np.asarray(cross.right) >= 0
    assert beside.any()
    np.testing.assert_allclose(cross.along_right[beside], along[beside] - 101.0, atol=1e-6)
    ramp = CROSS(road, jnp.full(1001, 2), along - 101.0)
    on = np.asarray(ramp.left) >= 0
    np.testing.assert_allclose(ramp.along_left[on], along[on], atol=1e-6)


def test_arc_lengths_beside_pieces_of_another_lane_never_jump():
    """The lane on the right is cut at 50 m, where a second way joins it."""
    x = np.linspace(0.0, 100.0, 101)

    def straight(name, low, high, top, **more):
        part = x[(x >= low) & (x <= high)]
        return Lane(
            name, np.stack([part, part * 0 + top], 1), np.stack([part, part * 0 + top - 3.5], 1), **more
        )

    turn = np.stack([x[:51], -10 - 5.25 + 0.2 * x[:51]], axis=1)
    lanes = [
        straight("left a", 0, 50, 0.0, successors=("left b",), right_neighbour="a"),
        straight("left b", 50, 100, 0.0, right_neighbour="b"),
        straight("a", 0, 50, -3.5, successors=("b",), left_neighbour="left a"),
        straight("b", 50, 100, -3.5, left_neighbour="left b"),
        Lane("joins", turn + np.array([0, 1.75]), turn - np.array([0, 1.75]), successors=("b",)),
    ]
    road = road_from_lanes(lanes, spacing=3.0)
    along = jnp.linspace(0.0, 100.0, 801)
    cross = CROSS(road, jnp.zeros(801, int), along)
    a, b = int(np.asarray(cross.right)[0]), int(np.asarray(cross.right)[-1])
    assert a != b
    wanted = np.where(np.asarray(cross.right) == a, along, along - 50.0)
    np.testing.assert_allclose(cross.along_right, wanted, atol=1e-6)


def test_a_ring_goes_round():
    road = ring_road(2, 300.0)
    assert road.successors[:, 0].tolist() == [0, 1]
    np.testing.assert_allclose(road.length, [300.0, 300.0 + 2 * np.pi * 3.5], rtol=1e-3)
    x, y, heading = PLACE(road, jnp.zeros(2, int), jnp.array([0.0, 299.99]), jnp.zeros(2))
    np.testing.assert_allclose([x[1], y[1]], [x[0], y[0]], atol=0.05)
    np.testing.assert_allclose(heading[1] - heading[0], 2 * np.pi, atol=0.02)
    middle = AT(road, jnp.ones(30, int), jnp.linspace(5.0, 310.0, 30))
    np.testing.assert_allclose(np.hypot(middle.x, middle.y), 300 / (2 * np.pi) + 3.5, atol=0.05)
