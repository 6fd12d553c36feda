# pyright: reportOptionalSubscript=false
"""Parts of a recording: by whole scenes or by time, with nothing in two of them and nothing lost."""

from dataclasses import fields, replace

import numpy as np
import pytest

from foresee.driving.recording import Truth
from foresee.driving.split import natural_order, select_scenes, split_states
from foresee.driving.states import OneStep, States
from foresee.driving.synthetic import synthetic_recording
from foresee.errors import OptionError, RecordingError

RATE = 10.0


def states_of(recording):
    """States whose numbers tell their vehicle and frame, so that a mix-up shows."""
    tracks = recording.tracks()
    rows, shape = np.arange(tracks.seen.shape[1]), tracks.seen.shape
    last = shape[1] - 1 - np.argmax(tracks.seen[:, ::-1], axis=1)
    number = 1000.0 * np.arange(shape[0])[:, None] + tracks.first[:, None] + rows
    two = np.stack([number, -number], axis=-1)
    covariance = number[..., None, None] * np.eye(6)
    return States(
        recording, tracks, rows <= last[:, None], number[..., None] + 0.1 * np.arange(6), covariance,
        number[..., None], (), OneStep(tracks.seen, ~tracks.seen, number, two, 2 * two), np.zeros(1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def states():
    recording = synthetic_recording(vehicles=30, seconds=12, seed=3)
    moved = recording.scene.copy()
    moved[10:] = "b"
    lane = np.where(recording.seen, np.arange(recording.frames), -1)
    return states_of(replace(recording, scene=moved, lanes={}, lane=lane).validate())


def rows_of(states):
    """The row of every alive belief, as vehicle and frame of the whole recording."""
    return states.mean[states.alive][:, 0]


def test_few_scenes_are_cut_by_time(states):
    parts = split_states(states, (0.5, 0.2, 0.3), horizon=2.0)
    number, scene = 1000.0 * np.arange(states.recording.vehicles), states.recording.scene
    sightings, begins = [], [0, 0]
    for part, share in zip(parts, (0.5, 0.7, 1.0), strict=True):
        recording = part.recording.validate()
        vehicle = np.searchsorted(number, part.mean[:, 0, 0], "right") - 1
        np.testing.assert_array_equal(recording.vehicle, states.recording.vehicle[vehicle])
        for place, name in enumerate(("synthetic", "b")):
            there = recording.scene == name
            frames = part.mean[there][part.alive[there]][:, 0] % 1000
            ends = 1 + np.flatnonzero(states.recording.seen[scene == name].any(axis=0))[-1]
            end = int(np.floor(ends * share + 0.5))
            assert frames.min() >= begins[place]
            assert frames.max() < end
            # Frames count from the beginning of the part, in the recording as in the tracks.
            np.testing.assert_array_equal(
                part.tracks.first[there], part.mean[there, 0, 0] % 1000 - begins[place]
            )
            np.testing.assert_array_equal(
                recording.lane[there][recording.seen[there]],
                (np.nonzero(recording.seen[there])[1] + begins[place]),
            )
            begins[place] = end
        sightings.append(part.mean[part.tracks.seen][:, 0])
    sightings = np.concatenate(sightings)
    np.testing.assert_array_equal(np.sort(sightings), np.sort(states.mean[states.tracks.seen][:, 0]))
    rows = np.concatenate([rows_of(part) for part in parts])
    assert len(rows) == len(np.unique(rows))
    # Only rows in a gap at a cut are lost.
    assert 0 <= states.alive.sum() - len(rows) < 0.01 * len(rows)


def test_everything_is_cut_alike(states):
    filtered = replace(states, filtered=states.mean + 0.5)
    part = split_states(filtered, (0.4, 0.6))[1]
    number = part.mean[..., 0]
    np.testing.assert_array_equal(part.covariance[..., 2, 2], number)
    np.testing.assert_array_equal(part.modes[..., 0], number)
    np.testing.assert_array_equal(part.filtered[..., 0], number + 0.5)
    assert np.all(number[~part.alive] == np.take_along_axis(number, part.alive.sum(1)[:, None] - 1, 1).repeat(
        number.shape[1], 1)[~part.alive])  # fmt: skip
    np.testing.assert_array_equal(part.one_step.scored, part.tracks.seen)
    np.testing.assert_array_equal(part.one_step.ranks[part.alive][:, 1], -2 * number[part.alive])
    assert not part.one_step.log_density[~part.alive].any()
    recording, whole = part.recording, states.recording
    assert recording.truth is not None
    kept = np.isin(whole.vehicle, recording.vehicle)
    for each in fields(Truth):
        values, all_values = getattr(recording.truth, each.name), getattr(whole.truth, each.name)[kept]
        begin = int(all_values.shape[1]) - values.shape[1]
        same = recording.scene == "b"
        np.testing.assert_array_equal(values[same], all_values[same][:, begin:])
    assert split_states(states, (0.4, 0.6))[1].filtered is None


def test_whole_scenes_are_dealt_out_in_natural_order(states):
    names = np.array([f"s-{number}_1" for number in (10, 9, 2, 11, 1, 30, 4, 100)], object)
    recording = replace(states.recording, scene=names[np.arange(30) % 8])
    parts = split_states(states_of(recording), (0.6, 0.15, 0.25))
    scenes = [set(part.recording.scenes()) for part in parts]
    assert scenes == [{"s-1_1", "s-2_1", "s-4_1", "s-9_1", "s-10_1"}, {"s-11_1"}, {"s-30_1", "s-100_1"}]
    kept = select_scenes(states_of(recording), sorted(scenes[0]))
    for part in (kept, parts[0]):
        chosen = np.isin(recording.scene.astype(str), list(scenes[0]))
        np.testing.assert_array_equal(part.recording.seen, recording.select(chosen).seen)
        np.testing.assert_array_equal(rows_of(part), rows_of(states_of(recording))[
            chosen.repeat(states.alive.sum(1))
        ])  # fmt: skip
    with pytest.raises(RecordingError, match="a scene out of s-10_1"):
        select_scenes(states_of(recording), ["s-3_1"])


def test_numbers_in_names_are_compared_as_numbers():
    assert sorted(["a10", "a9b2", "a9b1", "7", "b", "a09"], key=natural_order) == [
        "7", "a09", "a9b1", "a9b2", "a10", "b",
    ]  # fmt: skip


def test_what_cannot_be_split_is_named(states):
    for shares in ((), (0.5, 0.4), (1.2, -0.2), (float("nan"), 1.0)):
        with pytest.raises(OptionError, match="add up to 1"):
            split_states(states, shares)
    with pytest.raises(OptionError, match="horizon"):
        split_states(states, horizon=-1.0)
    with pytest.raises(
        RecordingError, match=r"at least 3 s in each of 3 parts, got 1\.\d s at most in part 2"
    ):
        split_states(states, horizon=3.0)
    with pytest.raises(
        RecordingError, match=r"at least 0\.1 s in each of 2 parts, got 0 s at most in part 2"
    ):
        split_states(states, (0.9999, 0.0001))
