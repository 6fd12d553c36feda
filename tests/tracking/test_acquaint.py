"""What is learned from positions alone, held against what they were drawn with."""

import numpy as np

import foresee.tracking.acquaint as learning
from foresee.tracking.detections import Detections
from foresee.tracking.paths import paths_of
from foresee.tracking.sequence import track


def test_ships_that_report_one_by_one_are_told_from_one_ship_that_jumps(monkeypatch):
    """Six ships at 5 m/s, each reporting when it likes: at any moment only one of them is heard."""
    monkeypatch.setattr(learning, "TRIES", 8)
    random = np.random.default_rng(0)
    ships, reports = 6, 72
    begin, course = random.uniform(-4000, 4000, (ships, 2)), random.uniform(0, 2 * np.pi, ships)
    velocity = 5.0 * np.stack([np.cos(course), np.sin(course)], axis=-1)
    who, times = random.integers(0, ships, reports), np.sort(random.uniform(0, 140, reports))
    where = begin[who] + velocity[who] * times[:, None] + 3.0 * random.normal(size=(reports, 2))
    detections = Detections([place[None] for place in where], times)
    habits = learning.acquaint(detections)
    assert habits.detection < 0.4  # one in six
    assert 1.0 < habits.noise < 9.0
    paths = paths_of(track(detections, habits.tracker(), tentative=True), detections)
    owner, row = paths.owner[paths.seen], paths.row[paths.seen]
    most = sum(np.bincount(who[row[owner == k]]).max() for k in range(len(paths)))
    assert most > 0.85 * reports
