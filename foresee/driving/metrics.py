"""What a closed-loop episode was worth: nuPlan's and Waymax's metrics, frame by frame and as a whole.

Names and limits are those of nuPlan (Karnchanachari et al. 2024, "Towards learning-based planning: the nuPlan
benchmark for real-world autonomous driving") and Waymax (Gulino et al. 2023, "Waymax: an accelerated,
data-driven simulator for large-scale autonomous driving research"); what differs is said where it does.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.driving.comfort import comfort
from foresee.driving.contact import CONE, STOPPED, Contacts, bearing, contacts, time_to_contact
from foresee.driving.on_road import Standing, standing
from foresee.driving.overlap import Box, separation
from foresee.driving.scenario import Record, Scenario
from foresee.driving.scores import FAR, HORIZON, REACHED, first_contact, outcome_of, scores_of
from foresee.driving.simulate import Episode, Frame
from foresee.linalg import wrap_angle

OFF_ROAD = 0.3  # how far a corner may be outside of the drivable area [m]
AGAINST_TIME = 1.0  # in which driving against the traffic adds up [s]
HARDEST, SHARPEST = 10.4, 0.3  # what a vehicle can do: acceleration [m/s²] and curvature [1/m]
SEGMENT_END = 0.95  # share of the recorded way that counts as having reached the end of the segment
CRAWLING = 0.6  # below this speed a path has no curvature to speak of [m/s]
UNITS = {
    "distance_to_nearest": "m", "overlap": "", "at_fault_collision": "", "outside": "m", "offroad": "",
    "time_to_collision": "s", "against_traffic": "m", "sdc_wrongway": "", "over_limit": "m/s", "speed": "m/s",
    "progress": "m", "expert_progress": "m", "log_divergence": "m", "kinematic_infeasibility": "",
    "jerk": "m/s³",
    "ego_lon_acceleration": "m/s²", "ego_lat_acceleration": "m/s²", "ego_yaw_rate": "rad/s",
    "ego_yaw_acceleration": "rad/s²", "ego_lon_jerk": "m/s³", "ego_jerk": "m/s³",
}  # fmt: skip


class Judged(eqx.Module):
    """The metrics of one episode.

    Attributes:
        counted: frames that count: from the handover to the last frame, while the ego is on the map.
        values: name -> value in every frame, in `UNITS`; 0 or False where not counted.
        scores: name -> value of the whole episode.
        defined: name -> whether the score means anything, for those that need a long enough episode.
        outcome: one of `foresee.driving.scores.OUTCOMES`.
        failed_at: frame in which it failed, -1 if it did not.
        against: slot of the vehicle that was first hit by fault, or touched without; -1 for none.
        contact: how that came about, one of `foresee.driving.contact.WORDS`.
    """

    counted: Bool[Array, "*b T"]
    values: dict[str, Array]
    scores: dict[str, Array]
    defined: dict[str, Array]
    outcome: Int[Array, "*b"]
    failed_at: Int[Array, "*b"]
    against: Int[Array, "*b"]
    contact: Int[Array, "*b"]


class Ride(NamedTuple):
    """The ego's own way, in every frame."""

    x: Float[Array, " T"]
    y: Float[Array, " T"]
    heading: Float[Array, " T"]
    speed: Float[Array, " T"]
    acceleration: Float[Array, " T"]
    curvature: Float[Array, " T"]
    lane: Int[Array, " T"]
    along: Float[Array, " T"]
    offset: Float[Array, " T"]


def judge(episode: Episode, dt: float | int, *, handover: Int[Array, ""] | None = None) -> Judged:
    """Return all metrics of one episode; batches come from `jax.vmap`.

    Recorded positions and maps err, and nobody is blamed for what the recorded driver did as well. A contact
    does not count while the same two vehicles overlap in the record itself; `recorded_overlap` says in how
    many frames that was so. The area to drive on is taken to reach as far as the ego's recorded way led a
    corner out of the map's lanes; `recorded_outside` says how far that was [m].

    Args:
        episode: what was driven.
        dt: time between frames [s].
        handover: the frame from which the driver is judged, if it is not the scenario's.
    """
    scenario, frames = episode.scenario, episode.frames
    start = scenario.handover if handover is None else handover
    ego, world = scenario.ego, scenario.world
    tick = jnp.arange(frames.x.shape[0])
    alive = frames.alive[:, ego]
    counted = (tick >= start) & (tick <= scenario.frames) & alive
    ride = _ride(frames, ego)
    boxes = (frames.x, frames.y, frames.heading, world.length + 0 * frames.x, world.width + 0 * frames.x)
    own = _column(boxes, ego)
    size = (world.length[ego], world.width[ego])
    there = frames.alive & counted[:, None] & (jnp.arange(world.vehicles) != ego)
    recorded = _recorded_overlap(scenario.record, ego, boxes) & there
    stand, recorded_outside = _standing(scenario, ride, start, size)
    touched = contacts(own, boxes, ride.speed, frames.speed, there & ~recorded, stand.astray)
    apart = jnp.where(there, separation(own, boxes), FAR).min(axis=1)
    progress, expert = _progress(scenario.record, ride, episode, counted, start)
    values = {
        "distance_to_nearest": apart,
        "overlap": touched.touching.any(axis=1),
        "at_fault_collision": (touched.first & touched.at_fault).any(axis=1),
        "outside": stand.outside,
        "offroad": stand.outside > OFF_ROAD + recorded_outside,
        "time_to_collision": _time_to_collision(own, boxes, ride, frames.speed, there, touched, stand),
        "against_traffic": _against(ride, stand, counted, dt),
        "sdc_wrongway": stand.against,
        "over_limit": jnp.maximum(ride.speed - world.road.speed_limit[ride.lane], 0.0),
        "speed": ride.speed,
        "progress": progress,
        "expert_progress": expert,
        "log_divergence": jnp.hypot(ride.x - scenario.record.x[:, ego], ride.y - scenario.record.y[:, ego]),
        **_motion(ride, tick > start, counted, dt),
    }
    values = {name: jnp.where(counted, value, jnp.zeros_like(value)) for name, value in values.items()}
    # Somebody who passes the end of the map has reached the end, but not on a lane from which one must merge.
    last = jnp.max(jnp.where(counted, tick, 0))
    passed = counted.any() & ~world.road.closed[ride.lane[last]]
    scores, defined = scores_of(values, counted, start, scenario.frames, last, expert[-1], dt)
    scores["recorded_overlap"] = recorded.any(axis=1).sum()
    scores["recorded_outside"] = recorded_outside
    outcome, failed_at = outcome_of(values, touched, scores, passed | (last >= scenario.frames), last)
    failed = outcome != REACHED
    against, kind = first_contact(touched)
    # Time ends with the record: who came nearly as far as the recorded driver reached the segment's end.
    success = ~failed & (scores["sdc_progression"] >= SEGMENT_END)
    scores |= {"success": success, "fail": failed, "seconds": jnp.maximum(last - start, 0) * dt}
    return Judged(counted, values, scores, defined, outcome, failed_at, against, kind)


def _ride(frames: Frame | Record, ego: Int[Array, ""]) -> Ride:
    return Ride(*(getattr(frames, name)[:, ego] for name in Ride._fields))


def _column(boxes: Box, ego: Int[Array, ""]) -> Box:
    """Return the boxes of one vehicle, in every frame."""
    x, y, heading, length, width = (values[:, ego][:, None] for values in boxes)
    return x, y, heading, length, width


def _standing(
    scenario: Scenario, ride: Ride, start: Int[Array, ""], size: tuple[Array, Array]
) -> tuple[Standing, Float[Array, ""]]:
    """Return how the ego stands on the road, and how far outside the recorded one was at most [m]."""
    before = _ride(scenario.record, scenario.ego)
    ways = (jnp.stack([getattr(way, name) for way in (ride, before)]) for name in ("x", "y", "heading"))
    road = scenario.world.road
    both = jax.vmap(lambda x, y, heading: standing(road, x, y, heading, *size))(*ways)
    tick = jnp.arange(ride.x.shape[0])
    shown = (tick >= start) & (tick <= scenario.frames) & scenario.record.present[:, scenario.ego]
    return jax.tree.map(lambda leaf: leaf[0], both), jnp.where(shown, both.outside[1], 0.0).max()


def _recorded_overlap(record: Record, ego: Int[Array, ""], boxes: Box) -> Bool[Array, "T V"]:
    """Return who overlaps with the ego in the record itself."""
    recorded = (record.x, record.y, record.heading, boxes[3], boxes[4])
    return (
        (separation(_column(recorded, ego), recorded) <= 0) & record.present & record.present[:, ego][:, None]
    )


def _progress(
    record: Record, ride: Ride, episode: Episode, counted: Array, start: Array
) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
    """Return the way made along the lanes since the handover, the ego's and the expert's [m]."""
    road, ego = episode.scenario.world.road, episode.scenario.ego
    tick = jnp.arange(ride.x.shape[0])
    until = (tick >= start) & (tick <= episode.scenario.frames) & record.present[:, ego]

    def way(x: Array, y: Array, lane: Array, along: Array, counts: Array) -> Array:
        heading = road.at(lane, along).heading[1:]
        moved = jnp.diff(x) * jnp.cos(heading) + jnp.diff(y) * jnp.sin(heading)
        return jnp.pad(jnp.cumsum(jnp.where(counts[1:] & counts[:-1], moved, 0.0)), (1, 0))

    # Both in one go, so that the same way is the same number to the last bit.
    expert = _ride(record, ego)
    ways = (
        (ride.x, ride.y, ride.lane, ride.along, counted),
        (expert.x, expert.y, expert.lane, expert.along, until),
    )
    both = jax.vmap(way)(*(jnp.stack(pair) for pair in zip(*ways, strict=True)))
    return both[0], both[1]


def _time_to_collision(
    own: Box,
    boxes: Box,
    ride: Ride,
    speed: Float[Array, "T V"],
    there: Bool[Array, "T V"],
    touched: Contacts,
    stand: Standing,
) -> Float[Array, " T"]:
    """Return the time after which the ego would hit somebody if all kept heading and speed, at most 3 s.

    As in nuPlan it is asked only of vehicles ahead, and of those beside while the ego is on two lanes or off
    the road; not of those already touched, and not while the ego stands.
    """
    direction = jnp.abs(bearing(own, boxes))
    asked = (direction < CONE) | ((direction < jnp.pi - CONE) & stand.astray[:, None])
    fresh = jnp.cumsum(touched.touching, axis=0) == 0
    asked &= there & fresh & (ride.speed > STOPPED)[:, None]
    times = time_to_contact(own, boxes, ride.speed[:, None], speed)
    return jnp.minimum(jnp.where(asked, times, HORIZON).min(axis=1), HORIZON)


def _against(ride: Ride, stand: Standing, counted: Array, dt: float | int) -> Float[Array, " T"]:
    """Return how far the ego drove against the traffic within the last second [m]."""
    moved = jnp.where(stand.against & counted, ride.speed * dt, 0.0)
    total = jnp.cumsum(moved)
    window = max(round(AGAINST_TIME / dt), 1)
    return total - jnp.pad(total, (window, 0))[: total.shape[0]]


def _motion(ride: Ride, after: Array, counted: Array, dt: float | int) -> dict[str, Array]:
    """Return comfort, jerk and feasibility; actions before the handover were not the driver's."""
    own = counted & after
    jerk = jnp.abs(jnp.diff(ride.acceleration, prepend=ride.acceleration[:1])) / dt
    between = own & jnp.pad(own, (1, 0))[:-1]
    gained = jnp.diff(ride.speed, prepend=ride.speed[:1]) / dt
    turned = wrap_angle(jnp.diff(ride.heading, prepend=ride.heading[:1]))
    before = jnp.concatenate([ride.speed[:1], ride.speed[:-1]])
    mean = jnp.maximum(0.5 * (ride.speed + before), CRAWLING)
    bent = jnp.where(before > CRAWLING, turned / (mean * dt), 0.0)
    return {
        "jerk": jnp.where(between, jerk, 0.0),
        "kinematic_infeasibility": own & ((jnp.abs(gained) > HARDEST) | (jnp.abs(bent) > SHARPEST)),
        **comfort(ride.acceleration, ride.curvature, ride.speed, own, float(dt)),
    }
