"""Intervals of any score by drawing rows again. Start with `bootstrap_interval`."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.calibration.check import check_choice, check_share
from foresee.errors import OptionError, ShapeError

Score = Callable[..., Float[Array, ""]]
BATCH = 32  # draws in memory at once


class Interval(eqx.Module):
    """A score with its interval."""

    value: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


def bootstrap_interval(
    score: Score,
    *arrays: ArrayLike,
    draws: int = 1000,
    level: float = 0.95,
    kind: Literal["basic", "percentile"] = "basic",
    key: PRNGKeyArray,
) -> Interval:
    """Return a score and its interval, by drawing as many rows with replacement, many times.

    The basic interval turns the draws' quantiles around the score (Davison and Hinkley 1997, equation 5.6). A
    score that sampling pushes up, as it does the calibration error, is pushed up once more in the draws; the
    basic interval takes this back, where the percentile interval counts it twice. Either is stretched, if
    need be, to hold the score itself.

    Args:
        score: function of the arrays that returns a number. Pass the same function object again, and arrays
            of the same shape, and nothing is compiled anew.
        arrays: each with one leading axis of rows.
        draws: number of draws.
        level: of the interval.
        kind: "basic" or "percentile".
        key: source of the draws.

    Raises:
        ShapeError: if the arrays do not have the same number of rows.
        OptionError: if draws, level or kind are nothing that an interval can be made with.
    """
    given = _checked(arrays, draws, level, kind)
    value, samples = _draw(score, given, draws, key)
    return _interval(value, samples, level, kind)


def bootstrap_difference(
    score: Score,
    first: Any,
    second: Any,
    *shared: ArrayLike,
    draws: int = 1000,
    level: float = 0.95,
    kind: Literal["basic", "percentile"] = "basic",
    key: PRNGKeyArray,
) -> Interval:
    """Return score(first, …) − score(second, …) and its interval, both on the same drawn rows.

    Two models judged on the same rows err together; the interval of the difference is far narrower than the
    two intervals suggest.

    Args:
        score: function of a prediction and the shared arrays that returns a number.
        first: predictions of one model, with a leading axis of rows.
        second: predictions of the other.
        shared: what is the same for both, as a rule the labels.
        draws: number of draws.
        level: of the interval.
        kind: "basic" or "percentile", as for `bootstrap_interval`.
        key: source of the draws.

    Raises:
        ShapeError: if the arrays do not have the same number of rows.
        OptionError: if draws, level or kind are nothing that an interval can be made with.
    """
    given = _checked((first, second, *shared), draws, level, kind)
    value, samples = _draw(_Difference(score), given, draws, key)
    return _interval(value, samples, level, kind)


class _Difference(eqx.Module):
    """Compares equal whenever its score does, so that a compiled function is found again."""

    score: Score = eqx.field(static=True)

    def __call__(self, first: Array, second: Array, *shared: Array) -> Float[Array, ""]:
        return self.score(first, *shared) - self.score(second, *shared)


def _checked(arrays: tuple, draws: int, level: float, kind: str) -> tuple[Array, ...]:
    check_share(level, "bootstrap", "level")
    check_choice(kind, ("basic", "percentile"), "bootstrap", "kind")
    if draws < 2:
        raise OptionError(f"bootstrap: expected at least 2 draws, got {draws}")
    given = tuple(jnp.asarray(array) for array in arrays)
    sizes = {array.shape[0] if array.ndim else 0 for array in given}
    if len(sizes) != 1 or 0 in sizes:
        raise ShapeError(
            f"bootstrap: expected arrays with one common number of rows, got {[a.shape for a in given]}"
        )
    return given


@eqx.filter_jit
def _draw(
    score: Any, arrays: tuple[Array, ...], draws: int, key: PRNGKeyArray
) -> tuple[Float[Array, ""], Float[Array, " draws"]]:
    rows = arrays[0].shape[0]

    def once(key: PRNGKeyArray) -> Float[Array, ""]:
        chosen = jax.random.randint(key, (rows,), 0, rows)
        return score(*(array[chosen] for array in arrays))

    samples = jax.lax.map(once, jax.random.split(key, draws), batch_size=min(BATCH, draws))
    return score(*arrays), samples


def _interval(value: Float[Array, ""], samples: Float[Array, " draws"], level: float, kind: str) -> Interval:
    low, high = jnp.quantile(samples, jnp.asarray([0.5 - level / 2, 0.5 + level / 2], samples.dtype))
    if kind == "basic":
        low, high = 2 * value - high, 2 * value - low
    return Interval(value, jnp.minimum(low, value), jnp.maximum(high, value))
