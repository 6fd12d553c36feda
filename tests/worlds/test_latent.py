from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from foresee.errors import OptionError
from foresee.fit import Known, fit
from foresee.worlds import LatentVariable, one_step

ADAM = optax.adam(1e-2)
KEY = jax.random.key(0)
SLOPE, NOISE = 1.5, 0.7


@cache
def linear():
    """Return a world whose outcome is action + SLOPE z + noise, with the exact posterior of z."""
    world = LatentVariable(1, 1, 1, 1, depth=0, nodes=200, key=KEY)
    total = SLOPE**2 + NOISE**2
    gain = SLOPE / total
    layers = {
        "base": ([[0.0, 1.0]], [0.0]),
        "residual": ([[0.0, 0.0, SLOPE]], [0.0]),
        "encoder": ([[0.0, -gain, gain], [0.0, 0.0, 0.0]], [0.0, np.log(NOISE**2 / total)]),
    }
    for name, (weight, bias) in layers.items():
        layer = getattr(world, name).layers[0]
        new = eqx.tree_at(lambda one: (one.weight, one.bias), layer, (jnp.asarray(weight), jnp.asarray(bias)))
        world = eqx.tree_at(lambda one, name=name: getattr(one, name).layers[0], world, new)
    return eqx.tree_at(lambda one: one.log_noise, world, jnp.log(jnp.asarray([NOISE])))


EXAMPLE = (jnp.asarray([0.3]), jnp.asarray([1.0]), jnp.asarray([2.4]))


def test_with_the_exact_posterior_the_loss_is_the_evidence():
    world = linear()
    keys = jax.random.split(jax.random.key(1), 20_000)
    losses = jax.jit(jax.vmap(lambda key: one_step(world, EXAMPLE, key=key)))(keys)
    evidence = norm.logpdf(2.4, 1.0, np.hypot(SLOPE, NOISE))
    np.testing.assert_allclose(np.mean(losses), -evidence, atol=4 * np.std(losses) / np.sqrt(keys.size))


def test_posterior_prior_and_decoder_are_those_of_the_linear_model():
    world = linear()
    posterior, total = world.posterior(*EXAMPLE), SLOPE**2 + NOISE**2
    np.testing.assert_allclose(posterior.mean(), [SLOPE * 1.4 / total], rtol=1e-12)
    np.testing.assert_allclose(posterior.variances(), [NOISE**2 / total], rtol=1e-12)
    np.testing.assert_allclose(world.prior().variances(), [1.0])
    np.testing.assert_allclose(world.decode(*EXAMPLE[:2], jnp.asarray([2.0])), [1.0 + 2 * SLOPE], rtol=1e-12)
    mean, variance = SLOPE * 1.4 / total, NOISE**2 / total
    expected = 0.5 * (variance + mean**2 - 1 - np.log(variance))
    np.testing.assert_allclose(world.kl(*EXAMPLE), expected, rtol=1e-12)


def test_a_call_is_the_mixture_over_its_nodes():
    world = linear()
    belief = eqx.filter_jit(world)(*EXAMPLE[:2])
    np.testing.assert_allclose(belief.mean(), [1.0], atol=1e-12)  # nodes come in antithetic pairs
    nodes = np.asarray(world.nodes.value)
    np.testing.assert_allclose(belief.components.location, 1.0 + SLOPE * nodes, rtol=1e-12)
    expected = np.log(np.mean(norm.pdf(2.4, 1.0 + SLOPE * nodes, NOISE)))
    np.testing.assert_allclose(belief.log_prob(EXAMPLE[2]), expected, rtol=1e-10)
    np.testing.assert_allclose(
        belief.log_prob(EXAMPLE[2]), norm.logpdf(2.4, 1, np.hypot(SLOPE, NOISE)), atol=0.1
    )


def test_a_draw_of_the_prior_tells_the_encoder_nothing():
    @eqx.filter_jit
    def slopes(rate, beta):
        known = (Known(rate), Known(beta))
        world = eqx.tree_at(lambda one: (one.latent_dropout, one.beta), linear(), known)
        return eqx.filter_grad(one_step)(world, EXAMPLE, key=KEY).encoder.layers[0].bias

    np.testing.assert_array_equal(slopes(*map(jnp.asarray, (1.0, 0.0))), 0)
    assert np.abs(slopes(*map(jnp.asarray, (0.0, 0.0)))).min() > 0.01
    assert np.abs(slopes(*map(jnp.asarray, (1.0, 1.0)))).min() > 0.01  # the divergence pulls all the same


def test_action_insensitivity_and_collapse():
    """Worlds side by side: tiny β without and with latent dropout, and a β that is too large."""
    rng = np.random.default_rng(0)
    context, action, unseen = rng.normal(size=(3, 256, 1))
    data = tuple(map(jnp.asarray, (context, action, action + 0.5 * unseen)))

    def make(key, beta, rate):
        return LatentVariable(1, 1, 1, 2, beta=beta, latent_dropout=rate, width=16, key=key)

    betas, rates = jnp.asarray([1e-6] * 6 + [20.0]), jnp.asarray([0.0, 0.5] * 3 + [0.0])
    worlds = eqx.filter_vmap(make)(jax.random.split(KEY, 7), betas, rates)
    options = {"key": KEY, "optimizer": ADAM, "epochs": 60, "batch_size": 64, "members": 7}
    worlds = fit(worlds, one_step, data, **options).model
    np.testing.assert_array_equal(worlds.beta.value, betas)

    def share(world, context, action, outcome):
        z = world.posterior(context, action, outcome).mean()
        change = world.decode(context, action + 0.5, z) - world.decode(context, action - 0.5, z)
        return change[0], world.kl(context, action, outcome)

    judged = eqx.filter_vmap(lambda world: jax.vmap(lambda *row: share(world, *row))(*data))(worlds)
    survives, kl = (np.asarray(value).mean(axis=1) for value in judged)
    assert survives[0:6:2].mean() < 0.75  # of the whole effect, 1
    assert survives[1:6:2].mean() > 0.85
    assert kl[6] < 0.02 < 1 < kl[0:6:2].min()
    assert abs(survives[6] - 1) < 0.2  # what is not used cannot hide the action


@pytest.mark.parametrize("options", [{"latent": 0}, {"nodes": 0}])
def test_it_refuses_what_it_cannot_be(options):
    with pytest.raises(OptionError, match="LatentVariable"):
        LatentVariable(1, 1, 1, **options, key=KEY)
