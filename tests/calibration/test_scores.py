"""Scores of class probabilities against plain NumPy, known constructions, and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import foresee.calibration as c
from foresee.calibration.scores import binned, wilson_interval

BINS = 7


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(1)
    return random.dirichlet(np.full(4, 0.7), 203), random.integers(0, 4, 203)


def naive_bins(confidence, happened, bins, binning):
    """Yield (rows, mean confidence, frequency) of every bin with rows in it."""
    order = np.argsort(confidence, kind="stable")
    for index in range(bins):
        if binning == "width":
            inside = (confidence > index / bins) & (confidence <= (index + 1) / bins)
        else:
            inside = order[[rank for rank in range(len(order)) if rank * bins // len(order) == index]]
        if len(confidence[inside]):
            yield len(confidence[inside]), confidence[inside].mean(), happened[inside].mean()


def naive_error(confidence, happened, binning):
    parts = naive_bins(confidence, happened, BINS, binning)
    return sum(n * abs(mean - frequency) for n, mean, frequency in parts) / len(confidence)


def naive(p, y):
    confidence, right = p.max(1), p.argmax(1) == y
    mass = list(naive_bins(confidence, right, BINS, "mass"))
    squares = sum(n * ((m - f) ** 2 - f * (1 - f) / (n - 1)) for n, m, f in mass) / len(y)
    return {
        "nll": -np.mean(np.log(p[np.arange(len(y)), y])),
        "nll of logits": -np.mean(np.log(p[np.arange(len(y)), y])),
        "brier": np.mean(((p - np.eye(4)[y]) ** 2).sum(1)),
        "accuracy": right.mean(),
        "sharpness": (p**2).sum(1).mean(),
        "width": naive_error(confidence, right, "width"),
        "mass": naive_error(confidence, right, "mass"),
        "debiased": np.sqrt(squares),
        "classwise": np.mean([naive_error(p[:, k], y == k, "width") for k in range(4)]),
        "classwise mass": np.mean([naive_error(p[:, k], y == k, "mass") for k in range(4)]),
    }


def ours(p, y):
    return {
        "nll": c.negative_log_likelihood(p, y),
        "nll of logits": c.negative_log_likelihood_of_logits(jnp.log(p) + 3, y),
        "brier": c.brier_score(p, y),
        "accuracy": c.accuracy(p, y),
        "sharpness": c.sharpness(p),
        "width": c.calibration_error(p, y, BINS),
        "mass": c.calibration_error(p, y, BINS, "mass"),
        "debiased": c.debiased_calibration_error(p, y, BINS),
        "classwise": c.classwise_calibration_error(p, y, BINS),
        "classwise mass": c.classwise_calibration_error(p, y, BINS, "mass"),
    }


compiled = jax.jit(ours)


def test_scores_are_those_of_plain_numpy(table):
    got = compiled(*table)
    for name, value in naive(*table).items():
        np.testing.assert_allclose(got[name], value, rtol=1e-10, err_msg=name)
    for score in (c.brier_score, c.calibration_error):  # not compiled as a whole
        name = {"brier_score": "brier", "calibration_error": "width"}[score.__name__]
        np.testing.assert_allclose(score(*table, *([BINS] * (name == "width"))), got[name], rtol=1e-12)


def test_a_batch_in_single_precision_is_a_loop(table):
    p, y = table
    stack = jnp.asarray(np.stack([p, p[::-1]]), jnp.float32)
    batch = jax.jit(jax.vmap(ours, in_axes=(0, None)))(stack, jnp.asarray(y, jnp.int32))
    for index, one in enumerate((p, p[::-1])):
        for name, value in naive(one, y).items():
            assert batch[name].dtype == jnp.float32
            np.testing.assert_allclose(batch[name][index], value, rtol=2e-5, err_msg=name)


def test_smooth_scores_have_the_gradient_of_finite_differences(table):
    p, y = table
    direction = np.random.default_rng(2).normal(size=p.shape)
    direction -= direction.mean(1, keepdims=True)

    @jax.jit
    def along(size):
        moved = p + size * direction
        smooth = c.brier_score(moved, y) + c.negative_log_likelihood(moved, y)
        return smooth + c.calibration_error(moved, y, BINS)

    size = 1e-7 * p.min()
    slope = (along(size) - along(-size)) / (2 * size)
    np.testing.assert_allclose(jax.jit(jax.grad(along))(0.0), slope, rtol=1e-4)


def test_a_known_calibration_error():
    # 0.9 sure and right 7 times of 10; 0.6 sure and right 8 times of 10.
    p = np.repeat([[0.9, 0.1], [0.6, 0.4]], 10, axis=0)
    y = np.r_[np.zeros(7), np.ones(3), np.zeros(8), np.ones(2)].astype(int)
    assert float(c.calibration_error(p, y, 10)) == pytest.approx(0.2)
    made = c.reliability(p, y, 10)
    np.testing.assert_allclose(np.asarray(made.count), [0, 0, 0, 0, 0, 10, 0, 0, 10, 0])
    np.testing.assert_allclose(np.asarray(made.gaps())[[5, 8]], [-0.2, 0.2])
    for place, hits in ((5, 8), (8, 7)):
        wilson = stats.binomtest(hits, 10).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose((made.low[place], made.high[place]), wilson)
    assert (float(made.low[0]), float(made.high[0])) == (0, 1)


def test_debiasing_takes_away_what_chance_adds(sharp):
    logits, _ = sharp
    right = jax.nn.softmax(logits / 2.5)
    heights = jnp.cumsum(right, axis=1)

    def both(key):
        labels = jnp.sum(heights < jax.random.uniform(key, (2000, 1)), axis=1)
        made = c.reliability(right, labels, 15, "mass")
        return jnp.sum(made.shares() * made.gaps() ** 2), c.debiased_calibration_error(right, labels) ** 2

    plain, debiased = jax.lax.map(both, jax.random.split(jax.random.key(0), 40))
    # Of a perfect model the plain square is the variance of frequencies; of the debiased, half are cut at 0.
    assert plain.mean() > 5 * debiased.mean()
    assert (debiased == 0).mean() > 0.25


def test_wilson_intervals_hold_as_often_as_they_should():
    hits = np.arange(41)
    low, high = wilson_interval(jnp.asarray(hits / 40), jnp.full(41, 40.0))
    for chance in (0.1, 0.35, 0.8):
        held = stats.binom.pmf(hits, 40, chance)[(low <= chance) & (chance <= high)].sum()
        assert 0.92 < held < 0.98


def test_fewer_rows_than_bins():
    made = binned(jnp.asarray([0.2, 0.7]), jnp.asarray([True, False]), 5, "mass")
    assert float(made.count.sum()) == 2
    assert np.isfinite(made.confidence).all()
