import numpy as np
import pytest

from foresee.driving.formats.ngsim import LAYOUT
from foresee.driving.read import recording_from_bytes
from foresee.errors import RecordingError

FOOT = 0.3048
EPOCH = 1_118_846_980_200


def row(vehicle: int, frame: int, y: float, *, clock: int = EPOCH, speed: float = 40.0) -> list:
    x = 16.5
    return [
        vehicle,
        frame,
        437,
        clock + 100 * frame,
        x,
        y,
        6_451_137 + x,
        1_873_344 + y,
        14.5,
        4.9,
        2,
        speed,
        0,
        2,
        0,
        0,
        0,
        0,
    ]


ROWS = [row(v, 13 + k, 35.4 + 4 * k + 60 * v) for v in (2, 3) for k in range(6)]


def native(rows, separator="   ") -> bytes:
    return "\n".join("  " + separator.join(map(str, r)) for r in rows).encode()


def csv(rows, location: str | None = "us-101") -> bytes:
    header = LAYOUT + ([] if location is None else ["Location"])
    lines = [",".join(map(str, r + ([] if location is None else [location]))) for r in rows]
    return "\n".join([",".join(header), *lines]).encode()


@pytest.mark.parametrize("data", [native(ROWS), native(ROWS, "\t"), csv(ROWS, None)])
def test_feet_and_milliseconds(data):
    recording = recording_from_bytes(data, "trajectories-0750am-0805am.txt")
    assert recording.scenes() == ("trajectories-0750am-0805am",)
    assert (recording.frame_rate, recording.reference) == (10.0, "front")
    np.testing.assert_allclose(recording.y[0], FOOT * (155.4 + 4 * np.arange(6)))
    np.testing.assert_allclose(recording.x, 16.5 * FOOT)
    np.testing.assert_allclose(recording.length, 14.5 * FOOT)
    assert recording.speed is not None
    np.testing.assert_allclose(recording.speed, 40 * FOOT)
    assert recording.kind.tolist() == ["car", "car"]
    assert recording.lane is not None
    assert (recording.lane == 2).all()


def test_global_coordinates():
    recording = recording_from_bytes(csv(ROWS), "a.csv", columns={"x": "Global_X", "y": "Global_Y"})
    np.testing.assert_allclose(recording.y[0, 0], FOOT * (1_873_344 + 155.4))
    with pytest.raises(RecordingError, match="nearest: Global_X"):
        recording_from_bytes(csv(ROWS), "a.csv", columns={"x": "Globl_X"})


def test_places_and_periods_are_scenes():
    later = [row(2, 13 + k, 35.4 + 4 * k, clock=EPOCH + 900_000) for k in range(6)]
    recording = recording_from_bytes(csv(ROWS + later), "a.csv")
    assert recording.scenes() == ("us-101:1", "us-101:2")
    assert recording.vehicles == 3
    assert recording.frames == 6


def test_a_frame_far_away_is_no_allocation():
    with pytest.raises(RecordingError, match="expected at most"):
        recording_from_bytes(native([*ROWS, row(2, 10**12, 1.0)]), "a.txt")


def test_wrong_units_and_short_rows():
    with pytest.raises(RecordingError, match="units cannot be right"):
        recording_from_bytes(native(ROWS), "a.txt", units="m")
    recording = recording_from_bytes(native(ROWS) + b"\n2 19", "a.txt")
    assert any("fewer than 18 columns" in note for note in recording.notes)
    with pytest.raises(RecordingError, match="18 columns"):
        recording_from_bytes(b"1 2 3\n4 5 6\n", "a.txt")
