"""Plans: search on grids and in the plane, control under beliefs. Start with `shortest_path` and `plan`."""

from foresee.planning.astar import astar
from foresee.planning.batch_informed import batch_informed
from foresee.planning.box import InBox, least_in_box
from foresee.planning.candidates import clearances
from foresee.planning.constrained import Constrained, Tightened
from foresee.planning.controllability import controllable, detectable, observable, place_poles, stabilisable
from foresee.planning.costs import cheapest_path, cost_field, distance_field, expected_costs
from foresee.planning.grid import Grid, clearance, inflate
from foresee.planning.ilqr import Ilqr
from foresee.planning.jump_point import jump_point
from foresee.planning.lqg import Lqg, Observer, lqg, steady_observer
from foresee.planning.lqr import Regulator, discretised, finite_lqr, lqr, with_integral
from foresee.planning.maps import Map, Scenarios, read_map, read_scenarios
from foresee.planning.mpc import Intention, Mpc
from foresee.planning.obstacles import Obstacles
from foresee.planning.path import GridPath
from foresee.planning.plan import compiled, plan
from foresee.planning.planner import AbstractPlanner, Plan
from foresee.planning.prepared import Prepared, prepare, read_prepared, write_prepared
from foresee.planning.problem import Problem
from foresee.planning.rrt_connect import rrt_connect
from foresee.planning.rrt_star import rrt, rrt_star
from foresee.planning.sampling import Cem, Mppi, expected_cost
from foresee.planning.search import shortest_path, shortest_paths
from foresee.planning.squares import AbstractSquares, Quadratic, SoftDiscs, Total
from foresee.planning.theta import any_angle, pull_tight
from foresee.planning.tree_path import TreePath
from foresee.planning.visibility import shortest_among_discs

__all__ = [
    "AbstractPlanner",
    "AbstractSquares",
    "Cem",
    "Constrained",
    "Grid",
    "GridPath",
    "Ilqr",
    "InBox",
    "Intention",
    "Lqg",
    "Map",
    "Mpc",
    "Mppi",
    "Observer",
    "Obstacles",
    "Plan",
    "Prepared",
    "Problem",
    "Quadratic",
    "Regulator",
    "Scenarios",
    "SoftDiscs",
    "Tightened",
    "Total",
    "TreePath",
    "any_angle",
    "astar",
    "batch_informed",
    "cheapest_path",
    "clearance",
    "clearances",
    "compiled",
    "controllable",
    "cost_field",
    "detectable",
    "discretised",
    "distance_field",
    "expected_cost",
    "expected_costs",
    "finite_lqr",
    "inflate",
    "jump_point",
    "least_in_box",
    "lqg",
    "lqr",
    "observable",
    "place_poles",
    "plan",
    "prepare",
    "pull_tight",
    "read_map",
    "read_prepared",
    "read_scenarios",
    "rrt",
    "rrt_connect",
    "rrt_star",
    "shortest_among_discs",
    "shortest_path",
    "shortest_paths",
    "stabilisable",
    "steady_observer",
    "with_integral",
    "write_prepared",
]
