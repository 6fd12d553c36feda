import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy.physics import mechanics

from foresee.dynamics import Pendulum, lyapunov_time
from foresee.errors import ForeseeError, ShapeError

flow = eqx.filter_jit(lambda pendulum, x, dt, u=None: pendulum.flow(x, u, dt))
step = eqx.filter_jit(lambda pendulum, x, dt: pendulum(x, None, dt))
accelerate = eqx.filter_jit(lambda pendulum, x, u=None: pendulum.accelerations(x, u))


def kane(n, rods, masses, lengths, gravity, damping):
    """Kane's equations for the chain, as a function of the state and the joint torques."""
    q, w = mechanics.dynamicsymbols(f"q:{n}"), mechanics.dynamicsymbols(f"w:{n}")
    torques = sympy.symbols(f"t:{n}")
    frame, origin = mechanics.ReferenceFrame("N"), mechanics.Point("O")
    origin.set_vel(frame, 0)
    end, before, bodies, loads = origin, None, [], []
    for i in range(n):
        link = frame.orientnew(f"A{i}", "Axis", [q[i], frame.z])
        link.set_ang_vel(frame, w[i] * frame.z)
        tip = end.locatenew(f"P{i}", -lengths[i] * link.y)
        tip.v2pt_theory(end, frame, link)
        centre = end.locatenew(f"C{i}", -lengths[i] / 2 * link.y) if rods else tip
        if rods:
            centre.v2pt_theory(end, frame, link)
            inertia = mechanics.inertia(link, 0, 0, sympy.Rational(1, 12) * masses[i] * lengths[i] ** 2)
            bodies.append(mechanics.RigidBody(f"B{i}", centre, link, masses[i], (inertia, centre)))
        else:
            bodies.append(mechanics.Particle(f"B{i}", centre, masses[i]))
        loads.append((centre, -masses[i] * gravity * frame.y))
        joint = torques[i] - damping[i] * (w[i] - (w[i - 1] if i else 0))
        loads.append((link, joint * frame.z))
        if before is not None:
            loads.append((before, -joint * frame.z))
        end, before = tip, link
    method = mechanics.KanesMethod(frame, q, w, [q[i].diff() - w[i] for i in range(n)])
    method.kanes_equations(bodies, loads)
    return sympy.lambdify([q, w, torques], (method.mass_matrix, method.forcing), "numpy")


@pytest.mark.parametrize("rods", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_accelerations_are_those_of_kanes_method(n, rods):
    rng = np.random.default_rng(n)
    masses, lengths, damping = rng.uniform(0.5, 2, (3, n))
    pendulum = Pendulum(masses, lengths, 9.7, damping, rods=rods)
    equations = kane(n, rods, masses, lengths, 9.7, damping)
    for _ in range(10):
        x, torque = rng.normal(size=2 * n) * 2, rng.normal(size=n) * 5
        mass, force = equations(x[:n], x[n:], torque)
        expected = np.linalg.solve(mass, force)[:, 0]
        np.testing.assert_allclose(
            accelerate(pendulum, jnp.array(x), jnp.array(torque)), expected, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("rods", [False, True])
def test_energy_is_kept(rods):
    pendulum = Pendulum(jnp.array([1.0, 0.7, 0.4]), jnp.array([1.0, 0.8, 0.5]), rods=rods, steps=10)
    x = jnp.array([2.0, -1.0, 0.5, 0.3, 1.0, -2.0])
    before = pendulum.energy(x)
    for _ in range(25):
        x = flow(pendulum, x, 0.02)
    np.testing.assert_allclose(pendulum.energy(x), before, atol=1e-6)


def test_damping_takes_energy_and_torque_gives_it():
    pendulum = Pendulum(jnp.ones(2), jnp.ones(2), damping=0.5, steps=4)
    x = jnp.array([1.0, 0.5, 0.0, 0.0])
    energies = [pendulum.energy(x)]
    for _ in range(20):
        x = flow(pendulum, x, 0.05)
        energies.append(pendulum.energy(x))
    assert (np.diff(energies) < 0).all()
    free = Pendulum(jnp.ones(2), jnp.ones(2), steps=4)
    x = jnp.array([0.5, 0.0, 1.0, 0.5])
    torque = jnp.array([1.0, 3.0])
    gained = accelerate(free, x, torque) - accelerate(free, x)
    power = (
        jax.grad(free.energy)(x)[2:] @ gained
    )  # each torque times the difference of the rates at its joint
    np.testing.assert_allclose(power, 1.0 * 1.0 + 3.0 * (0.5 - 1.0), rtol=1e-10)


def test_small_swings_have_the_known_period():
    for rods, period in (
        (False, 2 * np.pi * np.sqrt(2 / 9.81)),
        (True, 2 * np.pi * np.sqrt(2 * 2 / (3 * 9.81))),
    ):
        pendulum = Pendulum(jnp.ones(1), jnp.array([2.0]), rods=rods, steps=400)
        x = flow(pendulum, jnp.array([1e-4, 0.0]), period)
        np.testing.assert_allclose(x, [1e-4, 0.0], atol=1e-11)


def test_integration_is_of_order_four():
    x = jnp.array([1.0, -0.5, 0.3, 0.2])

    def error(steps):
        build = lambda k: Pendulum(jnp.ones(2), jnp.ones(2), steps=k)  # noqa: E731
        return np.abs(flow(build(steps), x, 0.4) - flow(build(64), x, 0.4)).max()

    assert 11 < error(2) / error(4) < 24


def test_torque_noise_is_that_of_the_equation():
    n, steps, dt = 20_000, 25, 0.1
    pendulum = Pendulum(jnp.array([1.0, 0.5]), jnp.array([1.0, 0.7]), torque_density=jnp.array([0.04, 0.01]))
    x = jnp.array([np.pi - 0.05, 0.4, 0.5, -1.0])
    h, rng = dt / steps, np.random.default_rng(5)
    advance = jax.jit(jax.vmap(lambda state, torque: pendulum.flow(state, torque, h)))
    states = jnp.tile(x, (n, 1))
    for _ in range(steps):
        states = advance(states, jnp.asarray(rng.normal(size=(n, 2)) * np.sqrt(np.array([0.04, 0.01]) / h)))
    belief = step(pendulum, x, dt)
    expected = np.asarray(belief.covariance)
    deviation = np.sqrt(np.diag(expected))
    assert belief.circular == (0, 1)
    assert (np.abs(states.mean(0) - np.asarray(belief.mean())) < 5 * deviation / np.sqrt(n) + 2e-3).all()
    # Five standard errors of a correlation, the 25 steps' error, and what first order in dt leaves.
    scale = np.outer(deviation, deviation)
    np.testing.assert_allclose(np.cov(states.T) / scale, expected / scale, atol=7 / np.sqrt(n) + 0.08)


def test_no_time_changes_nothing_and_two_half_steps_are_one():
    pendulum = Pendulum(jnp.ones(2), jnp.ones(2), torque_density=0.1)
    x = jnp.array([0.4, 0.8, 0.5, -0.5])
    still = step(pendulum, x, 0.0)
    np.testing.assert_array_equal(still.mean(), x)
    assert not np.asarray(still.covariance).any()
    slope = eqx.filter_jit(jax.jacfwd(lambda x, dt: pendulum.flow(x, None, dt)))
    errors = []
    for dt in (0.01, 0.0025):
        half, whole = step(pendulum, x, dt / 2), step(pendulum, x, dt)
        two = step(pendulum, half.mean(), dt / 2)
        np.testing.assert_allclose(two.mean(), whole.mean(), atol=1e-9)
        jacobian = slope(half.mean(), dt / 2)
        covariance = jacobian @ half.covariance @ jacobian.T + two.covariance
        errors.append(np.abs(covariance - whole.covariance).max())
        assert errors[-1] < 0.01 * np.abs(whole.covariance).max()
    assert errors[1] < errors[0] / 12  # vanishes as dt²


def test_gradients_are_finite_and_batches_are_loops():
    pendulum = Pendulum(jnp.ones(2), jnp.ones(2), damping=0.1, torque_density=0.1)

    def total(model, x):
        belief = model(x, None, 0.05)
        return jnp.sum(belief.mean()) + jnp.sum(belief.covariance)

    states = jnp.array([[0.0] * 4, [np.pi, np.pi, 0, 0], [1.0, 1.0, 2.0, 2.0], [np.pi, -np.pi, 1.0, -1.0]])
    gradients = jax.jit(jax.vmap(jax.grad(total, (0, 1)), (None, 0)))(pendulum, states)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    batch = jax.jit(jax.vmap(lambda x: pendulum(x, None, 0.05)))(states)
    for index, state in enumerate(states):
        one = step(pendulum, state, 0.05)
        np.testing.assert_allclose(batch.location[index], one.location, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(batch.covariance[index], one.covariance, rtol=1e-10, atol=1e-16)
        assert one.location.dtype == state.dtype
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), pendulum)
    assert step(single, states[1].astype(jnp.float32), 0.05).location.dtype == jnp.float32


def test_lyapunov_time_of_the_double_pendulum():
    """A fifth of the run in the docstring, where 0.70 s came out with a standard error of 0.01 s."""
    pendulum = Pendulum(jnp.ones(2), jnp.ones(2), steps=2)
    x = jnp.array([2 * np.pi / 3, 2 * np.pi / 3, 0.0, 0.0])
    measure = jax.jit(lambda key: lyapunov_time(pendulum, x, 0.01, 40_000, blocks=40, key=key))
    result = measure(jax.random.key(0))
    assert 0.01 < result.standard_error < 0.04
    assert abs(result.seconds - 0.70) < 4 * result.standard_error
    np.testing.assert_allclose(pendulum.energy(result.last), pendulum.energy(x), atol=0.02)


def test_a_single_pendulum_is_not_chaotic():
    pendulum = Pendulum(jnp.ones(1), jnp.ones(1))
    result = jax.jit(lambda key: lyapunov_time(pendulum, jnp.array([1.0, 0.0]), 0.02, 20_000, key=key))(
        jax.random.key(1)
    )
    assert abs(result.exponents.mean()) < 0.03


def test_bad_arguments():
    with pytest.raises(ShapeError, match=r"got shapes \(2,\) and \(1,\)"):
        Pendulum(jnp.ones(2), jnp.ones(1))
    with pytest.raises(ShapeError, match=r"damping of shape \(\) or \(2,\), got \(3,\)"):
        Pendulum(jnp.ones(2), jnp.ones(2), damping=jnp.ones(3))
    with pytest.raises(ForeseeError, match="masses > 0"):
        Pendulum(jnp.zeros(2), jnp.ones(2))
    with pytest.raises(ForeseeError, match="torque_density finite and ≥ 0, got -1"):
        Pendulum(jnp.ones(2), jnp.ones(2), torque_density=-1.0)
    with pytest.raises(ForeseeError, match="steps ≥ 1, got 0"):
        Pendulum(jnp.ones(2), jnp.ones(2), steps=0)
    with pytest.raises(ShapeError, match=r"a state of shape \(4,\), got \(3,\)"):
        Pendulum(jnp.ones(2), jnp.ones(2))(jnp.zeros(3))
    with pytest.raises(ForeseeError, match="blocks ≥ 2 that divide steps, got 7 and 20"):
        lyapunov_time(
            Pendulum(jnp.ones(1), jnp.ones(1)), jnp.zeros(2), 0.1, 20, blocks=7, key=jax.random.key(0)
        )
