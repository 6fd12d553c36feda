"""Chains against closed forms, bounded by their own effective sizes; diagnostics against plain NumPy."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm, rankdata

from foresee.beliefs import Gaussian
from foresee.errors import MissingExtraError, OptionError, PosteriorError, ShapeError
from foresee.posteriors import diagnostics
from foresee.posteriors.hamiltonian import Hmc, Nuts
from foresee.posteriors.sampling import hmc, nuts, sample

KEY = jax.random.key(0)
INPUTS = np.random.default_rng(0).normal(size=(12, 2))
TARGETS = INPUTS @ [1.0, -0.5] + 0.3 + 0.4 * np.random.default_rng(1).normal(size=12)
traces = []


def log_density(x, data):
    """Return the log posterior of a linear regression with noise 0.4 and standard normal weights."""
    traces.append(1)
    inputs, targets = data
    misfit = targets - inputs @ x["slope"] - x["offset"]
    return -0.5 * jnp.sum(misfit**2) / 0.4**2 - 0.5 * (jnp.sum(x["slope"] ** 2) + x["offset"] ** 2)


def closed_form(targets):
    """Return mean and covariance of slope and offset (Bishop 2006, eqs. 3.50 and 3.51)."""
    design = np.column_stack([INPUTS, np.ones(12)])
    covariance = np.linalg.inv(np.eye(3) + design.T @ design / 0.4**2)
    return covariance @ design.T @ targets / 0.4**2, covariance


START = {"slope": jnp.zeros(2), "offset": jnp.zeros(())}
DATA = (jnp.asarray(INPUTS), jnp.asarray(TARGETS))
SIZES = {"chains": 4, "draws": 500}


@pytest.fixture(scope="module", params=["nuts", "hmc"])
def sampler(request):
    return {"nuts": Nuts(200), "hmc": Hmc(8, 200)}[request.param]


@pytest.fixture(scope="module")
def samples(sampler):
    return sample(log_density, START, DATA, sampler, **SIZES, key=KEY)


def columns(samples):
    """Return chains × draws × numbers."""
    return np.concatenate([samples.draws["slope"], samples.draws["offset"][..., None]], axis=-1)


def check_moments(samples, targets):
    """Compare mean and variances with the closed form; five standard errors from the effective sizes."""
    mean, covariance = closed_form(targets)
    draws = columns(samples)
    for i in range(3):
        found = diagnostics.mean_of_chains(jnp.asarray(draws[..., i]))
        assert abs(found.value - mean[i]) < 5 * found.standard_error
        square = diagnostics.mean_of_chains(jnp.asarray((draws[..., i] - mean[i]) ** 2))
        assert abs(square.value - covariance[i, i]) < 5 * square.standard_error
        assert found.standard_error < 0.2 * np.sqrt(covariance[i, i])
    correlation = np.corrcoef(draws.reshape(-1, 3).T)[0, 2]
    assert correlation == pytest.approx(
        covariance[0, 2] / np.sqrt(covariance[0, 0] * covariance[2, 2]), abs=0.15
    )


def test_moments_are_those_of_the_closed_form(samples):
    check_moments(samples, TARGETS)
    assert samples.least_ess > 400
    assert samples.divergences.tolist() == [0] * 4
    assert ((samples.acceptance > 0.6) & (samples.acceptance < 0.99)).all()
    assert samples.belief().mean()["slope"].shape == (2,)
    assert samples.log_evidence is None


def test_other_data_compile_nothing_and_the_same_key_gives_the_same(samples, sampler):
    before = len(traces)
    other = sample(log_density, START, (DATA[0], DATA[1] + 1), sampler, **SIZES, key=KEY)
    again = sample(log_density, START, DATA, sampler, **SIZES, key=KEY)
    assert len(traces) == before
    check_moments(other, TARGETS + 1)
    assert eqx.tree_equal(again, samples)


def test_a_batch_of_data_under_jit():
    kernel = Hmc(8, 200)
    batch = jnp.stack([DATA[1], DATA[1] + 1])

    def run(targets):
        return sample(log_density, START, (DATA[0], targets), kernel, **SIZES, key=KEY)

    both = jax.jit(jax.vmap(run))(batch)
    for i in range(2):
        # Rounding differs and grows along a chain, so the statistics agree with `run` alone, not the draws.
        check_moments(jax.tree.map(lambda leaf, i=i: leaf[i], both), batch[i])


def network_density(weights, data):
    static, inputs, targets = data
    network = eqx.combine(weights, static)
    misfit = targets - jax.vmap(network)(inputs)[:, 0]
    decay = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(weights))
    return -0.5 * jnp.sum(misfit**2) / 0.3**2 - 0.5 * decay


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.float64, marks=pytest.mark.slow)])
def test_weights_of_a_network(dtype):
    inputs = jnp.linspace(-2, 2, 16, dtype=dtype)[:, None]
    targets = jnp.sin(inputs[:, 0])
    network = eqx.nn.MLP(1, 1, 5, 1, jnp.tanh, key=KEY, dtype=dtype)
    weights, static = eqx.partition(network, eqx.is_inexact_array)
    # A layer has symmetries, so its weights need not agree between chains; the function has to.
    short = {"sampler": Nuts(100, doublings=4), "chains": 4, "draws": 100}
    samples = sample(network_density, weights, (static, inputs, targets), **short, key=KEY)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(samples.draws))

    def output(weights):
        return eqx.combine(weights, static)(jnp.asarray([1.0], dtype))[0]

    found = samples.expect(output)
    assert abs(found.value - np.sin(1.0)) < 0.25
    assert found.standard_error < 0.05
    assert samples.belief().push(output).values.shape == (400,)


def test_starts_may_be_drawn_from_a_belief():
    start = Gaussian({"slope": jnp.ones(2), "offset": jnp.zeros(())}, 4 * jnp.eye(3))
    samples = sample(log_density, start, DATA, Hmc(8, 200), **SIZES, key=KEY)
    check_moments(samples, TARGETS)


def twin_ess(chains):
    """Effective size with the autocorrelations summed out (Vehtari et al. 2021, eqs. 10 to 13)."""
    m, n = chains.shape
    centred = chains - chains.mean(axis=1, keepdims=True)
    gamma = np.array([(centred[:, : n - t] * centred[:, t:]).sum(axis=1).mean() / n for t in range(n)])
    total = gamma[0] + chains.mean(axis=1).var(ddof=1)
    rho = 1 - (gamma[0] * n / (n - 1) - gamma) / total
    rho[0] = 1
    tau, smallest = -1.0, np.inf
    for t in range(0, n - 1, 2):
        pair = rho[t] + rho[t + 1]
        if pair <= 0:
            break
        smallest = min(smallest, pair)
        tau += 2 * smallest
    return m * n / max(tau, 1 / np.log10(m * n))


def twin(draws):
    """R-hat, bulk and tail effective size."""
    half = draws.shape[1] // 2
    chains = np.concatenate([draws[:, :half], draws[:, -half:]])

    def scores(x):
        return norm.ppf((rankdata(x).reshape(x.shape) - 3 / 8) / (x.size + 1 / 4))

    def split_r_hat(x):
        within = x.var(axis=1, ddof=1).mean()
        return np.sqrt((half - 1) / half + x.mean(axis=1).var(ddof=1) / within)

    folded = abs(chains - np.median(chains))
    tails = [
        twin_ess((chains <= np.quantile(chains, q, method="nearest")).astype(float)) for q in (0.05, 0.95)
    ]
    return max(split_r_hat(scores(chains)), split_r_hat(scores(folded))), twin_ess(scores(chains)), min(tails)


@pytest.mark.parametrize("memory", [0.0, 0.9, -0.5])
def test_diagnostics_are_those_of_the_twin(memory):
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(4, 201))
    draws = np.empty_like(noise)
    draws[:, 0] = noise[:, 0]
    for t in range(1, 201):
        draws[:, t] = memory * draws[:, t - 1] + noise[:, t]
    draws[1, 50:60] = draws[1, 50]  # rejected moves: equal draws
    got = jax.jit(diagnostics.trust)(jnp.asarray(draws))
    assert np.allclose(got, twin(draws), rtol=1e-9)
    halves = np.concatenate([draws[:, :100], draws[:, -100:]])
    assert diagnostics.ess_mean(jnp.asarray(draws)) == pytest.approx(twin_ess(halves))


def test_converged_is_what_the_diagnostics_say(samples):
    def worse(where, value):
        return eqx.tree_at(where, samples, value).converged

    fine = eqx.tree_at(lambda s: s.r_hat, samples, jax.tree.map(jnp.ones_like, samples.r_hat))
    assert fine.converged
    assert not worse(lambda s: s.r_hat["offset"], jnp.asarray(1.02))
    assert not worse(lambda s: s.ess_tail["offset"], jnp.asarray(399.0))
    assert not worse(lambda s: s.divergences, jnp.asarray([0, 1, 0, 0]))


def test_r_hat_sees_a_shift_and_a_spread():
    rng = np.random.default_rng(4)
    draws = jnp.asarray(rng.normal(size=(4, 200)))
    assert diagnostics.r_hat(draws) < 1.02
    assert diagnostics.r_hat(draws.at[0].add(1.0)) > 1.05
    assert diagnostics.r_hat(draws.at[0].multiply(3.0)) > 1.05
    assert diagnostics.ess_bulk(draws.at[0].add(5.0)) < 20
    assert diagnostics.ess_tail(draws) > 300


def test_bad_input_is_told_apart():
    def run(density=log_density, start=START, **more):
        return sample(density, start, DATA, Hmc(4, 20), **{"chains": 2, "draws": 8, **more}, key=KEY)

    with pytest.raises(OptionError, match="at least 2 chains"):
        run(chains=1)
    with pytest.raises(OptionError, match="at least 8 draws"):
        hmc(log_density, START, DATA, draws=7, key=KEY)
    with pytest.raises(ShapeError, match=r"one number, got shape \(2,\)"):
        run(density=lambda x, data: x["slope"])
    with pytest.raises(ShapeError, match=r"equinox\.partition"):
        run(start={"slope": jnp.zeros(2), "offset": jnp.tanh})
    with pytest.raises(PosteriorError, match="finite log density at every start"):
        run(density=lambda x, data: jnp.log(x["offset"] - 1))
    with pytest.raises(PosteriorError, match="at least 2 chains"):
        diagnostics.r_hat(jnp.zeros((1, 20)))
    with pytest.raises(ShapeError, match="at least 8 draws"):
        diagnostics.r_hat(jnp.zeros((2, 4)))
    for wrong in (lambda: Nuts(5), lambda: Nuts(acceptance=1.0), lambda: Nuts(doublings=0), lambda: Hmc(0)):
        with pytest.raises(OptionError, match="expected"):
            wrong()


def test_without_blackjax_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "blackjax.mcmc", None)
    with pytest.raises(MissingExtraError, match=r"foresee\[nuts\]"):
        nuts(log_density, START, DATA, key=KEY)
