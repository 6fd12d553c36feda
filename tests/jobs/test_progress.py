from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foresee.driving import synthetic_recording
from foresee.driving.findings import Training
from foresee.driving.intervals import Estimate
from foresee.driving.states import Learned
from foresee.jobs.progress import FOLDER, MARK, Pieces, digest, read_piece, write_piece


def counting(value):
    """A function that returns a value, and the list of its calls."""
    calls = []

    def make():
        calls.append(value)
        return value

    return make, calls


def test_a_piece_is_made_once(tmp_path):
    pieces = Pieces(tmp_path, "a")
    assert not (tmp_path / FOLDER).exists()  # nothing is left where nothing was finished
    make, calls = counting({"x": np.arange(3)})
    for _ in range(2):
        np.testing.assert_array_equal(pieces("first", make)["x"], np.arange(3))
    assert len(calls) == 1
    assert pieces.has("first")
    again = Pieces(tmp_path, "a")
    assert again.resumed
    assert not again.other
    again("first", make)
    assert len(calls) == 1


@pytest.mark.parametrize(("mark", "fresh"), [("b", False), ("a", True)])
def test_other_options_or_a_wish_begin_anew(mark, fresh, tmp_path):
    make, calls = counting(1.5)
    Pieces(tmp_path, "a")("first", make)
    other = Pieces(tmp_path, mark, fresh=fresh)
    assert not other.resumed
    assert other.other == (mark == "b")
    assert other("first", make) == 1.5
    assert len(calls) == 2
    assert (tmp_path / FOLDER / MARK).read_text() == mark


def test_a_broken_piece_is_made_again(tmp_path):
    make, calls = counting((1, "two", None))
    pieces = Pieces(tmp_path, "a")
    pieces("first", make)
    path = pieces.path("first.npz")
    path.write_bytes(path.read_bytes()[:40])
    assert pieces("first", make) == (1, "two", None)
    assert len(calls) == 2


def test_whatever_a_stage_finds_comes_back(tmp_path):
    table = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    training = Training(np.ones((2, 3)), None, np.array([1, 2]), np.array([False, True]), 0.5)
    value = {
        "table": table,
        "texts": np.array(["a", "bc"], object),
        "nested": ({"e": Estimate(1.0, float("nan"), 2.0)}, Learned("white", 0.25, 0.01, "m")),
        "training": training,
    }
    write_piece(tmp_path / "piece.npz", value)
    found = read_piece(tmp_path / "piece.npz")
    assert found is not None
    (back,) = found
    assert back["table"].equals(table)
    assert back["texts"].tolist() == ["a", "bc"]
    assert back["texts"].dtype == object
    assert back["nested"][0]["e"].value == 1.0
    assert np.isnan(back["nested"][0]["e"].low)
    assert back["nested"][1].standard_error == 0.01
    assert back["training"].validation_losses is None
    np.testing.assert_array_equal(back["training"].diverged, training.diverged)
    with pytest.raises(TypeError, match="got object"):
        write_piece(tmp_path / "other.npz", object())
    assert not (tmp_path / "other.npz").exists()


def test_a_digest_tells_recordings_and_options_apart():
    recording = synthetic_recording(1, vehicles=4, seconds=2)
    assert digest(recording, {"seed": 0}) == digest(
        synthetic_recording(1, vehicles=4, seconds=2), {"seed": 0}
    )
    x = recording.x.copy()
    x[0, np.flatnonzero(recording.seen[0])[0]] += 1e-9
    marks = {digest(recording, {"seed": 0}), digest(recording, {"seed": 1}), digest(recording, None)}
    marks.add(digest(replace(recording, x=x), {"seed": 0}))
    assert len(marks) == 4
