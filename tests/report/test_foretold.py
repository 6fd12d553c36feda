from dataclasses import replace

import numpy as np

from foresee.report.clips import between, make_clips
from foresee.report.foretold import foretold_in
from tests.contests import made_foresight
from tests.evaluations import companions, made_evaluation


def test_what_is_far_hardly_probable_or_not_in_the_clip_is_left_out():
    seen = made_foresight()
    kept = foretold_in(seen, np.array([0, 2, 1]), 31, 0.1)  # slot 3 is not in the clip
    assert kept is not None
    assert kept.frames.tolist() == [0, 5, 10, 15, 20, 25, 30]
    assert kept.vehicles[0].tolist() == [2, 1, -1]
    np.testing.assert_allclose(kept.weights[0], [[0.69, 0.3, 0.0], [0.69, 0.3, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(kept.x[:, :2, :2], seen.x[:7, :2, :2])
    assert np.isnan(kept.x[:, 2]).all()
    assert np.isnan(kept.y[:, :, 2]).all()
    np.testing.assert_allclose(kept.times[kept.marked], [1.0, 2.0, 4.0])
    np.testing.assert_allclose(kept.along_sd[0, 0, 0], [0.4, 0.8, 1.6])


def test_it_is_thinned_in_time_and_along_a_future():
    seen = made_foresight()
    fine = {
        name: np.repeat(getattr(seen, name), 3, axis=-1)
        for name in ("x", "y", "heading", "along_sd", "across_sd")
    }
    often = replace(seen, frames=np.arange(12), times=np.arange(1, 25) / 6, **fine)
    kept = foretold_in(often, np.arange(4), 60, 0.1)
    assert kept is not None
    assert kept.frames.tolist() == [0, 5, 10]
    assert len(kept.times) == 8
    assert kept.times[-1] == 4.0


def test_nothing_to_draw_is_none():
    seen = made_foresight()
    assert foretold_in(seen, np.array([0]), 60, 0.1) is None
    assert foretold_in(seen, np.arange(4), 0, 0.1) is None
    assert foretold_in(replace(seen, known=np.zeros_like(seen.known)), np.arange(4), 60, 0.1) is None


def test_a_clip_carries_what_was_foretold_for_it():
    evaluation = made_evaluation("mpur", failing=(1,))
    clips = make_clips(
        [evaluation], companions(), np.array([1, 0]), {(1, "mpur", "replay"): made_foresight()}
    )
    assert [clip.foretold is None for clip in clips] == [False, True]
    assert clips[0].driver == "MPUR"
    told = clips[0].foretold
    assert told is not None
    assert {clips[0].names[k] for k in told.vehicles[0] if k >= 0} == {"a", "b"}
    part = between(clips[0], 1.2, 3.0).foretold
    assert part is not None
    assert part.frames.tolist() == [3, 8, 13, 18]
    np.testing.assert_allclose(part.x, told.x[3:7])
