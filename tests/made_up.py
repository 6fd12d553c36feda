"""Recordings made up for the tests of forecasts."""

from typing import Literal

import equinox as eqx
import numpy as np

from foresee.driving.make_road import straight_road
from foresee.driving.recording import Recording
from foresee.driving.states import OneStep, States

RATE, FRAMES = 10.0, 60
FAR_AWAY = np.array([4.0e5, 5.0e6])
SPEEDS = np.array([10.0, 8.0, 12.0, 9.0])
STARTS = np.array([50.0, 80.0, 20.0, 30.0])
SHIFT = 0.25  # of what the filter says from what the smoother says [m]


def made_states(*, reference: Literal["centre", "front"] = "centre") -> States:
    """Two scenes of vehicles that keep their speed: three in "a", of which "2" comes late, one in "b"."""
    time = np.arange(FRAMES) / RATE
    seen = np.ones((4, FRAMES), bool)
    seen[0, 50:] = seen[1, :20] = seen[2, 15:] = seen[3, 40:] = seen[3, 10:15] = False
    mean = np.zeros((4, FRAMES, 6))
    mean[..., 0] = FAR_AWAY[0] + STARTS[:, None] + SPEEDS[:, None] * time
    mean[..., 1] = FAR_AWAY[1] + np.array([0.0, 0.0, -3.5, 0.0])[:, None]
    mean[..., 3] = SPEEDS[:, None]
    ahead = 2.0 if reference == "front" else 0.0
    recording = Recording(
        "made up", RATE, np.array(["a", "a", "a", "b"], object), np.array(["1", "2", "3", "1"], object),
        np.array(["car", "car", "bicycle", "car"], object), np.full(4, 4.0), np.full(4, 1.8),
        (mean[..., 0] + ahead) * seen, mean[..., 1] * seen, seen, reference,
    ).validate()  # fmt: skip
    tracks = recording.tracks()
    shape = tracks.seen.shape
    columns = np.minimum(tracks.first[:, None] + np.arange(shape[1]), FRAMES - 1)
    last = shape[1] - 1 - np.argmax(tracks.seen[:, ::-1], axis=1)
    mean = np.take_along_axis(mean, columns[..., None], 1)
    nothing = OneStep(tracks.seen, tracks.seen, np.zeros(shape), np.zeros((*shape, 2)), np.zeros((*shape, 2)))
    return States(
        recording, tracks, np.arange(shape[1]) <= last[:, None], mean, np.zeros((*shape, 6, 6)),
        np.ones((*shape, 1)), (), nothing, np.zeros(1), mean + SHIFT * np.eye(6)[1],
    )  # fmt: skip


def made_roads() -> dict:
    """A road of two lanes for "a" and of one for "b"."""
    made = {"a": straight_road(2, 300.0), "b": straight_road(1, 200.0)}
    shift = np.pad(FAR_AWAY, (0, 2))
    return {name: eqx.tree_at(lambda r: r.line, road, road.line + shift) for name, road in made.items()}
