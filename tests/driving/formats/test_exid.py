import numpy as np
import pytest

from foresee.driving import read_recording
from foresee.driving.formats.utm import utm
from foresee.errors import RecordingError

COLUMNS = (
    "recordingId,trackId,frame,trackLifetime,xCenter,yCenter,heading,width,length,xVelocity,yVelocity,"
    "xAcceleration,yAcceleration,lonVelocity,latVelocity,lonAcceleration,latAcceleration,laneletId"
)
# A car drives to the north-west, a pedestrian has no size and no lanelet.
STEP = 0.8 / np.sqrt(2)
TRACKS = [
    COLUMNS,
    *(
        f"5,7,{k},{k},{100 - STEP * k},{-50 + STEP * k},135,1.9,4.6,-14.1421,14.1421,0,0,20,0,0.7,0,1490;1501"
        for k in range(4)
    ),
    *(f"5,8,{k},{k},{90 + 0.04 * k},-45,0,0,0,1,0,0,0,1,0,0,0," for k in range(4)),
]
ABOUT = [
    "recordingId,trackId,initialFrame,finalFrame,numFrames,width,length,class",
    "5,7,0,3,4,1.9,4.6,car",
    "5,8,0,3,4,0,0,pedestrian",
]
SITE = [
    "recordingId,locationId,frameRate,speedLimit,latLocation,lonLocation,xUtmOrigin,yUtmOrigin",
    "5,0,25,-1,50.78,6.08,293487.12,5629711.58",
]


def write(folder, tracks=TRACKS, about=ABOUT, site=SITE):
    for name, lines in (("tracks", tracks), ("tracksMeta", about), ("recordingMeta", site)):
        if lines is not None:
            (folder / f"05_{name}.csv").write_text("\n".join(lines) + "\n")
    return folder / "05_tracks.csv"


def osm() -> str:
    """A lanelet of four nodes around 50.78° N, 6.08° E."""
    places = [(50.7799, 6.0799), (50.7799, 6.0815), (50.77995, 6.0799), (50.77995, 6.0815)]
    nodes = "".join(f'<node id="{k}" lat="{lat}" lon="{lon}"/>' for k, (lat, lon) in enumerate(places))
    ways = "".join(f'<way id="{k}"><nd ref="{2 * k}"/><nd ref="{2 * k + 1}"/></way>' for k in range(2))
    members = '<member type="way" ref="1" role="left"/><member type="way" ref="0" role="right"/>'
    return f'<osm>{nodes}{ways}<relation id="1490">{members}<tag k="type" v="lanelet"/></relation></osm>'


def test_the_layout(tmp_path):
    recording = read_recording(write(tmp_path))
    np.testing.assert_allclose(recording.x[0], 100 - STEP * np.arange(4))
    np.testing.assert_allclose(recording.y[0], -50 + STEP * np.arange(4))
    assert recording.heading is not None
    assert recording.speed is not None
    assert recording.acceleration is not None
    assert recording.lane is not None
    np.testing.assert_allclose(recording.heading[0], 0.75 * np.pi)
    np.testing.assert_allclose(recording.speed[0], 20, rtol=1e-5)
    np.testing.assert_allclose(recording.acceleration[0], 0.7)
    assert recording.lane[:, 0].tolist() == [1490, -1]
    assert recording.kind.tolist() == ["car", "pedestrian"]
    assert (recording.length.tolist(), recording.width.tolist()) == ([4.6, 0.6], [1.9, 0.6])
    assert (recording.frame_rate, recording.scenes(), recording.lanes) == (25, ("05",), {})
    assert "1 vehicle without length or width, usual sizes taken" in recording.notes


def test_its_map_begins_at_the_recordings_origin(tmp_path):
    path = write(tmp_path)
    corner = np.stack(utm(np.array([50.7799]), np.array([6.0799]), 32), axis=-1)[0]
    site = [SITE[0], f"5,0,25,-1,50.78,6.08,{corner[0] - 80},{corner[1] + 50}"]
    write(tmp_path, site=site)
    (tmp_path / "roads.osm").write_text(osm())
    (lane,) = read_recording(path).lanes["05"]
    assert lane.name == "1490"
    np.testing.assert_allclose(lane.right[0], [80, -50], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(lane.right[1] - lane.right[0]), 112.8, atol=0.5)
    with pytest.raises(RecordingError, match="expected numbers as xUtmOrigin"):
        read_recording(write(tmp_path, site=[SITE[0], "5,0,25,-1,50.78,6.08,,"]))
    with pytest.raises(RecordingError, match="missing column xUtmOrigin"):
        read_recording(write(tmp_path, site=["frameRate,locationId", "25,0"]))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"about": None}, "expected 05_tracksMeta.csv beside it"),
        ({"site": None}, "expected 05_recordingMeta.csv beside it"),
        ({"about": ["trackId", "7"]}, "missing column class"),
        ({"site": ["recordingId,locationId", "5,0"]}, "missing column frameRate"),
        ({"tracks": [line.replace("width", "w") for line in TRACKS]}, "missing column width"),
        (
            {"tracks": [TRACKS[0], *(line.replace(",135,", ",135,wide") for line in TRACKS[1:2])]},
            "two positions",
        ),
        ({"tracks": TRACKS[:1]}, "expected rows"),
    ],
)
def test_bad_files(tmp_path, parts, words):
    with pytest.raises(RecordingError) as caught:
        read_recording(write(tmp_path, **parts))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
