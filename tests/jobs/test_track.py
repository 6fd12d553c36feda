import json

import numpy as np
import polars as pl
import pytest

from foresee.errors import OptionError, TrackingError
from foresee.jobs.track import track


@pytest.fixture(scope="module")
def radar(tmp_path_factory):
    """A small radar scene: detections, truth, and what became of them."""
    folder = tmp_path_factory.mktemp("radar")
    random = np.random.default_rng(3)
    place, speed = random.uniform(-150, 150, (6, 2)), random.normal(0, 3, (6, 2))
    seen, truth = ["scan,x,y"], ["scan,id,x,vx,y,vy"]
    for scan in range(20):
        place = place + speed
        for name, ((x, y), (vx, vy)) in enumerate(zip(place, speed, strict=True)):
            truth.append(f"{scan},{name},{x},{vx},{y},{vy}")
            if random.uniform() < 0.9:
                dx, dy = random.normal(size=2)
                seen.append(f"{scan},{x + dx},{y + dy}")
        seen += [f"{scan},{x},{y}" for x, y in random.uniform(-250, 250, (3, 2))]
    (folder / "detections.csv").write_text("\n".join(seen))
    (folder / "truth.csv").write_text("\n".join(truth))
    track(folder / "detections.csv", truth=folder / "truth.csv", out=folder / "out", quiet=True)
    return folder


def test_a_radar_scene_is_tracked_and_judged(radar):
    summary = json.loads((radar / "out" / "summary.json").read_text())
    assert {
        "mota",
        "idf1",
        "hota",
        "ospa",
        "gospa",
        "id_switches",
        "tracks",
        "frames",
        "ms_per_frame",
    } <= summary.keys()
    assert summary["frames"] == 20
    assert summary["mota"] > 0.9
    assert summary["ospa"] < 2
    assert summary["learned.detection"] > 0.75
    assert 0.5 < summary["learned.noise"] < 2
    table = pl.read_csv(radar / "out" / "tracks.csv")
    assert table.columns[:6] == ["scan", "id", "x", "vx", "y", "vy"]
    assert table["id"].n_unique() == summary["tracks"]
    assert set(table["status"]) <= {"tentative", "confirmed", "coasted"}
    page = (radar / "out" / "report.html").read_text()
    assert "Who was where" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_boxes_of_people_are_tracked_in_their_own_format(tmp_path):
    random = np.random.default_rng(0)
    rows = []
    for frame in range(1, 31):
        for k in range(3):
            box = np.array([50 + 150 * k + 3 * frame, 80 + 20 * k, 40, 100]) + random.normal(0, 1.5, 4)
            if random.uniform() < 0.9:
                rows.append(f"{frame},-1," + ",".join(f"{value:.2f}" for value in box) + ",0.97,-1,-1,-1")
    (tmp_path / "det.txt").write_text("\n".join(rows))
    out = tmp_path / "out"
    track(tmp_path / "det.txt", out=out, quiet=True)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["tracks"] == 3
    assert summary["mota"] is summary["ospa"] is None
    track(tmp_path / "det.txt", truth=out / "tracks.txt", out=tmp_path / "again", quiet=True)
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert again["mota"] == again["idf1"] == 1
    assert again["ospa"] is None


def test_what_cannot_be_tracked_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(OptionError, match="expected a format out of mot, kitti, csv, got 'coco'"):
        track(tmp_path / "x", out=tmp_path / "out", format="coco")
    with pytest.raises(TrackingError, match="no such file"):
        track(tmp_path / "x", out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()
