"""How the ego sees the others, noisily and not all of the time, and what it believes about them in between.

Which detection belongs to which vehicle is taken as known: every slot of a world has its own belief. Finding
that out is what tracking is about.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.beliefs.gaussian import Gaussian, as_float
from foresee.driving.world import World
from foresee.dynamics.check import check_not_negative, check_positive
from foresee.dynamics.motion import ConstantVelocity
from foresee.dynamics.sensor import Position
from foresee.errors import OptionError
from foresee.filters.kalman import KalmanFilter

SMALLEST = 1e-3  # noise below this counts as this much [m, m/s]: a filter cannot weigh two exact numbers


class Beliefs(eqx.Module):
    """What the ego believes about the vehicle in every slot; a Gaussian each.

    Attributes:
        mean: position and velocity in x and y [m, m/s]; 0 where nothing is known.
        covariance: its covariance.
        known: whether there is a belief about this slot at all.
        seen: whether the vehicle was detected in this frame.
    """

    mean: Float[Array, "*t V 4"]
    covariance: Float[Array, "*t V 4 4"]
    known: Bool[Array, "*t V"]
    seen: Bool[Array, "*t V"]


def truth(world: World) -> Float[Array, "V 4"]:
    """Return true position and velocity in x and y of every vehicle [m, m/s]."""
    along_x, along_y = jnp.cos(world.heading), jnp.sin(world.heading)
    return jnp.stack([world.x, world.y, world.speed * along_x, world.speed * along_y], axis=-1)


def others(world: World, ego: Int[Array, ""] | int) -> Bool[Array, " V"]:
    """Return which slots hold a vehicle that is not the ego."""
    return world.alive & (jnp.arange(world.vehicles) != ego)


def know_exactly(world: World, ego: Int[Array, ""] | int) -> Beliefs:
    """Return the truth about all others, without any doubt."""
    known = others(world, ego)
    mean = jnp.where(known[:, None], truth(world), 0.0)
    return Beliefs(mean, jnp.zeros((*mean.shape, 4), mean.dtype), known, known)


def know_nobody(world: World) -> Beliefs:
    """Return beliefs that know of nobody."""
    dtype, count = world.x.dtype, world.vehicles
    nobody = jnp.zeros(count, bool)
    return Beliefs(jnp.zeros((count, 4), dtype), jnp.zeros((count, 4, 4), dtype), nobody, nobody)


class AbstractSensing(eqx.Module):
    """How the ego sees the others, and what it makes of that."""

    @abstractmethod
    def start(self, world: World, ego: Int[Array, ""] | int) -> Beliefs:
        """Return beliefs from before the first frame, which know of nobody."""

    @abstractmethod
    def update(
        self,
        beliefs: Beliefs,
        world: World,
        ego: Int[Array, ""] | int,
        dt: float | int | Float[Array, ""] = 0.1,
        *,
        key: PRNGKeyArray,
    ) -> Beliefs:
        """Return what is believed after the world was looked at, dt seconds after the frame before."""


class Sensing(AbstractSensing):
    """A sensor on the ego's roof, and the Kalman filter of constant velocity behind it.

    A vehicle within range, not hidden and not dropped out is detected at its position with independent normal
    noise in x and y, and with its velocity where `velocity_sd` is given. A newcomer's velocity is believed to
    be the ego's speed in the direction of the lane where it was detected, give or take `newcomer_sd` along
    and a fifth of it across. A belief is carried on while its vehicle is not detected, with growing doubt,
    and is forgotten once the position's standard deviation in its worst direction exceeds `forget_sd`. That
    nothing was detected where something is believed to be is not held against the belief.

    Args:
        position_sd: standard deviation of a detected position in x and in y [m].
        velocity_sd: that of a detected velocity [m/s]; None: velocities are not measured.
        dropout: probability that a vehicle is not detected in a frame.
        range: distance between centres up to which vehicles are detected [m].
        acceleration_density: how restless vehicles are believed to be, in x and in y [m²/s³].
        newcomer_sd: standard deviation of a newcomer's speed along the lane [m/s].
        forget_sd: doubt about the position at which a belief is given up [m].
        occlusion: whether a vehicle is hidden where the straight line from the ego's centre to its own
            crosses a third one.

    Raises:
        ForeseeError: if a number is negative, or the dropout not a probability.
    """

    position_sd: Float[Array, ""] = eqx.field(converter=as_float, default=0.5)
    velocity_sd: Float[Array, ""] | None = eqx.field(
        converter=lambda value: None if value is None else as_float(value), default=None
    )
    dropout: Float[Array, ""] = eqx.field(converter=as_float, default=0.05)
    range: Float[Array, ""] = eqx.field(converter=as_float, default=100.0)
    acceleration_density: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    newcomer_sd: Float[Array, ""] = eqx.field(converter=as_float, default=8.0)
    forget_sd: Float[Array, ""] = eqx.field(converter=as_float, default=5.0)
    occlusion: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        names = ["position_sd", "dropout", "acceleration_density", "newcomer_sd"]
        check_not_negative(self, *names, *(["velocity_sd"] if self.velocity_sd is not None else []))
        check_positive(self, "range", "forget_sd")
        if not isinstance(self.dropout, Tracer) and (self.dropout > 1).any():
            raise OptionError(f"Sensing: expected a dropout of at most 1, got {self.dropout}")

    def start(self, world: World, ego: Int[Array, ""] | int) -> Beliefs:
        """Return beliefs that know of nobody; what is in the first frame is learnt by its `update`."""
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
        """Carry the beliefs on by dt seconds and correct them by what is detected of the world.

        Args:
            beliefs: those of the frame before.
            world: the traffic now.
            ego: slot of the vehicle with the sensor.
            dt: time since the frame before [s].
            key: noise and dropouts.
        """
        detected, seen = self.detect(world, ego, key=key)
        variances = self.variances()
        motion, sensor = ConstantVelocity(self.acceleration_density), Position(variances, 4)
        kalman = KalmanFilter()

        def carry_on(mean: Array, covariance: Array, detected: Array, seen: Array) -> tuple[Array, Array]:
            belief = kalman.predict(Gaussian(mean, covariance), motion, None, dt)
            belief, _ = kalman.update(belief, sensor, detected, seen)
            return belief.vector(), belief.covariance

        mean, covariance = jax.vmap(carry_on)(beliefs.mean, beliefs.covariance, detected, seen)
        new = seen & ~beliefs.known
        first_mean, first_covariance = self._first(world, ego, detected, variances)
        mean = jnp.where(new[:, None], first_mean, mean)
        covariance = jnp.where(new[:, None, None], first_covariance, covariance)
        known = (beliefs.known | seen) & (worst_sd(covariance) <= self.forget_sd)
        known &= jnp.arange(world.vehicles) != ego
        dtype = beliefs.mean.dtype
        return Beliefs(
            jnp.where(known[:, None], mean, 0.0).astype(dtype),
            jnp.where(known[:, None, None], covariance, 0.0).astype(dtype),
            known,
            seen,
        )

    def detect(
        self, world: World, ego: Int[Array, ""] | int, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "V m"], Bool[Array, " V"]]:
        """Return detected positions, and velocities if they are measured, and whose of them there are."""
        noise_key, drop_key = jax.random.split(key)
        variances = self.variances()
        size = variances.shape[0]
        seen = self.sees(world, ego) & ~jax.random.bernoulli(drop_key, self.dropout, (world.vehicles,))
        noise = jnp.sqrt(variances) * jax.random.normal(noise_key, (world.vehicles, size), variances.dtype)
        return truth(world)[:, :size] + noise, seen

    def sees(self, world: World, ego: Int[Array, ""] | int) -> Bool[Array, " V"]:
        """Return which others are within range and not hidden, so that only a dropout can miss them."""
        distance = jnp.hypot(world.x - world.x[ego], world.y - world.y[ego])
        visible = others(world, ego) & (distance <= self.range)
        return visible & ~hidden(world, ego) if self.occlusion else visible

    def variances(self) -> Float[Array, " m"]:
        """Return the variances of a detection: of the position, and of the velocity if it is measured."""
        position = jnp.maximum(self.position_sd, SMALLEST) ** 2
        if self.velocity_sd is None:
            return jnp.stack([position, position])
        velocity = jnp.maximum(self.velocity_sd, SMALLEST) ** 2
        return jnp.stack([position, position, velocity, velocity])

    def _first(
        self,
        world: World,
        ego: Int[Array, ""] | int,
        detected: Float[Array, "V m"],
        noise: Float[Array, " m"],
    ) -> tuple[Float[Array, "V 4"], Float[Array, "V 4 4"]]:
        """Return what is believed of newcomers: where they were detected, moving about like the ego."""
        # The simulator's arc length only tells the search where on the lane to begin.
        along, _ = world.road.track(detected[:, 0], detected[:, 1], world.lane, world.along)
        heading = world.road.at(world.lane, along).heading
        forward = jnp.stack([jnp.cos(heading), jnp.sin(heading)], axis=-1)
        side = jnp.stack([-forward[:, 1], forward[:, 0]], axis=-1)
        spread = jnp.maximum(self.newcomer_sd, SMALLEST) ** 2
        velocity = spread * (_outer(forward) + 0.04 * _outer(side))
        mean = world.speed[ego] * forward
        covariance = jnp.zeros((world.vehicles, 4, 4), detected.dtype)
        covariance = covariance.at[:, 0, 0].set(noise[0]).at[:, 1, 1].set(noise[1])
        if detected.shape[1] == 4:
            # Prior and measurement of the velocity together, by the information form of two dimensions.
            measured = noise[2] * jnp.eye(2, dtype=noise.dtype)
            gain = jnp.einsum("vij,vjk->vik", velocity, _inverse(velocity + measured))
            mean = mean + jnp.einsum("vij,vj->vi", gain, detected[:, 2:] - mean)
            velocity = velocity - jnp.einsum("vij,vjk->vik", gain, velocity)
            velocity = 0.5 * (velocity + jnp.swapaxes(velocity, 1, 2))
        covariance = covariance.at[:, 2:, 2:].set(velocity)
        return jnp.concatenate([detected[:, :2], mean], axis=-1), covariance


def _outer(vectors: Float[Array, "V 2"]) -> Float[Array, "V 2 2"]:
    return vectors[:, :, None] * vectors[:, None, :]


def _inverse(matrices: Float[Array, "V 2 2"]) -> Float[Array, "V 2 2"]:
    a, b, c = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 1]
    rows = jnp.stack([jnp.stack([c, -b], axis=-1), jnp.stack([-b, a], axis=-1)], axis=-2)
    return rows / (a * c - b * b)[:, None, None]


def worst_sd(covariance: Float[Array, "*v 4 4"]) -> Float[Array, "*v"]:
    """Return the standard deviation of the position in the direction in which it is largest [m]."""
    xx, xy, yy = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    apart = jnp.hypot(0.5 * (xx - yy), xy)
    return jnp.sqrt(jnp.maximum(0.5 * (xx + yy) + apart, 0.0))


def hidden(world: World, ego: Int[Array, ""] | int) -> Bool[Array, " V"]:
    """Return whose centre cannot be seen from the ego's, because a third vehicle is on the line between.

    The line is cut with every box in the box's own frame (the slab method).
    """
    blocking = others(world, ego)
    c, s = jnp.cos(world.heading), jnp.sin(world.heading)

    def turned(x: Array, y: Array) -> tuple[Array, Array]:
        """Positions seen from every box: rows are positions, columns boxes."""
        dx, dy = x[..., None] - world.x, y[..., None] - world.y
        return c * dx + s * dy, c * dy - s * dx

    eye, target = turned(world.x[ego], world.y[ego]), turned(world.x, world.y)
    enter, leave = jnp.zeros(()), jnp.ones(())
    for start, end, half in zip(eye, target, (0.5 * world.length, 0.5 * world.width), strict=True):
        step = end - start
        step = jnp.where(jnp.abs(step) < 1e-9, 1e-9, step)
        low, high = (-half - start) / step, (half - start) / step
        enter = jnp.maximum(enter, jnp.minimum(low, high))
        leave = jnp.minimum(leave, jnp.maximum(low, high))
    cut = (enter < leave) & blocking & ~jnp.eye(world.vehicles, dtype=bool)
    return cut.any(axis=1)
