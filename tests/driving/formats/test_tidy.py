import io

import numpy as np
import polars as pl
import pytest

from foresee.driving import read_recording
from foresee.driving.read import recording_from_bytes
from foresee.errors import RecordingError


def read(text: str | bytes, **options):
    return recording_from_bytes(text.encode() if isinstance(text, str) else text, "in.csv", **options)


def refused(text: str | bytes, **options) -> str:
    with pytest.raises(RecordingError) as caught:
        read(text, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def table(rows: str, header: str = "id,time,x,y") -> str:
    return header + "\n" + rows.replace(" ", "\n") + "\n"


TWO = "1,0,0,0 1,0.1,2,0 1,0.2,4,0"


def test_plain():
    recording = read(table(TWO + " 2,0.1,9,3 2,0.2,11,3"))
    np.testing.assert_array_equal(recording.x, [[0, 2, 4], [0, 9, 11]])
    np.testing.assert_array_equal(recording.seen, [[1, 1, 1], [0, 1, 1]])
    assert recording.frame_rate == 10
    assert recording.vehicle.tolist() == ["1", "2"]
    assert recording.notes == ("2 vehicles without length or width, usual sizes taken",)


def test_missing_columns_name_the_nearest():
    message = refused(table("1,0,2,3", "id,time,Local_X,pos_y"))
    assert "missing column x (nearest: Local_X); y (nearest: pos_y)" in message
    assert "--columns x=NAME" in message
    assert "frame or time (nearest: tiem)" in refused(table("1,0,2,3", "id,tiem,x,y"))


def test_unused_columns_are_told():
    notes = read(table("1,0,0,0,4,7 1,0.1,2,0,4,7", "id,time,x,y,lenght,s")).notes
    assert "2 columns not used: lenght (nearest: length), s" in notes


def test_mapping():
    text = table("1,0,0,0 1,0.1,2,1", "who,when,Local_X,Local_Y")
    names = {"id": "who", "time": "when", "x": "Local_Y", "y": "Local_X"}
    recording = read(text, columns=names)
    np.testing.assert_array_equal(recording.x, [[0, 1]])
    np.testing.assert_array_equal(recording.y, [[0, 2]])
    assert "(nearest: Local_X" in refused(text, columns=names | {"x": "local_x"})
    assert "expected one of" in refused(text, columns=names | {"heigth": "who"})


def test_a_frame_column_needs_a_rate():
    text = table("1,0,0,0 1,1,2,0 1,2,4,0", "id,step,x,y")
    assert "--frame-rate HZ" in refused(text)
    assert read(text, frame_rate=12.5).frame_rate == 12.5
    for rate in (0.0, -1.0, float("nan"), float("inf"), 1e9):
        assert "--frame-rate" in refused(text, frame_rate=rate)


def test_the_rate_follows_from_recorded_speeds_if_they_agree():
    x = np.arange(60) * 20.0 / 25 + np.random.default_rng(0).normal(size=60) * 0.02
    rows = [f"1,{k},{x[k]:.4f},0,20" for k in range(60)]
    recording = read(table(" ".join(rows), "id,step,x,y,speed"))
    assert recording.frame_rate == 25
    assert any("frame rate taken as 25 Hz" in note for note in recording.notes)
    in_kmh = [f"1,{k},{x[k]:.4f},0,72" for k in range(60)]
    assert "--frame-rate" in refused(table(" ".join(in_kmh), "id,step,x,y,speed"))


def test_rate_by_clock():
    text = table("1,10,1000,0,0 1,20,1400,1,0 1,30,1800,2,0", "id,frame,timestamp_ms,x,y")
    recording = read(text)
    assert recording.frame_rate == 2.5
    assert recording.frames == 3
    assert "frames come in steps of 10: counted by that, 2.5 Hz" in recording.notes
    assert "milliseconds" in refused(table("1,0,0,0 1,100,2,0 1,200,4,0"))
    message = refused(table("1,0,0,0 1,0.1,2,0 1,0.237,4,0 1,0.255,5,0 1,0.342,6,0 1,0.46,7,0"))
    assert "regular grid" in message


def test_duplicates():
    notes = read(table("1,0,0,0 1,0,0,0 1,0.1,2,0 1,0.1,2.5,0")).notes
    assert "2 duplicate (vehicle, time) rows dropped, 1 of them with another position" in notes
    np.testing.assert_array_equal(read(table("1,0,0,0 1,0.1,2,0 1,0.1,9,9")).x, [[0, 2]])


def test_time_running_backwards():
    recording = read(table("1,0.2,4,0 1,0.1,2,0 1,0,0,0"))
    np.testing.assert_array_equal(recording.x, [[0, 2, 4]])
    assert "2 steps back in time, rows sorted" in recording.notes


def test_one_row_vehicles():
    recording = read(table(TWO + " 7,0,1,1"))
    assert recording.vehicles == 1
    assert "1 one-row vehicle dropped" in recording.notes
    assert "at least two positions" in refused(table("1,0,0,0 2,0.1,2,0"), frame_rate=10.0)


@pytest.mark.parametrize("cell", ["NaN", "inf", "-inf", "", "abc", "1e300"])
def test_cells_that_are_no_numbers(cell):
    recording = read(table(f"1,0,0,0 1,0.1,{cell},0 1,0.2,4,0"))
    np.testing.assert_array_equal(recording.seen, [[1, 0, 1]])
    np.testing.assert_array_equal(recording.x, [[0, 0, 4]])
    assert "1 position missing or not finite, taken as not seen" in recording.notes
    assert "1 gap in the tracks, 1 frames in all, kept as not seen" in recording.notes
    recording = read(table(f"1,{cell},0,0 {TWO}"))
    assert recording.vehicles == 1


def test_rows_without_a_vehicle():
    assert "1 row without a vehicle or a time dropped" in read(table(TWO + " ,0.3,1,1")).notes


def test_gigantic_ids():
    ids = ("9" * 400, "123456789012345678901234567890", "0x" + "f" * 99, "Ω-1")
    recording = read(table(" ".join(f"{name},{t},{t},0" for name in ids for t in (0, 1)), "id,time,x,y"))
    assert tuple(recording.vehicle) == ids


def test_gigantic_frames():
    start = 10**18
    frames = read(table(f"1,{start},0,0 1,{start + 1},2,0", "id,frame,x,y"), frame_rate=10.0)
    assert frames.frames == 2
    for far in (10**12, 10**17):
        message = refused(table(f"1,0,0,0 1,1,2,0 1,{far},4,0", "id,frame,x,y"), frame_rate=10.0)
        assert "frames" in message
    assert refused(table("1,-9e18,0,0 1,9e18,2,0", "id,frame,x,y"), frame_rate=10.0)
    assert "whole frame" in refused(table("1,0.5,0,0 1,1,2,0", "id,frame,x,y"), frame_rate=10.0)
    assert refused(table("1,0,0,0 1,0.1,2,0 1,1e12,4,0"))


def test_units():
    message = refused(table("1,0,0,0 1,0.1,13,0 1,0.2,26,0"))
    assert "units cannot be right" in message
    assert "130 m/s" in message
    assert "--units ft" in message
    recording = read(table("1,0,0,0 1,0.1,13,0 1,0.2,26,0"), units="ft")
    np.testing.assert_allclose(recording.x, [[0, 13 * 0.3048, 26 * 0.3048]])
    wide = table("1,0,0,0,16,6.5 1,0.1,2,0,16,6.5", "id,time,x,y,length,width")
    assert "width has a median of 6.5 m" in refused(wide)
    assert "recorded speed" in refused(table("1,0,0,0,200 1,0.1,2,0,200", "id,time,x,y,speed"))
    assert "units m or ft, got 'miles'" in refused(table(TWO), units="miles")


def test_one_absurd_vehicle_of_many_is_dropped():
    rows = [f"{v},{t / 10},{t},{v}" for v in range(30) for t in range(4)]
    recording = read(table(" ".join([*rows, "99,0,0,0", "99,0.1,500,0", "99,0.2,1000,0"])))
    assert recording.vehicles == 30
    assert "1 vehicle faster than 120 m/s throughout dropped" in recording.notes


def test_degrees():
    recording = read(table("1,0,0,0,90 1,0.1,0,2,90", "id,time,x,y,heading"))
    assert recording.heading is not None
    np.testing.assert_allclose(recording.heading, np.pi / 2)
    assert "headings beyond 2π taken for degrees" in recording.notes


def test_velocity_components():
    recording = read(table("1,0,0,0,3,4 1,0.1,.3,.4,3,4", "id,time,x,y,vx,vy"))
    assert recording.speed is not None
    np.testing.assert_allclose(recording.speed, 5.0)


def test_parquet_with_its_own_types():
    file = io.BytesIO()
    frame = pl.DataFrame(
        {"id": [1.0, 1.0, 2.0, 2.0], "frame": [0, 1, 0, 1], "x": [0, 1, None, 3], "y": [0.0] * 4}
    )
    frame.write_parquet(file)
    recording = read(file.getvalue(), frame_rate=10.0)
    assert recording.vehicle.tolist() == ["1"]
    lists = io.BytesIO()
    frame.with_columns(x=pl.lit([1, 2])).write_parquet(lists)
    assert refused(lists.getvalue(), frame_rate=10.0)


def test_us101_tracks(shared_data):
    recording = read_recording(shared_data / "traffic" / "us101_tracks.csv.gz")
    assert (recording.vehicles, recording.frames, len(recording.scenes())) == (788, 167, 33)
    assert recording.frame_rate == 10
    assert "2 one-row vehicles dropped" in recording.notes
    assert any("frame rate taken as 10 Hz" in note for note in recording.notes)
    assert int(recording.seen.sum()) == 44_938
    assert int(recording.given["acceleration"].sum()) < 44_938


def test_interaction_layout(shared_data):
    path = shared_data / "traffic" / "interaction_sample" / "vehicle_tracks_000.csv"
    recording = read_recording(path)
    assert (recording.vehicles, recording.frame_rate) == (2, 10)


def test_lane_numbers():
    recording = read(
        table("1,0,0,0,2 1,0.1,2,0,left 1,0.2,4,0, 1,0.3,6,0,1.5 1,0.4,8,0,-1", "id,time,x,y,lane")
    )
    assert recording.lane is not None
    assert recording.lane.tolist() == [[2, -1, -1, -1, -1]]
    assert "3 lane numbers not whole, taken as unknown" in recording.notes
    assert read(table("1,0,0,0,a 1,0.1,2,0,b", "id,time,x,y,lane")).lane is None
