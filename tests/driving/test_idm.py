"""Car following, against the equations and numbers of Treiber, Hennecke, Helbing (2000)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from foresee.driving.idm import cool_acceleration, equilibrium_gap, idm_acceleration
from foresee.driving.make_world import usual_manners

# table 1 of the paper: 120 km/h, 1.6 s, 0.73 m/s², 1.67 m/s², 2 m
PAPER = eqx.tree_at(
    lambda m: (m.desired_speed, m.headway, m.strength, m.comfort, m.standstill),
    usual_manners(5),
    tuple(jnp.full(5, value) for value in (120 / 3.6, 1.6, 0.73, 1.67, 2.0)),
)


def test_acceleration_equals_the_equation():
    random = np.random.default_rng(0)
    v, s, u = random.uniform(0, 33, 5), random.uniform(1, 80, 5), random.uniform(0, 33, 5)
    room = 2.0 + np.maximum(0.0, 1.6 * v + v * (v - u) / (2 * np.sqrt(0.73 * 1.67)))
    expected = 0.73 * (1 - (v * 3.6 / 120) ** 4 - (room / s) ** 2)
    np.testing.assert_allclose(
        idm_acceleration(PAPER, jnp.array(v), jnp.array(s), jnp.array(u)), expected, rtol=1e-6
    )


def test_who_keeps_cool_brakes_for_what_goes_on_and_not_for_what_may_come():
    v = jnp.full(5, 25.0)
    # cut in at 8 m by one as fast: nothing is needed now, so little more than comfortable braking is done
    gentle = cool_acceleration(PAPER, v, jnp.full(5, 8.0), v, jnp.zeros(5))
    assert float(idm_acceleration(PAPER, v, jnp.full(5, 8.0), v)[0]) < -15
    np.testing.assert_allclose(
        gentle, -1.67 + 0.01 * (1.67 - 0.73 * ((42 / 8) ** 2 - 1 + 0.75**4)), atol=0.02
    )
    # one that brakes with 5 m/s² at the same speed must be braked for as hard
    hard = cool_acceleration(PAPER, v, jnp.full(5, 8.0), v, jnp.full(5, -5.0))
    assert float(hard[0]) < -4.5
    # before one that stands there is nothing to be cool about: v²/2s is needed
    standing = cool_acceleration(PAPER, v, jnp.full(5, 40.0), jnp.zeros(5), jnp.zeros(5))
    assert (standing < -(25.0**2) / 80).all()
    far = jnp.full(5, 300.0)
    same = idm_acceleration(PAPER, v, far, v)
    np.testing.assert_allclose(cool_acceleration(PAPER, v, far, v, jnp.zeros(5)), same, atol=1e-6)


def test_at_the_equilibrium_gap_nobody_accelerates():
    v = jnp.array([0.0, 5.0, 15.0, 25.0, 30.0])
    gap = equilibrium_gap(PAPER, v)
    np.testing.assert_allclose(idm_acceleration(PAPER, v, gap, v), 0.0, atol=1e-6)
    expected = (2.0 + 1.6 * np.asarray(v)) / np.sqrt(1 - (np.asarray(v) * 3.6 / 120) ** 4)
    np.testing.assert_allclose(gap, expected, rtol=1e-6)


def test_from_standstill_to_100_km_h_as_published():
    """The paper: on a free road the acceleration of 0.73 m/s² falls with the fourth power of the speed."""
    v, time = jnp.zeros(5), 0.0
    far = jnp.full(5, 1e6)
    while float(v[0]) < 100 / 3.6:
        v, time = v + 0.1 * idm_acceleration(PAPER, v, far, v), time + 0.1
    share = np.linspace(0, 100 / 120, 20001)
    exact = np.trapezoid(1 / (1 - share**4), share) * (120 / 3.6) / 0.73
    assert abs(time - exact) < 0.3
