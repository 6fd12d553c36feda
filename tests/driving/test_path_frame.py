"""Paths at regular distances, the line along which they run, and places along and across it."""

import numpy as np
import pytest

from foresee.driving.path_frame import STEP, Frame, line_along, steps_of


def arc(radius, begin, end, offset=0.0, count=200):
    angle = np.linspace(begin, end, count) / radius
    return np.stack([(radius - offset) * np.sin(angle), radius - (radius - offset) * np.cos(angle)], axis=1)


def test_steps_are_at_regular_distances():
    random = np.random.default_rng(0)
    path = arc(150.0, 0, 200) + random.normal(0, 0.2, (200, 2))
    steps = steps_of([path])
    gaps = np.hypot(*np.diff(steps.place, axis=0).T)
    assert np.all(np.abs(gaps - STEP) < 0.3)
    inner = slice(3, -3)
    away = np.hypot(steps.place[:, 0], steps.place[:, 1] - 150) - 150
    assert np.abs(away[inner]).max() < 0.3
    direction = np.arctan2(steps.place[:, 0], 150 - steps.place[:, 1])
    assert np.abs(steps.heading - direction)[inner].max() < 0.06


def test_who_stands_gives_no_steps_and_who_vanishes_two_pieces():
    assert len(steps_of([np.random.default_rng(0).normal(0, 0.2, (100, 2))]).path) == 0
    x = np.r_[np.arange(0, 30.0), np.arange(100, 130.0)]
    steps = steps_of([np.stack([x, 0 * x], axis=1)])
    assert np.diff(steps.place[:, 0]).max() > 60
    assert set(steps.path.tolist()) == {0}


def test_the_line_runs_along_all_paths():
    paths = [arc(200.0, 10.0 * i, 250 + 10.0 * i, offset=-3.6 * (i % 3)) for i in range(9)]
    line = line_along(steps_of(paths))
    away = 200 - np.hypot(line.line[:, 0], line.line[:, 1] - 200)
    assert np.ptp(away) < 0.5
    assert abs(line.length - 330) < 40
    bend = line.at(np.linspace(30, 250, 20))[2]
    np.testing.assert_allclose(bend, 1 / (200 - away.mean()), rtol=0.1)


def test_a_ring_is_followed_once():
    random = np.random.default_rng(0)
    paths = [arc(25.0, begin, begin + 120) for begin in random.uniform(0, 150, 8)]
    line = line_along(steps_of(paths))
    assert abs(line.length - 2 * np.pi * 25) < 3 * STEP


@pytest.mark.parametrize("offset", [-8.0, 0.0, 12.0])
def test_find_undoes_place(offset):
    grid = STEP * np.arange(81)
    heading = 0.4 * np.sin(grid / 40)
    middle = 0.5 * (heading[1:] + heading[:-1])
    steps = STEP * np.stack([np.cos(middle), np.sin(middle)], axis=1)
    frame = Frame(np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]), heading)
    along = np.linspace(-10, 210, 57)
    found = frame.find(frame.place(along, np.full(57, offset)))
    np.testing.assert_allclose(found[0], along, atol=0.02)
    np.testing.assert_allclose(found[1], offset, atol=0.01)
