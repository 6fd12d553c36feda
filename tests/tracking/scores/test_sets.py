"""Distances of sets against every possible pairing, tried one by one."""

import itertools

import numpy as np
import pytest
from scipy.stats import chi2

from foresee.errors import TrackingError
from foresee.tracking import Labelled
from foresee.tracking.scores import (
    delays,
    doubt,
    gospa,
    gospa_by_frame,
    ospa,
    ospa_by_frame,
    ospa_of_tracks,
    siap,
)
from tests.tracking.made_up import points


def cheapest(cost):
    """The least sum over one-to-one pairings that use every row of the shorter side."""
    cost = cost if cost.shape[0] <= cost.shape[1] else cost.T
    rows = range(cost.shape[0])
    return min(
        sum(cost[i, k] for i, k in zip(rows, order, strict=True))
        for order in itertools.permutations(range(cost.shape[1]), len(rows))
    )


def by_hand(a, b, c, p):
    most, fewest = max(len(a), len(b)), min(len(a), len(b))
    if not fewest:
        return c if most else 0.0
    apart = np.minimum(c, np.linalg.norm(a[:, None] - b[None], axis=-1)) ** p
    return ((cheapest(apart) + c**p * (most - fewest)) / most) ** (1 / p)


def gospa_by_hand(a, b, c, p):
    best = np.inf
    apart = np.linalg.norm(a[:, None] - b[None], axis=-1) ** p
    for size in range(min(len(a), len(b)) + 1):
        for rows in itertools.combinations(range(len(a)), size):
            for columns in itertools.permutations(range(len(b)), size):
                cost = sum(apart[i, k] for i, k in zip(rows, columns, strict=True))
                best = min(best, cost + c**p / 2 * (len(a) + len(b) - 2 * size))
    return best ** (1 / p)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0), (1, 1), (3, 4), (5, 2), (4, 4)])
@pytest.mark.parametrize("p", [1, 2])
def test_distances_of_sets_are_the_least_of_all_pairings(n, m, p):
    random = np.random.default_rng(100 * n + 10 * m + p)
    for _ in range(5):
        a, b = random.uniform(0, 12, (n, 2)), random.uniform(0, 12, (m, 2))
        assert ospa(a, b, c=5, p=p) == pytest.approx(by_hand(a, b, 5.0, p))
        found = gospa(a, b, c=5, p=p)
        assert found.total == pytest.approx(gospa_by_hand(a, b, 5.0, p))
        assert found.localisation + found.missed + found.false == pytest.approx(found.total**p)


def test_distance_of_tracks_is_the_least_of_all_pairings():
    truth, tracks = points(objects=3, frames=8)
    c = 10.0
    base = np.full((len(truth.names), len(tracks.names)), 0.0)
    for i, one in enumerate(truth.names):
        for j, other in enumerate(tracks.names):
            a = {
                int(f): x for f, x, n in zip(truth.frame, truth.position, truth.name, strict=True) if n == one
            }
            b = {
                int(f): x
                for f, x, n in zip(tracks.frame, tracks.position, tracks.name, strict=True)
                if n == other
            }
            costs = [
                float(min(c, np.linalg.norm(a[f] - b[f]))) if f in a and f in b else c
                for f in a.keys() | b.keys()
            ]
            base[i, j] = np.mean(costs)
    n, m = base.shape
    expected = (cheapest(base) + c * abs(n - m)) / max(n, m)
    assert ospa_of_tracks(truth, tracks, c=c) == pytest.approx(expected)
    assert ospa_of_tracks(truth, truth) == 0


def test_by_frame_is_frame_by_frame():
    truth, tracks = points()
    expected = [ospa(truth.position[truth.frame == k], tracks.position[tracks.frame == k]) for k in range(12)]
    np.testing.assert_allclose(ospa_by_frame(truth, tracks), expected)
    assert [part.total for part in gospa_by_frame(truth, tracks)][3] == gospa(
        truth.position[truth.frame == 3], tracks.position[tracks.frame == 3]
    ).total


@pytest.mark.parametrize("wrong", [{"c": 0.0}, {"c": np.nan}, {"p": 0.5}])
def test_what_makes_no_distance_is_refused(wrong):
    with pytest.raises(TrackingError, match="expected a cut-off c above 0 and an order p of at least 1"):
        ospa(np.zeros((1, 2)), np.zeros((1, 2)), **wrong)


def one(frames, name, x, **more):
    frames = np.asarray(frames)
    position = np.column_stack([np.broadcast_to(x, len(frames)), np.zeros(len(frames))]).astype(float)
    return Labelled(frames, np.broadcast_to(name, len(frames)), position, **more)


def test_the_air_picture_of_one_object_with_two_tracks():
    truth = one(range(10), 1, 0.0)
    frames = [2, 3, 4, 5, 5, 6, 7, 9]  # followed by track 1 up to 5 and by track 2 from 5 on; 9: far away
    tracks = one(frames, np.array([1, 1, 1, 1, 2, 2, 2, 2]), np.array([1.0] * 7 + [50.0]))
    found = siap(truth, tracks)
    assert found.completeness == 0.6
    assert found.ambiguity == pytest.approx(7 / 6)
    assert found.spuriousness == 1 / 8
    assert found.accuracy == 1.0
    assert found.name_changes == pytest.approx(1 / 6)
    assert found.longest == 0.4
    late = delays(truth, tracks)
    assert (late.to_confirm, late.never) == (2.0, 0)
    assert late.to_delete == pytest.approx(2 / 2)  # track 1 ends in its last good frame, track 2 two later


def test_right_covariances_cover_what_they_say():
    truth, tracks = points(frames=400, objects=4)
    true = tracks.select(tracks.name < 50)
    found = doubt(truth, true, within=30.0)
    n = found.rows
    assert n > 1000
    low, high = chi2.ppf([1e-4, 1 - 1e-4], 2 * n) / n
    # rows are paired by nearness, which takes a wrong neighbour now and then: a tenth of slack above
    assert low * 0.9 < found.nees_mean < high * 1.1
    for level, inside, coverage in zip((0.5, 0.9, 0.99), found.inside, found.coverage, strict=True):
        assert abs(inside - level) < 4 * np.sqrt(level * (1 - level) / n) + 0.02
        assert abs(coverage - level) < 4 * np.sqrt(level * (1 - level) / n) + 0.02
    with pytest.raises(TrackingError, match="expected tracks with covariances"):
        doubt(truth, Labelled(true.frame, true.name, true.position))
