import numpy as np
import pytest

from foresee.report.clip import Clip, Trace
from foresee.report.foretold import Foretold


def make_foretold(x, y, heading):
    """Two futures of the vehicle ahead of the ego, every half second until 4.5 s: straight on, or slower."""
    frames = np.arange(0, min(len(x), 46), 5)
    times = np.array([1.0, 2.0, 3.0])
    way = np.stack([12.0 * times, 8.0 * times])
    cos, sin = (f(heading[frames, 1])[:, None, None, None] for f in (np.cos, np.sin))
    ahead = x[frames, 1][:, None, None, None] + way * cos, y[frames, 1][:, None, None, None] + way * sin
    shape = ahead[0].shape
    direction = np.broadcast_to(heading[frames, 1][:, None, None, None], shape)
    return Foretold(
        frames, np.ones((len(frames), 1), int), times, *ahead,
        np.broadcast_to([0.75, 0.25], shape[:3]).copy(), np.array([0, 2]), direction[..., [0, 2]],
        np.broadcast_to([0.5, 1.5], (*shape[:3], 2)).copy(), np.full((*shape[:3], 2), 0.25),
    )  # fmt: skip


def make_clip(driver="idm", mode="replay", scenario="jam", failed=True, frames=51, vehicles=6, seed=0):
    """A curved road with four lanes; a failing ego runs into vehicle 1 at about 3 s."""
    key = np.random.default_rng(seed)
    time = 0.1 * np.arange(frames)
    s = 30.0 * np.arange(vehicles) + 12.0 * time[:, None]
    s[:, 1] = 30.0 + 5.0 * time
    s[:, 0] = np.minimum(12.5 * time, s[:, 1] - (4.5 if failed else 8.0))
    angle = s / 400.0
    radius = 400.0 - 3.5 * (np.arange(vehicles) // 2 % 4)
    x, y = radius * np.sin(angle), 400.0 - radius * np.cos(angle)
    alive = np.ones((frames, vehicles), bool)
    alive[10:, -1] = False
    x[~alive] = np.nan
    mean = np.stack([x, y], axis=-1) + key.normal(size=(frames, vehicles, 2))
    along = np.linspace(-0.1, 1.0, 60)
    lines = [np.stack([r * np.sin(along), 400.0 - r * np.cos(along)], -1) for r in np.arange(402, 386, -3.5)]
    return Clip(
        scenario,
        driver,
        mode,
        "collided with b at 3.4 s (at fault)" if failed else "reached the end",
        failed,
        0.1,
        x,
        y,
        angle,
        alive,
        np.full(vehicles, 4.6),
        np.full(vehicles, 1.9),
        tuple("abcdefgh"[:vehicles]),
        0,
        lanes=tuple(zip(lines[1:], lines[:-1], strict=True)),
        edges=(lines[0], lines[-1]),
        expert=np.stack([x[:, 0] + 1, y[:, 0] + 1], axis=-1),
        belief_mean=mean,
        belief_covariance=np.broadcast_to(np.diag([1.0, 0.25]), (frames, vehicles, 2, 2)).copy(),
        events=((3.4, "front collision"), (1.0, "lead brakes")),
        traces=(
            Trace("speed", "m/s", np.gradient(s[:, 0], 0.1), high=29.0),
            Trace("gap", "m", np.where(time > 1, s[:, 1] - s[:, 0] - 4.6, np.nan), low=2.0),
            Trace("nothing", "", np.full(frames, np.nan)),
        ),
        foretold=make_foretold(x, y, angle),
    )


@pytest.fixture(scope="session", name="make_clip")
def make_clip_fixture():
    """A function that makes a clip to replay."""
    return make_clip
