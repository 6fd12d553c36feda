"""Thresholds: the rate of false alarms over many draws, and its distribution given one."""

import numpy as np
import pytest
from scipy import stats

import foresee.calibration as c
from foresee.calibration.threshold import rows_needed


def test_the_rate_of_false_alarms_is_the_stated_one_over_many_draws():
    rates = []
    for seed in range(400):
        scores = np.random.default_rng(seed).normal(size=99)
        rates.append(stats.norm.sf(float(c.fit_threshold(scores, 0.1).value)))
    # The mean of beta(10, 90) variables.
    assert abs(np.mean(rates) - 0.1) < 3 * 0.03 / 20
    fitted = c.fit_threshold(scores, 0.1)
    assert fitted.rank == 90
    assert fitted.expected_rate() == pytest.approx(0.1)
    low, high = fitted.rate_interval(0.9)
    inside = np.mean((np.asarray(rates) > low) & (np.asarray(rates) < high))
    assert abs(inside - 0.9) < 3 * 0.3 / 20


def test_with_a_confidence_the_rate_of_this_threshold_is_rarely_larger():
    rates = []
    for seed in range(400):
        scores = np.random.default_rng(seed).exponential(size=120)
        rates.append(np.exp(-float(c.fit_threshold(scores, 0.1, 0.9).value)))
    larger = np.mean(np.asarray(rates) > 0.1)
    assert larger <= 0.1 + 3 * 0.3 / 20
    assert larger > 0.02  # and it is no more careful than it must be
    rank = c.fit_threshold(scores, 0.1, 0.9).rank
    assert stats.binom.sf(rank - 1, 120, 0.9) <= 0.1 < stats.binom.sf(rank - 2, 120, 0.9)


@pytest.mark.parametrize(("rate", "confidence"), [(0.05, None), (0.01, None), (0.05, 0.95), (0.1, 0.99)])
def test_the_least_number_of_rows_is_just_enough(rate, confidence):
    needed = rows_needed(rate, confidence)
    c.fit_threshold(np.arange(float(needed)), rate, confidence)
    with pytest.raises(ValueError, match=f"at least {needed} scores, got {needed - 1}"):
        c.fit_threshold(np.arange(needed - 1.0), rate, confidence)


def test_p_values_are_counted_and_agree_with_the_threshold():
    random = np.random.default_rng(0)
    known, asked = np.round(random.normal(size=49), 1), np.round(random.normal(size=200), 1)
    expected = (1 + (known >= asked[:, None]).sum(1)) / 50
    got = np.asarray(c.p_values(known, asked))
    np.testing.assert_allclose(got, expected)
    np.testing.assert_array_equal(c.fit_threshold(known, 0.1)(asked), got <= 0.1 + 1e-12)
