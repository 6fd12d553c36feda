"""Filters: beliefs about states, moved through time and corrected by observations. Start with `run`."""

from foresee.filters.discrete import forward_backward, viterbi
from foresee.filters.extended import ExtendedKalmanFilter
from foresee.filters.imm import InteractingMultipleModel
from foresee.filters.imm_smoother import smooth_modes
from foresee.filters.kalman import KalmanFilter
from foresee.filters.objective import Evidence, PredictionError
from foresee.filters.parallel import run_parallel, smooth_parallel
from foresee.filters.parameters import Fixed, Positive, PositiveDefinite
from foresee.filters.particle import ParticleFilter
from foresee.filters.run import Run, pad, run
from foresee.filters.smoother import smooth, smooth_pairs
from foresee.filters.tune import Tuned, tune
from foresee.filters.unscented import UnscentedKalmanFilter

__all__ = [
    "Evidence",
    "ExtendedKalmanFilter",
    "Fixed",
    "InteractingMultipleModel",
    "KalmanFilter",
    "ParticleFilter",
    "Positive",
    "PositiveDefinite",
    "PredictionError",
    "Run",
    "Tuned",
    "UnscentedKalmanFilter",
    "forward_backward",
    "pad",
    "run",
    "run_parallel",
    "smooth",
    "smooth_modes",
    "smooth_pairs",
    "smooth_parallel",
    "tune",
    "viterbi",
]
