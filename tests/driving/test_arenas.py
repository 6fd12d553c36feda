import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.arenas import (
    BAD_EYES,
    EYES,
    RARE,
    RAW_BAD_EYES,
    RAW_WORSE_EYES,
    WORSE_EYES,
    arenas,
    hard_parameters,
    rare_events,
)
from foresee.driving.occluded import occluded
from foresee.driving.rare_events import HARDEST_BRAKE, REACTION, Chance, Ego, cut_in, debris, hard_braking

DT, SECONDS, MANY = 0.1, 16.0, 300


def test_eyes_are_as_stated():
    for eyes, raw, numbers in (
        (BAD_EYES, RAW_BAD_EYES, (1.0, 2.0, 0.1)),
        (WORSE_EYES, RAW_WORSE_EYES, (1.5, 3.0, 0.3)),
    ):
        assert eyes.velocity_sd is not None
        np.testing.assert_allclose([eyes.position_sd, eyes.velocity_sd, eyes.dropout], numbers, rtol=1e-6)
        assert raw.eyes is eyes
    assert EYES.occlusion
    assert EYES.velocity_sd is None


@pytest.fixture(scope="module")
def events():
    return rare_events(len(RARE), 1.0, key=jax.random.key(0))


def test_rare_events_are_one_of_each_kind(events):
    assert events.names == tuple(f"{kind} 1" for kind in RARE)
    assert events.scenario.record.x.shape == (5, 11, 20)


def test_arenas_say_what_the_others_do_and_how_they_are_seen(events):
    clean, bad, worse, rare = arenas(events, events.select([0]))
    assert [arena.mode for arena in (clean, bad, worse, rare)] == ["replay", "replay", "replay", "reactive"]
    assert clean.sensing is None
    assert (bad.sensing, worse.sensing) == (BAD_EYES, WORSE_EYES)
    assert [arena.sensing for arena in arenas(events, events, filtered=False)[1:3]] == [
        RAW_BAD_EYES,
        RAW_WORSE_EYES,
    ]
    assert len(rare.scenarios) == 1
    assert rare.sensing is EYES


@pytest.mark.parametrize("make", [cut_in, hard_braking, debris, occluded])
def test_hard_events_can_be_survived(make):
    """An alert driver brakes in time; when it is late the event is where the first gap is smallest."""
    p = hard_parameters()
    times = jnp.arange(round(SECONDS / DT)) * DT

    @eqx.filter_jit
    def draw(key):
        speeds, uniform, normal = jax.random.split(key, 3)
        speed = p.speed[0] + jax.random.uniform(speeds) * (p.speed[1] - p.speed[0])
        chance = Chance(
            jax.random.uniform(uniform, (6,)), jax.random.truncated_normal(normal, -2.0, 2.0, (3,))
        )
        ego = Ego(jnp.asarray(1), speed, jnp.asarray(4.7))
        made = make(ego, times, p, chance)
        return ego, made if make is not occluded else made[0], made[1] if make is occluded else None

    ego, actor, leader = jax.tree.map(np.asarray, jax.vmap(draw)(jax.random.split(jax.random.key(1), MANY)))
    onset = {
        cut_in: lambda: DT * np.argmax(actor.target == 1, axis=1),
        hard_braking: lambda: DT * np.argmax(actor.acceleration < 0, axis=1),
        debris: lambda: np.zeros(MANY),
        occluded: lambda: DT * _revealed(leader),
    }[make]()
    own, other, free = ego.speed, actor.speed, actor.ahead - 0.5 * (actor.length + ego.length)
    smallest = np.full(MANY, np.inf)
    for k in range(len(times) * 10):
        time = 0.1 * DT * k
        free = free + 0.1 * DT * (other - own)
        own = np.maximum(own - 0.1 * DT * HARDEST_BRAKE * (time >= onset + REACTION), 0.0)
        other = np.maximum(other + 0.1 * DT * actor.acceleration[:, k // 10], 0.0)
        smallest = np.minimum(smallest, free)
    assert np.all(smallest > 0)
    assert smallest.min() < 2.0  # it is no easy one


def _revealed(leader):
    """The first frame in which the body of who swerves has left the middle of the lane."""
    speed = leader.speed[:, None]
    turn = leader.curvature * speed * DT
    heading = np.cumsum(turn, axis=1) - 0.5 * turn
    aside = np.abs(np.cumsum(speed * DT * np.sin(heading), axis=1))
    heading = np.cumsum(turn, axis=1)
    reach = leader.length[:, None] * np.abs(np.sin(heading)) + leader.width[:, None] * np.cos(heading)
    return 1 + np.argmax(aside > 0.5 * reach, axis=1)
