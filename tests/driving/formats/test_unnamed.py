"""Tables without names of vehicles: the tracks that are made of them, held against who it was."""

import numpy as np
import polars as pl
import pytest

from foresee.driving import read_recording, synthetic_recording
from foresee.errors import RecordingError


@pytest.fixture(scope="module")
def sightings():
    """A made-up recording as a table, with the names of the vehicles."""
    recording = synthetic_recording(0, vehicles=24, seconds=8.0)
    vehicle, frame = np.nonzero(recording.seen)
    columns = {"time": frame / recording.frame_rate, "x": recording.x[vehicle, frame]}
    columns |= {"y": recording.y[vehicle, frame], "true": vehicle}
    return pl.DataFrame(columns).sort("time", "x")


def test_tracks_are_made_and_each_is_one_vehicle(sightings, tmp_path):
    sightings.drop("true").write_csv(tmp_path / "radar.csv")
    recording = read_recording(tmp_path / "radar.csv")
    assert recording.frame_rate == 10.0
    assert any("no column names vehicles" in note for note in recording.notes)
    there = {(t, x): who for t, x, who in sightings.select("time", "x", "true").iter_rows()}
    first = sightings["time"].min()
    pure, held = 0, 0
    for row in range(recording.vehicles):
        frames = np.flatnonzero(recording.seen[row])
        who = {there[round(first + k / 10, 6), float(recording.x[row, k])] for k in frames}
        pure, held = pure + (len(who) == 1), held + len(frames)
    assert pure >= 0.95 * recording.vehicles
    assert held >= 0.97 * sightings.height
    assert recording.vehicles <= 1.5 * sightings["true"].n_unique()


def test_where_a_column_may_hold_names_it_is_asked_for(sightings, tmp_path):
    sightings.rename({"true": "Track No"}).write_csv(tmp_path / "radar.csv")
    with pytest.raises(RecordingError, match="missing column id"):
        read_recording(tmp_path / "radar.csv")


def test_noise_alone_makes_no_recording(tmp_path):
    random = np.random.default_rng(0)
    rows = {"time": np.arange(4) / 10, "x": random.uniform(0, 1e4, 4), "y": random.uniform(0, 1e4, 4)}
    pl.DataFrame(rows).write_csv(tmp_path / "radar.csv")
    with pytest.raises(RecordingError, match=r"expected detections that make tracks|no tracks can be made"):
        read_recording(tmp_path / "radar.csv")
