from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.driver import AbstractDriver
from foresee.driving.policies import NoAction
from foresee.driving.traffic_model import ReactiveTraffic
from foresee.jobs import baselines, fleet
from foresee.jobs.fleet import Entrant, drive_entrants, one_of
from foresee.jobs.replay import unseen, watch
from tests.evaluations import made_evaluation, made_scenarios


class Constant(AbstractDriver):
    """Does the same over and over, and counts how often."""

    value: jax.Array

    def start(self):
        return jnp.asarray(0)

    def act(self, observation, memory, *, key):
        return self.value * observation, memory + 1


def quiet(text, share):
    return None


def test_one_of_several_drivers_acts_and_remembers():
    drivers = tuple(Constant(jnp.full(2, float(k))) for k in range(3))
    for k in range(3):
        either = one_of(drivers, k)
        action, memory = either.act(jnp.asarray(2.0), either.start(), key=jax.random.key(0))
        assert action.tolist() == [2.0 * k] * 2
        assert [int(own) for own in memory] == [int(own == k) for own in range(3)]


def test_all_are_evaluated_and_an_error_ends_it(monkeypatch):
    scenarios, calls, seen, told = made_scenarios(3), [], [], []

    def fake(driver, scenarios, mode, *, sensing, traffic, one_program, key, keep, progress):
        calls.append((mode, keep))
        seen.append(sensing)
        progress("", 1.0)
        return made_evaluation("?", mode, scenarios=scenarios)

    monkeypatch.setattr(fleet, "evaluate", fake)
    done = baselines.drive_all(scenarios, seed=0, progress=lambda *each: told.append(each))
    expected = [(driver, mode) for driver in baselines.DRIVERS for mode in baselines.MODES]
    assert [(each.driver, each.mode) for each in done] == expected
    assert {keep for _, keep in calls} == {3}
    assert told[-1] == ("8 of 8 evaluations", pytest.approx(1.0))
    assert sum(sensing is not None for sensing in seen) == len(baselines.MODES)

    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(fleet, "evaluate", fail)
    with pytest.raises(ZeroDivisionError):
        baselines.drive_all(scenarios, seed=0, progress=quiet)


def test_only_learned_traffic_is_given_a_model_unless_all_kinds_are_one_program(monkeypatch):
    given = []

    def fake(driver, scenarios, mode, **options):
        given.append((mode, options.get("traffic")))
        return made_evaluation("?", "replay", scenarios=scenarios)

    monkeypatch.setattr(fleet, "evaluate", fake)
    model, told = ReactiveTraffic(), {"seed": 0, "progress": quiet}
    modes = ("replay", "learned")
    entrants = [Entrant("none", NoAction())]
    for together in (False, True):
        given.clear()
        drive_entrants(entrants, modes, made_scenarios(2), traffic=model, together=together, **told)
        assert sorted(mode for mode, _ in given) == ["learned", "replay"]
        assert dict(given)["learned"] is model
        assert dict(given)["replay"] is (model if together else None)


def test_what_was_not_kept_is_driven_again_in_the_same_shape(monkeypatch):
    monkeypatch.setattr(baselines, "CELLS", 3 * 60 * 4)  # room for two at a time, a power of two
    scenarios = made_scenarios(5)
    assert baselines.at_a_time(scenarios) == 2
    given = []

    def fake(driver, chosen, mode, *, sensing, traffic, one_program, key, keep, progress):
        assert sensing is None
        given.append((len(chosen), chosen.names, keep))
        return made_evaluation("?", mode, failing=(1,), scenarios=chosen)

    monkeypatch.setattr(fleet, "evaluate", fake)
    entrant = Entrant("idm", NoAction())
    before = made_evaluation("idm", scenarios=scenarios, keep=False)
    after = watch(entrant, before, np.array([4]), seed=0)
    assert given == [(2, ("s0/4", "s0/4"), 2)]
    assert after.driver == "idm"
    assert after.table is before.table
    assert after.episodes.scenario.tolist() == [4]
    assert after.episodes.frames.x.shape == (1, 60, 4)
    kept = made_evaluation("idm", scenarios=scenarios)
    assert watch(entrant, kept, np.array([4]), seed=0) is kept


def test_the_values_of_what_is_driven_again_are_filled_in(monkeypatch):
    scenarios = made_scenarios(5)

    def fake(driver, chosen, mode, *, sensing, traffic, one_program, key, keep, progress):
        return made_evaluation("?", mode, failing=(1,), scenarios=chosen)

    monkeypatch.setattr(fleet, "evaluate", fake)
    whole = made_evaluation("idm", failing=(1,), scenarios=scenarios)
    table = unseen("idm", "replay", scenarios, whole.table, 0.5)
    after = watch(Entrant("idm", NoAction()), table, np.array([3, 1]), seed=0)
    assert after.episodes.scenario.tolist() == [3, 1]
    np.testing.assert_array_equal(after.episodes.frames.x[1], whole.episodes.frames.x[1])
    np.testing.assert_array_equal(after.values["overlap"][1], whole.values["overlap"][1])
    assert after.counted[[1, 3]].all()
    assert not after.counted[[0, 2, 4]].any()
    assert replace(after, values={}).table is whole.table
