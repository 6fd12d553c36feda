from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from foresee.driving import accuracy
from foresee.driving.accuracy import accelerations, one_step_scores, reference_points, truth_scores
from foresee.driving.intervals import average, share
from foresee.driving.recording import Recording, Truth
from foresee.driving.states import Learned, OneStep, States


def right_states(vehicles=60, rows=80, *, scale=1.0, correlation=0.0, seed=0, jitter=0.2) -> States:
    """States whose doubt is right when `scale` is 1: errors are drawn from their own covariance."""
    random = np.random.default_rng(seed)
    shape = (vehicles, rows)
    time = np.arange(rows) / 10.0
    truth = np.zeros((*shape, 6))
    speed = random.uniform(10, 20, vehicles)[:, None]
    truth[..., 0] = speed * time
    truth[..., 1] = 4.0 * np.arange(vehicles)[:, None]
    truth[..., 3] = speed
    deviation = np.array([0.1, 0.1, 0.02, 0.2, 0.3, 1e-4])
    correlations = 0.6 * np.ones((6, 6)) + 0.4 * np.eye(6)
    covariance = correlations * deviation[:, None] * deviation
    error = random.multivariate_normal(np.zeros(6), scale**2 * covariance, size=shape)
    scores = random.normal(size=(*shape, 2))
    for t in range(1, rows):
        scores[:, t] = correlation * scores[:, t - 1] + np.sqrt(1 - correlation**2) * scores[:, t]
    scores = scale * scores
    everywhere = np.ones(shape, bool)
    held = np.broadcast_to(np.arange(rows) >= rows // 2, shape).copy()
    sizes = np.full(vehicles, 4.0)
    names = np.array([str(v) for v in range(vehicles)], object)
    recording = Recording(
        source="made up",
        frame_rate=10.0,
        scene=np.array(["one"] * vehicles, object),
        vehicle=names,
        kind=np.array(["car"] * vehicles, object),
        length=sizes,
        width=sizes / 2,
        x=truth[..., 0] + jitter * random.normal(size=shape),
        y=truth[..., 1] + jitter * random.normal(size=shape),
        seen=everywhere,
        truth=Truth(everywhere, *np.moveaxis(truth, -1, 0).copy()),
    )
    one_step = OneStep(
        scored=held,
        learned_on=~held,
        log_density=stats.norm.logpdf(scores).sum(axis=-1),
        normal_scores=scores,
        ranks=stats.norm.cdf(scores),
    )
    return States(
        recording=recording,
        tracks=recording.tracks(),
        alive=everywhere,
        mean=truth + error,
        covariance=np.broadcast_to(covariance, (*shape, 6, 6)).copy(),
        modes=np.ones((*shape, 1)),
        learned=(Learned("noise", 0.2, 0.01, "m"),),
        one_step=one_step,
        loss_history=np.linspace(2, 1, 30),
    )


def test_right_predictions_are_found_right():
    scores = one_step_scores(right_states())
    n = scores.rows
    assert n == 60 * 40
    assert scores.vehicles == 60
    for level, both, by_axis in zip(accuracy.LEVELS, scores.coverage, scores.coverage_by_axis, strict=True):
        slack = 4 * np.sqrt(level * (1 - level) / n)
        for estimate in (both, *by_axis):
            assert abs(estimate.value - level) < slack
            assert estimate.low < estimate.value < estimate.high
            assert estimate.high - estimate.low < 2 * slack
    expected = 2 * stats.norm.entropy()  # of two standard normal scores; each log density varies by 1/√2
    assert abs(scores.log_score.value + expected) < 4 / np.sqrt(n)
    assert scores.nis_distance < 1.95 / np.sqrt(n)  # Kolmogorov, probability 0.001
    assert (np.abs(scores.autocorrelation) < 4.5 / np.sqrt(60 * 30)).all()
    np.testing.assert_allclose(scores.autocorrelation_band, 1.96 / np.sqrt(60 * (40 - np.arange(1, 11))))


@pytest.mark.parametrize(("scale", "covered"), [(2.0, False), (0.5, True)])
def test_doubt_of_the_wrong_size_is_found_wrong(scale, covered):
    scores = one_step_scores(right_states(scale=scale))
    expected = 2 * stats.norm.cdf(1.6449 / scale) - 1
    assert abs(scores.coverage[1].value - expected) < 0.03
    assert (scores.coverage[1].low > 0.9) == covered
    assert scores.nis_distance > 0.1
    assert scores.nis.mean() == pytest.approx(2 * scale**2, rel=0.1)


def test_autocorrelation_is_recovered():
    scores = one_step_scores(right_states(correlation=0.5))
    for lag in (1, 2, 3):
        assert abs(scores.autocorrelation[lag - 1] - 0.5**lag).max() < 4 * np.sqrt(3 / (60 * 37))


def test_constant_velocity_is_scored_by_its_own_error():
    states = right_states(jitter=0.2)
    scores = one_step_scores(states)
    variance = 6 * 0.2**2  # of x₂ − 2 x₁ + x₀
    expected = -np.log(2 * np.pi * variance) - 1
    assert abs(scores.naive_log_score.value - expected) < 0.1
    assert scores.compared == scores.rows
    gain = scores.log_score.value - scores.naive_log_score.value
    assert scores.gain.value == pytest.approx(gain)


def test_constant_velocity_needs_three_sightings():
    states = right_states(vehicles=3)
    seen = states.tracks.seen.copy()
    seen[:, 50] = False
    states = replace(states, tracks=replace(states.tracks, seen=seen))
    naive = accuracy.constant_velocity_log_density(states)
    missing = np.zeros(80, bool)
    missing[[0, 1, 50, 51, 52]] = True
    np.testing.assert_array_equal(np.isnan(naive), np.broadcast_to(missing, naive.shape))


def test_right_estimates_agree_with_the_truth():
    scores = truth_scores(right_states())
    assert scores is not None
    n = scores.rows
    assert n == 60 * 80
    assert abs(scores.nees_mean.value - 6) < 4 * np.sqrt(12 / n)
    assert scores.nees_median == pytest.approx(stats.chi2.median(6), abs=4 * 3.7 / np.sqrt(n))
    assert scores.nees_distance < 1.95 / np.sqrt(n)
    assert scores.smoothed["speed"] == pytest.approx(0.2, rel=4 / np.sqrt(2 * n))
    assert scores.everywhere["position"] == pytest.approx(0.1 * np.sqrt(2), rel=4 / np.sqrt(n))
    assert scores.raw["position"] == pytest.approx(0.2 * np.sqrt(2), rel=4 / np.sqrt(n))
    # Second differences of white noise: variance 6 σ² per frame⁴; along the path that is one coordinate.
    assert scores.raw["acceleration"] == pytest.approx(np.sqrt(6) * 0.2 * 100, rel=0.1)
    for estimates in scores.coverage.values():
        for level, estimate in zip(accuracy.LEVELS, estimates, strict=True):
            assert abs(estimate.value - level) < 4 * np.sqrt(level * (1 - level) / n)


def test_too_much_confidence_shows_in_nees():
    scores = truth_scores(right_states(scale=2.0))
    assert scores is not None
    assert scores.nees_mean.low > 6
    assert scores.nees_mean.value == pytest.approx(24, rel=0.1)


def test_headings_are_compared_as_angles():
    states = right_states(vehicles=4)
    mean = states.mean.copy()
    mean[..., 2] += 2 * np.pi
    turned, plain = truth_scores(replace(states, mean=mean)), truth_scores(states)
    assert turned is not None
    assert plain is not None
    assert turned.smoothed["heading"] == pytest.approx(plain.smoothed["heading"])
    np.testing.assert_allclose(turned.nees, plain.nees)


def test_without_truth_there_are_no_truth_scores():
    states = right_states(vehicles=2)
    assert truth_scores(replace(states, recording=replace(states.recording, truth=None))) is None


def test_accelerations_before_and_after():
    before, after = accelerations(right_states())
    assert before.rows == after.rows == 60 * 78
    assert after.deviation == pytest.approx(0.3, rel=0.05)
    assert after.over_5 == after.over_10 == 0
    sigma = np.sqrt(6) * 0.2 * 100
    assert before.over_10 == pytest.approx(2 * stats.norm.sf(10 / sigma), abs=0.05)
    assert before.over_5 > before.over_10
    assert before.largest > 3 * sigma


def test_reference_point_in_front_of_the_centre():
    states = right_states(vehicles=2)
    front = replace(states, recording=replace(states.recording, reference="front"))
    x, y = reference_points(front)
    np.testing.assert_allclose(np.hypot(x - states.mean[..., 0], y - states.mean[..., 1]), 2.0)
    np.testing.assert_array_equal(reference_points(states)[0], states.mean[..., 0])


def test_nothing_scored_gives_nan_and_no_error():
    states = right_states(vehicles=2, rows=3)
    nothing = np.zeros_like(states.one_step.scored)
    scores = one_step_scores(replace(states, one_step=replace(states.one_step, scored=nothing)))
    assert scores.rows == scores.vehicles == 0
    assert np.isnan(scores.log_score.value)
    assert np.isnan(scores.coverage[0].value)
    assert np.isnan(scores.nis_distance)


def test_share_of_independent_rows_is_wilsons_interval():
    random = np.random.default_rng(1)
    hits = random.random((5000, 1)) < 0.9
    found = share(hits, np.ones_like(hits))
    low, high = stats.binomtest(int(hits.sum()), 5000).proportion_ci(method="wilson")
    assert found.value == pytest.approx(hits.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-4)


def test_all_hits_leave_room_for_doubt():
    hits = np.ones((20, 10), bool)
    found = share(hits, hits)
    assert found.value == found.high == 1
    assert 0.9 < found.low < 1


def test_intervals_hold_the_truth_when_rows_depend_on_each_other():
    random = np.random.default_rng(2)
    held = {"share": 0, "average": 0, "rows": 0}
    rounds, counted = 400, np.ones((30, 20), bool)
    for _ in range(rounds):
        p = random.beta(6, 2, size=(30, 1))  # each vehicle has its own probability, 0.75 on average
        hits = random.random((30, 20)) < p
        of_share, of_mean = share(hits, counted), average(hits.astype(float), counted)
        held["share"] += of_share.low < 0.75 < of_share.high
        held["average"] += of_mean.low < 0.75 < of_mean.high
        half = 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / hits.size)
        held["rows"] += abs(hits.mean() - 0.75) < half
    slack = 4 * np.sqrt(0.05 * 0.95 / rounds)
    assert abs(held["share"] / rounds - 0.95) < slack
    assert abs(held["average"] / rounds - 0.95) < slack
    assert held["rows"] / rounds < 0.8  # what counting rows would claim


def test_one_vehicle_has_no_interval():
    hits = np.ones((1, 10), bool)
    assert np.isnan(share(hits, hits).low)
    assert np.isnan(average(hits.astype(float), hits).high)
