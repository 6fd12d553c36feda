"""Conformal prediction on a stream that drifts. Start with `adaptive_conformal` and `run_adaptive`.

Split conformal prediction promises nothing once the data change. Here the level that is asked for is itself
moved after every row: down after a miss, up after a hit; so the share of misses in the long run is the stated
one on any stream whatever (Gibbs and Candès 2021, proposition 4.1).
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from foresee.calibration.check import check_share, check_vector
from foresee.errors import OptionError


class Stream(eqx.Module):
    """What has been seen of a stream: a pytree that can be saved, and gone on from.

    Attributes:
        window: the most recent scores, in no order.
        place: where the next one goes.
        misses: the rate of misses that every expert now asks for.
        log_weights: how much every expert is trusted.
    """

    window: Float[Array, " window"]
    place: Int[Array, ""]
    misses: Float[Array, " experts"]
    log_weights: Float[Array, " experts"]

    def asked(self) -> Float[Array, ""]:
        """Return the rate of misses that is asked for now; it may leave 0 to 1 for a while."""
        return jax.nn.softmax(self.log_weights) @ self.misses


class Judged(eqx.Module):
    """What became of rows of a stream.

    Attributes:
        threshold: strangeness up to which an answer was in the set, before the row was seen: +∞ for
            everything, −∞ for nothing.
        covered: whether the true answer was.
        asked: rate of misses that was asked for.
    """

    threshold: Float[Array, "*rows"]
    covered: Bool[Array, "*rows"]
    asked: Float[Array, "*rows"]


class AdaptiveConformal(eqx.Module):
    """Thresholds on the strangeness of answers to a stream of questions.

    With one rate it is ACI (Gibbs and Candès 2021): misses ← misses + rate · (allowed − missed). With several
    it is DtACI (Gibbs and Candès 2022, algorithm 1): one expert for every rate, weighted by the pinball
    losses they had, so that no rate need be chosen.

    Attributes:
        level: share of sets that are to hold the true answer.
        rates: how fast experts move.
        trust: how fast weights follow the losses (η).
        mixing: share of the weight that is spread over all experts in every step (σ).
    """

    level: Float[Array, ""]
    rates: Float[Array, " experts"]
    trust: Float[Array, ""]
    mixing: Float[Array, ""]

    def start(self, scores: ArrayLike) -> Stream:
        """Return the state before the first row.

        Args:
            scores: strangeness of true answers so far, shape (window,); as many are remembered.

        Raises:
            ShapeError: if it is no vector.
            CalibrationError: if a score is not finite.
        """
        window = check_vector(scores, "AdaptiveConformal.start", "scores").astype(self.rates.dtype)
        return Stream(
            window,
            jnp.asarray(0),
            jnp.full(self.rates.shape, 1 - self.level, self.rates.dtype),
            jnp.zeros_like(self.rates),
        )

    def threshold(self, stream: Stream) -> Float[Array, ""]:
        """Return the strangeness up to which an answer is in the next set."""
        return _quantile(stream.window, 1 - stream.asked())

    def step(self, stream: Stream, score: Float[Array, ""]) -> tuple[Stream, Judged]:
        """Return the state after a true answer turned out to be this strange, and what became of the row."""
        asked, threshold = stream.asked(), self.threshold(stream)
        covered = score <= threshold
        allowed = 1 - self.level
        size = stream.window.shape[0]
        # The largest rate of misses at which the row would still have been covered.
        kept = (jnp.sum(stream.window >= score) + 1.0).astype(asked.dtype) / (size + 1)
        missed = (jax.vmap(lambda rate: _quantile(stream.window, 1 - rate))(stream.misses) < score).astype(
            asked.dtype
        )
        away = kept - stream.misses
        losses = allowed * away - jnp.minimum(away, 0)
        log_weights = jax.nn.log_softmax(stream.log_weights - self.trust * losses)
        spread = self.mixing / self.rates.shape[0]
        log_weights = jnp.log((1 - self.mixing) * jnp.exp(log_weights) + spread)
        after = Stream(
            stream.window.at[stream.place].set(score),
            (stream.place + 1) % size,
            stream.misses + self.rates * (allowed - missed),
            log_weights,
        )
        return after, Judged(threshold, covered, asked)


def adaptive_conformal(
    level: float = 0.9,
    rates: float | Sequence[float] | ArrayLike = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128),
    horizon: int = 500,
) -> AdaptiveConformal:
    """Return the adaptive method for a level: ACI for one rate, DtACI for several.

    Args:
        level: share of sets that are to hold the true answer.
        rates: how fast experts move; Gibbs and Candès use 0.005 for one, and 0.001 to 0.128 for eight.
        horizon: rows over which the best expert may change (the papers' I), which sets how fast weights
            follow.

    Raises:
        OptionError: if the level is not between 0 and 1, a rate not positive, or the horizon less than 1.
    """
    check_share(level, "adaptive_conformal", "level")
    given = np.atleast_1d(np.asarray(rates, float))
    if given.ndim != 1 or not given.size or not (np.isfinite(given) & (given > 0)).all():
        raise OptionError(f"adaptive_conformal: expected positive rates, got {rates}")
    if horizon < 1:
        raise OptionError(f"adaptive_conformal: expected a horizon of at least 1 row, got {horizon}")
    allowed, experts = 1 - level, given.size
    # Gibbs and Candès (2022), section 3.2: the rates that the bound on the regret is least for.
    trust = np.sqrt(3 / horizon * (np.log(experts * horizon) + 2)) / (level * allowed) if experts > 1 else 0.0
    mixing = 1 / (2 * horizon) if experts > 1 else 0.0
    return AdaptiveConformal(*(jnp.asarray(part, float) for part in (level, given, trust, mixing)))


@eqx.filter_jit
def run_adaptive(
    method: AdaptiveConformal, stream: Stream, scores: Float[Array, " rows"]
) -> tuple[Stream, Judged]:
    """Return the state after a whole stream of true answers' strangeness, and what became of every row.

    To go on later, pass the state that was returned.
    """

    # Not the bound method itself, which would have to be hashable.
    def step(before: Stream, score: Float[Array, ""]) -> tuple[Stream, Judged]:
        return method.step(before, score)

    return jax.lax.scan(step, stream, jnp.asarray(scores, stream.window.dtype))


def _quantile(window: Float[Array, " window"], level: Float[Array, ""]) -> Float[Array, ""]:
    """Return the ⌈(n + 1) level⌉-th smallest score, −∞ for a rank below 1 and +∞ above n."""
    size = window.shape[0]
    # The slack keeps (n + 1) · level, where it is a whole number, from being rounded up to the next.
    rank = jnp.ceil((size + 1) * level * (1 - 4 * jnp.finfo(window.dtype).eps)).astype(int)
    found = jnp.sort(window)[jnp.clip(rank - 1, 0, size - 1)]
    return jnp.where(rank < 1, -jnp.inf, jnp.where(rank > size, jnp.inf, found))
