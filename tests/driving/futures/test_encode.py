"""What a network is told: the same wherever the road is and whichever way it runs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.futures.encode import OTHER, OWN, Snapshot, encode, from_lane, to_lane


def scene(bend=0.0):
    count = 5
    draw = np.random.default_rng(0)
    numbers = {name: draw.normal(size=count) for name in ("x", "y", "offset", "position_sd", "velocity_sd")}
    flags = {name: jnp.asarray(draw.random(count) < 0.5) for name in ("has_left", "has_right", "closed")}
    return Snapshot(
        **{name: jnp.asarray(10 * values) for name, values in numbers.items()},
        vx=jnp.asarray(10 + draw.normal(size=count)),
        vy=jnp.asarray(draw.normal(size=count)),
        before_x=jnp.asarray(draw.normal(size=(2, count))),
        before_y=jnp.asarray(draw.normal(size=(2, count))),
        before_seen=jnp.asarray([[True] * 5, [True, True, False, True, True]]),
        length=jnp.full(count, 4.5),
        width=jnp.full(count, 1.8),
        lane_heading=jnp.asarray(0.1 * draw.normal(size=count)),
        lane_curvature=jnp.full(count, bend),
        lane_width=jnp.full(count, 3.5),
        to_end=jnp.full(count, 200.0),
        known=jnp.asarray([True, True, True, True, False]),
        **flags,
    )


def moved(before, angle, shift):
    c, s = np.cos(angle), np.sin(angle)

    def turn(x, y):
        return c * x - s * y, s * x + c * y

    x, y = turn(before.x, before.y)
    vx, vy = turn(before.vx, before.vy)
    before_x, before_y = turn(before.before_x, before.before_y)
    return replace(
        before, x=x + shift[0], y=y + shift[1], vx=vx, vy=vy, before_x=before_x + shift[0],
        before_y=before_y + shift[1], lane_heading=before.lane_heading + angle,
    )  # fmt: skip


def test_nothing_depends_on_where_the_road_is_or_which_way_it_runs():
    here, there = encode(scene(), 4), encode(moved(scene(), 1.3, (200.0, -70.0)), 4)
    assert here.own.shape == (5, OWN)
    assert here.others.shape == (5, 4, OTHER)
    for one, other in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_who_is_not_known_is_told_of_to_nobody():
    told = encode(scene(), 4)
    assert not told.there[4].any()
    assert (told.own[4] == 0).all()
    np.testing.assert_array_equal(told.there.sum(axis=1), [3, 3, 3, 3, 0])
    gone = replace(scene(), x=scene().x.at[4].set(3.0), vx=scene().vx.at[4].set(1e6))
    for one, other in zip(jax.tree.leaves(told), jax.tree.leaves(encode(gone, 4)), strict=True):
        np.testing.assert_array_equal(one[:4], other[:4])


@pytest.mark.parametrize("bend", [0.0, 1e-9, 0.01, -0.02])
def test_places_along_a_bend_and_on_the_map_undo_each_other(bend):
    here = scene(bend)
    along = jnp.asarray(np.linspace(-5, 40, 6))[None, None] * jnp.ones((5, 1, 1))
    across = jnp.asarray(np.linspace(-4, 4, 6))[None, None] * jnp.ones((5, 1, 1))
    x, y, direction = from_lane(here, along, across)
    back = to_lane(here, x[:, 0], y[:, 0])
    np.testing.assert_allclose(back[0], along[:, 0], atol=1e-6)
    np.testing.assert_allclose(back[1], across[:, 0], atol=1e-6)
    np.testing.assert_allclose(direction - here.lane_heading[:, None, None], bend * along, atol=1e-9)


def test_slopes_are_finite_where_vehicles_stand_on_each_other():
    def total(x):
        told = encode(replace(scene(), x=x, y=0 * x), 4)
        return told.own.sum() + told.others.sum()

    assert np.isfinite(jax.grad(total)(jnp.zeros(5))).all()
