"""From positions to states: are the doubts right where the truth is known, and on real traffic?"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving import read_recording, synthetic_recording
from foresee.driving.accuracy import one_step_scores, truth_scores
from foresee.driving.estimate import estimate_states, held_out, smooth_tracks, starting_beliefs
from foresee.driving.noise import PRIORS, white_noise
from foresee.errors import RecordingError

pytestmark = pytest.mark.usefixtures("optimised")


@pytest.fixture(scope="module")
def synthetic():
    return estimate_states(synthetic_recording(0))


def test_intervals_hold_what_they_promise(synthetic):
    scores = one_step_scores(synthetic)
    for level, both in zip((0.5, 0.9, 0.99), scores.coverage_by_axis, strict=True):
        for share in both:
            # The interval is about four standard errors wide.
            assert abs(share.value - level) < (share.high - share.low) + 0.01
    assert scores.gain.low > 0.5  # nats per sighting over constant velocity


def test_smoothing_is_closer_to_the_truth_than_raw(synthetic):
    truth = truth_scores(synthetic)
    assert truth is not None
    for name in ("position", "speed", "acceleration"):
        assert truth.smoothed[name] < 0.5 * truth.raw[name]
    # Manoeuvres are rarer and sharper than the model's wandering curvature, so a few rows are far off.
    assert 2 < truth.nees_median < 8
    assert np.isfinite(synthetic.mean[synthetic.alive]).all()
    assert (np.linalg.eigvalsh(synthetic.covariance[synthetic.alive]) > -1e-12).all()


def test_learned_noise_is_that_of_the_recording(synthetic):
    white = next(one for one in synthetic.learned if one.name == "white")
    assert abs(white.value - 0.25) < 4 * white.standard_error + 0.02


def test_rows_are_learned_on_or_scored_but_never_both():
    recording = synthetic_recording(1)
    tracks = recording.tracks()
    begin, used = starting_beliefs(tracks, recording.frame_rate)
    learn, score = held_out(recording, tracks, used)
    assert not (learn & score).any()
    assert not ((learn | score) & ~tracks.seen).any()
    rows = np.arange(tracks.seen.shape[1])
    assert not (score & (rows < used[:, None])).any()
    latest = (tracks.first[:, None] + rows)[learn].max()
    assert (tracks.first[:, None] + rows)[score].min() > latest
    assert (begin[:, 6:] > 0).all()


def test_third_differences_find_white_noise():
    rng = np.random.default_rng(0)
    time = np.arange(400) / 10
    smooth = np.stack([15 * time, np.sin(time / 5)], -1)
    noisy = smooth + 0.2 * rng.normal(size=(3, 400, 2))
    assert white_noise(noisy, np.ones((3, 400), bool)) == pytest.approx(0.2, rel=0.15)


def test_front_bumpers_become_centres(synthetic):
    recording = replace(synthetic_recording(0), reference="front")
    states = estimate_states(recording)
    apart = np.hypot(*(states.mean - synthetic.mean)[states.alive][:, :2].T)
    half = np.broadcast_to(0.5 * recording.length[:, None], states.alive.shape)[states.alive]
    np.testing.assert_allclose(apart, half, atol=1e-6)


def test_filtered_states_do_not_know_what_comes(synthetic):
    recording = synthetic_recording(0)
    tracks = recording.tracks()
    begin, used = starting_beliefs(tracks, recording.frame_rate)
    origin = np.stack([begin[:, 0], begin[:, 1]], -1)
    begin = begin - np.pad(origin, ((0, 0), (0, 7)))
    positions = np.where(tracks.seen[..., None], np.stack([tracks.x, tracks.y], -1) - origin[:, None], 0.0)
    usual = {name: jnp.asarray(prior.median, float) for name, prior in PRIORS.items()}
    cut = int(used.max()) + 10
    later = positions.copy()
    later[:, cut:] += 5.0
    one, other = (
        smooth_tracks(usual, each, tracks.seen, begin, 1 / recording.frame_rate, lambda *_: None)
        for each in (positions, later)
    )
    np.testing.assert_array_equal(one["filtered"][:, :cut], other["filtered"][:, :cut])
    assert np.abs(one["mean"] - other["mean"])[:, :cut].max() > 0.1
    # In the last row, nothing later is left to know.
    last = synthetic.alive.sum(axis=1) - 1
    at_end = (np.arange(len(last)), last)
    np.testing.assert_allclose(synthetic.filtered[at_end], synthetic.mean[at_end], atol=1e-3)
    inside = synthetic.alive & (np.arange(synthetic.alive.shape[1]) >= used[:, None])
    apart = np.abs(synthetic.filtered - synthetic.mean)[inside][:, :2]
    assert 0 < apart.mean() < 0.5


def test_nothing_to_learn_from_is_an_error():
    recording = synthetic_recording(0)
    seen = np.zeros_like(recording.seen)
    first = np.argmax(recording.seen, axis=1)
    seen[np.arange(recording.vehicles), first] = True
    with pytest.raises(RecordingError, match="5 frames"):
        estimate_states(replace(recording, seen=seen))


@pytest.mark.slow
def test_us101_intervals_hold_held_out_rows(shared_data):
    states = estimate_states(read_recording(shared_data / "traffic" / "us101_tracks.csv.gz"))
    scores = one_step_scores(states)
    assert scores.rows > 10_000
    for share in scores.coverage_by_axis[1]:
        assert 0.85 <= share.value <= 0.95
    assert scores.gain.low > 1
    assert np.isfinite(states.mean[states.alive]).all()
