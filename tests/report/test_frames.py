import numpy as np
import pytest
from PIL import Image

from foresee.errors import OptionError
from foresee.report.clip import Clip
from foresee.report.frames import write_gif, write_png

BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)


def make_clip(**other):
    """On a straight road the ego runs into the vehicle before it, in the seventh of eight frames."""
    frames = np.arange(8.0)
    x = np.stack([3.0 * frames, np.full(8, 22.0), 40 + 2 * frames], axis=1)
    y = np.broadcast_to([0.0, 0.0, 3.5], x.shape).copy()
    left, middle, right = (np.array([[-50.0, side], [90.0, side]]) for side in (5.25, 1.75, -1.75))
    fields = {
        "scenario": "straight $x$ road",
        "driver": "idm_<&>",
        "mode": "replay",
        "outcome": "collided with b",
        "failed": True,
        "dt": 0.1,
        "x": x,
        "y": y,
        "heading": np.zeros(x.shape),
        "alive": np.ones(x.shape, bool),
        "length": np.full(3, 4.5),
        "width": np.full(3, 1.8),
        "names": ("a", "b_$", "c"),
        "ego": 0,
        "lanes": ((left, middle), (middle, right)),
        "edges": (left, right),
        "expert": np.stack([x[:, 0], y[:, 0] + 0.5], axis=1),
        "belief_mean": np.where(np.arange(3)[:, None] == 2, np.nan, np.stack([x, y], axis=-1)),
        "belief_covariance": np.broadcast_to(np.eye(2), (8, 3, 2, 2)).copy(),
        "events": ((0.6, "front collision"),),
    }
    return Clip(**{**fields, **other})


def near(picture, colour, within=12):
    return np.abs(np.asarray(picture.convert("RGB"), int) - colour).max(axis=-1) <= within


def test_a_gif_runs_at_the_speed_of_the_traffic(tmp_path):
    write_gif(make_clip(), tmp_path / "clip.gif", every=3, width=400)
    with Image.open(tmp_path / "clip.gif") as gif:
        assert gif.size == (400, 200)
        assert getattr(gif, "n_frames", 1) == 4
        assert gif.info["duration"] == 300
        gif.seek(3)
        assert gif.info["duration"] == 1500  # it rests on the last frame, which is always there
        assert near(gif, (255, 255, 255), within=0).mean() > 0.3
        assert near(gif, BLUE).any()
        assert near(gif, VERMILLION).any()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.gif"]


@pytest.mark.parametrize(("time", "frame"), [(0.31, 3), (-5, 0), (99, 7)])
def test_a_picture_is_true_to_scale(tmp_path, time, frame):
    write_png(make_clip(), tmp_path / "frame.png", time, width=900)
    with Image.open(tmp_path / "frame.png") as picture:
        assert picture.size == (900, 450)
        rows, columns = np.nonzero(near(picture, VERMILLION, 3)[225 - 7 : 225 + 7])
    assert len(rows)
    assert columns.max() == pytest.approx(450 + 10 * (22 + 2.25 - 3 * frame), abs=2)  # 10 pixels per metre


def test_nothing_to_see_is_still_a_picture(tmp_path):
    nothing = {"lanes": (), "edges": (), "expert": None, "belief_mean": None}
    clip = make_clip(**nothing, alive=np.zeros((8, 3), bool))
    write_png(clip, tmp_path / "follow.png", 0)
    write_png(clip, tmp_path / "whole.png", 0, whole_road=True)
    write_gif(make_clip(x=np.full((8, 3), np.nan)), tmp_path / "nan.gif", every=100, width=200)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_cannot_be_drawn_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(OptionError, match="every = 0"):
        write_gif(make_clip(), tmp_path / "clip.gif", every=0)
    with pytest.raises(OptionError, match="got 10"):
        write_gif(make_clip(), tmp_path / "clip.gif", width=10)
    with pytest.raises(OptionError, match="nan"):
        write_png(make_clip(), tmp_path / "frame.png", np.nan)
    assert not list(tmp_path.iterdir())
