"""The optimiser that policies are trained with."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

MOST_ERRORS = 1_000_000  # steps in a row that may be left out: a training always comes to its end


def careful_adam(numbers: Mapping[str, Float[Array, ""]]) -> optax.GradientTransformation:
    """Return Adam with a rate that falls along a cosine, gradients cut, and none taken that is not finite.

    Args:
        numbers: `rate`, the first one; `clip`, the longest gradient; `steps`, in which the rate falls to 0.
    """

    def fall(count: Any) -> Any:
        return -numbers["rate"] * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count / numbers["steps"], 1.0)))

    cutting = optax.clip_by_global_norm(numbers["clip"])  # pyright: ignore[reportArgumentType]
    adam = optax.chain(cutting, optax.scale_by_adam(), optax.scale_by_schedule(fall))
    return optax.apply_if_finite(adam, max_consecutive_errors=MOST_ERRORS)
