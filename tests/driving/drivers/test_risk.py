# pyright: reportCallIssue=false
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from foresee.driving.drivers.risk import LEAST_SD, collision_probability, overlap_probability
from foresee.driving.forecast import Futures

SIZE = (jnp.asarray(4.0), jnp.asarray(2.0))
TIMES = jnp.asarray([0.0, 1.0])


def futures(x, y, heading, along, across, weights):
    """One vehicle that stands at some places, and a slot that nothing is known of."""
    both = [jnp.broadcast_to(jnp.asarray(v, float)[:, None], (2, len(x), 2)) for v in (x, y, heading)]
    doubt = [jnp.broadcast_to(jnp.asarray(v, float)[:, None], (2, len(x), 2)) for v in (along, across)]
    weights = jnp.broadcast_to(jnp.asarray(weights, float), (2, len(x)))
    return Futures(TIMES, *both, *doubt, weights, jnp.asarray([True, False]))


def overlap(x, y, heading, others, **options):
    at = (jnp.full(2, value) for value in (x, y, heading))
    return overlap_probability(*at, *SIZE, others, jnp.full(2, 5.0), jnp.full(2, 1.8), **options)


def test_it_is_the_product_of_two_normal_ones_mixed():
    others = futures([8.0, 3.0], [3.0, 0.5], [0.3, 0.0], [2.0, 1.0], [0.7, 1.5], [0.3, 0.7])

    def textbook(x, y, heading, along, across):
        turn = np.exp(-1j * heading) * ((1.0 - x) + 1j * (0.2 - y))
        c, s = abs(np.cos(0.3 - heading)), abs(np.sin(0.3 - heading))
        long, wide = 0.5 * (5.0 + 4.0 * c + 2.0 * s), 0.5 * (1.8 + 4.0 * s + 2.0 * c)

        def inside(place, half, sd):
            return norm.cdf((half - place) / sd) - norm.cdf((-half - place) / sd)

        return inside(turn.real, long, along) * inside(turn.imag, wide, across)

    expected = 0.3 * textbook(8.0, 3.0, 0.3, 2.0, 0.7) + 0.7 * textbook(3.0, 0.5, 0.0, 1.0, 1.5)
    found = overlap(1.0, 0.2, 0.3, others)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)
    assert not found[:, 1].any()


def test_parallel_vehicles_meet_as_often_as_drawn_ones():
    others = futures([5.0], [1.5], [0.0], [1.5], [0.6], [1.0])
    drawn = np.random.default_rng(0).normal([5.0, 1.5], [1.5, 0.6], (200_000, 2))
    share = np.mean((np.abs(drawn[:, 0]) < 4.5) & (np.abs(drawn[:, 1]) < 1.9))
    assert float(overlap(0.0, 0.0, 0.0, others)[0, 0]) == pytest.approx(share, abs=0.005)


def test_who_comes_near_fast_is_met_within_some_seconds():
    others = futures([10.0], [0.0], [0.0], [0.0], [0.0], [1.0])
    assert float(overlap(0.0, 0.0, 0.0, others)[0, 0]) < 1e-6
    speed = jnp.full(2, 8.0)
    assert float(overlap(0.0, 0.0, 0.0, others, speed=speed, seconds=0.6)[0, 0]) < 1e-6  # 5.5 m lie between
    assert float(overlap(0.0, 0.0, 0.0, others, speed=speed, seconds=0.8)[0, 0]) > 1 - 1e-6


def test_even_who_is_certain_has_a_slope():
    others = futures([4.5 + LEAST_SD], [0.0], [0.0], [0.0], [0.0], [1.0])
    slope = jax.grad(lambda x: overlap(x, 0.0, 0.0, others).sum())(0.0)
    assert np.isfinite(slope)
    assert slope > 0.1


def test_nobody_drives_through_anybody_however_great_the_doubt():
    times = jnp.linspace(0.0, 4.0, 9)
    shape = (1, 1, 9)
    # Somebody ahead of whom nothing is known but the lane: each moment is improbable, the whole is not.
    doubt, nothing = jnp.broadcast_to(8.0 * times, shape), jnp.zeros(shape)
    still = (nothing + 30.0, nothing, nothing, doubt, nothing)
    others = Futures(times, *still, jnp.ones((1, 1)), jnp.array([True]))
    at = (20.0 * times, jnp.zeros(9), jnp.zeros(9))
    sizes = (jnp.asarray(5.0), jnp.asarray(1.8), others, jnp.full(1, 5.0), jnp.full(1, 1.8))
    met = collision_probability(*at, *sizes)[:, 0]
    assert (jnp.diff(met) >= -1e-9).all()
    assert met[-1] > 0.9  # it will have come 50 m past where the other is expected, with a doubt of 32 m
    assert overlap_probability(*at, *sizes).max() < 0.5
    beside = collision_probability(at[0], at[1] + 3.5, at[2], *sizes)
    assert beside.max() < 1e-6
    slope = jax.grad(lambda pace: collision_probability(pace * times, *at[1:], *sizes).sum())(20.0)
    assert slope > 0
