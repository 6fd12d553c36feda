"""Outputs in units of the data are exactly those of the standardised network, rescaled."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.errors import OptionError, ShapeError
from foresee.fit.known import trainable
from foresee.posteriors.likelihood import GaussianLikelihood, HeteroscedasticLikelihood
from foresee.posteriors.standardise import Scales, Standardised, scaled_softplus, scales

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def data():
    """Inputs and targets of several sizes, one input that never varies."""
    rng = np.random.default_rng(0)
    x = rng.normal([5.0, -300.0, 7.7], [2.0, 40.0, 0.0], (50, 3))
    return x, rng.normal([20.0, 0.9], [5.0, 1e-3], (50, 2))


def test_scales_are_those_of_the_rows(data):
    x, y = data
    known = scales(x, y)
    np.testing.assert_allclose(known.inputs, x.mean(axis=0))
    np.testing.assert_allclose(known.input_deviations, [x[:, 0].std(), x[:, 1].std(), 1.0])
    np.testing.assert_allclose(known.targets, y.mean(axis=0))
    np.testing.assert_allclose(known.target_deviations, y.std(axis=0))


def test_a_mean_is_rescaled(data):
    x, y = data
    network = eqx.nn.MLP(3, 2, 4, 1, key=KEY)
    wrapped = Standardised(network, scales(x, y))
    white = (x[0] - wrapped.scales.value.inputs) / wrapped.scales.value.input_deviations
    expected = y.mean(axis=0) + y.std(axis=0) * np.asarray(network(jnp.asarray(white)))
    np.testing.assert_allclose(wrapped(jnp.asarray(x[0])), expected, rtol=1e-12)
    np.testing.assert_allclose(eqx.filter_jit(wrapped)(jnp.asarray(x[0])), expected, rtol=1e-12)
    # The density differs from that of standardised targets by the constant Σ log σ.
    own = GaussianLikelihood(0.3).loss(network(white), jnp.asarray((y[0] - y.mean(0)) / y.std(0)))
    ours = GaussianLikelihood(0.3 * y.std(axis=0)).loss(wrapped(jnp.asarray(x[0])), jnp.asarray(y[0]))
    np.testing.assert_allclose(ours, own + np.log(y.std(axis=0)).sum(), rtol=1e-10)


def test_a_deviation_is_rescaled_exactly(data):
    x, y = data
    network = eqx.nn.MLP(3, 4, 4, 1, key=KEY)
    wrapped = Standardised(network, scales(x, y), "mean and deviation")
    white = (x - wrapped.scales.value.inputs) / wrapped.scales.value.input_deviations
    least = 0.01
    whites = (y - y.mean(axis=0)) / y.std(axis=0)

    def standardised(network):
        each = jax.vmap(lambda x, y: HeteroscedasticLikelihood(least).loss(network(x), y))
        return jnp.mean(each(white, jnp.asarray(whites)))

    def in_units(wrapped):
        likelihood = HeteroscedasticLikelihood(least * y.std(axis=0))
        return jnp.mean(jax.vmap(lambda x, y: likelihood.loss(wrapped(x), y))(jnp.asarray(x), jnp.asarray(y)))

    loss, slope = eqx.filter_value_and_grad(standardised)(network)
    ours, slopes = eqx.filter_value_and_grad(in_units)(wrapped)
    np.testing.assert_allclose(ours, loss + np.log(y.std(axis=0)).sum(), rtol=1e-10)
    for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(slopes.network), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-7, atol=1e-12)
    assert not any(jax.tree.leaves(trainable(wrapped).scales))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-8), (jnp.float32, 2e-6)])
def test_the_scaled_softplus_holds_from_tiny_to_huge(dtype, tolerance):
    raw = jnp.asarray([-60.0, -20.0, -8.1, -7.9, -1.0, 0.0, 3.0, 50.0], dtype)
    for factor in (1e-6, 0.02, 1.0, 300.0):
        result = scaled_softplus(raw, jnp.asarray(factor, dtype))
        assert result.dtype == dtype
        np.testing.assert_allclose(
            np.logaddexp(0, np.asarray(result, np.float64)),
            factor * np.logaddexp(0, np.asarray(raw, np.float64)),
            rtol=50 * tolerance,
        )
        slopes = jax.vmap(jax.grad(lambda r, f=factor: scaled_softplus(r, jnp.asarray(f, dtype))))(raw)
        assert np.all(np.isfinite(slopes))
    np.testing.assert_allclose(scaled_softplus(raw, jnp.ones((), dtype)), raw, rtol=10 * tolerance, atol=1e-6)


def test_what_does_not_fit_is_said(data):
    x, y = data
    with pytest.raises(OptionError, match="got 'both'"):
        Standardised(eqx.nn.MLP(3, 2, 4, 1, key=KEY), scales(x, y), "both")
    with pytest.raises(ShapeError, match="rows of inputs and of targets"):
        scales(x, y[:, 0])
    with pytest.raises(ShapeError, match="rows of inputs and of targets"):
        scales(x[:3], y)
    assert isinstance(scales(jnp.zeros((3, 2, 2)), jnp.zeros((3, 1))), Scales)
