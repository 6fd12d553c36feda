"""Generated situations: the stated distributions, room for everybody, events that can be survived."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import truncnorm

from foresee.driving.generate import ACTOR, EGO, KINDS, LANES, LEADER, generate
from foresee.driving.overlap import overlaps
from foresee.driving.rare_events import HARDEST_BRAKE, REACTION, Parameters, least_gap
from foresee.driving.reactive import drive
from foresee.driving.sensing import hidden
from foresee.driving.world import step
from foresee.errors import OptionError

COUNT, VEHICLES, SECONDS, DT = 600, 14, 9.0, 0.1
P = Parameters()
QUICK = {"xla_backend_optimization_level": 0}  # to compile: it runs only once
CUT = truncnorm(-2, 2)


@pytest.fixture(scope="module")
def makers():
    """For every kind a compiled function from keys and parameters to situations and their road."""

    def maker(kind):
        def one(key, parameters):
            made = generate(kind, vehicles=VEHICLES, seconds=SECONDS, key=key, parameters=parameters)
            bare = eqx.tree_at(lambda g: g.world.road, made, None)
            return bare, overlaps(made.world).any(), made.world.road

        return jax.jit(jax.vmap(one, in_axes=(0, None), out_axes=(0, 0, None)), compiler_options=QUICK)

    return {kind: maker(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def drawn(makers):
    """Many situations of every kind, in NumPy."""

    def many(kind):
        made, overlapping, _ = makers[kind](jax.random.split(jax.random.key(KINDS.index(kind)), COUNT), P)
        assert not bool(overlapping.any())
        return jax.tree.map(np.asarray, made)

    return {kind: many(kind) for kind in KINDS}


def gap(world, behind, ahead):
    """From bumper to bumper."""
    distance = world.along[:, ahead] - world.along[:, behind]
    return distance - 0.5 * (world.length[:, ahead] + world.length[:, behind])


def like(values, mean, deviation):
    """Whether a sample has a mean and a standard deviation, within five standard errors."""
    values = np.asarray(values)
    error = 5 / np.sqrt(len(values))
    np.testing.assert_allclose(values.mean(), mean, atol=error * deviation)
    np.testing.assert_allclose(values.std(), deviation, atol=error * deviation)  # kurtosis is below 5 here


def like_uniform(values, ends):
    low, high = float(ends[0]), float(ends[1])
    assert np.all((values > low - 1e-6) & (values < high + 1e-6))
    like(values, 0.5 * (low + high), (high - low) / np.sqrt(12))


def begin_of(mask):
    return mask.argmax(axis=1) * DT


def test_all_kinds_have_the_same_shapes(drawn):
    stacked = jax.tree.map(lambda *leaves: np.stack([leaf[0] for leaf in leaves]), *drawn.values())
    assert stacked.script.shape == (len(KINDS), 90, VEHICLES, 2)
    assert stacked.world.x.shape == (len(KINDS), VEHICLES)
    assert np.all(stacked.ego == EGO)
    for made in drawn.values():
        assert made.world.alive.all()
        for leaf in jax.tree.leaves(made):
            assert np.isfinite(leaf).all()
        turned = (made.script[..., 1] != 0).any(axis=(0, 1))
        np.testing.assert_array_equal(np.flatnonzero(turned), [LEADER] if made is drawn["occluded"] else [])


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_has_room_and_the_ego_stands_between_others(drawn, kind):
    world = drawn[kind].world
    assert np.all(np.abs(world.speed) < 40)
    for lane in range(LANES):
        there = world.lane == lane
        along = np.where(there, world.along - 0.5 * world.length, np.nan)
        order = np.argsort(along, axis=1)
        rear = np.take_along_axis(along, order, 1)[:, 1:]
        front = np.take_along_axis(along + world.length, order, 1)[:, :-1]
        free = rear - front
        assert np.nanmin(free) > 0.9  # P.margin, or more
    same = (world.lane == world.lane[:, :1]) & (np.arange(VEHICLES) != EGO)
    assert np.all((same & (world.along < world.along[:, :1])).any(axis=1))


def test_speeds_lanes_and_sizes(drawn):
    world = drawn["cruise"].world
    like_uniform(world.speed[:, EGO], P.speed)
    like_uniform(drawn["jam"].world.speed[:, EGO], P.jam_speed)
    for lane in range(LANES):
        share = (world.lane[:, EGO] == lane).mean()
        assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / COUNT)
    assert np.all(drawn["merge"].world.lane[:, EGO] == LANES - 1)
    others = np.s_[:, 2:]
    truck = world.length[others] > 7
    assert abs(truck.mean() - P.truck_share) < 5 * np.sqrt(0.1 * 0.9 / truck.size)
    spread = float(P.size_spread) * CUT.std()
    like(world.length[others][~truck] / P.car_length, 1.0, spread)
    like(world.width[others][~truck] / P.car_width, 1.0, spread)
    like_uniform(world.length[others][truck], P.truck_length)
    lanes_left = world.lane[:, EGO, None] - world.lane[others]
    mean = world.speed[:, EGO, None] + float(P.faster_left) * lanes_left
    like((world.speed[others] / mean).ravel(), 1.0, float(P.speed_spread) * CUT.std())


def test_time_gaps_are_log_normal(drawn):
    world = drawn["cruise"].world
    time = (gap(world, EGO, ACTOR) - P.standstill) / world.speed[:, EGO]
    like(np.log(time), np.log(P.headway), float(P.headway_spread) * CUT.std())
    behind = np.where((world.lane == world.lane[:, :1]) & (world.along < world.along[:, :1]), world.along, -1)
    follower = behind.argmax(axis=1)
    rows = np.arange(COUNT)
    free = world.along[:, EGO] - world.along[rows, follower]
    free = free - 0.5 * (world.length[:, EGO] + world.length[rows, follower])
    time = (free - P.standstill) / world.speed[rows, follower]
    like(np.log(time), np.log(P.headway), float(P.headway_spread) * CUT.std())


def test_cut_in(drawn):
    made = drawn["cut_in"]
    world, target = made.world, made.target[:, :, ACTOR]
    lane = world.lane[:, EGO]
    changing = target == lane[:, None]
    begin = begin_of(changing)
    like_uniform(begin, (1.05, 4.05))  # the first step at or after the beginning
    assert np.all(np.abs(world.lane[:, ACTOR] - lane) == 1)
    inner = (lane == 1) | (lane == 2)
    left = (world.lane[:, ACTOR] < lane)[inner].mean()
    assert abs(left - 0.5) < 5 * 0.5 / np.sqrt(inner.sum())
    assert np.all((target == world.lane[:, ACTOR, None]) | changing | (target == -1))
    slower = world.speed[:, EGO] - world.speed[:, ACTOR]
    like_uniform(slower, P.cut_in_slower)
    assert not made.scripted.any()
    np.testing.assert_allclose(
        world.manners.desired_speed[:, ACTOR], np.maximum(world.speed[:, ACTOR], 1.0), rtol=1e-9
    )


def test_hard_braking(drawn):
    made = drawn["hard_braking"]
    world, script, scripted = made.world, made.script[:, :, ACTOR, 0], made.scripted[:, :, ACTOR]
    like_uniform(begin_of(scripted), (1.05, 4.05))
    like_uniform(-script.min(axis=1), P.braking)
    braking, speed = -script.min(axis=1), world.speed[:, ACTOR]
    ends = 1 + np.sum(script * DT, axis=1) / speed
    in_time = speed / braking < SECONDS - 4.0  # ended within the script however slow it became
    like(ends[in_time], 0.25, 0.5 / np.sqrt(12))
    lasted = (script < 0).sum(axis=1) * DT
    held = scripted.sum(axis=1) * DT - lasted
    like_uniform(held[begin_of(scripted) + lasted + 3.2 < SECONDS], (0.9, 3.1))
    np.testing.assert_allclose(world.speed[:, ACTOR], world.speed[:, EGO])
    assert np.all(world.lane[:, ACTOR] == world.lane[:, EGO])
    drawn_time = gap(world, EGO, ACTOR) / world.speed[:, EGO]
    assert np.all(drawn_time < float(P.braking_headway[1]) + 1e-9)
    free = drawn_time[braking < 5.0]  # the least gap was small for these, nothing was widened
    like_uniform(free, P.braking_headway)


def test_debris(drawn):
    made = drawn["debris"]
    world = made.world
    assert np.all(world.speed[:, ACTOR] == 0)
    assert made.scripted[:, :, ACTOR].all()
    assert not made.scripted[:, :, 2:].any()
    like_uniform(gap(world, EGO, ACTOR) / world.speed[:, EGO], P.debris_time)
    like_uniform(world.length[:, ACTOR], P.debris_length)
    like_uniform(world.width[:, ACTOR], P.debris_width)
    between = (world.lane == world.lane[:, :1]) & (world.along > world.along[:, :1])
    between &= world.along < world.along[:, ACTOR, None]
    assert not between[:, 2:].any()


def test_merge(drawn):
    world = drawn["merge"].world
    assert np.all(world.lane[:, ACTOR] == LANES)
    like_uniform(world.x[:, ACTOR] - world.x[:, EGO], P.merge_ahead)
    like_uniform(world.speed[:, ACTOR] / world.speed[:, EGO], P.merge_slower)
    assert not drawn["merge"].scripted.any()


def test_jam(drawn):
    made = drawn["jam"]
    first = made.scripted.any(axis=1)
    assert np.all(first.sum(axis=1) == LANES)
    assert not first[:, EGO].any()
    front = made.world.along.max(axis=1, keepdims=True)
    assert np.all((made.world.along == front) == first)
    speed = made.world.speed[:, None] + np.cumsum(made.script[..., 0] * DT, axis=1)
    assert np.all(speed[first[:, None].repeat(90, axis=1)] > -0.3)
    which = first.argmax(axis=1)
    start = np.abs(made.script[np.arange(COUNT), 0, which, 0]) / made.world.speed[:, EGO]
    depth, rate = (0.6 + 1.0) / 2, 2 * np.pi * np.log(30 / 15) / (30 - 15)
    square = (1 - 0.6**3) / (3 * 0.4) * 4 * np.pi**2 / (30 * 15)
    like(start, depth * rate, np.sqrt(square - (depth * rate) ** 2))


def way_of_leader(made):
    """Where who swerves comes to be, frame by frame: ahead of the start, to the left, and its direction."""
    speed, length = made.world.speed[:, LEADER, None], DT * made.world.speed[:, LEADER, None]
    turn = made.script[:, :, LEADER, 1] * length
    heading = np.cumsum(turn, axis=1) - 0.5 * turn
    chord = length * np.sinc(turn / (2 * np.pi))
    way = (np.cumsum(chord * part, axis=1) for part in (np.cos(heading), np.sin(heading)))
    assert np.all(speed > 0)
    return [np.pad(each, ((0, 0), (1, 0))) for each in (*way, np.cumsum(turn, axis=1))]


def reach_of_leader(made, heading):
    """How far its body reaches to each side."""
    length, width = made.world.length[:, LEADER, None], made.world.width[:, LEADER, None]
    return 0.5 * (length * np.abs(np.sin(heading)) + width * np.abs(np.cos(heading)))


def revealed(made):
    """The first frame in which who swerves is no longer between."""
    _, aside, heading = way_of_leader(made)
    return np.argmax(np.abs(aside) > reach_of_leader(made, heading), axis=1)


def test_occluded(drawn):
    made = drawn["occluded"]
    world, script = made.world, made.script[:, :, LEADER]
    assert np.all(made.script[:, :, ACTOR] == 0)
    assert made.scripted[:, :, ACTOR].all()
    assert np.all(world.speed[:, ACTOR] == 0)
    np.testing.assert_array_equal(world.lane[:, [ACTOR, LEADER]], world.lane[:, [EGO, EGO]])
    np.testing.assert_allclose(world.speed[:, LEADER], world.speed[:, EGO])
    like_uniform(gap(world, EGO, LEADER) / world.speed[:, EGO], P.occluded_headway)
    # It swerves by one lane at constant speed, to the lane that is kept for it, and is then free.
    assert np.all(script[..., 0] == 0)
    turning = script[..., 1] != 0
    like_uniform(begin_of(turning), (1.0, 4.0))
    like_uniform(turning.sum(axis=1) * DT, P.swerve_time + np.array([-0.05, 0.05]))
    ahead, aside, heading = way_of_leader(made)
    side = world.lane[:, EGO] - made.target[:, 0, LEADER]
    assert np.all(np.abs(side) == 1)
    np.testing.assert_allclose(aside[:, -1], 3.5 * side, atol=0.08)
    np.testing.assert_allclose(heading[:, -1], 0.0, atol=0.002)
    last = turning.shape[1] - 1 - np.argmax(turning[:, ::-1], axis=1)
    forced = np.arange(turning.shape[1]) < made.scripted[:, :, LEADER].sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(made.scripted[:, :, LEADER], forced)
    assert np.all(np.abs(forced.sum(axis=1) - last - 1) <= 1)
    # It does not touch the stopped one while it passes.
    apart = np.abs(aside) - reach_of_leader(made, heading) - 0.5 * world.width[:, ACTOR, None]
    room = gap(world, LEADER, ACTOR)[:, None] - ahead
    beyond = room < -(world.length[:, ACTOR] + world.length[:, LEADER])[:, None]
    assert np.all((room > 0.5) | (apart > 0) | beyond)


def test_what_is_hidden_shows_when_it_is_late_but_not_too_late(drawn):
    made = drawn["occluded"]
    world, seen, rows = made.world, revealed(made), np.arange(COUNT)
    way = way_of_leader(made)

    def visible(frame):
        """The same by the geometry of lines of sight, with an ego that keeps its speed."""
        ahead, aside, heading = (each[rows, frame] for each in way)
        x, y = world.x.copy(), world.y.copy()
        x[:, EGO] += world.speed[:, EGO] * DT * frame
        x[:, LEADER] += ahead
        y[:, LEADER] += aside
        now = eqx.tree_at(lambda w: (w.x, w.y), world, (x, y))
        turned = world.heading.copy()
        turned[:, LEADER] = heading
        now = eqx.tree_at(lambda w: w.heading, now, turned)
        return ~np.asarray(jax.jit(jax.vmap(lambda w: hidden(w, EGO)))(now))[:, ACTOR]

    assert visible(seen).all()
    for frames in (1, 10):
        assert not visible(np.maximum(seen - frames, 0)).any()
    speed = world.speed[:, EGO]
    left = gap(world, EGO, ACTOR) - speed * DT * seen
    needed = speed * REACTION + speed**2 / (2 * HARDEST_BRAKE)
    assert np.all(left > needed + 0.99)
    drawn_time = left / speed
    assert np.all(drawn_time < float(P.reveal_headway[1]) + 2 * DT)
    assert np.quantile(drawn_time, 0.1) < 2.6
    assert np.quantile(drawn_time, 0.9) > 3.6


def test_least_gap_against_small_steps():
    random = np.random.default_rng(0)
    speed, ahead = random.uniform(0, 35, (2, 300))
    braking = np.where(random.random(300) < 0.2, 0.0, random.uniform(0, HARDEST_BRAKE, 300))
    time = np.linspace(0, 10, 20_001)[:, None]
    later = np.clip(time - REACTION, 0, speed / HARDEST_BRAKE)
    own = speed * np.minimum(time, REACTION) + speed * later - 0.5 * HARDEST_BRAKE * later**2
    with np.errstate(divide="ignore"):
        stops = np.minimum(time, np.where(braking > 0, ahead / braking, np.inf))
    other = ahead * stops - 0.5 * braking * stops**2
    found = jax.jit(least_gap)(jnp.asarray(speed), jnp.asarray(ahead), jnp.asarray(braking))
    np.testing.assert_allclose(found, (own - other).max(axis=0), atol=2e-3)


@pytest.mark.parametrize("kind", ["cut_in", "hard_braking", "debris", "occluded"])
def test_an_alert_driver_touches_nobody(drawn, kind):
    made = drawn[kind]
    world = made.world
    onset = {
        "cut_in": begin_of(made.target[:, :, ACTOR] == world.lane[:, :1]),
        "hard_braking": begin_of(made.scripted[:, :, ACTOR]),
        "debris": np.zeros(COUNT),
        "occluded": DT * revealed(drawn["occluded"]),
    }[kind]
    free, speed, ahead = gap(world, EGO, ACTOR), world.speed[:, EGO].copy(), world.speed[:, ACTOR].copy()
    for k in range(90 * 20):
        time = k * DT / 20
        own = np.where(time < onset + REACTION, 0.0, -HARDEST_BRAKE)
        other = made.script[:, k // 20, ACTOR, 0]
        free += (ahead - speed) * DT / 20
        speed, ahead = (np.maximum(v + a * DT / 20, 0) for v, a in ((speed, own), (ahead, other)))
        assert np.all(free > 0)


def test_reactive_drivers_touch_nobody(makers, drawn):
    road = makers["cruise"](jax.random.split(jax.random.key(0), COUNT), P)[2]

    def roll(made):
        def advance(world, moment):
            script, scripted, target = moment
            world = eqx.tree_at(lambda w: w.target, world, jnp.where(target >= 0, target, world.target))
            world, actions, _ = drive(world)
            world = step(world, jnp.where(scripted[:, None], script, actions), DT)
            return world, (overlaps(world).any(), world.lane[ACTOR] == world.lane[EGO])

        world = eqx.tree_at(lambda w: w.road, made.world, road, is_leaf=lambda leaf: leaf is None)
        return jax.lax.scan(advance, world, (made.script, made.scripted, made.target))[1]

    few = [jax.tree.map(lambda leaf: leaf[:4], made) for made in drawn.values()]
    stacked = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *few)
    overlapping, same_lane = jax.jit(jax.vmap(roll), compiler_options=QUICK)(stacked)
    assert not bool(overlapping.any())
    assert bool(same_lane[4:8, -1].all())  # who cuts in has arrived


def test_a_key_is_a_situation(makers, drawn):
    keys = jax.random.split(jax.random.key(0), COUNT)
    again = makers["cruise"](keys, P)[0].world.along
    np.testing.assert_array_equal(again, drawn["cruise"].world.along)
    assert len(np.unique(again[:, ACTOR])) == COUNT


def test_parameters_are_arrays_and_need_no_new_compilation(makers):
    milder = eqx.tree_at(lambda p: p.braking, P, jnp.array([2.0, 2.0]))
    keys = jax.random.split(jax.random.key(0), COUNT)
    made = makers["hard_braking"](keys, milder)[0]
    np.testing.assert_allclose(made.script[:, :, ACTOR, 0].min(axis=1), -2.0)
    assert makers["hard_braking"]._cache_size() == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "flood"}, "got 'flood'"),
        ({"vehicles": 1}, "at least 2 vehicles"),
        ({"kind": "occluded", "vehicles": 2}, "at least 3 vehicles for 'occluded'"),
        ({"kind": "jam", "vehicles": 5}, "at least 6 vehicles for 'jam'"),
        ({"seconds": 0}, "positive time"),
        ({"seconds": float("nan")}, "positive time"),
        ({"dt": 0.0}, "positive time"),
    ],
)
def test_what_cannot_be_generated(changes, said):
    options = {"kind": "cruise", "vehicles": 8, "seconds": 5.0, "key": jax.random.key(0)} | changes
    with pytest.raises(OptionError, match=said):
        generate(options.pop("kind"), **options)
