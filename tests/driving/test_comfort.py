import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.comfort import LIMITS, comfort, parabola, within

DT = 0.1


def test_rates_of_change_are_those_of_a_parabola_fitted_to_the_frames_around():
    rng = np.random.default_rng(0)
    values, counted = rng.normal(size=(2, 30)) + 100.0, np.arange(30) > 4
    fitted = jax.jit(lambda values, counted: parabola(values, counted, 0.4, DT))
    got = fitted(jnp.asarray(values), jnp.asarray(counted))
    for k in range(2):
        for t in range(6, 30):
            around = list(range(max(t - 4, 5), min(t + 5, 30)))
            fit = np.polyfit((np.array(around) - t) * DT, values[k, around], 2)
            assert float(got[0][k, t]) == pytest.approx(fit[2], abs=1e-8)
            assert float(got[1][k, t]) == pytest.approx(fit[1], abs=1e-7)


def test_a_ride_too_short_to_be_smoothed_is_judged_by_its_own_numbers():
    counted = jnp.arange(10) >= 8
    hard = jnp.where(counted, 3.0, 99.0)
    judged = jax.jit(lambda *ride: comfort(*ride, dt=DT))
    values = judged(hard, jnp.zeros(10), jnp.full(10, 5.0), counted)
    assert set(values) == set(LIMITS)
    np.testing.assert_allclose(values["ego_lon_acceleration"], [0.0] * 8 + [3.0] * 2)
    np.testing.assert_allclose(values["ego_lon_jerk"], 0.0)
    fine = {name: bool(part) for name, part in within(values).items()}
    assert fine == {name: name != "ego_lon_acceleration" for name in LIMITS}
