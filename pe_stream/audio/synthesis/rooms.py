"""Rooms: their background noise and their impulse response."""

from __future__ import annotations

import numpy as np

from pe_stream.audio.synthesis.signals import convolve, length, shaped_noise, times
from pe_stream.core.types import Samples


def room_noise(rng: np.random.Generator, count: int) -> Samples:
    """`count` samples of a quiet room: pink noise, level below 30 Hz, standard deviation 1."""
    noise = shaped_noise(rng, count, lambda hz: 1 / np.sqrt(np.maximum(hz, 30)))
    return np.asarray(noise, np.float32)


def room_response(rng: np.random.Generator, rt60_s: float = 0.4) -> Samples:
    """The impulse response of a furnished room, without its direct sound.

    Noise that begins 8 ms after the direct sound and falls by 60 dB in `rt60_s`; it is low-passed
    at 5 kHz, as walls and air take the treble first. Its energy is 1.
    """
    time_s = times(rt60_s)
    noise = shaped_noise(rng, len(time_s), lambda hz: 1 / np.sqrt(1 + (hz / 5000) ** 2))
    response = noise * 10 ** (-3 * time_s / rt60_s)
    response[: length(0.008)] = 0
    return np.asarray(response / np.sqrt(np.sum(response**2)), np.float32)


def in_room(samples: Samples, response: Samples, wet_db: float = -9.0) -> Samples:
    """The sound with the room's answer, `wet_db` relative to the direct sound (energies)."""
    dry = np.concatenate([samples, np.zeros(len(response) - 1, np.float32)])
    wet = convolve(samples.astype(np.float64), response.astype(np.float64))
    return np.asarray(dry + 10 ** (wet_db / 20) * wet, np.float32)
