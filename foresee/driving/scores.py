"""The scores of a whole episode, from the metrics of its frames; and what became of it."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.driving.comfort import LIMITS, within
from foresee.driving.contact import FRONT, NOTHING, STOPPED_OTHER, Contacts

AGAINST = 1.0  # how far one may drive against the traffic within a second [m]
PROGRESS = 0.2  # share of the expert's progress that counts as making progress
LEAST_PROGRESS = 2.0  # ways shorter than this count as this long when compared [m]
TIME_TO_COLLISION, HORIZON = 0.95, 3.0  # what is too short, and what is not looked beyond [s]
FAR = 1e3  # a distance to nobody [m]
OVERSPEED = 2.23  # mean excess of the speed limit that scores nothing [m/s]
HORIZONS = {"2s": (2.0, 4.0), "4s": (4.0, 6.0), "6s": (6.0, 10.0)}  # times [s], and what is a miss then [m]
REACHED, HIT_AHEAD, HIT_STANDING, HIT_ASIDE, OFF, STUCK = range(6)
OUTCOMES = (
    "did not fail",
    "hit the vehicle ahead",
    "hit a stopped vehicle",
    "hit a vehicle at the side",
    "left the road",
    "made no progress",
)
GATES = (
    "no_ego_at_fault_collisions",
    "drivable_area_compliance",
    "driving_direction_compliance",
    "ego_is_making_progress",
)
WEIGHTS = {
    "ego_progress_along_expert_route": 5,
    "time_to_collision_within_bound": 5,
    "speed_limit_compliance": 4,
    "ego_is_comfortable": 2,
}


def scores_of(
    values: dict[str, Array],
    counted: Bool[Array, " T"],
    start: Int[Array, ""],
    end: Int[Array, ""],
    last: Int[Array, ""],
    expert: Float[Array, ""],
    dt: float | int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the scores of a whole episode, and which of them mean anything.

    As nuPlan, a miss is to have been farther from the record than allowed at any time up to the horizon.

    Args:
        values: what `foresee.driving.metrics` says of every frame.
        counted: the frames that count.
        start: the frame of the handover.
        end: the last frame of the scenario.
        last: the last frame that counts.
        expert: the way that the recorded driver made in all [m].
        dt: time between frames [s].
    """
    number = jnp.maximum(counted.sum(), 1)
    times = jnp.where(counted, values["time_to_collision"], HORIZON)
    way = values["progress"][last]
    ratio = jnp.maximum(way, LEAST_PROGRESS) / jnp.maximum(expert, LEAST_PROGRESS)
    excess = values["over_limit"].sum() / number
    parts = within({name: values[name] for name in LIMITS})
    comfortable = jnp.all(jnp.stack(list(parts.values())))
    scores = {
        "no_ego_at_fault_collisions": ~values["at_fault_collision"].any(),
        "drivable_area_compliance": ~values["offroad"].any(),
        "driving_direction_compliance": values["against_traffic"].max() <= AGAINST,
        "ego_is_making_progress": ratio >= PROGRESS,
        "time_to_collision_within_bound": times.min() >= TIME_TO_COLLISION,
        "ego_progress_along_expert_route": jnp.minimum(ratio, 1.0),
        "speed_limit_compliance": jnp.maximum(1 - excess / OVERSPEED, 0.0),
        "ego_is_comfortable": comfortable,
        **{f"{name}_within_bound": part for name, part in parts.items()},
        "at_fault_collision": values["at_fault_collision"].any(),
        "overlap": values["overlap"].any(),
        "offroad": values["offroad"].any(),
        "sdc_wrongway": values["sdc_wrongway"].any(),
        "sdc_progression": ratio,
        "kinematic_infeasibility": values["kinematic_infeasibility"].any(),
        "log_divergence": values["log_divergence"].sum() / number,
        "jerk": values["jerk"].sum() / jnp.maximum(last - start - 1, 1),
        "least_time_to_collision": times.min(),
        "least_distance": jnp.where(counted, values["distance_to_nearest"], FAR).min(),
    }
    gates = jnp.stack([scores[name] for name in GATES]).all()
    mean = sum(weight * scores[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
    scores["nuplan_score"] = gates * mean
    defined = {}
    for name, (time, miss) in HORIZONS.items():
        apart, whole = _up_to(start + round(time / dt), values["log_divergence"], counted, start, end)
        scores |= {
            f"ade_{name}": apart.sum() / round(time / dt),
            f"fde_{name}": apart[jnp.minimum(start + round(time / dt), len(apart) - 1)],
            f"miss_{name}": apart.max() > miss,
        }
        defined |= {f"{kind}_{name}": whole for kind in ("ade", "fde", "miss")}
    return scores, defined


def _up_to(ahead: Array, apart: Array, counted: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """Return the distances to the record up to a frame, and whether the episode lasted that long."""
    tick = jnp.arange(apart.shape[0])
    inside = counted & (tick > start) & (tick <= ahead)
    return jnp.where(inside, apart, 0.0), (ahead <= end) & (inside.sum() == ahead - start)


def outcome_of(
    values: dict[str, Array], touched: Contacts, scores: dict[str, Array], arrived: Array, last: Array
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Return what became of the episode and the frame in which it failed; what came first counts."""
    frames = values["speed"].shape[0]

    def first(happened: Array) -> Array:
        return jnp.where(happened.any(), jnp.argmax(happened), frames)

    hit, off = first(values["at_fault_collision"]), first(values["offroad"])
    faults = touched.first & touched.at_fault
    kind = jnp.max(jnp.where(faults[jnp.minimum(hit, frames - 1)], touched.kind, NOTHING))
    how = jnp.select([kind == STOPPED_OTHER, kind == FRONT], [HIT_STANDING, HIT_AHEAD], HIT_ASIDE)
    off = jnp.where(~arrived, jnp.minimum(off, last), off)
    stuck = ~scores["ego_is_making_progress"]
    outcome = jnp.select([(hit <= off) & (hit < frames), off < frames, stuck], [how, OFF, STUCK], REACHED)
    at = jnp.select([outcome == REACHED, outcome == STUCK], [-1, last], jnp.minimum(hit, off))
    return outcome, at


def first_contact(touched: Contacts) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Return with whom, and how, the first contact by fault was, or if there was none the first at all."""
    frames = touched.first.shape[0]
    when = jnp.where(touched.first.any(axis=0), jnp.argmax(touched.first, axis=0), 2 * frames)
    when = jnp.where(touched.at_fault, when - frames, when)
    who = jnp.argmin(when)
    nobody = when[who] >= 2 * frames
    return jnp.where(nobody, -1, who), jnp.where(nobody, NOTHING, touched.kind[who])
