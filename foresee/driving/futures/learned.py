"""A forecaster that has learned from recordings, for drivers: what it remembers, and what it foretells."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.driving.forecast import SLOTS, AbstractForecaster, Futures, of_slots
from foresee.driving.futures.encode import BEFORE, Snapshot, from_lane
from foresee.driving.futures.lanes import lane_numbers
from foresee.driving.futures.network import TIMES, Foretold, FutureModel
from foresee.driving.observe import Observation
from foresee.linalg import wrap_angle

NEAREST = 24  # so many vehicles around the ego are told of, and foretold
HARDLY = 0.5  # who moves less between two points of its future points along its lane [m]


class Remembered(NamedTuple):
    """Where everybody was believed to be, newest first; the ego in the last place.

    Attributes:
        x, y: positions [m].
        seen: where anything was known.
    """

    x: Float[Array, "H S"]
    y: Float[Array, "H S"]
    seen: Bool[Array, "H S"]


class Outlook(NamedTuple):
    """What is foretold of the ego's surroundings, and of the ego.

    Attributes:
        futures: of the vehicles in all slots; only the nearest are known.
        own: of the ego: what the recorded drivers would do in its place, as `Futures` of one vehicle.
        foretold: the same in the frames of lanes, nearest vehicles first, the ego last.
        slots: which vehicles these are.
        scene: what the networks were told.
    """

    futures: Futures
    own: Futures
    foretold: Foretold
    slots: Int[Array, " N"]
    scene: Snapshot


class Learned(AbstractForecaster):
    """Foretells by networks that learned from recordings; what they are told is what the driver believes.

    Args:
        model: the networks.
        dt: time between observations [s].
        nearest: so many of the vehicles around the ego are foretold.
    """

    model: FutureModel
    dt: float = eqx.field(static=True, default=0.1)
    nearest: int = eqx.field(static=True, default=NEAREST)

    def start(self) -> Remembered:
        """Return that nothing was seen yet."""
        frames = round(BEFORE[-1] / self.dt) + 1
        nothing = jnp.zeros((frames, SLOTS + 1))
        return Remembered(nothing, nothing, nothing > 0)

    def __call__(self, view: Observation, memory: Remembered) -> tuple[Futures, Remembered]:
        """Return the futures of the nearest vehicles, several each."""
        outlook, memory = self.look(view, memory)
        return outlook.futures, memory

    def look(self, view: Observation, memory: Remembered) -> tuple[Outlook, Remembered]:
        """Return the futures of the nearest vehicles and of the ego, and the new memory."""
        memory = _remember(view, memory)
        slots = of_slots(view, self.nearest)
        scene = self.scene(view, memory, slots)
        foretold = self.model(scene)
        every = on_the_map(scene, foretold)
        count = len(slots)
        own = every.select(jnp.array([count]))
        futures = _scattered(every.select(jnp.arange(count)), slots, view.beliefs.known)
        return Outlook(futures, own, foretold, slots, scene), memory

    def scene(self, view: Observation, memory: Remembered, slots: Int[Array, " N"]) -> Snapshot:
        """Return the vehicles in some slots as the driver believes them to be, and the ego as the last."""
        beliefs, places = view.beliefs, view.places
        mean, covariance = beliefs.mean[slots], beliefs.covariance[slots]
        ego_v = view.speed * jnp.stack([jnp.cos(view.heading), jnp.sin(view.heading)])
        own = jnp.concatenate([jnp.stack([view.x, view.y]), ego_v])
        state = jnp.concatenate([mean, own[None]])
        sds = _root(0.5 * (covariance[:, [0, 2], [0, 2]] + covariance[:, [1, 3], [1, 3]]))
        sds = jnp.concatenate([sds, jnp.zeros((1, 2), sds.dtype)])
        lane = jnp.append(places.lane[slots], view.lane)
        along = jnp.append(places.along[slots], view.along)
        known = jnp.append(beliefs.known[slots], True)
        lags = jnp.asarray([round(before / self.dt) for before in BEFORE])
        # Who sits in a slot beyond memory has no past; its place is that of nobody.
        held = jnp.append(jnp.where(slots < SLOTS, slots, 0), SLOTS)
        remembered = jnp.append(slots < SLOTS, True)
        return Snapshot(
            x=state[:, 0],
            y=state[:, 1],
            vx=state[:, 2],
            vy=state[:, 3],
            before_x=memory.x[lags][:, held],
            before_y=memory.y[lags][:, held],
            before_seen=memory.seen[lags][:, held] & remembered & known,
            position_sd=sds[:, 0],
            velocity_sd=sds[:, 1],
            length=jnp.append(view.lengths[slots], view.length),
            width=jnp.append(view.widths[slots], view.width),
            offset=jnp.append(places.offset[slots], view.offset),
            known=known,
            **lane_numbers(view.road, lane, along),
        )


def _remember(view: Observation, memory: Remembered) -> Remembered:
    """Put what is believed now before what was, and forget the oldest."""
    beliefs, dtype = view.beliefs, memory.x.dtype
    count = min(beliefs.known.shape[0], SLOTS)

    def row(values: Array, own: Array) -> Array:
        padded = jnp.zeros(SLOTS + 1, values.dtype).at[:count].set(values[:count])
        return padded.at[SLOTS].set(own)

    now = (
        row(beliefs.mean[:, 0], view.x).astype(dtype),
        row(beliefs.mean[:, 1], view.y).astype(dtype),
        row(beliefs.known, jnp.asarray(True)),
    )
    return Remembered(*(jnp.concatenate([new[None], old[:-1]]) for new, old in zip(now, memory, strict=True)))


def on_the_map(scene: Snapshot, foretold: Foretold) -> Futures:
    """Return what is foretold along and across lanes as positions on the map, from now on."""
    ways = foretold.ways
    begin = jnp.zeros_like(ways.means[:, :, :1])
    means = jnp.concatenate([begin, ways.means], axis=2)
    x, y, lane = from_lane(scene, means[..., 0], means[..., 1])
    dx, dy = jnp.diff(x, axis=-1), jnp.diff(y, axis=-1)
    moving = dx**2 + dy**2 > HARDLY**2
    between = jnp.arctan2(jnp.where(moving, dy, 0.0), jnp.where(moving, dx, 1.0))
    angle = jnp.where(moving, wrap_angle(between - lane[..., 1:]), 0.0)
    angle = jnp.concatenate([angle[..., :1], angle], axis=-1)
    now = jnp.broadcast_to(scene.position_sd[:, None, None, None], begin.shape)
    sds = jnp.concatenate([now, ways.sds], axis=2)
    times = jnp.asarray((0.0, *TIMES), x.dtype)
    return Futures(times, x, y, lane + angle, sds[..., 0], sds[..., 1], ways.weights, scene.known)


def _scattered(near: Futures, slots: Int[Array, " N"], known: Bool[Array, " V"]) -> Futures:
    """Put the futures of the nearest vehicles into their slots; the others are not known."""
    count = known.shape[0]

    def spread(values: Array) -> Array:
        return jnp.zeros((count, *values.shape[1:]), values.dtype).at[slots].set(values)

    rest = (near.x, near.y, near.heading, near.along_sd, near.across_sd, near.weights, near.known)
    return Futures(near.times, *(spread(values) for values in rest))


def _root(variance: Array) -> Array:
    return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
