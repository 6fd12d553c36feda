"""Ensembles: trained side by side as one by one, and exact draws from the posterior where there is one."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from foresee.beliefs.belief import Points
from foresee.errors import OptionError, PosteriorError, ShapeError
from foresee.fit import fit
from foresee.posteriors.ensemble import bootstrap_rows, ensemble
from foresee.posteriors.likelihood import (
    CategoricalLikelihood,
    GaussianLikelihood,
    HeteroscedasticLikelihood,
    SupervisedLoss,
)
from foresee.posteriors.predict import predict, predict_rows
from foresee.posteriors.randomized_prior import RandomizedPrior

KEY = jax.random.key(0)
NOISE = 0.3
LIKELIHOOD = GaussianLikelihood(NOISE)
ADAM = optax.adam(1e-2)


def network(key):
    """Return a small network of one input and one output."""
    return eqx.nn.MLP(1, 1, 6, 1, jnp.tanh, key=key)


@pytest.fixture(scope="module")
def data():
    """Rows of a sine, densely about zero."""
    x = np.random.default_rng(0).uniform(-1, 1, (24, 1))
    return jnp.asarray(x), jnp.asarray(np.sin(3 * x))


@pytest.fixture(scope="module")
def trained(data):
    """An ensemble of three."""
    return ensemble(network, LIKELIHOOD, data, members=3, key=KEY, epochs=30, optimizer=ADAM)


class Line(eqx.Module):
    """A linear function of features that were computed before."""

    weights: jax.Array

    def __call__(self, x):
        """Return the dot product, as a vector of one."""
        return jnp.dot(self.weights, x)[None]


def line_with_prior(key):
    """Return a line that starts at zero, plus one drawn from N(0, I/4)."""
    return RandomizedPrior(Line(jnp.zeros(2)), Line(0.5 * jax.random.normal(key, (2,))))


def test_in_the_linear_gaussian_case_members_are_draws_from_the_posterior():
    members, rows = 4000, 5
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 2))
    y = x @ np.array([0.8, -0.4]) + NOISE * rng.normal(size=rows)
    covariance = np.linalg.inv(x.T @ x / NOISE**2 + 4.0 * np.eye(2))
    mean = covariance @ x.T @ y / NOISE**2
    # Gradient descent on a quadratic, with a step that suits the steepest direction, to the very end.
    curvature = np.linalg.eigvalsh(np.linalg.inv(covariance)) / rows
    descent = optax.sgd(2 / (curvature[0] + curvature[-1]))
    belief = ensemble(
        line_with_prior,
        LIKELIHOOD,
        (jnp.asarray(x), jnp.asarray(y)[:, None]),
        members=members,
        key=KEY,
        perturb=True,
        precision=4.0,
        epochs=400,
        optimizer=descent,
    )
    drawn = belief.values
    weights = np.asarray(drawn.base.weights + drawn.prior.value.weights)
    white = (weights - mean) @ np.linalg.cholesky(np.linalg.inv(covariance))
    # Under the posterior: N(0, I). The sum of squares is χ² with 2 · members degrees of freedom.
    assert np.all(np.abs(white.mean(axis=0)) < 4.5 / np.sqrt(members))
    empirical = np.cov(white.T)
    assert np.all(np.abs(np.diag(empirical) - 1) < 4.5 * np.sqrt(2 / members))
    assert abs(empirical[0, 1]) < 4.5 / np.sqrt(members)
    # No prior draws, no perturbation: every member is the posterior mean, a point.
    plain = ensemble(
        lambda key: Line(jnp.zeros(2)),
        LIKELIHOOD,
        (jnp.asarray(x), jnp.asarray(y)[:, None]),
        members=2,
        key=KEY,
        precision=4,
        epochs=400,
        optimizer=descent,
    )
    np.testing.assert_allclose(plain.values.weights, [mean, mean], atol=1e-9)


def test_side_by_side_is_one_by_one(data, trained):
    assert isinstance(trained, Points)
    makers, order, _, _ = jax.random.split(KEY, 4)
    seeds, orders = jax.random.split(makers, 3), jax.random.split(order, 3)
    for index in range(3):
        alone = fit(
            network(seeds[index]),
            SupervisedLoss(LIKELIHOOD),
            data,
            key=orders[index],
            epochs=30,
            optimizer=ADAM,
        ).model
        for ours, theirs in zip(
            jax.tree.leaves(trained.values), jax.tree.leaves(eqx.filter(alone, eqx.is_array)), strict=True
        ):
            np.testing.assert_allclose(ours[index], theirs, atol=1e-10)


def test_predictions_are_the_members_average(data, trained):
    x = jnp.asarray([0.3])
    prediction = predict(trained, LIKELIHOOD, x, key=KEY)
    outputs = np.asarray(trained.push(lambda net: net(x)).values)
    np.testing.assert_allclose(prediction.mean(), outputs.mean(axis=0))
    np.testing.assert_allclose(prediction.epistemic(), outputs.var(axis=0))
    np.testing.assert_allclose(prediction.aleatoric(), [NOISE**2])
    rows: Any = predict_rows(trained, LIKELIHOOD, data[0], key=KEY)
    one = predict(trained, LIKELIHOOD, data[0][7], key=KEY)
    np.testing.assert_allclose(rows.means[7], one.means, rtol=1e-12)
    slope = jax.grad(lambda x: predict(trained, LIKELIHOOD, x, key=KEY).mean()[0])(x)
    step = 1e-6
    up, down = (predict(trained, LIKELIHOOD, x + s, key=KEY).mean()[0] for s in (step, -step))
    np.testing.assert_allclose(slope, [(up - down) / (2 * step)], rtol=1e-5)


def test_the_same_key_gives_the_same_ensemble_and_another_one_another(data, trained):
    again = ensemble(network, LIKELIHOOD, data, members=3, key=KEY, epochs=30, optimizer=ADAM)
    other = ensemble(network, LIKELIHOOD, data, members=3, key=jax.random.key(1), epochs=30, optimizer=ADAM)
    weights = [ens.values.layers[0].weight for ens in (trained, again, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.any(weights[0] == weights[2])
    assert len({float(member) for member in weights[0][:, 0, 0]}) == 3


def test_a_bootstrap_sample_is_drawn_with_replacement_for_every_member():
    rows = np.asarray(bootstrap_rows(1000, 8, key=KEY))
    assert rows.shape == (8, 1000)
    assert rows.min() >= 0
    assert rows.max() <= 999
    # The share of distinct rows is 1 − 1/e with a standard deviation of about 0.01.
    shares = [len(set(row)) / 1000 for row in rows]
    np.testing.assert_allclose(shares, 1 - np.exp(-1), atol=0.05)
    assert len({tuple(row) for row in rows}) == 8


def test_bootstrap_members_see_their_own_rows():
    x, y = jnp.ones((6, 1)), jnp.arange(6.0)[:, None]
    belief = ensemble(
        lambda key: Line(jnp.zeros(1)),
        GaussianLikelihood(1.0),
        (x, y),
        members=5,
        key=KEY,
        bootstrap=True,
        epochs=3,
        optimizer=optax.sgd(1.0),
    )
    rows = bootstrap_rows(6, 5, key=jax.random.split(KEY, 4)[2])
    np.testing.assert_allclose(belief.values.weights[:, 0], np.mean(rows, axis=1), atol=1e-12)


def test_validation_is_judged_without_perturbation(data):
    belief = ensemble(
        network, LIKELIHOOD, data, members=2, key=KEY, perturb=True, validation=data, epochs=3, optimizer=ADAM
    )
    assert belief.log_weights.shape == (2,)


def test_what_cannot_be_done_is_said(data):
    x, y = data
    common: Any = {"members": 2, "key": KEY, "epochs": 2}
    with pytest.raises(OptionError, match="at least 1 member, got 0"):
        ensemble(network, LIKELIHOOD, data, **(common | {"members": 0}))
    with pytest.raises(OptionError, match="precision of at least 0, got -1"):
        ensemble(network, LIKELIHOOD, data, precision=-1, **common)
    with pytest.raises(OptionError, match="rows or bootstrap, got both"):
        ensemble(network, LIKELIHOOD, data, bootstrap=True, rows=jnp.arange(5), **common)
    with pytest.raises(PosteriorError, match="GaussianLikelihood to perturb targets by, got Hetero"):
        ensemble(network, HeteroscedasticLikelihood(), data, perturb=True, **common)
    with pytest.raises(PosteriorError, match="GaussianLikelihood to perturb targets by, got Categ"):
        ensemble(network, CategoricalLikelihood(), data, perturb=True, **common)
    with pytest.raises(PosteriorError, match="2 members with finite weights and losses, got 2 without"):
        ensemble(network, LIKELIHOOD, (x, y.at[3].set(jnp.nan)), **common)
    with pytest.raises(ShapeError, match="one common leading axis"):
        ensemble(network, LIKELIHOOD, (x, y[:5]), **common)
