"""Randomized prior functions: a network that learns, plus a random function that stays as it is."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.fit.known import Known
from foresee.posteriors.likelihood import call


class RandomizedPrior(eqx.Module):
    """Q(x) = f(x) + β p(x): f is learned, p never is (Osband, Aslanides and Cassirer 2018, equation 5).

    Where there are data f learns to undo p; elsewhere members of an ensemble differ as their p do. Make an
    ensemble of them with `ensemble`.

    Args:
        base: the network f that is learned.
        prior: the function p: a network with random weights, or any function of x, as `lambda x: sin(3 x)`.
        scale: β, the size of the prior.
    """

    base: Any
    prior: Known
    scale: Known

    def __init__(self, base: Any, prior: Callable[..., Any], scale: Any = 1.0):
        self.base = base
        self.prior = Known(eqx.nn.inference_mode(prior))  # p is one function: nothing in it is left to chance
        self.scale = Known(as_float(scale))

    def __call__(self, x: Any, *, key: PRNGKeyArray | None = None) -> Float[Array, " m"]:
        """Return f(x) + β p(x)."""
        return call(self.base, x, key=key) + self.scale.fixed() * call(self.prior.fixed(), x)
