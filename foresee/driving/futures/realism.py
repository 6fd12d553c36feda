"""How like the recorded traffic a simulated one is: the likelihood of what happened under the simulations.

The terms, their bins and their weights are those of the Waymo Open Sim Agents Challenge (Montali et al. 2023,
"The Waymo Open Sim Agents Challenge", section 4; weights of 2024). Differences from it: the distance of two
vehicles is that of their boxes along the axes of their sides, the time to collision is that of two boxes
which keep their velocities, whichever way they meet, and the edge of the road is that of the drivable area.

Scores depend on the number of simulations and on the time between positions, so only those with equal ones
can be compared; even the record itself, as the only simulation, does not come to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from foresee.driving.contact import time_to_contact
from foresee.driving.forecast import Futures
from foresee.driving.futures.windows import Windows
from foresee.driving.on_road import standing
from foresee.driving.overlap import separation
from foresee.driving.road import Road
from foresee.driving.steering import half_body
from foresee.errors import OptionError
from foresee.linalg import wrap_angle

FAR = 1e3  # distance to nobody [m]
SMOOTHING, SMOOTHING_OF_FLAGS = 0.1, 0.001  # added to every count


class Term(NamedTuple):
    """One thing that is compared: range and number of its bins, none for flags, and its weight."""

    low: float
    high: float
    bins: int
    weight: float


TERMS = {
    "linear_speed": Term(0.0, 25.0, 10, 0.05),
    "linear_acceleration": Term(-12.0, 12.0, 11, 0.05),
    "angular_speed": Term(-0.628, 0.628, 11, 0.05),
    "angular_acceleration": Term(-3.14, 3.14, 11, 0.05),
    "distance_to_nearest_object": Term(-5.0, 40.0, 10, 0.10),
    "collision_indication": Term(0.0, 1.0, 0, 0.25),
    "time_to_collision": Term(0.0, 5.0, 10, 0.10),
    "distance_to_road_edge": Term(-20.0, 40.0, 10, 0.10),
    "offroad_indication": Term(0.0, 1.0, 0, 0.25),
}


class Paths(eqx.Module):
    """Where the vehicles of a scene were at T times of equal distance.

    Attributes:
        x, y: position of the centre [m].
        heading: direction [rad].
    """

    x: Float[Array, "*b V T"]
    y: Float[Array, "*b V T"]
    heading: Float[Array, "*b V T"]


@dataclass(frozen=True)
class Realism:
    """Scores between 0 and 1 of simulated traffic; 1 would be to foresee everything for sure.

    Attributes:
        terms: the geometric mean of the likelihoods, by the names in `TERMS`.
        meta: their weighted mean.
    """

    terms: dict[str, float]
    meta: float


def realism(
    simulated: Paths,
    recorded: Paths,
    there: Bool[Array, "V T"],
    length: Float[Array, " V"],
    width: Float[Array, " V"],
    road: Road,
    *,
    dt: float | int,
    scored: Bool[Array, " V"] | None = None,
) -> Realism:
    """Compare R simulations of one scene with what was recorded of it.

    Args:
        simulated: leaves with the axes R, V and T.
        recorded: leaves with the axes V and T.
        there: when which vehicle was recorded; at other times it is nobody's neighbour.
        length: of every vehicle [m].
        width: of every vehicle [m].
        road: the lanes.
        dt: time between two positions [s].
        scored: whose behaviour is compared; None: everybody's.

    Raises:
        OptionError: if there are fewer than five times, or nobody is scored.
    """
    if there.shape[-1] < 5:
        raise OptionError(f"expected at least 5 times to tell accelerations from, got {there.shape[-1]}")
    counted = there if scored is None else there & jnp.asarray(scored)[:, None]
    if not bool(counted.any()):
        raise OptionError("expected at least one vehicle to compare, got none")
    real, valid = features(recorded, there, length, width, road, dt)
    drawn = _drawn(simulated, there, length, width, road, dt)
    terms = {}
    for name, term in TERMS.items():
        use = np.asarray(valid[name] & counted)
        logs = _log_likelihood(np.asarray(drawn[name], float), np.asarray(real[name], float), use, term)
        terms[name] = float(np.exp(logs.mean())) if len(logs) else float("nan")
    return Realism(terms, _meta(terms))


def paths_of_window(
    futures: Futures, windows: Windows, number: int
) -> tuple[Paths, Paths, Bool[Array, "V T"], Bool[Array, " V"]]:
    """Return the futures of one window as simulations from now on, what was recorded, when, and who counts.

    Args:
        futures: at the windows' times, leaves with the axes W and V; the ways of all vehicles with one number
            are taken as one simulation, and all as equally likely.
        windows: what they are forecasts of.
        number: of the window.
    """
    now, later = windows.past[number, :, :1, :3], windows.future[number, :, :, :3]
    recorded = np.moveaxis(np.concatenate([now, later], axis=1), -1, 0)
    there = np.concatenate([windows.past_there[number, :, :1], windows.future_there[number]], axis=1)
    ways = [jnp.swapaxes(leaf[number], 0, 1) for leaf in (futures.x, futures.y, futures.heading)]
    begin = [
        jnp.broadcast_to(values[None, :, :1], (len(ways[0]), *values[:, :1].shape)) for values in recorded
    ]
    drawn = (jnp.concatenate([first, way], axis=-1) for first, way in zip(begin, ways, strict=True))
    return (
        Paths(*drawn),
        Paths(*map(jnp.asarray, recorded)),
        jnp.asarray(there),
        jnp.asarray(windows.counted[number]),
    )


def mean_realism(parts: Sequence[Realism]) -> Realism:
    """Return the mean over scenes; a term that a scene has nothing to say of is left out there.

    Raises:
        OptionError: if there are none.
    """
    if not parts:
        raise OptionError("expected the realism of at least one scene, got none")
    table = {name: np.array([part.terms[name] for part in parts]) for name in TERMS}
    known = {name: values[np.isfinite(values)] for name, values in table.items()}
    terms = {name: float(values.mean()) if len(values) else float("nan") for name, values in known.items()}
    return Realism(terms, _meta(terms))


def _meta(terms: dict[str, float]) -> float:
    known = [name for name in TERMS if np.isfinite(terms[name])]
    return sum(TERMS[name].weight * terms[name] for name in known) / sum(TERMS[name].weight for name in known)


@eqx.filter_jit
def _drawn(simulated: Paths, there, length, width, road, dt) -> dict[str, Array]:
    # One simulation after the other: the places on the road of all at once would take much memory.
    return jax.lax.map(lambda one: features(one, there, length, width, road, dt)[0], simulated)


@eqx.filter_jit
def features(
    paths: Paths,
    there: Bool[Array, "V T"],
    length: Float[Array, " V"],
    width: Float[Array, " V"],
    road: Road,
    dt: float | int | Float[Array, ""],
) -> tuple[dict[str, Float[Array, "V T"]], dict[str, Bool[Array, "V T"]]]:
    """Return what is compared, by the names in `TERMS`, and when it is known.

    Speeds and accelerations are central differences. The distance to the edge of the road is that of the
    farthest corner, negative inside [m].
    """
    vx, around = _difference(paths.x, there, dt)
    vy, _ = _difference(paths.y, there, dt)
    square = vx**2 + vy**2
    speed = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    acceleration, far_around = _difference(speed, around, dt)
    turn, _ = _difference(paths.heading, there, dt, circular=True)
    turn_rate, _ = _difference(turn, around, dt)
    values: dict[str, Array] = {
        "linear_speed": speed,
        "linear_acceleration": acceleration,
        "angular_speed": turn,
        "angular_acceleration": turn_rate,
    }
    valid = dict(zip(values, (around, far_around, around, far_around), strict=True))
    nearest, contact = _others(paths, speed, there, length, width)
    edge = _edge(paths, length, width, road)
    values |= {
        "distance_to_nearest_object": nearest,
        "collision_indication": (nearest < 0).astype(speed.dtype),
        "time_to_collision": contact,
        "distance_to_road_edge": edge,
        "offroad_indication": (edge > 0).astype(speed.dtype),
    }
    valid |= {name: there for name in values if name not in valid} | {"time_to_collision": around}
    return values, valid


def _difference(
    values: Array, there: Array, dt: float | int | Array, *, circular: bool = False
) -> tuple[Array, Array]:
    """Return central differences by time, 0 at both ends, and where they are known."""
    change = values[:, 2:] - values[:, :-2]
    change = wrap_angle(change) if circular else change
    known = there[:, 2:] & there[:, 1:-1] & there[:, :-2]
    return jnp.pad(change / (2 * dt), ((0, 0), (1, 1))), jnp.pad(known, ((0, 0), (1, 1)))


def _others(paths: Paths, speed: Array, there: Array, length: Array, width: Array) -> tuple[Array, Array]:
    """Return the distance to the nearest vehicle, and the time to the first contact with any."""

    def at(x: Array, y: Array, heading: Array, speed: Array, there: Array) -> tuple[Array, Array]:
        box = (x, y, heading, length, width)
        one, other = (tuple(leaf[:, None] for leaf in box), tuple(leaf[None] for leaf in box))
        pairs = there[None] & there[:, None] & ~jnp.eye(len(x), dtype=bool)
        apart = separation(one, other)  # pyright: ignore[reportArgumentType]
        until = time_to_contact(one, other, speed[:, None], speed[None])  # pyright: ignore[reportArgumentType]
        return jnp.where(pairs, apart, FAR).min(axis=1), jnp.where(pairs, until, FAR).min(axis=1)

    return jax.vmap(at, in_axes=1, out_axes=1)(paths.x, paths.y, paths.heading, speed, there)


def _edge(paths: Paths, length: Array, width: Array, road: Road) -> Array:
    """Return how far every vehicle reaches beyond the drivable area, negative inside [m]."""

    def one(x: Array, y: Array, heading: Array, length: Array, width: Array) -> Array:
        outside = standing(road, x, y, heading, length, width).outside
        place = jax.vmap(road.nearest)(x, y, heading)
        cross = road.cross(place.lane, place.along)
        angle = heading - road.at(place.lane, place.along).heading
        room = jnp.minimum(cross.reach_left - place.offset, cross.reach_right + place.offset)
        inside = jnp.maximum(room - half_body(length, width, angle), 0.0)
        return jnp.where(outside > 0, outside, -inside)

    return jax.vmap(one)(paths.x, paths.y, paths.heading, length, width)


def _log_likelihood(
    drawn: Float[np.ndarray, "R V T"],
    real: Float[np.ndarray, "V T"],
    use: Bool[np.ndarray, "V T"],
    term: Term,
) -> Float[np.ndarray, " N"]:
    """Return the log likelihood of what was recorded under what was simulated.

    Flags say whether it ever happened, one number per vehicle. Of all else there is one histogram per
    vehicle, over all simulations and times, and one number for every vehicle and time.
    """
    some = use.any(axis=1)
    if not term.bins:
        ever = np.any(drawn.astype(bool) & use, axis=-1)[:, some]
        happened = np.any(real.astype(bool) & use, axis=-1)[some]
        share = (ever.sum(axis=0) + SMOOTHING_OF_FLAGS) / (len(drawn) + 2 * SMOOTHING_OF_FLAGS)
        return np.log(np.where(happened, share, 1 - share))
    width = (term.high - term.low) / term.bins
    bin_drawn, bin_real = (
        np.clip(((values - term.low) / width).astype(int), 0, term.bins - 1) for values in (drawn, real)
    )
    counts = np.full((len(real), term.bins), SMOOTHING)
    vehicle = np.broadcast_to(np.arange(len(real))[:, None], use.shape)
    for each in bin_drawn:
        np.add.at(counts, (vehicle[use], each[use]), 1.0)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return np.log(shares[vehicle[use], bin_real[use]])
