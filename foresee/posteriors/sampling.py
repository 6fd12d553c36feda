"""Draws from any log density by Hamiltonian Monte Carlo, many chains at once. Start with `nuts`.

The log density, its data and the starts are arguments of one compiled function: other data of the same shape
compile nothing. What the chains did is data in the result (`Samples`), never a warning.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractBelief, Points
from foresee.beliefs.gaussian import as_float
from foresee.errors import OptionError, PosteriorError, ShapeError
from foresee.posteriors import diagnostics
from foresee.posteriors.diagnostics import Estimate
from foresee.posteriors.hamiltonian import AbstractSampler, Hmc, Nuts, Trace, require_blackjax

LogDensity = Callable[[PyTree, PyTree], Any]


class Samples(eqx.Module):
    """Draws from a posterior with what is needed to trust them; `belief()` turns them into a belief.

    Args:
        draws: pytree like x with leading axes chains × draws.
        log_density: log density at the draws up to a constant, in the coordinates that were sampled in.
        acceptance: mean acceptance probability of each chain.
        divergences: number of draws of each chain whose trajectory left the level of energy it belongs to.
        step_size: length of the steps that each chain's warm-up ended with.
        evaluations: gradients per draw of each chain.
        r_hat: rank-normalised split R-hat of every number of x.
        ess_bulk: effective sample size for the location of every number.
        ess_tail: effective sample size for its 5 % and 95 % quantiles.
        jumps: share of accepted global moves, None where the sampler makes none.
        log_evidence: log ∫ exp(log density), None where the sampler does not estimate it.
    """

    draws: PyTree[Array]
    log_density: Float[Array, "chains draws"]
    acceptance: Float[Array, " chains"]
    divergences: Int[Array, " chains"]
    step_size: Float[Array, " chains"]
    evaluations: Float[Array, " chains"]
    r_hat: PyTree[Array]
    ess_bulk: PyTree[Array]
    ess_tail: PyTree[Array]
    jumps: Float[Array, " chains"] | None = None
    log_evidence: Estimate | None = None

    def belief(self) -> Points:
        """Return all draws of all chains as equally weighted points."""
        values = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), self.draws)
        return Points(values, jnp.zeros(self.log_density.size, self.log_density.dtype))

    def expect(self, function: Callable[[PyTree], Array]) -> Estimate:
        """Return the mean of a scalar function of one x, with its Monte Carlo standard error."""
        values = jax.vmap(jax.vmap(function))(self.draws)
        if values.shape != self.log_density.shape:
            raise ShapeError(f"Samples.expect: expected one number for every draw, got shape {values.shape}")
        return diagnostics.mean_of_chains(values.astype(self.log_density.dtype))

    @property
    def least_ess(self) -> Float[Array, ""]:
        """Smallest bulk or tail effective sample size of any number of x."""
        sizes = [jnp.min(leaf) for leaf in jax.tree.leaves((self.ess_bulk, self.ess_tail))]
        return jnp.min(jnp.stack(sizes))

    @property
    def converged(self) -> Bool[Array, ""]:
        """Whether R-hat is below 1.01 and ess above 100 a chain for every number, and nothing diverged."""
        worst = jnp.max(jnp.stack([jnp.max(leaf) for leaf in jax.tree.leaves(self.r_hat)]))
        enough = self.least_ess > 100 * self.acceptance.size
        return (worst < 1.01) & enough & (jnp.sum(self.divergences) == 0)


def nuts(
    log_density: LogDensity,
    start: PyTree,
    data: PyTree = None,
    *,
    chains: int = 4,
    draws: int = 1000,
    warmup: int = 500,
    key: PRNGKeyArray,
) -> Samples:
    """Draw from exp(log_density(x, data)) with the No-U-Turn sampler; see `sample`."""
    return sample(log_density, start, data, Nuts(warmup), chains=chains, draws=draws, key=key)


def hmc(
    log_density: LogDensity,
    start: PyTree,
    data: PyTree = None,
    *,
    steps: int = 16,
    chains: int = 4,
    draws: int = 1000,
    warmup: int = 500,
    key: PRNGKeyArray,
) -> Samples:
    """Draw from exp(log_density(x, data)) with a fixed number of steps per draw; see `sample`."""
    return sample(log_density, start, data, Hmc(steps, warmup), chains=chains, draws=draws, key=key)


def sample(
    log_density: LogDensity,
    start: AbstractBelief | PyTree,
    data: PyTree = None,
    sampler: AbstractSampler | None = None,
    *,
    chains: int = 4,
    draws: int = 1000,
    key: PRNGKeyArray,
) -> Samples:
    """Draw from exp(log_density(x, data)), x any pytree of floating point arrays without bounds.

    Compiled once for a log density, a sampler and the shapes of `start` and `data`. A log density defined
    anew for every call is compiled anew, so let it take what changes from `data`.

    Args:
        log_density: unnormalised log density of one x.
        start: belief that every chain draws its start from, or one x that all chains start at. Starts that
            are wider than the posterior let R-hat tell more.
        data: what the log density needs besides x.
        sampler: `Nuts()` where None; `Hmc`, or `GlobalLocal` of `foresee.posteriors.proposal`.
        chains: number of chains, at least 2.
        draws: draws of every chain after the warm-up, at least 8.
        key: source of randomness.

    Raises:
        OptionError: if there are too few chains or draws.
        ShapeError: if the log density is not a scalar or x holds anything but floating point arrays.
        PosteriorError: if the log density is not finite at a chain's start.
        MissingExtraError: if BlackJAX is not installed.
    """
    sampler = Nuts() if sampler is None else sampler
    check_sizes(chains, draws)
    require_blackjax()
    first, rest = jax.random.split(key)
    count = sampler.starts(chains)
    if isinstance(start, AbstractBelief):
        starts = start.points(count, key=first).values
    else:
        start = jax.tree.map(_checked_leaf, start)
        starts = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), start)
    samples, at_start = run_chains_on(sampler, log_density, starts, data, _as_it_is, chains, draws, rest)
    check_start(at_start, "sample")
    return samples


def check_sizes(chains: int, draws: int) -> None:
    """Raise OptionError if there are too few chains or draws for R-hat."""
    if chains < 2:
        raise OptionError(f"expected at least 2 chains, because R-hat compares them, got {chains}")
    if draws < diagnostics.FEWEST:
        raise OptionError(f"expected at least {diagnostics.FEWEST} draws of every chain, got {draws}")


def check_start(log_density: Float[Array, " chains"], owner: str) -> None:
    """Raise PosteriorError if a chain started where the log density is not finite; traced values pass."""
    if not isinstance(log_density, Tracer) and not np.isfinite(log_density).all():
        raise PosteriorError(
            f"{owner}: expected a finite log density at every start, got {np.asarray(log_density)}"
        )


def _as_it_is(z: PyTree, data: PyTree) -> PyTree:
    return z


def run_chains_on(
    sampler: AbstractSampler,
    log_density: LogDensity,
    starts: PyTree,
    data: PyTree,
    transform: Callable[[PyTree, PyTree], PyTree],
    chains: int,
    draws: int,
    key: PRNGKeyArray,
) -> tuple[Samples, Float[Array, " chains"]]:
    """Return the samples, with every draw passed through `transform`, and the log density at the starts."""
    trace, values = _run_compiled(sampler, log_density, starts, data, transform, chains, draws, key)
    return _summary(trace, values), trace.start_log_density


@eqx.filter_jit
def _run_compiled(
    sampler: AbstractSampler,
    log_density: LogDensity,
    starts: PyTree,
    data: PyTree,
    transform: Callable[[PyTree, PyTree], PyTree],
    chains: int,
    draws: int,
    key: PRNGKeyArray,
) -> tuple[Trace, PyTree[Array]]:
    """Run the chains; everything that can change is an argument.

    Functions among the arguments count as equal only if they are the same object.
    """
    one = jax.tree.map(lambda leaf: leaf[0], starts)
    unravel = ravel_pytree(one)[1]
    shape = jax.tree.map(jnp.shape, jax.eval_shape(lambda: log_density(one, data)))
    if shape != ():
        raise ShapeError(f"expected a log density that is one number, got shape {shape}")

    # BlackJAX keeps its own numbers in JAX's default type and cannot do with narrower positions beside them.
    narrow, wide = ravel_pytree(one)[0].dtype, jnp.result_type(float)

    def shaped(position):
        return unravel(position.astype(narrow))

    def flat_density(position):
        return jnp.asarray(log_density(shaped(position), data), wide)

    flat = jax.vmap(lambda x: ravel_pytree(x)[0].astype(wide))(starts)
    trace = sampler.run(flat_density, flat, chains, draws, key)
    values = jax.vmap(jax.vmap(lambda position: transform(shaped(position), data)))(trace.positions)
    return trace._replace(positions=None), values


def _checked_leaf(leaf: Any) -> Array:
    if not eqx.is_array_like(leaf):
        raise ShapeError(
            f"expected x of floating point arrays, got {type(leaf).__name__}; of a network, sample the "
            "arrays of equinox.partition(network, equinox.is_inexact_array) and hand the rest on as data"
        )
    return as_float(leaf)


@eqx.filter_jit
def _summary(trace: Trace, values: PyTree[Array]) -> Samples:
    """Put what the chains did and the diagnostics of every number together.

    Compiled apart from the chains: it knows shapes only, and serves every log density.
    """
    leaves, structure = jax.tree.flatten(values)
    rows = [leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves]
    columns = jnp.moveaxis(jnp.concatenate(rows, axis=2), -1, 0)
    found = jax.lax.map(diagnostics.trust, columns, batch_size=16)
    ends = np.cumsum([row.shape[2] for row in rows])[:-1]

    def like_x(numbers):
        parts = jnp.split(numbers, ends)
        shaped = [part.reshape(leaf.shape[2:]) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)

    r_hat, ess_bulk, ess_tail = map(like_x, found)
    return Samples(
        draws=values,
        log_density=trace.log_density,
        acceptance=jnp.mean(trace.acceptance, axis=1),
        divergences=jnp.sum(trace.divergent, axis=1),
        step_size=trace.step_size,
        evaluations=jnp.mean(trace.evaluations, axis=1),
        r_hat=r_hat,
        ess_bulk=ess_bulk,
        ess_tail=ess_tail,
        jumps=None if trace.jumped is None else jnp.mean(trace.jumped, axis=1),
        log_evidence=trace.log_evidence,
    )
