"""Beliefs: what may be true, as data. Start with `Gaussian`; `expected` is the cost under any of them."""

from foresee.beliefs.belief import (
    AbstractBelief,
    AbstractConditional,
    AbstractDensity,
    AbstractFilter,
    Points,
    expected,
)
from foresee.beliefs.categorical import Categorical
from foresee.beliefs.gaussian import DiagonalGaussian, Gaussian
from foresee.beliefs.mixture import Mixture
from foresee.beliefs.particles import resample

__all__ = [
    "AbstractBelief",
    "AbstractConditional",
    "AbstractDensity",
    "AbstractFilter",
    "Categorical",
    "DiagonalGaussian",
    "Gaussian",
    "Mixture",
    "Points",
    "expected",
    "resample",
]
