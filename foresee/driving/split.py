"""A smoothed recording in parts by time: to learn from, to choose by, and to judge with."""

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from foresee.driving.recording import CHANNELS, Recording
from foresee.driving.states import States
from foresee.errors import OptionError, RecordingError

WHOLE = 8  # with so many scenes, whole ones are dealt out; with fewer every scene is cut


def split_states(
    states: States, shares: Sequence[float] = (0.6, 0.15, 0.25), *, horizon: float | int = 0.0
) -> tuple[States, ...]:
    """Part a recording by time: the first share of it, the next, and so on.

    With at least 8 scenes whole scenes are dealt out, in the natural order of their names (numbers compared
    as numbers), which is taken for the order of recording. With fewer every scene is cut in time and keeps
    its name in all parts; a track that reaches over a cut goes on as a new one with the first sighting after
    it. The beliefs themselves are not smoothed again, and frames count from the beginning of each part.

    Args:
        states: the smoothed recording.
        shares: how much goes into each part, by number of scenes or by frames.
        horizon: somebody must be there for so long in every part [s].

    Raises:
        OptionError: if the shares are not positive numbers that add up to 1, or the horizon is negative.
        RecordingError: if a part would hold nobody, or nobody for as long as the horizon.
    """
    given = np.asarray(shares, float)
    if given.ndim != 1 or not len(given) or not (given > 0).all() or abs(given.sum() - 1) > 1e-6:
        raise OptionError(f"expected shares above 0 that add up to 1, got {tuple(shares)}")
    if not (np.isfinite(horizon) and horizon >= 0):
        raise OptionError(f"expected a horizon in s, at least 0, got {horizon}")
    parts = []
    for place, windows in enumerate(_windows(states.recording, given)):
        seen = _within(states.recording, windows)
        rate = states.recording.frame_rate
        # Who is seen in a single frame is there, but for no time that one could speak of.
        longest, least = _longest(seen) / rate, max(horizon, 1 / rate)
        if longest < least:
            raise RecordingError(
                f"expected somebody to be there for at least {least:g} s in each of {len(given)} parts, "
                f"got {longest:g} s at most in part {place + 1} ({given[place]:g} of the recording)"
            )
        parts.append(_cut(states, windows, seen))
    return tuple(parts)


def select_scenes(states: States, scenes: Sequence[str]) -> States:
    """Keep the vehicles of some scenes.

    Raises:
        RecordingError: if nobody is left.
    """
    recording = states.recording
    keep = np.isin(recording.scene.astype(str), list(scenes))
    windows = np.zeros((recording.vehicles, 2), int)
    windows[keep, 1] = recording.frames
    if not keep.any():
        raise RecordingError(f"expected a scene out of {', '.join(recording.scenes()[:5])}, got {scenes}")
    return _cut(states, windows, _within(recording, windows))


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return what sorts names as people would: numbers in them count as numbers."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _windows(recording: Recording, shares: Float[np.ndarray, " P"]) -> list[Int[np.ndarray, "V 2"]]:
    """Return for every part which frames of every vehicle belong to it: the first, and the one after."""
    ends = np.cumsum(shares / shares.sum())
    scenes = sorted((str(name) for name in recording.scenes()), key=natural_order)
    names, out = recording.scene.astype(str), []
    for place in range(len(shares)):
        low, high = (ends[place - 1] if place else 0.0), ends[place]
        windows = np.zeros((recording.vehicles, 2), int)
        for number, name in enumerate(scenes):
            inside = names == name
            if len(scenes) >= WHOLE:
                first, last = _share(len(scenes), low), _share(len(scenes), high)
                windows[inside] = [0, recording.frames if first <= number < last else 0]
            else:
                frames = int(np.flatnonzero(recording.seen[inside].any(axis=0))[-1]) + 1
                windows[inside] = [_share(frames, low), _share(frames, high)]
        out.append(windows)
    return out


def _share(count: int, share: float) -> int:
    return int(np.floor(count * share + 0.5 + 1e-9))


def _within(recording: Recording, windows: Int[np.ndarray, "V 2"]) -> Bool[np.ndarray, "V T"]:
    frame = np.arange(recording.frames)
    return recording.seen & (frame >= windows[:, :1]) & (frame < windows[:, 1:])


def _ends(seen: Bool[np.ndarray, "V T"]) -> tuple[Int[np.ndarray, " V"], Int[np.ndarray, " V"]]:
    """Return the first frame in which somebody is seen, and the last."""
    return np.argmax(seen, axis=1), seen.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)


def _longest(seen: Bool[np.ndarray, "V T"]) -> int:
    first, last = _ends(seen)
    return int(np.where(seen.any(axis=1), last - first, 0).max())


def _cut(states: States, windows: Int[np.ndarray, "V 2"], seen: Bool[np.ndarray, "V T"]) -> States:
    """Keep of everybody what is within its window of frames, if it is seen there at all."""
    keep = np.flatnonzero(seen.any(axis=1))
    first, last = _ends(seen[keep])
    rows = np.arange(int((last - first).max()) + 1)
    alive = first[:, None] + rows <= last[:, None]
    # Where a track has ended its last belief is repeated, so that nothing of another part is in it.
    source = np.minimum(first[:, None] + rows, last[:, None]) - states.tracks.first[keep, None]

    def rowwise(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values[keep], _like(source, values), 1)

    def scored(values: np.ndarray) -> np.ndarray:
        return np.where(_like(alive, values), rowwise(values), np.zeros((), values.dtype))

    recording = _cut_recording(states.recording, windows, keep, seen)
    one_step = {each.name: scored(getattr(states.one_step, each.name)) for each in fields(states.one_step)}
    return replace(
        states,
        recording=recording,
        tracks=recording.tracks(),
        alive=alive,
        one_step=replace(states.one_step, **one_step),
        filtered=None if states.filtered is None else rowwise(states.filtered),
        **{name: rowwise(getattr(states, name)) for name in ("mean", "covariance", "modes")},
    )


def _like(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    return rows.reshape(*rows.shape, *(1,) * (values.ndim - rows.ndim))


def _cut_recording(
    recording: Recording,
    windows: Int[np.ndarray, "V 2"],
    keep: Int[np.ndarray, " K"],
    seen: Bool[np.ndarray, "V T"],
) -> Recording:
    begin, end = windows[keep].T
    columns = begin[:, None] + np.arange(int((end - begin).max()))
    inside = columns < end[:, None]
    columns = np.minimum(columns, recording.frames - 1)

    def cut(values: np.ndarray | None, empty: int = 0) -> Any:
        if values is None:
            return None
        taken = np.take_along_axis(values[keep], columns, 1)
        return np.where(inside, taken, np.asarray(empty, values.dtype))

    truth = recording.truth
    if truth is not None:
        truth = replace(truth, **{each.name: cut(getattr(truth, each.name)) for each in fields(truth)})
    grids = {name: cut(getattr(recording, name)) for name in ("x", "y", *CHANNELS)}
    whole = replace(
        recording.select(keep),
        **grids,
        seen=cut(seen),
        given={name: cut(mask) for name, mask in recording.given.items()},
        lane=cut(recording.lane, -1),
        truth=truth,
    )
    return whole.select()
