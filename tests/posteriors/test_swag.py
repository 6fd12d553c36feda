"""SWAG against moments collected in plain NumPy along the same path."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from foresee.errors import OptionError, PosteriorError
from foresee.fit import fit
from foresee.fit.known import Known
from foresee.posteriors.likelihood import GaussianLikelihood, SupervisedLoss
from foresee.posteriors.predict import predict
from foresee.posteriors.swag import SwagWeights, record_path, swag

KEY = jax.random.key(0)
LIKELIHOOD = GaussianLikelihood(0.5)


class Line(eqx.Module):
    """A line through known features."""

    weights: jax.Array
    offset: jax.Array
    known: Known

    def __call__(self, x):
        """Return one number as a vector."""
        return (self.weights @ x + self.offset)[None] * self.known.fixed()


@pytest.fixture(scope="module")
def data():
    """Noisy rows of a line."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    return jnp.asarray(x), jnp.asarray(x @ np.array([[1.0], [-2.0]]) + 0.5 * rng.normal(size=(40, 1)))


@pytest.fixture(scope="module")
def line():
    """A line near the solution."""
    return Line(jnp.asarray([0.9, -1.9]), jnp.zeros(()), Known(jnp.ones(1)))


@pytest.fixture(scope="module")
def belief(data, line):
    """What SWAG makes of 12 epochs."""
    return swag(line, LIKELIHOOD, data, key=KEY, rank=4, epochs=12, batch_size=10, learning_rate=0.02)


def test_moments_are_those_of_the_iterates(data, line, belief):
    watched = fit(
        line,
        SupervisedLoss(LIKELIHOOD),
        data,
        key=KEY,
        optimizer=optax.sgd(0.02, 0.9),
        epochs=12,
        batch_size=10,
        watch=lambda model: jnp.append(model.weights, model.offset),
    ).watched
    path = np.asarray(watched)[1:]
    running = np.cumsum(path, axis=0) / np.arange(1, 13)[:, None]
    weights = belief.weights
    np.testing.assert_allclose([*weights.location.weights, weights.location.offset], running[-1], rtol=1e-9)
    variance = [*weights.variance.weights, weights.variance.offset]
    np.testing.assert_allclose(variance, (path**2).mean(axis=0) - running[-1] ** 2, rtol=1e-7)
    rows = np.concatenate([weights.deviations.weights, weights.deviations.offset[:, None]], axis=1)
    # Iterate i lies in row i modulo the rank; 12 is a multiple of 4, so they are in order.
    np.testing.assert_allclose(rows, (path - running)[-4:], atol=1e-12)
    assert weights.location.known.value is None


def weights_of(scale):
    """Return a belief over a pytree of five numbers."""
    rng = np.random.default_rng(1)

    def tree(*shape):
        return {
            "a": jnp.asarray(rng.normal(size=(*shape, 3))),
            "b": jnp.asarray(rng.normal(size=(*shape, 2))),
        }

    variance = jax.tree.map(jnp.square, tree())
    return SwagWeights(tree(), variance, tree(6), scale)


def flat(tree):
    """Return the numbers of a pytree in one axis."""
    return np.concatenate([tree["a"], tree["b"]], axis=-1)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_draws_have_the_covariance_that_passes_through_a_linear_map(scale):
    weights, n = weights_of(scale), 20000
    deviations = flat(weights.deviations)
    covariance = scale / 2 * (np.diag(flat(weights.variance)) + deviations.T @ deviations / 5)
    identity = {"a": jnp.eye(5)[:, :3], "b": jnp.eye(5)[:, 3:]}
    np.testing.assert_allclose(weights.through(identity), covariance, rtol=1e-12)
    drawn = flat(weights.points(n, key=KEY).values)
    white = (drawn - flat(weights.mean())) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    assert np.all(np.abs(white.mean(axis=0)) < 4.5 / np.sqrt(n))
    assert np.all(np.abs(np.cov(white.T) - np.eye(5)) < 4.5 * np.sqrt(2 / n))


def test_without_scale_there_is_no_doubt():
    weights = weights_of(0.0)
    np.testing.assert_array_equal(flat(weights.sample(key=KEY)), flat(weights.mean()))


def test_linearised_and_sampled_predictions_of_a_linear_network_agree(belief):
    x, n = jnp.asarray([0.5, 1.5]), 20000
    linear = predict(belief, LIKELIHOOD, x, key=KEY)
    drawn = predict(belief, LIKELIHOOD, x, key=KEY, n=n, method="samples")
    doubt = float(linear.epistemic()[0])
    np.testing.assert_allclose(drawn.mean(), linear.mean(), atol=4.5 * np.sqrt(doubt / n))
    np.testing.assert_allclose(drawn.epistemic(), [doubt], rtol=4.5 * np.sqrt(2 / n))
    compiled = jax.jit(lambda belief: predict(belief, LIKELIHOOD, x, key=KEY).total())(belief)
    np.testing.assert_allclose(compiled, linear.total(), rtol=1e-10)


def test_the_path_is_recorded_every_so_many_steps_and_changes_no_update():
    recorder: Any = record_path(3, 2)
    parameters = jnp.zeros(1)
    state = recorder.init(parameters)
    for step in range(1, 8):
        update, state = recorder.update(jnp.ones(1), state, parameters)
        assert float(update[0]) == 1.0
        parameters = parameters + update
        assert int(state.count) == step // 2
    np.testing.assert_allclose(state.average, [4.0])
    np.testing.assert_allclose(state.squares, [8.0])
    np.testing.assert_allclose(state.deviations[:, 0], [0.0, 1.0, 2.0])


def test_the_same_key_gives_the_same_belief(data, line, belief):
    again = swag(line, LIKELIHOOD, data, key=KEY, rank=4, epochs=12, batch_size=10, learning_rate=0.02)
    for one, other in zip(jax.tree.leaves(again.weights), jax.tree.leaves(belief.weights), strict=True):
        np.testing.assert_array_equal(one, other)
    drawn = belief.sample(key=KEY)
    np.testing.assert_array_equal(drawn.weights, belief.sample(key=KEY).weights)
    np.testing.assert_array_equal(drawn.known.value, [1.0])


def test_what_cannot_be_done_is_said(data, line):
    common: Any = {"key": KEY, "rank": 4, "epochs": 3}
    with pytest.raises(PosteriorError, match="at least rank = 4 recorded iterates, got 3"):
        swag(line, LIKELIHOOD, data, **common)
    with pytest.raises(OptionError, match="rank of at least 2, got 1"):
        swag(line, LIKELIHOOD, data, **(common | {"rank": 1}))
    with pytest.raises(OptionError, match="positive learning rate"):
        swag(line, LIKELIHOOD, data, learning_rate=0.0, **common)
    with pytest.raises(OptionError, match=r"leave the path alone, got \['optimizer'\]"):
        swag(line, LIKELIHOOD, data, optimizer=optax.sgd(0.1), **common)
    with pytest.raises(PosteriorError, match="path that stays finite"):
        swag(line, LIKELIHOOD, data, learning_rate=1e4, **(common | {"epochs": 200}))
