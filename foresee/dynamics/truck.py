"""A truck that pushes a trailer backwards, as in Nguyen and Widrow's study of 1990."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.beliefs.belief import AbstractConditional
from foresee.beliefs.gaussian import Gaussian, as_float
from foresee.dynamics.check import check_positive, check_size


class TruckTrailer(AbstractConditional):
    """A truck and its trailer at constant speed: state [x, y, heading, trailer's heading], u = (steering,).

    Units m, m, rad, rad and rad; x, y is the rear axle of the truck, where the trailer is coupled. Over a
    step of s = speed · dt metres (Euler's, as the study's)
    x += s cos a, y += s sin a, a += s/L tan u, b += s/d sin(a - b). The motion is certain.

    Args:
        speed: in m/s; negative backwards.
        wheelbase: L [m].
        trailer: d, from the coupling to the trailer's axle, where it also ends [m].

    Raises:
        ForeseeError: if a length is not positive.
    """

    speed: Float[Array, ""] = eqx.field(converter=as_float, default=-1.0)
    wheelbase: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    trailer: Float[Array, ""] = eqx.field(converter=as_float, default=4.0)

    def __check_init__(self) -> None:
        """Check the signs of the lengths."""
        check_positive(self, "wheelbase", "trailer")

    def move(self, x: Float[Array, "4"], steering: Float[Array, ""], dt: Any = 0.1) -> Float[Array, "4"]:
        """Return the state after a step."""
        px, py, heading, behind = x
        length = self.speed * dt
        turn = length / self.wheelbase * jnp.tan(steering)
        swing = length / self.trailer * jnp.sin(heading - behind)
        moved = [
            px + length * jnp.cos(heading),
            py + length * jnp.sin(heading),
            heading + turn,
            behind + swing,
        ]
        return jnp.stack(moved)

    def end(self, x: Float[Array, "4"]) -> Float[Array, "2"]:
        """Return where the trailer ends."""
        return x[:2] - self.trailer * jnp.stack([jnp.cos(x[3]), jnp.sin(x[3])])

    def __call__(self, x: Float[Array, " n"], u: Float[Array, " k"] | None = None, dt: Any = 0.1) -> Gaussian:
        """Return the belief about the state after a step; None as the input steers straight."""
        check_size(self, x, 4)
        steering = jnp.zeros((), x.dtype) if u is None else u[0]
        return Gaussian(self.move(x, steering, dt), jnp.zeros((4, 4), x.dtype), (2, 3))
