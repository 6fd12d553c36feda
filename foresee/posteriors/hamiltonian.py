"""The kernels behind `sampling`: the No-U-Turn sampler and HMC of BlackJAX, their warm-up, their chains."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.errors import MissingExtraError, OptionError
from foresee.posteriors.diagnostics import Estimate

FlatDensity = Callable[[Array], Array]
FAST, SLOW, DONE = 0, 1, 2  # stages of the warm-up


class Trace(NamedTuple):
    """What the chains did in flat coordinates; leading axis of chains everywhere."""

    start_log_density: Float[Array, " chains"]
    positions: Float[Array, "chains draws n"] | None
    log_density: Float[Array, "chains draws"]
    acceptance: Float[Array, "chains draws"]
    divergent: Bool[Array, "chains draws"]
    evaluations: Int[Array, "chains draws"]
    step_size: Float[Array, " chains"]
    jumped: Bool[Array, "chains draws"] | None = None
    log_evidence: Estimate | None = None


class AbstractSampler(eqx.Module):
    """A way to make draws; `sample` and `infer` take any."""

    def starts(self, chains: int) -> int:
        """Return how many starting points are wanted for so many chains."""
        return chains

    @abc.abstractmethod
    def run(
        self,
        log_density: FlatDensity,
        starts: Float[Array, "k n"],
        chains: int,
        draws: int,
        key: PRNGKeyArray,
    ) -> Trace:
        """Run the chains on a log density of a flat vector."""


class AbstractHamiltonian(AbstractSampler):
    """Samplers that follow the gradient with a step size and scales found in a warm-up."""

    warmup: eqx.AbstractVar[int]
    acceptance: eqx.AbstractVar[float]
    dense: eqx.AbstractVar[bool]

    def run(
        self,
        log_density: FlatDensity,
        starts: Float[Array, "k n"],
        chains: int,
        draws: int,
        key: PRNGKeyArray,
    ) -> Trace:
        """Run the chains on a log density of a flat vector."""
        return run_chains(self, log_density, starts, draws, key)

    @abc.abstractmethod
    def move(
        self, key: PRNGKeyArray, state: Any, log_density: FlatDensity, step_size: Array, scales: Array
    ) -> tuple[Any, Array, Array, Any]:
        """Return the next state, acceptance probability, whether it diverged, and the number of gradients."""


class Nuts(AbstractHamiltonian):
    """The No-U-Turn sampler (Hoffman and Gelman 2014; multinomial and iterative as in BlackJAX).

    Args:
        warmup: draws that are thrown away, in which step size and scales are adapted by Stan's windows.
        acceptance: mean acceptance probability that the step size is adapted to.
        doublings: most doublings of a trajectory, so at most 2 to this power gradients per draw.
        dense: whether the scales are a full covariance; else one variance for every number.

    Raises:
        OptionError: if an option is out of its range.
    """

    warmup: int = eqx.field(static=True, default=500)
    acceptance: float = eqx.field(static=True, default=0.8)
    doublings: int = eqx.field(static=True, default=10)
    dense: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        """Check the options."""
        _check_warmup(self)
        if self.doublings < 1:
            raise OptionError(f"Nuts: expected doublings ≥ 1, got {self.doublings}")

    def move(
        self, key: PRNGKeyArray, state: Any, log_density: FlatDensity, step_size: Array, scales: Array
    ) -> tuple[Any, Array, Array, Any]:
        """Return the next state, acceptance probability, whether it diverged, and the number of gradients."""
        kernel = require_blackjax().nuts.build_kernel()
        state, info = kernel(key, state, log_density, step_size, scales, self.doublings)
        return state, info.acceptance_rate, info.is_divergent, info.num_integration_steps


class Hmc(AbstractHamiltonian):
    """Hamiltonian Monte Carlo with a fixed number of steps: cheaper by the step, to be tuned by hand.

    Each draw takes a step size within 20 % of the adapted one, because trajectories of one length can return
    to where they began (Neal 2011, section 5.4.2.2).

    Args:
        steps: gradients per draw.
        warmup: draws that are thrown away, in which step size and scales are adapted by Stan's windows.
        acceptance: mean acceptance probability that the step size is adapted to.
        dense: whether the scales are a full covariance; else one variance for every number.

    Raises:
        OptionError: if an option is out of its range.
    """

    steps: int = eqx.field(static=True, default=16)
    warmup: int = eqx.field(static=True, default=500)
    acceptance: float = eqx.field(static=True, default=0.8)
    dense: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        """Check the options."""
        _check_warmup(self)
        if self.steps < 1:
            raise OptionError(f"Hmc: expected steps ≥ 1, got {self.steps}")

    def move(
        self, key: PRNGKeyArray, state: Any, log_density: FlatDensity, step_size: Array, scales: Array
    ) -> tuple[Any, Array, Array, Any]:
        """Return the next state, acceptance probability, whether it diverged, and the number of gradients."""
        key, jitter = jax.random.split(key)
        step_size = step_size * jax.random.uniform(jitter, (), step_size.dtype, 0.8, 1.2)
        kernel = require_blackjax().hmc.build_kernel()
        state, info = kernel(key, state, log_density, step_size, scales, self.steps)
        return state, info.acceptance_rate, info.is_divergent, jnp.asarray(self.steps)


class Jumps(eqx.Module):
    """Global moves of one chain: places proposed beforehand, and how to weigh where the chain is.

    Args:
        states: the places with log density and gradient, stacked over the rows of warm-up and draws.
        log_weights: log density of the posterior minus that of the proposal at the places.
        log_heights: logarithms of the uniform numbers that decide; +∞ where the chain shall stay.
    """

    states: Any
    log_weights: Float[Array, "*chains rows"]
    log_heights: Float[Array, "*chains rows"]


def run_chains(
    sampler: AbstractHamiltonian,
    log_density: FlatDensity,
    starts: Float[Array, "chains n"],
    draws: int,
    key: PRNGKeyArray,
    jumps: Jumps | None = None,
    log_proposal: FlatDensity | None = None,
) -> Trace:
    """Run one chain from every start, side by side; each draw is followed by a global move where given.

    Args:
        sampler: the local move and its warm-up.
        log_density: log density of a flat vector.
        starts: one start per chain.
        draws: draws after the warm-up.
        key: source of randomness.
        jumps: places proposed to every chain.
        log_proposal: log density that these places were drawn from.
    """
    keys = jax.random.split(key, starts.shape[0])

    def run(start, sub, jump):
        return _run_chain(sampler, log_density, start, draws, sub, jump, log_proposal)

    return jax.vmap(run)(starts, keys, jumps)


def initial_state(position: Float[Array, " n"], log_density: FlatDensity) -> Any:
    """Return the position with its log density and gradient."""
    return require_blackjax().hmc.init(position, log_density)


def _run_chain(
    sampler: AbstractHamiltonian,
    log_density: FlatDensity,
    start: Float[Array, " n"],
    draws: int,
    key: PRNGKeyArray,
    jumps: Jumps | None,
    log_proposal: FlatDensity | None,
) -> Trace:
    """Warm up and draw in one loop, so that the kernel is compiled once."""
    adapt_init, adapt, stages, ends = _adaptation(sampler, draws)

    def step(carry, row):
        state, adaptation, step_size = carry
        sub, stage, end, jump = row
        scales = adaptation[1].inverse_mass_matrix
        state, acceptance, divergent, count = sampler.move(sub, state, log_density, step_size, scales)
        adaptation, step_size = jax.lax.cond(
            stage == DONE,
            lambda: (adaptation, step_size),
            lambda: adapt(adaptation, state.position, acceptance, stage, end),
        )
        jumped = None
        if jump is not None and log_proposal is not None:
            here = state.logdensity - log_proposal(state.position)
            jumped = jump.log_heights < jump.log_weights - here
            state = jax.tree.map(lambda new, old: jnp.where(jumped, new, old), jump.states, state)
        return (state, adaptation, step_size), (
            state.position,
            state.logdensity,
            acceptance,
            divergent,
            count,
            jumped,
        )

    first = initial_state(start, log_density)
    total = sampler.warmup + draws
    rows = (jax.random.split(key, total), stages, ends, jumps)
    carry = (first, adapt_init(start), jnp.ones((), start.dtype))
    (_, _, step_size), kept = jax.lax.scan(step, carry, rows)
    kept = jax.tree.map(lambda leaf: leaf[sampler.warmup :], kept)
    return Trace(first.logdensity, *kept[:5], step_size=step_size, jumped=kept[5])


def _adaptation(sampler: AbstractHamiltonian, draws: int) -> tuple[Callable, Callable, Array, Any]:
    """Return Stan's window adaptation: its start, its step, and the stage of every row of the loop.

    `adapt` returns the step size to go on with: of the last row of the warm-up, the averaged one.
    """
    blackjax = require_blackjax()
    scale_init, scale_update, scale_final = blackjax.mass_matrix_adaptation(not sampler.dense)
    size_init, size_update, size_final = blackjax.dual_averaging_adaptation(sampler.acceptance)
    with jax.ensure_compile_time_eval():
        schedule = np.asarray(blackjax.build_schedule(sampler.warmup))
    stages = np.concatenate([schedule[:, 0].astype(np.int32), np.full(draws, DONE, np.int32)])
    ends = np.concatenate([schedule[:, 1].astype(bool), np.zeros(draws, bool)])
    last = np.arange(sampler.warmup + draws) == sampler.warmup - 1

    def init(start):
        return size_init(jnp.ones((), start.dtype)), scale_init(start.size)

    def adapt(adaptation, position, acceptance, stage, end):
        size, scale = adaptation
        size = size_update(size, acceptance)
        scale = jax.lax.cond(stage == SLOW, lambda: scale_update(scale, position), lambda: scale)
        new_window, is_last = end
        size, scale = jax.lax.cond(
            new_window, lambda: (size_init(size_final(size)), scale_final(scale)), lambda: (size, scale)
        )
        return (size, scale), jnp.exp(jnp.where(is_last, size.log_step_size_avg, size.log_step_size))

    return init, adapt, jnp.asarray(stages), (jnp.asarray(ends), jnp.asarray(last))


def _check_warmup(sampler: AbstractHamiltonian) -> None:
    name = type(sampler).__name__
    if sampler.warmup < 20:
        raise OptionError(f"{name}: expected a warm-up of at least 20 draws, got {sampler.warmup}")
    if not 0 < sampler.acceptance < 1:
        raise OptionError(f"{name}: expected an acceptance between 0 and 1, got {sampler.acceptance}")


class _Blackjax(NamedTuple):
    nuts: Any
    hmc: Any
    build_schedule: Callable
    mass_matrix_adaptation: Callable
    dual_averaging_adaptation: Callable


def require_blackjax() -> _Blackjax:
    """Import BlackJAX when it is needed, so that everything else of the room works without it."""
    try:
        from blackjax.adaptation.mass_matrix import mass_matrix_adaptation
        from blackjax.adaptation.staged_adaptation import build_schedule
        from blackjax.adaptation.step_size import dual_averaging_adaptation
        from blackjax.mcmc import hmc, nuts
    except ImportError as error:
        raise MissingExtraError("blackjax", "nuts") from error
    return _Blackjax(nuts, hmc, build_schedule, mass_matrix_adaptation, dual_averaging_adaptation)
