import gzip
from dataclasses import replace

import numpy as np
import pytest

from foresee.driving import read_recording
from foresee.driving.lanes import Lane
from foresee.driving.read import join_recordings, recording_from_bytes
from foresee.errors import RecordingError

GOOD = "id,time,x,y\n1,0.0,0,0\n1,0.1,2,0\n1,0.2,4,0\n2,0.0,9,3\n2,0.1,11,3\n"


def refused(data: bytes | str, **options) -> str:
    with pytest.raises(RecordingError) as caught:
        recording_from_bytes(data.encode() if isinstance(data, str) else data, "in.csv", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (gzip.compress(b"", mtime=0), "empty"),
        (gzip.compress(GOOD.encode() * 50, mtime=0)[:-20], "gzip file is truncated"),
        (b"\x1f\x8b", "gzip file is truncated"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PAR1 not really", "cannot be read as a table"),
        (bytes(range(256)), "UTF-8"),
        ("id,x\n1,ä\n".encode("latin-1"), "UTF-8, got byte 0xe4"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (b"id,time,x,y\n\0\0\0\0", "zero byte"),
        (b'{"id": 1}', "expected the JSON of a Waymo scene, with objects, got id"),
        (b'{"id": ', "JSON is truncated or damaged (Expecting value in line 1)"),
        (b"[1, 2]", "expected a JSON object, got a list"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"objects": ' + b"9" * 9_000 + b"}", "JSON cannot be read"),
        (b'{"lane_segments": {}}', "the map of an Argoverse 2 scenario"),
        (b'<osm version="0.6"></osm>', "CommonRoad file, got XML <osm>"),
        (b"id,time,x,y\n", "rows"),
        (b"1,2,3,4\n5,6,7,8\n", "names of the columns, got numbers"),
        (b"1 2 3 4\n5 6 7 8\n", "18 columns"),
    ],
)
def test_files_that_are_no_recording(data, words):
    assert words in refused(data)


def test_paths(tmp_path):
    with pytest.raises(RecordingError, match="no such file"):
        read_recording(tmp_path / "none.csv")
    with pytest.raises(RecordingError, match="expected recordings in the folder, found no"):
        read_recording(tmp_path)
    with pytest.raises(RecordingError, match="at least one file"):
        read_recording([])
    with pytest.raises(RecordingError):
        read_recording("a\0b")


def test_format_is_told_by_content(tmp_path):
    plain = recording_from_bytes(GOOD.encode(), "a.csv")
    for data in (
        gzip.compress(GOOD.encode(), mtime=0),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace(",", "\t").encode(),
        GOOD.replace(",", ";").replace(".", ",").encode(),
        GOOD.replace(",", "  ").encode(),
        GOOD.replace("\n", "\r\n").encode(),
    ):
        again = recording_from_bytes(data, "a.xml")
        np.testing.assert_array_equal(plain.x, again.x)
        assert again.frame_rate == 10


def test_several_files(tmp_path):
    for folder in ("p", "q"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text(GOOD)
    both = read_recording([tmp_path / "p" / "a.csv", tmp_path / "q" / "a.csv"])
    assert both.vehicles == 4
    assert both.scenes() == ("a", "a (2)")
    (tmp_path / "b.csv").write_text(GOOD.replace("0.1", "0.2").replace("0.2,4", "0.4,4"))
    with pytest.raises(RecordingError, match=r"one frame rate, got 10\.0 in .* and 5\.0"):
        read_recording([tmp_path / "p" / "a.csv", tmp_path / "b.csv"])


def test_channels_of_joined_files(tmp_path):
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "b.csv").write_text(
        "id,time,x,y,speed\n1,0.0,0,0,20\n1,0.1,2,0,20\n1,0.2,4,0,\n1,0.3,6,0,20\n"
    )
    both = read_recording([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert both.given["speed"].sum(axis=1).tolist() == [0, 0, 3]
    assert both.frames == 4


def test_lanes_and_lane_numbers_of_joined_files(tmp_path):
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "b.csv").write_text("id,time,x,y,lane\n1,0.0,0,0,2\n1,0.1,2,0,\n1,0.2,4,0,3\n1,0.3,6,0,3\n")
    both = read_recording([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert both.lane is not None
    assert both.lane.tolist() == [[-1] * 4, [-1] * 4, [2, -1, 3, 3]]
    lane = Lane("7", np.array([[0.0, 2.0], [9.0, 2.0]]), np.array([[0.0, -2.0], [9.0, -2.0]]))
    parts = [
        replace(read_recording(tmp_path / "b.csv"), scene=np.array(["s"], object), lanes={"s": (lane,)})
        for _ in range(2)
    ]
    joined = join_recordings(parts)
    assert {name: lanes[0].name for name, lanes in joined.lanes.items()} == {"s": "7", "s (2)": "7"}


def test_folders(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.csv").write_text(GOOD)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(GOOD.encode(), mtime=0))
    (tmp_path / "README.txt").write_text("What these files are.")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert read_recording(tmp_path).scenes() == ("a", "b")
    (tmp_path / "deep" / "map.osm").write_text("<osm></osm>")
    with pytest.raises(RecordingError, match="found only what goes with them"):
        read_recording(tmp_path / "deep")
    with pytest.raises(RecordingError, match="expected a file of recorded traffic, got a map"):
        read_recording(tmp_path / "deep" / "map.osm")
    with pytest.raises(RecordingError, match="what belongs to a recording, got what none of them takes"):
        read_recording([tmp_path / "b.csv", tmp_path / "deep" / "map.osm"])
