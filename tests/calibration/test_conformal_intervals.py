"""Conformal intervals of numbers: order statistics, coverage within its exact band, crossing quantiles."""

import jax
import jax.numpy as jnp
import numpy as np

import foresee.calibration as c

N = 1000


def data():
    random = np.random.default_rng(0)
    place = random.uniform(0.2, 2, 2 * N)
    return np.zeros(2 * N), place, place * random.normal(size=2 * N)


def covered(low, high, targets):
    band = c.coverage_band(N, N, 0.9, 0.999)
    return band[0] <= float(c.coverage(low, high, targets)) <= band[1]


def test_intervals_hold_as_often_as_stated_and_follow_the_scales():
    mean, scale, y = data()
    plain = c.conformal_intervals(mean[:N], y[:N], 0.9)
    assert float(plain.width) == np.sort(np.abs(y[:N]))[int(np.ceil(0.9 * (N + 1))) - 1]
    assert covered(*plain(mean[N:]), y[N:])
    scaled = c.conformal_intervals(mean[:N], y[:N], 0.9, scale[:N])
    low, high = scaled(mean[N:], scale[N:])
    assert covered(low, high, y[N:])
    assert abs(float(scaled.width) - 1.645) < 0.15
    assert c.mean_width(low, high) < c.mean_width(*plain(mean[N:]))
    single = c.conformal_intervals(jnp.asarray(mean[:N], jnp.float32), jnp.asarray(y[:N], jnp.float32), 0.9)
    got = jax.jit(lambda fitted, x: fitted(x))(single, jnp.asarray(mean[N:], jnp.float32))
    assert got[0].dtype == jnp.float32
    np.testing.assert_allclose(got[1], plain(mean[N:])[1], rtol=1e-6)


def test_quantiles_are_moved_apart_or_together_and_never_cross():
    _, scale, y = data()
    for factor in (0.5, 3.0):
        low, high = -factor * scale, factor * scale
        fitted = c.conformal_quantiles(low[:N], high[:N], y[:N], 0.9)
        assert (fitted.shift > 0) == (factor < 1)
        assert covered(*fitted(low[N:], high[N:]), y[N:])
    low, high = fitted(np.asarray([0.0, -5.0]), np.asarray([0.1, 5.0]))
    np.testing.assert_allclose([low[0], high[0]], 0.05)
    np.testing.assert_allclose(high[1] - low[1], 10 + 2 * fitted.shift)
