"""Forecasts by filters: what was seen so far is filtered as the motion of a point, which is then carried on.

Tracks are filtered in coordinates that begin where each of them does, x in the direction in which it sets
out, so that the noise along and across can differ. Parameters are chosen by how likely they make what
followed, up to the horizon, rather than the next frame: the model that tells the next frame best is far too
sure of what comes seconds later.
"""

import abc
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from foresee.beliefs import Gaussian
from foresee.beliefs.gaussian import as_float
from foresee.driving.estimate import starting_beliefs
from foresee.driving.forecast import Futures
from foresee.driving.futures.windows import Windows
from foresee.driving.states import States
from foresee.dynamics.linear import AbstractLinear, LinearGaussian
from foresee.dynamics.motion import ConstantVelocity, SingerAcceleration
from foresee.errors import RecordingError
from foresee.filters import InteractingMultipleModel, KalmanFilter, run

STEPS, RATE = 80, 0.1  # of fitting the parameters
TRACKS = 160  # tracks that these are fitted to, at most
LEAST_SPEED = 0.5  # the direction of who is slower is that in which its track set out [m/s]
FORGOTTEN = 1e-4  # variance of the acceleration while there is none [m²/s⁴]


class Coasting(AbstractLinear):
    """Constant velocity as a mode beside models with an acceleration, which it forgets.

    State [x, y, vx, vy, ax, ay].

    Args:
        density: spectral density of the acceleration along each axis [m²/s³].
    """

    density: Float[Array, "2"] = eqx.field(converter=as_float)

    def linear(self, u: Any = None, dt: Any = 1.0) -> LinearGaussian:
        """Return the matrices for a duration of `dt` seconds."""
        model = ConstantVelocity(self.density).linear(u, dt)
        covariance = jnp.diag(jnp.full(6, FORGOTTEN, model.covariance.dtype)).at[:4, :4].set(model.covariance)
        return LinearGaussian(jnp.pad(model.matrix, ((0, 2), (0, 2))), covariance)

    def __call__(self, x: Float[Array, "6"], u: Any = None, dt: Any = 1.0) -> Any:
        """Return the belief about the state after `dt` seconds."""
        return self.linear(u, dt)(x)


class AbstractPointModel(eqx.Module):
    """How points move and are seen; all leaves are positive numbers that are fitted."""

    @abc.abstractmethod
    def parts(self) -> tuple[Any, Any, LinearGaussian]:
        """Return filter, motion and sensor; the state begins with x, y, vx, vy."""


Model = TypeVar("Model", bound=AbstractPointModel)


class Straight(AbstractPointModel):
    """A Kalman filter with constant velocity.

    Attributes:
        sensor_sd: standard deviation of positions, along and across [m].
        density: spectral density of the acceleration, along and across [m²/s³].
    """

    sensor_sd: Float[Array, "2"] = eqx.field(converter=as_float, default=(0.05, 0.1))
    density: Float[Array, "2"] = eqx.field(converter=as_float, default=(1.5, 0.05))

    def parts(self) -> tuple[Any, Any, LinearGaussian]:
        """Return filter, motion and sensor."""
        return KalmanFilter(), ConstantVelocity(self.density), _sensor(self.sensor_sd, 4)


class Switching(AbstractPointModel):
    """An interacting multiple model filter that switches between constant velocity and an acceleration.

    Attributes:
        sensor_sd: standard deviation of positions, along and across [m].
        density: spectral density of the acceleration at constant velocity, along and across [m²/s³].
        jerk_density: spectral density of the jerk otherwise, along and across [m²/s⁵].
        time: how long an acceleration lasts [s].
        rates: switches from constant velocity, and back to it [1/s].
    """

    sensor_sd: Float[Array, "2"] = eqx.field(converter=as_float, default=(0.05, 0.1))
    density: Float[Array, "2"] = eqx.field(converter=as_float, default=(1.0, 0.05))
    jerk_density: Float[Array, "2"] = eqx.field(converter=as_float, default=(5.0, 0.02))
    time: Float[Array, ""] = eqx.field(converter=as_float, default=3.0)
    rates: Float[Array, "2"] = eqx.field(converter=as_float, default=(0.02, 1.0))

    def parts(self) -> tuple[Any, Any, LinearGaussian]:
        """Return filter, motions and sensor."""
        zero = jnp.zeros((), self.rates.dtype)
        rates = jnp.stack([jnp.stack([zero, self.rates[0]]), jnp.stack([self.rates[1], zero])])
        motions = (Coasting(self.density), SingerAcceleration(self.jerk_density, self.time))
        return InteractingMultipleModel(KalmanFilter(), rates=rates), motions, _sensor(self.sensor_sd, 6)


def _sensor(sd: Array, size: int) -> LinearGaussian:
    return LinearGaussian(jnp.eye(2, size, dtype=sd.dtype), jnp.diag(sd**2))


class _Tracks(NamedTuple):
    """Tracks in their own coordinates, and which place of the windows is which row of them."""

    positions: Float[np.ndarray, "N L 2"]
    seen: Bool[np.ndarray, "N L"]
    speed: Float[np.ndarray, " N"]
    begin: Float[np.ndarray, "N 3"]
    window: Int[np.ndarray, " A"]
    slot: Int[np.ndarray, " A"]
    track: Int[np.ndarray, " A"]
    row: Int[np.ndarray, " A"]


def filter_forecasts(model: AbstractPointModel, states: States, windows: Windows) -> Futures:
    """Return the futures that a filter foresees for everybody who is there: one each, with its doubt.

    Args:
        model: how points move and are seen; `fit_filter` tunes it.
        states: what the windows were made of; the recorded positions up to each window are looked at.
        windows: when to forecast from.
    """
    tracks = _tracks(states, windows, windows.known)
    means, covariances = (np.asarray(each) for each in _foreseen(model, *_arrays(tracks, states, windows)))
    way = means[..., 2:4]
    slow = np.hypot(way[..., 0], way[..., 1]) < LEAST_SPEED
    direction = np.where(slow, 0.0, np.arctan2(way[..., 1], way[..., 0]))
    along, across = _spread(covariances, direction)
    heading = direction + tracks.begin[tracks.track, 2, None]
    x, y = _on_map(means[..., :2], tracks, windows)
    if states.recording.reference == "front":
        half = 0.5 * windows.length[tracks.window, tracks.slot, None]
        x, y = x - half * np.cos(heading), y - half * np.sin(heading)
    shape = (*windows.row.shape, 1, len(windows.ahead))
    leaves = []
    for values in (x, y, heading, along, across):
        leaf = np.full(shape, 1.0 if values is along or values is across else 0.0, np.float32)
        leaf[tracks.window, tracks.slot, 0] = values
        leaves.append(jnp.asarray(leaf))
    weights, times = jnp.ones(shape[:3]), jnp.asarray(windows.ahead, float)
    return Futures(times, *leaves, weights=weights, known=jnp.asarray(windows.known))


def fit_filter(model: Model, states: States, windows: Windows, *, seed: int = 0) -> Model:
    """Return the model with parameters under which the positions that followed are most likely.

    It is the sum of the log densities at all times of the future, for vehicles that count.

    Args:
        model: where to start.
        states: what the windows were made of.
        windows: the windows to learn from.
        seed: chooses the tracks, if there are more than are needed.

    Raises:
        RecordingError: if nothing followed that counts.
    """
    if not windows.scored.any():
        raise RecordingError("expected at least one vehicle that counts to fit a filter to, got none")
    rows = np.unique(windows.row[windows.counted])
    rows = np.random.default_rng(seed).permutation(rows)[:TRACKS]
    tracks = _tracks(states, windows, windows.counted & np.isin(windows.row, rows))
    there = windows.future_there[tracks.window, tracks.slot]
    truth = _off_map(windows.future[tracks.window, tracks.slot], states, tracks, windows)
    return _fitted(model, _arrays(tracks, states, windows), jnp.asarray(truth), jnp.asarray(there))


@eqx.filter_jit
def _fitted(model, arrays: tuple, truth: Array, there: Array) -> Any:
    def loss(logs: Any) -> Array:
        means, covariances = _foreseen(jax.tree.map(jnp.exp, logs), *arrays)
        apart, spread = truth - means[..., :2], covariances
        xx, xy, yy = spread[..., 0, 0], spread[..., 0, 1], spread[..., 1, 1]
        determinant = xx * yy - xy**2
        square = yy * apart[..., 0] ** 2 - 2 * xy * apart[..., 0] * apart[..., 1] + xx * apart[..., 1] ** 2
        terms = 0.5 * square / determinant + 0.5 * jnp.log(determinant)
        return jnp.sum(jnp.where(there, terms, 0.0)) / jnp.sum(there)

    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, STEPS, alpha=0.1))

    def improve(state: tuple, _: None) -> tuple[tuple, None]:
        logs, memory = state
        change, memory = optimizer.update(jax.grad(loss)(logs), memory)
        return (optax.apply_updates(logs, change), memory), None

    start = jax.tree.map(jnp.log, model)
    (logs, _), _ = jax.lax.scan(improve, (start, optimizer.init(start)), None, STEPS)
    return jax.tree.map(jnp.exp, logs)


@eqx.filter_jit
def _foreseen(model, positions, seen, speed, track, row, dt, times) -> tuple[Array, Array]:
    """Return mean states [A T n] and covariances of positions [A T 2 2] in every track's own coordinates."""
    filter, motion, sensor = model.parts()
    size = sensor.matrix.shape[1]

    def follow(values: Array, flags: Array, speed: Array) -> Any:
        mean = jnp.zeros(size, values.dtype).at[2].set(speed)
        spread = jnp.asarray([1.0, 1.0, 2.0, 1.0, 1.0, 0.3][:size], values.dtype)
        prior = Gaussian(mean, jnp.diag(spread**2))
        return run(filter, motion, sensor, prior, values, seen=flags, dt=dt, predict_first=False).filtered

    filtered = jax.vmap(follow)(positions, seen, speed)
    now = jax.tree.map(lambda leaf: leaf[track, row], filtered)

    def ahead(belief: Any) -> tuple[Array, Array]:
        def on(belief: Any, duration: Array) -> tuple[Any, tuple[Array, Array]]:
            belief = filter.predict(belief, motion, None, duration)
            single = belief if isinstance(belief, Gaussian) else belief.moments()
            return belief, (single.vector(), single.covariance[:2, :2])

        return jax.lax.scan(on, belief, jnp.diff(times, prepend=jnp.zeros(1, times.dtype)))[1]

    return jax.vmap(ahead)(now)


def _tracks(states: States, windows: Windows, wanted: Bool[np.ndarray, "W V"]) -> _Tracks:
    """Return the tracks of the wanted places of the windows."""
    window, slot = np.nonzero(wanted)
    rows, track = np.unique(windows.row[window, slot], return_inverse=True)
    tracks, rate = states.tracks, states.recording.frame_rate
    begin, _ = starting_beliefs(tracks, rate)
    begin = begin[rows]
    dx, dy = tracks.x[rows] - begin[:, :1], tracks.y[rows] - begin[:, 1:2]
    c, s = np.cos(begin[:, 2:3]), np.sin(begin[:, 2:3])
    seen = tracks.seen[rows]
    own = np.where(seen[..., None], np.stack([c * dx + s * dy, c * dy - s * dx], -1), 0.0)
    row = windows.frame[window] - tracks.first[rows][track]
    return _Tracks(own, seen, begin[:, 3], begin[:, :3], window, slot, track, row)


def _arrays(tracks: _Tracks, states: States, windows: Windows) -> tuple:
    """Return what the filter runs on."""
    numbers = (jnp.asarray(each, float) for each in (tracks.positions, tracks.seen, tracks.speed))
    positions, seen, speed = numbers
    times, dt = jnp.asarray(windows.ahead, float), jnp.asarray(1 / states.recording.frame_rate, float)
    return positions, seen > 0, speed, jnp.asarray(tracks.track), jnp.asarray(tracks.row), dt, times


def _on_map(own: np.ndarray, tracks: _Tracks, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Turn positions in the tracks' own coordinates into those of the windows."""
    begin = tracks.begin[tracks.track][:, None]
    origin = windows.origin[windows.scene[tracks.window]][:, None]
    c, s = np.cos(begin[..., 2]), np.sin(begin[..., 2])
    x = begin[..., 0] - origin[..., 0] + c * own[..., 0] - s * own[..., 1]
    return x, begin[..., 1] - origin[..., 1] + s * own[..., 0] + c * own[..., 1]


def _off_map(future: np.ndarray, states: States, tracks: _Tracks, windows: Windows) -> np.ndarray:
    """Turn what followed into positions in the tracks' own coordinates, of the point that was recorded."""
    begin = tracks.begin[tracks.track][:, None]
    origin = windows.origin[windows.scene[tracks.window]][:, None]
    front = states.recording.reference == "front"
    half = 0.5 * windows.length[tracks.window, tracks.slot, None] if front else 0.0
    dx = future[..., 0] + half * np.cos(future[..., 2]) + origin[..., 0] - begin[..., 0]
    dy = future[..., 1] + half * np.sin(future[..., 2]) + origin[..., 1] - begin[..., 1]
    c, s = np.cos(begin[..., 2]), np.sin(begin[..., 2])
    return np.stack([c * dx + s * dy, c * dy - s * dx], -1).astype(np.float32)


def _spread(covariances: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return standard deviations along and across a direction."""
    c, s = np.cos(direction), np.sin(direction)
    xx, xy, yy = covariances[..., 0, 0], covariances[..., 0, 1], covariances[..., 1, 1]
    along = c**2 * xx + 2 * c * s * xy + s**2 * yy
    across = s**2 * xx - 2 * c * s * xy + c**2 * yy
    return np.sqrt(np.maximum(along, 0.0)), np.sqrt(np.maximum(across, 0.0))
