import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from foresee.beliefs import DiagonalGaussian, Points
from foresee.errors import OptionError
from foresee.fit import fit
from foresee.posteriors import GaussianLikelihood, WeightBelief, dropout, l2m
from foresee.worlds import (
    Deterministic,
    Normaliser,
    Within,
    mean_step,
    one_step,
    uncertainty,
    unroll,
    variances,
)

KEY = jax.random.key(0)
ADAM = optax.adam(1e-2)
VALUES = np.random.default_rng(0).normal(size=(4, 3, 2))


def whole(world):
    return world.network


def said(value):
    return {"states": value, "cost": value[:, 0]}


def test_variances_are_over_worlds_and_averaged_over_outputs():
    got = variances(Points(jnp.asarray(VALUES)), said, key=KEY)
    np.testing.assert_allclose(got["states"], VALUES.var(axis=0, ddof=1).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(got["cost"], VALUES[:, :, 0].var(axis=0, ddof=1), rtol=1e-12)
    one = variances(Points(jnp.asarray(VALUES[:1])), said, key=KEY)
    np.testing.assert_array_equal(one["cost"], 0)


def test_weights_count_as_copies_do_but_for_the_correction():
    weighted = Points(jnp.asarray(VALUES[:2]), jnp.log(jnp.asarray([0.75, 0.25])))
    copies = VALUES[[0, 0, 0, 1]][:, :, 0]
    expected = copies.var(axis=0) / (1 - 0.75**2 - 0.25**2)
    np.testing.assert_allclose(variances(weighted, said, key=KEY)["cost"], expected, rtol=1e-12)


def test_a_belief_with_a_covariance_is_linearised_about_its_mean():
    world = Deterministic(1, 1, 1, width=3, depth=1, key=KEY)
    weights = eqx.filter(world, eqx.is_inexact_array)
    belief = WeightBelief(DiagonalGaussian(weights, jax.tree.map(lambda leaf: 0.1 + leaf**2, weights)), world)

    def outputs(world):
        return world(jnp.ones(1), jnp.ones(1)).mean()[None]

    slope = eqx.filter_jit(eqx.filter_grad(lambda world: outputs(world)[0, 0]))(world)
    expected = sum(
        np.sum(np.asarray(own) ** 2 * (0.1 + np.asarray(leaf) ** 2))
        for own, leaf in zip(jax.tree.leaves(slope), jax.tree.leaves(weights), strict=True)
    )

    @eqx.filter_jit
    def doubt(belief, method=None):
        return variances(belief, outputs, 4000, key=KEY, method=method)

    np.testing.assert_allclose(doubt(belief), [expected], rtol=0.1)
    drawn = doubt(belief, "samples")
    assert abs(float(drawn[0]) - expected) > 0.2 * expected
    same = doubt(eqx.filter_jit(belief.points)(4000, key=KEY))  # points are taken as they are
    np.testing.assert_allclose(drawn, same, rtol=1e-10)


def test_the_method_must_be_known_and_fit_the_belief():
    with pytest.raises(OptionError, match="'linear' or 'samples'"):
        variances(Points(jnp.asarray(VALUES)), said, key=KEY, method="best")
    with pytest.raises(OptionError, match="got Points"):
        variances(Points(jnp.asarray(VALUES)), said, key=KEY, method="linear")


def test_the_cost_is_that_of_the_textbook():
    expert = np.random.default_rng(1).uniform(1, 2, (2, 50, 3))  # of states and costs, 50 sequences, 3 steps
    normaliser = Normaliser.fit({"states": jnp.asarray(expert[0]), "cost": jnp.asarray(expert[1])})
    seen = np.array([[1.0, 2.0, 3.0], [1.5, 1.5, 9.0]])
    expected = sum(
        np.mean(np.maximum((own - each.mean(axis=0)) / each.std(axis=0, ddof=1) - 0.5, 0))
        for own, each in zip(seen, expert, strict=True)
    )
    variance = {"states": jnp.asarray(seen[0]), "cost": jnp.asarray(seen[1])}
    np.testing.assert_allclose(normaliser(variance), expected, rtol=1e-12)
    usual = jax.tree.map(lambda leaf: leaf.mean(axis=0), {"states": expert[0], "cost": expert[1]})
    assert normaliser(jax.tree.map(jnp.asarray, usual)) == 0


def test_sequences_that_are_all_the_same_give_no_infinite_cost():
    normaliser = Normaliser.fit(jnp.full((5, 2), 3.0))
    np.testing.assert_allclose(normaliser(jnp.asarray([3.0, 6.0])), 0.25, rtol=1e-12)
    zero = Normaliser.fit(jnp.zeros((1, 2)))
    assert zero(jnp.zeros(2)) == 0


@pytest.fixture(scope="module")
def trained():
    """Five worlds of a curve on −1 to 1, and what the optimiser remembers."""
    rng = np.random.default_rng(0)
    context, action = rng.uniform(-1, 1, (2, 256, 1))
    outcome = np.sin(3 * context) + 0.5 * action + 0.1 * rng.normal(size=(256, 1))
    data = tuple(map(jnp.asarray, (context, action, outcome)))
    worlds = eqx.filter_vmap(lambda key: Deterministic(1, 1, 1, width=16, dropout=0.1, key=key))(
        jax.random.split(KEY, 5)
    )
    options = {"key": KEY, "optimizer": ADAM, "epochs": 60, "batch_size": 64, "members": 5}
    return fit(worlds, one_step, data, **options), data


def first(stacked):
    return jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, stacked)


def beliefs(trained):
    fitted, data = trained
    one, state = first(fitted.model), first(fitted.optimizer_state)
    likelihood = GaussianLikelihood(jnp.exp(one.log_noise))
    return {
        "ensemble": Points(fitted.model),
        "dropout": Within(dropout(one.network, masks="network"), one, whole),
        "l2m": l2m(one, state, likelihood, data, batch_size=64, prior_precision=1.0, scale=1.0),
    }


@pytest.mark.parametrize("name", ["ensemble", "dropout", "l2m"])
def test_doubt_of_any_posterior_grows_off_the_data_where_one_network_says_the_same(trained, name):
    fitted, _ = trained
    belief, one, action = beliefs(trained)[name], first(fitted.model), jnp.zeros(1)

    @eqx.filter_jit
    def doubt(belief, at):
        def single(x):
            return variances(belief, lambda world: world(x[None], action).mean()[None], 30, key=KEY)

        return jax.vmap(single)(at)

    inside, outside = doubt(belief, jnp.linspace(-0.9, 0.9, 20)), doubt(belief, jnp.linspace(2.5, 3.5, 20))
    assert np.mean(outside) > 3 * np.mean(inside) > 0
    noise = [one(jnp.asarray([x]), action).variance for x in (0.0, 3.0)]
    np.testing.assert_array_equal(*noise)
    normaliser = Normaliser.fit(inside)
    assert np.mean(jax.vmap(normaliser)(outside)) > 1 > np.mean(jax.vmap(normaliser)(inside))


@pytest.mark.parametrize("name", ["ensemble", "l2m"])
def test_the_cost_of_an_unrolled_future_has_a_gradient_in_the_actions(trained, name):
    belief = beliefs(trained)[name]
    normaliser = Normaliser(jnp.zeros(4), jnp.full(4, 1e-3))

    @eqx.filter_jit
    @jax.grad
    def slope(actions):
        def outputs(world):
            return unroll(lambda state, action: mean_step(world, state, action), jnp.ones(1), actions)

        return uncertainty(belief, outputs, normaliser, 5, key=KEY)

    found = np.asarray(slope(jnp.full((4, 1), 0.5)))
    assert np.isfinite(found).all()
    assert np.abs(found).min() > 0


def test_within_puts_the_part_in_its_place():
    model = {"scale": jnp.asarray(2.0), "part": jnp.zeros(2)}
    belief = Within(DiagonalGaussian(jnp.ones(2), 1.0), model, lambda whole: whole["part"])
    np.testing.assert_array_equal(belief.mean()["part"], 1)
    drawn = belief.sample(key=KEY)
    np.testing.assert_array_equal(drawn["part"], belief.belief.sample(key=KEY))
    points = belief.points(6, key=KEY).stacked()
    assert points["part"].shape == (6, 2)
    np.testing.assert_array_equal(points["scale"], 2)
