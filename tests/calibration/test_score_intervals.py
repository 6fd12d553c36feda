from typing import Any

import numpy as np
import pytest

from foresee.calibration import (
    accuracy,
    brier_score,
    calibration_error,
    classwise_calibration_error,
    debiased_calibration_error,
    negative_log_likelihood,
)
from foresee.calibration.score_intervals import SCORES, _equal_mass, _scorer, score_intervals
from foresee.errors import CalibrationError, OptionError, ShapeError

TWINS = {
    "accuracy": accuracy,
    "nll": negative_log_likelihood,
    "brier": brier_score,
    "ece": calibration_error,
    "ece_adaptive": lambda table, labels: calibration_error(table, labels, 15, "mass"),
    "ece_debiased": debiased_calibration_error,
    "ece_classwise": classwise_calibration_error,
}


def example(rows=400, classes=4, sharper=2.0, seed=0):
    """Probabilities that are too sure, right ones, and labels drawn from the right ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes))
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (right.cumsum(axis=1) < random.uniform(size=(rows, 1))).sum(axis=1)
    sure = right**sharper
    return sure / sure.sum(axis=1, keepdims=True), right, labels


@pytest.fixture(scope="module")
def made():
    sure, right, labels = example()
    return sure, right, labels, score_intervals(sure, right, labels, draws=300)


@pytest.mark.parametrize("name", SCORES)
def test_values_are_those_of_the_scores(name, made):
    sure, right, labels, found = made
    before, after, change = found[name]
    assert before.value == pytest.approx(float(TWINS[name](sure, labels)), abs=1e-9)
    assert after.value == pytest.approx(float(TWINS[name](right, labels)), abs=1e-9)
    assert change.value == pytest.approx(after.value - before.value, abs=1e-12)
    for each in (before, after, change):
        assert each.low <= each.value <= each.high
    assert min(before.low, after.low) >= 0


def test_weights_are_rows_that_were_drawn_so_often():
    sure, _, labels = example(rows=60, classes=3)
    chosen = np.sort(np.random.default_rng(1).integers(0, 60, 60))
    weights = np.bincount(chosen, minlength=60).astype(float)
    drawn = _scorer(sure, labels, 15)(weights[None])[:, 0]
    gathered = _scorer(sure[chosen], labels[chosen], 15)(np.ones((1, 60)))[:, 0]
    np.testing.assert_allclose(drawn, gathered, atol=1e-12)


def test_the_interval_of_the_change_is_narrower_than_the_two_intervals_suggest(made):
    before, after, change = made[3]["nll"]
    apart = np.hypot(before.high - before.low, after.high - after.low)
    assert change.high - change.low < 0.8 * apart
    assert change.high < 0


def test_intervals_of_the_mean_hold_it_as_often_as_stated():
    inside = 0
    for seed in range(25):
        sure, right, labels = example(rows=200, classes=3, seed=seed)
        found = score_intervals(sure, right, labels, draws=150, level=0.9, seed=seed)["nll"][2]
        # Given the inputs, this is what the change is on average over labels.
        expected = (right * (np.log(sure) - np.log(right))).sum(axis=1).mean()
        inside += found.low <= expected <= found.high
    assert inside >= 18  # 22.5 expected, standard deviation 1.5


def test_a_debiased_error_of_zero_has_an_upper_end_above_it():
    right = (np.arange(150) % 3 > 0).astype(float)
    assert _equal_mass(np.ones(150), np.full(150, 2 / 3), right, 15)[1] < 0
    sure, right, labels = example(sharper=1.0)
    _, after, _ = score_intervals(sure, right, labels, draws=200)["ece_debiased"]
    assert after.low >= 0
    assert after.high > 0


def test_bad_input():
    sure, right, labels = example(rows=20)
    with pytest.raises(ShapeError):
        score_intervals(sure, right[:10], labels)
    with pytest.raises(CalibrationError, match="sum to one"):
        score_intervals(2 * sure, right, labels)
    wrong: Any = ({"draws": 1}, {"bins": 0}, {"level": 1.0})
    for options in wrong:
        with pytest.raises(OptionError):
            score_intervals(sure, right, labels, **options)
