import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.believed import PLACES
from foresee.driving.make_road import ring_road, straight_road
from foresee.driving.make_world import make_world
from foresee.driving.neighbours import FAR
from foresee.driving.observe import POINTS_AHEAD, observe
from foresee.driving.reactive import see, steer
from foresee.driving.sensing import know_exactly

COUNT = 14


@functools.cache
def road(kind):
    """Two roads of the same shape, so that what is compiled for one serves the other."""
    ring = ring_road(3, 300.0, spacing=10.0)
    length = (ring.line.shape[1] - 2) * 10.0 - 1.0
    return ring if kind == "ring" else straight_road(3, length, spacing=10.0)


def traffic(kind, seed):
    rng = np.random.default_rng(seed)
    slots = rng.permutation(3 * 12)[:COUNT]
    world = make_world(
        road(kind),
        jnp.asarray(slots % 3),
        jnp.asarray(25.0 * (slots // 3) + rng.uniform(0, 15, COUNT)),
        jnp.asarray(rng.uniform(15, 30, COUNT)),
        length=jnp.asarray(rng.uniform(3.5, 8.0, COUNT)),
        offset=jnp.asarray(rng.uniform(-1.6, 1.6, COUNT)),
        check=False,
    )
    tilted = world.heading + jnp.asarray(rng.uniform(-0.05, 0.05, COUNT))
    return eqx.tree_at(lambda w: w.heading, world, tilted)


@jax.jit
def look(world):
    """What every vehicle's driver is shown if it knows all exactly, and what the traffic model sees."""

    def one(ego):
        view = observe(world, ego, know_exactly(world, ego))
        return view.neighbours, view.keep_lane(), view.angle, view.lane_curvature, view.curvature_ahead

    return jax.vmap(one)(jnp.arange(COUNT)), (see(world, 0), see(world, 1)), steer(world)


@pytest.mark.parametrize("kind", ["straight", "ring"])
def test_whoever_knows_exactly_sees_what_the_traffic_sees(kind):
    compared = 0
    for seed in range(4):
        world = traffic(kind, seed)
        (seen, *_), (left, right), _ = jax.tree.map(np.asarray, look(world))
        cross = world.road.cross(world.lane, world.along)
        sides = ((left.own, None), (left.aside, cross.left), (right.aside, cross.right))
        for side, (around, lane) in enumerate(sides):
            for end, (slot, gap) in enumerate(
                ((around.ahead, around.to_ahead), (around.behind, around.to_behind))
            ):
                for ego in range(COUNT):
                    if lane is not None and (lane[ego] < 0 or lane[ego] == left.second_lane[ego]):
                        continue
                    alone = slot[ego] in (-1, ego)  # alone on a ring one is one's own leader
                    place = 2 * side + end
                    assert seen.exists[ego, place] == (not alone), (ego, PLACES[place])
                    assert seen.slot[ego, place] == (-1 if alone else slot[ego]), (ego, PLACES[place])
                    if alone:
                        assert seen.gap[ego, place] == FAR
                    else:
                        np.testing.assert_allclose(seen.gap[ego, place], gap[ego], atol=1e-6)
                        compared += 1
    assert compared > 100


def test_speeds_and_offsets_on_a_straight_road():
    world = traffic("straight", 1)
    (seen, _, angle, _, _), _, _ = jax.tree.map(np.asarray, look(world))
    y, heading, speed = (np.asarray(values) for values in (world.y, world.heading, world.speed))
    np.testing.assert_allclose(angle, heading, atol=1e-12)
    along = speed * np.cos(heading)
    for ego in range(COUNT):
        for place, name in enumerate(PLACES):
            who = seen.slot[ego, place]
            if who < 0:
                assert seen.lateral[ego, place] == seen.closing[ego, place] == seen.speed[ego, place] == 0.0
                continue
            sign = 1 if "ahead" in name else -1
            np.testing.assert_allclose(seen.lateral[ego, place], y[who] - y[ego], atol=1e-9)
            np.testing.assert_allclose(seen.speed[ego, place], along[who], atol=1e-9)
            np.testing.assert_allclose(seen.closing[ego, place], sign * (along[ego] - along[who]), atol=1e-9)


@pytest.mark.parametrize("kind", ["straight", "ring"])
def test_keeping_the_lane_is_how_reactive_drivers_keep_it(kind):
    (_, kept, _, curvature, ahead), _, steered = look(traffic(kind, 2))
    np.testing.assert_allclose(kept, steered, atol=1e-12)
    assert ahead.shape == (COUNT, len(POINTS_AHEAD))
    if kind == "ring":
        radius = 300.0 / (2 * np.pi)
        assert np.all((curvature < 1.01 / radius) & (curvature > 0.99 / (radius + 7.0)))
        np.testing.assert_allclose(ahead, np.broadcast_to(curvature[:, None], ahead.shape), rtol=2e-3)


@jax.jit
def shown(world, beliefs):
    view = observe(world, 0, beliefs)
    return eqx.tree_at(lambda v: v.road, view, None), view.left_ahead


def placed():
    """The ego in the middle, one ahead, one on the left, one far behind on the right."""
    return make_world(
        road("straight"),
        jnp.asarray([1, 1, 0, 2]),
        jnp.asarray([100.0, 130.0, 112.0, 60.0]),
        jnp.asarray([20.0, 18.0, 25.0, 22.0]),
        offset=jnp.asarray([0.5, 0.0, 0.0, 0.0]),
        check=False,
    )


def test_only_beliefs_tell_about_others():
    """Nothing changes when the truth about the others does, as long as the beliefs stay."""
    world = placed()
    beliefs = know_exactly(world, 0)
    moved = jnp.asarray([0.0, 3.0, -2.0, 4.0])
    other = eqx.tree_at(
        lambda w: (w.x, w.y, w.speed, w.heading, w.acceleration, w.lane, w.along, w.offset, w.target),
        world,
        (
            world.x + moved,
            world.y + 0.3 * moved,
            world.speed - moved,
            world.heading + 0.01 * moved,
            moved,
            jnp.asarray([1, 0, 1, 1], jnp.int32),
            world.along + moved,
            world.offset + moved.at[0].set(0.0),
            jnp.asarray([1, 2, 2, 2], jnp.int32),
        ),
    )
    one, two = shown(world, beliefs)[0], shown(other, beliefs)[0]
    for before, after in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-9)


def test_the_road_around_and_the_doubt():
    world, rng = placed(), np.random.default_rng(0)
    beliefs = know_exactly(world, 0)
    factor = rng.normal(size=(4, 4, 4))
    covariance = factor @ np.swapaxes(factor, 1, 2)
    beliefs = eqx.tree_at(lambda b: b.covariance, beliefs, jnp.asarray(covariance))
    view, left_ahead = shown(world, beliefs)
    np.testing.assert_allclose([view.edge_left, view.edge_right], [1.75 + 3.5 - 0.5, 1.75 + 3.5 + 0.5])
    assert bool(view.has_left)
    assert bool(view.has_right)
    assert not bool(view.continues)
    assert not bool(view.closed)
    assert np.isinf(view.speed_limit)
    np.testing.assert_allclose(view.to_end, world.road.length[1] - 100.0)
    np.testing.assert_allclose([view.speed, view.offset, view.angle, view.lane_width], [20.0, 0.5, 0.0, 3.5])
    np.testing.assert_array_equal(view.neighbours.slot, [1, -1, 2, -1, -1, 3])
    np.testing.assert_allclose(view.neighbours.gap[0], 30.0 - 4.7)
    np.testing.assert_allclose(view.neighbours.lateral[jnp.asarray([0, 2, 5])], [-0.5, 3.0, -4.0], atol=1e-9)
    assert int(left_ahead.slot) == 2
    for place, who in ((0, 1), (2, 2), (5, 3)):
        found = [getattr(view.neighbours, name)[place] for name in ("gap_sd", "lateral_sd", "speed_sd")]
        np.testing.assert_allclose(found, np.sqrt(np.diag(covariance[who])[:3]), rtol=1e-9)
    assert view.neighbours.gap_sd[1] == 0.0


def test_a_believed_place_decides_about_the_lane():
    """Who is believed to be two lanes further on is seen there; who is on a marking is seen on both lanes."""
    world = placed()
    beliefs = know_exactly(world, 0)
    mean = beliefs.mean.at[2, 1].set(-7.0).at[1, 1].set(-3.5 - 1.5)
    view, _ = shown(world, eqx.tree_at(lambda b: b.mean, beliefs, mean))
    np.testing.assert_array_equal(view.neighbours.slot, [1, -1, -1, -1, 2, 3])
    unknown = eqx.tree_at(lambda b: b.known, beliefs, jnp.zeros(4, bool))
    assert not shown(world, unknown)[0].neighbours.exists.any()


def test_derivatives_are_finite_where_nothing_is_in_doubt():
    world = placed()
    beliefs = know_exactly(world, 0)

    def total(mean, covariance):
        with_them = eqx.tree_at(lambda b: (b.mean, b.covariance), beliefs, (mean, covariance))
        ahead = observe(world, 0, with_them).ahead
        return ahead.gap + 10 * ahead.closing + 100 * ahead.lateral + ahead.gap_sd

    by_mean, by_covariance = jax.jit(jax.grad(total, (0, 1)))(beliefs.mean, beliefs.covariance)
    np.testing.assert_allclose(by_mean[1], [1.0, 100.0, -10.0, 0.0], atol=1e-9)
    assert np.isfinite(by_covariance).all()
