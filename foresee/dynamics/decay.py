"""An Ornstein–Uhlenbeck process and its first two integrals: what wanders, but returns to zero.

With r(t) the response after t seconds to a unit step in the process, p₀ = e^{−t/T}, p₁ = ∫p₀ and p₂ = ∫p₁.
Acceleration as such a process is the model of Singer (1970); T → ∞ is the random walk, p₀ = 1, p₁ = t, p₂ =
t²/2. The closed forms subtract nearly equal numbers where t ≪ T, so below one time constant their power
series are summed instead: exact to rounding in float32 and float64, smooth, and valid at t = 0 and T = ∞.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TERMS = 19  # the first term left out is below 1e-17 of the sum at one time constant

_SERIES = np.array(
    [
        [
            (-1) ** n / math.factorial(n + 1),
            (-1) ** n / math.factorial(n + 2),
            (-1) ** n * (2 ** (n + 3) - 4) / (2 * math.factorial(n + 3)),
            (-1) ** n * (2 ** (n + 5) - 4 * (n + 5)) / (2 * math.factorial(n + 5)),
        ]
        for n in range(TERMS)
    ]
)


def _shapes(z: Float[Array, "*d"]) -> Float[Array, "4 *d"]:
    """Return p₁/t, p₂/t², ∫p₁²/t³ and ∫p₂²/t⁵ as functions of z = t/T."""
    small = z < 1
    inside = jnp.where(small, z, 0.0)
    series = jnp.zeros((4, *z.shape), z.dtype)
    for row in _SERIES[::-1]:
        series = series * inside + row.reshape(4, *[1] * z.ndim).astype(z.dtype)
    outside = jnp.where(small, 1.0, z)
    left = jnp.exp(-outside)
    closed = jnp.stack(
        [
            (1 - left) / outside,
            (outside - 1 + left) / outside**2,
            (2 * outside - 3 + 4 * left - left**2) / (2 * outside**3),
            (1 - left**2 + 2 * outside - 2 * outside**2 + 2 * outside**3 / 3 - 4 * outside * left)
            / (2 * outside**5),
        ]
    )
    return jnp.where(small, series, closed)


class Decay(NamedTuple):
    """What `over` returns.

    Attributes:
        process: p₀, what is left of a unit at the end.
        once: p₁, its integral.
        twice: p₂, the integral of that.
        kept: p₁/t, the average over the duration.
        middle: p₂/(t p₁), the time average of p₁ as a fraction of its end; ½ for a random walk.
        noise: the integrals of p₂p₂, p₂p₁, p₂p₀, p₁p₁, p₁p₀ and p₀p₀. Times the spectral density of the
            driving white noise they are the covariances of (second integral, first integral, process).
    """

    process: Array
    once: Array
    twice: Array
    kept: Array
    middle: Array
    noise: tuple[Array, Array, Array, Array, Array, Array]


def over(time: Float[Array, "*d"], dt: Any) -> Decay:
    """Return responses and noise of a process with the given time constant over a duration.

    Singer 1970; Bar-Shalom, Li and Kirubarajan 2001, eq. 8.2.2-9.

    Args:
        time: time constant T in seconds; infinity for a quantity that does not return to zero.
        dt: duration in seconds.
    """
    z = dt / time
    kept, half, once_once, twice_twice = _shapes(z)
    p1, p2, p11 = dt * kept, dt**2 * half, dt**3 * once_once
    p00 = dt * _shapes(2 * z)[0]
    noise = (dt**5 * twice_twice, p2**2 / 2, p2 * p1 - p11, p11, p1**2 / 2, p00)
    return Decay(jnp.exp(-z), p1, p2, kept, half / kept, noise)
