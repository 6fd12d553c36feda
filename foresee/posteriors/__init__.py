"""Beliefs about networks: how far a trained one is to be trusted. Start with `l2m`, then `predict`."""

from foresee.posteriors.dropout import dropout
from foresee.posteriors.ensemble import ensemble
from foresee.posteriors.hamiltonian import Hmc, Nuts
from foresee.posteriors.inverse import Box, InverseProblem, allocate, cells, infer, mode_by_kde, probability
from foresee.posteriors.l2m import l2m, l2m_ensemble
from foresee.posteriors.laplace import laplace
from foresee.posteriors.likelihood import (
    AbstractLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
    HeteroscedasticLikelihood,
    SupervisedLoss,
)
from foresee.posteriors.network import WeightBelief, WeightMixture
from foresee.posteriors.predict import certain, predict, predict_rows
from foresee.posteriors.prediction import ClassPrediction, NumberPrediction
from foresee.posteriors.priors import Independent, Laplace, LogNormal, Uniform
from foresee.posteriors.proposal import GlobalLocal
from foresee.posteriors.randomized_prior import RandomizedPrior
from foresee.posteriors.sampling import Samples, hmc, nuts
from foresee.posteriors.standardise import Standardised, scales
from foresee.posteriors.swag import swag
from foresee.posteriors.torch_state import l2m_from_torch

__all__ = [
    "AbstractLikelihood",
    "Box",
    "CategoricalLikelihood",
    "ClassPrediction",
    "GaussianLikelihood",
    "GlobalLocal",
    "HeteroscedasticLikelihood",
    "Hmc",
    "Independent",
    "InverseProblem",
    "Laplace",
    "LogNormal",
    "NumberPrediction",
    "Nuts",
    "RandomizedPrior",
    "Samples",
    "Standardised",
    "SupervisedLoss",
    "Uniform",
    "WeightBelief",
    "WeightMixture",
    "allocate",
    "cells",
    "certain",
    "dropout",
    "ensemble",
    "hmc",
    "infer",
    "l2m",
    "l2m_ensemble",
    "l2m_from_torch",
    "laplace",
    "mode_by_kde",
    "nuts",
    "predict",
    "predict_rows",
    "probability",
    "scales",
    "swag",
]
