import gzip
import json
import time

import numpy as np
import pytest

from foresee.driving import read_recording
from foresee.driving.read import recording_from_bytes
from foresee.errors import RecordingError

RECTANGLE = "<rectangle><length>5</length><width>2</width></rectangle>"


def state(t, x, y, tag="state", place: str | None = None) -> str:
    place = place or f"<point><x>{x}</x><y>{y}</y></point>"
    return (
        f"<{tag}><position>{place}</position><orientation><exact>0.1</exact></orientation>"
        f"<time><exact>{t}</exact></time><velocity><exact>12</exact></velocity></{tag}>"
    )


def obstacle(
    name="7", shape=RECTANGLE, tag="obstacle", role="dynamic", states: list[str] | None = None
) -> str:
    first, *rest = states or [state(0, 0, 0, "initialState"), state(1, 1.2, 0.1), state(2, 2.4, 0.2)]
    head = f"<role>{role}</role>" if tag == "obstacle" else ""
    return (
        f'<{tag} id="{name}">{head}<type>car</type><shape>{shape}</shape>{first}'
        f"<trajectory>{''.join(rest)}</trajectory></{tag}>"
    )


def scenario(*obstacles: str, attributes='timeStepSize="0.1" benchmarkID="A_B-1"') -> bytes:
    return f"<?xml version='1.0'?><commonRoad {attributes}>{''.join(obstacles)}</commonRoad>".encode()


def read(data: bytes, **options):
    return recording_from_bytes(data, "in.xml", **options)


def refused(data: bytes, **options) -> str:
    with pytest.raises(RecordingError) as caught:
        read(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("tag", ["obstacle", "dynamicObstacle"])
def test_both_versions(tag):
    recording = read(scenario(obstacle(tag=tag)))
    np.testing.assert_allclose(recording.x, [[0, 1.2, 2.4]])
    assert recording.heading is not None
    assert recording.speed is not None
    np.testing.assert_allclose(recording.heading, 0.1)
    np.testing.assert_allclose(recording.speed, 12)
    assert (recording.scenes(), recording.frame_rate) == (("A_B-1",), 10)
    assert (recording.length[0], recording.width[0]) == (5, 2)


def test_other_shapes_and_regions():
    corners = [(-2, -1), (2, -1), (2, 1), (-2, 1)]
    polygon = "<polygon>" + "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in corners) + "</polygon>"
    region = "<rectangle><length>1</length><width>1</width><center><x>1.3</x><y>0</y></center></rectangle>"
    states = [state(0, 0, 0, "initialState"), state(1, 0, 0, place=region), state(2, 0, 0, place=polygon)]
    recording = read(
        scenario(obstacle(shape=polygon), obstacle("8", "<circle><radius>1</radius></circle>", states=states))
    )
    assert recording.length.tolist() == [4, 2]
    np.testing.assert_allclose(recording.x[1], [0, 1.3, 0])
    assert recording.notes == (
        "2 positions given as a region, its middle taken",
        "1 polygon replaced by the box around it",
        "1 circle replaced by the square around it",
    )


def test_intervals():
    words = state(1, 1, 0).replace(
        "<exact>12</exact>", "<intervalStart>10</intervalStart><intervalEnd>14</intervalEnd>"
    )
    recording = read(scenario(obstacle(states=[state(0, 0, 0, "initialState"), words])))
    assert recording.speed is not None
    np.testing.assert_allclose(recording.speed, 12)
    assert "1 number given as an interval, its middle taken" in recording.notes


def test_what_does_not_move_is_left_out():
    still = obstacle("1", role="static")
    lone = obstacle("2", states=[state(0, 0, 0, "initialState")])
    recording = read(scenario(still, lone, obstacle("3")))
    assert recording.vehicle.tolist() == ["3"]
    assert len(recording.notes) == 2
    assert "dynamic obstacles" in refused(scenario(still))


def test_not_commonroad():
    whole = scenario(obstacle())
    assert "truncated or damaged" in refused(whole[:-40])
    assert "expected a CommonRoad file, got XML <osm>" in refused(b"<osm></osm>")
    assert "timeStepSize in seconds, got none" in refused(scenario(obstacle(), attributes=""))
    assert "timeStepSize" in refused(scenario(obstacle(), attributes='timeStepSize="soon"'))
    assert read(scenario(obstacle(), attributes=""), frame_rate=10.0).frame_rate == 10
    assert "--columns is for tables" in refused(whole, columns={"x": "y"})
    assert "whole time steps" in refused(whole.replace(b"<exact>2<", b"<exact>2.2<"))
    assert "expected at most" in refused(whole.replace(b"<exact>2<", b"<exact>1e12<"))
    assert refused(whole.replace(b"version='1.0'", b"version='1.0' encoding='klingon'"))


def test_entity_bombs():
    bomb = b'<!DOCTYPE l [<!ENTITY a "ha">' + b"".join(
        b'<!ENTITY a%d "%s">' % (k, b"&a%d;" % (k - 1) * 10 if k else b"ha") for k in range(12)
    )
    data = scenario(obstacle()).replace(b"<commonRoad", bomb + b"]><commonRoad")
    begin = time.monotonic()
    assert "refused its entities" in refused(data)
    assert "refused its entities" in refused(gzip.compress(data, mtime=0))
    outside = b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><commonRoad'
    assert "refused its" in refused(scenario(obstacle()).replace(b"<commonRoad", outside))
    assert time.monotonic() - begin < 2


@pytest.fixture(scope="module")
def us101(shared_data):
    files = sorted((shared_data / "traffic").glob("USA_US101-*.xml"))
    assert len(files) == 6
    return [read_recording(path) for path in files]


def test_real_files_agree_with_the_table(us101, shared_data):
    table = read_recording(shared_data / "traffic" / "us101_tracks.csv.gz")
    for recording in us101:
        same = table.select(scene=recording.scenes()[0])
        assert sorted(recording.vehicle) == sorted(same.vehicle)
        order = [same.vehicle.tolist().index(v) for v in recording.vehicle]
        np.testing.assert_allclose(recording.x, same.x[order], atol=1e-4)
        np.testing.assert_allclose(recording.y, same.y[order], atol=1e-4)
        np.testing.assert_array_equal(recording.seen, same.seen[order])


def lanelet(name, y: float, *parts: str, marking: str = "") -> str:
    def bound(tag: str, y: float) -> str:
        points = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x in (0, 50, 50, 100))
        return f"<{tag}>{points}{marking}</{tag}>"

    inside = bound("leftBound", y + 2) + bound("rightBound", y - 2) + "".join(parts)
    return f'<lanelet id="{name}">{inside}</lanelet>'


def test_lanelets():
    recording = read(
        scenario(
            lanelet(
                1, 0, '<successor ref="2"/><successor ref="9"/>', '<adjacentRight ref="3" drivingDir="same"/>'
            ),
            lanelet(2, 0, "<laneletType>Highway</laneletType>", "<speedLimit>30</speedLimit>"),
            lanelet(3, -4, '<adjacentLeft ref="1" drivingDir="opposite"/>', '<trafficSignRef ref="50"/>'),
            lanelet(4, 8, "<laneletType>crosswalk</laneletType>"),
            '<lanelet id="5"><leftBound/><rightBound/></lanelet>',
            obstacle(),
            '<trafficSign id="50"><trafficSignElement><trafficSignID>274</trafficSignID>'
            "<additionalValue>13.9</additionalValue></trafficSignElement></trafficSign>",
        )
    )
    one, two, three = recording.lanes["A_B-1"]
    np.testing.assert_array_equal(one.left, [[0, 2], [50, 2], [100, 2]])
    np.testing.assert_array_equal(one.right, [[0, -2], [50, -2], [100, -2]])
    assert (one.successors, one.left_neighbour, one.right_neighbour) == (("2",), None, "3")
    assert (one.kind, one.speed_limit) == ("lane", None)
    assert (two.kind, two.speed_limit) == ("highway", 30)
    assert (three.left_neighbour, three.speed_limit) == (None, 13.9)
    assert recording.notes == (
        "1 way for walking left out of the map",
        "1 lane of the map without two boundaries of some length left out",
        "1 connection to lanes that the map does not have left out",
    )


def test_solid_marks_are_not_crossed():
    beside = '<adjacentRight ref="3" drivingDir="same"/>'
    for marking, neighbour in (("solid", None), ("dashed", "3"), ("", "3"), ("broad_solid", None)):
        mark = f"<lineMarking>{marking}</lineMarking>"
        recording = read(scenario(lanelet(1, 0, beside, marking=mark), lanelet(3, -4), obstacle()))
        assert recording.lanes["A_B-1"][0].right_neighbour == neighbour


def test_real_lanelets(us101, shared_data):
    with gzip.open(shared_data / "traffic" / "us101_lanelets.json.gz") as file:
        expected = json.load(file)
    for recording in us101:
        (scene,) = recording.scenes()
        lanes = {lane.name: lane for lane in recording.lanes[scene]}
        assert len(lanes) == len(expected[scene])
        for other in expected[scene]:
            lane = lanes[str(other["id"])]
            assert list(lane.successors) == [str(name) for name in other["succ"]]
            assert (lane.left_neighbour, lane.right_neighbour) == (other["adjL"], other["adjR"])
            np.testing.assert_allclose(lane.left[[0, -1]], np.array(other["left"])[[0, -1]], atol=1e-3)
            np.testing.assert_allclose(lane.right[[0, -1]], np.array(other["right"])[[0, -1]], atol=1e-3)
