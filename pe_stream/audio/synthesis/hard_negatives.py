"""Sounds that share pitch, rhythm or attack with an alarm, a shot or a whistle, and are none.

Every function makes one instance: 1 to 10 s, (n,) float32 at 48 kHz, peak 1.
"""

from __future__ import annotations

import numpy as np

from pe_stream.audio.synthesis.signals import (
    Part,
    Signal,
    faded,
    length,
    shaped_noise,
    smooth_noise,
    summed,
    times,
)
from pe_stream.audio.synthesis.variation import (
    around,
    beeps,
    chance,
    finished,
    log_uniform,
    timbre,
    voiced,
)
from pe_stream.core.types import Samples


def low_battery_chirp(rng: np.random.Generator) -> Samples:
    """The short chirp of a smoke or CO alarm whose battery is low: one, now and then two."""
    beep_s = log_uniform(rng, 0.02, 0.15)
    count = 2 if chance(rng, 0.3) else 1
    gap_s = rng.uniform(0.1, 0.4)
    rhythm = [(n * (beep_s + gap_s), beep_s) for n in range(count)]
    signal = beeps(rng, rhythm, rng.uniform(2700, 3500), timbre(rng, odd=True))
    return finished(rng, signal)


def flute(rng: np.random.Generator) -> Samples:
    """A flute or recorder: notes of a scale with breath, vibrato and a soft attack."""
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    base_hz = log_uniform(rng, 260, 1100)
    amplitudes = np.array([1.0, *(rng.uniform(0, 0.5, 4) * 0.5 ** np.arange(4))])
    vibrato_hz, depth = rng.uniform(4, 6.5), rng.uniform(0, 0.01)
    note_s = log_uniform(rng, 0.12, 0.9)
    step = int(rng.integers(len(scale)))
    parts: list[Part] = []
    onset_s = 0.0
    for _ in range(int(rng.integers(3, 14))):
        lasts_s = note_s * float(rng.choice([0.5, 1.0, 1.0, 2.0]))
        time_s = times(lasts_s)
        hz = base_hz * 2 ** (scale[step] / 12)
        pitch = hz * (1 + depth * np.sin(2 * np.pi * vibrato_hz * time_s))
        breath = rng.uniform(0.005, 0.05) * _breath(rng, len(time_s), hz)
        attack_s, release_s = rng.uniform(0.02, 0.08), rng.uniform(0.02, 0.08)
        tone = voiced(pitch, amplitudes) + breath
        parts.append(
            (faded(tone, min(attack_s, lasts_s / 3), min(release_s, lasts_s / 3)), onset_s)
        )
        onset_s += lasts_s * rng.uniform(0.9, 1.2)
        step = int(np.clip(step + rng.integers(-3, 4), 0, len(scale) - 1))
    return finished(rng, summed(parts))


def kettle_whistle(rng: np.random.Generator) -> Samples:
    """A kettle on the stove: hiss that rises into one or two unsteady tones."""
    lasts_s = rng.uniform(4, 10)
    time_s = times(lasts_s)
    risen = np.clip(time_s / (lasts_s * rng.uniform(0.2, 0.9)), 0, 1)
    hz = log_uniform(rng, 1100, 3200)
    signal = rng.uniform(0.05, 0.4) * shaped_noise(
        rng, len(time_s), lambda f: 1 / (1 + ((f - 2500) / 3000) ** 4)
    )
    for ratio in (1.0, rng.uniform(1.03, 1.6))[: int(rng.integers(1, 3))]:
        pitch = ratio * hz * (0.9 + 0.1 * risen) * (1 + 0.004 * smooth_noise(rng, len(time_s), 8))
        signal += risen ** rng.uniform(0.5, 3) * voiced(pitch, np.array([1.0, 0.2, 0.05]))
    return finished(rng, faded(signal, 0.05, 0.1))


def shoe_squeak(rng: np.random.Generator) -> Samples:
    """Rubber soles on a gym floor: short tones that glide, irregular, some with a step."""
    parts: list[Part] = []
    onset_s = 0.0
    for _ in range(int(rng.integers(1, 9))):
        lasts_s = log_uniform(rng, 0.03, 0.25)
        position = np.linspace(0, 1, length(lasts_s))
        low_hz = log_uniform(rng, 900, 3500)
        pitch = low_hz * (1 + rng.uniform(-0.3, 0.5) * position)
        pitch *= 1 + 0.03 * smooth_noise(rng, len(position), 60)
        squeak = faded(voiced(pitch, timbre(rng, odd=False)), lasts_s / 5, lasts_s / 4)
        parts.append((rng.uniform(0.3, 1.0) * squeak, onset_s))
        if chance(rng, 0.4):
            thud = shaped_noise(rng, length(0.08), lambda hz: 1 / (1 + (hz / 200) ** 2))
            parts.append((0.5 * thud * np.exp(-times(0.08) / 0.02), onset_s))
        onset_s += log_uniform(rng, 0.1, 1.2)
    return finished(rng, summed(parts))


def clapping(rng: np.random.Generator) -> Samples:
    """One person who claps, or a few: bursts of noise around the hollow of the hands."""
    people = int(rng.choice([1, 1, 2, 4, 12]))
    lasts_s = rng.uniform(1, 8)
    parts: list[Part] = []
    for _ in range(people):
        period_s = rng.uniform(0.18, 0.6)
        hollow_hz, width = log_uniform(rng, 500, 2500), rng.uniform(0.6, 1.4)
        loud, fall_s = rng.uniform(0.4, 1.0), log_uniform(rng, 0.004, 0.02)
        onset_s = rng.uniform(0, period_s)
        while onset_s < lasts_s:
            clap = shaped_noise(
                rng,
                length(0.1),
                lambda hz, at=hollow_hz, w=width: (
                    1  # type: ignore[misc]
                    / (1 + (np.log2(np.maximum(hz, 20) / at) / w) ** 4)
                ),
            )
            parts.append(
                (loud * rng.uniform(0.6, 1) * clap * np.exp(-times(0.1) / fall_s), onset_s)
            )
            onset_s += around(rng, period_s, 0.12)
    return finished(rng, summed(parts))


def _breath(rng: np.random.Generator, count: int, hz: float) -> Signal:
    return shaped_noise(rng, count, lambda f: 1 / (1 + ((f - hz) / 1500) ** 4))
