"""Plans: search on grids and in trees. Start with `shortest_path` on a map, `batch_informed` in the plane."""

from foresee.planning.astar import astar
from foresee.planning.batch_informed import batch_informed
from foresee.planning.costs import cheapest_path, cost_field, distance_field, expected_costs
from foresee.planning.grid import Grid, clearance, inflate
from foresee.planning.jump_point import jump_point
from foresee.planning.maps import Map, Scenarios, read_map, read_scenarios
from foresee.planning.obstacles import Obstacles
from foresee.planning.path import GridPath
from foresee.planning.prepared import Prepared, prepare, read_prepared, write_prepared
from foresee.planning.rrt_connect import rrt_connect
from foresee.planning.rrt_star import rrt, rrt_star
from foresee.planning.search import shortest_path, shortest_paths
from foresee.planning.theta import any_angle, pull_tight
from foresee.planning.tree_path import TreePath
from foresee.planning.visibility import shortest_among_discs

__all__ = [
    "Grid",
    "GridPath",
    "Map",
    "Obstacles",
    "Prepared",
    "Scenarios",
    "TreePath",
    "any_angle",
    "astar",
    "batch_informed",
    "cheapest_path",
    "clearance",
    "cost_field",
    "distance_field",
    "expected_costs",
    "inflate",
    "jump_point",
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
    "write_prepared",
]
