"""Prediction sets: scores written out, coverage within its exact band, by class, and on real networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

import foresee.calibration as c

KEY, OTHER = jax.random.key(0), jax.random.key(1)
STRANGENESS = {
    "lac": c.LeastAmbiguous(),
    "aps": c.Adaptive(),
    "raps": c.RegularisedAdaptive(penalty=0.05, free=1.0),
}
SIZES = {"wideresnet-16-4-cifar-10": 0.97, "lenet-5-cifar-10": 3.42, "wideresnet-16-4-cifar-100": 2.22}


@pytest.fixture(scope="module")
def halves(sharp):
    logits, labels = sharp
    p = softmax(logits, 1)
    return p[:1000], labels[:1000], p[1000:], labels[1000:]


def naive(name, p, draws):
    out = np.empty_like(p)
    for row in range(len(p)):
        before = 0.0
        for rank, label in enumerate(np.argsort(-p[row])):
            out[row, label] = before + draws[row] * p[row, label]
            before += p[row, label]
            if name == "raps":
                out[row, label] += 0.05 * max(0, rank + 1 - 1)
    return 1 - p if name == "lac" else out


@pytest.mark.parametrize("name", STRANGENESS)
def test_strangeness_sets_and_coverage(name, halves):
    p, labels, p_new, labels_new = halves
    strangeness = STRANGENESS[name]
    draws = np.random.default_rng(0).uniform(size=40)
    np.testing.assert_allclose(
        strangeness(jnp.asarray(p[:40]), jnp.asarray(draws)), naive(name, p[:40], draws)
    )
    fitted = c.conformal_sets(p, labels, 0.9, strangeness, key=KEY)
    sets = fitted(p_new, key=OTHER)
    assert sets.dtype == bool
    low, high = c.coverage_band(1000, 1000, 0.9, 0.999)
    assert low <= np.mean(sets[np.arange(1000), labels_new]) <= high
    again = jax.jit(lambda fitted, p, key: fitted(p, key=key))(fitted, jnp.asarray(p_new, jnp.float32), OTHER)
    assert np.mean(again != sets) < 0.2 if strangeness.randomised else np.mean(again != sets) < 0.001


def test_the_threshold_is_an_order_statistic(halves):
    p, labels, *_ = halves
    scores = np.sort(1 - p[np.arange(1000), labels])
    assert float(c.conformal_sets(p, labels, 0.9).threshold[0]) == scores[int(np.ceil(1001 * 0.9)) - 1]
    # 99 rows · 0.9 is a whole number, whatever the last bit says.
    assert (
        float(c.conformal_sets(p[:99], labels[:99], 0.9).threshold[0])
        == np.sort(1 - p[np.arange(99), labels[:99]])[89]
    )


def test_by_class_the_level_holds_for_every_class(halves):
    p, labels, p_new, labels_new = halves
    shifted = p * [4.0, 1.0, 1.0, 0.3]  # a network that favours one class
    shifted_new = p_new * [4.0, 1.0, 1.0, 0.3]
    p, p_new = (x / x.sum(1, keepdims=True) for x in (shifted, shifted_new))
    sets = np.asarray(c.conformal_sets(p, labels, 0.9, by_class=True)(p_new))
    together = np.asarray(c.conformal_sets(p, labels, 0.9)(p_new))
    for label in range(4):
        rows = labels_new == label
        low, high = c.coverage_band(int((labels == label).sum()), int(rows.sum()), 0.9, 0.9999)
        assert low <= sets[rows, label].mean() <= high
    assert together[labels_new == 3, 3].mean() < 0.85


def test_the_band_is_that_of_drawing_ranks():
    random = np.random.default_rng(0)
    ranks = np.argsort(random.uniform(size=(20_000, 80)), axis=1)[:, :50]  # of 50 calibration rows among 80
    cut = np.sort(ranks, axis=1)[:, 45]  # the ⌈51 · 0.9⌉-th smallest
    covered = (cut - 45) / 30
    low, high = c.coverage_band(50, 30, 0.9, 0.9)
    assert np.mean((covered >= low) & (covered <= high)) >= 0.9 - 0.01
    assert np.mean((covered > low) & (covered < high)) <= 0.9 + 0.01
    np.testing.assert_allclose(np.quantile(covered, [0.05, 0.95]), [low, high], atol=0.034)
    assert stats.betabinom(30, 46, 5).cdf(round(low * 30)) >= 0.05


@pytest.mark.parametrize("name", SIZES)
def test_saved_outputs_of_real_networks(saved, name):
    predictions, labels, fit, judge = saved(name)
    scaler = c.calibrate(c.log_probabilities(predictions[fit[:2500]]), labels[fit[:2500]])
    p = scaler(c.log_probabilities(predictions))
    p = p / p.sum(1, keepdims=True)
    rest = fit[2500:]
    sets = np.asarray(c.conformal_sets(p[rest], labels[rest], 0.9)(p[judge]))
    low, high = c.coverage_band(len(rest), len(judge), 0.9, 0.999)
    assert low <= sets[np.arange(len(judge)), labels[judge]].mean() <= high
    assert sets.sum(1).mean() == pytest.approx(SIZES[name], rel=0.1)
