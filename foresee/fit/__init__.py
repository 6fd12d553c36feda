"""Training: `fit` runs any Equinox model with any Optax optimiser, one model or many at once."""

from foresee.fit.known import Known
from foresee.fit.training import Fitted, fit

__all__ = ["Fitted", "Known", "fit"]
