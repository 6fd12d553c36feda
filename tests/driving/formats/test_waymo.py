import json

import numpy as np
import pytest

from foresee.driving import read_recording
from foresee.driving.read import recording_from_bytes
from foresee.errors import RecordingError

FRAMES = 12
NOWHERE = {"x": -10_000.0, "y": -10_000.0}


def thing(name, place, velocity, heading, valid=None, **more) -> dict:
    """An object that starts somewhere and keeps its velocity; -10000 where it is not valid."""
    valid = [True] * FRAMES if valid is None else valid
    (x, y), (vx, vy) = place, velocity
    there = [{"x": x + 0.1 * k * vx, "y": y + 0.1 * k * vy, "z": 1.0} for k in range(FRAMES)]
    return {
        "id": name,
        "type": "vehicle",
        "length": 4.7,
        "width": 2.0,
        "position": [p if ok else NOWHERE for p, ok in zip(there, valid, strict=True)],
        "velocity": [{"x": vx, "y": vy} if ok else NOWHERE for ok in valid],
        "heading": [heading if ok else -10_000.0 for ok in valid],
        "valid": valid,
        "goalPosition": {"x": 0.0, "y": 0.0},
        **more,
    }


def road(name, *points, kind="lane", **more) -> dict:
    return {"id": name, "type": kind, "geometry": [{"x": x, "y": y} for x, y in points], **more}


def scene(factor=1.0, **changes) -> bytes:
    late = [False] * 3 + [True] * (FRAMES - 3)
    content = {
        "name": "tfrecord-1_2.json",
        "objects": [
            thing(10, (0, 0), (12.0, 0.0), 0.02 * factor),
            thing(11, (100, 50), (0.0, -9.0), -1.55 * factor, late),
            thing(12, (5, 5), (0.0, 0.0), 2.5 * factor, type="pedestrian", length=0.8, width=0.7),
            thing(13, (0, 0), (0.0, 0.0), 0.0, [False] * FRAMES),
        ],
        "roads": [
            road(20, (-50, 0), (0, 0), (50, 0), map_element_id=2),
            road(21, (-50, 3.6), (0, 3.6), (50, 3.6), map_element_id=3),
            road(22, (50, 0), (-10_000, -10_000), (70, None), (90, 0)),
            road(23, (-50, -2), (50, -2), kind="road_edge"),
            {"id": 24, "type": "stop_sign", "geometry": {"x": 1.0, "y": 2.0}},
            road(25, (1, 1), (1, 1)),
        ],
        "tl_states": {},
    }
    return json.dumps(content | changes).encode()


def read(data: bytes, **options):
    return recording_from_bytes(data, "scene.json", **options)


def refused(data: bytes, **options) -> str:
    with pytest.raises(RecordingError) as caught:
        read(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("factor", "unit"), [(1.0, "radians"), (180 / np.pi, "degrees")])
def test_headings_are_told_by_the_velocities(factor, unit):
    recording = read(scene(factor))
    assert recording.heading is not None
    assert recording.speed is not None
    np.testing.assert_allclose(recording.heading[:, -1], [0.02, -1.55, 2.5])
    np.testing.assert_allclose(recording.speed[:, -1], [12, 9, 0])
    assert f"headings taken for {unit}: that agrees with the velocities" in recording.notes


def test_the_layout(tmp_path):
    (tmp_path / "a.json").write_bytes(scene())
    recording = read_recording(tmp_path)
    assert (recording.frame_rate, recording.scenes()) == (10, ("tfrecord-1_2.json",))
    assert recording.vehicle.tolist() == ["10", "11", "12"]
    assert recording.kind.tolist() == ["vehicle", "vehicle", "pedestrian"]
    assert recording.length.tolist() == [4.7, 4.7, 0.8]
    assert recording.seen.sum(axis=1).tolist() == [12, 9, 12]
    np.testing.assert_allclose(recording.y[1, 3:], 50 - 0.9 * np.arange(3, 12))
    assert "1 object never valid" in recording.notes
    assert "10 Hz, as the Waymo data has; the velocities agree" in recording.notes


def test_lanes():
    recording = read(scene())
    one, bicycles, after = recording.lanes["tfrecord-1_2.json"]
    assert (one.name, one.successors, one.left_neighbour) == ("20", ("22",), "21")
    assert (bicycles.kind, after.kind) == ("bike_lane", "lane")
    np.testing.assert_allclose(one.left, [[-50, 1.8], [0, 1.8], [50, 1.8]])
    np.testing.assert_allclose(after.right, [[50, -1.75], [90, -1.75]])
    assert "1 lane of the map without a length or with a name that was taken left out" in recording.notes
    assert any(note.startswith("lanes have centre lines only") for note in recording.notes)
    assert read(scene(roads=[])).lanes == {}


def test_ids_that_repeat():
    objects = [thing(7, (0, 9 * k), (10.0, 0.0), 0.0) for k in range(2)]
    recording = read(scene(objects=objects))
    assert recording.vehicle.tolist() == ["0", "1"]
    assert "objects numbered by their place, since ids repeat" in recording.notes
    del objects[1]["id"]
    assert read(scene(objects=objects)).vehicle.tolist() == ["7", "1"]


def test_headings_that_say_nothing():
    objects = [thing(1, (0, 0), (0.0, 0.0), 1.0), thing(2, (9, 0), (0.0, 0.0), 2.0)]
    recording = read(scene(objects=objects))
    assert recording.heading is None
    assert any("headings left out" in note for note in recording.notes)
    assert any("nothing moves fast enough" in note for note in recording.notes)
    objects[1] = thing(2, (9, 0), (0.0, 0.0), 90.0)
    recording = read(scene(objects=objects))
    assert recording.heading is not None
    np.testing.assert_allclose(recording.heading[1], np.pi / 2)
    without = {name: value for name, value in objects[0].items() if name != "heading"}
    assert read(scene(objects=[without])).heading is None


def test_contradictions():
    sideways = [thing(k, (0, 9 * k), (10.0, 0.0), 1.0 + k) for k in range(3)]
    message = refused(scene(objects=[thing(1, (0, 0), (0.0, 10.0), 0.3)]))
    assert "a median of 90° if they are degrees and 73° if they are radians" in message
    assert "headings along the velocities" in refused(
        scene(objects=[o | {"heading": [1.6] * FRAMES} for o in [thing(1, (0, 0), (0.0, -10.0), 0.0)]])
    )
    assert read(scene(objects=sideways)).heading is not None  # 1, 2 and 3 degrees
    alongside = [thing(k, (0, 9 * k), (10.0, 0.0), 0.0) for k in range(3)]
    assert read(scene(objects=alongside)).heading is None  # 0 in either unit, and others may stand
    slow = json.loads(scene())
    for one in slow["objects"]:
        for p in one["velocity"]:
            p["x"], p["y"] = p["x"] / 2, p["y"] / 2
    message = refused(json.dumps(slow).encode())
    assert "expected 10 Hz" in message
    assert "give --frame-rate HZ" in message
    assert read(json.dumps(slow).encode(), frame_rate=5.0).frame_rate == 5


def test_bad_scenes():
    whole = scene()
    assert "JSON is truncated or damaged" in refused(whole[: len(whole) // 2])
    assert "list of objects" in refused(scene(objects=[]))
    assert "list of objects" in refused(scene(objects={"a": 1}))
    assert "list of roads" in refused(scene(roads=7))
    assert "road 0 is damaged" in refused(scene(roads=[{"type": "lane"}]))
    assert "road 0 is damaged" in refused(scene(roads=["lane"]))
    good = thing(1, (0, 0), (12.0, 0.0), 0.0)
    for change in (
        {"position": good["position"][:-2]},
        {"position": 3},
        {"position": [{"x": 10**400, "y": 0}] * FRAMES},
        {"heading": ["north"] * FRAMES},
        {"length": "long"},
        {"valid": [True]},
    ):
        assert "object 0 is incomplete or damaged" in refused(scene(objects=[good | change]))
    assert "object 0 is incomplete" in refused(scene(objects=[{"type": "vehicle"}]))
    assert "object 0 is incomplete" in refused(scene(objects=[3]))
    lost = good | {"position": [{"x": float("nan"), "y": 0}] * FRAMES}
    assert refused(scene(objects=[lost]))
    assert "--columns is for tables, got JSON" in refused(whole, columns={"x": "y"})
    sizeless = read(scene(objects=[good | {"length": None, "width": None}]))
    assert sizeless.length.tolist() == [4.8]
