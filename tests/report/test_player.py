import base64
import hashlib
import json
import re
import zlib

import numpy as np
import pytest

from foresee.errors import ShapeError
from foresee.report.clip import NINETY, ellipses, first_contact
from foresee.report.page import Page, Section, Text
from foresee.report.player import Clip, Player, Trace, still

NASTY = "</script><script>document.title='broken'</script><!--&\"'\u2028"


def page(*clips):
    return Page("t", "s", (Section("Replay", (Player(clips, "a **caption**"), Text("x"))),)).html()


def find(pattern, text):
    """The only group of a pattern, where it is first found."""
    return re.findall(pattern, text, re.DOTALL)[0]


def data_of(text):
    return json.loads(find(r'<script type="application/json">(.*?)</script>', text))


def unpack(packed, length):
    """What the script does, in NumPy."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8)
    out = []
    for rows, offset, step in packed["columns"]:
        low, high = raw[: rows * length], raw[rows * length : 2 * rows * length]
        raw = raw[2 * rows * length :]
        steps = (low.astype(np.uint16) + 256 * high.astype(np.uint16)).reshape(rows, length)
        codes = np.cumsum(steps, axis=1, dtype=np.uint16)
        out.append(np.where(codes, offset + step * codes.astype(float), np.nan))
    assert len(raw) == 0
    return out


def test_numbers_survive_to_the_centimetre(make_clip):
    clip = make_clip()
    data = data_of(page(clip))
    columns = unpack(data["clips"][0], 51)
    for got, wanted, within in zip(
        columns, (clip.x, clip.y, clip.heading % (2 * np.pi)), (0.006, 0.006, 0.002), strict=False
    ):
        np.testing.assert_allclose(got, np.where(clip.alive, wanted, np.nan).T, atol=within)
    assert clip.expert is not None
    np.testing.assert_allclose(columns[4][0], clip.expert[:, 1], atol=0.006)
    assert np.isnan(columns[5][0]).all()  # nothing is believed about the ego itself
    np.testing.assert_allclose(columns[7][1:5], NINETY, atol=0.02)
    np.testing.assert_allclose(columns[11][0], clip.traces[1].values, atol=1e-3)
    assert np.isnan(columns[12]).all()
    assert data["clips"][0]["traces"][1] == {"name": "gap", "unit": "m", "low": 2.0, "high": None}
    assert [text for _, text in data["clips"][0]["events"]] == ["lead brakes", "front collision"]


def test_futures_survive_to_a_few_centimetres(make_clip):
    clip = make_clip()
    packed = data_of(page(clip))["clips"][0]["foretold"]
    x, y = unpack(packed["lines"], packed["points"])
    np.testing.assert_allclose(x.reshape(clip.foretold.x.shape), clip.foretold.x, atol=0.03)
    np.testing.assert_allclose(y.reshape(clip.foretold.y.shape), clip.foretold.y, atol=0.03)
    along, across, angle = unpack(packed["doubts"], len(packed["marked"]))
    np.testing.assert_allclose(
        along.reshape(-1, 2), np.tile(NINETY * np.array([0.5, 1.5]), (len(along), 1)), atol=0.03
    )
    np.testing.assert_allclose(across, NINETY * 0.25, atol=0.03)
    np.testing.assert_allclose(angle.ravel(), np.ravel(clip.foretold.heading) % (2 * np.pi), atol=0.011)
    assert packed["times"] == [1.0, 3.0]
    assert packed["weights"][:2] == [75, 25]
    assert len(packed["weights"]) == packed["count"] * sum(len(row) for row in packed["vehicles"])


def test_a_road_is_kept_once(make_clip):
    data = data_of(page(make_clip(), make_clip("pdm")))
    assert len(data["roads"]) == 1
    road = data["roads"][0]
    assert len(road["counts"]) == 5  # the borders of four lanes, two of which are edges
    x, y = unpack(road, sum(road["counts"]))
    np.testing.assert_allclose(np.hypot(x, 400 - y)[0, :60], 398.5, atol=0.01)


def test_far_from_the_origin_and_odd_values(make_clip):
    clip = make_clip()
    shifted = {name: getattr(clip, name) for name in clip.__dataclass_fields__}
    shifted.update(
        x=clip.x + 4e6, heading=clip.heading - 50, lanes=(), edges=(), belief_mean=None, expert=None
    )
    shifted["traces"] = (
        Trace("huge", "", np.where(np.arange(51) == 3, np.inf, 1e-9)),
        Trace("0", "", np.zeros(51)),
    )
    columns = unpack(data_of(page(Clip(**shifted)))["clips"][0], 51)
    np.testing.assert_allclose(columns[0], np.where(clip.alive, clip.x + 4e6, np.nan).T, atol=0.006)
    assert np.isnan(columns[3][0, 3])
    np.testing.assert_allclose(columns[4], 0, atol=1e-12)


def test_forty_crowded_clips_stay_small(make_clip):
    key = np.random.default_rng(0)
    base = make_clip(frames=100, vehicles=8)
    clips = []
    for k in range(40):
        fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
        x = key.uniform(0, 600, 60) + np.cumsum(key.uniform(0, 3, (100, 60)), axis=0)
        y = key.normal(0, 8, 60) + np.cumsum(key.normal(0, 0.05, (100, 60)), axis=0)
        fields.update(scenario=f"scenario {k}", x=x, y=y, heading=key.normal(0, 0.02, x.shape))
        fields.update(alive=np.ones(x.shape, bool), length=np.full(60, 4.5), width=np.full(60, 1.8))
        fields.update(belief_mean=np.stack([x, y], -1) + key.normal(0, 1, (100, 60, 2)), names=("n",) * 60)
        spread = np.einsum("tvik,tvjk->tvij", *2 * [key.normal(size=(100, 60, 2, 2))])
        clips.append(Clip(**{**fields, "belief_covariance": spread}))
    assert len(page(*clips)) < 4e6  # though nothing in it is smooth


def test_names_cannot_leave_their_place(make_clip):
    clip = make_clip(driver=NASTY, scenario=NASTY)
    text = Page("t", "s", (Section("R", (Player((clip,), NASTY),)),)).html()
    assert data_of(text)["clips"][0]["driver"] == NASTY
    assert "broken'</script>" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert "innerHTML" not in Player(()).script


def test_exactly_the_own_script_may_run(make_clip):
    text = page(make_clip())
    script = find(r"<script>(.*?)</script>", text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = find(r'Content-Security-Policy" content="(.*?)"', text)
    assert policy.endswith(f"; script-src 'sha256-{digest}'")
    assert policy.startswith("default-src 'none'; ")
    twice = Page("t", "s", (Section("R", (Player((make_clip(),)),) * 2),)).html()
    assert twice.count("<script>") == 1
    assert not re.search(r"\bfetch\b|XMLHttpRequest|https?://(?!www\.w3\.org/2000/svg)", script)


def test_nothing_to_replay_is_a_sentence():
    assert "nothing to replay" in page()
    assert "<script type" not in page()


def test_without_script_there_is_a_picture_and_a_sentence(make_clip):
    text = page(make_clip())
    noscript = find("<noscript>(.*?)</noscript>", text)
    assert "collided with b" in noscript
    svg = base64.b64decode(find('base64,(.*?)"', noscript)).decode()
    assert svg == still(make_clip())
    assert svg.startswith("<svg")
    assert "nan" not in svg


def test_first_contact_is_found_where_the_boxes_meet(make_clip):
    clip = make_clip()
    gap = np.hypot(clip.x[:, 1] - clip.x[:, 0], clip.y[:, 1] - clip.y[:, 0]) - 4.6
    assert first_contact(clip) == (1, int(np.argmax(gap < 0.05)))
    assert first_contact(make_clip(failed=False)) is None


def test_ellipses_hold_ninety_percent(make_clip):
    clip = make_clip()
    covariance = np.array([[2.0, 0.7], [0.7, 1.0]])
    fields = {name: getattr(clip, name) for name in clip.__dataclass_fields__}
    believed = np.broadcast_to(covariance, (51, 6, 2, 2)).copy()
    drawn = ellipses(Clip(**{**fields, "belief_covariance": believed}))
    assert drawn is not None
    _, _, major, minor, angle = drawn[3, 1]
    draws = np.random.default_rng(0).multivariate_normal([0, 0], covariance, 200_000)
    turned = draws @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.mean((turned[:, 0] / major) ** 2 + (turned[:, 1] / minor) ** 2 < 1) == pytest.approx(
        0.9, abs=3e-3
    )


def test_what_does_not_fit_is_named(make_clip):
    with pytest.raises(ShapeError, match="ego 9 of 6"):
        Clip(**{**vars(make_clip()), "ego": 9})
    with pytest.raises(ShapeError, match="speed: expected 51 values, got 2"):
        Clip(**{**vars(make_clip()), "traces": (Trace("speed", "", np.zeros(2)),)})
    with pytest.raises(ShapeError, match="0 s"):
        Clip(**{**vars(make_clip()), "dt": 0})
