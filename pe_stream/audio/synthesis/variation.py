"""Differences between devices: tempo, pitch, waveform, loudness, loudspeaker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pe_stream.audio.synthesis.signals import (
    Part,
    Signal,
    faded,
    length,
    normalised,
    phase_of,
    smooth_noise,
    summed,
)
from pe_stream.core.types import SAMPLE_RATE, Samples

SHORTEST_S, LONGEST_S = 1.0, 10.0
"""Every random sound is as long as this, in seconds."""

Beat = tuple[float, float]
"""One beep of a rhythm: its onset and its length (s)."""


def around(rng: np.random.Generator, value: float, share: float) -> float:
    """`value`, more or less by up to `share` of it."""
    return value * rng.uniform(1 - share, 1 + share)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Between `low` and `high`, every octave as likely as another: for pitches and times."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Whether something of this probability happens."""
    return bool(rng.random() < probability)


def timbre(rng: np.random.Generator, *, odd: bool) -> Signal:
    """Amplitudes of harmonics 1, 2, 3, ... of one sounder, from nearly a sine to a harsh buzz.

    odd: without the even ones, as from a square wave.
    """
    numbers = np.arange(1, 16)
    steepness = rng.uniform(0.8, 3.0)
    amplitudes = numbers**-steepness * 10 ** (rng.uniform(-8, 4, len(numbers)) / 20)
    amplitudes[0] = 1.0
    if odd:
        amplitudes[1::2] = 0.0
    return np.asarray(amplitudes, np.float64)


def voiced(pitch: Signal, amplitudes: Signal) -> Signal:
    """An oscillator that follows `pitch` (Hz, one value a sample), with these harmonics.

    Harmonics that would pass 22 kHz are left out.
    """
    phase = phase_of(pitch)
    highest = pitch.max()
    out = np.zeros(len(pitch))
    for number, amplitude in enumerate(amplitudes, start=1):
        if amplitude and number * highest < 22_000:
            out += amplitude * np.sin(number * phase)
    return out


def steady(hz: float, duration_s: float) -> Signal:
    """The pitch of a beep that does not move, for `voiced`."""
    return np.full(length(duration_s), hz)


def beeps(
    rng: np.random.Generator, rhythm: Sequence[Beat], hz: float, amplitudes: Signal
) -> Signal:
    """The same sounder at every beat: some glide, some tremble, some have soft ends."""
    glide = rng.uniform(-0.015, 0.015) if chance(rng, 0.3) else 0.0
    tremor_hz = log_uniform(rng, 15, 120)
    depth = rng.uniform(0.1, 0.5) if chance(rng, 0.25) else 0.0
    attack_s, release_s = log_uniform(rng, 0.001, 0.015), log_uniform(rng, 0.001, 0.02)
    parts: list[Part] = []
    for onset_s, beep_s in rhythm:
        position = np.linspace(-1, 1, length(beep_s))
        tone = voiced(hz * (1 + glide * position), amplitudes)
        tremor = np.sin(2 * np.pi * tremor_hz * np.arange(len(tone)) / SAMPLE_RATE)
        level = 10 ** (rng.uniform(-1, 1) / 20)
        tone *= level * (1 - depth * (0.5 + 0.5 * tremor))
        parts.append((faded(tone, min(attack_s, beep_s / 4), min(release_s, beep_s / 4)), onset_s))
    return summed(parts)


def finished(rng: np.random.Generator, signal: Signal) -> Samples:
    """The sound as this one device gives it: 1 to 10 s, peak 1, (n,) float32 at 48 kHz.

    Its loudspeaker and case colour it; some overdrive it; some come nearer or turn away.
    """
    signal = signal[: length(LONGEST_S)]
    signal = faded(signal, 0.0, 0.003)
    if chance(rng, 0.25):
        drive = log_uniform(rng, 1, 6) / max(np.abs(signal).max(), 1e-9)
        signal = np.tanh(drive * signal)
    signal = _coloured(rng, signal)
    if chance(rng, 0.3):
        drift_db = rng.uniform(1, 4) * smooth_noise(rng, len(signal), 0.5)
        signal *= 10 ** (np.clip(drift_db, -8, 8) / 20)
    rest = max(0, length(SHORTEST_S) - len(signal))
    return normalised(np.pad(signal, (0, rest)))


def _coloured(rng: np.random.Generator, signal: Signal) -> Signal:
    """Through a frequency response that bends by some dB from octave to octave, linear in phase."""
    size = 1 << (len(signal) + SAMPLE_RATE // 10).bit_length()
    hz = np.asarray(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), np.float64)
    octaves = np.log2(np.maximum(hz, 20) / 1000)
    response_db = rng.uniform(-3, 3) * octaves
    for _ in range(3):
        bends = rng.uniform(0.1, 0.6) * octaves + rng.uniform()
        response_db += rng.uniform(0, 5) * np.sin(2 * np.pi * bends)
    lowest_hz = log_uniform(rng, 20, 250)
    response = 10 ** (response_db / 20) / np.sqrt(1 + (lowest_hz / np.maximum(hz, 1)) ** 4)
    return np.asarray(np.fft.irfft(np.fft.rfft(signal, size) * response, size), np.float64)[
        : len(signal)
    ]
