import jax
import jax.numpy as jnp
import numpy as np
import optax

from foresee.fit import fit
from foresee.posteriors import scales
from foresee.worlds import Deterministic, one_step

ADAM = optax.adam(3e-2)


def test_a_linear_one_is_the_regression_by_least_squares_with_its_noise():
    rng = np.random.default_rng(0)
    context, action = rng.normal(3, 2, (80, 2)), rng.normal(size=(80, 1))
    outcome = context @ [[1.0, 0.0], [0.5, -2.0]] + action * [3.0, 0.1] + rng.normal(size=(80, 2)) * [0.1, 1]
    inputs = np.concatenate([context, action], axis=1)
    world = Deterministic(2, 1, 2, depth=0, scales=scales(inputs, outcome), key=jax.random.key(0))
    data = tuple(map(jnp.asarray, (context, action, outcome)))
    world = fit(world, one_step, data, key=jax.random.key(1), optimizer=ADAM, epochs=1500).model

    design = np.concatenate([inputs, np.ones((80, 1))], axis=1)
    solution = np.linalg.lstsq(design, outcome, rcond=None)[0]
    noise = np.sqrt(np.mean((outcome - design @ solution) ** 2, axis=0))
    belief = world(jnp.asarray([1.0, 2.0]), jnp.asarray([-1.0]))
    np.testing.assert_allclose(belief.mean(), np.array([1.0, 2.0, -1.0, 1.0]) @ solution, atol=5e-3)
    np.testing.assert_allclose(belief.standard_deviation(), noise, rtol=5e-3)
    assert np.allclose(world.network(jnp.asarray([1.0, 2.0, -1.0])), belief.mean())


def test_the_loss_is_the_negative_log_density_of_a_normal_distribution():
    world = Deterministic(1, 1, 2, width=4, key=jax.random.key(0))
    context, action, outcome = jnp.ones(1), jnp.zeros(1), jnp.asarray([0.3, -2.0])
    mean, sd = np.asarray(world.network(jnp.asarray([1.0, 0.0]))), np.exp(np.asarray(world.log_noise))
    expected = np.sum(0.5 * ((np.asarray(outcome) - mean) / sd) ** 2 + np.log(sd * np.sqrt(2 * np.pi)))
    got = world.loss(context, action, outcome, key=jax.random.key(1))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
