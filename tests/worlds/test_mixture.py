import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from foresee.beliefs import DiagonalGaussian, Mixture
from foresee.errors import OptionError
from foresee.fit import fit
from foresee.worlds import Deterministic, MixtureOfExperts, mixture_likelihood, one_step, winner_takes_all

ADAM = optax.adam(1e-2)
LOCATIONS = np.array([[0.0, 1.0], [3.0, -1.0], [0.2, 4.0]])
SPREADS = np.array([[0.5, 1.0], [2.0, 0.3], [1.0, 1.0]])
LOG_WEIGHTS = np.log([0.2, 0.5, 0.3])
OUTCOME = np.array([0.1, 1.9])


def belief():
    parts = jax.vmap(DiagonalGaussian)(jnp.asarray(LOCATIONS), jnp.asarray(SPREADS**2))
    return Mixture(parts, jnp.asarray(LOG_WEIGHTS) + 7.0)


def test_criteria_are_those_of_the_textbook():
    densities = norm.logpdf(OUTCOME, LOCATIONS, SPREADS).sum(axis=1)
    winner = jax.jit(winner_takes_all)
    proper = -float(np.asarray(logsumexp(LOG_WEIGHTS + densities)))
    np.testing.assert_allclose(
        jax.jit(mixture_likelihood)(belief(), jnp.asarray(OUTCOME)), proper, rtol=1e-12
    )
    for weight in (0.0, 0.01, 1.0):  # the first mode is the nearest
        expected = -densities[0] - weight * LOG_WEIGHTS[0]
        got = winner(belief(), jnp.asarray(OUTCOME), weight)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert winner(belief(), jnp.asarray(OUTCOME), 1.0) >= proper
    other = winner(belief(), jnp.asarray(OUTCOME), 0.0, jnp.asarray([0.1, 100.0]))
    np.testing.assert_allclose(other, -densities[0], rtol=1e-12)
    third = winner(belief(), jnp.asarray([0.2, 2.6]), 0.0, jnp.asarray([0.001, 1.0]))
    np.testing.assert_allclose(third, -norm.logpdf([0.2, 2.6], LOCATIONS[2], SPREADS[2]).sum(), rtol=1e-12)


def test_only_the_winner_learns_where_it_takes_all():
    def loss(locations):
        return winner_takes_all(
            eqx.tree_at(lambda one: one.components.location, belief(), locations), jnp.asarray(OUTCOME)
        )

    slope = jax.jit(jax.grad(loss))(jnp.asarray(LOCATIONS))
    assert np.abs(slope[0]).min() > 0.1
    np.testing.assert_array_equal(slope[1:], 0)


def test_a_fork_blurs_one_mean_and_not_several_modes():
    rng = np.random.default_rng(0)
    context, side = rng.uniform(-1, 1, (256, 1)), rng.choice([-0.8, 0.8], (256, 1))
    data = (jnp.asarray(context), jnp.asarray(side + 0.05 * rng.normal(size=(256, 1))))
    key = jax.random.key(0)
    options = {"key": jax.random.key(1), "optimizer": ADAM, "epochs": 80, "batch_size": 64}

    def loss(world, example, *, key):
        return one_step(world, (example[0], None, example[1]), key=key)

    one = fit(Deterministic(1, 0, 1, width=16, key=key), loss, data, **options).model
    modes = MixtureOfExperts(1, 0, 1, 3, criterion="winner_takes_all", weight=1.0, width=16, key=key)
    several = fit(modes, loss, data, **options).model
    at = jnp.linspace(-0.9, 0.9, 20)[:, None]
    blurred = np.asarray(jax.vmap(lambda x: one(x).mean())(at))
    assert np.mean(np.abs(np.abs(blurred) - 0.8)) > 0.6
    beliefs = jax.vmap(several)(at)
    apart = np.abs(np.abs(np.asarray(beliefs.components.location[..., 0])) - 0.8)
    weights = np.asarray(jax.vmap(lambda one: one.weights())(beliefs))
    assert np.mean(np.sum(weights * apart, axis=1)) < 0.08
    shares = np.sum(weights * (np.asarray(beliefs.components.location[..., 0]) > 0), axis=1)
    assert np.all(np.abs(shares - 0.5) < 0.25)
    assert float(several.weight.value) == 1.0  # it is known, and so not trained


@pytest.mark.parametrize("options", [{"criterion": "best"}, {"modes": 0}])
def test_it_refuses_what_it_cannot_be(options):
    with pytest.raises(OptionError, match="MixtureOfExperts"):
        MixtureOfExperts(1, 1, 1, **options, key=jax.random.key(0))
