"""Curves and areas against all pairs and thresholds written out, with many equal scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import foresee.calibration as c

random = np.random.default_rng(0)
POSITIVE = random.integers(0, 2, 60).astype(bool)
SCORES = np.round(random.normal(size=60) + POSITIVE, 0)


def ours(scores, positive):
    return {
        "auroc": c.auroc(scores, positive),
        "delong": c.auroc_interval(scores, positive),
        "average precision": c.average_precision(scores, positive),
        "false alarms": c.false_alarm_rate(scores, positive, 0.8),
        "curve": c.detection_curve(scores, positive),
        "risk": c.risk_coverage(scores, positive * 1.0),
    }


@pytest.fixture(scope="module")
def got():
    return jax.jit(ours)(SCORES, POSITIVE)


def test_areas_are_those_of_all_pairs_and_thresholds(got):
    ones, zeros = SCORES[POSITIVE], SCORES[~POSITIVE]
    pairs = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
    np.testing.assert_allclose(got["auroc"], pairs.mean())
    levels = np.sort(np.unique(SCORES))[::-1]
    hit = np.asarray([(ones >= level).mean() for level in levels])
    alarm = np.asarray([(zeros >= level).mean() for level in levels])
    precision = np.asarray([POSITIVE[level <= SCORES].mean() for level in levels])
    np.testing.assert_allclose(got["average precision"], np.sum(np.diff(np.r_[0, hit]) * precision))
    np.testing.assert_allclose(got["false alarms"], alarm[hit >= 0.8].min())
    curve = got["curve"]
    np.testing.assert_allclose(np.trapezoid(curve.hit, curve.false_alarm), pairs.mean())
    assert (float(curve.hit[0]), float(curve.hit[-1]), float(curve.false_alarm[-1])) == (0, 1, 1)
    np.testing.assert_allclose(np.unique(curve.precision[1:]), np.unique(precision))


def test_delongs_variance_is_that_of_the_placements(got):
    ones, zeros = SCORES[POSITIVE], SCORES[~POSITIVE]
    pairs = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
    variance = pairs.mean(1).var(ddof=1) / len(ones) + pairs.mean(0).var(ddof=1) / len(zeros)
    area = pairs.mean()
    half = 1.959964 * np.sqrt(variance) / (area * (1 - area))
    odds = np.log(area / (1 - area)) + np.asarray([-half, half])
    np.testing.assert_allclose([got["delong"].low, got["delong"].high], 1 / (1 + np.exp(-odds)), rtol=1e-6)


def test_risk_is_the_mean_over_random_orders_of_equal_rows(got):
    orders = np.random.default_rng(1)
    risks = []
    for _ in range(2000):
        order = np.lexsort((orders.uniform(size=60), SCORES))
        risks.append(np.cumsum(POSITIVE[order]) / np.arange(1, 61))
    np.testing.assert_allclose(got["risk"].risk, np.mean(risks, axis=0), atol=0.05)
    np.testing.assert_allclose(got["risk"].area, np.mean(got["risk"].risk))
    np.testing.assert_allclose(got["risk"].risk[-1], POSITIVE.mean())


def test_a_batch_in_single_precision_is_a_loop(got):
    stack = jnp.asarray(np.stack([SCORES, SCORES + 3]), jnp.float32)
    batch = jax.jit(jax.vmap(ours, in_axes=(0, None)))(stack, POSITIVE)
    for name in ("auroc", "average precision", "false alarms"):
        assert batch[name].dtype == jnp.float32
        np.testing.assert_allclose(batch[name], np.full(2, got[name]), rtol=1e-5)


def test_a_perfect_score_has_an_interval_that_says_how_few_rows_there_were():
    interval = c.auroc_interval(np.arange(10.0), np.arange(10) >= 5)
    assert (float(interval.value), float(interval.high)) == (1, 1)
    assert 0 < interval.low < 0.6
