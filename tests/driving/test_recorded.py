import gzip
import json

import equinox as eqx
import jax
import numpy as np
import pytest

from foresee.driving.evaluate import evaluate
from foresee.driving.lanes import Lane
from foresee.driving.make_road import road_from_lanes, straight_road
from foresee.driving.policies import Expert
from foresee.driving.read import read_recording
from foresee.driving.recorded import left_out, scenarios_from_states
from foresee.driving.recording import Recording
from foresee.driving.states import OneStep, States
from foresee.errors import OptionError, RecordingError

FAR_AWAY = np.array([4.0e5, 5.0e6])
RATE = 10.0


def states_of(recording, mean):
    """States without doubt; mean is on the recording's grid of frames."""
    tracks = recording.tracks()
    shape = tracks.seen.shape
    columns = np.minimum(tracks.first[:, None] + np.arange(shape[1]), recording.frames - 1)
    last = shape[1] - 1 - np.argmax(tracks.seen[:, ::-1], axis=1)
    nothing = OneStep(tracks.seen, tracks.seen, np.zeros(shape), np.zeros((*shape, 2)), np.zeros((*shape, 2)))
    return States(
        recording, tracks, np.arange(shape[1]) <= last[:, None],
        np.take_along_axis(mean, columns[..., None], 1),
        np.zeros((*shape, 6, 6)), np.ones((*shape, 1)), (), nothing, np.zeros(1),
    )  # fmt: skip


def made_up(*, astray=False):
    """Two scenes: three vehicles in the first, of which one comes late; and a lonely one with a gap."""
    frames, speed = 60, np.array([10.0, 8.0, 12.0, 9.0])
    time = np.arange(frames) / RATE
    seen = np.ones((4, frames), bool)
    seen[0, 50:] = seen[1, :20] = seen[2, 15:] = seen[3, 40:] = seen[3, 10:15] = False
    mean = np.zeros((4, frames, 6))
    mean[..., 0] = FAR_AWAY[0] + np.array([50.0, 80.0, 20.0, 30.0])[:, None] + speed[:, None] * time
    mean[..., 1] = FAR_AWAY[1] + np.array([0.1, 0.0, -3.5, 20.0 if astray else 0.0])[:, None]
    mean[..., 2] = 2 * np.pi + 0.01
    mean[..., 3] = speed[:, None]
    scenes = np.array(["a", "a", "a", "b"], object)
    recording = Recording(
        "made up", RATE, scenes, np.array(["1", "2", "3", "1"], object), np.array(["car"] * 4, object),
        np.full(4, 4.5), np.full(4, 1.8), mean[..., 0] * seen, mean[..., 1] * seen, seen,
    )  # fmt: skip
    return states_of(recording.validate(), mean)


def roads():
    made = {"a": straight_road(2, 300.0), "b": straight_road(1, 200.0)}
    shift = np.pad(FAR_AWAY, (0, 2))
    return {name: eqx.tree_at(lambda r: r.line, road, road.line + shift) for name, road in made.items()}


@pytest.fixture(scope="module")
def scenarios():
    return scenarios_from_states(made_up(), roads(), seconds=3.0)


def test_everyone_there_long_enough_gets_a_scenario_of_the_same_shape(scenarios):
    assert scenarios.names == ("a/1", "a/2", "b/1")
    assert scenarios.groups == ("a", "a", "b")
    assert scenarios.dt == pytest.approx(0.1)
    record, world = scenarios.scenario.record, scenarios.scenario.world
    assert record.x.shape == (3, 50, 3)
    assert world.road.line.shape[:2] == (3, 2)
    np.testing.assert_array_equal(scenarios.scenario.frames, [49, 39, 39])
    np.testing.assert_array_equal(scenarios.scenario.handover, [0, 0, 0])
    np.testing.assert_array_equal(scenarios.scenario.ego, [0, 0, 0])
    # The ego is in slot 0; the others are those who are there meanwhile; gaps are filled by the smoother.
    np.testing.assert_array_equal(record.present.sum(axis=1), [[50, 30, 15], [40, 30, 0], [40, 0, 0]])
    np.testing.assert_array_equal(
        world.alive, [[True, False, True], [True, True, False], [True, False, False]]
    )


def test_coordinates_are_near_the_scene_and_places_are_on_the_road(scenarios):
    record, world = scenarios.scenario.record, scenarios.scenario.world
    assert np.abs(record.x).max() < 100
    assert np.abs(record.y).max() < 10
    # Along and offset do not depend on the origin.
    np.testing.assert_allclose(record.along[0, :50, 0], 50 + np.arange(50), atol=1e-6)
    np.testing.assert_allclose(record.offset[0, :50, 0], 0.1, atol=1e-6)
    np.testing.assert_array_equal(world.lane[0], [0, 0, 1])
    np.testing.assert_allclose(record.heading[0, :50, 0], 0.01, atol=1e-9)
    road = jax.tree.map(lambda leaf: leaf[0], world.road)
    x, y, _ = road.place(world.lane[0], world.along[0], world.offset[0])
    np.testing.assert_allclose(x[0], world.x[0, 0], atol=1e-6)
    np.testing.assert_allclose(y[0], world.y[0, 0], atol=1e-6)


def test_handover_and_length_can_be_chosen():
    chosen = scenarios_from_states(made_up(), roads().__getitem__, seconds=2.0, handover=1.5, longest=2.5)
    assert chosen.names == ("a/1", "a/2", "b/1")
    np.testing.assert_array_equal(chosen.scenario.handover, [15, 15, 15])
    np.testing.assert_array_equal(chosen.scenario.frames, [40, 39, 39])


def test_further_scenarios_of_a_vehicle_begin_later(scenarios):
    further = scenarios_from_states(made_up(), roads(), seconds=2.0, longest=2.5, every=1.0, handover=0.5)
    assert further.names == (
        "a/1", "a/1@1.0s", "a/1@2.0s", "a/2", "a/2@1.0s", "b/1", "b/1@1.0s",
    )  # fmt: skip
    assert further.groups == (*"aaaaa", "b", "b")
    assert further.starts == (0, 10, 20, 20, 30, 0, 10)
    np.testing.assert_array_equal(further.scenario.handover, 5)
    np.testing.assert_array_equal(further.scenario.frames, [30, 30, 29, 30, 29, 30, 29])
    # Who is there meanwhile, slot by slot; the third of scene "a" leaves after 1.5 s.
    assert further.vehicles == (
        ("1", "2", "3"), ("1", "2", "3"), ("1", "2"), ("2", "1"), ("2", "1"), ("1",), ("1",),
    )  # fmt: skip
    first, later = (jax.tree.map(lambda leaf, k=k: leaf[k], further.scenario.record) for k in (0, 1))
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(later), strict=True):
        np.testing.assert_array_equal(one[10:31], other[:21])
    chosen = further.select([1, 3])
    assert (chosen.vehicles, chosen.starts) == ((("1", "2", "3"), ("2", "1")), (10, 20))
    assert scenarios.starts == (0, 20, 0)
    assert scenarios.vehicles == (("1", "2", "3"), ("2", "1"), ("1",))


def test_who_is_left_out_is_counted():
    assert left_out(made_up(), roads()) == ("1 of 4 vehicles not there long enough",)
    assert left_out(made_up(astray=True), roads(), not_driven=["truck"]) == (
        "1 of 4 vehicles off every lane",
        "1 of 4 vehicles not there long enough",
    )
    assert scenarios_from_states(made_up(astray=True), roads()).groups == ("a", "a")


def test_what_cannot_be_made_is_named():
    with pytest.raises(RecordingError, match=r"at least 30 s.*4 of 4 vehicles not there long enough"):
        scenarios_from_states(made_up(), roads(), seconds=30.0)
    with pytest.raises(RecordingError, match="4 of 4 vehicles of a kind that is not driven"):
        scenarios_from_states(made_up(), roads(), not_driven=["car"])
    with pytest.raises(RecordingError, match="road of every scene, got none of 'b'"):
        scenarios_from_states(made_up(), {"a": roads()["a"]})
    with pytest.raises(OptionError, match="handover"):
        scenarios_from_states(made_up(), roads(), handover=-1.0)
    for every in (0.0, float("nan")):
        with pytest.raises(OptionError, match="every"):
            scenarios_from_states(made_up(), roads(), every=every)


@pytest.fixture(scope="session")
def us101(shared_data):
    """Some recorded scenes as the file has them, raw, and their roads."""
    names = ["USA_US101-12_2_T-1", "USA_US101-8_3_T-1", "USA_US101-26_1_T-1"]
    recording = read_recording(shared_data / "traffic" / "us101_tracks.csv.gz")
    recording = recording.select(np.isin(recording.scene.astype(str), names))
    mean = np.zeros((*recording.x.shape, 6))
    for column, values in enumerate((recording.x, recording.y, recording.heading, recording.speed)):
        mean[..., column] = values
    maps = json.loads(gzip.decompress((shared_data / "traffic" / "us101_lanelets.json.gz").read_bytes()))
    made = {}
    for name in names:
        lanes = []
        for lane in maps[name]:
            sides = np.array(lane["left"]), np.array(lane["right"])
            left, right = (lane[side] and str(lane[side]) for side in ("adjL", "adjR"))
            lanes.append(Lane(str(lane["id"]), *sides, tuple(map(str, lane["succ"])), left, right))
        made[name] = road_from_lanes(lanes)
    return states_of(recording, mean), made


def test_recorded_traffic_becomes_scenarios(us101):
    scenarios = scenarios_from_states(*us101, seconds=2.5)
    record = scenarios.scenario.record
    assert len(set(scenarios.groups)) == 3
    assert len(scenarios) > 20
    present = np.asarray(record.present)
    assert np.abs(np.asarray(record.offset)[present]).max() < 3.5
    # Everybody drives in the direction of its lane.
    line = jax.vmap(lambda road, lane, along: road.at(lane, along).heading)(
        scenarios.scenario.world.road, record.lane, record.along
    )
    turned = np.asarray(record.heading - line)[present]
    assert np.abs((turned + np.pi) % (2 * np.pi) - np.pi).max() < 0.35


@pytest.fixture
def traffic(request):
    """The recorded scenes, or where they are not at hand those made up."""
    try:
        return request.getfixturevalue("us101")
    except pytest.skip.Exception:
        return made_up(), roads()


def test_the_recorded_driver_never_collides_and_makes_all_of_its_way(traffic):
    got = evaluate(Expert(), scenarios_from_states(*traffic, seconds=2.5), key=jax.random.key(0))
    assert got.driver == "expert"
    assert not got.table["overlap"].any()
    assert got.table["recorded_overlap"].sum() == 0
    assert (got.table["sdc_progression"] == 1.0).all()
    assert (got.table["log_divergence"] == 0.0).all()
    assert got.table["success"].all()
    assert got.summary()["fail_rate"].low == 0.0
