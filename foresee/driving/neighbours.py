"""Who is ahead and who is behind, on one's own lane and beside: one sort and one scan."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from foresee.driving.road import Road

FAR = 1e6  # the gap where nobody is ahead or behind [m]
HOPS = 3  # how many lanes further on the next vehicle is looked for
NOBODY = -1
FEW = 400  # entries up to which counting is faster than sorting


class Spot(NamedTuple):
    """Where somebody is, or where one asks: number of the lane, -1 for nowhere, and arc length [m]."""

    lane: Int[Array, " N"]
    along: Float[Array, " N"]


class Around(NamedTuple):
    """The next vehicle ahead of and behind each asked spot: -1 and a distance of `FAR` where there is none.

    Distances are between the spot and the other's centre, along the lane and the lanes it leads to [m].
    """

    ahead: Int[Array, " N"]
    to_ahead: Float[Array, " N"]
    behind: Int[Array, " N"]
    to_behind: Float[Array, " N"]


def look_around(road: Road, present: Spot, asked: Spot, owners: Int[Array, " E"]) -> tuple[Around, Around]:
    """Find the nearest vehicles before and behind spots of lanes.

    Every vehicle may be present at several spots, one for every lane that it takes room on. A vehicle exactly
    beside an asked spot is ahead of it; of two present at the same spot, the one listed first is behind.

    Args:
        road: the lanes.
        present: where vehicles are, E spots; lane -1 is ignored.
        asked: other spots, at which nobody has to be.
        owners: number of the vehicle of every present spot.

    Returns:
        What is around each present spot (other than the spot itself) and around each asked spot.
    """
    questions = asked.lane.shape[0]
    if questions + present.lane.shape[0] == 0:
        nobody = Around(present.lane, present.along, present.lane, present.along)
        return nobody, nobody
    lane = jnp.concatenate([asked.lane, present.lane])
    lane = jnp.where(lane < 0, road.lanes, lane)  # behind all others
    along = jnp.concatenate([asked.along, present.along])
    owner = jnp.concatenate([jnp.full(questions, NOBODY), jnp.where(present.lane < 0, NOBODY, owners)])
    # At one spot, questions come before vehicles, since the order is stable.
    place, row = _ordered(lane, along, owner)
    ahead, behind = (_next_real(row, last=last, among_questions=questions > 0) for last in (False, True))
    ends = _beyond_ends(road, row)[jnp.minimum(row.lane, road.lanes - 1)]
    is_ahead = (ahead.owner >= 0) & (ahead.lane == row.lane)
    is_behind = (behind.owner >= 0) & (behind.lane == row.lane)
    ahead = (
        jnp.where(is_ahead, ahead.owner, ends[:, 0].astype(row.owner.dtype)),
        jnp.where(is_ahead, ahead.along - row.along, ends[:, 1] - row.along),
    )
    behind = (
        jnp.where(is_behind, behind.owner, ends[:, 2].astype(row.owner.dtype)),
        jnp.where(is_behind, row.along - behind.along, ends[:, 3] + row.along),
    )

    def in_their_places(who: Array, distance: Array) -> tuple[Array, Array]:
        # Rows of numbers move faster than as many times one number; whole numbers keep exact in them.
        back = jnp.stack([who.astype(distance.dtype), distance], axis=1)[place]
        there = (lane < road.lanes) & (back[:, 0] >= 0)
        return jnp.where(there, back[:, 0], NOBODY).astype(owners.dtype), jnp.where(there, back[:, 1], FAR)

    around = Around(*in_their_places(*ahead), *in_their_places(*behind))
    return (
        jax.tree.map(lambda values: values[questions:], around),
        jax.tree.map(lambda values: values[:questions], around),
    )


class _Row(NamedTuple):
    """Entries in order of lane and arc length; the owner is -1 where only somebody asks."""

    lane: Array
    along: Array
    owner: Array


def _next_real(row: _Row, *, last: bool, among_questions: bool) -> _Row:
    """Return, for every entry in order, the nearest vehicle's entry after it, or the last one before it."""

    def shift(values: Array, fill: float | int) -> Array:
        edge = jnp.full(1, fill, values.dtype)
        return jnp.concatenate([edge, values[:-1]] if last else [values[1:], edge])

    if not among_questions:  # all but the ignored ones, which come last, are vehicles
        return _Row(shift(row.lane, -1), shift(row.along, 0.0), shift(row.owner, NOBODY))
    count = row.lane.shape[0]
    place, real = jnp.arange(count), row.owner >= 0
    if last:
        nearest = shift(jax.lax.cummax(jnp.where(real, place, -1)), -1)
    else:
        nearest = shift(jax.lax.cummin(jnp.where(real, place, count), reverse=True), count)
    there = (nearest >= 0) & (nearest < count)
    found = jax.tree.map(lambda values: values[jnp.clip(nearest, 0, count - 1)], row)
    return found._replace(owner=jnp.where(there, found.owner, NOBODY))


def _beyond_ends(road: Road, row: _Row) -> Float[Array, "L 4"]:
    """Return who is next beyond the ends of every lane, and how far from the lane's beginning it is.

    Columns: number of the one ahead, its distance from the lane's beginning, number of the one behind, its
    distance before that beginning.
    """
    real = row.owner >= 0
    every = jnp.arange(road.lanes)[:, None]
    on = real & (row.lane == every)
    there = on.any(axis=1)
    place = jnp.arange(row.lane.shape[0])
    first = jnp.argmax(on, axis=1)
    final = jnp.max(jnp.where(on, place, 0), axis=1)
    who_first = jnp.where(there, row.owner[first], NOBODY)
    who_last = jnp.where(there, row.owner[final], NOBODY)
    onward, to_onward = _through(
        road.successors, road.length, who_first, jnp.where(there, row.along[first], FAR)
    )
    backward, to_backward = _through(
        road.predecessors, road.length, who_last, jnp.where(there, road.length - row.along[final], FAR)
    )
    columns = (onward, road.length + to_onward, backward, to_backward)
    return jnp.stack([column.astype(row.along.dtype) for column in columns], axis=1)


def _ordered(lane: Array, along: Array, owner: Array) -> tuple[Array, _Row]:
    """Return the place of every entry in the order of lane and arc length, and the entries in that order.

    Up to a few hundred entries, counting for each how many come before it takes a quarter of the time of
    sorting, since it is the same instruction for all.
    """
    entry = jnp.arange(lane.shape[0])
    if lane.shape[0] > FEW:
        *row, order = jax.lax.sort((lane, along, owner, entry), num_keys=2, is_stable=True)
        return jnp.zeros_like(entry).at[order].set(entry, unique_indices=True), _Row(*row)
    before = (along[None] < along[:, None]) | ((along[None] == along[:, None]) & (entry < entry[:, None]))
    before = (lane[None] < lane[:, None]) | ((lane[None] == lane[:, None]) & before)
    place = before.sum(axis=1)
    rows = jnp.stack([lane.astype(along.dtype), along, owner.astype(along.dtype)], axis=1)
    rows = jnp.zeros_like(rows).at[place].set(rows, unique_indices=True)
    return place, _Row(rows[:, 0].astype(lane.dtype), rows[:, 1], rows[:, 2].astype(owner.dtype))


def _through(links: Array, length: Array, who: Array, distance: Array) -> tuple[Array, Array]:
    """Return, for every lane, the nearest vehicle on the lanes it leads to and how far it is from its end.

    An empty lane is looked through, `HOPS` times.
    """
    known, ahead, to_ahead = links >= 0, jnp.full_like(who, NOBODY), jnp.full_like(distance, FAR)
    for _ in range(HOPS):
        seen = jnp.where(who >= 0, who, ahead)
        reach = jnp.where(who >= 0, distance, jnp.minimum(length + to_ahead, FAR))
        each = jnp.where(known & (seen[links] >= 0), reach[links], FAR)
        nearest = jnp.argmin(each, axis=1)[:, None]
        to_ahead = jnp.take_along_axis(each, nearest, axis=1)[:, 0]
        followed = jnp.take_along_axis(links, nearest, axis=1)[:, 0]
        ahead = jnp.where(to_ahead < FAR, seen[followed], NOBODY)
    return ahead, to_ahead
