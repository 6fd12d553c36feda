"""Traffic: read a recording, find out what every vehicle did, judge drivers in it and in simulated traffic.

Call `read_recording` first, or `synthetic_recording` without a file of your own, then `estimate_states`;
`scenarios_from_states` or `generated_scenarios` make situations, and `evaluate` judges a driver in them.
"""

from foresee.driving.driver import AbstractDriver
from foresee.driving.estimate import estimate_states
from foresee.driving.evaluate import Evaluation, evaluate
from foresee.driving.find_lanes import find_lanes, road_of
from foresee.driving.flow import flow, flow_many
from foresee.driving.generated import generated_scenarios
from foresee.driving.lanes import Lane
from foresee.driving.make_road import ring_road, road_from_lanes, straight_road
from foresee.driving.make_world import check_world, make_world, sample_manners, usual_manners
from foresee.driving.observe import Observation, observe
from foresee.driving.policies import Expert, LaneKeeper, NoAction
from foresee.driving.read import read_recording
from foresee.driving.recorded import scenarios_from_states
from foresee.driving.recording import Recording, Tracks, Truth
from foresee.driving.road import Road
from foresee.driving.scenario import Scenario, Scenarios
from foresee.driving.sensing import Sensing
from foresee.driving.simulate import simulate
from foresee.driving.states import States
from foresee.driving.synthetic import synthetic_recording
from foresee.driving.world import World, step

__all__ = [
    "AbstractDriver",
    "Evaluation",
    "Expert",
    "Lane",
    "LaneKeeper",
    "NoAction",
    "Observation",
    "Recording",
    "Road",
    "Scenario",
    "Scenarios",
    "Sensing",
    "States",
    "Tracks",
    "Truth",
    "World",
    "check_world",
    "estimate_states",
    "evaluate",
    "find_lanes",
    "flow",
    "flow_many",
    "generated_scenarios",
    "make_world",
    "observe",
    "read_recording",
    "ring_road",
    "road_from_lanes",
    "road_of",
    "sample_manners",
    "scenarios_from_states",
    "simulate",
    "step",
    "straight_road",
    "synthetic_recording",
    "usual_manners",
]
