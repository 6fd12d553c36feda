"""Forecasts by filters: a textbook Kalman filter, and fitted parameters that make the future more likely."""

from dataclasses import replace

import numpy as np
import pytest

from foresee.driving.futures import baselines, kalman
from foresee.errors import RecordingError
from tests.made_up import made_states

MODELS = (kalman.Straight(), kalman.Switching())


@pytest.mark.parametrize("model", MODELS)
def test_those_who_keep_their_speed_are_foreseen(states, windows, model):
    futures = kalman.filter_forecasts(model, states, windows)
    errors = baselines.errors_of(futures, windows)[windows.scored]
    np.testing.assert_allclose(errors, 0.0, atol=0.05)
    along = np.asarray(futures.along_sd)[windows.counted][:, 0]
    assert (np.diff(along, axis=1) > 0).all()
    assert futures.weights.shape == (*windows.row.shape, 1)


def test_kalman_is_the_textbooks(states, windows):
    model = kalman.Straight([0.3, 0.2], [2.0, 0.5])
    futures = kalman.filter_forecasts(model, states, windows)
    number = int(np.flatnonzero((windows.scene == 1) & (windows.frame == 20))[0])
    dt, tracks = 0.1, states.tracks
    mean, spread = np.array([0, 0, 9.0, 0]), np.diag([1.0, 1.0, 4.0, 1.0])

    def moved(mean, spread, dt):
        f = np.eye(4) + dt * np.eye(4, k=2)
        q = np.kron([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], np.diag([2.0, 0.5]))
        return f @ mean, f @ spread @ f.T + q

    h, r = np.eye(2, 4), np.diag([0.09, 0.04])
    for row in range(21):
        if row:
            mean, spread = moved(mean, spread, dt)
        if tracks.seen[3, row]:
            place = np.array([tracks.x[3, row] - tracks.x[3, 0], tracks.y[3, row] - tracks.y[3, 0]])
            gain = spread @ h.T @ np.linalg.inv(h @ spread @ h.T + r)
            mean, spread = mean + gain @ (place - h @ mean), (np.eye(4) - gain @ h) @ spread
    for index, ahead in enumerate(windows.ahead):
        later, doubt = moved(mean, spread, ahead)
        x = tracks.x[3, 0] - windows.origin[1, 0] + later[0]
        assert futures.x[number, 0, 0, index] == pytest.approx(x, abs=1e-3)
        assert futures.along_sd[number, 0, 0, index] == pytest.approx(np.sqrt(doubt[0, 0]), rel=1e-4)
        assert futures.across_sd[number, 0, 0, index] == pytest.approx(np.sqrt(doubt[1, 1]), rel=1e-4)


def test_what_is_seen_later_changes_nothing(states, windows):
    x = states.tracks.x.copy()
    x[:, 21:] += 3.0
    other = replace(states, tracks=replace(states.tracks, x=x))
    early = windows.select(windows.frame <= 20)
    one, two = (np.asarray(kalman.filter_forecasts(MODELS[0], each, early).x) for each in (states, other))
    first = early.row != 1  # which comes 20 frames late
    np.testing.assert_array_equal(one[first], two[first])


def test_front_bumpers_become_centres(windows):
    front = made_states(reference="front")
    futures = kalman.filter_forecasts(MODELS[0], front, windows)
    errors = baselines.errors_of(futures, windows)[windows.scored]
    np.testing.assert_allclose(errors, 0.0, atol=0.05)


def test_fitted_parameters_make_the_future_more_likely(states, windows):
    model = kalman.fit_filter(MODELS[0], states, windows)
    futures = kalman.filter_forecasts(model, states, windows)
    before = kalman.filter_forecasts(MODELS[0], states, windows)
    # Nothing here is uncertain, so the doubt shrinks.
    assert (np.asarray(futures.along_sd) <= np.asarray(before.along_sd)).all()
    assert futures.along_sd.mean() < 0.8 * before.along_sd.mean()
    with pytest.raises(RecordingError, match="fit a filter"):
        kalman.fit_filter(MODELS[0], states, windows.select(np.array([], int)))
