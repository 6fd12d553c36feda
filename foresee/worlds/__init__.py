"""Worlds: learned conditionals p(next | past, action). Start with `MixtureOfExperts`; `fit` trains them."""

from foresee.worlds.deterministic import Deterministic
from foresee.worlds.doubt import Normaliser, Within, uncertainty, variances
from foresee.worlds.latent import LatentVariable
from foresee.worlds.mixture import MixtureOfExperts, mixture_likelihood, winner_takes_all
from foresee.worlds.unroll import Unrolled, mean_step, sampled_step, squared_error, unroll
from foresee.worlds.world import AbstractWorld, joined, one_step, perceptron

__all__ = [
    "AbstractWorld",
    "Deterministic",
    "LatentVariable",
    "MixtureOfExperts",
    "Normaliser",
    "Unrolled",
    "Within",
    "joined",
    "mean_step",
    "mixture_likelihood",
    "one_step",
    "perceptron",
    "sampled_step",
    "squared_error",
    "uncertainty",
    "unroll",
    "variances",
    "winner_takes_all",
]
