"""Gating: which detections a track may have caused, and how well each would fit."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PyTree
from scipy.stats import chi2

from foresee import linalg
from foresee.beliefs import AbstractConditional, AbstractFilter, Mixture
from foresee.errors import OptionError
from foresee.filters import InteractingMultipleModel


class Gate(eqx.Module):
    """An ellipsoid around the expected detection (Bar-Shalom, Li and Kirubarajan 2001, section 3.4.4).

    Args:
        probability: chance that the ellipsoid holds the detection of its own object.
        candidates: detections per track that are looked at further, the nearest ones; in compiled code only,
            where sizes are fixed. The host's kernels keep all that are in the ellipsoid.

    Raises:
        OptionError: if the probability is not between 0 and 1, or there is no room for a candidate.
    """

    probability: float = eqx.field(static=True, default=0.9999)
    candidates: int = eqx.field(static=True, default=8)

    def __check_init__(self) -> None:
        """Check the options."""
        if not 0 < self.probability < 1:
            raise OptionError(f"Gate: expected a probability between 0 and 1, got {self.probability}")
        if self.candidates < 1:
            raise OptionError(f"Gate: expected candidates ≥ 1, got {self.candidates}")

    def threshold(self, size: int) -> float:
        """Return the largest squared Mahalanobis distance of a detection with `size` components."""
        return float(chi2.ppf(self.probability, size))


class Candidates(eqx.Module):
    """The detections in every track's gate.

    Attributes:
        index: which detection.
        valid: which entries hold a candidate.
        belief: every track's belief if this detection is its own; leading axes of slots and candidates.
        log_likelihood: log density of the detection given the track.
    """

    index: Int[Array, "slots K"]
    valid: Bool[Array, "slots K"]
    belief: PyTree[Array]
    log_likelihood: Float[Array, "slots K"]


def foreseen(filter: AbstractFilter, belief: Any, sensor: AbstractConditional) -> Any:
    """Return the Gaussian belief about the next detection of one track."""
    if isinstance(belief, Mixture):
        belief = belief.moments()
    if isinstance(filter, InteractingMultipleModel):
        filter = filter.filter
    return filter.predict(belief, sensor)


def candidates(
    gate: Gate,
    filter: AbstractFilter,
    belief: PyTree[Array],
    alive: Bool[Array, " slots"],
    sensor: AbstractConditional,
    values: Float[Array, "M m"],
    seen: Bool[Array, " M"],
) -> Candidates:
    """Return the nearest detections in the gate of every track, and its belief after each of them.

    Distances are computed between all tracks and all detections, which is the fastest on vector hardware for
    the sizes that are compiled; corrections only for the candidates.
    """
    size = min(gate.candidates, values.shape[0])
    expected = jax.vmap(lambda one: foreseen(filter, one, sensor))(belief)

    def distances(one: Any) -> Float[Array, " M"]:
        factor = linalg.cholesky(one.covariance)
        return jax.vmap(lambda y: jnp.sum(linalg.solve_lower(factor, one.residual(y)) ** 2))(values)

    square = jax.lax.stop_gradient(jax.vmap(distances)(expected))
    inside = (square <= gate.threshold(values.shape[1])) & alive[:, None] & seen[None, :]
    nearest, index = jax.lax.top_k(jnp.where(inside, -square, -jnp.inf), size)
    correct = jax.vmap(lambda one, rows: jax.vmap(lambda y: filter.update(one, sensor, y))(values[rows]))
    corrected, log_likelihood = correct(belief, index)
    return Candidates(index, nearest > -jnp.inf, corrected, log_likelihood)


def check_probability(name: str, value: Any) -> None:
    """Raise OptionError unless a concrete value is a probability."""
    if not isinstance(value, Tracer) and not bool(
        np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1))
    ):
        raise OptionError(f"expected {name} between 0 and 1, got {value}")
