import gzip
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


def test_real_files_agree_with_the_table(shared_data):
    folder = shared_data / "traffic"
    table = read_recording(folder / "us101_tracks.csv.gz")
    files = sorted(folder.glob("USA_US101-*.xml"))
    assert files
    for path in files:
        recording = read_recording(path)
        same = table.select(scene=recording.scenes()[0])
        assert sorted(recording.vehicle) == sorted(same.vehicle)
        order = [same.vehicle.tolist().index(v) for v in recording.vehicle]
        np.testing.assert_allclose(recording.x, same.x[order], atol=1e-4)
        np.testing.assert_allclose(recording.y, same.y[order], atol=1e-4)
        np.testing.assert_array_equal(recording.seen, same.seen[order])
