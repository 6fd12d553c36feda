"""Each metric on hand-made episodes, just inside and just outside of its limit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.lanes import Lane
from foresee.driving.make_road import road_from_lanes, straight_road
from foresee.driving.make_world import make_world
from foresee.driving.metrics import UNITS, judge
from foresee.driving.scenario import Record, Scenario
from foresee.driving.scores import OUTCOMES
from foresee.driving.simulate import Episode, Frame

FRAMES, SLOTS, DT = 71, 3, 0.1
LENGTH, WIDTH = 4.7, 1.9
TIME = np.arange(FRAMES) * DT
ROAD = straight_road(2, 400.0, speed_limit=20.0)  # y between 1.75 and -5.25
NAMES = ("x", "y", "heading", "speed", "acceleration", "curvature")


def still(**changes):
    """One vehicle per argument; positions over time, by default far away and not moving."""
    return {name: np.zeros(FRAMES) for name in NAMES} | {"x": np.full(FRAMES, -500.0)} | changes


def cruise(x=50.0, y=0.0, speed=10.0, **changes):
    return still(
        x=x + speed * TIME, y=np.full(FRAMES, float(y)), speed=np.full(FRAMES, float(speed))
    ) | changes  # fmt: skip


def braked(acceleration, x=50.0, speed=10.0):
    """The way of a vehicle that accelerates as given from frame to frame."""
    speeds = speed + np.concatenate([[0], np.cumsum(acceleration[1:] * DT)])
    moved = np.concatenate([[0], np.cumsum(0.5 * (speeds[1:] + speeds[:-1]) * DT)])
    return cruise() | {"x": x + moved, "speed": speeds, "acceleration": acceleration}


def rows(vehicles):
    return {name: jnp.stack([jnp.asarray(vehicle[name]) for vehicle in vehicles], axis=1) for name in NAMES}


@eqx.filter_jit
def placed(road, x, y):
    place = jax.vmap(jax.vmap(road.nearest))(x, y)
    return place.lane, place.along, place.offset


jitted = eqx.filter_jit(lambda episode: judge(episode, DT))


def score(
    ego, *others, expert=None, other_records=None, handover=0, frames=FRAMES - 1, alive=None, road=ROAD
):
    """Judge a hand-made episode; everybody but the ego drove as recorded."""
    others = [*others, *[None] * (SLOTS - 1 - len(others))]
    there = np.array([True, *(other is not None for other in others)])
    others = [still() if other is None else other for other in others]
    present = jnp.asarray(np.broadcast_to(there, (FRAMES, SLOTS)))
    driven, recorded = (
        rows([ego, *others]),
        rows([ego if expert is None else expert, *(other_records or others)]),
    )
    lanes = [placed(road, values["x"], values["y"]) for values in (driven, recorded)]
    record = Record(*[*recorded.values(), *lanes[1], present])
    shown = present if alive is None else present.at[:, 0].set(jnp.asarray(alive))
    frame = Frame(*[*driven.values(), shown, *lanes[0], jnp.zeros_like(present), None])
    world = make_world(
        road, lanes[0][0][0], lanes[0][1][0], jnp.full(SLOTS, 10.0),
        length=jnp.full(SLOTS, LENGTH), width=jnp.full(SLOTS, WIDTH), alive=present[0],
        check=False,
    )  # fmt: skip
    ego_slot, handed, last = (jnp.asarray(number, jnp.int32) for number in (0, handover, frames))
    scenario = Scenario(world, record, ego_slot, handed, last)
    return jitted(Episode(frame, jnp.zeros((FRAMES - 1, 2)), world, scenario))


def test_a_driver_who_does_as_recorded_has_nothing_to_be_blamed_for():
    judged = score(cruise(), cruise(80.0), cruise(20.0, -3.5, 15.0))
    scores = {name: float(value) for name, value in judged.scores.items()}
    assert OUTCOMES[int(judged.outcome)] == "did not fail"
    assert int(judged.failed_at) == -1
    assert int(judged.against) == -1
    assert scores["sdc_progression"] == 1.0
    assert scores["nuplan_score"] == 1.0
    assert scores["log_divergence"] == 0.0
    assert scores["success"] == 1.0
    for name in (
        "overlap",
        "offroad",
        "sdc_wrongway",
        "kinematic_infeasibility",
        "at_fault_collision",
        "jerk",
    ):
        assert scores[name] == 0.0
    assert set(judged.values) == set(UNITS)
    assert scores["seconds"] == pytest.approx(7.0)
    assert scores["least_distance"] == pytest.approx(3.5 - WIDTH)  # when it is passed


@pytest.mark.parametrize("outside", [0.29, 0.31])
def test_drivable_area_is_left_where_a_corner_is_a_third_of_a_metre_out(outside):
    edge = 1.75 - 0.5 * WIDTH
    judged = score(cruise(y=edge + outside), expert=cruise())
    assert bool(judged.scores["drivable_area_compliance"]) == (outside < 0.3)
    assert float(judged.values["outside"].max()) == pytest.approx(outside, abs=1e-6)
    assert OUTCOMES[int(judged.outcome)] == ("did not fail" if outside < 0.3 else "left the road")
    assert int(judged.failed_at) == (-1 if outside < 0.3 else 0)


@pytest.mark.parametrize("outside", [0.69, 0.71])
def test_the_area_reaches_as_far_as_the_recorded_way_leads(outside):
    edge = 1.75 - 0.5 * WIDTH
    judged = score(cruise(y=edge + outside), expert=cruise(y=edge + 0.4))
    assert float(judged.scores["recorded_outside"]) == pytest.approx(0.4, abs=1e-6)
    assert bool(judged.scores["offroad"]) == (outside > 0.7)


def test_the_ends_of_the_map_are_no_ends_of_the_road():
    judged = score(cruise(x=0.0))  # the rear is before the first sample
    assert float(judged.values["outside"].max()) == 0.0
    gone = np.arange(FRAMES) < 40
    judged = score(cruise(x=370.0), alive=gone)
    assert OUTCOMES[int(judged.outcome)] == "did not fail"
    assert int(judged.counted.sum()) == 40


@pytest.mark.parametrize("gap", [0.02, -0.02])
def test_a_contact_with_the_front_is_a_failure_by_fault(gap):
    ahead = cruise(x=50 + LENGTH + 20.0, speed=0.0)
    ego = cruise(speed=20 / 7.0)  # 20 m in the end
    ego["x"] = ego["x"] - gap
    judged = score(
        ego, ahead | {"speed": np.full(FRAMES, 1.0)}, expert=cruise(speed=20 / 7.0) | {"y": ego["y"] - 3.5}
    )
    assert bool(judged.scores["overlap"]) == (gap < 0)
    assert bool(judged.scores["no_ego_at_fault_collisions"]) == (gap > 0)
    assert OUTCOMES[int(judged.outcome)] == ("did not fail" if gap > 0 else "hit the vehicle ahead")
    assert int(judged.against) == (-1 if gap > 0 else 1)


def test_a_contact_from_behind_or_in_the_record_itself_is_none_of_its_faults():
    faster = cruise(x=38.0, speed=14.0)
    judged = score(cruise(), faster, other_records=[cruise(x=38.0, speed=9.0), still()])
    assert bool(judged.scores["overlap"])
    assert bool(judged.scores["success"])
    # The same two overlap where they were recorded: nobody could have avoided that.
    judged = score(cruise(), cruise(x=50 + LENGTH - 0.1))
    assert not bool(judged.scores["overlap"])
    assert int(judged.scores["recorded_overlap"]) == FRAMES
    # Frames before the handover count for nothing.
    ahead = cruise(x=50 + LENGTH + 2.0, speed=10.0)
    ahead["x"] = np.where(TIME < 2, 52.0, ahead["x"])
    judged = score(cruise(), ahead, other_records=[cruise(x=200.0), still()], handover=20)
    assert not bool(judged.scores["overlap"])
    assert int(judged.counted.sum()) == FRAMES - 20


@pytest.mark.parametrize("excess", [-0.05, 0.05])
def test_time_to_collision_of_the_gap_over_the_closing_speed(excess):
    gap = 5.0 * (0.95 - excess) + 5.0 * TIME[-1]
    judged = score(cruise(), cruise(x=50 + LENGTH + gap, speed=5.0))
    assert bool(judged.scores["time_to_collision_within_bound"]) == (excess < 0)
    wanted = np.minimum((gap - 5.0 * TIME) / 5.0, 3.0)
    np.testing.assert_allclose(judged.values["time_to_collision"], wanted, atol=1e-5)


@pytest.mark.parametrize("share", [0.19, 0.21])
def test_progress_is_compared_with_the_experts(share):
    judged = score(cruise(speed=10 * share), expert=cruise())
    assert float(judged.scores["sdc_progression"]) == pytest.approx(share, rel=1e-5)
    assert bool(judged.scores["ego_is_making_progress"]) == (share > 0.2)
    assert OUTCOMES[int(judged.outcome)] == ("did not fail" if share > 0.2 else "made no progress")
    faster = score(cruise(speed=15.0), expert=cruise())
    assert float(faster.scores["ego_progress_along_expert_route"]) == 1.0
    assert float(faster.scores["sdc_progression"]) == pytest.approx(1.5, rel=1e-5)


def test_driving_against_the_traffic_adds_up_over_a_second():
    for speed, fine in ((0.9, True), (1.1, False)):
        turned = cruise(x=100.0, speed=speed) | {"heading": np.full(FRAMES, np.pi - 0.1)}
        judged = score(turned, expert=cruise())
        assert bool(judged.scores["driving_direction_compliance"]) == fine
        assert bool(judged.scores["sdc_wrongway"])
        assert float(judged.values["against_traffic"].max()) == pytest.approx(speed, rel=1e-5)


def test_speed_above_the_limit_costs_in_proportion():
    assert float(score(cruise(speed=20.0)).scores["speed_limit_compliance"]) == 1.0
    half = float(score(cruise(speed=20 + 2.23 / 2)).scores["speed_limit_compliance"])
    assert half == pytest.approx(0.5, abs=1e-5)
    assert float(score(cruise(speed=23.0)).scores["speed_limit_compliance"]) == 0.0


COMFORT = {
    "ego_lon_acceleration": lambda k: braked(np.full(FRAMES, 2.40 * k), speed=2.0),
    "ego_lat_acceleration": lambda k: cruise() | {"curvature": np.full(FRAMES, 4.89 * k / 100)},
    "ego_yaw_rate": lambda k: cruise(speed=5.0) | {"curvature": np.full(FRAMES, 0.95 * k / 5)},
    "ego_yaw_acceleration": lambda k: cruise(speed=1.0) | {"curvature": 1.93 * k * (TIME - 3.5)},
    "ego_lon_jerk": lambda k: braked(4.13 * k * np.clip(TIME - 3.5, -0.7, 0.7), speed=15.0),
    "ego_jerk": lambda k: cruise(speed=2.0) | {"curvature": 8.37 / 4 * k * np.clip(TIME - 3.5, -0.7, 0.7)},
}


@pytest.mark.parametrize("name", COMFORT)
def test_comfort_ends_at_nuplans_limits(name):
    within, beyond = (score(COMFORT[name](k), expert=cruise()).scores for k in (0.98, 1.06))
    assert bool(within[f"{name}_within_bound"])
    assert not bool(beyond[f"{name}_within_bound"])
    assert not bool(beyond["ego_is_comfortable"])
    assert float(beyond["nuplan_score"]) <= 14 / 16 + 1e-6


def test_infeasible_is_what_no_vehicle_can_do():
    for hardest, wrong in ((10.3, False), (10.5, True)):
        acceleration = np.where((TIME > 3) & (TIME < 3.5), -hardest, 0.0)
        assert bool(score(braked(acceleration, speed=15.0)).scores["kinematic_infeasibility"]) == wrong
    for sharpest, wrong in ((0.29, False), (0.31, True)):
        turning = cruise(speed=2.0) | {"heading": 2 * sharpest * np.clip(TIME - 3, 0, 0.5)}
        assert bool(score(turning).scores["kinematic_infeasibility"]) == wrong


def test_distances_to_the_record_at_two_four_and_six_seconds():
    aside = np.clip(TIME - 1.0, 0, None)
    judged = score(cruise(y=0) | {"y": -aside}, expert=cruise(), handover=10, frames=60)
    apart = aside[10:61]
    for name, count, limit in (("2s", 20, 4.0), ("4s", 40, 6.0)):
        assert float(judged.scores[f"ade_{name}"]) == pytest.approx(apart[1 : count + 1].mean())
        assert float(judged.scores[f"fde_{name}"]) == pytest.approx(apart[count])
        assert bool(judged.scores[f"miss_{name}"]) == (apart[: count + 1].max() > limit)
        assert bool(judged.defined[f"ade_{name}"])
    assert not bool(judged.defined["fde_6s"])  # it lasts only five seconds
    assert float(judged.scores["log_divergence"]) == pytest.approx(apart.mean())
    near, far = (score(cruise(y=-off), expert=cruise()).scores for off in (3.99, 4.01))
    assert not bool(near["miss_2s"])
    assert bool(far["miss_2s"])


def test_jerk_is_that_of_the_actions_themselves():
    acceleration = np.where(np.arange(FRAMES) % 2, 0.5, -0.5)
    judged = score(braked(acceleration), expert=cruise())
    assert float(judged.scores["jerk"]) == pytest.approx(10.0)
    assert bool(judged.scores["ego_lon_jerk_within_bound"])  # smoothed, it is gone


def test_traffic_the_other_way_is_against_and_a_lane_that_ends_is_no_way_out():
    along = np.linspace(0, 400, 401)
    line = lambda y, turn: np.stack([along[::turn], np.full(401, y)], axis=1)  # noqa: E731
    two_ways = road_from_lanes(
        [
            Lane("there", line(1.75, 1), line(-1.75, 1)),
            Lane("back", line(1.75, -1), line(5.25, -1)),
        ]
    )
    assert bool(score(cruise(y=3.5), road=two_ways).scores["sdc_wrongway"])
    assert not bool(score(cruise(y=0.0), road=two_ways).scores["sdc_wrongway"])
    merging = straight_road(1, 400.0, ramp=(150.0, 250.0))
    judged = score(cruise(x=200.0, y=-3.5), road=merging, expert=cruise(x=200.0))
    assert OUTCOMES[int(judged.outcome)] == "left the road"
    # The front bumper is 0.3 m beyond the end; the road is sampled every 2 m.
    assert int(judged.failed_at) == pytest.approx((250 + 0.3 - 200 - 0.5 * LENGTH) / 10 / DT, abs=4)
