from dataclasses import fields, replace

import numpy as np
import pytest

from foresee.driving import Recording, Truth, read_recording, synthetic_recording
from foresee.driving.lanes import Lane
from foresee.errors import RecordingError


def small(**changes) -> Recording:
    seen = np.array([[1, 1, 0, 1, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]], bool)
    x = np.where(seen, np.arange(5.0) * 2, 0.0)
    base = Recording(
        source="by hand",
        frame_rate=10.0,
        scene=np.array(["a", "a", "b"], dtype=object),
        vehicle=np.array(["1", "2", "1"], dtype=object),
        kind=np.array(["car", "truck", "car"], dtype=object),
        length=np.array([4.0, 12.0, 5.0]),
        width=np.array([1.8, 2.5, 2.0]),
        x=x,
        y=x / 3,
        seen=seen,
        speed=np.where(seen, 20.0, 0.0),
        given={"speed": seen.copy()},
    )
    return replace(base, **changes)


def mapped(**changes) -> Recording:
    base = small()
    edges = np.array([[0.0, 2.0], [20.0, 2.0]])
    lanes = (
        Lane("1", edges, edges - 4, ("2",), None, "3", "ramp", 25.0),
        Lane("2", edges + 20, edges + 16),
        Lane("3", edges - 4, edges - 8, left_neighbour="1"),
    )
    numbers = np.where(base.seen, np.arange(3)[:, None] + 4, -1)
    numbers[0, 0] = -1
    return replace(base, lane=numbers, lanes={"a": lanes, "b": lanes[:1]}, **changes)


def assert_same_sightings(left: Recording, right: Recording):
    for name in ("scene", "vehicle", "kind", "length", "width", "x", "y", "seen"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    assert left.frame_rate == right.frame_rate
    assert (left.lane is None) == (right.lane is None)
    if left.lane is not None:
        np.testing.assert_array_equal(left.lane, right.lane)
    assert set(left.given) == set(right.given)
    for name, mask in left.given.items():
        np.testing.assert_array_equal(mask, right.given[name])
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def test_counts():
    recording = small().validate()
    assert (recording.vehicles, recording.frames, recording.scenes()) == (3, 5, ("a", "b"))
    assert recording.gaps() == 3
    assert recording.seconds == pytest.approx(0.8)


def test_tracks_begin_with_the_first_sighting():
    recording = small()
    tracks = recording.tracks()
    assert tracks.first.tolist() == [0, 2, 0]
    for v in range(3):
        for t in range(tracks.x.shape[1]):
            there = tracks.first[v] + t < recording.frames and recording.seen[v, tracks.first[v] + t]
            assert tracks.seen[v, t] == there
            assert tracks.x[v, t] == (recording.x[v, tracks.first[v] + t] if there else 0.0)
    np.testing.assert_array_equal(tracks.spread(tracks.x, 5), recording.x)


def test_select():
    recording = small()
    assert recording.select(scene="b").vehicles == 1
    cut = recording.select(np.array([True, False, False]))
    assert cut.frames == 4
    assert cut.given["speed"].shape == (1, 4)
    assert recording.select(np.array([1, 2])).vehicle.tolist() == ["2", "1"]
    with pytest.raises(RecordingError, match="one of the scenes a, b, got 'c'"):
        recording.select(scene="c")
    for vehicles, words in ((np.zeros(3, bool), "got none"), (np.array([7]), "indices of 3 vehicles")):
        with pytest.raises(RecordingError, match=words):
            recording.select(vehicles)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frame_rate": 0.0}, "positive frame rate in Hz, got 0"),
        ({"x": np.full((3, 5), np.nan)}, "finite values in x, got 15"),
        ({"length": np.array([4.0, -1.0, 5.0])}, "positive length"),
        ({"given": {}}, "exactly if speed is recorded"),
        ({"seen": np.zeros((3, 5), bool)}, "every vehicle to be seen, got 3 never"),
        ({"scene": np.array(["a", "a", "a"], dtype=object)}, "once in its scene"),
        ({"lanes": {"c": ()}}, "lanes of the scenes a, b, got 'c'"),
        ({"lanes": {"a": (Lane("9", np.zeros((2, 2)), np.eye(2)),)}}, "left boundary of lane '9'"),
        ({"lanes": {"a": (Lane("9", np.eye(2), np.eye(2)),) * 2}}, "got '9' twice"),
    ],
)
def test_validate_names_what_is_wrong(changes, words):
    with pytest.raises(RecordingError, match=words):
        small(**changes).validate()


def test_lanes_stay_with_their_scenes():
    recording = mapped().validate()
    chosen = recording.select(scene="b")
    assert set(chosen.lanes) == {"b"}
    assert chosen.lane is not None
    assert chosen.lane.tolist() == [[6, -1, 6, -1, 6]]
    assert recording.select(np.array([0])).lanes["a"] == recording.lanes["a"]


def test_a_map_is_kept_in_parquet(tmp_path):
    recording = mapped()
    again = read_recording(recording.write(tmp_path / "t.parquet"))
    assert_same_sightings(recording, again)
    assert set(again.lanes) == {"a", "b"}
    for scene, lanes in recording.lanes.items():
        for lane, same in zip(lanes, again.lanes[scene], strict=True):
            for f in fields(Lane):
                np.testing.assert_array_equal(getattr(lane, f.name), getattr(same, f.name))
    csv = read_recording(recording.write(tmp_path / "t.csv"))
    assert_same_sightings(recording, csv)
    assert csv.lanes == {}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_written_and_read_again(tmp_path, ending):
    for recording in (small(), synthetic_recording(3, vehicles=12, seconds=8)):
        path = recording.write(tmp_path / f"traffic.{ending}")
        again = read_recording(path)
        assert_same_sightings(recording.select(), again.select())
        if recording.truth is not None:
            assert again.truth is not None
            for f in fields(Truth)[1:]:
                expected = np.where(recording.seen, getattr(recording.truth, f.name), 0.0)[:, : again.frames]
                np.testing.assert_array_equal(expected, getattr(again.truth, f.name))
    assert [p.name for p in tmp_path.iterdir()] == [f"traffic.{ending}"]


def test_missing_values_of_a_channel_survive(tmp_path):
    mask = small().seen.copy()
    mask[0, 0] = False
    recording = small(given={"speed": mask}, speed=np.where(mask, 20.0, 0.0))
    assert_same_sightings(recording, read_recording(recording.write(tmp_path / "t.parquet")))


def test_unwritable(tmp_path):
    with pytest.raises(RecordingError, match="cannot be written"):
        small().write(tmp_path / "no" / "t.csv")
    with pytest.raises(RecordingError, match=r"\.parquet or \.csv, got 't\.txt'"):
        small().write(tmp_path / "t.txt")
