"""What a driver sees who does not filter: every frame by itself, with all of the sensor's noise and gaps."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from foresee.driving.sensing import AbstractSensing, Beliefs, Sensing, know_nobody
from foresee.driving.world import World
from foresee.errors import OptionError


class RawSensing(AbstractSensing):
    """What the same eyes see, taken as it is: nothing is filtered, carried on or remembered.

    A belief is the detection of this frame with the sensor's noise as its covariance; a vehicle that drops
    out is unknown in that frame. With the same key the detections are those that `Sensing` filters.

    Args:
        eyes: the sensor; what its filter would do does not matter.

    Raises:
        OptionError: if the sensor does not measure velocities.
    """

    eyes: Sensing

    def __check_init__(self) -> None:
        """Check that a single frame tells enough."""
        if self.eyes.velocity_sd is None:
            raise OptionError("RawSensing: expected eyes that measure velocities, got a velocity_sd of None")

    def start(self, world: World, ego: Int[Array, ""] | int) -> Beliefs:
        """Return beliefs that know of nobody."""
        return know_nobody(world)

    def update(
        self,
        beliefs: Beliefs,
        world: World,
        ego: Int[Array, ""] | int,
        dt: float | int | Float[Array, ""] = 0.1,
        *,
        key: PRNGKeyArray,
    ) -> Beliefs:
        """Return what is detected now, whatever was believed before.

        Args:
            beliefs: not used.
            world: the traffic now.
            ego: slot of the vehicle with the sensor.
            dt: not used.
            key: noise and dropouts.
        """
        detected, seen = self.eyes.detect(world, ego, key=key)
        dtype = beliefs.mean.dtype
        covariance = seen[:, None, None] * jnp.diag(self.eyes.variances())
        mean = jnp.where(seen[:, None], detected, 0.0)
        return Beliefs(mean.astype(dtype), covariance.astype(dtype), seen, seen)
