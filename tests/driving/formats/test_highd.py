import gzip

import numpy as np
import pytest

from foresee.driving import read_recording
from foresee.driving.read import recording_from_bytes
from foresee.errors import RecordingError

COLUMNS = (
    "frame,id,x,y,width,height,xVelocity,yVelocity,xAcceleration,yAcceleration,frontSightDistance,"
    "backSightDistance,dhw,thw,ttc,precedingXVelocity,precedingId,followingId,laneId"
)


def row(frame, name, x, y, length, width, v, a, lane) -> str:
    return f"{frame},{name},{x},{y},{length},{width},{v},0.3,{a},0,0,0,0,0,0,0,0,0,{lane}"


# A car on the upper side drives to the left in lane 3, a truck on the lower side to the right in lane 5.
TRACKS = [
    COLUMNS,
    *(row(k, 1, 300 - 1.2 * k, 13.0, 4.0, 2.0, -30.0, -0.5, 3) for k in range(1, 6)),
    *(row(k, 2, 20 + 0.8 * k, 22.0, 12.0, 2.5, 20.0, 0.25, 5) for k in range(1, 6)),
]
ABOUT = [
    "id,width,height,initialFrame,finalFrame,numFrames,class,drivingDirection,numLaneChanges",
    "1,4,2,1,5,5,Car,1,0",
    "2,12,2.5,1,5,5,Truck,2,0",
]
SITE = [
    "id,frameRate,locationId,speedLimit,numVehicles,upperLaneMarkings,lowerLaneMarkings",
    "1,25,2,36.11,2,8.5;12.6;16.4,21.0;25.0;28.8",
]


def write(folder, tracks=TRACKS, about=ABOUT, site=SITE):
    for name, lines in (("tracks", tracks), ("tracksMeta", about), ("recordingMeta", site)):
        if lines is not None:
            (folder / f"01_{name}.csv").write_text("\n".join(lines) + "\n")
    return folder / "01_tracks.csv"


def test_corners_in_the_picture_become_centres_with_y_upwards(tmp_path):
    recording = read_recording(write(tmp_path))
    k = np.arange(1, 6)
    np.testing.assert_allclose(recording.x, [302 - 1.2 * k, 26 + 0.8 * k])
    np.testing.assert_allclose(recording.y, [np.full(5, -14.0), np.full(5, -23.25)])
    assert (recording.frame_rate, recording.scenes()) == (25, ("01",))
    assert recording.kind.tolist() == ["car", "truck"]
    assert (recording.length.tolist(), recording.width.tolist()) == ([4, 12], [2, 2.5])
    assert recording.heading is None
    assert recording.speed is not None
    assert recording.acceleration is not None
    assert recording.lane is not None
    np.testing.assert_allclose(recording.speed[0], np.hypot(30, 0.3))
    np.testing.assert_allclose(recording.acceleration[:, 0], [0.5, 0.25])  # along each one's own direction
    assert recording.lane[:, 0].tolist() == [3, 5]


def test_lanes_between_the_markings(tmp_path):
    recording = read_recording(write(tmp_path))
    lanes = {lane.name: lane for lane in recording.lanes["01"]}
    assert list(lanes) == ["2", "3", "5", "6"]
    begin, end = 20.8, 302.8
    np.testing.assert_allclose(lanes["3"].left, [[end, -16.4], [begin, -16.4]])
    np.testing.assert_allclose(lanes["3"].right, [[end, -12.6], [begin, -12.6]])
    np.testing.assert_allclose(lanes["5"].left, [[begin, -21], [end, -21]])
    np.testing.assert_allclose(lanes["5"].right, [[begin, -25], [end, -25]])
    assert [lanes[n].left_neighbour for n in lanes] == ["3", None, None, "5"]
    assert [lanes[n].right_neighbour for n in lanes] == [None, "2", "6", None]
    assert {lane.speed_limit for lane in lanes.values()} == {36.11}
    for v, name in enumerate(("3", "5")):  # each vehicle is between the sides of the lane that the file names
        low, high = sorted([lanes[name].left[0, 1], lanes[name].right[0, 1]])
        assert low < recording.y[v, 0] < high
    no_limit = [SITE[0], SITE[1].replace("36.11", "-1")]
    assert read_recording(write(tmp_path, site=no_limit)).lanes["01"][0].speed_limit is None


def test_folders_and_gzip(tmp_path):
    write(tmp_path)
    for path in list(tmp_path.iterdir()):
        (tmp_path / path.name.replace("01_", "02_")).with_suffix(".csv.gz").write_bytes(
            gzip.compress(path.read_bytes(), mtime=0)
        )
    recording = read_recording(tmp_path)
    assert recording.scenes() == ("01", "02")
    assert set(recording.lanes) == {"01", "02"}
    explicit = read_recording([tmp_path / "01_tracks.csv", tmp_path / "01_tracksMeta.csv"])
    assert explicit.scenes() == ("01",)


def test_bad_files(tmp_path):
    def refused(**parts) -> str:
        for path in tmp_path.iterdir():
            path.unlink()
        with pytest.raises(RecordingError) as caught:
            read_recording(write(tmp_path, **parts))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "expected 01_tracksMeta.csv beside it (kinds and directions), found none" in refused(about=None)
    assert "expected 01_recordingMeta.csv beside it (frame rate" in refused(site=None)
    assert "missing column laneId" in refused(tracks=[line.rsplit(",", 1)[0] for line in TRACKS])
    assert "missing column drivingDirection" in refused(about=["id,class", "1,Car"])
    assert "drivingDirection of 1 or 2, got 3" in refused(
        about=[ABOUT[0], ABOUT[1].replace("Car,1", "Car,3")]
    )
    assert "--frame-rate" in refused(site=[SITE[0], SITE[1].replace("25,2,", ",2,")])
    assert "frame rate" in refused(site=[SITE[0], SITE[1].replace("25,2,", "0,2,")])
    assert "missing column upperLaneMarkings" in refused(site=["id,frameRate", "1,25"])
    assert "lane markings as numbers" in refused(site=[SITE[0], SITE[1].replace("12.6", "here")])
    assert "lane markings from above" in refused(site=[SITE[0], SITE[1].replace("12.6", "nan")])
    assert "expected rows, got none" in refused(tracks=TRACKS[:1])
    assert "expected rows, got none" in refused(site=SITE[:1])
    with pytest.raises(RecordingError, match=r"with its tracksMeta\.csv beside it"):
        recording_from_bytes("\n".join(TRACKS).encode(), "01_tracks.csv")
    with pytest.raises(RecordingError, match="got a map or a table about one"):
        read_recording(tmp_path / "01_tracksMeta.csv")


def test_a_cell_that_is_no_number(tmp_path):
    tracks = [*TRACKS[:-1], TRACKS[-1].replace("22.0", "nan")]
    recording = read_recording(write(tmp_path, tracks=tracks))
    assert recording.seen.sum() == 9
    assert "1 position missing or not finite, taken as not seen" in recording.notes
