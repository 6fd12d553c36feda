"""Gradient norms that can be listened to: one tone per layer and step. Start with `gradient_sound`."""

import io
import wave
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike

from foresee.errors import OptionError, ShapeError

RATE = 22_050  # samples a second
A4 = 440.0  # pitch of a norm of one [Hz]
LOWEST, HIGHEST = 27.5, 7040.0  # pitch of norms of 1e-4 and less, and of 1e4 and more [Hz]
TONE, PAUSE, FADE = 0.07, 0.13, 0.006  # seconds
LOUD, LOUDER = 0.45, 0.8  # of tones, and of the noise that stands for a number that is none
BUZZ = 90.0  # of that noise [Hz]


@dataclass(frozen=True)
class Sound:
    """A training run as a sound.

    Attributes:
        wav: a WAV file: 16 bit, one channel.
        steps: which steps of the run are heard, in order.
        layers: which layers, in the order in which they sound within a step.
        seconds: how long it takes.
    """

    wav: bytes
    steps: tuple[int, ...]
    layers: tuple[str, ...]
    seconds: float


def pitch(norm: ArrayLike) -> np.ndarray:
    """Return the pitch of a gradient norm [Hz]: 440 for one, an octave more for ten times as much.

    Norms below 1e-4, zero among them, sound as 1e-4 does (27.5 Hz), those above 1e4 as that (7040 Hz).
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(A4 * 2.0 ** np.log10(np.asarray(norm, float)), LOWEST, HIGHEST))


def gradient_sound(norms: Mapping[str, ArrayLike], seconds: float | int = 20.0) -> Sound:
    """Turn gradient norms into sound: every step is one tone per layer, one after the other, and a silence.

    The pitch is that of `pitch`. A norm that is no number, or infinite, is a harsh buzz. Where the run is
    longer than there is time for, steps are taken at even distances; the first step with such a norm is
    always among them.

    Args:
        norms: one per step, by layer.
        seconds: how long the sound may be, at most.

    Raises:
        ShapeError: if there is no layer, no step, or not the same number of steps in every layer.
        OptionError: if the time does not suffice for one step.
    """
    table = _table(norms)
    each = TONE * len(norms) + PAUSE
    room = int(seconds / each)
    if room < 1:
        raise OptionError(f"gradient_sound: expected at least {each:.2f} s for one step, got {seconds:g} s")
    steps = _chosen(table, room)
    noise = np.random.default_rng(0).uniform(-1, 1, round(TONE * RATE))  # the same run, the same sound
    silence = np.zeros(round(PAUSE * RATE))
    parts = []
    for step in steps:
        parts += [_tone(float(norm), noise) for norm in table[:, step]]
        parts.append(silence)
    samples = np.concatenate(parts)
    return Sound(_wav(samples), tuple(steps), tuple(norms), len(samples) / RATE)


def _table(norms: Mapping[str, ArrayLike]) -> np.ndarray:
    rows = [np.asarray(values, float) for values in norms.values()]
    shapes = {row.shape for row in rows}
    if len(shapes) != 1 or len(rows[0].shape) != 1 or not rows[0].size:
        raise ShapeError(
            f"gradient_sound: expected one number per step for every layer, got shapes {sorted(shapes)}"
        )
    return np.stack(rows)


def _chosen(table: np.ndarray, room: int) -> list[int]:
    steps = table.shape[1]
    if steps <= room:
        return list(range(steps))
    chosen = np.linspace(0, steps - 1, room).round().astype(int)
    broken = np.flatnonzero(~np.isfinite(table).all(axis=0))
    if broken.size:
        chosen[np.argmin(np.abs(chosen - broken[0]))] = broken[0]
    return chosen.tolist()


def _tone(norm: float, noise: np.ndarray) -> np.ndarray:
    time = np.arange(len(noise)) / RATE
    if np.isfinite(norm):
        wave_form = LOUD * np.sin(2 * np.pi * pitch(norm) * time)
    else:
        wave_form = LOUDER * (0.5 * np.sign(np.sin(2 * np.pi * BUZZ * time)) + 0.5 * noise)
    ramp = np.minimum(1.0, np.minimum(time, time[::-1]) / FADE)  # an edge would be heard as a click
    return wave_form * ramp


def _wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((32767 * samples).astype("<i2").tobytes())
    return buffer.getvalue()
