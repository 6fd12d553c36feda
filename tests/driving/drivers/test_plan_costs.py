# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import expected
from foresee.driving.drivers.costs import NAMES, Costs
from foresee.driving.drivers.plan import roll_out
from foresee.driving.drivers.plan_costs import expected_cost, expected_ramps, plan_terms, position_of
from foresee.driving.forecast import Futures
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.observe import observe
from foresee.driving.sensing import know_exactly

LENGTH, WIDTH, LANE = 4.7, 1.9, 3.5
STILL, KEY = jnp.zeros(2), jax.random.key(0)
TIMES = jnp.asarray([0.0, 1.0, 2.0, 3.0])
ACTIONS = jnp.asarray([[0.5, 3e-3], [-1.0, 1e-3], [-0.5, -4e-3]])
STARTS = np.asarray([0.0, 16.7, -24.7, 1.0, 90.0])
SPEEDS = np.asarray([20.0, 14.0, 23.0, 19.0, 25.0])
SIDES = np.asarray([0.3, 0.0, 0.5, 3.5, -3.5])  # to the left of the middle of the ego's lane [m]


@jax.jit
def judge(actions, view, futures, costs, slots=None):
    plan = roll_out(view, actions, 1.0)
    inputs = (plan, futures, view, costs, jnp.asarray([0.5, 0.0]), 22.0, slots)
    return plan, plan_terms(*inputs), expected_cost(*inputs)


@pytest.fixture(scope="module")
def view():
    """The ego at 20 m/s on the middle one of three lanes, with others 12 m ahead, 20 m behind and beside."""
    road = straight_road(3, 800.0)
    world = make_world(
        road, jnp.asarray([1, 1, 1, 0, 2]), 100.0 + jnp.asarray(STARTS), jnp.asarray(SPEEDS),
        offset=jnp.asarray([0.3, 0.0, 0.5, 0.0, 0.0]),
    )  # fmt: skip
    return jax.jit(lambda world: observe(world, 0, know_exactly(world, 0)))(world)


@pytest.fixture(scope="module")
def futures(view):
    """Two futures each: on at one's speed, or braking and drifting to the right."""
    start = jnp.asarray([view.x - STARTS[0], view.y - SIDES[0]])
    times, both = np.asarray(TIMES), np.asarray([0.0, -1.5])[:, None]
    x = float(start[0]) + STARTS[:, None, None] + SPEEDS[:, None, None] * times + 0.5 * both * times**2
    y = float(start[1]) + SIDES[:, None, None] + 0.3 * both * times + 0 * x
    grow = np.broadcast_to(times, x.shape)
    weights = np.broadcast_to([0.7, 0.3], (5, 2))
    leaves = (x, y, 0 * x, 0.5 + 1.5 * grow, 0.2 + 0.2 * grow, weights)
    known = jnp.asarray([False, True, True, True, True])
    return Futures(TIMES, *(jnp.asarray(leaf, float) for leaf in leaves), known)


def trapezoid(x, half, before, after):
    return np.clip(np.minimum(1 + (x + half) / before, 1 - (x - half) / after), 0, 1)


@pytest.mark.parametrize("sd", [0.0, 0.3, 3.0, 30.0])
def test_the_mean_of_the_ramps_is_the_integral(sd):
    place = np.linspace(-60, 60, 41)
    half, before, after = 4.7, 10.0, 25.0
    found = expected_ramps(*(jnp.asarray(v, float) for v in (place, place * 0 + sd, half, before, after)))
    z = np.linspace(-8, 8, 20_001)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    twin = np.trapezoid(density * trapezoid(place[:, None] + sd * z, half, before, after), z, axis=1)
    np.testing.assert_allclose(found, twin, atol=1e-3 if sd == 0 else 1e-5)
    numbers = [jnp.asarray(v, float) for v in (place, place * 0 + sd, half, before, after)]
    np.testing.assert_allclose(jax.jit(expected_ramps)(*numbers), found, atol=1e-12)


def nearness_and_touch(place, own):
    """Proximity of one vehicle at a place, and whether boxes parallel to the road touch."""
    x, y, heading, speed = own
    c, s = jnp.abs(jnp.cos(heading)), jnp.abs(jnp.sin(heading))
    apart, side = jnp.abs(place - jnp.stack([x, y]))
    side = side - 0.5 * (LENGTH * s + WIDTH * c) - 0.5 * WIDTH
    near = jnp.clip(1 - (apart - LENGTH) / (1.5 * speed + 1), 0, 1) * jnp.clip(1 - side, 0, 1)
    touch = (apart < 0.5 * (LENGTH + LENGTH * c + WIDTH * s)) & (side < 0)
    return jnp.stack([near, touch.astype(float)])


@jax.jit
def drawn(futures, plan):
    """The mean of both for every vehicle at every time, over draws."""
    own = jnp.stack([plan.x, plan.y, plan.heading, plan.speed], axis=-1)

    def one(vehicle, time):
        key = jax.random.fold_in(KEY, 10 * vehicle + time)
        return expected(
            position_of(futures, vehicle, time), lambda x: nearness_and_touch(x, own[time]), 4000, key=key
        )

    return jax.vmap(lambda vehicle: jax.vmap(lambda time: one(vehicle, time))(jnp.arange(4)))(jnp.arange(5))


def test_mean_and_expected_over_draws_agree(view, futures):
    """The closed forms are what `expected` tends to, over draws of the same futures."""
    plan, terms, _ = judge(ACTIONS, view, futures, Costs())
    nearness, risks = np.moveaxis(np.array(drawn(futures, plan)), -1, 0)
    np.testing.assert_allclose(terms["proximity"], nearness[1:].max(axis=0), atol=0.02)
    # The first is the ego itself; the third is behind, and would be to blame.
    assert int(view.behind.slot) == 2
    risks[[0, 2]] = 0
    np.testing.assert_allclose(terms["risk"], 1 - np.prod(1 - risks, axis=0), atol=0.02)
    assert float(terms["risk"].max()) > 0.1 < nearness[1:].max()


def test_the_terms_of_the_way_are_those_of_each_moment(view, futures):
    costs = Costs()
    plan, terms, total = judge(ACTIONS, view, futures, costs)
    sides = np.asarray(plan.y - view.y) + SIDES[0]
    heading = np.asarray(plan.heading)
    reach = 0.5 * (LENGTH * np.abs(np.sin(heading)) + WIDTH * np.cos(heading))
    assert np.abs(sides).max() > LANE / 2  # so far that another lane is nearer
    wave = np.abs(sides - LANE * np.round(np.clip(sides / LANE, -1, 1)))
    np.testing.assert_allclose(terms["lane"], wave / (LANE / 2), atol=1e-9)
    np.testing.assert_allclose(
        terms["off_road"], np.maximum(np.abs(sides) + reach - 1.5 * LANE, 0), atol=1e-9
    )
    np.testing.assert_allclose(
        terms["progress"], np.maximum(1 - plan.speed * np.cos(heading) / 22.0, 0), atol=1e-9
    )
    before = np.concatenate([[[0.5, 0.0]], ACTIONS[:-1]])
    jerk, swerve = (np.asarray(ACTIONS) - before).T
    square = np.asarray(plan.speed[:-1]) ** 2
    felt = (jerk / 4.13) ** 2 + (square * swerve / 8.37) ** 2 + (square * ACTIONS[:, 1] / 4.89) ** 2
    np.testing.assert_allclose(terms["comfort"], np.concatenate([[0.0], felt]), rtol=1e-9)
    weights = {"proximity": 1, "lane": 0.2, "off_road": 1, "progress": 0.5, "comfort": 0.05, "risk": 5}
    assert sorted(terms) == sorted(weights) == sorted(NAMES)
    each = sum(weight * np.asarray(terms[name]) for name, weight in weights.items())[1:]
    kept = 0.99 ** (10 * np.asarray(TIMES[1:]))
    assert float(total) == pytest.approx((kept @ each) / kept.sum())


def test_now_and_without_doubt_a_plan_costs_what_the_moment_costs(view, futures):
    sure = eqx.tree_at(lambda f: (f.along_sd, f.across_sd), futures, (0 * futures.x, 0 * futures.x))
    _, terms, _ = judge(ACTIONS, view, sure, Costs())
    moment = jax.jit(lambda view: Costs().terms(view, STILL, STILL, 0.1, 22.0))(view)
    for name in ("proximity", "lane", "off_road", "progress"):
        assert float(terms[name][0]) == pytest.approx(float(moment[name]), abs=2e-3), name


def test_only_the_chosen_vehicles_count(view, futures):
    _, every, _ = judge(ACTIONS, view, futures, Costs())
    _, near, _ = judge(ACTIONS, view, futures, Costs(), jnp.asarray([1, 2, 3]))
    _, far, _ = judge(ACTIONS, view, futures, Costs(), jnp.asarray([2, 4, 0]))
    np.testing.assert_allclose(near["proximity"], every["proximity"], atol=1e-3)
    assert float(far["risk"].max()) < 1e-3 < float(near["risk"].max())
    nobody = eqx.tree_at(lambda f: f.known, futures, jnp.zeros(5, bool))
    _, none, _ = judge(ACTIONS, view, nobody, Costs())
    for name in ("proximity", "risk"):
        np.testing.assert_array_equal(none[name], np.zeros(4))


def test_slopes_are_finite_and_point_the_right_way(view, futures):
    slope = jax.jit(jax.grad(lambda *inputs: judge(*inputs)[2], argnums=(0, 2, 3), allow_int=True))
    standing = eqx.tree_at(lambda v: v.speed, view, jnp.zeros_like(view.speed))
    certain = eqx.tree_at(lambda f: (f.along_sd, f.across_sd), futures, (0 * futures.x, 0 * futures.x))
    surely = eqx.tree_at(lambda f: f.weights, certain, jnp.broadcast_to(jnp.asarray([1.0, 0.0]), (5, 2)))
    together = eqx.tree_at(lambda f: (f.x, f.y), surely, (0 * futures.x + view.x, 0 * futures.x + view.y))
    nobody = eqx.tree_at(lambda f: f.known, together, jnp.zeros(5, bool))
    for seen, there in (
        (view, futures),
        (standing, certain),
        (view, surely),
        (view, together),
        (standing, nobody),
    ):
        leaves = slope(0 * ACTIONS, seen, there, Costs())
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(leaves) if leaf.dtype == float)
    wall = eqx.tree_at(lambda f: f.x, futures, jnp.broadcast_to(futures.x[..., :1], futures.x.shape) + 25.0)
    assert (slope(0 * ACTIONS, view, wall, Costs())[0][:2, 0] > 0).all()  # less speed before who stands


def test_in_batches_and_in_float32_the_same(view, futures):
    several = jnp.stack([ACTIONS, -ACTIONS])
    together = jax.jit(jax.vmap(lambda actions: judge(actions, view, futures, Costs())[2]))(several)
    single = [float(judge(actions, view, futures, Costs())[2]) for actions in several]
    np.testing.assert_allclose(together, single, rtol=1e-12)
    short = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        (ACTIONS, view, futures, Costs()),
    )
    assert float(judge(*short)[2]) == pytest.approx(single[0], rel=1e-4)


def test_a_belief_about_one_place_has_the_moments_of_the_future(futures):
    turned = eqx.tree_at(lambda f: f.heading, futures, futures.heading + 0.5 * jnp.pi)
    for those, order in ((futures, (0, 1)), (turned, (1, 0))):
        belief = position_of(those, 3, 2)
        np.testing.assert_allclose(belief.weights(), [0.7, 0.3])
        mean = np.asarray([those.x[3, :, 2], those.y[3, :, 2]])
        np.testing.assert_allclose(belief.mean(), mean @ [0.7, 0.3])
        sds = np.asarray([3.5, 0.6])[list(order)]
        np.testing.assert_allclose(belief.component(0).covariance, np.diag(sds**2), atol=1e-12)
