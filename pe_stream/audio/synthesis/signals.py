"""Building blocks of sounds: oscillators, envelopes, resonances, shaped noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, Samples

Signal = NDArray[np.float64]
"""Audio while it is being made, shape (n,)."""

Partial = tuple[float, float, float]
"""One mode of something that rings: frequency (Hz), time to fall by 60 dB (s), amplitude."""

Part = tuple[Signal, float]
"""Something that sounds, and its onset (s)."""


def length(duration_s: float) -> int:
    """The number of samples nearest to `duration_s`."""
    return round(duration_s * SAMPLE_RATE)


def times(duration_s: float) -> Signal:
    """The time (s) of every sample of `duration_s`."""
    return np.arange(length(duration_s)) / SAMPLE_RATE


def normalised(signal: Signal) -> Samples:
    """`signal` with its loudest sample at 1."""
    return np.asarray(signal / np.abs(signal).max(), np.float32)


def faded(signal: Signal, attack_s: float, release_s: float) -> Signal:
    """Raised-cosine ends, so that nothing clicks."""
    attack, release = length(attack_s), length(release_s)
    out = signal.copy()
    out[:attack] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(attack) / attack)
    out[len(out) - release :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1) / release)
    return out


def convolve(left: Signal, right: Signal) -> Signal:
    """Their whole convolution, shape (left + right - 1,), by Fourier transform."""
    count = len(left) + len(right) - 1
    size = 1 << (count - 1).bit_length()
    product = np.fft.rfft(left, size) * np.fft.rfft(right, size)
    return np.asarray(np.fft.irfft(product, size)[:count], np.float64)


def summed(parts: Sequence[Part]) -> Signal:
    """The sum of (signal, onset in s)."""
    out = np.zeros(max(length(onset_s) + len(signal) for signal, onset_s in parts))
    for signal, onset_s in parts:
        at = length(onset_s)
        out[at : at + len(signal)] += signal
    return out


def ringing(modes: Sequence[Partial], duration_s: float) -> Signal:
    """The sum of exponentially damped sines, brought to silence at the end."""
    time_s = times(duration_s)
    out = np.zeros(len(time_s))
    for hz, decay_s, gain in modes:
        out += gain * 10 ** (-3 * time_s / decay_s) * np.sin(2 * np.pi * hz * time_s)
    return faded(out, 0.0, 0.1 * duration_s)


def phase_of(pitch: Signal) -> Signal:
    """The phase (radians) of an oscillator that follows `pitch` (Hz, one value a sample)."""
    return np.asarray(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE, np.float64)


def harmonics(pitch: Signal, numbers: Iterable[int]) -> Signal:
    """Harmonics of `pitch` (Hz), falling as 1/n: all of them a sawtooth, the odd ones a square."""
    phase = phase_of(pitch)
    out = np.zeros(len(pitch))
    for n in numbers:
        out += np.sin(n * phase) / n
    return out


def shaped_noise(rng: np.random.Generator, count: int, gain: Callable[[Signal], Signal]) -> Signal:
    """Gaussian noise whose spectrum is `gain` (of frequencies in Hz), standard deviation 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hz = np.asarray(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), np.float64)
    noise = np.asarray(np.fft.irfft(spectrum * gain(hz), count), np.float64)
    return np.asarray(noise / noise.std(), np.float64)


def smooth_noise(rng: np.random.Generator, count: int, below_hz: float) -> Signal:
    """Noise that varies no faster than about `below_hz`, standard deviation 1."""
    return shaped_noise(rng, count, lambda hz: 1 / (1 + (hz / below_hz) ** 2))
