import gzip

import numpy as np
import pytest

from foresee.errors import TrackingError
from foresee.tracking import Labelled
from foresee.tracking.formats import kitti, mot, table
from foresee.tracking.formats.read import read_detections, read_truth
from foresee.tracking.scores import clear_mot, pair

MOT = "1,-1,10,20,30,40,0.9,-1,-1,-1\n3,-1,12,20,30,40,0.8,-1,-1,-1\n2,-1,11,20,30,40,-0.3,-1,-1,-1\n"
KITTI = (
    "0,2,298.3,165.2,458.2,293.4,8.3,1.96,1.81,4.75,-4.57,1.84,13.53,-2.11,-1.79\n"
    "1,2,295.6,165.3,451.9,291.2,9.1,1.96,1.75,4.35,-4.66,1.86,13.62,-2.15,-1.82\n"
)
LABEL = (
    "0 -1 DontCare -1 -1 -10 219 188 245 218 -1000 -1000 -1000 -10 -1 -1 -1\n"
    "0 4 Car 0 0 -1.79 298.0 165.0 458.0 293.0 1.96 1.81 4.75 -4.57 1.84 13.53 -2.11\n"
    "0 5 Car 0 3 -1.79 98.0 165.0 158.0 293.0 1.96 1.81 4.75 -14.57 1.84 13.53 -2.11\n"
    "0 6 Van 0 0 -1.79 98.0 165.0 158.0 293.0 1.96 1.81 4.75 -24.57 1.84 13.53 -2.11\n"
)


def write(path, text):
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["any.txt", "any.txt.gz"])
def test_motchallenge(tmp_path, name):
    found = read_detections(write(tmp_path / name, MOT))
    assert (found.format, found.unit, found.first, found.last) == ("mot", "px", 1, 3)
    assert found.frame.tolist() == [1, 2, 3]
    assert found.position[0].tolist() == [25, 40]
    assert found.score is not None
    assert found.score.tolist() == [0.9, -0.3, 0.8]
    assert "1 rows came before rows of earlier frames" in found.notes[0]


def test_truth_of_motchallenge_leaves_out_what_is_flagged(tmp_path):
    detections = read_detections(write(tmp_path / "det.txt", MOT))
    old = "1,1,10,20,30,40,1,-1,-1,-1\n1,2,10,20,30,40,0,-1,-1,-1\n"
    assert read_truth(write(tmp_path / "gt.txt", old), detections).objects.name.tolist() == [1]
    new = "1,1,10,20,30,40,1,1,0.5\n1,2,10,20,30,40,1,3,1\n1,3,10,20,30,40,0,7,1\n"
    truth = read_truth(write(tmp_path / "gt17.txt", new), detections)
    assert truth.objects.name.tolist() == [1]
    assert truth.ignored is not None
    assert len(truth.ignored) == 1
    with pytest.raises(TrackingError, match="expected identities in column 2, got −1 everywhere"):
        read_truth(tmp_path / "det.txt", detections)


def test_kitti(tmp_path):
    found = read_detections(write(tmp_path / "0.txt", KITTI))
    assert (found.format, found.first, found.last) == ("kitti", 0, 1)
    assert found.position[0].tolist() == [-4.57, 13.53]
    assert found.box is not None
    np.testing.assert_allclose(found.box[0], [-4.57, 13.53, 0.98 - 1.84, 4.75, 1.81, 1.96, 2.11])
    assert found.image is not None
    np.testing.assert_allclose(found.image[0], [298.3, 165.2, 159.9, 128.2])
    truth = read_truth(write(tmp_path / "label.txt", LABEL), found)
    assert truth.objects.name.tolist() == [4]
    assert truth.ignored is not None
    assert len(truth.ignored) == 2
    assert truth.regions is not None
    assert truth.regions[1].tolist() == [[219, 188, 26, 30]]
    again = read_detections(
        write(
            tmp_path / "label.txt",
            LABEL.replace("-2.11\n", "-2.11 3.5\n").replace("-1 -1 -1\n", "-1 -1 -1 0\n"),
        )
    )
    np.testing.assert_allclose(again.position[0], found.position[0])
    assert len(again.frame) == 2


def test_what_is_written_is_read_again(tmp_path):
    found = read_detections(write(tmp_path / "0.txt", KITTI))
    tracks = Labelled(found.frame, np.array([7, 7]), found.position, box=found.box, score=found.score)
    assert found.image is not None
    assert found.kind is not None
    assert found.box is not None
    text = kitti.text(tracks, found.image, found.kind)
    truth = kitti.read_truth(write(tmp_path / "tracks.txt", text.replace(" -1 -1 ", " 0 0 ")))
    assert truth.objects.box is not None
    np.testing.assert_allclose(truth.objects.box, found.box, atol=1e-3)
    assert clear_mot(pair(truth.objects, tracks, "space")).mota == 1
    found = read_detections(write(tmp_path / "det.txt", MOT))
    tracks = Labelled(found.frame, np.array([1, 1, 2]), found.position, box=found.box)
    again = mot.read_truth(write(tmp_path / "out.txt", mot.text(tracks)))
    np.testing.assert_allclose(again.objects.position, found.position)
    assert again.objects.name.tolist() == [1, 1, 2]


def test_tables_of_scans_and_of_moments(tmp_path):
    found = read_detections(write(tmp_path / "r.csv", "scan,x,y\n0,1.5,2\n\n0,3,4\n2,5,6\n"))
    assert found.frame.tolist() == [0, 0, 2]
    assert found.clock == "scan"
    text = "id,y,x,scan\nb,2,1.5,0\na,6,5,2\n"
    assert read_truth(write(tmp_path / "t.csv", text), found).objects.name.tolist() == [1, 0]

    ships = "Time;MMSI;Latitude_degrees;Longitude_degrees\n2016-01-12 13:00:01.5;7;50,5;-1,0\n"
    ships += "2016-01-12T13:00:03Z;8;50,6;-1,1\n2016-01-12 13:00:03;9;;\n"
    path = write(tmp_path / "ais.csv", ships)
    found = read_detections(path)
    assert (found.clock, found.frame.tolist()) == ("date", [0, 1])
    assert "1 rows have no position" in found.notes[0]
    assert found.place is not None
    np.testing.assert_allclose(found.place.degrees(found.position), [[-1, 50.5], [-1.1, 50.6]])
    apart = np.linalg.norm(found.position[1] - found.position[0])
    assert apart == pytest.approx(13187, rel=2e-3)  # great circle
    truth = read_truth(path, found)
    assert truth.objects.name.tolist() == [7, 8]
    np.testing.assert_allclose(truth.objects.position, found.position)
    tracks = Labelled(found.frame, np.array([1, 2]), found.position)
    written = table.text(tracks, np.zeros((2, 2)), found.time, found)
    assert written.splitlines()[1].startswith("2016-01-12 13:00:01.500,1,-1.0,50.5,0.0,0.0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected detections, got an empty file"),
        ("hello\n", "expected MOTChallenge"),
        ("1,-1,10,20,30,40,nan\n", "line 1: expected finite numbers, got 'nan' in column 7"),
        ("1,-1,10,20,30,40,1\n2,-1,x,20,30,40,1\n", "line 2: expected numbers, got 'x' in column 3"),
        ("1,-1,10,20,30,40,1\n2,-1,1\n", "line 2: expected frame, identity.* got 3 columns"),
        ("1.5,-1,10,20,30,40,1\n", "line 1: expected a whole number as the frame, got 1.5"),
        ("1,-1,10,20,0,40,1\n", "line 1: expected a width and a height above 0, got 0 × 40"),
        ("scan,x\n0,1\n", "expected columns x and y"),
        ("x,y\n0,1\n", "expected a column scan or time"),
        ("scan,x,y\n", "expected rows with positions, got none"),
        ("scan,x,y\n0,1,2\n1,nan,2\n", "line 3: expected a finite number as x, got 'nan'"),
        ("time,x,y\nyesterday,1,2\n", "line 2: expected seconds or a date"),
        ("time,lon,lat\n1,10,95\n", "line 2: expected longitude and latitude in degrees"),
        ("0 1 Car 0 0\n" + LABEL, "expected MOTChallenge"),
        (KITTI.replace("1.96", "0"), r"line 1: expected sizes above 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(TrackingError, match=message):
        read_detections(write(tmp_path / "file", text))


def test_files_that_are_none(tmp_path):
    with pytest.raises(TrackingError, match="no such file"):
        read_detections(tmp_path / "nothing")
    with pytest.raises(TrackingError, match="got a directory"):
        read_detections(tmp_path)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(MOT.encode() * 99)[:50])
    with pytest.raises(TrackingError, match="truncated or damaged"):
        read_detections(tmp_path / "cut.gz")
    (tmp_path / "z").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(TrackingError, match="got a zip archive"):
        read_detections(tmp_path / "z")
    (tmp_path / "bin").write_bytes(b"\x80\x81")
    with pytest.raises(TrackingError, match="byte 0x80"):
        read_detections(tmp_path / "bin")


def test_real_files(shared_data):
    for kind, detections, truth, rows in (
        ("mot", "mot15/det/TUD-Campus.txt", "mot15/gt/TUD-Campus.txt", 359),
        ("kitti", "kitti/det_car/0001.txt", "kitti/label/0001.txt", 2272),
        ("csv", "radar/20_detections.csv.gz", "radar/20_truth.csv.gz", None),
    ):
        folder = shared_data / "tracking"
        found = read_detections(folder / detections)
        assert found.format == kind
        objects = read_truth(folder / truth, found).objects
        assert rows in (None, len(objects))
