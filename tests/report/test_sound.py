import io
import wave

import numpy as np
import pytest

from foresee.errors import OptionError, ShapeError
from foresee.report.sound import FADE, PAUSE, RATE, TONE, gradient_sound, pitch

LENGTH, GAP = round(TONE * RATE), round(PAUSE * RATE)


def samples_of(sound):
    """Parse the WAV back into numbers between -1 and 1."""
    with wave.open(io.BytesIO(sound.wav)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def tones_of(sound):
    """Cut a sound into tones, shape (steps, layers, samples), and the silences between."""
    steps, layers = len(sound.steps), len(sound.layers)
    rows = samples_of(sound).reshape(steps, layers * LENGTH + GAP)
    return rows[:, : layers * LENGTH].reshape(steps, layers, LENGTH), rows[:, layers * LENGTH :]


def dominant(tone):
    """The loudest frequency of a tone [Hz]."""
    power = np.abs(np.fft.rfft(tone, 16 * len(tone)))
    return np.fft.rfftfreq(16 * len(tone), 1 / RATE)[np.argmax(power)]


def flatness(tone):
    """Geometric over arithmetic mean of the power spectrum: near 0 for a tone, larger for noise."""
    power = np.abs(np.fft.rfft(tone)) ** 2 + 1e-12
    return np.exp(np.mean(np.log(power))) / power.mean()


def test_pitch_is_an_octave_per_power_of_ten():
    np.testing.assert_allclose(pitch(np.array([1e-2, 0.1, 1, 10, 100])), [110, 220, 440, 880, 1760])
    np.testing.assert_allclose(pitch(np.array([0.0, 1e-9, 1e9])), [27.5, 27.5, 7040])


def test_every_layer_and_step_is_a_tone_of_its_pitch_and_a_silence_follows():
    norms = {"first": np.array([1.0, 0.1, 30.0]), "second": np.array([4.0, 1000.0, 0.02])}
    sound = gradient_sound(norms)
    tones, silences = tones_of(sound)
    assert sound.steps == (0, 1, 2)
    assert sound.layers == ("first", "second")
    assert sound.seconds == pytest.approx(3 * (2 * TONE + PAUSE), abs=1e-3)
    for layer, values in enumerate(norms.values()):
        heard = [dominant(tone) for tone in tones[:, layer]]
        np.testing.assert_allclose(heard, pitch(values), atol=2.5)  # a tone of 70 ms is no sharper
    assert np.all(silences == 0)
    assert np.abs(tones).max(axis=2) == pytest.approx(0.45, abs=0.02)


def test_no_clicks():
    norms = {"a": np.array([3.0, np.nan]), "b": np.array([0.5, 7.0])}
    tones, _ = tones_of(gradient_sound(norms))
    assert np.abs(tones[..., [0, -1]]).max() < 1e-3
    finite = tones[0]
    # No faster than a full tone, faded in and out.
    assert np.abs(np.diff(finite)).max() < 0.45 * (2 * np.pi * pitch(3.0) + 1 / FADE) / RATE


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_a_harsh_noise(broken):
    tones, _ = tones_of(gradient_sound({"a": np.array([1.0, broken, 1.0])}))
    assert flatness(tones[1, 0]) > 50 * flatness(tones[0, 0])
    assert np.sqrt(np.mean(tones[1, 0] ** 2)) > 1.3 * np.sqrt(np.mean(tones[0, 0] ** 2))


def test_long_runs_are_thinned_but_the_first_broken_step_is_heard():
    norms = np.full(1000, 0.3)
    norms[617:] = np.nan
    sound = gradient_sound({"a": norms}, seconds=5)
    assert sound.seconds <= 5
    assert {0, 617, 999} <= set(sound.steps)
    assert list(sound.steps) == sorted(set(sound.steps))
    assert len(samples_of(sound)) == len(sound.steps) * (LENGTH + GAP)


def test_the_same_norms_give_the_same_bytes():
    norms = {"a": np.array([1.0, np.nan])}
    assert gradient_sound(norms).wav == gradient_sound(norms).wav


@pytest.mark.parametrize("norms", [{}, {"a": []}, {"a": [1.0], "b": [1.0, 2.0]}, {"a": [[1.0]]}])
def test_shapes_that_are_none(norms):
    with pytest.raises(ShapeError, match="one number per step for every layer"):
        gradient_sound({name: np.asarray(values) for name, values in norms.items()})


def test_too_little_time():
    with pytest.raises(OptionError, match=r"at least 0\.20 s"):
        gradient_sound({"a": np.ones(3)}, seconds=0.1)
