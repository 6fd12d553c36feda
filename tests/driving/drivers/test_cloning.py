# pyright: reportOptionalMemberAccess=false
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import polars as pl
import pytest

from foresee.driving.drivers import cloning
from foresee.driving.drivers.cloning import (
    Cloned,
    Perturbations,
    clone,
    cw_erm,
    error_set,
    pairs_of,
    way_back,
)
from foresee.driving.drivers.policy import member, new_policies
from foresee.errors import OptionError, RecordingError
from tests.evaluations import made_scenarios

KEY = jax.random.key(0)
BC = {"epochs": 40, "batch_size": 64, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def scenarios():
    return made_scenarios(3)


@pytest.fixture(scope="module")
def pairs(scenarios):
    return pairs_of(scenarios, every=1.0, copies=8, reach=1.5, nearest=3, key=KEY)


def cubic(start, speed, end, last, time):
    """Second derivative at 0 of the cubic with these ends, by its four conditions."""
    conditions = [[1, 0, 0, 0], [0, 1, 0, 0], [1, time, time**2, time**3], [0, 1, 2 * time, 3 * time**2]]
    return 2 * np.linalg.solve(np.asarray(conditions, float), [start, speed, end, last])[2]


def test_the_way_back_is_the_beginning_of_a_cubic(scenarios):
    world = jax.tree.map(lambda leaf: leaf[0], scenarios.scenario.world)
    world = replace(
        world, x=world.x.at[0].add(1.0), y=world.y.at[0].add(0.5), heading=world.heading.at[0].set(0.05)
    )
    end = SimpleNamespace(x=65.5, y=-3.4, heading=0.01, speed=11.0)
    got = way_back(world, end, 1.5)
    c, s = np.cos(0.05), np.sin(0.05)
    x = cubic(51.0, 10 * c, 65.5, 11 * np.cos(0.01), 1.5)
    y = cubic(-3.0, 10 * s, -3.4, 11 * np.sin(0.01), 1.5)
    np.testing.assert_allclose(got, [c * x + s * y, (c * y - s * x) / 10.0**2], rtol=1e-9)


def test_who_is_on_the_record_goes_on_as_recorded(pairs, scenarios):
    moments = len(scenarios) * 5  # every second, while 1.5 s of 5.9 s are left
    assert pairs.numbers.shape == (moments * 8, 59)
    np.testing.assert_allclose(pairs.actions[::8], 0.0, atol=1e-9)
    assert np.abs(pairs.actions[1::8]).min() > 0
    np.testing.assert_array_equal(np.bincount(pairs.scenario), [40, 40, 40])
    # Whoever is too far left is to steer right, and who is too fast is to brake, if nothing else is wrong.
    for place, column, name in ((1, 1, "across"), (0, 0, "speed")):
        alone = dict.fromkeys(("across", "along", "angle", "speed"), 0.0) | {name: 0.5}
        some = pairs_of(scenarios, every=2.0, nearest=2, perturbations=Perturbations(**alone), key=KEY)
        pushed = np.asarray(some.numbers[:, place] - some.numbers[0, place])
        assert np.all(pushed[1:4] * np.asarray(some.actions[1:4, column]) < 0)


def test_a_clone_does_what_it_was_shown(pairs):
    got = clone(pairs, members=2, key=KEY, **BC)
    assert got.policies.name == "bc"
    assert np.all(got.fitted.losses[:, -1] < 0.8 * got.fitted.losses[:, 0])
    again = clone(pairs, members=2, key=KEY, **BC)
    assert all(map(np.array_equal, jax.tree.leaves(got.policies), jax.tree.leaves(again.policies)))
    seen = pairs.numbers[::8]
    acted = jax.vmap(member(got.policies, 1))(seen)
    assert np.abs(acted[:, 0]).max() < 1.0


def test_errors_in_closed_loop_weigh_more_in_the_second_clone(pairs, scenarios, monkeypatch):
    """Each member gets its own weights: the same as a clone with these weights given."""
    failures = iter([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]] * 3)

    def evaluated(driver, scenarios, mode, *, key, keep):
        failed = next(failures)
        return SimpleNamespace(
            table=pl.DataFrame({"offroad": failed, "overlap": [1.0] * 3, "jerk": [None] * 3})
        )

    monkeypatch.setattr(cloning, "evaluate", evaluated)
    first = clone(pairs, members=2, key=KEY, **BC)
    errors = error_set(first.policies, scenarios, metrics=["offroad", "jerk"], key=KEY)
    np.testing.assert_array_equal(errors, [[False, True, False], [False, False, False]])
    second = cw_erm(first, pairs, scenarios, weight=7.0, metrics=["offroad"], key=KEY, **BC)
    np.testing.assert_array_equal(second.errors, errors)
    assert second.policies.name == "cw_erm"
    weights = np.where(errors[:, np.asarray(pairs.scenario)], 7.0, 1.0)
    same = clone(pairs, members=2, weights=weights, key=jax.random.split(KEY)[1], **BC)
    plain = clone(pairs, members=2, weights=np.ones_like(weights), key=jax.random.split(KEY)[1], **BC)
    for got, weighed, even in zip(*(jax.tree.leaves(c.policies) for c in (second, same, plain)), strict=True):
        np.testing.assert_array_equal(got, weighed)
        assert np.any(got[0] != even[0])
        np.testing.assert_array_equal(got[1], even[1])
    with pytest.raises(OptionError, match="scores of an evaluation, got speeding"):
        error_set(first.policies, scenarios, metrics=["speeding"], key=KEY)


def test_what_cannot_be_cloned_is_refused(pairs, scenarios):
    with pytest.raises(RecordingError, match=r"at least the horizon of 9 s, got at most 5\.9 s"):
        pairs_of(scenarios, reach=9.0, key=KEY)
    with pytest.raises(OptionError, match="copy"):
        pairs_of(scenarios, copies=0, key=KEY)
    with pytest.raises(OptionError, match="between 1 and 50, got 60"):
        cw_erm(Cloned(new_policies(1, 4, key=KEY), None), pairs, scenarios, weight=60.0, key=KEY)
