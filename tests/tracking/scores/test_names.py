"""CLEAR MOT, IDF1 and HOTA against TrackEval 1.3.0 and py-motmetrics 1.4.0 on the same made-up boxes.

Recorded by handing them `boxes(seed)` of made_up.py: identities, and intersection over union of all boxes of
a frame, with their default thresholds. py-motmetrics counts fragments and shares of a life in another way.
"""

import numpy as np
import pytest

from foresee.tracking.scores import average_mota, clear_mot, hota, identity, pair
from tests.tracking.made_up import boxes, labelled

TRACKEVAL = {
    0: {
        "hota": (0.4589811208648841, 0.5333926443108232, 0.3960862361564128, 0.7919302194398364),
        "clear": (0.6444444444444445, 0.7527806684887588),
        "counts": (30, 12, 6, 23, 2, 4, 0),
        "identity": (0.6666666666666666, 0.717948717948718, 0.6222222222222222),
    },
    1: {
        "hota": (0.4226708166095937, 0.5411428974748848, 0.3324453874015201, 0.796622210907535),
        "clear": (0.6370370370370371, 0.7629050458624128),
        "counts": (34, 10, 5, 23, 1, 5, 0),
        "identity": (0.5365853658536586, 0.5945945945945946, 0.4888888888888889),
    },
}
MOTMETRICS = {
    0: (0.6444444444444444, 0.2472193315112411, 6, 12, 30),
    1: (0.6370370370370371, 0.2370949541375872, 5, 10, 34),
}


@pytest.mark.parametrize("seed", TRACKEVAL)
def test_scores_are_those_of_the_peers(seed):
    pairing = pair(*boxes(seed), "image")
    expected = TRACKEVAL[seed]
    clear, names, both = clear_mot(pairing), identity(pairing), hota(pairing)
    np.testing.assert_allclose((both.hota, both.deta, both.assa, both.loca), expected["hota"], rtol=1e-12)
    np.testing.assert_allclose((clear.mota, clear.motp), expected["clear"], rtol=1e-12)
    np.testing.assert_allclose((names.idf1, names.idp, names.idr), expected["identity"], rtol=1e-12)
    counts = (clear.missed, clear.false, clear.switches, clear.fragmentations)
    assert (*counts, clear.mostly_tracked, clear.partly_tracked, clear.mostly_lost) == expected["counts"]
    mota, distance, *counts = MOTMETRICS[seed]
    np.testing.assert_allclose((clear.mota, 1 - clear.motp), (mota, distance), rtol=1e-12)
    assert [clear.switches, clear.false, clear.missed] == counts


def test_the_truth_itself_is_perfect_and_nothing_is_nothing():
    truth, tracks = boxes()
    perfect = pair(truth, truth, "image")
    assert clear_mot(perfect).mota == identity(perfect).idf1 == 1
    assert hota(perfect).hota == pytest.approx(1)
    assert clear_mot(perfect).mostly_tracked == len(truth.names)
    for nothing in (pair(truth, labelled([]), "image"), pair(labelled([]), tracks, "image")):
        assert hota(nothing).hota == identity(nothing).idf1 == clear_mot(nothing).recall == 0
    assert clear_mot(pair(truth, labelled([]), "image")).missed == len(truth)
    empty = pair(labelled([]), labelled([]), "image")
    assert clear_mot(empty).mota == hota(empty).deta == identity(empty).matched == 0


def test_a_swap_costs_two_switches_and_half_of_the_names():
    truth = [(frame, name, 100.0 * name, 0.0, 10.0, 10.0) for frame in range(10) for name in (1, 2)]
    tracks = [(frame, name if frame < 5 else 3 - name, *box) for frame, name, *box in truth]
    pairing = pair(labelled(truth), labelled(tracks), "image")
    clear = clear_mot(pairing)
    assert (clear.switches, clear.matched, clear.mota) == (2, 20, 0.9)
    assert identity(pairing).idf1 == 0.5
    assert hota(pairing).deta == pytest.approx(1)
    assert hota(pairing).assa == pytest.approx(5 / 15)


def test_averaging_over_recall_needs_only_the_order_of_scores():
    truth, tracks = boxes()
    score = np.where(tracks.name > 100, 0.1, 0.9) + 1e-3 * tracks.name
    scored = type(tracks)(tracks.frame, tracks.name, tracks.position, box=tracks.box, score=score)
    found = average_mota(truth, scored, "image", 0.5)
    again = type(tracks)(tracks.frame, tracks.name, tracks.position, box=tracks.box, score=score * 7 - 3)
    assert average_mota(truth, again, "image", 0.5).samota == found.samota
    assert found.best.mota >= clear_mot(pair(truth, tracks, "image")).mota
    assert 0 < found.amota < found.samota < 1
    perfect = type(truth)(truth.frame, truth.name, truth.position, box=truth.box, score=np.ones(len(truth)))
    assert average_mota(truth, perfect, "image", 0.5).samota == pytest.approx(1)
