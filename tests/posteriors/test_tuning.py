from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal, norm

from foresee.errors import PosteriorError, ShapeError
from foresee.posteriors.diagonal import DiagonalCurvature
from foresee.posteriors.evidence import spectral_evidence
from foresee.posteriors.likelihood import CategoricalLikelihood, GaussianLikelihood
from foresee.posteriors.predict import certain, predict
from foresee.posteriors.tuning import tune_by_evidence, tune_by_validation

KEY = jax.random.key(0)
NOISE = 0.5


@pytest.fixture(scope="module")
def regression():
    """Rows whose inputs are orthogonal, so that the diagonal posterior is the exact one."""
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.normal(size=(40, 3)))[0] * np.array([5.0, 2.0, 0.5])
    y = x @ np.array([0.8, -0.3, 1.5]) + NOISE * rng.normal(size=40)
    return x, y, (x**2).sum(0) / NOISE**2


def best_fit(x, y, curvature, precision):
    return (x.T @ y / NOISE**2) / (curvature + precision)


@pytest.mark.parametrize("precision", [0.1, 1.0, 7.0])
def test_the_evidence_is_exact_for_a_linear_model(regression, precision):
    x, y, curvature = regression
    weights = best_fit(x, y, curvature, precision)
    fit = norm.logpdf(y, x @ weights, NOISE).sum()
    covariance = x @ x.T / precision + NOISE**2 * np.eye(len(y))
    expected = multivariate_normal.logpdf(y, np.zeros(len(y)), covariance)
    one = jnp.asarray([precision])  # all weights are one part
    got = spectral_evidence(fit, [jnp.asarray(curvature)], jnp.asarray([weights @ weights]), one)
    np.testing.assert_allclose(got, expected)


def test_the_prior_precision_of_greatest_evidence_is_found(regression):
    x, y, curvature = regression
    weights = best_fit(x, y, curvature, 0.0)

    def loss(log_precision):
        terms = log_precision - np.log(curvature + np.exp(log_precision)) - np.exp(log_precision) * weights**2
        return -0.5 * terms.sum()

    expected: Any = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10})
    tuned = tune_by_evidence(
        {"a": jnp.asarray(curvature[:1]), "b": jnp.asarray(curvature[1:])}, jnp.asarray(weights)
    )
    np.testing.assert_allclose(tuned.prior_precision, np.exp(expected.x), rtol=1e-4)
    np.testing.assert_allclose(tuned.loss, expected.fun, rtol=1e-9)


def test_the_evidence_cannot_find_the_scale(regression):
    _, _, curvature = regression
    part = [jnp.asarray(curvature)], jnp.asarray([3.0]), jnp.ones(1)
    values = [spectral_evidence(0.0, *part, scale) for scale in (1.0, 0.1, 0.01)]
    assert values[0] < values[1] < values[2]


def test_the_gradient_of_the_tuned_evidence_is_its_finite_difference(regression):
    _, _, curvature = regression

    def tuned(size):
        return tune_by_evidence(size * jnp.asarray(curvature), jnp.ones(3)).loss

    step = 1e-5
    expected = (tuned(1.0 + step) - tuned(1.0 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(tuned)(1.0), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def linear(regression):
    x, y, curvature = regression
    layer = eqx.nn.Linear(3, 1, use_bias=False, key=KEY)
    layer = eqx.tree_at(lambda own: own.weight, layer, jnp.asarray(best_fit(x, y, curvature, 1.0)[None]))
    h = eqx.tree_at(lambda own: own.weight, layer, jnp.asarray(curvature[None]))
    return DiagonalCurvature(layer, layer, h)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 3))
    return x, x @ np.array([0.8, -0.3, 1.5]) + NOISE * rng.normal(size=30)


def test_validation_losses_of_a_regression_are_exact(linear, rows):
    x, y = rows
    tuned = linear.tune(GaussianLikelihood(NOISE), (jnp.asarray(x), jnp.asarray(y[:, None])))
    weights, h = np.asarray(linear.weights.weight[0]), np.asarray(linear.curvature.weight[0])
    variances = 1 / (np.asarray(tuned.scales)[:, None] * h + np.asarray(tuned.prior_precisions)[:, None])
    spread = np.sqrt(variances @ (x**2).T + NOISE**2)
    expected = -norm.logpdf(y, x @ weights, spread).mean(1)
    np.testing.assert_allclose(tuned.losses, expected)
    best = np.argmin(expected)
    assert tuned.prior_precision == tuned.prior_precisions[best]
    assert tuned.scale == tuned.scales[best]
    plain = -norm.logpdf(y, x @ weights, NOISE).mean()
    assert tuned.loss <= plain + 1e-6


def test_what_is_named_stays(linear, rows):
    validation = (jnp.asarray(rows[0]), jnp.asarray(rows[1][:, None]))
    tuned = linear.tune(GaussianLikelihood(NOISE), validation, scale=2.0)
    assert set(np.asarray(tuned.scales)) == {2.0}
    tuned = linear.tune(GaussianLikelihood(NOISE), validation, prior_precision=3.0)
    assert float(tuned.prior_precision) == 3.0
    tuned = linear.tune(prior_precision=3.0)
    assert (float(tuned.prior_precision), float(tuned.scale)) == (3.0, 1.0)
    assert float(linear.tune(scale=2.0).scale) == 2.0


def test_of_classes_the_tuned_loss_is_what_prediction_loses(rows):
    network = eqx.nn.Linear(3, 2, key=KEY)
    curvature = DiagonalCurvature(network, network, jax.tree.map(jnp.ones_like, network))
    likelihood = CategoricalLikelihood()
    x, y = jnp.asarray(rows[0]), jnp.asarray(rows[1] > 0, int)
    tuned = curvature.tune(likelihood, (x, y))
    belief = curvature.belief(tuned.prior_precision, tuned.scale)

    @eqx.filter_jit
    def losses(belief):
        return jax.vmap(lambda x, y: -predict(belief, likelihood, x, key=jax.random.key(0)).log_prob(y))(x, y)

    np.testing.assert_allclose(tuned.loss, jnp.mean(losses(belief)), rtol=1e-9)
    assert tuned.loss <= jnp.mean(losses(certain(network))) + 1e-6


def test_rows_that_do_not_fit_and_outputs_that_are_nan_are_refused(linear, rows):
    x, y = jnp.asarray(rows[0]), jnp.asarray(rows[1][:, None])
    likelihood = GaussianLikelihood(NOISE)
    with pytest.raises(ShapeError, match="the same rows"):
        tune_by_validation(linear.prepare, linear.spread, likelihood, (x, y[:3]))
    with pytest.raises(PosteriorError, match="finite loss"):
        tune_by_validation(linear.prepare, linear.spread, likelihood, (x * jnp.nan, y))
    with pytest.raises(PosteriorError, match="likelihood"):
        linear.tune(validation=(x, y))
