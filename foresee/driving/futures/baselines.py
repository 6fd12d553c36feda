"""Forecasts without learning: straight on, with noise tuned on recorded traffic, and following in lane.

Each takes windows, of which it looks at the past alone, and returns the futures of all slots of all windows,
leaves with the axes W and V. What a learned forecaster is worth is what it gains over the best of these.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.forecast import Futures
from foresee.driving.futures.windows import Windows
from foresee.driving.reactive import drive
from foresee.driving.road import Road
from foresee.driving.scenario import Scenarios
from foresee.driving.world import Limits, Manners, World, step
from foresee.errors import RecordingError

FRAME = 0.1  # step of the traffic that is rolled forward [s]
AT_ONCE = 8  # windows rolled forward at a time
STEPS, RATE = 200, 0.05  # of fitting the noise
SPARE = 1.05  # one wants to drive at least so many times one's own speed
Errors = Float[np.ndarray, "W V T 2"]


class Noise(eqx.Module):
    """How the doubt about a forecast grows, along and across the direction of travel.

    The variance after a time t is position² + speed² t² + density t³ / 3: what was not known at the
    beginning, and a white noise of acceleration.

    Attributes:
        position: standard deviation of the position at the beginning [m].
        speed: standard deviation of the velocity at the beginning [m/s].
        density: spectral density of the acceleration [m²/s³].
    """

    position: Float[Array, "2"] = eqx.field(converter=as_float)
    speed: Float[Array, "2"] = eqx.field(converter=as_float)
    density: Float[Array, "2"] = eqx.field(converter=as_float)

    def variance(self, times: Float[Array, " T"]) -> Float[Array, "T 2"]:
        """Return the variances of the position after some times [m²]."""
        t = times[:, None]
        return self.position**2 + self.speed**2 * t**2 + self.density * t**3 / 3

    def covariance(self, times: Float[Array, " T"]) -> Float[Array, "2 T T"]:
        """Return the covariances of the positions at some times with each other [m²]."""
        early = jnp.minimum(times[:, None], times)
        late = jnp.maximum(times[:, None], times)
        walk = early**2 * (3 * late - early) / 6
        position, speed, density = (each[:, None, None] for each in (self.position, self.speed, self.density))
        return position**2 + speed**2 * early * late + density * walk


def constant_velocity(windows: Windows, noise: Noise | None = None) -> Futures:
    """Everybody goes straight on at its speed.

    Args:
        windows: the past.
        noise: the doubt; None: there is none.
    """
    times = jnp.asarray(windows.ahead, float)
    x, y, heading, speed = (jnp.asarray(windows.past[..., 0, i])[..., None] for i in range(4))
    x, y = x + speed * jnp.cos(heading) * times, y + speed * jnp.sin(heading) * times
    return with_noise(x, y, jnp.broadcast_to(heading, x.shape), windows, noise)


def with_noise(x: Array, y: Array, heading: Array, windows: Windows, noise: Noise | None) -> Futures:
    """Return futures along single ways [W V T] with the same doubt about everybody."""
    times = jnp.asarray(windows.ahead, float)
    variance = jnp.zeros((len(times), 2)) if noise is None else noise.variance(times)
    along, across = (jnp.broadcast_to(jnp.sqrt(variance[:, i]), x.shape) for i in (0, 1))
    weights = jnp.ones((*x.shape[:2], 1), x.dtype)
    ways = [leaf[:, :, None] for leaf in (x, y, heading, along, across)]
    return Futures(times, *ways, weights=weights, known=jnp.asarray(windows.known))


def constant_velocity_samples(
    windows: Windows, noise: Noise, *, count: int = 6, key: PRNGKeyArray
) -> Futures:
    """Draw equally likely futures of going straight on with a white noise of acceleration.

    Args:
        windows: the past.
        noise: how much; `fit_noise` tunes it.
        count: how many futures of everybody.
        key: the randomness.
    """
    mean = constant_velocity(windows)
    factor = jnp.linalg.cholesky(noise.covariance(mean.times) + 1e-9 * jnp.eye(len(mean.times)))
    shape = (*mean.x.shape[:2], count, len(mean.times), 2)
    error = jnp.einsum("itj,wvkji->wvkti", factor, jax.random.normal(key, shape, mean.x.dtype))
    c, s = jnp.cos(mean.heading), jnp.sin(mean.heading)
    x = mean.x + c * error[..., 0] - s * error[..., 1]
    y = mean.y + s * error[..., 0] + c * error[..., 1]
    zero = jnp.zeros_like(x)
    weights = jnp.full(x.shape[:3], 1.0 / count, x.dtype)
    return Futures(mean.times, x, y, jnp.broadcast_to(mean.heading, x.shape), zero, zero, weights, mean.known)


def fit_noise(futures: Futures, windows: Windows) -> Noise:
    """Return the noise under which what followed is most likely, given single futures of everybody.

    It is the sum over all times of the log density of the position at that time. The likelihood of whole ways
    would choose a noise that explains how they wiggle, and be too sure of where they lead.

    Args:
        futures: forecasts of the windows to learn from, one way each.
        windows: what followed.

    Raises:
        RecordingError: if nothing followed that counts.
    """
    counted = windows.scored
    if not counted.any():
        raise RecordingError("expected at least one vehicle that counts to fit the noise to, got none")
    errors, there = errors_of(futures, windows)[counted], np.nonzero(counted)[-1]
    square = jnp.stack(
        [jnp.asarray(np.bincount(there, errors[:, i] ** 2, len(windows.ahead))) for i in (0, 1)], -1
    )
    number = jnp.asarray(np.bincount(there, minlength=len(windows.ahead)), float)
    times = jnp.asarray(windows.ahead, float)

    def loss(logs: Float[Array, "3 2"]) -> Array:
        variance = Noise(*jnp.exp(logs)).variance(times)
        terms = square / variance + number[:, None] * jnp.log(variance)
        return 0.5 * jnp.sum(terms) / jnp.sum(number)

    optimizer = optax.adam(RATE)

    def improve(state: tuple, _: None) -> tuple[tuple, None]:
        logs, memory = state
        change, memory = optimizer.update(jax.grad(loss)(logs), memory)
        return (optax.apply_updates(logs, change), memory), None

    start = jnp.log(jnp.asarray([[0.2, 0.2], [0.5, 0.2], [1.0, 0.1]]))
    (logs, _), _ = jax.lax.scan(improve, (start, optimizer.init(start)), None, STEPS)
    return Noise(*jnp.exp(logs))


def errors_of(futures: Futures, windows: Windows) -> Errors:
    """Return how far the truth is from single futures, along and across their direction [m]."""
    x, y, heading = (np.asarray(leaf)[:, :, 0] for leaf in (futures.x, futures.y, futures.heading))
    dx, dy = windows.future[..., 0] - x, windows.future[..., 1] - y
    c, s = np.cos(heading), np.sin(heading)
    return np.stack([c * dx + s * dy, c * dy - s * dx], -1)


def typical_manners(scenarios: Scenarios) -> Manners:
    """Return the manners of the driver in the middle, of every number by itself, of recorded traffic."""
    there = np.asarray(scenarios.scenario.record.present).any(axis=1)
    return jax.tree.map(lambda leaf: jnp.median(leaf[there], keepdims=True), scenarios.scenario.world.manners)


def idm_in_lane(windows: Windows, manners: Manners, noise: Noise | None = None) -> Futures:
    """Everybody follows the one ahead and keeps to its lane, all rolled forward together.

    Args:
        windows: the past.
        manners: of everybody, one number each; the desired speed is at least 1.05 times one's own speed.
            These may be learned from other recordings (`typical_manners`) or be `usual_manners(1)`.
        noise: the doubt; None: there is none.
    """
    ends = tuple(int(each) for each in np.round(windows.ahead / FRAME))
    parts = []
    for start in range(0, len(windows), AT_ONCE):
        chosen = np.minimum(np.arange(start, start + AT_ONCE), len(windows) - 1)
        now = windows.select(chosen)
        state = tuple(jnp.asarray(now.past[:, :, 0, i], float) for i in range(5))
        size = tuple(jnp.asarray(each, float) for each in (now.length, now.width))
        place = (jnp.asarray(now.lane), jnp.asarray(now.along, float), jnp.asarray(now.offset, float))
        part = _rolled(windows.roads, manners, jnp.asarray(now.scene), state, size, place, now.known, ends)
        parts.append(np.asarray(part)[: len(windows) - start])
    x, y, heading = (jnp.asarray(each) for each in np.moveaxis(np.concatenate(parts), -1, 0))
    return with_noise(x, y, heading, windows, noise)


@eqx.filter_jit
def _rolled(roads, manners, scenes, states, sizes, places, known, ends) -> Float[Array, "W V T 3"]:
    def one(scene, state, size, place, there):
        road = jax.tree.map(lambda leaf: leaf[scene], roads)
        world = _world(road, manners, state, size, place, there)

        def forward(world: World, _: None) -> tuple[World, Array]:
            after = step(world, drive(world, dt=FRAME)[1], FRAME)
            # Who has left the road goes straight on, unseen.
            c, s = jnp.cos(world.heading), jnp.sin(world.heading)
            x = jnp.where(after.alive, after.x, world.x + world.speed * c * FRAME)
            y = jnp.where(after.alive, after.y, world.y + world.speed * s * FRAME)
            after = replace(after, x=x, y=y)
            return after, jnp.stack([x, y, after.heading], -1)

        frames = jax.lax.scan(forward, world, None, max(ends))[1]
        return jnp.moveaxis(frames[jnp.asarray(ends) - 1], 0, 1)

    return jax.vmap(one)(scenes, states, sizes, places, known)


def _world(road: Road, manners: Manners, state, size, place, there) -> World:
    """Return the traffic of one window, with everybody on its lane for good."""
    x, y, heading, speed, acceleration = state
    zero = jnp.zeros_like(x)
    spread = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, zero.shape).astype(zero.dtype), manners)
    spread = replace(spread, desired_speed=jnp.maximum(spread.desired_speed, SPARE * speed))
    length, width = size
    lane, along, offset = place
    return World(
        x, y, heading, speed, acceleration, zero, length, width, there, lane, along, offset, lane,
        zero + 100.0, jnp.zeros(zero.shape, jnp.int32), spread, road, Limits(), jnp.zeros((), zero.dtype),
    )  # fmt: skip
