"""Roads from lanes: how they connect, what lies beside what, and what cannot be a road."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from foresee.driving.lanes import Lane
from foresee.driving.make_road import ring_road, road_from_lanes, straight_road
from foresee.errors import RoadError


def lane(name, begin, end, width=3.5, points=11, **more) -> Lane:
    line = np.linspace(np.array(begin, float), np.array(end, float), points)
    along = (line[-1] - line[0]) / np.hypot(*(line[-1] - line[0]))
    aside = 0.5 * width * np.array([-along[1], along[0]])
    return Lane(name, line + aside, line - aside, **more)


def names(road, number):
    return [int(k) for k in road.successors[number] if k >= 0]


def test_lanes_that_follow_each_other_become_one():
    road = road_from_lanes(
        [
            lane("b", (50, 0), (100, 0), successors=("c",)),
            lane("a", (0, 0), (50, 0), successors=("b",)),
            lane("c", (100, 0), (130, 0)),
        ]
    )
    assert road.lanes == 1
    np.testing.assert_allclose(road.length, [130.0])
    np.testing.assert_allclose(road.line[0, :, 0], 2.0 * np.arange(road.line.shape[1]), atol=1e-9)
    assert names(road, 0) == []
    assert not bool(road.closed[0])


def test_a_fork_and_a_merge_connect_three_lanes():
    fork = road_from_lanes(
        [
            lane("in", (0, 0), (50, 0), successors=("left", "right")),
            lane("left", (50, 0), (90, 20)),
            lane("right", (50, 0), (90, -20)),
        ]
    )
    assert names(fork, 0) == [1, 2]
    assert fork.predecessors.tolist() == [[-1], [0], [0]]
    merge = road_from_lanes(
        [
            lane("left", (0, 20), (50, 0), successors=("out",)),
            lane("right", (0, -20), (50, 0), successors=("out",)),
            lane("out", (50, 0), (90, 0)),
        ]
    )
    assert merge.predecessors.tolist() == [[-1, -1], [-1, -1], [0, 1]]
    assert [names(merge, k) for k in range(3)] == [[2], [2], []]
    assert not bool(merge.closed.any())


def test_lanes_are_cut_where_the_limit_changes():
    road = road_from_lanes(
        [
            lane("a", (0, 0), (50, 0), successors=("b",), speed_limit=30.0),
            lane("b", (50, 0), (100, 0), successors=("c",), speed_limit=20.0),
            lane("c", (100, 0), (150, 0), speed_limit=20.0),
        ]
    )
    assert road.lanes == 2
    assert road.speed_limit.tolist() == [30.0, 20.0]
    np.testing.assert_allclose(road.length, [50.0, 100.0])


def test_a_ring_of_two_pieces_closes():
    angle = np.linspace(0, np.pi, 60)
    half = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    road = road_from_lanes(
        [
            Lane("north", 38.0 * half, 42.0 * half, successors=("south",)),
            Lane("south", -38.0 * half, -42.0 * half, successors=("north",)),
        ]
    )
    assert road.lanes == 1
    assert names(road, 0) == [0]
    np.testing.assert_allclose(road.length, [2 * np.pi * 40], rtol=1e-3)


def test_a_ring_knows_who_is_beside_it_all_the_way_round():
    road = ring_road(3, 400.0, width=4.0)
    used = np.arange(road.line.shape[1]) * 2.0 <= np.asarray(road.length)[:, None]
    for k, (left, right) in enumerate(((-1, 1), (0, 2), (1, -1))):
        assert set(np.asarray(road.beside[k, used[k], 0]).tolist()) == {left}
        assert set(np.asarray(road.beside[k, used[k], 1]).tolist()) == {right}
    np.testing.assert_allclose(np.asarray(road.across[..., 0])[used], 4.0, atol=0.05)
    along, beside = 2.0 * np.arange(road.line.shape[1]), np.asarray(road.across[1, :, 3])
    expected = along * np.asarray(road.length)[0] / np.asarray(road.length)[1]
    np.testing.assert_allclose(beside[used[1]], expected[used[1]], atol=0.3)


def test_a_ramp_opens_and_ends():
    road = straight_road(2, 800.0, ramp=(300.0, 500.0), spacing=2.0)
    assert road.lanes == 3
    np.testing.assert_allclose(road.length, [800.0, 800.0, 400.0])
    assert road.closed.tolist() == [False, False, True]
    along = 2.0 * np.arange(road.line.shape[1])
    right = np.asarray(road.beside[1, :, 1])
    assert set(right[(along > 304) & (along < 496)].tolist()) == {2}
    assert set(right[(along < 296) | (along > 504)].tolist()) == {-1}
    left = np.asarray(road.beside[2, :, 0])
    assert set(left[along < 196].tolist()) == {-1}
    assert set(left[(along > 204) & (along < 396)].tolist()) == {1}
    reach = np.asarray(road.across[0, :, 2])
    np.testing.assert_allclose(reach[(along > 304) & (along < 496)], 2.5 * 3.5)
    np.testing.assert_allclose(reach[along < 296], 1.5 * 3.5)


def test_a_lane_that_ends_beside_one_that_goes_on_must_merge():
    long = lane("long", (0, 0), (200, 0), right_neighbour="short")
    short = lane("short", (0, -3.5), (150, -3.5), left_neighbour="long")
    assert road_from_lanes([long, short]).closed.tolist() == [False, True]
    as_long = lane("short", (0, -3.5), (190, -3.5), left_neighbour="long")
    assert road_from_lanes([long, as_long]).closed.tolist() == [False, False]


def test_width_follows_the_boundaries():
    x = np.linspace(0, 100, 51)
    wedge = Lane("wedge", np.stack([x, 1.5 + 0.01 * x], axis=1), np.stack([x, -1.5 - 0.01 * x], axis=1))
    road = road_from_lanes([wedge])
    along = 2.0 * np.arange(51)
    np.testing.assert_allclose(road.across[0, :51, 0], 3.0 + 0.02 * along, atol=0.01)


def bad(**changes) -> list[Lane]:
    first = lane("first", (0, 0), (50, 0), successors=("second",))
    return [replace(first, **changes), lane("second", (50, 0), (90, 0))]


POINT = np.zeros((5, 2))
WRONG = {
    "no length": (bad(left=POINT, right=POINT), "a length, got lane first"),
    "one point": (bad(left=np.zeros((1, 2))), "two points on the left of lane first, got 1"),
    "not finite": (bad(right=np.array([[0.0, 0], [np.nan, 0]])), "the right of lane first, got 1 others"),
    "gap": (
        [*bad()[:1], lane("second", (56, 0), (90, 0))],
        "second to begin where lane first ends, got a gap",
    ),
    "same name": (bad(name="second", successors=()), "second twice"),
    "unknown successor": (bad(successors=("third",)), "after lane first, got the unknown third"),
    "unknown neighbour": (bad(left_neighbour="third"), "left of lane first, got the unknown third"),
    "beside itself": (bad(right_neighbour="first"), "right of lane first, got itself"),
    "twice beside": (
        bad(left_neighbour="second", right_neighbour="second"),
        "beside lane first, got second on the left and the right",
    ),
    "nothing": ([], "at least one lane"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_a_road_is_named(wrong):
    lanes, said = WRONG[wrong]
    with pytest.raises(RoadError, match=said):
        road_from_lanes(lanes)


@pytest.mark.parametrize("spacing", [-2.0, 0, float("nan"), float("inf")])
def test_spacing_must_be_positive(spacing):
    with pytest.raises(RoadError, match="positive spacing"):
        road_from_lanes(bad(), spacing=spacing)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: straight_road(0, 100), "at least one lane"),
        (lambda: straight_road(2, -1), "positive length"),
        (lambda: straight_road(2, float("inf")), "positive length"),
        (lambda: straight_road(2, 100, width=0), "positive length and width"),
        (lambda: straight_road(3, 100, curvature=-0.2), "bend wider"),
        (lambda: straight_road(3, 100, curvature=0.6), "bend wider"),
        (lambda: straight_road(3, 100, curvature=float("nan")), "bend wider"),
        (lambda: straight_road(2, 100, ramp=(50, 150)), "within 100 m"),
        (lambda: straight_road(2, 100, ramp=(50, float("nan"))), "within 100 m"),
        (lambda: ring_road(0, 100), "at least one lane"),
        (lambda: ring_road(1, 15), "radius above"),
        (lambda: ring_road(1, float("nan")), "positive length"),
    ],
)
def test_numbers_that_make_no_road(make, said):
    with pytest.raises(RoadError, match=said):
        make()


def test_real_maps_become_roads(shared_data):
    """Every scene's map of the US-101: five lanes, a neighbour on each side, and the right widths."""
    with gzip.open(shared_data / "traffic" / "us101_lanelets.json.gz") as file:
        maps = json.load(file)
    for scene in sorted(maps)[::8]:
        known = {str(one["id"]) for one in maps[scene]}

        def name(one, known=known):
            return str(one) if str(one) in known else None

        lanes = [
            Lane(
                str(one["id"]),
                np.array(one["left"], float),
                np.array(one["right"], float),
                tuple(str(k) for k in one["succ"] if str(k) in known),
                name(one["adjL"]),
                name(one["adjR"]),
            )
            for one in maps[scene]
        ]
        road = road_from_lanes(lanes)
        used = np.arange(road.line.shape[1]) * 2.0 <= np.asarray(road.length)[:, None]
        width = np.asarray(road.across[..., 0])[used]
        assert 3.0 < np.median(width) < 4.0
        assert (np.asarray(road.beside)[used].max(axis=1) >= 0).mean() > 0.8
        assert np.abs(np.asarray(road.line[..., 3])[used]).max() < 0.05
