"""Inverse problems: what may have caused an observation. Start with `infer`.

A problem is a prior belief about x and a likelihood, x → belief about y. Both are data: another observation,
another noise level or another prior of the same kind compile nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from foresee import linalg
from foresee.beliefs.belief import AbstractDensity, Points
from foresee.beliefs.gaussian import as_float
from foresee.errors import OptionError, PosteriorError, ShapeError
from foresee.posteriors.diagnostics import Estimate
from foresee.posteriors.hamiltonian import AbstractSampler, Nuts, require_blackjax
from foresee.posteriors.priors import constrain, unconstrain
from foresee.posteriors.sampling import Samples, check_sizes, check_start, run_chains_on

Region = Callable[[PyTree], Any]


class InverseProblem(eqx.Module):
    """What is believed of x beforehand, and what would be observed if x were so.

    Args:
        prior: belief about x; see `foresee.posteriors.priors` for bounded ones and for named unknowns.
        likelihood: function x → density of the observation: any conditional such as a sensor, or a plain
            function. Numbers that may change belong into the fields of a module, not into a closure.
    """

    prior: AbstractDensity
    likelihood: Callable[[PyTree], Any]

    def log_prob(self, x: PyTree, observation: PyTree) -> Float[Array, ""]:
        """Return log p(x) + log p(observation | x)."""
        return self.prior.log_prob(x) + self.likelihood(x).log_prob(observation)


def infer(
    model: InverseProblem,
    observation: PyTree,
    *,
    sampler: AbstractSampler | None = None,
    chains: int = 4,
    draws: int = 2000,
    start: PyTree | None = None,
    key: PRNGKeyArray,
) -> Samples:
    """Return draws of x given an observation; `infer(...).belief()` is the posterior as weighted points.

    Chains move in coordinates without bounds, so no draw is lost at an edge of the prior.

    Args:
        model: prior and likelihood.
        observation: what was observed, like what the likelihood's beliefs are about.
        sampler: `Nuts()` where None; `GlobalLocal` of `foresee.posteriors.proposal` where the posterior may
            have separated modes.
        chains: number of chains, at least 2.
        draws: draws of every chain after the warm-up, at least 8.
        start: x that all chains start at; draws from the prior where None.
        key: source of randomness.

    Raises:
        PosteriorError: if the observation is not finite, the start is outside the prior's support, or the
            posterior's density is not finite at a start.
        ShapeError: if the observation does not have the shapes the likelihood speaks of.
        OptionError: if there are too few chains or draws.
        MissingExtraError: if BlackJAX is not installed.
    """
    sampler = Nuts() if sampler is None else sampler
    check_sizes(chains, draws)
    require_blackjax()
    observation = _arrays(observation)
    check_observation(observation)
    first, rest = jax.random.split(key)
    count = sampler.starts(chains)
    if start is not None:
        start = _arrays(start)
        _check_inside(model, start)
    starts = _starts(model.prior, start, count, first)
    samples, at_start = run_chains_on(
        sampler, log_unbounded, starts, (model, observation), _bounded, chains, draws, rest
    )
    check_start(at_start, "infer")
    return samples


def log_unbounded(z: PyTree, data: tuple[InverseProblem, PyTree]) -> Float[Array, ""]:
    """Return the log density, in coordinates without bounds, of x and the observation together."""
    model, observation = data
    x, log_slope = constrain(model.prior, z)
    belief = model.likelihood(x)
    expected = jax.tree.map(jnp.shape, jax.eval_shape(belief.mean))
    if jax.tree.map(jnp.shape, observation) != expected:
        raise ShapeError(
            f"infer: expected an observation of shape {expected}, which the likelihood speaks of, "
            f"got {jax.tree.map(jnp.shape, observation)}"
        )
    return model.prior.log_prob(x) + belief.log_prob(observation) + log_slope


def check_observation(observation: PyTree) -> None:
    """Raise PosteriorError if a number of an observation is not finite; traced values pass."""
    for leaf in jax.tree.leaves(observation):
        if not isinstance(leaf, Tracer) and not np.isfinite(leaf).all():
            raise PosteriorError(f"infer: expected a finite observation, got {np.asarray(leaf)}")


def _arrays(tree: PyTree) -> PyTree:
    """Return a pytree of floating point arrays; a list of numbers in it is a vector."""

    def is_vector(part):
        return isinstance(part, list) and all(jnp.ndim(number) == 0 for number in part)

    return jax.tree.map(as_float, tree, is_leaf=is_vector)


def _check_inside(model: InverseProblem, start: PyTree) -> None:
    log_prior = model.prior.log_prob(start)
    if not isinstance(log_prior, Tracer) and not np.isfinite(log_prior):
        raise PosteriorError(f"infer: expected a start inside the prior's support, got {start}")


def _bounded(z: PyTree, data: tuple[InverseProblem, PyTree]) -> PyTree:
    return constrain(data[0].prior, z)[0]


@eqx.filter_jit
def _starts(prior: AbstractDensity, start: PyTree | None, count: int, key: PRNGKeyArray) -> PyTree:
    """Return starts in coordinates without bounds."""
    if start is not None:
        z = unconstrain(prior, start)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), z)
    draw = lambda sub: unconstrain(prior, prior.sample(key=sub))  # noqa: E731
    return jax.vmap(draw)(jax.random.split(key, count))


class Box(eqx.Module):
    """A region: low < x < high in every component of a vector.

    Args:
        low: lower bounds.
        high: upper bounds.

    Raises:
        ShapeError: if the shapes differ.
    """

    low: Float[Array, " n"] = eqx.field(converter=as_float)
    high: Float[Array, " n"] = eqx.field(converter=as_float)

    def __check_init__(self) -> None:
        """Check the shapes."""
        if self.low.shape != self.high.shape:
            raise ShapeError(f"Box: expected bounds of one shape, got {self.low.shape} and {self.high.shape}")

    def __call__(self, x: Float[Array, " n"]) -> Bool[Array, ""]:
        """Return whether x lies inside; what lies on the upper bound belongs to the next box."""
        return jnp.all((x >= self.low) & (x < self.high))


def cells(low: Sequence[float | int], high: Sequence[float | int], counts: Sequence[int]) -> list[Box]:
    """Return the boxes of a regular grid, the last component running fastest.

    Raises:
        ShapeError: if bounds and counts differ in number.
        OptionError: if a count is not positive.
    """
    if not len(low) == len(high) == len(counts):
        raise ShapeError(
            f"cells: expected as many bounds as counts, got {len(low)}, {len(high)}, {len(counts)}"
        )
    if min(counts) < 1:
        raise OptionError(f"cells: expected counts ≥ 1, got {list(counts)}")
    edges = [np.linspace(a, b, n + 1) for a, b, n in zip(low, high, counts, strict=True)]
    index = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), -1).reshape(-1, len(counts))
    return [
        Box(*(np.array([edge[i + step] for edge, i in zip(edges, row, strict=True)]) for step in (0, 1)))
        for row in index
    ]


def probability(belief: Samples | Points, region: Region) -> Estimate:
    """Return the probability that x lies in a region, with its Monte Carlo standard error.

    Of chains the error follows from the effective sample size of the region's own indicator, of weighted
    points from their weights (Owen 2013, eq. 9.9), which takes the points as independent. An indicator that
    never changes tells nothing of its error; then it is the one that a single point of the other kind would
    give, 1 / effective size.

    Args:
        belief: samples, or weighted points.
        region: function of one x, true inside, as `Box`.
    """
    if isinstance(belief, Samples):
        found = belief.expect(lambda x: jnp.asarray(region(x), float))
        size = belief.least_ess
    else:
        weights = belief.weights()
        inside = jax.vmap(lambda x: jnp.asarray(region(x), weights.dtype))(belief.values)
        value = jnp.sum(weights * inside)
        found = Estimate(value, jnp.sqrt(jnp.sum((weights * (inside - value)) ** 2)))
        size = belief.effective_size()
    same = (found.value <= 0) | (found.value >= 1)
    return Estimate(found.value, jnp.where(same, 1 / size, found.standard_error))


def allocate(belief: Samples | Points, regions: Sequence[Region], budget: int) -> Int[Array, " k"]:
    """Share a budget of whole units, such as hours of search, in proportion to the probability of regions.

    Shares are rounded by the largest remainder, so that they add up to the budget. Probability outside all
    regions gets nothing.

    Raises:
        OptionError: if there are no regions or the budget is negative.
        PosteriorError: if no region has any probability.
    """
    if not regions or budget < 0:
        raise OptionError(f"allocate: expected regions and a budget ≥ 0, got {len(regions)} and {budget}")
    points = belief.belief() if isinstance(belief, Samples) else belief
    shares = jnp.stack([points.expect(lambda x, r=region: jnp.asarray(r(x), float)) for region in regions])
    total = jnp.sum(shares)
    if not isinstance(total, Tracer) and not total > 0:
        raise PosteriorError("allocate: expected a region that holds some of the points, got none")
    exact = budget * shares / total
    whole = jnp.floor(exact + 1e-6).astype(int)  # a share that is whole but for rounding stays whole
    rank = jnp.argsort(jnp.argsort(-(exact - whole)))
    return whole + (rank < budget - jnp.sum(whole))


def mode_by_kde(
    belief: Points, bandwidth: float | Float[Array, ""] = 1.0, *, starts: int = 256, steps: int = 100
) -> PyTree:
    """Return the x at which a Gaussian kernel density estimate of the points is highest.

    The kernel has the points' covariance times the square of Scott's factor (Scott 1992, eq. 6.43). The
    highest of evenly chosen points climbs by mean shift (Comaniciu and Meer 2002), which never overshoots.

    Args:
        belief: weighted points; push them to what the mode is wanted of first.
        bandwidth: multiple of Scott's factor; less follows sharp features, more suppresses noise.
        starts: number of points looked at for the start.
        steps: number of mean shifts.
    """
    return _mode(belief, jnp.asarray(bandwidth), starts, steps)


@eqx.filter_jit
def _mode(belief: Points, bandwidth: Array, starts: int, steps: int) -> PyTree:
    one = jax.tree.map(lambda leaf: leaf[0], belief.values)
    flat = jax.vmap(lambda x: ravel_pytree(x)[0])(belief.values)
    n, size = flat.shape
    factor = linalg.cholesky(belief.covariance()) * bandwidth * belief.effective_size() ** (-1 / (size + 4))
    white = jax.vmap(lambda x: linalg.solve_lower(factor, x))(flat)
    log_weights = jax.nn.log_softmax(belief.log_weights)

    def log_terms(x):
        return log_weights - 0.5 * jnp.sum((white - x) ** 2, axis=1)

    tried = white[:: max(1, n // starts)]
    best = tried[jnp.argmax(jax.lax.map(lambda x: logsumexp(log_terms(x)), tried, batch_size=16))]
    top = jax.lax.fori_loop(0, steps, lambda _, x: jax.nn.softmax(log_terms(x)) @ white, best)
    return ravel_pytree(one)[1](factor @ top)
