from dataclasses import replace

import numpy as np
import pytest

from foresee.driving import synthetic_recording
from foresee.driving.lanes import Lane
from foresee.jobs import baselines as stage
from foresee.jobs.baselines import FOUND, FROM_MAP, Baselines, find_roads, of_scenes
from foresee.jobs.replay import clips_of
from foresee.jobs.summary import baselines_numbers
from tests.evaluations import companions as made_companions
from tests.evaluations import made_evaluations
from tests.jobs.true_states import true_states


@pytest.fixture(scope="module")
def states():
    return true_states(synthetic_recording(1, vehicles=8, seconds=6))


@pytest.fixture(scope="module")
def run(states):
    """The stage itself with two drivers in replayed traffic, which are compiled as one."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "DRIVERS", ("none", "idm"))
        patch.setattr(stage, "MODES", ("replay",))
        done = stage.run_baselines(states, seed=0, progress=lambda text, share: told.append((text, share)))
    return done, told


@pytest.mark.slow
def test_two_baselines_drive_recorded_traffic(run, states):
    done, told = run
    assert [each.driver for each in done.evaluations] == ["none", "idm"]
    assert done.roads == {"synthetic": FROM_MAP}
    table = done.table()
    assert table.height == 2 * len(done.scenarios)
    assert [f"synthetic/{names[0]}" for names in done.companions] == list(done.scenarios.names)
    assert set(table["scenario"]) == set(done.scenarios.names)
    none, idm = (table.filter(driver=name) for name in ("none", "idm"))
    assert none["jerk"].max() == 0.0
    assert 0.0 < idm["jerk"].mean() < 2.0
    assert idm["fail"].sum() <= none["fail"].sum()
    assert told[-1] == ("2 of 2 evaluations", pytest.approx(1.0))
    missing = states.recording.vehicles - len(done.scenarios)
    assert not missing or f"{missing} of {states.recording.vehicles} vehicles" in done.notes[-1]


@pytest.mark.slow
def test_its_clips_show_who_was_there(run, states):
    done, _ = run
    clips = clips_of(done, seed=0)
    assert {clip.driver for clip in clips} == {"no action", "lane keeper (IDM)"}
    recording = states.recording
    for clip in clips:
        ego = recording.vehicle.tolist().index(clip.names[clip.ego])
        # the first frame is the recorded one, in coordinates that were moved by the same amount for all
        first = states.tracks.first
        for name, x in zip(clip.names, clip.x[0], strict=True):
            other = recording.vehicle.tolist().index(name)
            t = first[ego] - first[other]
            if t >= 0 and states.alive[other, t]:
                apart = states.mean[other, t, 0] - states.mean[ego, 0, 0]
                assert x - clip.x[0, clip.ego] == pytest.approx(apart, abs=1e-3)


def test_a_scene_without_a_road_is_left_out(states):
    recording = states.recording
    moved = recording.scene.copy()
    moved[0] = "alone"  # one who hardly moves tells no lane
    x, y = np.array(recording.x), np.array(recording.y)
    x[0], y[0] = np.where(recording.seen[0], 5.0, 0.0), np.where(recording.seen[0], 5.0, 0.0)
    changed = replace(states, recording=replace(recording, scene=moved, x=x, y=y))
    roads, sources, notes = find_roads(changed)
    assert sources == {"synthetic": FROM_MAP}
    assert len(notes) == 1
    assert notes[0].startswith("scene alone is left out, its road cannot be told: expected")
    kept = of_scenes(changed, list(roads))
    assert kept.recording.scenes() == ("synthetic",)
    assert len(kept.alive) == len(kept.tracks.first) == len(kept.one_step.scored) == kept.recording.vehicles
    np.testing.assert_array_equal(kept.mean, states.mean[1:])
    assert of_scenes(states, ["synthetic"]) is states


def test_without_a_usable_map_lanes_are_found(states):
    recording = states.recording
    line = np.array([[0.0, 0.0], [10.0, 0.0]])
    broken = (
        Lane("a", line, line - np.array([0, 3]), successors=("b",)),
        Lane("b", line + 900, line + np.array([900, 897])),
    )
    _, sources, notes = find_roads(replace(states, recording=replace(recording, lanes={"synthetic": broken})))
    assert sources == {"synthetic": FOUND}
    assert "its map makes no road" in notes[0]
    _, sources, notes = find_roads(replace(states, recording=replace(recording, lanes={})))
    assert (sources, notes) == ({"synthetic": FOUND}, ())


def test_a_recording_that_is_too_short_says_so(states):
    short = replace(states, alive=states.alive & (np.arange(states.alive.shape[1]) < 20))
    done = stage.run_baselines(short, seed=0, progress=lambda *_: None)
    assert done.evaluations == ()
    assert done.scenarios is None
    assert "no scenario: expected a vehicle on the road for at least 3 s" in done.notes[-1]
    assert clips_of(done, seed=0) == ()
    numbers = baselines_numbers(done, 1, seed=0)
    assert (numbers["scenarios.count"], numbers["scenarios.road"]) == (0, "map")


def test_numbers_have_intervals_by_scene_or_by_scenario():
    two = Baselines(made_evaluations(), made_companions(), {"s0": FROM_MAP, "s1": FOUND}, ())
    numbers = baselines_numbers(two, 3, seed=0)
    assert numbers["scenarios.road"] == "map or found from paths"
    assert numbers["scenarios.roads_missing"] == 1
    assert numbers["scenarios.independent"] == "scenes"
    assert numbers["scenarios.seconds"] == pytest.approx(5 * 5.9)
    assert numbers["drivers.none.replay.fail_rate"] == pytest.approx(0.6)
    assert numbers["drivers.none.replay.failures"] == 3
    assert numbers["drivers.idm.replay.progress"] == pytest.approx(1.02)
    low, high = numbers["drivers.none.replay.fail_rate_ci"]
    assert low <= 0.6 <= high
    one = replace(two.evaluations[0].scenarios, groups=("s",) * 5)
    alone = Baselines(
        tuple(replace(each, scenarios=one) for each in two.evaluations), made_companions(), {}, ()
    )
    numbers = baselines_numbers(alone, 1, seed=0)
    assert numbers["scenarios.independent"] == "scenarios"
    low, high = numbers["drivers.none.replay.fail_rate_ci"]
    assert low < 0.6 < high


def test_whom_the_table_names():
    table = Baselines(made_evaluations(), made_companions(), {}, ()).table()
    hit = table.filter(driver="idm", mode="replay", fail=True).row(0, named=True)
    assert (hit["vehicle"], hit["against"], hit["scene"]) == ("1", "a", "s1")
    assert table.filter(driver="none", scenario="s0/2")["against"].to_list() == [None, None]
