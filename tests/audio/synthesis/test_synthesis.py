"""The generators: format, determinism, and the figures their docstrings promise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pe_stream.audio import synthesis
from pe_stream.core.types import SAMPLE_RATE, Samples

SOUNDS: dict[str, Callable[[np.random.Generator], Samples]] = {
    "knocks": synthesis.knocks,
    "smoke_alarm": lambda _: synthesis.smoke_alarm(),
    "siren": lambda _: synthesis.siren(),
    "telephone": lambda _: synthesis.telephone(),
    "alarm_clock": lambda _: synthesis.alarm_clock(),
    "car_horn": lambda _: synthesis.car_horn(),
    "dog_barks": synthesis.dog_barks,
    "rooster": synthesis.rooster,
    "glass_breaking": synthesis.glass_breaking,
    "tone": lambda _: synthesis.tone(),
}


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS.keys())
def test_mono_float32_with_peak_one_and_the_same_again(
    sound: Callable[[np.random.Generator], Samples],
) -> None:
    samples = sound(np.random.default_rng(1))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert np.abs(samples).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(samples, sound(np.random.default_rng(1)))


def test_tone_is_where_it_should_be() -> None:
    assert strongest_hz(synthesis.tone(440.0)) == pytest.approx(440, abs=1)


def test_smoke_alarm_is_temporal_three() -> None:
    samples = synthesis.smoke_alarm(cycles=2)
    assert strongest_hz(samples) == pytest.approx(3100, abs=3)
    # In the middle of every half second: three beeps and five halves of silence, and again.
    middles = (np.arange(11) * 0.5 + 0.25) * SAMPLE_RATE
    loud = [np.abs(samples[int(at) : int(at) + 480]).max() > 0.1 for at in middles]
    assert loud == [True, False] * 3 + [False] * 2 + [True, False, True]


def test_siren_sweeps_between_its_pitches() -> None:
    samples = synthesis.siren(4.0, low_hz=600, high_hz=1500)
    pitches = [strongest_hz(piece) for piece in np.array_split(samples, 40)]
    assert min(pitches) == pytest.approx(600, abs=30)
    assert max(pitches) == pytest.approx(1500, abs=30)


def test_room_noise_is_pink_with_deviation_one() -> None:
    noise = synthesis.room_noise(np.random.default_rng(2), 10 * SAMPLE_RATE)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hz = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE)
    octaves = [power[(hz >= low) & (hz < 2 * low)].sum() for low in (100, 400, 1600, 6400)]
    assert noise.std() == pytest.approx(1, abs=1e-3)
    assert max(octaves) / min(octaves) < 1.5


def test_room_adds_its_answer_after_the_direct_sound() -> None:
    response = synthesis.room_response(np.random.default_rng(3), rt60_s=0.4)
    click = np.ones(1, np.float32)
    heard = synthesis.in_room(click, response, wet_db=-9.0)
    assert heard[0] == pytest.approx(1)
    assert np.abs(heard[1 : int(0.008 * SAMPLE_RATE)]).max() < 1e-6
    assert 10 * np.log10(np.sum(heard[1:].astype(float) ** 2)) == pytest.approx(-9, abs=0.1)


def strongest_hz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 4 * len(samples)))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / (4 * len(samples))
