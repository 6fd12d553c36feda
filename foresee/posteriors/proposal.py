"""Informed proposals: global moves that find separated modes which a gradient cannot lead to.

`GlobalLocal` is a sampler for `infer` and `sample`. It fits a mixture to the posterior by adaptive importance
sampling, then alternates a local move of `Nuts` with a jump to a place drawn from the mixture, which is taken
with Metropolis and Hastings' probability; so a bad mixture costs jumps, never correctness.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.errors import OptionError
from foresee.posteriors.diagnostics import Estimate
from foresee.posteriors.hamiltonian import (
    AbstractHamiltonian,
    AbstractSampler,
    FlatDensity,
    Jumps,
    Nuts,
    Trace,
    initial_state,
    run_chains,
)

FREEDOM = 8  # degrees of freedom of the components: tails heavier than most posteriors'; even, see `draw`
BROAD = 0.1  # share of the proposal that keeps covering where the chains could have started
ITERATIONS = 10  # of expectation maximisation in every round
SHRINK = 1e-3  # of the points' covariance that every component keeps, so that none collapses


class Proposal(eqx.Module):
    """A mixture of k multivariate t distributions over flat, unbounded coordinates.

    Args:
        log_weights: logarithms of the components' normalised weights.
        means: locations.
        factors: lower Cholesky factors of the scale matrices.
    """

    log_weights: Float[Array, " k"]
    means: Float[Array, "k n"]
    factors: Float[Array, "k n n"]

    def log_prob(self, z: Float[Array, " n"]) -> Float[Array, ""]:
        """Return the log density at z."""
        return self.log_probs(z[None])[0]

    def log_probs(self, z: Float[Array, "m n"]) -> Float[Array, " m"]:
        """Return the log density at m places."""
        n = self.means.shape[1]
        squares = _squares(z, self.means, self.factors)
        constant = gammaln((FREEDOM + n) / 2) - gammaln(FREEDOM / 2) - 0.5 * n * jnp.log(FREEDOM * jnp.pi)
        terms = constant - _log_diagonal(self.factors) - 0.5 * (FREEDOM + n) * jnp.log1p(squares / FREEDOM)
        return logsumexp(self.log_weights + terms, axis=1)

    def draw(self, count: int, *, key: PRNGKeyArray) -> Float[Array, "count n"]:
        """Draw independent places."""
        which, noise, tail = jax.random.split(key, 3)
        index = jax.random.categorical(which, self.log_weights, shape=(count,))
        dtype = self.means.dtype
        white = jax.random.normal(noise, (count, self.means.shape[1]), dtype)
        # A χ² number with an even number of degrees of freedom is twice a sum of half as many exponentials.
        squares = 2 * jnp.sum(jax.random.exponential(tail, (count, FREEDOM // 2), dtype), axis=1)
        stretch = jnp.sqrt(FREEDOM / squares)
        return self.means[index] + stretch[:, None] * jnp.einsum("mij,mj->mi", self.factors[index], white)


class GlobalLocal(AbstractSampler):
    """Local moves by NUTS or HMC, each followed by a jump to a place drawn from a fitted mixture.

    The mixture is fitted to importance-weighted draws of itself, round after round (Cappé et al. 2008), at
    first with flattened weights; what it must find has to lie where the starts (draws from the prior in
    `infer`) are spread. Meant for up to about ten unknowns. As the places are independent draws, they
    give the evidence as well, with its standard error.

    Args:
        local: the local move; its warm-up is made without jumps, inside one mode.
        components: components of the mixture.
        population: draws per round of fitting.
        rounds: rounds of fitting.
        proposal: a mixture that is already known, as a trained network gives; then nothing is fitted.

    Raises:
        OptionError: if an option is out of its range.
    """

    local: AbstractHamiltonian = Nuts(200)
    components: int = eqx.field(static=True, default=12)
    population: int = eqx.field(static=True, default=2048)
    rounds: int = eqx.field(static=True, default=8)
    proposal: Proposal | None = None

    def __check_init__(self) -> None:
        """Check the options."""
        if self.components < 1 or self.rounds < 1:
            raise OptionError(
                "GlobalLocal: expected at least one component and one round, "
                f"got {self.components} and {self.rounds}"
            )
        if self.population < 20 * self.components:
            raise OptionError(
                f"GlobalLocal: expected a population of at least {20 * self.components}, 20 times the "
                f"components, got {self.population}"
            )

    def starts(self, chains: int) -> int:
        """Return how many starting points are wanted: enough to see how far the start is spread."""
        return self.population

    def run(
        self,
        log_density: FlatDensity,
        starts: Float[Array, "k n"],
        chains: int,
        draws: int,
        key: PRNGKeyArray,
    ) -> Trace:
        """Fit the mixture, draw all places from it, and run the chains with jumps to them."""
        fitting, placing, choosing, deciding, running = jax.random.split(key, 5)
        proposal = self.proposal
        if proposal is None:
            proposal = fit_proposal(
                log_density, starts, self.components, self.population, self.rounds, key=fitting
            )
        rows = self.local.warmup + draws
        places = proposal.draw(chains * rows, key=placing)
        states = jax.vmap(lambda z: initial_state(z, log_density))(places)
        log_weights = _finite(states.logdensity - proposal.log_probs(places))
        first = places[jax.random.categorical(choosing, log_weights, shape=(chains,))]
        heights = jnp.log(jax.random.uniform(deciding, (chains, rows), places.dtype))
        heights = jnp.where(jnp.arange(rows) < self.local.warmup, jnp.inf, heights)
        states, log_weights = jax.tree.map(
            lambda leaf: leaf.reshape(chains, rows, *leaf.shape[1:]), (states, log_weights)
        )
        jumps = Jumps(states, log_weights, heights)
        trace = run_chains(self.local, log_density, first, draws, running, jumps, proposal.log_prob)
        return trace._replace(log_evidence=log_mean(log_weights.reshape(-1)))


def log_mean(log_weights: Float[Array, " n"]) -> Estimate:
    """Return the logarithm of the mean of independent weights, with its standard error (delta method)."""
    n = log_weights.size
    value = logsumexp(log_weights) - jnp.log(n)
    relative = jnp.exp(log_weights - value)
    return Estimate(value, jnp.std(relative, ddof=1) / jnp.sqrt(n))


def fit_proposal(
    log_density: FlatDensity,
    starts: Float[Array, "m n"],
    components: int,
    population: int,
    rounds: int,
    *,
    key: PRNGKeyArray,
) -> Proposal:
    """Fit a mixture to a density by population Monte Carlo (Cappé, Douc, Guillin, Marin and Robert 2008).

    Every round draws from the mixture so far, weights the draws, flattens the weights to a power at which at
    least a tenth of the draws count, and fits the next mixture to them.

    Args:
        log_density: unnormalised log density of a flat vector.
        starts: points spread over all that has to be searched.
        components: components besides a broad one around the starts.
        population: draws per round.
        rounds: number of rounds.
        key: source of randomness.
    """
    n = starts.shape[1]
    centred = starts - jnp.mean(starts, axis=0)
    spread = centred.T @ centred / starts.shape[0]
    spread = spread + 1e-6 * jnp.eye(n, dtype=spread.dtype) * jnp.maximum(jnp.trace(spread), 1e-6)
    broad = (jnp.mean(starts, axis=0), jnp.linalg.cholesky(spread))

    def one_round(proposal, sub):
        drawing, seeding = jax.random.split(sub)
        places = proposal.draw(population, key=drawing)
        log_weights = _finite(jax.vmap(log_density)(places) - proposal.log_probs(places))
        weights = jax.nn.softmax(_flattened(log_weights, 0.1 * population))
        fitted = _expectation_maximisation(places, weights, components, seeding)
        return _with_broad(*fitted, *broad), None

    same = jnp.zeros((components, 1, 1), spread.dtype)
    first = _with_broad(jnp.full(components, 1 / components), same[:, 0] + broad[0], same + broad[1], *broad)
    return jax.lax.scan(one_round, first, jax.random.split(key, rounds))[0]


def _with_broad(
    weights: Float[Array, " k"],
    means: Float[Array, "k n"],
    factors: Float[Array, "k n n"],
    mean: Float[Array, " n"],
    factor: Float[Array, "n n"],
) -> Proposal:
    """Add the component that covers where the starts are."""
    every = jnp.append((1 - BROAD) * weights, BROAD).astype(means.dtype)
    return Proposal(
        jnp.log(jnp.maximum(every, 1e-12)),
        jnp.concatenate([means, mean[None]]),
        jnp.concatenate([factors, factor[None]]),
    )


def _flattened(log_weights: Float[Array, " m"], least: float) -> Float[Array, " m"]:
    """Return the log weights times the largest power up to 1 that leaves an effective size of `least`."""

    def size(power):
        return jnp.exp(2 * logsumexp(power * log_weights) - logsumexp(2 * power * log_weights))

    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        enough = size(middle) >= least
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    one = jnp.ones((), log_weights.dtype)
    low, _ = jax.lax.fori_loop(0, 20, halve, (0 * one, one))
    return jnp.where(size(one) >= least, one, low) * log_weights


def _expectation_maximisation(
    places: Float[Array, "m n"], weights: Float[Array, " m"], components: int, key: PRNGKeyArray
) -> tuple[Float[Array, " k"], Float[Array, "k n"], Float[Array, "k n n"]]:
    """Fit weights, means and Cholesky factors of Gaussian components to weighted points."""
    n = places.shape[1]
    centred = places - weights @ places
    pooled = (centred * weights[:, None]).T @ centred
    least = SHRINK * pooled + 1e-10 * jnp.eye(n, dtype=pooled.dtype)
    means = places[jax.random.categorical(key, jnp.log(weights), shape=(components,))]
    factor = jnp.linalg.cholesky(pooled * components ** (-2.0 / n) + least)

    # As many pseudo-points with the average covariance as keep that of a component with few points regular.
    pseudo = (n + 2) * jnp.sum(weights**2)

    def improve(_, parameters):
        shares, means, factors = parameters
        terms = jnp.log(shares) - _log_diagonal(factors) - 0.5 * _squares(places, means, factors)
        counted = jax.nn.softmax(terms, axis=1) * weights[:, None]
        shares = jnp.sum(counted, axis=0) + 1e-6
        means = (counted.T @ places + 1e-6 * means) / shares[:, None]
        apart = places[:, None, :] - means
        scatter = jnp.einsum("mk,mki,mkj->kij", counted, apart, apart)
        covariances = scatter + pseudo * jnp.sum(scatter, axis=0)
        covariances = covariances / (shares + pseudo)[:, None, None]
        return shares / jnp.sum(shares), means, jnp.linalg.cholesky(covariances + least)

    start = (
        jnp.full(components, 1 / components, places.dtype),
        means,
        jnp.broadcast_to(factor, (components, n, n)),
    )
    return jax.lax.fori_loop(0, ITERATIONS, improve, start)


def _squares(
    z: Float[Array, "m n"], means: Float[Array, "k n"], factors: Float[Array, "k n n"]
) -> Float[Array, "m k"]:
    """Return the squared Mahalanobis distance of every place from every component."""
    eye = jnp.broadcast_to(jnp.eye(means.shape[1], dtype=means.dtype), factors.shape)
    inverse = jax.lax.linalg.triangular_solve(factors, eye, left_side=True, lower=True)
    white = jnp.einsum("kij,mkj->mki", inverse, z[:, None, :] - means)
    return jnp.sum(white**2, axis=2)


def _log_diagonal(factors: Float[Array, "k n n"]) -> Float[Array, " k"]:
    return jnp.sum(jnp.log(jnp.diagonal(factors, axis1=1, axis2=2)), axis=1)


def _finite(log_weights: Float[Array, " m"]) -> Float[Array, " m"]:
    """Replace NaN, which a log density gives outside its domain, by the logarithm of zero."""
    return jnp.where(jnp.isnan(log_weights), -jnp.inf, log_weights)
