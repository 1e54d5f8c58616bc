"""Household sounds made from formulas: knocks, alarms, horns, animals, and the room they sound in.

Every sound is mono float32 at 48 kHz, shape (n,), with its loudest sample at 1. What is
random comes from the generator that is passed in, so that the same seed gives the same sound.
The figures (Hz, s) are typical of the real thing; where a standard sets them, it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, Samples

Signal = NDArray[np.float64]
"""Audio while it is being made, shape (n,)."""

Partial = tuple[float, float, float]
"""One mode of something that rings: frequency (Hz), time to fall by 60 dB (s), amplitude."""


def knocks(rng: np.random.Generator, count: int = 4, interval_s: float = 0.24) -> Samples:
    """`count` raps of knuckles on a wooden door, each a click that excites the panel's modes."""
    modes: list[Partial] = [
        (118, 0.16, 1.0),
        (205, 0.13, 0.9),
        (330, 0.10, 0.7),
        (512, 0.08, 0.5),
        (840, 0.06, 0.4),
        (1350, 0.05, 0.25),
    ]
    excitation = np.zeros(_length(count * interval_s + 0.3))
    for index in range(count):
        at = _length(index * interval_s + rng.uniform(0, 0.02))
        click = rng.standard_normal(_length(0.012)) * np.hanning(_length(0.012))
        excitation[at : at + len(click)] += rng.uniform(0.7, 1.0) * click
    panel = _convolve(excitation, _ringing(modes, 0.25))[: len(excitation)]
    return _normalised(panel / np.abs(panel).max() + 0.25 * excitation / np.abs(excitation).max())


def smoke_alarm(cycles: int = 1, hz: float = 3100.0) -> Samples:
    """The temporal-three signal of ISO 8201: three beeps of 0.5 s, 0.5 s apart, then 1.5 s pause.

    A piezo horn, so nearly a square wave. The last pause is left out.
    """
    beep = _faded(_harmonics(np.full(_length(0.5), hz), range(1, 10, 2)), 0.004, 0.004)
    onsets = [4.0 * cycle + beat for cycle in range(cycles) for beat in (0.0, 1.0, 2.0)]
    return _normalised(_summed([(beep, onset) for onset in onsets]))


def siren(duration_s: float = 6.0, low_hz: float = 600.0, high_hz: float = 1500.0) -> Samples:
    """The wail of an emergency vehicle: up and down every 4 s, with a little second harmonic."""
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * _times(duration_s) / 4.0)
    phase = _phase(low_hz * (high_hz / low_hz) ** sweep)
    return _normalised(_faded(np.sin(phase) + 0.3 * np.sin(2 * phase), 0.3, 0.4))


def telephone(rings: int = 2, ring_s: float = 1.4, pause_s: float = 1.2) -> Samples:
    """A telephone with a mechanical ringer: a clapper strikes two gongs in turn, 25 times a s."""
    gongs = [
        _ringing([(hz, 1.0, 1.0), (2.76 * hz, 0.6, 0.7), (5.4 * hz, 0.3, 0.4)], 0.5)
        for hz in (1180.0, 1420.0)
    ]
    strikes = [
        (gongs[strike % 2], ring * (ring_s + pause_s) + strike / 25)
        for ring in range(rings)
        for strike in range(round(25 * ring_s))
    ]
    return _normalised(_summed(strikes))


def alarm_clock(bursts: int = 4, hz: float = 2048.0) -> Samples:
    """A quartz alarm clock: bursts of four beeps of 62 ms, a burst a second (a watch crystal / 16).

    The sounder is a small piezo disc: a square wave through a resonance, strong odd harmonics.
    """
    beep = _faded(_harmonics(np.full(_length(0.062), hz), range(1, 8, 2)), 0.002, 0.004)
    onsets = [burst + 0.125 * n for burst in range(bursts) for n in range(4)]
    return _normalised(_summed([(beep, onset) for onset in onsets]))


def car_horn(blasts_s: Sequence[float] = (0.5, 1.0), pause_s: float = 0.3) -> Samples:
    """Two disc horns a major third apart (420 and 525 Hz), blown for each of `blasts_s`.

    Both drive their trumpets into saturation, hence the tanh.
    """
    parts: list[tuple[Signal, float]] = []
    onset_s = 0.0
    for blast_s in blasts_s:
        horns = [_harmonics(np.full(_length(blast_s), hz), range(1, 7)) for hz in (420.0, 525.0)]
        parts.append((_faded(np.tanh(2 * (horns[0] + horns[1])), 0.02, 0.05), onset_s))
        onset_s += blast_s + pause_s
    return _normalised(_summed(parts))


def dog_barks(rng: np.random.Generator, count: int = 3, interval_s: float = 0.55) -> Samples:
    """A dog, by source and filter: a rough voice of 0.16 s around 500 Hz through three formants."""
    barks = []
    for n in range(count):
        duration_s = rng.uniform(0.14, 0.19)
        position = np.linspace(0, 1, _length(duration_s))
        jitter = 1 + 0.04 * _smooth_noise(rng, len(position), 90.0)
        pitch = rng.uniform(430, 480) * (1 + 0.45 * np.sin(np.pi * position**0.7)) * jitter
        voice = _harmonics(pitch, range(1, 17))
        breath = 0.35 * rng.standard_normal(len(voice))
        throat = _ringing([(620, 0.03, 1.0), (1150, 0.025, 0.9), (2500, 0.015, 0.5)], 0.06)
        envelope = np.sin(np.pi * position**0.5) ** 0.8
        barks.append((_convolve((voice + breath) * envelope, throat), n * interval_s))
    return _normalised(_summed(barks))


def rooster(rng: np.random.Generator) -> Samples:
    """A crow: four syllables whose harsh voice rises to about 950 Hz and falls away."""
    syllables = ((0.16, 520, 640), (0.14, 640, 760), (0.26, 720, 900), (0.95, 930, 620))
    parts: list[tuple[Signal, float]] = []
    onset_s = 0.0
    for duration_s, from_hz, to_hz in syllables:
        position = np.linspace(0, 1, _length(duration_s))
        arch = 1 + 0.06 * np.sin(np.pi * position)
        jitter = 1 + 0.015 * _smooth_noise(rng, len(position), 60.0)
        voice = _harmonics((from_hz + (to_hz - from_hz) * position) * arch * jitter, range(1, 13))
        breath = 0.08 * rng.standard_normal(len(voice))
        throat = _ringing([(900, 0.02, 0.7), (1900, 0.02, 1.0), (3300, 0.015, 0.6)], 0.05)
        envelope = np.minimum(1, 12 * position) * np.minimum(1, 4 * (1 - position))
        parts.append((_convolve((voice + breath) * envelope, throat), onset_s))
        onset_s += duration_s + 0.05
    return _normalised(_summed(parts))


def glass_breaking(rng: np.random.Generator) -> Samples:
    """A pane: one blow, then shards that ring between 2 and 12 kHz, ever more sparsely."""
    out = np.zeros(_length(1.4))
    blow = rng.standard_normal(_length(0.05)) * np.exp(-_times(0.05) / 0.01)
    out[: len(blow)] += blow
    for _ in range(160):
        at = _length(min(rng.exponential(0.18), 1.0))
        modes: list[Partial] = [
            (rng.uniform(2000, 12000), rng.uniform(0.02, 0.25), rng.uniform(0.2, 1.0))
            for _ in range(3)
        ]
        shard = rng.uniform(0.05, 0.35) * np.exp(-at / _length(0.5)) * _ringing(modes, 0.25)
        out[at : at + len(shard)] += shard
    return _normalised(out)


def tone(hz: float = 1000.0, duration_s: float = 2.0) -> Samples:
    """A pure tone: what no label should answer to."""
    return _normalised(_faded(np.sin(2 * np.pi * hz * _times(duration_s)), 0.02, 0.02))


def room_noise(rng: np.random.Generator, count: int) -> Samples:
    """`count` samples of a quiet room: pink noise, level below 30 Hz, standard deviation 1."""
    noise = _shaped_noise(rng, count, lambda hz: 1 / np.sqrt(np.maximum(hz, 30)))
    return np.asarray(noise, np.float32)


def room_response(rng: np.random.Generator, rt60_s: float = 0.4) -> Samples:
    """The impulse response of a furnished room, without its direct sound.

    Noise that begins 8 ms after the direct sound and falls by 60 dB in `rt60_s`; it is low-passed
    at 5 kHz, as walls and air take the treble first. Its energy is 1.
    """
    time_s = _times(rt60_s)
    noise = _shaped_noise(rng, len(time_s), lambda hz: 1 / np.sqrt(1 + (hz / 5000) ** 2))
    response = noise * 10 ** (-3 * time_s / rt60_s)
    response[: _length(0.008)] = 0
    return np.asarray(response / np.sqrt(np.sum(response**2)), np.float32)


def in_room(samples: Samples, response: Samples, wet_db: float = -9.0) -> Samples:
    """The sound with the room's answer, `wet_db` relative to the direct sound (energies)."""
    dry = np.concatenate([samples, np.zeros(len(response) - 1, np.float32)])
    wet = _convolve(samples.astype(np.float64), response.astype(np.float64))
    return np.asarray(dry + 10 ** (wet_db / 20) * wet, np.float32)


def _length(duration_s: float) -> int:
    return round(duration_s * SAMPLE_RATE)


def _times(duration_s: float) -> Signal:
    return np.arange(_length(duration_s)) / SAMPLE_RATE


def _normalised(signal: Signal) -> Samples:
    return np.asarray(signal / np.abs(signal).max(), np.float32)


def _faded(signal: Signal, attack_s: float, release_s: float) -> Signal:
    """Raised-cosine ends, so that nothing clicks."""
    attack, release = _length(attack_s), _length(release_s)
    out = signal.copy()
    out[:attack] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(attack) / attack)
    out[-release:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1) / release)
    return out


def _convolve(left: Signal, right: Signal) -> Signal:
    count = len(left) + len(right) - 1
    size = 1 << (count - 1).bit_length()
    product = np.fft.rfft(left, size) * np.fft.rfft(right, size)
    return np.asarray(np.fft.irfft(product, size)[:count], np.float64)


def _summed(parts: Sequence[tuple[Signal, float]]) -> Signal:
    """The sum of (signal, onset in s)."""
    out = np.zeros(max(_length(onset_s) + len(signal) for signal, onset_s in parts))
    for signal, onset_s in parts:
        at = _length(onset_s)
        out[at : at + len(signal)] += signal
    return out


def _ringing(modes: Sequence[Partial], duration_s: float) -> Signal:
    """The sum of exponentially damped sines, brought to silence at the end."""
    time_s = _times(duration_s)
    out = np.zeros(len(time_s))
    for hz, decay_s, gain in modes:
        out += gain * 10 ** (-3 * time_s / decay_s) * np.sin(2 * np.pi * hz * time_s)
    return _faded(out, 0.0, 0.1 * duration_s)


def _phase(pitch: Signal) -> Signal:
    """The phase (radians) of an oscillator that follows `pitch` (Hz, one value a sample)."""
    return np.asarray(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE, np.float64)


def _harmonics(pitch: Signal, numbers: Iterable[int]) -> Signal:
    """Harmonics of `pitch` (Hz), falling as 1/n: all of them a sawtooth, the odd ones a square."""
    phase = _phase(pitch)
    out = np.zeros(len(pitch))
    for n in numbers:
        out += np.sin(n * phase) / n
    return out


def _shaped_noise(rng: np.random.Generator, count: int, gain: Callable[[Signal], Signal]) -> Signal:
    """Gaussian noise whose spectrum is `gain` (of frequencies in Hz), standard deviation 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hz = np.asarray(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), np.float64)
    noise = np.asarray(np.fft.irfft(spectrum * gain(hz), count), np.float64)
    return np.asarray(noise / noise.std(), np.float64)


def _smooth_noise(rng: np.random.Generator, count: int, below_hz: float) -> Signal:
    return _shaped_noise(rng, count, lambda hz: 1 / (1 + (hz / below_hz) ** 2))
