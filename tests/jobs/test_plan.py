import json
import sys

import numpy as np
import pytest

from foresee import cli
from foresee.errors import OptionError, PlaceError
from foresee.jobs.plan import RESULTS, plan

PROMISED = ("found", "length", "milliseconds", "expanded")


def invoke(*arguments):
    """Run the command line in this process and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["foresee", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def walled(tmp_path):
    """A map with a wall that has one door, in its last row."""
    path = tmp_path / "walled.map"
    rows = ["......@......"] * 8 + ["............."]
    path.write_text("type octile\nheight 9\nwidth 13\nmap\n" + "\n".join(rows) + "\n")
    return path


def read(out):
    summary = json.loads((out / "summary.json").read_text())
    assert set(PROMISED) <= set(summary)
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULTS)
    return summary


def test_a_path_is_written_drawn_and_timed(walled, tmp_path, capsys):
    assert invoke("plan", walled, "--start", "0,0", "--goal", "12,0", "--out", tmp_path / "out") == 0
    summary = read(tmp_path / "out")
    assert summary["found"] is True
    assert summary["length"] == pytest.approx(2 + 10 * 2**0.5 + 4 + 2)  # down to the door, through it, and up
    assert 0 < summary["milliseconds"] < 100
    cells = np.loadtxt(tmp_path / "out" / "path.csv", delimiter=",", skiprows=1)
    assert cells[0].tolist() == [0, 0]
    assert cells[-1].tolist() == [12, 0]
    assert np.hypot(*np.diff(cells, axis=0).T).sum() == pytest.approx(summary["length"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert "length" in capsys.readouterr().out


def test_no_path_is_a_result(walled, tmp_path, capsys):
    walled.write_text(walled.read_text().replace("height 9", "height 8").rsplit(".............\n", 1)[0])
    assert invoke("plan", walled, "--start", "0,0", "--goal", "12,0", "--out", tmp_path / "out") == 0
    summary = read(tmp_path / "out")
    assert (summary["found"], summary["length"], summary["outcome"]) == (False, None, "no path")
    assert summary["reached"] == 8 * 6
    assert "There is no path: 48 cells" in capsys.readouterr().out
    assert (tmp_path / "out" / "path.csv").read_text() == "column,row\n"
    assert "There is no path" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("start", "goal", "said"),
    [("6,0", "0,0", "inside an obstacle"), ("0,0", "13,0", "off the map"), ("-1,0", "0,0", "off the map")],
)
def test_wrong_places_are_one_line(walled, tmp_path, capsys, start, goal, said):
    out = tmp_path / "out"
    assert invoke("plan", walled, f"--start={start}", f"--goal={goal}", "--out", out) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert not out.exists()


def test_a_robot_needs_room_at_both_ends(walled, tmp_path):
    for start, goal, said in (((5, 4), (3, 3), "start"), ((3, 3), (7, 4), "goal")):
        with pytest.raises(PlaceError, match=rf"{said}: expected room .* 1\.0 cells from"):
            plan(walled, start=start, goal=goal, out=tmp_path / "out", radius=1.0, quiet=True)


def test_wrong_files_and_options(walled, tmp_path, capsys):
    wrong = tmp_path / "wrong.map"
    wrong.write_text("nothing of the kind")
    places = ("--start", "0,0", "--goal", "1,1", "--quiet", "--out", tmp_path / "out")
    assert invoke("plan", wrong, *places) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert invoke("plan", tmp_path / "absent.map", *places) == 1
    assert "no such file" in capsys.readouterr().err
    assert invoke("plan", walled, "--start", "0", "--goal", "1,1") == 2
    assert invoke("plan", walled, *places, "--method", "magic") == 2
    with pytest.raises(OptionError):
        plan(walled, start=(0, 0), goal=(1, 1), out=tmp_path / "out", method="magic")
    with pytest.raises(PlaceError):
        plan(walled, start=(0, 0), goal=(6, 1), out=tmp_path / "out", quiet=True)


def test_doubt_a_robot_and_any_angle(tmp_path):
    occupancy = np.zeros((20, 30))
    occupancy[4:, 10] = 0.3
    occupancy[:17, 20] = 1.0
    np.savez(tmp_path / "doubt.npz", occupancy=occupancy)
    lengths = {}
    for name, options in {
        "plain": {},
        "any_angle": {"method": "any_angle"},
        "careful": {"collision": 500.0},
        "wide": {"radius": 1.0},
    }.items():
        plan(tmp_path / "doubt.npz", start=(1, 18), goal=(28, 2), out=tmp_path / name, quiet=True, **options)
        summary = read(tmp_path / name)
        assert summary["found"]
        lengths[name] = summary["length"]
    assert lengths["any_angle"] < lengths["plain"] < lengths["careful"]
    assert lengths["plain"] <= lengths["wide"]
