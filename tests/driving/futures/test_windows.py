"""Snapshots hold what was known before and what came after, and nothing across the ends of a scene."""

from dataclasses import replace

import numpy as np
import pytest

from foresee.driving.futures.windows import windows_from_states
from foresee.errors import OptionError, RecordingError
from tests.made_up import FAR_AWAY, SHIFT, SPEEDS, STARTS, made_roads


def slot_of(windows, number, row):
    return int(np.flatnonzero(windows.row[number] == row)[0])


def test_past_is_the_filters_and_future_the_smoothers(windows):
    assert windows.scenes == ("a", "b")
    np.testing.assert_allclose(windows.back, [0, 0.5, 1.0])
    np.testing.assert_allclose(windows.ahead, [0.5, 1.0, 1.5, 2.0])
    for number, row in np.argwhere(windows.row == 0) * [1, 0]:
        slot, time = slot_of(windows, number, row), windows.frame[number] / 10
        x = STARTS[row] + SPEEDS[row] * time + FAR_AWAY[0] - windows.origin[0, 0]
        past, future = windows.past[number, slot], windows.future[number, slot]
        there = windows.past_there[number, slot]
        assert there.tolist() == [True, time >= 0.5, time >= 1.0]
        expected = np.where(there, x - SPEEDS[row] * windows.back, 0.0)
        np.testing.assert_allclose(past[:, 0], expected, atol=1e-4)
        sideways = FAR_AWAY[1] - windows.origin[0, 1]
        np.testing.assert_allclose(past[there, 1], sideways + SHIFT, atol=1e-4)
        there = windows.future_there[number, slot]
        assert there.tolist() == (time + windows.ahead <= 4.9 + 1e-9).tolist()
        np.testing.assert_allclose(future[there, 0], (x + SPEEDS[row] * windows.ahead)[there], atol=1e-4)
        np.testing.assert_allclose(
            future[there, 1:4],
            np.tile(np.array([sideways, 0.0, SPEEDS[row]], float), (there.sum(), 1)),
            atol=1e-4,
        )


def test_nobody_is_known_before_it_came_or_after_it_went(states, windows):
    for number in range(len(windows)):
        name, frame = windows.groups()[number], windows.frame[number]
        rows = np.flatnonzero(states.recording.scene == name)
        last = states.tracks.first + states.alive.sum(axis=1) - 1
        there = rows[(states.tracks.first[rows] <= frame) & (frame <= last[rows])]
        assert set(windows.row[number][windows.known[number]]) == set(there)
        assert (windows.row[number] == -1).tolist() == (~windows.known[number]).tolist()
        assert windows.counted[number].any()


def test_those_count_who_drive_stay_and_are_told_by_the_past_alone(states, windows):
    assert not windows.counted[windows.row == 2].any()  # a bicycle
    for row in (0, 1, 3):
        first, last = states.tracks.first[row], states.tracks.first[row] + states.alive[row].sum() - 1
        frames = windows.frame[(windows.row == row).any(axis=1)]
        counted = windows.frame[(windows.counted & (windows.row == row)).any(axis=1)]
        # Where a track begins, its first 5 m tell the direction.
        told = first + np.ceil(50 / SPEEDS[row])
        assert counted.tolist() == [f for f in frames if told <= f <= last - 10]
    assert (windows.scored <= windows.future_there).all()


def test_places_on_the_road_are_those_of_the_filtered_position(windows):
    lane, offset = windows.lane[windows.row == 0], windows.offset[windows.row == 0]
    assert len(set(lane.tolist())) == 1
    np.testing.assert_allclose(offset, SHIFT, atol=1e-3)
    ahead = windows.along[windows.row == 0] - windows.frame[(windows.row == 0).any(axis=1)]
    np.testing.assert_allclose(ahead, STARTS[0], atol=1e-3)
    other = set(windows.lane[windows.row == 2].tolist())
    assert other.isdisjoint(lane.tolist())


def test_windows_can_be_chosen_and_smoothed_ones_know_the_future(states, windows):
    few = windows.select(windows.groups() == "b")
    assert len(few) == (windows.scene == 1).sum()
    assert few.past.shape[1:] == windows.past.shape[1:]
    leaking = windows_from_states(replace(states, filtered=None), made_roads(), horizon=2.0, causal=False)
    np.testing.assert_allclose(leaking.offset[leaking.known], 0.0, atol=1e-3)


def test_times_between_frames_are_interpolated(states):
    got = windows_from_states(states, made_roads(), horizon=1.0, step=0.25, history=(0.33,))
    slot = slot_of(got, 3, 0)
    moved = got.future[3, slot, :, 0] - got.past[3, slot, 0, 0]
    np.testing.assert_allclose(moved, 10 * got.ahead, atol=1e-4)
    np.testing.assert_allclose(got.past[3, slot, 0, 0] - got.past[3, slot, 1, 0], 3.3, atol=1e-4)


def test_wrong_questions_are_errors(states):
    with pytest.raises(OptionError, match="every"):
        windows_from_states(states, made_roads(), every=0)
    with pytest.raises(OptionError, match="history"):
        windows_from_states(states, made_roads(), history=(-1.0,))
    with pytest.raises(OptionError, match="step"):
        windows_from_states(states, made_roads(), step=2.0, horizon=1.0)
    with pytest.raises(RecordingError, match="filter"):
        windows_from_states(replace(states, filtered=None), made_roads())
    with pytest.raises(RecordingError, match="road"):
        windows_from_states(states, {})
    with pytest.raises(RecordingError, match="more than 9 s"):
        windows_from_states(states, made_roads(), least=9)
