import io
import json

import numpy as np
import polars as pl
import pytest

from foresee.driving import read_recording
from foresee.driving.read import recording_from_bytes
from foresee.errors import RecordingError

NAME = "0a1e6f0a-1817-4a98-b02e-db8c9327d151"


def scenario(**changes) -> pl.DataFrame:
    """Two vehicles and a traffic cone for three of 110 frames, in a corner of a city."""
    rows = 9
    columns = {
        "observed": [True] * rows,
        "track_id": ["AV"] * 3 + ["138951"] * 3 + ["139344"] * 3,
        "object_type": ["vehicle"] * 3 + ["bus"] * 3 + ["static"] * 3,
        "object_category": [1] * rows,
        "timestep": [0, 1, 2] * 3,
        "position_x": [-438.0, -437.9, -437.8, -430.0, -430.0, -430.0, 0.0, 0.0, 0.0],
        "position_y": [1320.0, 1321.0, 1322.0, 1330.0, 1329.0, 1328.0, 0.0, 0.0, 0.0],
        "heading": [1.47] * 3 + [-1.57] * 3 + [0.0] * 3,
        "velocity_x": [1.0] * 3 + [0.0] * 6,
        "velocity_y": [10.0] * 3 + [-10.0] * 3 + [0.0] * 3,
        "scenario_id": [NAME] * rows,
        "start_timestamp": [315_969_904_359_876_000] * rows,
        "end_timestamp": [315_969_915_259_931_000] * rows,
        "num_timestamps": [110] * rows,
        "focal_track_id": ["138951"] * rows,
        "city": ["austin"] * rows,
    }
    return pl.DataFrame(columns | changes)


def points(x: float, *ys: float) -> list[dict]:
    return [{"x": x, "y": y, "z": 22.0} for y in ys]


def segment(name, left: float, right: float, ys=(1310.0, 1350.0), mark="DASHED_WHITE", **more) -> dict:
    return {
        "id": name,
        "is_intersection": False,
        "lane_type": "VEHICLE",
        "left_lane_boundary": points(left, *ys),
        "left_lane_mark_type": mark,
        "right_lane_boundary": points(right, *ys),
        "right_lane_mark_type": mark,
        "successors": [],
        "predecessors": [],
        "left_neighbor_id": None,
        "right_neighbor_id": None,
        **more,
    }


def town(**changes) -> dict:
    """Two lanes to the north with a bicycle lane, one to the south, and one that follows."""
    segments = {
        "1": segment(1, -440, -436, left_neighbor_id=4, right_neighbor_id=2, successors=[5, 99]),
        "2": segment(2, -436, -432, left_neighbor_id=1, right_neighbor_id=3),
        "3": segment(3, -432, -430, left_neighbor_id=2, lane_type="BIKE"),
        "4": segment(4, -440, -444, ys=(1350.0, 1310.0), left_neighbor_id=1),
        "5": segment(5, -440, -436, ys=(1350.0, 1390.0)),
    }
    return {"drivable_areas": {}, "pedestrian_crossings": {}, "lane_segments": segments | changes}


def write(folder, table: pl.DataFrame | None = None, roads: object = None):
    path = folder / f"scenario_{NAME}.parquet"
    (scenario() if table is None else table).write_parquet(path)
    if roads is not None:
        text = roads if isinstance(roads, str) else json.dumps(roads)
        (folder / f"log_map_archive_{NAME}.json").write_text(text)
    return path


def test_the_layout(tmp_path):
    recording = read_recording(write(tmp_path))
    assert (recording.frame_rate, recording.scenes(), recording.lanes) == (10, (NAME,), {})
    assert recording.vehicle.tolist() == ["AV", "138951"]
    assert recording.kind.tolist() == ["vehicle", "bus"]
    np.testing.assert_array_equal(recording.y[0], [1320, 1321, 1322])
    assert recording.heading is not None
    assert recording.speed is not None
    np.testing.assert_allclose(recording.heading[:, 0], [1.47, -1.57])
    np.testing.assert_allclose(recording.speed[:, 0], [np.hypot(1, 10), 10])
    assert "1 object of no traffic (static, background" in recording.notes[0]


def test_the_map(tmp_path):
    path = write(tmp_path, roads=town())
    for paths in (path, tmp_path, [path, tmp_path / f"log_map_archive_{NAME}.json"]):
        recording = read_recording(paths)
        lanes = {lane.name: lane for lane in recording.lanes[NAME]}
        assert len(lanes) == 5
    np.testing.assert_array_equal(lanes["1"].left, [[-440, 1310], [-440, 1350]])
    assert lanes["1"].successors == ("5",)
    assert (lanes["1"].left_neighbour, lanes["1"].right_neighbour) == (None, "2")  # the left one is oncoming
    assert (lanes["2"].left_neighbour, lanes["2"].right_neighbour) == (
        "1",
        None,
    )  # the right one is for bicycles
    assert (lanes["2"].kind, lanes["3"].kind) == ("vehicle", "bike")
    solid = town(**{"2": segment(2, -436, -432, left_neighbor_id=1, mark="SOLID_WHITE")})
    assert read_recording(write(tmp_path, roads=solid)).lanes[NAME][1].left_neighbour is None


def test_a_map_of_another_name_can_be_passed_along(tmp_path):
    path = write(tmp_path)
    (tmp_path / "roads.json").write_text(json.dumps(town()))
    assert len(read_recording([path, tmp_path / "roads.json"]).lanes[NAME]) == 5


def test_a_scenario_may_have_any_name(tmp_path):
    strange = "../" * 3 + "etc"
    recording = read_recording(write(tmp_path, scenario(scenario_id=[strange] * 9)))
    assert (recording.scenes(), recording.lanes) == ((strange,), {})


def test_frame_rate(tmp_path):
    silent = scenario().drop("end_timestamp")
    with pytest.raises(RecordingError, match=r"to tell the frame rate; give --frame-rate HZ"):
        read_recording(write(tmp_path, silent))
    assert read_recording(write(tmp_path, silent), frame_rate=10.0).frame_rate == 10
    backwards = scenario(end_timestamp=[0] * 9)
    with pytest.raises(RecordingError, match="last timestamp to be after the first"):
        read_recording(write(tmp_path, backwards))


@pytest.mark.parametrize(
    ("roads", "words"),
    [
        ("{", "JSON is truncated or damaged"),
        ("[]", "expected a JSON object"),
        ({}, "expected lane_segments in the map, got none"),
        (
            {"lane_segments": {"1": {"left_lane_boundary": []}}},
            "lane segment 1 is incomplete or damaged (KeyError",
        ),
        ({"lane_segments": {"1": 5}}, "lane segment 1 is incomplete"),
        ({"lane_segments": {"1": segment(1, float("nan"), 2)}}, "lane_segments with two boundaries"),
        ({"lane_segments": {"1": segment(1, 10**400, 2)}}, "lane segment 1 is incomplete"),
        ({"lane_segments": {"1": segment(1, 0, 4, ys=(0.0, 9.0))}}, "to lie under it, got another place"),
    ],
)
def test_bad_maps(tmp_path, roads, words):
    with pytest.raises(RecordingError) as caught:
        read_recording(write(tmp_path, roads=roads))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_scenarios(tmp_path):
    path = write(tmp_path)
    whole = path.read_bytes()
    with pytest.raises(RecordingError, match="cannot be read as a table"):
        recording_from_bytes(whole[: len(whole) // 2], "s.parquet")
    with pytest.raises(RecordingError, match="missing column"):
        read_recording(write(tmp_path, scenario().drop("position_x")))
    lost = scenario(position_x=[float("nan")] * 9)
    with pytest.raises(RecordingError, match="got none usable"):
        read_recording(write(tmp_path, lost))
    file = io.BytesIO()
    scenario().head(0).write_parquet(file)
    with pytest.raises(RecordingError, match="expected rows"):
        recording_from_bytes(file.getvalue(), "s.parquet")
