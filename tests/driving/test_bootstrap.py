import numpy as np
import pytest

from foresee.driving.bootstrap import grouped_mean
from foresee.driving.intervals import share


def test_intervals_cover_the_truth_as_often_as_they_say_although_scenarios_of_a_group_are_alike():
    rng = np.random.default_rng(0)
    covered, trials, groups = 0, 200, 20
    for _ in range(trials):
        sizes = rng.integers(2, 20, groups)
        member = np.repeat(np.arange(groups), sizes)
        values = rng.normal(1.0, 1.0, groups)[member] + rng.normal(0, 1.0, len(member))
        got = grouped_mean(values, member)
        covered += got.low <= 1.0 <= got.high
        assert got.value == pytest.approx(values.mean())
    assert 0.92 <= covered / trials <= 0.98


@pytest.mark.parametrize("chance", [0.05, 0.01])
def test_shares_are_covered_too(chance):
    rng = np.random.default_rng(1)
    covered, trials = 0, 150
    for _ in range(trials):
        member = np.repeat(np.arange(33), 18)
        failed = rng.random(len(member)) < rng.beta(chance * 10, (1 - chance) * 10, 33)[member]
        got = grouped_mean(failed.astype(float), member, is_share=True)
        covered += got.low <= chance <= got.high
    assert covered / trials >= 0.93


def test_what_never_happened_may_still_happen():
    got = grouped_mean(np.zeros(300), np.arange(300) % 30, is_share=True)
    wanted = share(np.zeros((30, 10), bool), np.ones((30, 10), bool))
    assert (got.value, got.low, got.high) == (0.0, 0.0, wanted.high)
    assert got.high == pytest.approx(0.0137, abs=0.001)
    assert grouped_mean(np.ones(30), np.arange(30)).low == 1.0  # not a share: nothing varies


def test_only_counted_scenarios_count_and_those_of_one_group_alone_are_independent():
    values, member = np.array([1.0, 2.0, 9.0, 9.0]), np.array(["a", "b", "c", "c"])
    counted = np.array([True, True, False, False])
    assert grouped_mean(values, member, counted=counted).value == 1.5
    assert np.isnan(grouped_mean(values, member, counted=np.zeros(4, bool)).value)
    lonely = grouped_mean(values, np.zeros(4))
    assert lonely == grouped_mean(values, np.arange(4))
    assert lonely.value == 5.25
    assert np.isnan(grouped_mean(values[:1], member[:1]).low)
    again = [grouped_mean(values, member, seed=3) for _ in range(2)]
    assert again[0] == again[1]
