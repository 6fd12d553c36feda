"""Scores of forecasts of many vehicles: means over those that count, covering where the forecast is right."""

import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.forecast import Futures
from foresee.driving.futures.scores import counted_agents, forecast_scores
from foresee.errors import OptionError, RecordingError

AGENTS, TIMES = 400, np.array([0.5, 1.0, 1.5, 2.0])


@pytest.fixture(scope="module")
def right():
    """A forecast of two ways that is right, and what happens under it, far away from the origin."""
    random = np.random.default_rng(0)
    heading = np.broadcast_to(random.uniform(-3, 3, (AGENTS, 1, 1)), (AGENTS, 2, 4))
    way = np.array([6.0, 10.0])[:, None] * TIMES
    x, y = 1e4 + way * np.cos(heading), way * np.sin(heading)
    along, across = np.broadcast_to(0.5 * TIMES, x.shape), np.broadcast_to(0.2 * TIMES, x.shape)
    weights = np.broadcast_to([0.4, 0.6], (AGENTS, 2))
    chosen = (random.uniform(size=AGENTS) > 0.4).astype(int)
    every = np.arange(AGENTS)
    error = random.normal(size=(AGENTS, 2, 4))
    c, s = np.cos(heading[:, 0]), np.sin(heading[:, 0])
    a, b = (sd[every, chosen] * error[:, i] for i, sd in enumerate((along, across)))
    truth = np.stack([x[every, chosen] + c * a - s * b, y[every, chosen] + s * a + c * b], -1)
    leaves = [jnp.asarray(leaf) for leaf in (TIMES, x, y, heading, along, across, weights)]
    there = np.arange(4) < random.integers(2, 5, (AGENTS, 1))
    return Futures(*leaves, known=jnp.ones(AGENTS, bool)), truth, there, every % 20


@pytest.fixture(scope="module")
def scored(right):
    return forecast_scores(*right, horizons=(1.0, 2.0), most=2)


def test_means_are_those_of_plain_numpy(right, scored):
    futures, truth, there, _ = right
    apart = np.hypot(*(np.stack([futures.x, futures.y]) - truth[:, None].transpose(3, 0, 1, 2)))
    for i, end in enumerate((2, 4)):
        counted = there[:, :end].all(axis=1)
        assert (scored.counted[:, i] == counted).all()
        known = {
            "ade": apart[counted, 1, :end].mean(),
            "fde": apart[counted, 1, end - 1].mean(),
            "min_ade": apart[counted, :, :end].mean(axis=-1).min(axis=1).mean(),
            "min_fde": apart[counted, :, end - 1].min(axis=1).mean(),
            "miss": (apart[counted, :, end - 1].min(axis=1) > 2).mean(),
        }
        for name, value in known.items():
            assert scored.scores[name][i].value == pytest.approx(value)
    table = scored.to_frame()
    assert len(table) == 2 * len(scored.scores)
    assert table["count"].max() == AGENTS


def test_intervals_of_a_right_forecast_hold_their_share(scored):
    for i in range(2):
        number = scored.counted[:, i].sum()
        for level in (0.5, 0.9, 0.99):
            slack = 4 * np.sqrt(level * (1 - level) / number)
            for side in ("along", "across", "region"):
                got = scored.scores[f"coverage_{side}_{100 * level:g}"][i]
                assert abs(got.value - level) < slack
                assert got.low <= got.value <= got.high
        ranks = scored.ranks[scored.counted[:, i], i]
        assert abs(ranks.mean() - 0.5) < 0.05
    # Across, both ways have one and the same normal distribution.
    assert scored.scores["width_across_90"][1].value == pytest.approx(2 * 1.6449 * 0.4, rel=1e-3)


def test_forecasts_without_doubt_have_no_intervals_and_can_be_compared(right, scored):
    futures, *rest = right
    sure = Futures(
        futures.times, futures.x + 1.0, futures.y, futures.heading, 0 * futures.along_sd,
        futures.across_sd, futures.weights, futures.known,
    )  # fmt: skip
    got = forecast_scores(sure, *rest, horizons=(1.0, 2.0), most=2)
    assert "nll" not in got.scores
    assert np.isnan(got.ranks).all()
    gain = scored.less_than(got, "ade")
    for i in range(2):
        assert gain[i].value == pytest.approx(got.scores["ade"][i].value - scored.scores["ade"][i].value)
    with pytest.raises(OptionError, match="same vehicles"):
        scored.less_than(forecast_scores(*right, horizons=(1.0,), most=2), "ade")


def test_wrong_questions_are_errors(right):
    with pytest.raises(OptionError, match="horizon"):
        forecast_scores(*right, horizons=(3.0,))
    futures, truth, there, groups = right
    with pytest.raises(RecordingError, match="got none"):
        forecast_scores(futures, truth[:0], there[:0], groups[:0])


def test_those_who_count_are_taken_out_of_windows(windows):
    shape = (*windows.row.shape, 1, 3)
    times = jnp.asarray([0.0, 1.0, 2.0])  # other ones than those of the windows
    x = jnp.asarray(windows.past[:, :, :1, :1]) + times * jnp.asarray(windows.past[:, :, :1, 3:4])
    zero = jnp.zeros(shape)
    y = jnp.broadcast_to(jnp.asarray(windows.past[:, :, :1, 1:2]), shape)
    known = jnp.asarray(windows.known)
    futures = Futures(times, x, y, zero, zero + 1, zero + 1, jnp.ones(shape[:3]), known)
    kept, truth, there, groups = counted_agents(futures, windows)
    assert len(truth) == windows.counted.sum()
    np.testing.assert_allclose(kept.times, windows.ahead)
    np.testing.assert_allclose(np.asarray(kept.x)[:, 0][there], truth[..., 0][there], atol=1e-3)
    assert set(groups) == {"a", "b"}
