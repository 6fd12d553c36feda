import numpy as np
import pytest

from foresee.driving.lanes import Lane, check_lanes, clean_lanes, heads_alike, lanes_from_text, lanes_to_text
from foresee.errors import RecordingError

LINE = np.array([[0.0, 2.0], [50.0, 2.0], [50.0, 2.0], [100.0, 3.0]])


def test_cleaning():
    dirty = LINE.copy()
    dirty[2] = np.nan
    lanes, notes = clean_lanes(
        [
            Lane("1", dirty, LINE - 4, ("2", "gone"), "3", "gone"),
            Lane("2", LINE, LINE - 4),
            Lane("2", LINE, LINE - 4),
            Lane("3", LINE[1:3], LINE - 4),
            Lane("4", LINE, LINE - 4, kind="crosswalk"),
        ]
    )
    check_lanes(lanes)
    assert [lane.name for lane in lanes] == ["1", "2"]
    np.testing.assert_array_equal(lanes[0].left, LINE[[0, 1, 3]])
    assert len(lanes[0].right) == 3
    assert (lanes[0].successors, lanes[0].left_neighbour, lanes[0].right_neighbour) == (("2",), None, None)
    assert [note.split(" ")[0] for note in notes] == ["1", "1", "1", "3"]


def test_directions():
    there, back = Lane("1", LINE, LINE - 4), Lane("2", LINE[::-1], LINE[::-1] + 4)
    assert heads_alike(there, there)
    assert not heads_alike(there, back)


def test_text():
    lane = Lane("1", LINE, LINE - 4, ("2",), None, "3", "ramp", 20.0)
    (again,) = lanes_from_text(lanes_to_text({"a": (lane,)}))["a"]
    np.testing.assert_array_equal(again.left, lane.left)
    assert again.successors == ("2",)
    for text in (
        "",
        "[]",
        "{",
        '{"a": [{}]}',
        '{"a": [{"left": 1, "right": 2, "successors": []}]}',
        '{"a": 1}',
    ):
        with pytest.raises(RecordingError, match="lanes as foresee writes them"):
            lanes_from_text(text)
