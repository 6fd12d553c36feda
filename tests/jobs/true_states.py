"""States made by hand, for tests of what is done with them: nothing is smoothed."""

import numpy as np

from foresee.driving.states import OneStep, States


def true_states(recording) -> States:
    """States as if smoothing had found the truth."""
    truth, tracks = recording.truth, recording.tracks()
    last = tracks.seen.shape[1] - 1 - np.argmax(tracks.seen[:, ::-1], axis=1)
    columns = np.arange(tracks.seen.shape[1])
    alive = columns <= last[:, None]
    at = np.minimum(tracks.first[:, None] + columns, recording.frames - 1)
    fields = (truth.x, truth.y, truth.heading, truth.speed, truth.acceleration, truth.curvature)
    mean = np.stack([np.take_along_axis(values, at, 1) for values in fields], axis=-1) * alive[..., None]
    shape = alive.shape
    zero = np.zeros(shape)
    return States(
        recording,
        tracks,
        alive,
        mean,
        np.zeros((*shape, 6, 6)),
        np.ones((*shape, 1)),
        (),
        OneStep(~alive, ~alive, zero, np.zeros((*shape, 2)), np.zeros((*shape, 2))),
        np.zeros(1),
    )
