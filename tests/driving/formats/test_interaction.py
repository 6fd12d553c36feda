import numpy as np
import pytest

from foresee.driving import read_recording
from foresee.errors import RecordingError

HEADER = "track_id,frame_id,timestamp_ms,agent_type,x,y,vx,vy,psi_rad,length,width\n"
ROWS = "".join(f"1,{k},{100 * k},car,{1000 + k},{1002},10,0,0,4.5,1.8\n" for k in range(1, 6))
WALKERS = "track_id,frame_id,timestamp_ms,agent_type,x,y,vx,vy\n" + "".join(
    f"P1,{k},{100 * k},pedestrian/bicycle,{1000 + 0.1 * k},1008,1,0\n" for k in range(1, 6)
)


def osm(x: float, y: float) -> str:
    """One lanelet of 100 × 4 m with its right rear corner at x, y."""
    nodes = "".join(
        f'<node id="{k}" lat="{(y + dy) / 110_681.6}" lon="{(x + dx) / 111_427.5}"/>'
        for k, (dx, dy) in enumerate([(0, 0), (100, 0), (0, 4), (100, 4)])
    )
    ways = "".join(f'<way id="{k}"><nd ref="{2 * k}"/><nd ref="{2 * k + 1}"/></way>' for k in range(2))
    lanelet = (
        '<relation id="5"><member type="way" ref="1" role="left"/><member type="way" ref="0" role="right"/>'
    )
    return f'<osm>{nodes}{ways}{lanelet}<tag k="type" v="lanelet"/></relation></osm>'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vehicle_tracks_000.csv").write_text(HEADER + ROWS)
    return tmp_path


def test_vehicles_and_pedestrians(folder):
    recording = read_recording(folder / "vehicle_tracks_000.csv")
    assert (recording.frame_rate, recording.lanes) == (10, {})
    assert recording.notes[0].startswith("no lanes: no Lanelet2 map was passed along")
    assert recording.heading is not None
    assert recording.speed is not None
    np.testing.assert_allclose(recording.speed, 10)
    (folder / "pedestrian_tracks_000.csv").write_text(WALKERS)
    both = read_recording(folder)
    assert both.scenes() == ("vehicle_tracks_000",)
    assert both.kind.tolist() == ["car", "pedestrian/bicycle"]
    assert both.length.tolist() == [4.5, 1.8]
    assert both.given["heading"].any(axis=1).tolist() == [True, False]
    assert both.notes[0] == "pedestrian_tracks_000.csv read into the same scene"
    alone = read_recording(folder / "pedestrian_tracks_000.csv")
    assert (alone.scenes(), alone.heading) == (("pedestrian_tracks_000",), None)
    named = read_recording(folder, columns={"x": "x"})
    assert named.scenes() == ("pedestrian_tracks_000", "vehicle_tracks_000")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WALKERS.replace("P1", "1"), "expected other track_ids than those of the vehicles, got 1"),
        (WALKERS.replace("vx", "speed"), "expected pedestrians in the columns of the vehicles"),
        (WALKERS.replace("vy", "vy,more"), "expected pedestrians in the columns of the vehicles"),
    ],
)
def test_pedestrians_of_something_else(folder, text, words):
    (folder / "pedestrian_tracks_000.csv").write_text(text)
    with pytest.raises(RecordingError, match=words):
        read_recording(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER, "expected rows"),
        (HEADER + ROWS.replace("1002", "nan"), "got none usable"),
        (HEADER.replace("psi_rad,", "psi_rad").replace("x,y", "x,z") + ROWS, "missing column y"),
        (HEADER + ROWS.replace(",car", ",car,"), "expected|missing|got"),
    ],
)
def test_bad_tracks(tmp_path, text, words):
    (tmp_path / "vehicle_tracks_000.csv").write_text(text)
    with pytest.raises(RecordingError, match=words) as caught:
        read_recording(tmp_path)
    assert "\n" not in str(caught.value)


def test_where_the_map_is_found(folder):
    tracks = folder / "vehicle_tracks_000.csv"
    (folder / "DR_place.osm").write_text(osm(950, 1000))
    recording = read_recording(tracks)
    assert recording.notes == ("lanes from DR_place.osm, found beside the recording",)
    (lane,) = recording.lanes["vehicle_tracks_000"]
    np.testing.assert_allclose(lane.left, [[950, 1004], [1050, 1004]], atol=0.05)
    (folder / "other.osm").write_text(osm(950, 1000))
    assert read_recording(tracks).lanes == {}  # two maps beside it, and no word on which
    assert "passed along" in read_recording([tracks, folder / "other.osm"]).notes[0]
    (folder / "map.osm").write_text(osm(950, 1000))
    assert "lanes from map.osm" in read_recording(tracks).notes[0]
    with pytest.raises(RecordingError, match="expected one Lanelet2 map with it, got 2"):
        read_recording([tracks, folder / "map.osm", folder / "other.osm"])


def test_a_map_of_another_place(folder):
    (folder / "far.osm").write_text(osm(3000, 3000))
    recording = read_recording(folder)
    assert recording.lanes == {}
    assert recording.notes == ("far.osm, found beside the recording, lies elsewhere and was not used",)
    with pytest.raises(RecordingError, match="to lie under the recording, got 0 %"):
        read_recording([folder, folder / "far.osm"])


def test_the_real_layout(shared_data):
    folder = shared_data / "traffic" / "interaction_sample"
    recording = read_recording([folder / "vehicle_tracks_000.csv", folder / "map.osm"])
    assert (recording.vehicles, recording.frame_rate) == (2, 10)
    there, back = recording.lanes["vehicle_tracks_000"]
    np.testing.assert_allclose(there.left, [[1, 4], [101, 4]], atol=1e-4)
    np.testing.assert_allclose(there.right, [[1, 1], [101, 1]], atol=1e-4)
    np.testing.assert_allclose(back.left, [[101, 4], [1, 4]], atol=1e-4)
    np.testing.assert_allclose(back.right, [[101, 7], [1, 7]], atol=1e-4)
    assert there.left_neighbour is None  # it is the oncoming one
    assert recording.heading is not None
    for v, lane in enumerate((there, back)):  # each vehicle drives along the middle of one of the two lanes
        middle = (lane.left + lane.right) / 2
        np.testing.assert_allclose(recording.y[v][recording.seen[v]], middle[0, 1], atol=0.1)
