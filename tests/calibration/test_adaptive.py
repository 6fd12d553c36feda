"""Conformal prediction on streams: the update written out, the long-run guarantee, and going on later."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import foresee.calibration as c

WINDOW, STEPS = 100, 1500
random = np.random.default_rng(0)
# A shift half way, and a drift from there on.
SCALE = np.where(np.arange(STEPS) < STEPS // 2, 1.0, 4.0 + np.arange(STEPS) / 300)
SCORES = np.abs(random.normal(size=STEPS)) * SCALE
PAST = np.abs(random.normal(size=WINDOW))


def naive(rate):
    window, misses, out = list(PAST), 0.1, []
    for score in SCORES:
        rank = int(np.ceil((WINDOW + 1) * (1 - misses) - 1e-9))
        threshold = -np.inf if rank < 1 else np.inf if rank > WINDOW else np.sort(window)[rank - 1]
        out.append((threshold, score <= threshold, misses))
        misses += rate * (0.1 - (score > threshold))
        window = [*window[1:], score]
    return np.asarray(out).T


@pytest.fixture(scope="module")
def single_rate():
    method = c.adaptive_conformal(0.9, 0.03)
    return method, c.run_adaptive(method, method.start(PAST), jnp.asarray(SCORES))


def test_one_rate_is_the_published_update(single_rate):
    _, (_, judged) = single_rate
    threshold, covered, asked = naive(0.03)
    np.testing.assert_allclose(judged.asked, asked, atol=1e-9)
    np.testing.assert_array_equal(judged.covered, covered.astype(bool))
    np.testing.assert_allclose(judged.threshold, threshold)


def test_misses_in_the_long_run_are_within_the_bound_on_any_stream(single_rate):
    _, (_, judged) = single_rate
    # Gibbs and Candès (2021), proposition 4.1.
    bound = (max(0.1, 0.9) + 0.03) / (STEPS * 0.03)
    assert abs(1 - np.mean(judged.covered) - 0.1) <= bound
    frozen = np.quantile(PAST, 0.9)
    assert np.mean(SCORES[STEPS // 2 :] > frozen) > 0.5  # what split conformal prediction would have missed


def test_a_stream_stops_and_goes_on(single_rate):
    method, (last, judged) = single_rate
    stream = method.start(PAST)
    parts = []
    for half in (SCORES[: STEPS // 2], SCORES[STEPS // 2 :]):
        stream, part = c.run_adaptive(method, stream, jnp.asarray(half))
        parts.append(part)
    np.testing.assert_array_equal(jnp.concatenate([part.threshold for part in parts]), judged.threshold)
    for one, other in zip(jax.tree.leaves(stream), jax.tree.leaves(last), strict=True):
        np.testing.assert_array_equal(one, other)


def test_several_rates_need_no_choice_and_cover_locally():
    method = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), c.adaptive_conformal(0.9))
    stream, judged = c.run_adaptive(method, method.start(PAST), jnp.asarray(SCORES, jnp.float32))
    assert judged.threshold.dtype == jnp.float32
    np.testing.assert_allclose(jax.nn.softmax(stream.log_weights).sum(), 1, rtol=1e-5)
    assert abs(np.mean(judged.covered) - 0.9) < 0.03
    local = np.convolve(judged.covered, np.ones(250) / 250, mode="valid")
    assert local.min() > 0.72
