import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.dynamics import decay


@pytest.mark.parametrize("time", [0.05, 0.7, 0.999, 1.001, 3.0, 200.0, np.inf])
def test_noise_is_the_integral_of_the_responses(time):
    dt = 1.0
    nodes, weights = np.polynomial.legendre.leggauss(60)
    grid, weights = 0.5 * dt * (nodes + 1), 0.5 * dt * weights
    p0, p1, p2 = (np.asarray(value) for value in _responses(time, grid))
    got = decay.over(jnp.asarray(time), dt)
    expected = [
        np.sum(weights * a * b) for a, b in [(p2, p2), (p2, p1), (p2, p0), (p1, p1), (p1, p0), (p0, p0)]
    ]
    np.testing.assert_allclose(got.noise, expected, rtol=1e-9)
    end = [float(value[0]) for value in _responses(time, np.array([dt]))]
    np.testing.assert_allclose([got.process, got.once, got.twice], end, rtol=1e-12)


def _responses(time, t):
    """The closed forms in extended precision."""
    if np.isinf(time):
        return np.ones_like(t), t, t**2 / 2
    z = np.asarray(t, np.longdouble) / time
    return np.exp(-z), -time * np.expm1(-z), time**2 * (z + np.expm1(-z))


def test_single_precision_keeps_its_digits():
    for time in (0.3, 0.99, 1.01, 4.0, 1e4):
        single = decay.over(jnp.asarray(time, jnp.float32), jnp.float32(1.0))
        double = decay.over(jnp.asarray(time), 1.0)
        np.testing.assert_allclose(single.noise, double.noise, rtol=1e-4)
        np.testing.assert_allclose(single.twice, double.twice, rtol=1e-5)


def test_gradients_are_finite_at_the_limits():
    def total(time, dt):
        result = decay.over(time, dt)
        return sum(result.noise) + result.twice + result.middle

    for time in (1.0, jnp.inf):
        for dt in (0.0, 1.0):
            assert np.isfinite(jax.grad(total, (0, 1))(jnp.asarray(time), dt)).all()


def test_gradients_agree_on_both_sides_of_the_switch():
    def total(dt):
        return sum(decay.over(jnp.asarray(1.0), dt).noise)

    for dt in (0.5, 0.9999999, 1.0000001, 3.0):
        numeric = (total(dt + 1e-5) - total(dt - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.grad(total)(dt), numeric, rtol=1e-7)
