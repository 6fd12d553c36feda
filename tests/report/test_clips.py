from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.make_road import straight_road
from foresee.driving.sensing import Beliefs
from foresee.report.clip import first_contact
from foresee.report.clips import between, choose_scenarios, make_clips, most_telling, road_lines
from foresee.report.player import Player
from tests.evaluations import companions, made_evaluation, made_evaluations, made_scenarios


@pytest.fixture(scope="module")
def evaluations():
    return made_evaluations()


@pytest.fixture(scope="module")
def clips(evaluations):
    return make_clips(evaluations, companions(), choose_scenarios(evaluations))


def test_drivers_take_turns_to_name_failures_and_the_rest_is_calm(evaluations):
    # idm fails once (1), none in reactive traffic twice (0, 1), none in replay thrice, the expert comes last
    assert choose_scenarios(evaluations).tolist() == [1, 0, 2, 3, 4]


def test_without_failures_calm_scenarios_are_spread():
    quiet = [made_evaluation(failing=(), scenarios=made_scenarios(9))]
    assert choose_scenarios(quiet).tolist() == [2, 4, 6]
    assert choose_scenarios([made_evaluation(failing=(), scenarios=made_scenarios(1))]).tolist() == [0]


def test_at_most_eight_failures():
    many = [made_evaluation(failing=range(20), scenarios=made_scenarios(20))]
    assert choose_scenarios(many).tolist() == list(range(8))


def test_every_chosen_scenario_has_every_driver(clips):
    assert len(clips) == 5 * 6
    kinds = {(clip.driver, clip.mode) for clip in clips if clip.scenario == "s1/1"}
    assert len(kinds) == 6
    assert ("lane keeper (IDM)", "reactive") in kinds


def test_what_a_clip_says_is_what_happened(clips):
    clip = next(c for c in clips if c.scenario == "s1/1" and c.driver.startswith("lane") and c.failed)
    assert clip.outcome == "hit the vehicle ahead a at 3.0 s"
    assert clip.events == ((3.0, "hit the vehicle ahead"),)
    assert len(clip.x) == 51  # 2 s after the failure
    assert clip.names == ("1", "a", "b")  # the fourth never comes near
    assert clip.names[clip.ego] == "1"
    assert first_contact(clip) == (1, 30)
    assert clip.expert is not None
    np.testing.assert_allclose(clip.expert[:, 0], 50 + np.arange(51))
    assert [trace.name for trace in clip.traces][:2] == ["speed", "acceleration"]
    assert {trace.name: trace.low for trace in clip.traces}["time to collision"] == 0.95
    Player(clips).html()  # it can be packed


def test_leaving_the_road_is_against_nobody(clips):
    clip = next(c for c in clips if c.scenario == "s0/2" and c.failed)
    assert clip.outcome == "left the road at 2.0 s"
    assert first_contact(clip) is None
    assert len(clip.lanes) == 2
    assert len(clip.edges) == 2


def test_the_most_telling_clip(clips):
    chosen = clips[most_telling(clips)]
    assert (chosen.driver, chosen.scenario, chosen.failed) == ("lane keeper (IDM)", "s1/1", True)
    calm = [clip for clip in clips if not clip.failed and not clip.driver.startswith("recorded")]
    nearest = calm[most_telling(calm)]  # the time to collision falls with the number of the scenario
    assert nearest.scenario == "s0/4"


def test_a_part_of_a_clip(clips):
    clip = clips[most_telling(clips)]
    part = between(clip, 2.0, 4.0)
    np.testing.assert_allclose(part.x, clip.x[20:41])
    assert part.events == ((1.0, "hit the vehicle ahead"),)
    assert part.contact == (1, 10)
    assert all(len(trace.values) == 21 for trace in part.traces)
    assert len(between(clip, 90.0, 99.0).x) == 1


def test_lines_of_a_bend_with_a_ramp():
    road = straight_road(2, 200.0, curvature=0.002, ramp=(50.0, 120.0), width=3.0)
    lanes, edges = road_lines(road)
    assert len(lanes) == 3
    left, right = lanes[0]
    np.testing.assert_allclose(np.hypot(*(left - right).T), 3.0, atol=1e-6)
    for line, radius in ((left, 498.5), (right, 501.5)):  # the centre of the bend is 500 m to the left
        np.testing.assert_allclose(np.hypot(line[:, 0], line[:, 1] - 500.0), radius, atol=0.02)
    # lane 0 on the left, lane 1 on the right before and behind the ramp, the ramp on the right, and on the
    # left before it is beside
    assert len(edges) == 5


def test_what_was_believed_is_shown_where_anything_was():
    evaluation = made_evaluation(scenarios=made_scenarios(2))
    frames = evaluation.episodes.frames
    shape = frames.x.shape
    known = np.ones(shape, bool)
    known[..., 0] = False  # the ego
    mean = np.stack([frames.x + 1.0, frames.y, np.zeros(shape), np.zeros(shape)], axis=-1)
    covariance = jnp.broadcast_to(4.0 * jnp.eye(4), (*shape, 4, 4))
    beliefs = Beliefs(jnp.asarray(mean), covariance, jnp.asarray(known), jnp.asarray(known))
    frames = eqx.tree_at(lambda f: f.beliefs, frames, beliefs, is_leaf=lambda leaf: leaf is None)
    sensed = replace(evaluation.episodes, frames=frames)
    clip = make_clips([replace(evaluation, episodes=sensed)], companions(), np.array([0]))[0]
    assert clip.belief_mean is not None
    assert clip.belief_covariance is not None
    assert np.isnan(clip.belief_mean[:, clip.ego]).all()
    np.testing.assert_allclose(clip.belief_mean[:, 1, 0], clip.x[:, 1] + 1.0)
    assert (clip.belief_covariance[:, 1] == 4.0 * np.eye(2)).all()
