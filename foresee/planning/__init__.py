"""Plans: search on grids and in trees. The function to call first for a map of cells is `shortest_path`."""

from foresee.planning.astar import astar
from foresee.planning.costs import cheapest_path, cost_field, distance_field, expected_costs
from foresee.planning.grid import Grid, clearance, inflate
from foresee.planning.jump_point import jump_point
from foresee.planning.maps import Map, Scenarios, read_map, read_scenarios
from foresee.planning.path import GridPath
from foresee.planning.prepared import Prepared, prepare, read_prepared, write_prepared
from foresee.planning.search import shortest_path, shortest_paths
from foresee.planning.theta import any_angle, pull_tight

__all__ = [
    "Grid",
    "GridPath",
    "Map",
    "Prepared",
    "Scenarios",
    "any_angle",
    "astar",
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
    "shortest_path",
    "shortest_paths",
    "write_prepared",
]
