import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.dynamics import ConstantAcceleration, KinematicBicycle, VehicleMotion, steering_curvature
from foresee.dynamics.arc import sinc
from foresee.errors import ForeseeError, ShapeError

MODEL = VehicleMotion(0.8, 2e-4, 2.0, 1.5, 1e-4, 1e-3)


def rate(state, model):
    """Right-hand side of the equation in the docstring, one row per state."""
    _, _, heading, speed, acceleration, curvature = state.T
    columns = [speed * np.cos(heading), speed * np.sin(heading), speed * curvature, acceleration]
    columns += [-acceleration / float(model.acceleration_time), -curvature / float(model.curvature_time)]
    return np.stack(columns, axis=1)


def simulate(x, dt, steps, n, rng, model=MODEL):
    """Euler–Maruyama with a midpoint drift."""
    h = dt / steps
    state = np.tile(np.asarray(x, float), (n, 1))
    densities = [model.position_density, model.position_density, model.heading_density, 0.0]
    scale = np.sqrt(h * np.array([*densities, model.jerk_density, model.curvature_density], float))
    for _ in range(steps):
        state = state + h * rate(state + 0.5 * h * rate(state, model), model)
        state += scale * rng.normal(size=state.shape)
    return state


@pytest.mark.parametrize(
    ("x", "dt"),
    [
        ([3.0, -2.0, 0.7, 12.0, 0.5, 0.01], 0.5),
        ([0.0, 0.0, 3.1, 8.0, -1.0, 0.1], 0.3),
        ([0.0, 0.0, 0.0, 20.0, 0.0, 0.0], 0.8),
        ([0.0, 0.0, 1.0, 0.0, 0.0, 0.0], 0.5),
    ],
)
def test_moments_are_those_of_the_equation(x, dt):
    n = 40_000
    states = simulate(x, dt, 40, n, np.random.default_rng(1))
    belief = MODEL(jnp.array(x), None, dt)
    expected = np.asarray(belief.covariance)
    deviation = np.sqrt(np.diag(expected))
    # Five standard errors, and the mean of 1 − cos of the heading's error, which linearisation leaves out.
    beyond = 0.5 * (abs(x[3]) * dt + 0.1) * expected[2, 2]
    error = np.abs(states.mean(0) - np.asarray(belief.mean()))
    assert (error < 5 * deviation / np.sqrt(n) + beyond + 1e-3 * deviation).all()
    # Five standard errors of a correlation, and the Euler steps' error of order 1/40.
    scale = np.outer(deviation, deviation)
    np.testing.assert_allclose(np.cov(states.T) / scale, expected / scale, atol=7 / np.sqrt(n) + 0.03)


@pytest.mark.parametrize("curvature", [0.2, -0.01, 1e-5, 1e-12, 0.0])
@pytest.mark.parametrize(("speed", "acceleration"), [(12.0, 1.5), (0.0, 0.0), (-3.0, 0.0), (2.0, -4.0)])
def test_mean_is_the_exact_arc_for_constant_curvature(curvature, speed, acceleration):
    heading, dt = 0.4, 1.3
    length = speed * dt + acceleration * dt**2 / 2
    if abs(curvature) > 1e-9:
        dx = (np.sin(heading + curvature * length) - np.sin(heading)) / curvature
        dy = (np.cos(heading) - np.cos(heading + curvature * length)) / curvature
    else:
        dx, dy = length * np.cos(heading), length * np.sin(heading)
    expected = [1 + dx, 2 + dy, heading + curvature * length, speed + acceleration * dt]
    tracked = VehicleMotion(1.0, 1e-4, jnp.inf, jnp.inf)
    state = jnp.array([1.0, 2.0, heading, speed, acceleration, curvature])
    np.testing.assert_allclose(tracked(state, None, dt).mean()[:4], expected, rtol=1e-10, atol=1e-10)
    driven = KinematicBicycle()(state[:4], jnp.array([acceleration, curvature]), dt)
    np.testing.assert_allclose(driven.mean(), expected, rtol=1e-10, atol=1e-10)


def test_mean_is_second_order_accurate_with_decay():
    x = np.array([0.0, 0.0, 0.3, 10.0, 2.0, 0.05])

    def error(dt):
        state, h = x[None], dt / 2000
        for _ in range(2000):
            state = state + h * rate(state + 0.5 * h * rate(state, MODEL), MODEL)
        return np.abs(MODEL(jnp.array(x), None, dt).mean() - state[0]).max()

    assert error(0.4) < 5e-3
    assert error(0.2) < error(0.4) / 7  # the error of one step falls with dt³


def test_along_the_track_it_is_constant_acceleration():
    model = VehicleMotion(0.7, 1e-4, jnp.inf, jnp.inf)
    for dt in (0.1, 2.0):
        got = np.asarray(model(jnp.array([0.0, 0.0, 0.0, 10.0, 1.0, 0.0]), None, dt).covariance)
        expected = ConstantAcceleration(0.7, 1).linear(None, dt).covariance
        np.testing.assert_allclose(got[np.ix_([0, 3, 4], [0, 3, 4])], expected, rtol=1e-12)


def test_across_the_track_a_bend_is_an_integrator_chain():
    speed, dt, density = 10.0, 0.5, 3e-4
    model = VehicleMotion(0.7, density, jnp.inf, jnp.inf)
    got = np.asarray(model(jnp.array([0.0, 0.0, 0.0, speed, 0.0, 0.0]), None, dt).covariance)
    chain = np.asarray(ConstantAcceleration(density, 1).linear(None, dt).covariance)
    scale = np.array([speed**2, speed, 1.0])
    np.testing.assert_allclose(got[np.ix_([1, 2, 5], [1, 2, 5])], chain * np.outer(scale, scale), rtol=1e-12)


def test_at_rest_it_neither_turns_nor_slides():
    model = VehicleMotion(0.5, 1e-2)
    for dt in (0.1, 5.0):
        covariance = np.asarray(model(jnp.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.1]), None, dt).covariance)
        assert covariance[1, 1] == 0
        assert covariance[5, 5] > 0


def test_two_half_steps():
    x = jnp.array([0.0, 0.0, 0.3, 12.0, 1.0, 0.03])
    errors = []
    for dt in (0.4, 0.2):
        half = MODEL(x, None, dt / 2)
        two = MODEL(half.mean(), None, dt / 2)
        jacobian = jax.jacfwd(lambda s, dt=dt: MODEL(s, None, dt / 2).mean())(half.mean())
        whole = MODEL(x, None, dt)
        np.testing.assert_allclose(two.mean(), whole.mean(), atol=0.05 * dt**3)
        covariance = jacobian @ half.covariance @ jacobian.T + two.covariance
        errors.append(np.abs(covariance - whole.covariance).max())
        assert errors[-1] < 0.02 * np.abs(whole.covariance).max()
    assert errors[1] < errors[0] / 3.5  # vanishes at least as dt²


def test_no_time_changes_nothing():
    x = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0, 0.6])
    for model, state, u in ((MODEL, x, None), (KinematicBicycle(1.0, 1.0), x[:4], x[:2])):
        belief = model(state, u, 0.0)
        np.testing.assert_array_equal(belief.mean(), state)
        assert not np.asarray(belief.covariance).any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_covariance_is_positive_and_gradients_finite_at_special_points(dtype):
    model = jax.tree.map(lambda leaf: leaf.astype(dtype), MODEL)
    bare = VehicleMotion(*(jnp.asarray(value, dtype) for value in (0.5, 1e-4, jnp.inf, jnp.inf, 0.0, 0.0)))

    def total(state, dt, chosen):
        belief = chosen(state, None, dt)
        return jnp.sum(belief.mean()) + jnp.sum(belief.covariance)

    gradient = jax.jit(jax.grad(total, (0, 1, 2)))
    step = jax.jit(lambda state, dt, chosen: chosen(state, None, dt))
    points = [[0.0] * 6, [0, 0, np.pi, 10, 0, 0], [1, 1, -np.pi, 0, 1, 0.1], [1e5, 1e5, 0.1, -2, 0, 1e-8]]
    for chosen in (model, bare):
        for point in points:
            for dt in (0.0, 0.1, 3.0):
                state = jnp.array(point, dtype)
                covariance = np.asarray(step(state, jnp.asarray(dt, dtype), chosen).covariance, float)
                assert np.linalg.eigvalsh(covariance).min() > -1e-5 * (np.abs(covariance).max() + 1e-12)
                leaves = jax.tree.leaves(gradient(state, jnp.asarray(dt, dtype), chosen))
                assert all(np.isfinite(leaf).all() and leaf.dtype == dtype for leaf in leaves)


def test_jacobian_is_smooth_through_zero_curvature():
    def jacobian(curvature):
        state = jnp.array([0.0, 0.0, 0.2, 10.0, 1.0, curvature])
        return jax.jacfwd(lambda s: MODEL(s, None, 0.5).mean())(state)

    np.testing.assert_allclose(jacobian(0.0), jacobian(1e-7), atol=1e-4)
    np.testing.assert_allclose(jacobian(0.0), (jacobian(1e-4) + jacobian(-1e-4)) / 2, atol=1e-5)


def test_sinc_and_its_derivatives():
    for angle in (0.0, 1e-9, 0.0199, 0.0201, 1.0, -2.0, 7.0):
        np.testing.assert_allclose(sinc(jnp.asarray(angle)), np.sinc(angle / np.pi), rtol=1e-14)
        slope = (np.cos(angle) - np.sinc(angle / np.pi)) / angle if abs(angle) > 1e-3 else -angle / 3
        np.testing.assert_allclose(jax.grad(sinc)(angle), slope, atol=1e-12)
    np.testing.assert_allclose(jax.grad(jax.grad(sinc))(0.0), -1 / 3, rtol=1e-12)


def test_kinematic_bicycle_noise_is_that_of_the_equation():
    n, steps, dt = 40_000, 40, 0.4
    h, rng = dt / steps, np.random.default_rng(3)
    model = KinematicBicycle(0.5, 1e-4, 2e-4, 1e-3)
    x, u = np.array([0.0, 0.0, 3.1, 9.0]), np.array([1.0, 0.05])
    state = np.tile(x, (n, 1))
    for _ in range(steps):
        middle = state[:, 2] + 0.5 * h * state[:, 3] * u[1]
        state = state + h * np.stack(
            [
                state[:, 3] * np.cos(middle),
                state[:, 3] * np.sin(middle),
                state[:, 3] * u[1],
                np.full(n, u[0]),
            ],
            axis=1,
        )
        noise = rng.normal(size=(n, 5)) * np.sqrt(h)
        state[:, 2] += state[:, 3] * 1e-2 * noise[:, 0] + np.sqrt(2e-4) * noise[:, 1]
        state[:, 3] += np.sqrt(0.5) * noise[:, 2]
        state[:, :2] += np.sqrt(1e-3) * noise[:, 3:]
    belief = model(jnp.array(x), jnp.array(u), dt)
    expected = np.asarray(belief.covariance)
    deviation = np.sqrt(np.diag(expected))
    assert (np.abs(state.mean(0) - np.asarray(belief.mean())) < 5 * deviation / np.sqrt(n) + 0.02).all()
    scale = np.outer(deviation, deviation)
    np.testing.assert_allclose(np.cov(state.T) / scale, expected / scale, atol=7 / np.sqrt(n) + 0.03)


def test_bicycle_without_input_coasts_and_without_density_is_certain():
    belief = KinematicBicycle()(jnp.array([0.0, 0.0, np.pi / 2, 3.0]), None, 2.0)
    np.testing.assert_allclose(belief.mean(), [0.0, 6.0, np.pi / 2, 3.0], atol=1e-12)
    assert not np.asarray(belief.covariance).any()
    np.testing.assert_allclose(steering_curvature(jnp.asarray(0.1), 2.7), np.tan(0.1) / 2.7)


def test_heading_is_circular():
    belief = MODEL(jnp.array([0.0, 0.0, np.pi - 0.01, 10.0, 0.0, 0.002]), None, 1.0)
    assert belief.circular == (2,)
    other = belief.mean().at[2].add(-2 * np.pi)
    np.testing.assert_allclose(belief.residual(other), 0.0, atol=1e-9)


def test_batches_are_loops():
    states = jax.random.normal(jax.random.key(0), (4, 6))
    batch = jax.jit(jax.vmap(lambda x: MODEL(x, None, 0.2)))(states)
    for index in range(4):
        one = MODEL(states[index], None, 0.2)
        np.testing.assert_allclose(batch.location[index], one.location, rtol=1e-12)
        np.testing.assert_allclose(batch.covariance[index], one.covariance, rtol=1e-10, atol=1e-15)


def test_bad_arguments():
    with pytest.raises(ForeseeError, match="VehicleMotion: expected jerk_density finite and ≥ 0, got -1"):
        VehicleMotion(-1.0, 1.0)
    with pytest.raises(ForeseeError, match="curvature_time > 0, got 0"):
        VehicleMotion(1.0, 1.0, 1.0, 0.0)
    with pytest.raises(ForeseeError, match="KinematicBicycle: expected curvature_density"):
        KinematicBicycle(0.0, jnp.inf)
    with pytest.raises(ShapeError, match=r"a state of shape \(6,\), got \(4,\)"):
        MODEL(jnp.zeros(4))
    with pytest.raises(ShapeError, match=r"an input of shape \(2,\), got \(3,\)"):
        KinematicBicycle()(jnp.zeros(4), jnp.zeros(3))
