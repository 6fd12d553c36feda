"""What predictions say of classes and numbers, against sums and integrals written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from foresee.posteriors.likelihood import (
    CategoricalLikelihood,
    GaussianLikelihood,
    HeteroscedasticLikelihood,
    call,
)
from foresee.posteriors.prediction import ClassPrediction, NumberPrediction

RNG = np.random.default_rng(0)
CLASSES = ClassPrediction(jnp.asarray(2 * RNG.normal(size=(5, 4))), jnp.asarray(RNG.normal(size=5)))
NUMBERS = NumberPrediction(
    jnp.asarray([[0.0, 1.0], [2.0, -1.0], [0.5, 0.0]]),
    jnp.asarray([[0.04, 1.0], [0.25, 0.5], [0.09, 2.0]]),
    jnp.asarray([[0.0, 0.2], [0.1, 0.0], [0.0, 0.3]]),
    jnp.log(jnp.asarray([0.2, 0.5, 0.3])),
)


def test_class_probabilities_and_where_the_doubt_comes_from():
    weights = np.exp(CLASSES.log_weights) / np.exp(CLASSES.log_weights).sum()
    members = np.exp(CLASSES.logits) / np.exp(CLASSES.logits).sum(axis=1, keepdims=True)
    mean = weights @ members
    total = -np.sum(mean * np.log(mean))
    aleatoric = -np.sum(weights[:, None] * members * np.log(members))
    np.testing.assert_allclose(CLASSES.probabilities(), mean, rtol=1e-12)
    np.testing.assert_allclose(CLASSES.total(), total, rtol=1e-12)
    np.testing.assert_allclose(CLASSES.aleatoric(), aleatoric, rtol=1e-12)
    divergence = np.sum(weights[:, None] * members * np.log(members / mean))
    np.testing.assert_allclose(CLASSES.epistemic(), divergence, rtol=1e-9)
    np.testing.assert_allclose(CLASSES.log_prob(jnp.asarray(2)), np.log(mean[2]), rtol=1e-12)
    np.testing.assert_allclose(CLASSES.points(3, key=jax.random.key(0)).weights(), mean, rtol=1e-12)


def test_certain_classes_have_no_doubt_and_finite_gradients():
    logits = jnp.asarray([[1000.0, 0.0, -1000.0]] * 2)
    sure = ClassPrediction(logits, jnp.zeros(2))
    assert sure.total() == sure.aleatoric() == sure.epistemic() == 0
    slope = jax.grad(lambda logits: ClassPrediction(logits, jnp.zeros(2)).total())(logits)
    assert np.isfinite(slope).all()


def test_draws_of_classes_come_as_often_as_they_are_probable():
    draws = jax.vmap(lambda key: CLASSES.sample(key=key))(jax.random.split(jax.random.key(1), 4000))
    counts = np.bincount(draws, minlength=4)
    assert stats.chisquare(counts, 4000 * np.asarray(CLASSES.probabilities())).pvalue > 1e-4


def test_numbers_against_integrals():
    weights, spread = np.array([0.2, 0.5, 0.3]), np.sqrt(NUMBERS.noise + NUMBERS.doubt)
    for column in range(2):
        parts = [stats.norm(NUMBERS.means[i, column], spread[i, column]) for i in range(3)]

        def density(y, parts=parts):
            return sum(w * part.pdf(y) for w, part in zip(weights, parts, strict=True))

        mean = integrate.quad(lambda y: y * density(y), -20, 20, points=[-1, 0, 2])[0]
        square = integrate.quad(lambda y: y**2 * density(y), -20, 20, points=[-1, 0, 2])[0]
        np.testing.assert_allclose(NUMBERS.mean()[column], mean, atol=1e-7)
        np.testing.assert_allclose(NUMBERS.total()[column], square - mean**2, rtol=1e-6)
        np.testing.assert_allclose(
            NUMBERS.cdf(jnp.asarray([0.3, 0.3]))[column],
            sum(weights * [p.cdf(0.3) for p in parts]),
            rtol=1e-7,
        )
    np.testing.assert_allclose(NUMBERS.aleatoric(), weights @ NUMBERS.noise, rtol=1e-12)
    np.testing.assert_allclose(NUMBERS.standard_deviation() ** 2, NUMBERS.total(), rtol=1e-12)


@pytest.mark.parametrize("level", [0.01, 0.3, 0.5, 0.95])
def test_quantiles_undo_the_distribution_function(level):
    value = NUMBERS.quantile(level)
    np.testing.assert_allclose(NUMBERS.cdf(value), level, atol=1e-12)
    slope = jax.jacobian(NUMBERS.quantile)(level)
    step = (NUMBERS.quantile(level + 1e-6) - NUMBERS.quantile(level - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, step, rtol=1e-5)

    def shifted(shift):
        return NumberPrediction(
            NUMBERS.means.at[1].add(shift), NUMBERS.noise, NUMBERS.doubt, NUMBERS.log_weights
        ).quantile(level)

    by_steps = (shifted(1e-6) - shifted(-1e-6)) / 2e-6
    np.testing.assert_allclose(jax.jacobian(shifted)(0.0), by_steps, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("likelihood", "outputs"),
    [
        (CategoricalLikelihood(), [0.3, -1.0, 2.0]),
        (GaussianLikelihood([0.5, 2.0]), [0.3, -1.0]),
        (HeteroscedasticLikelihood(), [0.3, -1.0, 0.2, 1.5]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_curvature_is_the_variance_of_the_score(likelihood, outputs):
    outputs = jnp.asarray(outputs)
    if isinstance(likelihood, CategoricalLikelihood):
        ys, weights = jnp.arange(3), jax.nn.softmax(outputs)
    else:  # five-point Gauss-Hermite quadrature is exact for squares of squares
        nodes, shares = np.polynomial.hermite_e.hermegauss(5)
        belief = likelihood(outputs)
        grid = np.stack([axis.ravel() for axis in np.meshgrid(nodes, nodes)], axis=1)
        weights = np.outer(shares, shares).ravel() / shares.sum() ** 2
        ys = belief.mean() + grid * belief.standard_deviation()
    scores = jax.vmap(jax.grad(likelihood.loss), (None, 0))(outputs, ys)
    np.testing.assert_allclose(
        likelihood.curvature(outputs), (scores * weights[:, None]).T @ scores, rtol=1e-9, atol=1e-12
    )
    losses = jax.vmap(likelihood.loss, (None, 0))(outputs, ys)
    log_probs = jax.vmap(likelihood(outputs).log_prob)(ys)
    np.testing.assert_allclose(losses, -log_probs, rtol=1e-12)


def test_a_key_goes_to_models_that_take_one():
    assert call(lambda x: x, 1.0, key=jax.random.key(0)) == 1.0
    assert call(lambda x, key: (x, key is None), 1.0, key=None) == (1.0, True)
