import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.believed import PLACES
from foresee.driving.drivers.costs import NAMES, Costs, either, traffic_speed
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world
from foresee.driving.neighbours import FAR
from foresee.driving.observe import observe
from foresee.driving.sensing import know_exactly
from foresee.driving.world import step
from foresee.errors import ForeseeError

LENGTH, WIDTH, LANE = 4.7, 1.9, 3.5
STILL = jnp.zeros(2)
seen = jax.jit(lambda world: observe(world, 0, know_exactly(world, 0)))
terms = jax.jit(lambda costs, *inputs: costs.terms(*inputs))
slopes = jax.jit(
    jax.jacrev(
        lambda inputs, costs, view: costs.terms(change(view, inputs[0]), *inputs[1:], 0.1), allow_int=True
    )
)


def change(view, moved):
    """A view with other numbers of the own vehicle and of the neighbours."""
    own, near = moved
    view = eqx.tree_at(lambda v: tuple(getattr(v, name) for name in own), view, tuple(own.values()))
    return eqx.tree_at(
        lambda v: tuple(getattr(v.neighbours, name) for name in near), view, tuple(near.values())
    )


@pytest.fixture(scope="module")
def world():
    """The ego at 20 m/s on the middle one of three lanes, with others 12 m ahead, 20 m behind and beside."""
    road = straight_road(3, 500.0)
    return make_world(
        road,
        jnp.asarray([1, 1, 1, 0, 2]),
        100.0 + jnp.asarray([0.0, 12.0 + LENGTH, -20.0 - LENGTH, 1.0, 90.0]),
        jnp.asarray([20.0, 18.0, 23.0, 19.0, 25.0]),
        offset=jnp.asarray([0.3, 0.0, 0.5, 0.0, 0.0]),
    )


@pytest.fixture(scope="module")
def view(world):
    view = seen(world)
    assert float(view.ahead.gap) == pytest.approx(12.0)
    return view


def nobody(view):
    none = {"exists": jnp.zeros(6, bool), "gap": jnp.full(6, FAR), "slot": jnp.full(6, -1, jnp.int32)}
    zeros = {name: jnp.zeros(6) for name in ("lateral", "speed", "closing")}
    return change(view, ({}, none | zeros))


def normal(z):
    return 0.5 * math.erfc(-z / math.sqrt(2))


def textbook(view, action, last, dt, reference):
    """Every term, written out with the numbers of the papers."""
    v, near = float(view.speed), view.neighbours
    angle = float(view.angle)
    reach = 0.5 * (LENGTH * abs(math.sin(angle)) + WIDTH * abs(math.cos(angle)))
    proximity, missed, listed = 0.0, 1.0, []
    for i, place in enumerate(PLACES):
        if not near.exists[i]:
            continue
        gap, lateral = float(near.gap[i]), float(near.lateral[i])
        along = min(max(1 - gap / (1.5 * v + 1.0), 0.0), 1.0)
        across = min(max(1 - (abs(lateral) - reach - WIDTH / 2) / 1.0, 0.0), 1.0)
        proximity = max(proximity, along * across)
        if place != "behind" and near.slot[i] not in listed:
            p = 0.0
            for later in (0.0, 0.475, 0.95):
                mean = gap - float(near.closing[i]) * later
                sd = math.sqrt(float(near.gap_sd[i]) ** 2 + (float(near.speed_sd[i]) * later) ** 2 + 0.25**2)
                side = lateral - v * math.sin(angle) * later
                side_sd = math.hypot(float(near.lateral_sd[i]), 0.25)
                touch = reach + WIDTH / 2
                long = normal(-mean / sd) - normal(-(mean + 2 * LENGTH) / sd)
                wide = normal((touch - side) / side_sd) - normal((-touch - side) / side_sd)
                p = max(p, long * wide)
            missed *= 1 - p
        listed.append(near.slot[i])
    jerk = (action[0] - last[0]) / dt
    swerve = v**2 * (action[1] - last[1]) / dt
    return {
        "proximity": proximity,
        "lane": min(abs(float(view.offset)) / (0.5 * LANE), 1.0),
        "off_road": max(reach - float(view.edge_left), 0) + max(reach - float(view.edge_right), 0),
        "progress": max(1 - v * math.cos(angle) / reference, 0.0),
        "comfort": (jerk / 4.13) ** 2 + (swerve / 8.37) ** 2 + (v**2 * action[1] / 4.89) ** 2,
        "risk": 1 - missed,
    }


@pytest.mark.parametrize("seed", range(6))
def test_terms_are_those_of_the_papers(view, seed):
    rng = np.random.default_rng(seed)
    own = {
        "speed": rng.uniform(0, 30), "offset": rng.uniform(-2, 2), "angle": rng.normal(0, 0.1),
        "edge_left": rng.uniform(0, 4), "edge_right": rng.uniform(0, 4),
    }  # fmt: skip
    near = {
        "exists": rng.random(6) < 0.8, "gap": rng.uniform(-3, 30, 6), "lateral": rng.normal(0, 2, 6),
        "closing": rng.normal(0, 5, 6), "gap_sd": rng.uniform(0, 2, 6), "lateral_sd": rng.uniform(0, 1, 6),
        "speed_sd": rng.uniform(0, 2, 6), "slot": rng.integers(0, 5, 6),
    }  # fmt: skip
    changed = change(view, jax.tree.map(jnp.asarray, (own, near)))
    # The others keep to their lanes here, and nobody doubts it.
    action, last = rng.normal(size=2) * [2, 0.01], rng.normal(size=2) * [2, 0.01]
    found = terms(Costs(), changed, jnp.asarray(action), jnp.asarray(last), 0.1, jnp.asarray(25.0))
    expected = textbook(changed, action, last, 0.1, 25.0)
    assert tuple(expected) == NAMES == tuple(sorted(found, key=NAMES.index))
    for name in NAMES:
        assert float(found[name]) == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.parametrize(
    ("gap", "lateral", "expected"),
    [
        (31.0, 0.0, 0.0),  # 1.5 s at 20 m/s and a metre
        (15.5, 0.0, 0.5),
        (0.0, 0.0, 1.0),
        (-2.0, 0.0, 1.0),
        (0.0, WIDTH + 1.0, 0.0),
        (0.0, -WIDTH - 0.5, 0.5),
        (15.5, WIDTH + 0.5, 0.25),
        (FAR, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("place", ["ahead", "behind"])
def test_proximity_is_a_ramp_times_a_ramp(view, place, gap, lateral, expected):
    at, empty = PLACES.index(place), nobody(view)
    near = empty.neighbours
    moved = {
        "exists": near.exists.at[at].set(gap < FAR), "gap": near.gap.at[at].set(gap),
        "lateral": near.lateral.at[at].set(lateral), "slot": near.slot.at[at].set(1),
    }  # fmt: skip
    found = terms(Costs(), change(empty, ({}, moved)), STILL, STILL, 0.1)
    assert float(found["proximity"]) == pytest.approx(expected, abs=1e-12)


def test_the_other_terms_at_known_points(view):
    own = {"speed": 15.0, "offset": LANE / 2, "edge_left": 0.2, "edge_right": 9.0, "angle": 0.0}
    changed = change(nobody(view), (jax.tree.map(jnp.asarray, own), {}))
    action, last = jnp.asarray([4.13 * 0.1, 0.0]), STILL
    found = terms(Costs(), changed, action, last, 0.1)
    assert float(found["lane"]) == pytest.approx(1.0)
    assert float(found["off_road"]) == pytest.approx(WIDTH / 2 - 0.2)
    assert float(found["progress"]) == pytest.approx(0.5)  # of the 30 m/s that are driven without a limit
    assert float(found["comfort"]) == pytest.approx(1.0)
    assert float(found["risk"]) == float(found["proximity"]) == 0.0
    slow = eqx.tree_at(lambda v: v.speed_limit, changed, jnp.asarray(20.0))
    assert float(terms(Costs(), slow, STILL, STILL, 0.1)["progress"]) == pytest.approx(0.25)
    bend = jnp.asarray([0.0, 4.89 / 15.0**2])
    assert float(terms(Costs(), changed, bend, bend, 0.1)["comfort"]) == pytest.approx(1.0)


def test_the_call_is_the_weighted_sum_and_weights_are_leaves(view):
    weights = {name: jnp.asarray(float(1 + i)) for i, name in enumerate(NAMES)}
    costs = dataclasses.replace(Costs(), **weights)
    each = terms(costs, view, STILL, STILL, 0.1)
    total = sum((1 + i) * float(each[name]) for i, name in enumerate(NAMES))
    assert len(jax.tree.leaves(costs)) == len(dataclasses.fields(costs))
    value, slope = jax.jit(jax.value_and_grad(lambda costs, view: costs(view, STILL, STILL, 0.1)))(
        costs, view
    )
    assert float(value) == pytest.approx(total)
    for name in NAMES:
        assert float(getattr(slope, name)) == pytest.approx(float(each[name]))


def test_risk_grows_with_doubt_and_counts_nobody_twice(view):
    def risk(**near):
        return float(terms(Costs(), change(view, ({}, near)), STILL, STILL, 0.1)["risk"])

    sure = risk()
    assert 0 <= sure < 1e-3
    doubtful = [risk(gap_sd=jnp.full(6, sd)) for sd in (2.0, 4.0, 8.0)]
    assert sure < doubtful[0] < doubtful[1] < doubtful[2] < 1
    assert risk(speed_sd=jnp.full(6, 10.0)) > sure
    # Somebody close behind on the own lane will be to blame, whatever happens; beside, not.
    close = view.neighbours.gap.at[PLACES.index("behind")].set(0.1)
    assert risk(gap=close) == pytest.approx(sure)
    # Who is listed ahead and ahead on the left at once is one vehicle.
    ahead = {name: getattr(view.neighbours, name) for name in ("gap", "lateral", "closing", "slot", "exists")}
    ahead = {name: leaf.at[0].set(0.2 if name == "gap" else leaf[0]) for name, leaf in ahead.items()}
    twice = {name: leaf.at[2].set(leaf[0]) for name, leaf in ahead.items()}
    assert 0.1 < risk(**twice) < 1
    assert risk(**twice) == pytest.approx(risk(**{**ahead, "exists": ahead["exists"].at[2].set(False)}))


def test_somebody_who_comes_over_is_a_risk(view):
    left = PLACES.index("left_ahead")
    slot = int(view.left_ahead.slot)
    coming = eqx.tree_at(lambda v: v.beliefs.mean, view, view.beliefs.mean.at[slot, 3].add(-3.0))
    doubted = eqx.tree_at(
        lambda v: v.beliefs.covariance, view, view.beliefs.covariance.at[slot, 3, 3].set(4.0)
    )
    assert int(view.neighbours.slot[left]) == slot
    risks = [float(terms(Costs(), v, STILL, STILL, 0.1)["risk"]) for v in (view, doubted, coming)]
    assert risks[0] < 1e-3 < 0.05 < risks[1] < risks[2]


CORNERS = {
    "as it is": ({}, {}),
    "at standstill": ({"speed": 0.0}, {}),
    "in the middle": ({"offset": 0.0, "angle": 0.0}, {"lateral": jnp.zeros(6)}),
    "bumper to bumper": ({}, {"gap": jnp.zeros(6), "lateral": jnp.full(6, WIDTH)}),
    "at the ends of the ramps": ({}, {"gap": jnp.full(6, 31.0), "lateral": jnp.full(6, WIDTH + 1.0)}),
    "on the marking and at the edge": ({"offset": LANE / 2, "edge_left": WIDTH / 2}, {}),
    "at the reference speed": ({"speed": 30.0, "angle": 0.0}, {}),
    "inside of all": ({}, {"gap": jnp.full(6, -LENGTH), "lateral": jnp.zeros(6)}),
    "nobody there": ({}, None),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_slopes_are_finite_at_corners(view, corner):
    own, near = CORNERS[corner]
    names = ("speed", "offset", "angle", "edge_left", "edge_right")
    fields = ("gap", "lateral", "closing", "gap_sd", "lateral_sd", "speed_sd")
    if near is None:
        view, near = nobody(view), {}
    own = {name: jnp.asarray(own.get(name, getattr(view, name)), float) for name in names}
    near = {name: jnp.asarray(near.get(name, getattr(view.neighbours, name)), float) for name in fields}
    slope = slopes(((own, near), STILL, STILL), Costs(), view)
    assert sorted(slope) == sorted(NAMES)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@jax.jit
def later_costs(action, world):
    """Terms after half a second with one action, through the simulator and the observation."""
    world = step(world, jnp.zeros((world.vehicles, 2)).at[0].set(action), 0.5)
    return Costs().terms(observe(world, 0, know_exactly(world, 0)), action, jnp.asarray([1.0, 0.0]), 0.5)


def test_slopes_through_a_step_point_the_right_way(world):
    value = jax.jit(jax.jacfwd(later_costs))(jnp.asarray([0.0, 1e-3]), world)
    assert value["proximity"][0] > 0  # the vehicle ahead is the nearest
    assert value["risk"][0] > 0
    assert value["progress"][0] < 0
    assert value["lane"][1] > 0  # to the left of the middle already
    assert value["comfort"][0] < 0  # after an acceleration of 1 m/s²
    np.testing.assert_array_equal(value["off_road"], [0.0, 0.0])
    for i, width in enumerate((1e-4, 1e-7)):
        start = jnp.asarray([0.0, 1e-3])
        ahead, back = (later_costs(start.at[i].add(way * width), world) for way in (1, -1))
        for name in NAMES:
            difference = (float(ahead[name]) - float(back[name])) / (2 * width)
            assert float(value[name][i]) == pytest.approx(difference, rel=1e-3, abs=1e-5), name


def test_compiled_in_batches_and_in_float32_the_same(view):
    costs, actions = Costs(), jnp.stack([jnp.linspace(-3.0, 2.0, 3), jnp.linspace(-0.01, 0.01, 3)], axis=1)
    together = jax.jit(jax.vmap(costs.terms, (None, 0, None, None)))(view, actions, STILL, 0.1)
    short = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        (costs, view, actions, STILL),
    )
    plain = costs.terms(view, actions[2], STILL, 0.1)
    for i, action in enumerate(actions):
        compiled = terms(costs, view, action, STILL, 0.1)
        small = terms(*short[:2], short[2][i], short[3], 0.1)
        for name in NAMES:
            assert float(together[name][i]) == pytest.approx(float(compiled[name]), abs=1e-12)
            assert i < 2 or float(plain[name]) == pytest.approx(float(compiled[name]), abs=1e-12)
            assert small[name].dtype == jnp.float32
            assert float(small[name]) == pytest.approx(float(compiled[name]), abs=1e-5, rel=1e-5)


def test_small_functions(view):
    assert float(either(jnp.asarray([0.5, 0.2, 0.0]))) == pytest.approx(0.6)
    assert float(traffic_speed(view, 9.0)) == pytest.approx(np.mean([18.0, 23.0, 19.0, 25.0]), abs=1e-6)
    assert float(traffic_speed(nobody(view), 9.0)) == 9.0
    np.testing.assert_allclose(Costs().discounts(jnp.asarray([0.0, 0.1, 1.0])), [1.0, 0.99, 0.99**10])


@pytest.mark.parametrize(
    "options", [{"risk": -1.0}, {"margin": 0.0}, {"discount": 1.1}, {"softness": 0.0}, {"headway": math.nan}]
)
def test_impossible_numbers_are_named(options):
    with pytest.raises(ForeseeError, match=next(iter(options))):
        Costs(**options)
