"""Household sounds as the demo recording has them: knocks, alarms, horns, animals.

Each is one fixed example; what little is random comes from the generator that is passed in. The
figures (Hz, s) are typical of the real thing; where a standard sets them, it is named.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pe_stream.audio.synthesis.signals import (
    Part,
    Partial,
    convolve,
    faded,
    harmonics,
    length,
    normalised,
    phase_of,
    ringing,
    smooth_noise,
    summed,
    times,
)
from pe_stream.core.types import Samples


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
    excitation = np.zeros(length(count * interval_s + 0.3))
    for index in range(count):
        at = length(index * interval_s + rng.uniform(0, 0.02))
        click = rng.standard_normal(length(0.012)) * np.hanning(length(0.012))
        excitation[at : at + len(click)] += rng.uniform(0.7, 1.0) * click
    panel = convolve(excitation, ringing(modes, 0.25))[: len(excitation)]
    return normalised(panel / np.abs(panel).max() + 0.25 * excitation / np.abs(excitation).max())


def smoke_alarm(cycles: int = 1, hz: float = 3100.0) -> Samples:
    """The temporal-three signal of ISO 8201: three beeps of 0.5 s, 0.5 s apart, then 1.5 s pause.

    A piezo horn, so nearly a square wave. The last pause is left out.
    """
    beep = faded(harmonics(np.full(length(0.5), hz), range(1, 10, 2)), 0.004, 0.004)
    onsets = [4.0 * cycle + beat for cycle in range(cycles) for beat in (0.0, 1.0, 2.0)]
    return normalised(summed([(beep, onset) for onset in onsets]))


def siren(duration_s: float = 6.0, low_hz: float = 600.0, high_hz: float = 1500.0) -> Samples:
    """The wail of an emergency vehicle: up and down every 4 s, with a little second harmonic."""
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * times(duration_s) / 4.0)
    phase = phase_of(low_hz * (high_hz / low_hz) ** sweep)
    return normalised(faded(np.sin(phase) + 0.3 * np.sin(2 * phase), 0.3, 0.4))


def telephone(rings: int = 2, ring_s: float = 1.4, pause_s: float = 1.2) -> Samples:
    """A telephone with a mechanical ringer: a clapper strikes two gongs in turn, 25 times a s."""
    gongs = [
        ringing([(hz, 1.0, 1.0), (2.76 * hz, 0.6, 0.7), (5.4 * hz, 0.3, 0.4)], 0.5)
        for hz in (1180.0, 1420.0)
    ]
    strikes = [
        (gongs[strike % 2], ring * (ring_s + pause_s) + strike / 25)
        for ring in range(rings)
        for strike in range(round(25 * ring_s))
    ]
    return normalised(summed(strikes))


def alarm_clock(bursts: int = 4, hz: float = 2048.0) -> Samples:
    """A quartz alarm clock: bursts of four beeps of 62 ms, a burst a second (a watch crystal / 16).

    The sounder is a small piezo disc: a square wave through a resonance, strong odd harmonics.
    """
    beep = faded(harmonics(np.full(length(0.062), hz), range(1, 8, 2)), 0.002, 0.004)
    onsets = [burst + 0.125 * n for burst in range(bursts) for n in range(4)]
    return normalised(summed([(beep, onset) for onset in onsets]))


def car_horn(
    blasts_s: Sequence[float] = (0.5, 1.0),
    pause_s: float = 0.3,
    pitches_hz: Sequence[float] = (420.0, 525.0),
) -> Samples:
    """Two disc horns a major third apart, blown for each of `blasts_s`.

    Both drive their trumpets into saturation, hence the tanh.
    """
    parts: list[Part] = []
    onset_s = 0.0
    for blast_s in blasts_s:
        horns = [harmonics(np.full(length(blast_s), hz), range(1, 7)) for hz in pitches_hz]
        parts.append((faded(np.tanh(2 * np.sum(horns, axis=0)), 0.02, 0.05), onset_s))
        onset_s += blast_s + pause_s
    return normalised(summed(parts))


def dog_barks(rng: np.random.Generator, count: int = 3, interval_s: float = 0.55) -> Samples:
    """A dog, by source and filter: a rough voice of 0.16 s around 500 Hz through three formants."""
    barks = []
    for n in range(count):
        duration_s = rng.uniform(0.14, 0.19)
        position = np.linspace(0, 1, length(duration_s))
        jitter = 1 + 0.04 * smooth_noise(rng, len(position), 90.0)
        pitch = rng.uniform(430, 480) * (1 + 0.45 * np.sin(np.pi * position**0.7)) * jitter
        voice = harmonics(pitch, range(1, 17))
        breath = 0.35 * rng.standard_normal(len(voice))
        throat = ringing([(620, 0.03, 1.0), (1150, 0.025, 0.9), (2500, 0.015, 0.5)], 0.06)
        envelope = np.sin(np.pi * position**0.5) ** 0.8
        barks.append((convolve((voice + breath) * envelope, throat), n * interval_s))
    return normalised(summed(barks))


def rooster(rng: np.random.Generator) -> Samples:
    """A crow: four syllables whose harsh voice rises to about 950 Hz and falls away."""
    syllables = ((0.16, 520, 640), (0.14, 640, 760), (0.26, 720, 900), (0.95, 930, 620))
    parts: list[Part] = []
    onset_s = 0.0
    for duration_s, from_hz, to_hz in syllables:
        position = np.linspace(0, 1, length(duration_s))
        arch = 1 + 0.06 * np.sin(np.pi * position)
        jitter = 1 + 0.015 * smooth_noise(rng, len(position), 60.0)
        voice = harmonics((from_hz + (to_hz - from_hz) * position) * arch * jitter, range(1, 13))
        breath = 0.08 * rng.standard_normal(len(voice))
        throat = ringing([(900, 0.02, 0.7), (1900, 0.02, 1.0), (3300, 0.015, 0.6)], 0.05)
        envelope = np.minimum(1, 12 * position) * np.minimum(1, 4 * (1 - position))
        parts.append((convolve((voice + breath) * envelope, throat), onset_s))
        onset_s += duration_s + 0.05
    return normalised(summed(parts))


def glass_breaking(rng: np.random.Generator) -> Samples:
    """A pane: one blow, then shards that ring between 2 and 12 kHz, ever more sparsely."""
    out = np.zeros(length(1.4))
    blow = rng.standard_normal(length(0.05)) * np.exp(-times(0.05) / 0.01)
    out[: len(blow)] += blow
    for _ in range(160):
        at = length(min(rng.exponential(0.18), 1.0))
        modes: list[Partial] = [
            (rng.uniform(2000, 12000), rng.uniform(0.02, 0.25), rng.uniform(0.2, 1.0))
            for _ in range(3)
        ]
        shard = rng.uniform(0.05, 0.35) * np.exp(-at / length(0.5)) * ringing(modes, 0.25)
        out[at : at + len(shard)] += shard
    return normalised(out)


def tone(hz: float = 1000.0, duration_s: float = 2.0) -> Samples:
    """A pure tone: what no label should answer to."""
    return normalised(faded(np.sin(2 * np.pi * hz * times(duration_s)), 0.02, 0.02))
