"""Vehicles in numbers for a network: every vehicle's own, and those of the ones around it as it sees them.

All is told in the frame of a vehicle: along its lane and to the left of it, from its centre. So nothing in
the numbers depends on where the road is or which way it runs.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from foresee.dynamics.arc import arc

BEFORE = (0.5, 1.0)  # how long ago the earlier positions were [s]
AROUND = 10  # how many others a vehicle looks at
OWN, OTHER = 19, 13  # how many numbers describe a vehicle, and another one
FARTHEST = 120.0  # others are looked at up to here [m]


class Snapshot(eqx.Module):
    """All vehicles at one time as somebody sees them, where they were before, and the lane each is on.

    Attributes:
        x, y: position of the centre [m].
        vx, vy: velocity [m/s].
        before_x, before_y: positions `BEFORE` [m].
        before_seen: where these are known.
        position_sd, velocity_sd: how sure the position [m] and the velocity [m/s] are.
        length, width: size [m].
        lane_heading: direction of the lane [rad].
        lane_curvature: of the lane's middle, positive to the left [1/m].
        offset: to the left of the lane's middle [m].
        lane_width: [m].
        has_left, has_right: whether there is a lane beside.
        closed: whether the lane ends beside another that goes on.
        to_end: how much of it is left [m].
        known: which slots hold a vehicle.
    """

    x: Float[Array, "*b V"]
    y: Float[Array, "*b V"]
    vx: Float[Array, "*b V"]
    vy: Float[Array, "*b V"]
    before_x: Float[Array, "*b H V"]
    before_y: Float[Array, "*b H V"]
    before_seen: Bool[Array, "*b H V"]
    position_sd: Float[Array, "*b V"]
    velocity_sd: Float[Array, "*b V"]
    length: Float[Array, "*b V"]
    width: Float[Array, "*b V"]
    lane_heading: Float[Array, "*b V"]
    lane_curvature: Float[Array, "*b V"]
    offset: Float[Array, "*b V"]
    lane_width: Float[Array, "*b V"]
    has_left: Bool[Array, "*b V"]
    has_right: Bool[Array, "*b V"]
    closed: Bool[Array, "*b V"]
    to_end: Float[Array, "*b V"]
    known: Bool[Array, "*b V"]


class Encoded(eqx.Module):
    """The numbers of every vehicle, of order one.

    Attributes:
        own: of the vehicle itself.
        others: of the ones around it, nearest first.
        there: which of these there are.
    """

    own: Float[Array, "*b V 19"]
    others: Float[Array, "*b V N 13"]
    there: Bool[Array, "*b V N"]


def encode(scene: Snapshot, around: int = AROUND) -> Encoded:
    """Return the numbers of every vehicle of a scene, and of the ones around it.

    Args:
        scene: what is seen.
        around: how many others a vehicle looks at.
    """
    turn_c, turn_s = jnp.cos(scene.lane_heading), jnp.sin(scene.lane_heading)

    def turned(x: Array, y: Array) -> tuple[Array, Array]:
        """Return a direction in every vehicle's own frame."""
        return turn_c * x + turn_s * y, turn_c * y - turn_s * x

    now = turned(scene.vx, scene.vy)
    recent, change = _history(scene, turned)
    known_before = scene.before_seen.astype(scene.x.dtype)
    own = jnp.stack(
        [
            now[0] / 10, now[1], scene.offset / 1.75, scene.lane_width / 3.5,
            scene.has_left.astype(scene.x.dtype), scene.has_right.astype(scene.x.dtype),
            scene.closed.astype(scene.x.dtype), jnp.clip(scene.to_end / 100, 0.0, 1.0),
            scene.lane_curvature / 0.02, scene.length / 5, scene.width / 2,
            recent[0], recent[1], change[0], change[1], known_before[0], known_before[1],
            scene.position_sd, scene.velocity_sd / 2,
        ],
        axis=-1,
    )  # fmt: skip
    count = scene.x.shape[0]
    dx, dy = scene.x[None] - scene.x[:, None], scene.y[None] - scene.y[:, None]
    away = jnp.hypot(*(jax.lax.stop_gradient(part) for part in (dx + 1e-6, dy)))
    hidden = ~scene.known[None] | jnp.eye(count, dtype=bool) | (away > FARTHEST)
    away = jnp.where(hidden, jnp.inf, away)
    best, order = jax.lax.top_k(-away, min(around, count))
    there = jnp.isfinite(best) & scene.known[:, None]

    def pick(values: Array) -> Array:
        return jnp.take_along_axis(values, order, axis=1)

    def frame(x: Array, y: Array) -> tuple[Array, Array]:
        c, s = turn_c[:, None], turn_s[:, None]
        return c * x + s * y, c * y - s * x

    ahead, aside = frame(pick(dx), pick(dy))
    faster, sideways = frame(scene.vx[order] - scene.vx[:, None], scene.vy[order] - scene.vy[:, None])
    gap = jnp.abs(ahead) - 0.5 * (scene.length[order] + scene.length[:, None])
    urgency = -jnp.sign(ahead) * faster / (jnp.maximum(gap, 0.0) + 2.0)
    others = jnp.stack(
        [
            ahead / 50, jnp.tanh(ahead / 10), aside / 3.5, jnp.exp(-((aside / 1.75) ** 2)),
            faster / 10, sideways, jnp.tanh(gap / 10), jnp.tanh(urgency), jnp.sign(ahead),
            scene.length[order] / 5, recent[0][order], scene.position_sd[order], scene.velocity_sd[order] / 2,
        ],
        axis=-1,
    )  # fmt: skip
    # Numbers of vehicles that are not there may be anything.
    own = jnp.where(scene.known[:, None], own, 0.0)
    return Encoded(own, jnp.where(there[..., None], others, 0.0), there)


def _history(
    scene: Snapshot, turned: Callable[[Array, Array], tuple[Array, Array]]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return how the velocity has changed of late, and before that, along and across [m/s]."""
    first, second = scene.before_seen
    step = BEFORE[1] - BEFORE[0]
    mean = [
        (scene.x - scene.before_x[0]) / BEFORE[0], (scene.y - scene.before_y[0]) / BEFORE[0],
        (scene.before_x[0] - scene.before_x[1]) / step, (scene.before_y[0] - scene.before_y[1]) / step,
    ]  # fmt: skip
    both = first & second
    recent = turned(
        *(jnp.where(first, now - m, 0.0) for now, m in zip((scene.vx, scene.vy), mean[:2], strict=True))
    )
    change = turned(*(jnp.where(both, a - b, 0.0) for a, b in zip(mean[:2], mean[2:], strict=True)))
    return recent, change


def to_lane(
    scene: Snapshot, x: Float[Array, "V T"], y: Float[Array, "V T"]
) -> tuple[Float[Array, "V T"], Float[Array, "V T"]]:
    """Return how far places are along and across from each vehicle along a lane of constant curvature [m]."""
    c, s = jnp.cos(scene.lane_heading)[:, None], jnp.sin(scene.lane_heading)[:, None]
    ahead = c * (x - scene.x[:, None]) + s * (y - scene.y[:, None])
    aside = c * (y - scene.y[:, None]) - s * (x - scene.x[:, None])
    bend = scene.lane_curvature[:, None]
    # On a circle of radius 1/κ: the angle of the place seen from the centre, and its distance from it.
    side = 1 - bend * aside
    angle = jnp.arctan2(bend * ahead, side)
    along = (
        ahead
        / jnp.maximum(side, 0.1)
        * jnp.where(jnp.abs(angle) < 1e-4, 1.0, angle / jnp.tan(jnp.where(jnp.abs(angle) < 1e-4, 1.0, angle)))
    )
    root = jnp.hypot(bend * ahead, side)
    across = (2 * aside - bend * (ahead**2 + aside**2)) / (1 + root)
    return along, across


def from_lane(
    scene: Snapshot, along: Float[Array, "V K T"], across: Float[Array, "V K T"]
) -> tuple[Float[Array, "V K T"], Float[Array, "V K T"], Float[Array, "V K T"]]:
    """Return x, y [m] and the lane's direction [rad] at displacements along and across; undoes `to_lane`."""
    heading, bend = scene.lane_heading[:, None, None], scene.lane_curvature[:, None, None]
    x, y, direction = arc(scene.x[:, None, None], scene.y[:, None, None], heading, along, bend * along)
    return x - across * jnp.sin(direction), y + across * jnp.cos(direction), direction
