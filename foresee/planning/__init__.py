"""Search and control. Start with `plan`."""

from foresee.planning.box import InBox, least_in_box
from foresee.planning.candidates import clearances
from foresee.planning.constrained import Constrained, Tightened
from foresee.planning.controllability import (
    controllable,
    detectable,
    observable,
    place_poles,
    stabilisable,
)
from foresee.planning.ilqr import Ilqr
from foresee.planning.lqg import Lqg, Observer, lqg, steady_observer
from foresee.planning.lqr import Regulator, discretised, finite_lqr, lqr, with_integral
from foresee.planning.mpc import Intention, Mpc
from foresee.planning.plan import compiled, plan
from foresee.planning.planner import AbstractPlanner, Plan
from foresee.planning.problem import Problem
from foresee.planning.sampling import Cem, Mppi, expected_cost
from foresee.planning.squares import AbstractSquares, Quadratic, SoftDiscs, Total

__all__ = [
    "AbstractPlanner",
    "AbstractSquares",
    "Cem",
    "Constrained",
    "Ilqr",
    "InBox",
    "Intention",
    "Lqg",
    "Mpc",
    "Mppi",
    "Observer",
    "Plan",
    "Problem",
    "Quadratic",
    "Regulator",
    "SoftDiscs",
    "Tightened",
    "Total",
    "clearances",
    "compiled",
    "controllable",
    "detectable",
    "discretised",
    "expected_cost",
    "finite_lqr",
    "least_in_box",
    "lqg",
    "lqr",
    "observable",
    "place_poles",
    "plan",
    "stabilisable",
    "steady_observer",
    "with_integral",
]
