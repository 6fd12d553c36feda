import gzip

import numpy as np
import pytest
from PIL import Image

from foresee.errors import MapError
from foresee.planning import read_map, read_scenarios

TEXT = "type octile\nheight 2\nwidth 3\nmap\n.@G\nTSW\n"
FREE = np.array([[True, False, True], [False, True, False]])


@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_same_map(tmp_path, packed):
    def kept(name, content):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if packed else content)
        return path

    picture = tmp_path / "raw.png"
    Image.fromarray(np.where(FREE, 255, 0).astype(np.uint8)).save(picture)
    np.savez(tmp_path / "raw.npz", occupancy=(~FREE).astype(float))
    np.savez(tmp_path / "free.npz", free=FREE)
    np.save(tmp_path / "raw.npy", ~FREE)
    files = [kept("map", TEXT.encode()), kept("windows.map", TEXT.replace("\n", "\r\n").encode())]
    files += [
        kept(f"kept-{name}", (tmp_path / name).read_bytes())
        for name in ("raw.png", "raw.npz", "free.npz", "raw.npy")
    ]
    for path in files:
        assert np.array_equal(read_map(path).grid().free, FREE), path


def test_a_threshold_says_what_is_blocked(tmp_path):
    np.savez(tmp_path / "a.npz", occupancy=np.array([[0.1, 0.4], [0.6, 1.0]]))
    found = read_map(tmp_path / "a.npz")
    assert found.grid().free.tolist() == [[True, True], [False, False]]
    assert found.grid(0.3).free.tolist() == [[True, False], [False, False]]
    with pytest.raises(MapError):
        found.grid(0.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"hello", "MovingAI"),
        (b"type octile\nheight 2\nwidth 3\nmap\n.@.\n", "2 rows of 3 cells"),
        (b"type octile\nheight 1\nwidth 3\nmap\n.@\n", "1 rows of 3 cells"),
        (b"type octile\nheight x\nwidth 3\nmap\n.@.\n", "height"),
        (b"type octile\nheight 1\nwidth 3\nmap\n.?.\n", "cells out of"),
        (b"\x89PNG\r\n\x1a\nnothing", "picture"),
        (b"PK\x03\x04nothing", "NumPy"),
        (b"\x1f\x8bnothing", "gzip"),
    ],
)
def test_what_is_no_map(tmp_path, content, said):
    path = tmp_path / "wrong"
    path.write_bytes(content)
    with pytest.raises(MapError, match=said) as raised:
        read_map(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {"occupancy": np.zeros(3)},
        {"occupancy": np.array([[np.nan]])},
        {"occupancy": np.array([[2.0]])},
        {"a": np.zeros((2, 2)), "b": np.zeros((2, 2))},
        {"occupancy": np.array([["x"]])},
        {"occupancy": np.array([[{}]], object)},
    ],
)
def test_what_is_no_occupancy(tmp_path, arrays):
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(MapError, match=r"wrong\.npz"):
        read_map(tmp_path / "wrong.npz")


def test_scenarios(tmp_path):
    path = tmp_path / "a.scen"
    path.write_text("version 1\n0\ta.map\t3\t2\t0\t0\t2\t1\t2.41\n\n")
    found = read_scenarios(path)
    assert len(found) == 1
    assert found.starts.tolist() == [[0, 0]]
    assert found.goals.tolist() == [[2, 1]]
    assert found.lengths.tolist() == [2.41]
    assert found.digits.tolist() == [2]
    for text in ("nothing", "version 1\n0 a.map 3 2 0 0 2\n", "version 1\n0 a.map 3 2 0 0 x 1 2.4\n"):
        path.write_text(text)
        with pytest.raises(MapError):
            read_scenarios(path)
