"""The three forms of an observation for networks, each against plain NumPy on a ring with a turned ego."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.believed import PLACES
from foresee.driving.make_road import ring_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.polylines import AGENT, POINT, polylines
from foresee.driving.raster import MARKING, raster
from foresee.driving.sensing import know_exactly
from foresee.driving.vector import PLAIN, layout, vector

COUNT, LANES, AROUND, WIDTH, EGO = 6, 3, 300.0, 3.5, 2
RADIUS, CELL, SPACING = AROUND / (2 * np.pi), 0.5, 2.0


@jax.jit
def build(world, beliefs):
    view = observe(world, EGO, beliefs)
    sets = polylines(view, agents=8, pieces=10, points=5, stride=1)
    return eqx.tree_at(lambda v: v.road, view, None), vector(view), sets, raster(view, cell=CELL)


@pytest.fixture(scope="module")
def world():
    world = make_world(
        ring_road(LANES, AROUND, width=WIDTH, spacing=SPACING),
        jnp.asarray([0, 1, 1, 2, 0, 1]),
        jnp.asarray([40.0, 75.0, 55.0, 63.0, 200.0, 35.0]),
        jnp.asarray([20.0, 25.0, 22.0, 24.0, 23.0, 21.0]),
    )
    return eqx.tree_at(lambda w: w.heading, world, world.heading.at[EGO].add(0.1))


@pytest.fixture(scope="module")
def beliefs(world):
    factor = np.random.default_rng(1).normal(size=(COUNT, 4, 4))
    beliefs = know_exactly(world, EGO)
    beliefs = eqx.tree_at(lambda b: b.covariance, beliefs, jnp.asarray(factor @ np.swapaxes(factor, 1, 2)))
    return eqx.tree_at(lambda b: b.known, beliefs, beliefs.known.at[4].set(False))


@pytest.fixture(scope="module")
def built(world, beliefs):
    return build(world, beliefs)


def turned(world, x, y):
    """Places seen from the ego: ahead and to the left."""
    dx, dy = x - float(world.x[EGO]), y - float(world.y[EGO])
    c, s = np.cos(float(world.heading[EGO])), np.sin(float(world.heading[EGO]))
    return c * dx + s * dy, c * dy - s * dx


def test_the_vector_holds_what_its_names_say(built):
    view, values, _, _ = built
    names = layout()
    assert len(names) == len(set(names)) == len(values)
    assert PLAIN == 29 == 5 + 4 * len(PLACES)
    found = {name.split(" [")[0]: float(value) for name, value in zip(names, values, strict=True)}
    np.testing.assert_allclose(found["speed"], view.speed / 10.0)
    np.testing.assert_allclose(found["offset"], view.offset / 3.5)
    np.testing.assert_allclose(found["angle"], view.angle / 0.1)
    np.testing.assert_allclose(found["lane_curvature 40 m ahead"], view.curvature_ahead[2] / 0.02)
    np.testing.assert_allclose(found["edge_right"], view.edge_right / 3.5)
    assert found["to_end"] == 1.0  # a ring has no end
    around = view.neighbours
    for i, place in enumerate(PLACES):
        assert found[f"{place}.exists"] == float(around.exists[i])
        np.testing.assert_allclose(found[f"{place}.gap"], min(around.gap[i], 100.0) / 50.0)
        np.testing.assert_allclose(found[f"{place}.lateral"], around.lateral[i] / 3.5)
        np.testing.assert_allclose(found[f"{place}.closing"], around.closing[i] / 10.0)
        np.testing.assert_allclose(found[f"{place}.gap_sd"], around.gap_sd[i] / 50.0)
        np.testing.assert_allclose(found[f"{place}.speed_sd"], around.speed_sd[i] / 10.0)
    assert np.all(np.abs(values) < 10.0)


def test_agents_are_turned_into_the_frame_of_the_ego(world, beliefs, built):
    sets = built[2]
    known = np.flatnonzero(np.asarray(beliefs.known))
    np.testing.assert_array_equal(np.asarray(sets.agent_there), np.arange(8) < len(known))
    ahead, left = turned(world, np.asarray(beliefs.mean[:, 0]), np.asarray(beliefs.mean[:, 1]))
    order = known[np.argsort(np.hypot(ahead, left)[known])]
    c, s = np.cos(float(world.heading[EGO])), np.sin(float(world.heading[EGO]))
    turn = np.kron(np.eye(2), np.array([[c, s], [-s, c]]))
    for row, who in zip(np.asarray(sets.agents), order, strict=False):
        found = dict(zip(AGENT, row, strict=True))
        np.testing.assert_allclose([found["x"], found["y"]], [ahead[who], left[who]])
        velocity = turn[:2, :2] @ np.asarray(beliefs.mean[who, 2:])
        np.testing.assert_allclose([found["vx"], found["vy"]], velocity)
        sds = np.sqrt(np.diag(turn @ np.asarray(beliefs.covariance[who]) @ turn.T))
        np.testing.assert_allclose([found[n] for n in ("x_sd", "y_sd", "vx_sd", "vy_sd")], sds)
        difference = found["angle"] - float(world.heading[who] - world.heading[EGO])
        # The polygon through samples of the ring is not quite the ring.
        assert abs((difference + np.pi) % (2 * np.pi) - np.pi) < 0.01
        np.testing.assert_allclose([found["length"], found["width"]], [4.7, 1.9])
    assert not np.asarray(sets.agents)[len(known) :].any()


def test_pieces_are_the_nearest_of_all(world, built):
    sets, road = built[2], world.road
    line, length = np.asarray(road.line), np.asarray(road.length)
    pieces = []
    for lane in range(LANES):
        for start in range(0, int(length[lane] // SPACING), 4):
            samples = [k for k in range(start, start + 5) if SPACING * (k - 1) < length[lane]]
            ends = np.minimum(SPACING * np.array(samples), length[lane]) / SPACING
            points = np.stack([np.interp(ends, np.arange(len(line[lane])), line[lane, :, k]) for k in (0, 1)])
            pieces.append(np.stack(turned(world, *points), axis=1))
    pieces.sort(key=lambda piece: np.hypot(*piece.T).min())
    for i in range(10):
        there = np.asarray(sets.point_there[i])
        np.testing.assert_allclose(np.asarray(sets.lanes[i])[there, :2], pieces[i], atol=1e-9)
        assert not np.asarray(sets.lanes[i])[~there].any()
    first = dict(zip(POINT, np.asarray(sets.lanes[0, 0]), strict=True))
    assert first["speed_limit"] == 50.0
    assert first["closed"] == 0.0
    np.testing.assert_allclose(first["width"], WIDTH, atol=0.02)
    np.testing.assert_allclose(first["cos"] ** 2 + first["sin"] ** 2, 1.0)


def cells(world):
    """Centres of the cells of the default picture, in the ego's frame and their distance from the ring's."""
    ahead, left = np.meshgrid((58 - np.arange(117)) * CELL, (11.5 - np.arange(24)) * CELL, indexing="ij")
    c, s = np.cos(float(world.heading[EGO])), np.sin(float(world.heading[EGO]))
    x = float(world.x[EGO]) + c * ahead - s * left
    return ahead, left, np.hypot(x, float(world.y[EGO]) + s * ahead + c * left)


def test_the_picture_shows_road_and_vehicles_where_they_are(world, built):
    markings, _, own, drivable = np.asarray(raster_exact(world))
    ahead, left, radius = cells(world)
    inside = np.minimum(radius - (RADIUS - 0.5 * WIDTH), RADIUS + 2.5 * WIDTH - radius)
    # Lanes are drawn as segments of 6 m, which cut a bend of this radius by a decimetre.
    near = np.hypot(ahead, left) < 20.0  # farther away there may be nearer pieces of lanes than are drawn
    assert np.all(drivable[near & (inside > CELL + 0.1)] == 1.0)
    assert np.all(drivable[near & (inside < -CELL - 0.1)] == 0.0)
    to_marking = np.abs(radius[..., None] - (RADIUS + WIDTH * (np.arange(4) - 0.5))).min(axis=-1)
    assert np.all(markings[near & (to_marking < 0.1)] > 0.5 + 0.5 * MARKING / CELL - 0.2 / CELL - 0.01)
    assert np.all(markings[near & (to_marking > 0.5 * MARKING + CELL + 0.1)] == 0.0)
    np.testing.assert_allclose(own.sum() * CELL**2, 4.7 * 1.9, rtol=1e-3)
    assert own[58, 11] > 0.99
    assert np.all(own[np.abs(ahead) > 4.0] < 1e-3)
    blurred = np.asarray(built[3])[1]
    assert blurred.max() < 0.9  # by the doubt about where they are


def raster_exact(world):
    return build(world, know_exactly(world, EGO))[3]


def test_others_cover_their_area_where_they_are(world):
    alone = eqx.tree_at(lambda w: w.alive, world, jnp.arange(COUNT) < 4)
    alone = eqx.tree_at(lambda w: w.alive, alone, alone.alive.at[jnp.asarray([0, 1])].set(False))
    others = np.asarray(raster_exact(alone))[1]
    ahead, left, _ = cells(world)
    np.testing.assert_allclose(others.sum() * CELL**2, 4.7 * 1.9, rtol=1e-3)
    centre = (others * ahead).sum() / others.sum(), (others * left).sum() / others.sum()
    expected = turned(world, float(world.x[3]), float(world.y[3]))
    np.testing.assert_allclose(centre, expected, atol=1e-3)


def test_the_picture_has_derivatives(world):
    """Moving another vehicle moves the picture of it: against a finite difference."""
    view = build(world, know_exactly(world, EGO))[0]
    view = eqx.tree_at(lambda v: v.road, view, world.road, is_leaf=lambda leaf: leaf is None)

    def weighed(shift):
        moved = eqx.tree_at(lambda v: v.beliefs.mean, view, view.beliefs.mean.at[3, 0].add(shift))
        picture = raster(moved, height=20, width=10, cell=1.5, agents=3, pieces=4)
        return jnp.sum(picture[1] * jnp.arange(20.0)[:, None])

    value = jax.jit(lambda shift: jax.jvp(weighed, (shift,), (jnp.ones(()),)))
    slope = (value(jnp.asarray(1e-4))[0] - value(jnp.asarray(-1e-4))[0]) / 2e-4
    np.testing.assert_allclose(value(jnp.asarray(0.0))[1], slope, rtol=1e-5)
    assert abs(slope) > 0.1
