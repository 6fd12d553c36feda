"""A few boxes that cross the picture, and what a poor tracker makes of them."""

import numpy as np

from foresee.tracking import Labelled


def boxes(seed: int = 0, frames: int = 30, objects: int = 6):
    """Return truth and tracks: tracks are missing, false, renamed and out of place here and there."""
    random = np.random.default_rng(seed)
    start = random.uniform(0, 200, (objects, 2))
    speed = random.normal(0, 4, (objects, 2))
    size = random.uniform(30, 60, (objects, 2))
    truth, tracks = [], []
    renamed = np.arange(objects)
    for frame in range(1, frames + 1):
        there = [k for k in range(objects) if 2 * k < frame <= frames - k]
        if random.uniform() < 0.1:
            i, j = random.choice(objects, 2, replace=False)
            renamed[[i, j]] = renamed[[j, i]]
        if random.uniform() < 0.1:
            renamed[random.integers(objects)] = 20 + frame
        for k in there:
            corner = start[k] + speed[k] * frame
            truth.append((frame, k + 1, *corner, *size[k]))
            if random.uniform() < 0.85 and frame != 17:
                noise = random.normal(0, [4, 4, 3, 3])
                tracks.append((frame, renamed[k] + 1, *corner + noise[:2], *size[k] + noise[2:]))
        if random.uniform() < 0.3:
            tracks.append((frame, 100 + frame, *random.uniform(0, 200, 2), 40.0, 40.0))
    return labelled(truth), labelled(tracks)


def labelled(rows) -> Labelled:
    """Return rows of frame, name, left, top, width, height as columns."""
    table = np.array(rows, float).reshape(-1, 6)
    position = table[:, 2:4] + table[:, 4:] / 2
    return Labelled(table[:, 0].astype(int), table[:, 1].astype(int), position, box=table[:, 2:])


def points(seed: int = 0, frames: int = 12, objects: int = 5):
    """Return truth and tracks as points with covariances that are right."""
    random = np.random.default_rng(seed)
    place = random.uniform(0, 60, (objects, 2))
    truth, tracks = [], []
    for frame in range(frames):
        place = place + random.normal(0, 2, place.shape)
        for k in range(objects):
            truth.append((frame, k, *place[k]))
            if random.uniform() < 0.8:
                tracks.append((frame, k + 10 * (frame > 6), *place[k] + random.normal(0, [1, 2])))
        if random.uniform() < 0.5:
            tracks.append((frame, 50 + frame, *random.uniform(0, 60, 2)))
    truth, tracks = np.array(truth), np.array(tracks)
    covariance = np.broadcast_to(np.diag([1.0, 4.0]), (len(tracks), 2, 2))
    return (
        Labelled(truth[:, 0].astype(int), truth[:, 1].astype(int), truth[:, 2:]),
        Labelled(tracks[:, 0].astype(int), tracks[:, 1].astype(int), tracks[:, 2:], covariance),
    )
