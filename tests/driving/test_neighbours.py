"""Who is ahead and behind, against the definition that looks at every pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving import neighbours
from foresee.driving.lanes import Lane
from foresee.driving.make_road import ring_road, road_from_lanes, straight_road
from foresee.driving.neighbours import FAR, Spot, look_around


def nearest(entries, links, length, lane, along, *, sign, hops=neighbours.HOPS):
    """The nearest of entries (arc length, number) beyond a place, looking on through empty lanes.

    Returns the entry's number and its distance, -1 and `FAR` for none. `sign` is 1 ahead and -1 behind.
    """
    beyond = [
        e
        for e in entries[lane]
        if sign * e[0] > sign * along[0] or (e[0] == along[0] and sign * e[1] > sign * along[1])
    ]
    if beyond:
        found = min(beyond) if sign > 0 else max(beyond)
        return found[1], sign * (found[0] - along[0])
    rest = length[lane] - along[0] if sign > 0 else along[0]
    best = (FAR, -1)
    for following in links[lane]:
        if following < 0 or hops == 0:
            continue
        start = (-1.0, -1) if sign > 0 else (length[following] + 1.0, -1)
        who, distance = nearest(entries, links, length, following, start, sign=sign, hops=hops - 1)
        if who >= 0:
            best = min(best, (rest + distance - 1.0, who))
    return best[1], best[0]


def by_definition(road, lane, along, is_real, owner):
    """What is ahead and behind every entry, by looking at every pair."""
    length, successors = np.asarray(road.length), np.asarray(road.successors)
    predecessors = [[j for j in range(road.lanes) if i in successors[j]] for i in range(road.lanes)]
    entries = {i: [(along[e], e) for e in np.flatnonzero(is_real & (lane == i))] for i in range(road.lanes)}
    out = [np.full(len(lane), -1), np.full(len(lane), FAR), np.full(len(lane), -1), np.full(len(lane), FAR)]
    for e in np.flatnonzero(lane >= 0):
        for place, (links, sign) in enumerate(((successors, 1), (predecessors, -1))):
            who, distance = nearest(entries, links, length, lane[e], (along[e], e), sign=sign)
            if who >= 0:
                out[2 * place][e], out[2 * place + 1][e] = owner[who], distance
    return out


def fork():
    """One lane that becomes two, one of which goes on into a third; another one comes in."""

    half = np.array([0.0, 1.75])

    def piece(name, x, y, *following):
        line = np.array([[x, y], [x + 100.0, y]])
        return Lane(name, line + half, line - half, successors=following)

    ins = [piece("a", 0, 0, "b", "c"), piece("e", 100, 1, "d")]
    return road_from_lanes([*ins, piece("b", 100, 0, "d"), piece("c", 100, 0.5), piece("d", 200, 0)])


ROADS = {"straight": straight_road(3, 300.0), "ring": ring_road(2, 200.0), "fork": fork()}


@pytest.mark.parametrize("few", [0, 10_000], ids=["sorted", "counted"])
@pytest.mark.parametrize("name", list(ROADS))
def test_equals_the_definition_exactly(name, few, monkeypatch):
    monkeypatch.setattr(neighbours, "FEW", few)
    road = ROADS[name]
    look = jax.jit(lambda present, asked, owners: look_around(road, present, asked, owners))
    random = np.random.default_rng(0)
    for trial in range(8):
        present = [random.integers(-1, road.lanes, 14), random.uniform(0, 100, 14)]
        asked = [random.integers(-1, road.lanes, 9), random.uniform(0, 100, 9)]
        if trial % 2:  # ties: vehicles exactly beside each other
            present[1], asked[1] = np.round(present[1], -1), np.round(asked[1], -1)
        if trial == 4:
            present[0][:] = -1
        owners = random.permutation(14)
        lane, along = (np.concatenate([a, p]) for a, p in zip(asked, present, strict=True))
        truth = by_definition(
            road,
            lane,
            along,
            np.r_[np.zeros(9, bool), present[0] >= 0],
            np.r_[np.full(9, -1), owners],
        )
        mine, theirs = look(
            Spot(jnp.asarray(present[0]), jnp.asarray(present[1])),
            Spot(jnp.asarray(asked[0]), jnp.asarray(asked[1])),
            jnp.asarray(owners),
        )
        for got, first, expected in zip(mine, theirs, truth, strict=True):
            both = np.concatenate([first, got])
            np.testing.assert_allclose(both, expected, rtol=0, atol=1e-9)


def test_alone_on_a_ring_everybody_sees_itself():
    road = ring_road(1, 200.0)
    one = Spot(jnp.array([0]), jnp.array([30.0]))
    around, _ = look_around(road, one, Spot(jnp.zeros(0, int), jnp.zeros(0)), jnp.array([0]))
    assert around.ahead[0] == 0
    np.testing.assert_allclose(around.to_ahead[0], road.length[0], rtol=1e-9)
