"""Random doorbells and telephones: struck bars and bells, buzzers, melodies, warbles.

The public sounds make one instance: 1 to 10 s, (n,) float32 at 48 kHz, peak 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pe_stream.audio.synthesis.signals import (
    Part,
    Partial,
    Signal,
    faded,
    ringing,
    smooth_noise,
    summed,
    times,
)
from pe_stream.audio.synthesis.variation import (
    around,
    chance,
    finished,
    log_uniform,
    steady,
    timbre,
    voiced,
)
from pe_stream.core.types import SAMPLE_RATE, Samples

_BAR = (1.0, 2.756, 5.404, 8.933)
"""Modes of a bar free at both ends, as ratios (Fletcher and Rossing, Physics of Musical
Instruments, 2.15)."""

_SCALES = ((0, 2, 4, 7, 9, 12), (0, 4, 7, 12, 16), (0, 2, 3, 5, 7, 8, 11, 12), (0, 5, 7, 12))
"""Semitones a melody may use."""

_WESTMINSTER = ((8, 6, 4, -1), (4, 8, 6, -1), (4, 6, 8, 4), (8, 4, 6, -1))
"""Changes of the Westminster chimes, in semitones above E."""


def doorbell(rng: np.random.Generator) -> Samples:
    """Ding-dong, one chime, Westminster chimes, a buzzer, or an electronic melody."""
    ways: Sequence[Callable[[np.random.Generator], Signal]] = (
        _ding_dong,
        _ding_dong,
        _one_chime,
        _westminster,
        _buzzer,
        lambda source: tune(source, notes=int(source.integers(3, 13)), lowest_hz=400),
    )
    return finished(rng, ways[int(rng.integers(len(ways)))](rng))


def phone_ringing(rng: np.random.Generator) -> Samples:
    """A mechanical ringer, the warble of an electronic one, or a mobile's ringtone."""
    ways: Sequence[Callable[[np.random.Generator], Signal]] = (
        _mechanical_ringer,
        _warble,
        _ringtone,
    )
    return finished(rng, ways[int(rng.integers(len(ways)))](rng))


def struck_bell(rng: np.random.Generator, hz: float, duration_s: float) -> Signal:
    """One stroke on a small bell or gong, whose modes are as scattered as real ones are."""
    modes: list[Partial] = [(hz, rng.uniform(0.6, 1.2) * duration_s * 1.5, 1.0)]
    for ratio in (2.0, 2.76, 4.1, 5.4):
        decay_s = duration_s * rng.uniform(0.3, 1.2)
        modes.append((around(rng, hz * ratio, 0.06), decay_s, rng.uniform(0.1, 0.9)))
    return ringing([mode for mode in modes if mode[0] < 20_000], duration_s)


def tune(
    rng: np.random.Generator, *, notes: int, note_s: float | None = None, lowest_hz: float
) -> Signal:
    """A melody of so many notes on one electronic voice, an octave or two above `lowest_hz`.

    note_s: the length of a short note, random unless given; longer ones last twice that.
    """
    note_s = log_uniform(rng, 0.08, 0.5) if note_s is None else note_s
    scale = _SCALES[int(rng.integers(len(_SCALES)))]
    key_hz = log_uniform(rng, lowest_hz, 2.2 * lowest_hz)
    odd = chance(rng, 0.5)
    amplitudes = timbre(rng, odd=odd)
    decay_s = log_uniform(rng, 0.1, 3.0)
    parts: list[Part] = []
    onset_s = 0.0
    for _ in range(notes):
        hz = key_hz * 2 ** (scale[int(rng.integers(len(scale)))] / 12)
        lasts_s = note_s * (2 if chance(rng, 0.25) else 1)
        tone = voiced(steady(hz, lasts_s * rng.uniform(0.85, 1.0)), amplitudes)
        tone *= np.exp(-np.arange(len(tone)) / SAMPLE_RATE / decay_s)
        parts.append((faded(tone, 0.003, 0.01), onset_s))
        onset_s += lasts_s
    return summed(parts)


def _bar(rng: np.random.Generator, hz: float, decay_s: float, hardness: float) -> Signal:
    """A metal bar, struck; the harder the striker, the louder its upper modes."""
    modes: list[Partial] = [
        (around(rng, hz * ratio, 0.01), decay_s / ratio**0.7, hardness**n)
        for n, ratio in enumerate(_BAR)
        if hz * ratio < 20_000
    ]
    beating: Partial = (hz * (1 + rng.uniform(0.0005, 0.004)), decay_s, rng.uniform(0, 0.6))
    return ringing([*modes, beating], 0.8 * decay_s)


def _ding_dong(rng: np.random.Generator) -> Signal:
    hz = log_uniform(rng, 450, 1100)
    interval = 2 ** (rng.choice([3, 4, 4, 5, 7]) / 12)
    decay_s, hardness = rng.uniform(0.8, 3.5), rng.uniform(0.2, 0.7)
    gap_s = log_uniform(rng, 0.25, 1.2)
    again_s = gap_s * rng.uniform(2, 3)
    parts: list[Part] = []
    for n in range(int(rng.integers(1, 3))):
        parts.append((_bar(rng, hz, decay_s, hardness), n * again_s))
        dong = rng.uniform(0.6, 1.1) * _bar(rng, hz / interval, decay_s, hardness)
        parts.append((dong, n * again_s + gap_s))
    return summed(parts)


def _one_chime(rng: np.random.Generator) -> Signal:
    if chance(rng, 0.5):
        return _bar(rng, log_uniform(rng, 400, 1500), rng.uniform(1, 5), rng.uniform(0.2, 0.7))
    bell = struck_bell(rng, log_uniform(rng, 900, 2800), 0.6)
    rate_hz = rng.uniform(8, 22)  # a bell whose hammer strikes as long as the button is pressed
    return summed([(bell, n / rate_hz) for n in range(round(rate_hz * rng.uniform(0.6, 3)))])


def _westminster(rng: np.random.Generator) -> Signal:
    key_hz = log_uniform(rng, 300, 660)
    note_s, decay_s = rng.uniform(0.35, 0.8), rng.uniform(1, 4)
    hardness = rng.uniform(0.2, 0.6)
    changes = rng.permutation(len(_WESTMINSTER))[: int(rng.integers(1, 4))]
    semitones = [step for change in changes for step in _WESTMINSTER[int(change)]]
    bars = {
        step: _bar(rng, key_hz * 2 ** (step / 12), decay_s, hardness) for step in set(semitones)
    }
    return summed([(bars[step], n * note_s) for n, step in enumerate(semitones)])


def _buzzer(rng: np.random.Generator) -> Signal:
    """An electromagnet that pulls its armature at twice the mains frequency or at its own."""
    hz = rng.choice([100.0, 120.0]) if chance(rng, 0.6) else log_uniform(rng, 60, 300)
    case = ringing(
        [(log_uniform(rng, 300, 6000), rng.uniform(0.005, 0.03), 1.0) for _ in range(5)], 0.03
    )
    parts: list[Part] = []
    onset_s = 0.0
    for _ in range(int(rng.integers(1, 4))):
        lasts_s = log_uniform(rng, 0.25, 2.0)
        jitter = rng.uniform(0, 0.08)
        parts += [
            (rng.uniform(0.7, 1.0) * case, onset_s + (n + rng.uniform(0, jitter)) / hz)
            for n in range(int(lasts_s * hz))
        ]
        onset_s += lasts_s + rng.uniform(0.2, 0.8)
    return summed(parts)


def _mechanical_ringer(rng: np.random.Generator) -> Signal:
    low_hz = log_uniform(rng, 700, 2000)
    gongs = [
        struck_bell(rng, hz, rng.uniform(0.3, 0.8))
        for hz in (low_hz, low_hz * rng.uniform(1.05, 1.35))
    ]
    rate_hz = rng.uniform(16, 34)
    return summed(
        [
            (rng.uniform(0.75, 1.0) * gongs[n % 2], onset_s + n / rate_hz)
            for onset_s, ring_s in _cadence(rng)
            for n in range(round(rate_hz * ring_s))
        ]
    )


def _warble(rng: np.random.Generator) -> Signal:
    """The telephones of the eighties and nineties: two or three tones in fast exchange."""
    low_hz = log_uniform(rng, 500, 1800)
    tones = np.array([low_hz, low_hz * rng.uniform(1.12, 1.45), low_hz * rng.uniform(1.1, 1.6)])
    tones = tones[: int(rng.integers(2, 4))]
    rate_hz = rng.uniform(8, 30)
    odd = chance(rng, 0.6)
    amplitudes = timbre(rng, odd=odd)
    parts: list[Part] = []
    for onset_s, ring_s in _cadence(rng):
        turn = (times(ring_s) * rate_hz).astype(int) % len(tones)
        parts.append((faded(voiced(tones[turn], amplitudes), 0.01, 0.02), onset_s))
    return summed(parts)


def _ringtone(rng: np.random.Generator) -> Signal:
    """A short melody, again and again; on some phones with the hum of their vibration."""
    melody = tune(
        rng, notes=int(rng.integers(4, 11)), note_s=log_uniform(rng, 0.07, 0.22), lowest_hz=500
    )
    pause_s = rng.choice([0.0, rng.uniform(0.2, 1.0)])
    period_s = len(melody) / SAMPLE_RATE + pause_s
    signal = summed([(melody, n * period_s) for n in range(int(rng.integers(2, 6)))])
    if chance(rng, 0.25):
        wobble = 1 + 0.02 * smooth_noise(rng, len(signal), 8.0)
        hum = voiced(rng.uniform(130, 220) * wobble, timbre(rng, odd=False))
        signal += rng.uniform(0.05, 0.3) * hum * (np.abs(signal) > 0)
    return signal


def _cadence(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Onset and length (s) of every ring: one long one a turn, or two short ones as in Britain."""
    ring_s, pause_s = rng.uniform(0.7, 2.2), log_uniform(rng, 0.4, 4.0)
    rings: list[tuple[float, float]] = []
    onset_s = 0.0
    twice = chance(rng, 0.25)
    for _ in range(int(rng.integers(1, 5))):
        if twice:
            rings += [(onset_s, 0.4), (onset_s + 0.6, 0.4)]
            onset_s += 1.0 + pause_s
        else:
            rings.append((onset_s, ring_s))
            onset_s += ring_s + pause_s
    return [ring for ring in rings if ring[0] < 9.0] or rings[:1]
