"""Two ways to look for the least of a function of a few dozen numbers: by samples, and by slopes.

Sources: Williams, Drews, Goldfain, Rehg, Theodorou (2018), "Information-theoretic model predictive control",
for the samples; Ratliff, Zucker, Bagnell, Srinivasa (2009), "CHOMP: gradient optimization techniques for
efficient motion planning", for slopes in a space where smoothness is length.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

LENGTHS = (1.0, 0.003)  # the longest and the shortest step that is tried along a direction
CURVED = 1e-6  # cosine between changes of place and of slope below which nothing is learned of the curvature
SHRINKS = 0.5  # by what samples are nearer to each other in every further round
Vector = Float[Array, " D"]


def sampled(
    cost: Callable[[Vector], Float[Array, ""]],
    starts: Float[Array, "S D"],
    *,
    key: PRNGKeyArray,
    spread: float | Float[Array, ""] = 1.0,
    samples: int = 60,
    rounds: int = 2,
    temperature: float | Float[Array, ""] = 0.2,
) -> tuple[Vector, Float[Array, ""]]:
    """Look for the least of a function by samples around some points, which then move to the good ones.

    After every round the points lie between the best of all that were tried and the mean of the round,
    weighted by exp(-(cost - least) / scale), where the scale is a share of the mean excess over the least.
    The points are tried as well, so the best is never worse than any start.

    Args:
        cost: the function.
        starts: where to look first.
        key: the randomness.
        spread: standard deviation of the samples in the first round; half as much in every further one.
        samples: number of samples in a round, divided among the points; half of them mirror the others.
        rounds: number of rounds.
        temperature: the share.

    Returns:
        The best point and its cost.
    """
    count = starts.shape[0]
    each = max(samples // (2 * count), 1)
    shares = jnp.linspace(0.0, 1.0, count, dtype=starts.dtype)[:, None]

    def look(carry: tuple[Array, ...], key: Array) -> tuple[tuple[Array, ...], None]:
        centres, best, least, spread = carry
        drawn = spread * jax.random.normal(key, (each, *starts.shape), starts.dtype)
        around = [centres + drawn, centres - drawn]
        points = jnp.concatenate([centres, *(group.reshape(-1, starts.shape[1]) for group in around)])
        costs = jax.lax.map(cost, points)  # four times as fast as vmap on a CPU, where XLA fuses too much
        lowest = jnp.argmin(costs)
        excess = costs - costs[lowest]
        scale = jnp.maximum(temperature * excess.mean(), jnp.finfo(starts.dtype).tiny)
        mean = jax.nn.softmax(-excess / scale) @ points
        best = jnp.where(costs[lowest] < least, points[lowest], best)
        least = jnp.minimum(costs[lowest], least)
        return (best + shares * (mean - best), best, least, SHRINKS * spread), None

    begin = (starts, starts[0], jnp.asarray(jnp.inf, starts.dtype), jnp.asarray(spread, starts.dtype))
    (_, best, least, _), _ = jax.lax.scan(look, begin, jax.random.split(key, rounds))
    return best, least


def descended(
    cost: Callable[[Vector], Float[Array, ""]],
    starts: Float[Array, "S D"],
    *,
    curvature: float | Float[Array, ""] = 1.0,
    steps: int = 4,
) -> tuple[Vector, Float[Array, ""]]:
    """Look for the least of a function from the best of some points on, by its slopes and their changes.

    Broyden, Fletcher, Goldfarb and Shanno's method (Nocedal and Wright 2006, "Numerical optimization",
    equation 6.17), but as many lengths as there are starts are tried along each direction at once, and a step
    is taken only if the best of them lowers the cost.

    Args:
        cost: the function.
        starts: where to begin.
        curvature: second derivative to begin with, the same in all directions.
        steps: number of steps.

    Returns:
        The last point, which is the best, and its cost.
    """
    lengths = jnp.geomspace(*LENGTHS, starts.shape[0], dtype=starts.dtype)[:, None]

    def best_of(tried: Array, point: Array, value: Array) -> tuple[Array, Array]:
        costs = jax.lax.map(cost, tried)
        chosen = jnp.argmin(costs)
        better = costs[chosen] < value
        return jnp.where(better, tried[chosen], point), jnp.where(better, costs[chosen], value)

    def go(carry: tuple[Array, ...], number: Array) -> tuple[tuple[Array, ...], None]:
        tried, point, value, before, inverse = carry
        onward, value = best_of(tried, point, value)
        # The slope at the very end would not be used.
        slope = jax.lax.cond(number == steps, lambda at: before, jax.grad(cost), onward)
        moved = jnp.where(number > 0, onward - point, 0.0)  # at first no slope was known
        inverse = _updated(inverse, moved, slope - before)
        tried = onward - lengths * _times(inverse, slope)
        return (tried, onward, value, slope, inverse), None

    nothing, inverse = jnp.zeros_like(starts[0]), jnp.eye(starts.shape[1], dtype=starts.dtype) / curvature
    begin = (starts, starts[0], jnp.asarray(jnp.inf, starts.dtype), nothing, inverse)
    (_, point, value, *_), _ = jax.lax.scan(go, begin, jnp.arange(steps + 1))
    return point, value


def _updated(inverse: Array, moved: Array, bent: Array) -> Array:
    """Return the inverse of the second derivatives after a step along which the slope changed."""
    product = moved @ bent
    size = jnp.sqrt((moved @ moved) * (bent @ bent))
    counts = product > CURVED * size + jnp.finfo(moved.dtype).tiny
    per = jnp.where(counts, 1 / jnp.where(counts, product, 1.0), 0.0)
    back = _times(inverse, bent)
    across = moved[:, None] * back
    along = moved[:, None] * moved
    return inverse + per * ((1 + per * bent @ back) * along - across - across.T)


def _times(matrix: Array, vector: Array) -> Array:
    """Return their product; as a sum, for many small ones side by side are slow otherwise on a CPU."""
    return jnp.sum(matrix * vector, axis=-1)
