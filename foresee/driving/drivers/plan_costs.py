"""What a whole plan costs while it is uncertain what the others will do: the average over all their futures.

Futures are mixtures of Gaussians and the costs of nearness are made of straight pieces, so the average has a
closed form; `foresee.beliefs.expected` over draws of the same futures tends to it.
"""

import jax
import jax.numpy as jnp
from jax.lax import erf
from jaxtyping import Array, Float, Int

from foresee.beliefs.gaussian import Gaussian
from foresee.beliefs.mixture import Mixture
from foresee.driving.drivers.costs import Costs, beyond_edges, either, half_lane, shortfall
from foresee.driving.drivers.plan import Across, Plan, Way, way_of
from foresee.driving.drivers.risk import overlap_probability
from foresee.driving.forecast import Futures
from foresee.driving.observe import Observation
from foresee.driving.steering import half_body

SMALLEST = 1e-3  # standard deviations below count as this much: the straight pieces keep finite slopes [m]
PER_ROOT_TWO, PER_ROOT = 0.7071067811865476, 0.3989422804014327  # 1 / √2 and 1 / √(2π)


def plan_terms(
    plan: Plan,
    futures: Futures,
    view: Observation,
    costs: Costs,
    last_action: Float[Array, "2"],
    reference_speed: float | int | Float[Array, ""] | None = None,
    slots: Int[Array, " N"] | None = None,
) -> dict[str, Float[Array, " T"]]:
    """Return every term of the costs, without weights, at every time of a plan.

    Proximity is averaged over the futures of each vehicle, and the largest of these counts; the risk is the
    probability of overlapping anybody but who is behind on the own lane now, if vehicles are independent.

    Args:
        plan: where the ego would go.
        futures: what the vehicles in all slots may do; between its times straight lines count.
        view: what is seen now.
        costs: the scales.
        last_action: acceleration [m/s²] and curvature [1/m] of the step before the plan.
        reference_speed: as in `Costs.terms` [m/s].
        slots: the vehicles to look at, as `foresee.driving.forecast.of_slots` chooses them; all by default.
    """
    slots = jnp.arange(view.lengths.shape[0]) if slots is None else slots
    futures = futures.select(slots).at(plan.times)
    sizes = view.lengths[slots], view.widths[slots]
    # Once for all: fused into what follows, XLA would work them out anew for every use.
    way, futures = jax.lax.optimization_barrier((way_of(view), futures))
    along, offset = jax.lax.optimization_barrier(way.track(plan.x, plan.y))
    there = way.at(along)
    angle = plan.heading - there.heading
    reach = half_body(view.length, view.width, angle)
    reference = costs.reference(view) if reference_speed is None else reference_speed
    edges = there.reach_left - offset, there.reach_right + offset
    overlap = overlap_probability(plan.x, plan.y, plan.heading, view.length, view.width, futures, *sizes)
    return {
        "proximity": _proximity(costs, way, plan, (along, offset, reach), futures, sizes, view.length),
        "lane": half_lane(_from_middle(offset, there), there.width),
        "off_road": beyond_edges(reach, *edges) / costs.outside,
        "progress": shortfall(plan.speed * jnp.cos(angle), reference),
        "comfort": _discomfort(costs, plan, last_action),
        "risk": either(jnp.where(slots == view.behind.slot, 0.0, overlap)),
    }


def expected_cost(
    plan: Plan,
    futures: Futures,
    view: Observation,
    costs: Costs,
    last_action: Float[Array, "2"],
    reference_speed: float | int | Float[Array, ""] | None = None,
    slots: Int[Array, " N"] | None = None,
) -> Float[Array, ""]:
    """Return the weighted cost of a plan, averaged over the futures and, with the discount, over its time.

    It means the same as the cost of one moment, however long the plan is. Arguments as in `plan_terms`.
    """
    terms = plan_terms(plan, futures, view, costs, last_action, reference_speed, slots)
    weight = jnp.diff(plan.times) * costs.discounts(plan.times[1:])  # now is as it is
    return jnp.sum(weight * costs.weigh(terms)[1:]) / jnp.sum(weight)


def position_of(futures: Futures, vehicle: int | Int[Array, ""], time: int | Int[Array, ""]) -> Mixture:
    """Return the belief about x and y of one vehicle [m] at the time with this number.

    With it, any other cost is averaged by `foresee.beliefs.expected`.
    """
    mean = jnp.stack([futures.x, futures.y], axis=-1)[vehicle, :, time]
    heading = futures.heading[vehicle, :, time]
    c, s = jnp.cos(heading), jnp.sin(heading)
    turn = jnp.stack([jnp.stack([c, -s], axis=-1), jnp.stack([s, c], axis=-1)], axis=-2)
    sd = jnp.stack([futures.along_sd, futures.across_sd], axis=-1)[vehicle, :, time]
    factor = turn * sd[:, None, :]
    covariance = factor @ factor.mT
    some = futures.weights[vehicle] > 0
    weights = jnp.where(some, jnp.log(jnp.where(some, futures.weights[vehicle], 1.0)), -jnp.inf)
    return Mixture(jax.vmap(Gaussian)(mean, covariance), weights)


def expected_ramps(
    place: Float[Array, "*t"],
    sd: Float[Array, "*t"],
    half: Float[Array, "*#t"],
    before: Float[Array, "*#t"],
    after: Float[Array, "*#t"],
) -> Float[Array, "*t"]:
    """Return the mean of a function of straight pieces of a normal number, in closed form.

    The function is 1 within `half` of 0, 0 from `half + after` upwards and from `-half - before` downwards,
    and linear in between. It is a sum of positive parts, and E[(z)₊] = μ Φ(μ/σ) + σ φ(μ/σ).

    Args:
        place: mean of the number [m].
        sd: its standard deviation [m].
        half: half of the plateau [m].
        before: length of the rising piece [m].
        after: length of the falling piece [m].
    """
    sd = jnp.maximum(sd, SMALLEST)
    rising = _positive_part(place + half + before, sd) - _positive_part(place + half, sd)
    falling = _positive_part(place - half, sd) - _positive_part(place - half - after, sd)
    return rising / before - falling / after


def _positive_part(mean: Array, sd: Array) -> Array:
    """Return the mean of the positive part of a normal number."""
    z = mean / sd
    return 0.5 * mean * (1.0 + erf(PER_ROOT_TWO * z)) + sd * PER_ROOT * jnp.exp(-0.5 * z**2)


def _proximity(
    costs: Costs,
    way: Way,
    plan: Plan,
    own: tuple[Float[Array, " T"], Float[Array, " T"], Float[Array, " T"]],
    futures: Futures,
    sizes: tuple[Float[Array, " N"], Float[Array, " N"]],
    length: Float[Array, ""],
) -> Float[Array, " T"]:
    """Return the largest of the vehicles' mean proximities.

    Distances are along and across the way; the doubt in either is taken as independent of the other, as it
    is where a future runs along the way.

    Args:
        costs: the scales.
        way: the middle of the ego's lane.
        plan: where the ego would go.
        own: its arc length and offset on the way, and how far its body reaches across it [m].
        futures: of the N vehicles, at the times of the plan.
        sizes: their lengths and widths [m].
        length: of the ego [m].
    """
    along, offset, reach = own
    lengths, widths = (size[:, None, None] for size in sizes)
    theirs = jax.lax.optimization_barrier(_on_way(way, futures))
    lengthwise = expected_ramps(
        theirs[0] - along,
        theirs[2],
        0.5 * (length + lengths),
        costs.safe_distance(plan.speed, costs.headway_behind),
        costs.safe_distance(plan.speed, costs.headway),
    )
    sideways = expected_ramps(
        theirs[1] - offset,
        theirs[3],
        reach + 0.5 * widths,
        costs.side_room,
        costs.side_room,
    )
    each = jnp.sum(futures.weights[..., None] * lengthwise * sideways, axis=1)
    return jnp.where(futures.known[:, None], each, 0.0).max(axis=0)


def _on_way(way: Way, futures: Futures) -> tuple[Array, Array, Array, Array]:
    """Return the means along and across the way, and the standard deviations along and across it [m]."""
    along, offset = way.track(futures.x, futures.y)
    turn = futures.heading - way.at(along).heading
    c, s = jnp.cos(turn) ** 2, jnp.sin(turn) ** 2
    long, wide = futures.along_sd**2, futures.across_sd**2
    along_sd = jnp.sqrt(c * long + s * wide + SMALLEST**2)
    return along, offset, along_sd, jnp.sqrt(s * long + c * wide + SMALLEST**2)


def _from_middle(offset: Array, there: Across) -> Array:
    """Return the offset from the middle of the nearest lane, if all are as wide as the own one [m]."""
    lefts = jnp.round(there.reach_left / there.width - 0.5)
    rights = jnp.round(there.reach_right / there.width - 0.5)
    nearest = jnp.clip(jnp.round(offset / there.width), -jnp.maximum(rights, 0.0), jnp.maximum(lefts, 0.0))
    return offset - nearest * there.width


def _discomfort(costs: Costs, plan: Plan, last_action: Float[Array, "2"]) -> Float[Array, " T"]:
    """Return the discomfort of the action that leads to every point; 0 at the first, which is now."""
    actions = jnp.stack([plan.acceleration, plan.curvature], axis=-1)[1:]
    before = jnp.concatenate([last_action[None], actions[:-1]])
    felt = costs.discomfort(plan.speed[:-1], actions, before, jnp.diff(plan.times))
    return jnp.concatenate([jnp.zeros_like(felt[:1]), felt])
