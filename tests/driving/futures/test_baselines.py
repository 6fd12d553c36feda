"""Forecasts without learning: straight lines, noise of the right size, and following in lane."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.futures import baselines
from foresee.driving.make_world import usual_manners
from foresee.driving.recorded import scenarios_from_states
from foresee.errors import RecordingError
from tests.made_up import SHIFT, made_roads


def test_straight_on_is_right_about_those_who_keep_their_speed(windows):
    futures = baselines.constant_velocity(windows)
    errors = baselines.errors_of(futures, windows)[windows.scored]
    np.testing.assert_allclose(errors, [[0.0, -SHIFT]] * len(errors), atol=1e-3)
    assert futures.x.shape == (*windows.row.shape, 1, 4)
    assert (np.asarray(futures.along_sd) == 0).all()


def test_fitted_noise_is_that_of_the_errors(windows):
    """Errors are drawn from a known noise, on the same vehicle many times."""
    random = np.random.default_rng(0)
    noise = baselines.Noise([0.3, 0.1], [0.5, 0.2], [2.0, 0.05])
    number, count = 0, 3000
    many = windows.select(np.full(count, number))
    factor = np.linalg.cholesky(np.asarray(noise.covariance(jnp.asarray(windows.ahead))))
    futures = baselines.constant_velocity(many)
    error = np.einsum("itj,wvji->wvti", factor, random.normal(size=(*many.row.shape, 4, 2)))
    future = many.future.copy()
    future[..., 0] = np.asarray(futures.x)[:, :, 0] + error[..., 0]
    future[..., 1] = np.asarray(futures.y)[:, :, 0] + error[..., 1]
    counted = many.known & (many.row != 2)
    many = replace(many, future=future, counted=counted, future_there=np.ones(many.future_there.shape, bool))
    got = baselines.fit_noise(futures, many)
    times = jnp.asarray(windows.ahead)
    np.testing.assert_allclose(got.variance(times), noise.variance(times), rtol=0.08)
    with pytest.raises(RecordingError, match="fit the noise"):
        baselines.fit_noise(futures, replace(many, counted=np.zeros_like(counted)))


def test_samples_have_the_covariance_of_the_noise(windows):
    noise = baselines.Noise([0.3, 0.1], [0.5, 0.2], [2.0, 0.05])
    np.testing.assert_allclose(
        np.diagonal(noise.covariance(jnp.arange(1.0, 4.0)), axis1=1, axis2=2).T,
        noise.variance(jnp.arange(1.0, 4.0)),
    )
    # The integral of a random walk: Cov = ∫ (s − u)(t − u) du.
    u = np.linspace(0, 1.0, 20001)
    walk = np.trapezoid((1.0 - u) * (3.0 - u), u)
    alone = baselines.Noise([0.0, 0.0], [0.0, 0.0], [1.0, 1.0]).covariance(jnp.asarray([1.0, 3.0]))
    np.testing.assert_allclose(alone[0, 0, 1], walk, rtol=1e-6)
    few = windows.select(np.array([0]))
    got = baselines.constant_velocity_samples(few, noise, count=20_000, key=jax.random.key(0))
    drawn = np.asarray(got.x[0, 0] - got.x[0, 0].mean(axis=0))
    np.testing.assert_allclose(np.cov(drawn.T), noise.covariance(got.times)[0], rtol=0.1)
    assert float(got.weights[0, 0].sum()) == pytest.approx(1.0)


def test_in_lane_everybody_follows_and_comes_to_the_middle(windows):
    calm = usual_manners(1, desired_speed=10.0)
    futures = baselines.idm_in_lane(windows, calm, baselines.Noise([0.1] * 2, [0.1] * 2, [0.1] * 2))
    lone = (windows.scene == 1)[:, None] & windows.known
    x, y = np.asarray(futures.x)[lone][:, 0], np.asarray(futures.y)[lone][:, 0]
    begin = windows.past[lone][:, 0]
    centre = begin[:, 1] - windows.offset[lone]
    assert (np.abs(y[:, -1] - centre) < np.abs(y[:, 0] - centre)).all()
    # Nobody is ahead: the free acceleration of the model, by small steps.
    place, speed = begin[:, 0].astype(float), begin[:, 3].astype(float)
    for _ in range(2000):
        place, speed = place + 0.001 * speed, speed + 0.001 * 1.4 * (1 - (speed / 10.0) ** 4)
    np.testing.assert_allclose(x[:, -1], place, atol=0.15)
    np.testing.assert_allclose(
        np.asarray(futures.along_sd)[..., 0].min(), np.sqrt(0.01 + 0.0025 + 0.1 / 24), rtol=1e-5
    )


def test_typical_manners_are_medians_of_recorded_drivers(states):
    scenarios = scenarios_from_states(states, made_roads(), seconds=2.0)
    got = baselines.typical_manners(scenarios)
    there = np.asarray(scenarios.scenario.record.present).any(axis=1)
    assert got.headway.shape == (1,)
    assert got.desired_speed[0] == np.median(
        np.asarray(scenarios.scenario.world.manners.desired_speed)[there]
    )
