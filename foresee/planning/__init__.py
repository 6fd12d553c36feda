"""Search and control. Start with `plan`."""

from foresee.planning.box import InBox, least_in_box
from foresee.planning.ilqr import Ilqr
from foresee.planning.plan import compiled, plan
from foresee.planning.planner import AbstractPlanner, Plan
from foresee.planning.problem import Problem
from foresee.planning.squares import AbstractSquares, Quadratic, SoftDiscs, Total

__all__ = [
    "AbstractPlanner",
    "AbstractSquares",
    "Ilqr",
    "InBox",
    "Plan",
    "Problem",
    "Quadratic",
    "SoftDiscs",
    "Total",
    "compiled",
    "least_in_box",
    "plan",
]
