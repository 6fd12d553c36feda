"""Scores of predicted numbers: integrals done numerically, pairs written out, SciPy's densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import foresee.calibration as c

ROWS, K = 8, 3


@pytest.fixture(scope="module")
def case():
    random = np.random.default_rng(0)
    return {
        "means": random.normal(size=(ROWS, K)),
        "deviations": random.uniform(0.4, 1.5, (ROWS, K)),
        "weights": random.dirichlet(np.ones(K), ROWS),
        "targets": 2 * random.normal(size=ROWS),
    }


def ours(means, deviations, weights, targets):
    m, s, w, y = means, deviations, weights, targets
    low, high = m[:, 0] - s[:, 0], m[:, 0] + s[:, 0]
    return {
        "crps": c.crps_gaussian(m[:, 0], s[:, 0], y),
        "crps mixture": c.crps_mixture(3 * w, m, s, y),
        "crps samples": c.crps_samples(m, y),
        "crps fair": c.crps_samples(m, y, fair=True),
        "nll": c.nll_gaussian(m[:, 0], s[:, 0], y),
        "nll mixture": c.nll_mixture(w, m, s, y),
        "pit": c.pit_gaussian(m[:, 0], s[:, 0], y),
        "pit mixture": c.pit_mixture(w, m, s, y),
        "pit samples": c.pit_samples(m, y),
        "interval": c.interval_score(low, high, y, 0.8),
        "pinball": c.pinball_loss(low, y, 0.2),
        "width": c.mean_width(low, high),
        "coverage": c.coverage(low, high, y),
    }


compiled = jax.jit(ours)


def naive(means, deviations, weights, targets):
    m, s, w, y = means, deviations, weights, targets
    grid = np.linspace(-14, 14, 200_001)
    step = grid[1] - grid[0]
    low, high = m[:, 0] - s[:, 0], m[:, 0] + s[:, 0]

    def crps(cdf):
        return np.mean([((cdf(r) - (grid >= y[r])) ** 2).sum() * step for r in range(ROWS)])

    def mixed(function, x, r):
        return sum(w[r, k] * function(x, m[r, k], s[r, k]) for k in range(K))

    pairs = np.abs(m[:, :, None] - m[:, None, :]).sum((1, 2))
    distance = np.abs(m - y[:, None]).mean(1)
    return {
        "crps": crps(lambda r: stats.norm.cdf(grid, m[r, 0], s[r, 0])),
        "crps mixture": crps(lambda r: mixed(stats.norm.cdf, grid, r)),
        "crps samples": np.mean(distance - pairs / (2 * K * K)),
        "crps fair": np.mean(distance - pairs / (2 * K * (K - 1))),
        "nll": -stats.norm.logpdf(y, m[:, 0], s[:, 0]).mean(),
        "nll mixture": -np.mean([np.log(mixed(stats.norm.pdf, y[r], r)) for r in range(ROWS)]),
        "pit": stats.norm.cdf(y, m[:, 0], s[:, 0]),
        "pit mixture": [mixed(stats.norm.cdf, y[r], r) for r in range(ROWS)],
        "pit samples": (m < y[:, None]).mean(1),
        "interval": np.mean(
            [h - a + 10 * max(a - t, 0) + 10 * max(t - h, 0) for a, h, t in zip(low, high, y, strict=True)]
        ),
        "pinball": np.mean([0.2 * (t - a) if t > a else 0.8 * (a - t) for a, t in zip(low, y, strict=True)]),
        "width": 2 * s[:, 0].mean(),
        "coverage": np.mean((low <= y) & (y <= high)),
    }


def test_scores_are_the_integrals_and_sums_they_stand_for(case):
    got = compiled(**case)
    for name, value in naive(**case).items():
        np.testing.assert_allclose(got[name], value, rtol=2e-4 if "crps" in name else 1e-9, err_msg=name)


def test_a_batch_in_single_precision_is_a_loop(case):
    stacked = {name: jnp.asarray(np.stack([part, part[::-1]]), jnp.float32) for name, part in case.items()}
    expected = compiled(**case)
    batch = jax.jit(jax.vmap(lambda parts: ours(**parts)))(stacked)
    for name, values in batch.items():
        assert values.dtype == jnp.float32
        np.testing.assert_allclose(values[0], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
        if values.ndim == 1:  # a mean over rows, whatever their order
            np.testing.assert_allclose(values[1], expected[name], rtol=1e-4, err_msg=name)


def test_gradients_are_finite_differences(case):
    def total(shift):
        parts = case | {"means": case["means"] + shift, "deviations": case["deviations"] * jnp.exp(shift)}
        out = ours(**parts)
        return sum(out[name] for name in ("crps", "crps mixture", "crps samples", "nll", "nll mixture"))

    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(total)))(jnp.asarray([0.0, 1e-6, -1e-6]))
    np.testing.assert_allclose(slopes[0], (values[1] - values[2]) / 2e-6, rtol=1e-6)


def test_the_score_of_the_standard_normal_distribution_at_its_mean():
    # (√2 − 1) / √π, from the closed form.
    score = c.crps_gaussian(np.zeros(1), np.ones(1), np.zeros(1))
    np.testing.assert_allclose(score, (np.sqrt(2) - 1) / np.sqrt(np.pi))
