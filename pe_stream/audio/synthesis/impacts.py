"""Random knocks, shots and breaking panes.

The public sounds make one instance: 1 to 10 s, (n,) float32 at 48 kHz, peak 1.
"""

from __future__ import annotations

import numpy as np

from pe_stream.audio.synthesis.signals import (
    Part,
    Partial,
    Signal,
    convolve,
    length,
    ringing,
    shaped_noise,
    summed,
    times,
)
from pe_stream.audio.synthesis.variation import around, chance, finished, log_uniform
from pe_stream.core.types import SAMPLE_RATE, Samples


def door_knock(rng: np.random.Generator) -> Samples:
    """Knuckles, a fist or a knocker on doors of wood, glass or metal, once or in two bouts."""
    lowest_hz, damping = log_uniform(rng, 70, 260), log_uniform(rng, 0.5, 2.0)
    modes: list[Partial] = [
        (around(rng, lowest_hz * ratio, 0.12), damping * decay_s, gain * rng.uniform(0.4, 1.4))
        for ratio, decay_s, gain in (
            (1.0, 0.16, 1.0),
            (1.75, 0.13, 0.9),
            (2.8, 0.10, 0.7),
            (4.3, 0.08, 0.5),
            (7.1, 0.06, 0.4),
            (11.5, 0.05, 0.25),
            (19.0, 0.03, 0.2),
        )
    ]
    panel = ringing(modes, 0.35)
    click_s, hardness = log_uniform(rng, 0.003, 0.02), rng.uniform(0.05, 0.6)
    interval_s, swing = log_uniform(rng, 0.11, 0.5), rng.uniform(0.01, 0.15)
    parts: list[Part] = []
    onset_s = 0.0
    for _ in range(int(rng.choice([1, 1, 2]))):
        for _ in range(int(rng.integers(2, 8))):
            click = rng.standard_normal(length(click_s)) * np.hanning(length(click_s))
            knock = convolve(click, panel)
            knock /= np.abs(knock).max()
            knock[: len(click)] += hardness * click / np.abs(click).max()
            parts.append((rng.uniform(0.5, 1.0) * knock, onset_s))
            onset_s += around(rng, interval_s, swing)
        onset_s += rng.uniform(0.5, 1.5)
    return finished(rng, summed(parts))


def glass_breaking(rng: np.random.Generator) -> Samples:
    """A tumbler, a bottle or a pane: a blow, then shards that ring, some falling to the floor."""
    lasts_s, spread_s = rng.uniform(1.0, 2.5), log_uniform(rng, 0.04, 0.35)
    low_hz = log_uniform(rng, 900, 3500)
    out = np.zeros(length(lasts_s))
    blow_s = log_uniform(rng, 0.003, 0.02)
    blow = rng.uniform(0.2, 1.2) * rng.standard_normal(length(0.08)) * np.exp(-times(0.08) / blow_s)
    out[: len(blow)] += blow
    floor_s = rng.uniform(0.25, 0.7) if chance(rng, 0.5) else 0.0
    for _ in range(int(log_uniform(rng, 25, 220))):
        late_s = floor_s if chance(rng, 0.4) else 0.0
        at = length(min(late_s + rng.exponential(spread_s), lasts_s - 0.3))
        modes: list[Partial] = [
            (
                log_uniform(rng, low_hz, 14_000),
                log_uniform(rng, 0.02, 0.35),
                rng.uniform(0.2, 1.0),
            )
            for _ in range(3)
        ]
        fading = np.exp(-at / length(0.5))
        shard = rng.uniform(0.05, 0.4) * fading * ringing(modes, 0.25)
        out[at : at + len(shard)] += shard
    return finished(rng, out)


def gunshot(rng: np.random.Generator) -> Samples:
    """A muzzle blast and what street, field or room make of it: one shot, several, or a burst."""
    blast = _friedlander(rng)
    heard = summed([(blast, 0.0), (convolve(blast, _answer(rng)), 0.0)])
    count, interval_s = 1, 0.0
    kind = rng.random()
    if kind > 0.75:  # automatic fire, 600 to 950 rounds a minute
        count, interval_s = int(rng.integers(3, 16)), 60 / rng.uniform(600, 950)
    elif kind > 0.45:
        count, interval_s = int(rng.integers(2, 6)), log_uniform(rng, 0.25, 1.5)
    parts: list[Part] = []
    onset_s = 0.0
    for _ in range(count):
        parts.append((rng.uniform(0.7, 1.0) * heard, onset_s))
        onset_s += around(rng, max(interval_s, 0.05), 0.05 if kind > 0.75 else 0.4)
    return finished(rng, summed(parts))


def _friedlander(rng: np.random.Generator) -> Signal:
    """The pressure of a blast: a jump, an exponential fall below zero, and back."""
    positive_s = log_uniform(rng, 0.0003, 0.003)
    time_s = times(12 * positive_s)
    pulse = (1 - time_s / positive_s) * np.exp(-rng.uniform(0.8, 1.6) * time_s / positive_s)
    if chance(rng, 0.3):  # the bullet's own shock wave comes first
        crack = np.linspace(1, -1, length(0.0003)) * rng.uniform(0.3, 1.0)
        return summed([(crack, 0.0), (pulse, rng.uniform(0.002, 0.05))])
    return np.asarray(pulse, np.float64)


def _answer(rng: np.random.Generator) -> Signal:
    """Reverberation without the direct sound: a room, or the open with echoes off walls."""
    outdoors = chance(rng, 0.6)
    rt60_s = rng.uniform(1.0, 3.0) if outdoors else rng.uniform(0.25, 1.0)
    time_s = times(rt60_s)
    cutoff_hz = log_uniform(rng, 700, 3000) if outdoors else log_uniform(rng, 3000, 9000)
    noise = shaped_noise(rng, len(time_s), lambda hz: 1 / (1 + (hz / cutoff_hz) ** 2))
    tail = noise * 10 ** (-3 * time_s / rt60_s)
    tail[: length(0.004)] = 0
    tail *= rng.uniform(0.2, 1.2) / np.sqrt(np.sum(tail**2))
    for _ in range(int(rng.integers(1, 6)) if outdoors else 0):
        at = length(rng.uniform(0.05, 0.8 * rt60_s))
        width = length(log_uniform(rng, 0.001, 0.02))
        echo = rng.standard_normal(min(width, len(tail) - at))
        echo *= rng.uniform(0.1, 0.6) * np.exp(-2 * at / SAMPLE_RATE) / np.sqrt(np.sum(echo**2))
        tail[at : at + len(echo)] += echo
    return tail
