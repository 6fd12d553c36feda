"""Lanes found from paths: made-up roads, real scenes with a known map, and too little of both."""

import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foresee.driving.find_lanes import find_lanes, road_of
from foresee.driving.lanes import Lane
from foresee.driving.synthetic import synthetic_recording
from foresee.driving.traffic import LANE_WIDTH, start_traffic
from foresee.errors import RecordingError


def centre(lane: Lane) -> np.ndarray:
    return 0.5 * (lane.left + lane.right)


def ring_paths(offsets, radius, count, length=400.0, noise=0.2, seed=0, reverse=False):
    """Vehicles on lanes at offsets to the left of an arc, swaying, seen with noise."""
    random = np.random.default_rng(seed)
    paths = []
    for i in range(count):
        s = random.uniform(0, 0.3 * length) + np.cumsum(random.uniform(0.5, 2.5) * np.ones(400))
        s = s[s < length]
        offset = (
            offsets[i % len(offsets)] + 0.25 * random.normal() + 0.2 * np.sin(s / 40 + random.uniform(0, 6))
        )
        angle, reach = s / radius, radius - offset
        path = np.stack([reach * np.sin(angle), radius - reach * np.cos(angle)], axis=1)
        path = path + noise * random.normal(size=path.shape)
        paths.append(path[::-1] if reverse else path)
    return paths


def ring_offset(lane: Lane, radius: float) -> np.ndarray:
    x, y = centre(lane).T
    return radius - np.hypot(x, y - radius)


def test_a_bend_of_two_lanes():
    lanes = find_lanes(ring_paths((0.0, -3.7), 200.0, 12))
    assert [lane.name for lane in lanes] == ["0", "1"]
    assert lanes[0].right_neighbour == "1"
    assert lanes[1].left_neighbour == "0"
    assert lanes[0].left_neighbour is None
    assert lanes[1].right_neighbour is None
    for lane, true in zip(lanes, (0.0, -3.7), strict=True):
        offset = ring_offset(lane, 200.0)
        assert np.median(np.abs(offset - true)) < 0.3
        assert np.all(np.diff(np.arctan2(centre(lane)[:, 0], 200 - centre(lane)[:, 1])) > 0)
    width = np.hypot(*(lanes[0].left - lanes[0].right).T)
    assert np.all((width > 3.3) & (width < 4.1))
    apart = np.hypot(*np.moveaxis(lanes[0].right[:, None] - lanes[1].left[None], 2, 0)).min(axis=1)
    assert np.median(apart) < 1e-6  # they share the boundary between them


def test_two_carriageways_are_told_apart():
    there = ring_paths((0.0, -3.6), 300.0, 12)
    back = ring_paths((7.2, 10.8), 300.0, 12, seed=1, reverse=True)
    lanes = find_lanes(there + back)
    offsets = {lane.name: np.median(ring_offset(lane, 300.0)) for lane in lanes}
    np.testing.assert_allclose(sorted(offsets.values()), [-3.6, 0.0, 7.2, 10.8], atol=0.35)
    for lane in lanes:
        turning = np.diff(np.arctan2(centre(lane)[:, 0], 300 - centre(lane)[:, 1])).mean()
        assert (turning < 0) == (offsets[lane.name] > 4)
        for other in (lane.left_neighbour, lane.right_neighbour):
            assert other is None or (offsets[other] > 4) == (offsets[lane.name] > 4)


def test_a_lane_that_nobody_used_between_two_others():
    lanes = find_lanes(ring_paths((0.0, -7.2), 500.0, 10))
    assert len(lanes) == 3
    assert abs(np.median(ring_offset(lanes[1], 500.0)) + 3.6) < 0.3


def test_changes_of_lanes_bend_nothing():
    paths = ring_paths((0.0, -3.6, -7.2), 1e4, 15)
    for k in range(5):  # from lane 0 to lane 1 over 80 m, at different places
        s = np.arange(0.0, 400.0)
        y = -3.6 * np.clip((s - 60 * k) / 80, 0, 1)
        paths.append(np.stack([s, y + s**2 / 2e4], axis=1))
    lanes = find_lanes(paths)
    assert len(lanes) == 3
    for lane, true in zip(lanes, (0.0, -3.6, -7.2), strict=True):
        assert np.median(np.abs(ring_offset(lane, 1e4) - true)) < 0.3


def test_an_exit_is_a_lane_of_its_own():
    paths = ring_paths((0.0, -3.6), 1e5, 12)
    for path in ring_paths((-3.6,), 1e5, 5, seed=1):
        away = np.maximum(path[:, 0] - 120, 0)
        paths.append(path - np.stack([0 * away, np.minimum(away**2 / 1000, 0.1 * away)], axis=1))
    lanes = find_lanes(paths)
    assert len(lanes) == 3
    assert (lanes[2].left_neighbour, lanes[2].right_neighbour) == (None, None)
    x, y = centre(lanes[2]).T
    assert x[-1] - x[0] > 100
    assert np.median(np.abs(y + 3.6 + np.minimum((x - 120) ** 2 / 1000, 0.1 * (x - 120)))) < 0.6


def test_synthetic_highway_with_a_merging_lane():
    recording = synthetic_recording()
    lanes = find_lanes(recording)
    assert len(lanes) == 4
    line = start_traffic(40, 20.0, np.random.default_rng(0)).line
    for number, lane in enumerate(lanes):
        points = centre(lane)
        nearest = ((points[:, None] - line[None, ::4, :2]) ** 2).sum(axis=2).argmin(axis=1) * 4
        x, y, heading, _ = line[nearest].T
        offset = -np.sin(heading) * (points[:, 0] - x) + np.cos(heading) * (points[:, 1] - y)
        error = np.abs(offset + LANE_WIDTH * number)
        assert np.median(error) < 0.1
        assert np.quantile(error, 0.9) < 0.2
    assert len(lanes[3].left) < len(lanes[2].left)  # the merging lane ends before the others do
    road = road_of(recording)
    assert road.lanes == 4
    assert bool(road.closed[3])
    assert not bool(road.closed[:3].any())


def test_many_vehicles_take_seconds():
    paths = ring_paths((0.0, -3.6, -7.2), 2000.0, 400, length=900.0)
    begin = time.perf_counter()
    assert len(find_lanes(paths)) == 3
    assert time.perf_counter() - begin < 20.0


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], "got 0 vehicles"),
        ([np.zeros((0, 2)), np.zeros((1, 2))], "got 2 vehicles and at most 0 m"),
        ([np.random.default_rng(0).normal(0, 0.2, (50, 2))], "at most 0 m"),
        ([np.stack([np.arange(9.0), np.zeros(9)], axis=1)], "at least 15 m"),
        ([np.array([[0.0, 0.0], [np.nan, 1.0]])], "path 0"),
    ],
)
def test_too_little_says_what_is_missing(paths, said):
    with pytest.raises(RecordingError, match=said):
        find_lanes(paths)


def test_who_only_weaves_shows_no_lane():
    s = np.arange(0.0, 200.0)
    with pytest.raises(RecordingError, match="keep to a lane"):
        find_lanes([np.stack([s, 3 * np.sin(s / 10 + k)], axis=1) for k in np.linspace(0, 2 * np.pi, 40)])


def test_the_map_comes_first():
    recording = synthetic_recording(vehicles=6, seconds=5)
    x = np.linspace(0, 100, 30)
    lane = Lane("map", np.stack([x, x * 0 + 2], axis=1), np.stack([x, x * 0 - 2], axis=1))
    mapped = replace(recording, lanes={"synthetic": (lane,)})
    assert road_of(mapped).lanes == 1
    assert road_of(mapped, "synthetic", spacing=5.0).spacing == 5.0
    assert road_of(recording).lanes > 1
    with pytest.raises(RecordingError, match="nowhere"):
        road_of(recording, "nowhere")


def test_scenes_must_be_named():
    recording = synthetic_recording(vehicles=6, seconds=5)
    scene = np.array(["a", *["b"] * (recording.vehicles - 1)], dtype=object)
    with pytest.raises(RecordingError, match="one of 2 scenes"):
        road_of(replace(recording, scene=scene))


def test_real_scenes(shared_data):
    """22 scenes on which no constant was chosen, each alone; d is the distance to the road's left edge."""
    table = pl.read_csv(shared_data / "traffic" / "us101_tracks.csv.gz")
    scenes = sorted(table["scene"].unique().to_list())
    errors, missed, found = [], 0, 0
    for scene in [name for i, name in enumerate(scenes) if i % 3]:
        rows = table.filter(pl.col("scene") == scene).sort("id", "step")
        lanes = find_lanes([part.select("x", "y").to_numpy() for part in rows.partition_by("id")])
        found += len(lanes)
        place, d = rows.select("x", "y").to_numpy(), rows["d"].to_numpy()
        there = set()
        for lane in lanes:
            line, ahead = centre(lane), np.gradient(centre(lane), axis=0)
            ahead /= np.hypot(*ahead.T)[:, None]
            nearest = ((place[:, None] - line[None]) ** 2).sum(axis=2).argmin(axis=1)
            away = place - line[nearest]
            offset = ahead[nearest, 0] * away[:, 1] - ahead[nearest, 1] * away[:, 0]
            inside = (np.abs(offset) < 1.75) & (np.abs((ahead[nearest] * away).sum(axis=1)) < 5)
            measured = np.array(
                [np.median((d + offset)[inside & (nearest == k)]) for k in np.unique(nearest[inside])]
            )
            number = np.round((measured - 1.95) / 3.55)
            errors.append(measured - 1.95 - 3.55 * number)
            there |= set(number.astype(int).tolist())
        used = np.round((d - 1.95) / 3.55).astype(int)
        often = {int(k) for k in np.unique(used) if len(set(rows["id"].to_numpy()[used == k])) > 2 and k < 5}
        missed += len(often - there)
    error = np.abs(np.concatenate(errors))
    assert np.median(error) < 0.3
    assert np.quantile(error, 0.9) < 0.75
    assert missed == 0
    assert found <= 120
