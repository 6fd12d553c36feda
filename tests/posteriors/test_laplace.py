"""Laplace approximations against closed forms, each other, finite differences and bad input."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.stats import binom, multivariate_normal

from foresee.beliefs import Gaussian
from foresee.errors import OptionError, PosteriorError, ShapeError
from foresee.posteriors.evidence import log_evidence, maximise_evidence
from foresee.posteriors.kronecker import kronecker_factors
from foresee.posteriors.laplace import curvature_of, laplace, posterior
from foresee.posteriors.last_layer import LastLayerBelief
from foresee.posteriors.likelihood import CategoricalLikelihood, GaussianLikelihood
from foresee.posteriors.network import WeightBelief, linearised
from foresee.posteriors.predict import predict, predict_rows
from foresee.posteriors.randomized_prior import RandomizedPrior

KEYS = jax.random.split(jax.random.key(8), 8)
CLASSES = CategoricalLikelihood()
PRECISION, NOISE = 0.7, 0.4
STRUCTURES = ("last_kronecker", "last_full", "last_diagonal", "kronecker", "diagonal", "full")


def regression(rows=12, seed=0):
    """Linear data, its design with a column of ones, and the exact posterior of weights and bias."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 2))
    design = np.concatenate([x, np.ones((rows, 1))], axis=1)
    truth = draw.normal(size=3) / np.sqrt(PRECISION)
    y = design @ truth + NOISE * draw.normal(size=rows)
    covariance = np.linalg.inv(design.T @ design / NOISE**2 + PRECISION * np.eye(3))
    mean = covariance @ design.T @ y / NOISE**2
    network = eqx.nn.Linear(2, 1, key=KEYS[0])
    network = eqx.tree_at(
        lambda n: (n.weight, n.bias), network, (jnp.asarray(mean[None, :2]), jnp.asarray(mean[2:]))
    )
    return network, (jnp.asarray(x), jnp.asarray(y[:, None])), design, mean, covariance, truth


@pytest.fixture(scope="module")
def trained():
    """A small classifier, not at its optimum, and its data."""
    network = eqx.nn.MLP(2, 3, 4, 1, jnp.tanh, key=KEYS[1])
    x = jax.random.normal(KEYS[2], (9, 2))
    return network, (x, jnp.asarray([0, 2, 1, 1, 0, 2, 2, 0, 1]))


@pytest.fixture(scope="module")
def curvatures(trained):
    return {
        name: curvature_of(trained[0], CLASSES, trained[1], structure=name, at_once=4) for name in STRUCTURES
    }


@pytest.mark.parametrize("structure", ["full", "last_full", "last_kronecker", "kronecker"])
def test_linear_regression_is_exact(structure):
    network, data, design, mean, covariance, _ = regression()
    likelihood = GaussianLikelihood(NOISE)
    curvature = curvature_of(network, likelihood, data, structure=structure)
    belief: Any = posterior(curvature, PRECISION)
    np.testing.assert_allclose(belief.weights.full().covariance, covariance, rtol=1e-9, atol=1e-12)
    marginal = NOISE**2 * np.eye(len(design)) + design @ design.T / PRECISION
    exact = multivariate_normal.logpdf(np.asarray(data[1][:, 0]), np.zeros(len(design)), marginal)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(log_evidence(curvature, np.log(PRECISION)), exact, rtol=1e-10)
    x = jnp.asarray([0.4, -2.0])
    at = np.append(x, 1.0)
    got = predict(belief, likelihood, x, key=KEYS[3])
    np.testing.assert_allclose(got.mean(), [at @ mean], rtol=1e-10)
    np.testing.assert_allclose(got.epistemic(), [at @ covariance @ at], rtol=1e-9)
    np.testing.assert_allclose(got.aleatoric(), [NOISE**2], rtol=1e-10)


def test_intervals_of_a_linear_regression_hold_as_often_as_they_say():
    """Data from the prior: 90 % intervals of new rows hold 90 %, within a binomial band of 1 in 10,000."""
    trials = 400

    @jax.jit
    def covered(key):
        keys = jax.random.split(key, 4)
        truth = jax.random.normal(keys[0], (3,)) / jnp.sqrt(PRECISION)
        x = jax.random.normal(keys[1], (9, 2))
        design = jnp.concatenate([x, jnp.ones((9, 1))], axis=1)
        y = design @ truth + NOISE * jax.random.normal(keys[2], (9,))
        fitted, new = (x[:8], y[:8, None]), (x[8], y[8])
        normal = design[:8].T @ design[:8] / NOISE**2 + PRECISION * jnp.eye(3)
        mode = jnp.linalg.solve(normal, design[:8].T @ y[:8] / NOISE**2)
        blank = eqx.nn.Linear(2, 1, key=KEYS[0])
        network = eqx.tree_at(lambda n: (n.weight, n.bias), blank, (mode[None, :2], mode[2:]))
        belief: Any = laplace(
            network, GaussianLikelihood(NOISE), fitted, structure="last_full", prior_precision=PRECISION
        )
        level = predict(belief, GaussianLikelihood(NOISE), new[0], key=keys[3]).cdf(new[1][None])[0]
        return (level > 0.05) & (level < 0.95)

    hits = int(jnp.sum(jax.vmap(covered)(jax.random.split(KEYS[4], trials))))
    low, high = binom(trials, 0.9).interval(0.9999)
    assert low <= hits <= high


def test_evidence_of_every_structure_is_that_of_its_own_precision(trained, curvatures):
    """½ log det of the posterior precision written out, for each structure and two precisions."""
    for name, curvature in curvatures.items():
        for precision in (0.1, 5.0):
            belief: Any = posterior(curvature, precision).weights
            full = np.asarray(belief.full().covariance)
            flat = np.asarray(ravel_pytree(belief.mean())[0])
            expected = -float(curvature.loss) - 0.5 * precision * flat @ flat
            expected += 0.5 * (len(flat) * np.log(precision) + np.linalg.slogdet(full)[1])
            np.testing.assert_allclose(
                log_evidence(curvature, np.log(precision)), expected, rtol=1e-9, err_msg=name
            )
    losses = jax.vmap(lambda x, y: CLASSES.loss(trained[0](x), y))(*trained[1])
    np.testing.assert_allclose(curvature.loss, jnp.sum(losses), rtol=1e-12)


def test_evidence_gradient_is_that_of_finite_differences_and_zero_at_the_maximum(curvatures):
    network, data, *_ = regression()
    curvature = curvature_of(network, GaussianLikelihood(NOISE), data, structure="full")
    gradient = jax.jit(jax.grad(lambda both: log_evidence(curvature, both[0], both[1])))
    at, step = jnp.asarray([0.3, -0.2]), 1e-5
    for axis in np.eye(2):
        rise = log_evidence(curvature, *(at + step * axis)) - log_evidence(curvature, *(at - step * axis))
        np.testing.assert_allclose(axis @ gradient(at), rise / (2 * step), rtol=1e-7)
    best = maximise_evidence(curvature, noise=True)
    assert bool(best.converged)
    assert 0.1 < best.noise_scale < 3
    np.testing.assert_allclose(
        gradient(jnp.log(jnp.stack([best.prior_precision[0], best.noise_scale]))), [0, 0], atol=1e-6
    )
    for curvature in (curvatures["kronecker"], curvatures["diagonal"]):
        best = jax.jit(lambda c: maximise_evidence(c, per_part=True))(curvature)
        assert best.prior_precision.shape == (2,)
        logs = jnp.log(best.prior_precision)
        np.testing.assert_allclose(jax.grad(lambda p: log_evidence(curvature, p))(logs), [0, 0], atol=1e-9)  # noqa: B023
        assert best.log_evidence >= maximise_evidence(curvature).log_evidence
        effective = jnp.sum(best.effective)
        assert 0 < effective < 27


def test_evidence_says_when_it_has_no_maximum(curvatures):
    curvature = curvatures["diagonal"]
    nothing = dataclasses.replace(curvature, centre=jax.tree.map(jnp.zeros_like, curvature.centre))
    assert not bool(maximise_evidence(nothing).converged)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_outputs_are_the_jacobian_through_the_covariance(trained, curvatures, structure):
    network, (x, _) = trained
    belief: Any = posterior(curvatures[structure], 0.5)
    kind = LastLayerBelief if structure.startswith("last_") else WeightBelief
    assert belief.__class__ is kind
    value, jacobian = linearised(belief.network, belief.weights.mean(), x[0])
    flat = np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(jacobian))
    outputs = belief.outputs(x[0])
    expected = flat @ np.asarray(belief.weights.full().covariance) @ flat.T
    np.testing.assert_allclose(outputs.mean(), network(x[0]), rtol=1e-12)
    np.testing.assert_allclose(outputs.covariance, expected, rtol=1e-8)
    np.testing.assert_allclose(value, network(x[0]), rtol=1e-12)
    if kind is LastLayerBelief:
        np.testing.assert_allclose(belief.variances(x[0]), np.diagonal(expected), rtol=1e-8)
    if hasattr(belief.weights, "through"):
        np.testing.assert_allclose(belief.weights.through(jacobian), expected, rtol=1e-9)


@pytest.mark.parametrize("structure", ["full", "kronecker"])
def test_draws_and_densities_are_those_of_the_covariance(curvatures, structure):
    weights: Any = posterior(curvatures[structure], 0.5).weights
    exact = weights.full()
    draws = weights.points(4000, key=KEYS[5])
    flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])(draws.values)
    np.testing.assert_allclose(flat.mean(0), exact.vector(), atol=1e-10)  # antithetic
    scale = np.sqrt(np.diagonal(exact.covariance))
    apart = (np.cov(flat.T) - np.asarray(exact.covariance)) / np.outer(scale, scale)
    assert np.abs(apart).max() < 6 / np.sqrt(2000)
    one = weights.sample(key=KEYS[6])
    np.testing.assert_allclose(weights.log_prob(one), exact.log_prob(one), rtol=1e-9)


def test_compiled_and_batched_are_the_same(trained):
    network, data = trained
    likelihood = CLASSES

    def spread(network):
        belief: Any = laplace(network, likelihood, data, structure="last_kronecker")
        return belief.outputs(data[0][0]).covariance

    networks = eqx.filter_vmap(lambda key: eqx.nn.MLP(2, 3, 4, 1, jnp.tanh, key=key))(KEYS[:2])
    batched = eqx.filter_vmap(spread)(networks)
    for index in range(2):
        one = jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, networks)  # noqa: B023
        np.testing.assert_allclose(batched[index], spread(one), rtol=1e-9)
    np.testing.assert_allclose(eqx.filter_jit(spread)(network), spread(network), rtol=1e-9)


def test_a_convolutional_network_gets_every_structure_and_predictions():
    class Small(eqx.Module):
        image: eqx.nn.Conv2d
        last: eqx.nn.Linear

        def __call__(self, x):
            return self.last(jnp.tanh(self.image(x)).ravel())

    network = Small(eqx.nn.Conv2d(1, 2, 2, stride=2, key=KEYS[0]), eqx.nn.Linear(8, 3, key=KEYS[1]))
    x, y = jax.random.normal(KEYS[2], (6, 1, 4, 4)), jnp.asarray([0, 1, 2, 0, 1, 2])
    belief: Any = laplace(network, CLASSES, (x, y), structure="kronecker", per_layer=True)
    _, jacobian = linearised(belief.network, belief.weights.mean(), x[0])
    np.testing.assert_allclose(
        belief.outputs(x[0]).covariance, belief.weights.through(jacobian), rtol=1e-9, atol=1e-13
    )
    diagonal = laplace(network, CLASSES, (x, y), structure="diagonal", prior_precision=2.0)
    got = predict_rows(diagonal, CLASSES, x, key=KEYS[3], n=8)
    np.testing.assert_allclose(jax.vmap(lambda one: one.probabilities())(got).sum(1), 1.0, rtol=1e-12)


def test_validation_rows_choose_the_precision(trained):
    network, data = trained
    belief: Any = laplace(network, CLASSES, data, structure="last_full", validation=data)
    chosen = 1 / float(
        jnp.max(belief.weights.variances)
    )  # a null direction of the softmax has the prior alone
    assert 1e-4 < chosen < 1e10


def test_float32_is_good_enough(trained, curvatures):
    network, (x, y) = trained
    single = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, network
    )
    curvature = curvature_of(single, CLASSES, (x.astype(jnp.float32), y), structure="kronecker")
    best = maximise_evidence(curvature)
    assert best.log_evidence.dtype == jnp.float32
    expected = maximise_evidence(curvatures["kronecker"])
    np.testing.assert_allclose(best.prior_precision, expected.prior_precision, rtol=1e-3)
    got = posterior(curvature, best.prior_precision[0]).outputs(x[0].astype(jnp.float32))
    wide = posterior(curvatures["kronecker"], expected.prior_precision[0]).outputs(x[0])
    assert isinstance(got, Gaussian)
    np.testing.assert_allclose(got.covariance, wide.covariance, rtol=2e-3)


class Soft(eqx.Module):
    """A classifier that ends in a softmax, which it should not."""

    last: eqx.nn.Linear

    def __call__(self, x):
        return jax.nn.softmax(self.last(x))


def test_wrong_input_is_named(trained):
    network, (x, y) = trained
    broken = eqx.tree_at(lambda n: n.layers[0].bias, network, jnp.full(4, jnp.nan))
    flat = eqx.nn.Sequential([eqx.nn.Conv1d(1, 3, 2, key=KEYS[0]), eqx.nn.Lambda(jnp.ravel)])
    wrong = [
        (ShapeError, "the same rows", network, (x, y[:-1]), {}),
        (ShapeError, "vector of integers", network, (x, y[:, None]), {}),
        (ShapeError, "vector of integers", network, (x, y.astype(float)), {}),
        (PosteriorError, r"labels in 0\.\.2, got 0\.\.3", network, (x, y.at[0].set(3).at[1].set(0)), {}),
        (PosteriorError, "finite numbers in the inputs", network, (x.at[0, 0].set(jnp.nan), y), {}),
        (PosteriorError, "finite numbers in the network", broken, (x, y), {}),
        (PosteriorError, "softmax in the end", Soft(eqx.nn.Linear(2, 3, key=KEYS[0])), (x, y), {}),
        (PosteriorError, "softmax in the end", network, (x, y), {"last": lambda n: n.layers[0]}),
        (PosteriorError, "found none", flat, (x[:, None], y), {}),
        (PosteriorError, "to return an equinox.nn.Linear", network, (x, y), {"last": lambda n: n}),
        (OptionError, "expected a structure", network, (x, y), {"structure": "kfac"}),
        (OptionError, "no meaning", network, (x, y), {"structure": "full", "last": lambda n: n.layers[1]}),
        (OptionError, "prior precision > 0", network, (x, y), {"prior_precision": -1.0}),
        (OptionError, "one for each of", network, (x, y), {"prior_precision": [1.0, 2.0]}),
        (OptionError, "at_once", network, (x, y), {"at_once": 0}),
        (OptionError, "no per_layer", network, (x, y), {"validation": (x, y), "per_layer": True}),
    ]  # fmt: skip
    for error, match, model, data, options in wrong:
        with pytest.raises(error, match=match):
            laplace(model, CLASSES, data, **options)
    with pytest.raises(ShapeError, match=r"targets of shape \(rows, 3\)"):
        laplace(network, GaussianLikelihood(1.0), (x, jnp.zeros((9, 1))))
    with pytest.raises(OptionError, match="GaussianLikelihood"):
        maximise_evidence(curvature_of(network, CLASSES, (x, y)), noise=True)


def test_known_parts_are_not_in_doubt():
    """A randomized prior's fixed function is no layer to be uncertain of, last in the tree though it is."""
    base, fixed = (eqx.nn.MLP(2, 3, 2, 1, jnp.tanh, key=key) for key in KEYS[:2])
    network, (x, y) = RandomizedPrior(base, fixed), (jnp.ones((3, 2)), jnp.asarray([0, 1, 2]))
    curvature = curvature_of(network, CLASSES, (x, y))
    assert (curvature.last, curvature.parts) == ("base.layers[1]", ("base.layers[1]",))
    factors = jax.eval_shape(lambda x: kronecker_factors(network, CLASSES, x), x)
    assert list(factors) == ["base.layers[0]", "base.layers[1]"]
    np.testing.assert_allclose(posterior(curvature, 1.0).outputs(x[0]).mean(), network(x[0]), rtol=1e-12)
