"""Random devices that beep: alarms with a rhythm of their own, and beeps that are no alarm.

Every function makes one instance: 1 to 10 s, (n,) float32 at 48 kHz, peak 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pe_stream.audio.synthesis.bells import struck_bell, tune
from pe_stream.audio.synthesis.signals import (
    Signal,
    faded,
    length,
    summed,
)
from pe_stream.audio.synthesis.variation import (
    LONGEST_S,
    Beat,
    around,
    beeps,
    chance,
    finished,
    log_uniform,
    steady,
    timbre,
    voiced,
)
from pe_stream.core.types import Samples


def smoke_alarm(rng: np.random.Generator) -> Samples:
    """The temporal-three signal, from a piezo horn, or (one in four) at 520 Hz."""
    return temporal_three(rng, low=chance(rng, 0.25))


def temporal_three(rng: np.random.Generator, *, low: bool = False) -> Samples:
    """Three beeps of 0.5 s, 0.5 s apart, then 1.5 s pause: ISO 8201, where each may vary by 10 %.

    low: the 520 Hz square wave of NFPA 72 (also within 10 %), which wakes the hard of hearing,
    instead of a piezo horn at 2.8 to 3.5 kHz. 1 to 3 cycles; of several, the first may be cut.
    """
    beat_s = around(rng, 0.5, 0.08)
    cycles = int(rng.integers(1, 4))
    onsets = [8 * beat_s * n + 2 * beat_s * beat for n in range(cycles) for beat in range(3)]
    beep_s = around(rng, beat_s, 0.02)
    hz = around(rng, 520.0, 0.06) if low else rng.uniform(2800, 3500)
    amplitudes = timbre(rng, odd=True)
    if low:
        numbers = np.arange(1, 32)
        amplitudes = (numbers % 2) / numbers ** rng.uniform(0.9, 1.4)
    signal = beeps(rng, [(onset_s, beep_s) for onset_s in onsets], hz, amplitudes)
    if cycles > 1 and chance(rng, 0.5):
        signal = _cut(signal, rng.uniform(0, 7 * beat_s))
    return finished(rng, signal)


def carbon_monoxide_alarm(rng: np.random.Generator) -> Samples:
    """Temporal four (UL 2034): four beeps of 0.1 s, 0.1 s apart, then 5 s pause; a piezo horn."""
    beat_s = around(rng, 0.1, 0.08)
    cycle_s = 8 * beat_s - beat_s + around(rng, 5.0, 0.08)
    cycles = int(rng.integers(1, 3))
    rhythm = [(cycle_s * n + 2 * beat_s * beat, beat_s) for n in range(cycles) for beat in range(4)]
    signal = beeps(rng, rhythm, rng.uniform(2900, 3400), timbre(rng, odd=True))
    if cycles > 1 and chance(rng, 0.5):
        signal = _cut(signal, rng.uniform(0, 8 * beat_s))
    return finished(rng, signal)


def microwave_beep(rng: np.random.Generator) -> Samples:
    """What kitchen and laundry machines say when done: beeps, bursts of beeps, or a jingle."""
    ways: Sequence[Callable[[np.random.Generator], Signal]] = (
        _oven_beeps,
        _oven_beeps,
        _timer_bursts,
        _end_jingle,
    )
    return finished(rng, ways[int(rng.integers(len(ways)))](rng))


def reversing_beeps(rng: np.random.Generator) -> Samples:
    """A lorry backing: about 1.1 kHz, half a second on, half off."""
    beat_s = around(rng, 0.5, 0.2)
    rhythm = _regular(int(rng.integers(4, 10)), 2 * beat_s, beat_s * rng.uniform(0.8, 1.1))
    odd = chance(rng, 0.7)
    return finished(rng, beeps(rng, rhythm, rng.uniform(1000, 1250), timbre(rng, odd=odd)))


def clock_alarm(rng: np.random.Generator) -> Samples:
    """Something on a bedside table: quartz bursts, twin bells, slow beeps, the buzz of a radio."""
    ways: Sequence[Callable[[np.random.Generator], Signal]] = (
        _quartz_bursts,
        _quartz_bursts,
        _twin_bells,
        _slow_beeps,
        _radio_buzz,
    )
    return finished(rng, ways[int(rng.integers(len(ways)))](rng))


def single_beep(rng: np.random.Generator) -> Samples:
    """One beep, or a few without any regular rhythm: no alarm, though it may sound like one."""
    count = 1 if chance(rng, 0.5) else int(rng.integers(2, 7))
    rhythm = _irregular(rng, count)
    hz = log_uniform(rng, 500, 4000)
    odd = chance(rng, 0.5)
    return finished(rng, beeps(rng, rhythm, hz, timbre(rng, odd=odd)))


def _oven_beeps(rng: np.random.Generator) -> Signal:
    while True:
        period_s = rng.uniform(1, 2)
        beep_s = rng.uniform(0.3, min(1.0, period_s - 0.2))
        if not _of_an_alarm(beep_s, period_s - beep_s):
            break
    rhythm = _regular(int(rng.integers(3, 8)), period_s, beep_s)
    odd = chance(rng, 0.5)
    return beeps(rng, rhythm, log_uniform(rng, 1000, 2200), timbre(rng, odd=odd))


def _timer_bursts(rng: np.random.Generator) -> Signal:
    """Two to five short beeps, again and again."""
    while True:
        beep_s, gap_s = log_uniform(rng, 0.05, 0.25), log_uniform(rng, 0.05, 0.2)
        if not _of_an_alarm(beep_s, gap_s):
            break
    beat_s = beep_s + gap_s
    count = int(rng.integers(2, 6))
    pause_s = rng.uniform(0.4, 1.5)
    rhythm = [
        (burst * (count * beat_s + pause_s) + n * beat_s, beep_s)
        for burst in range(int(rng.integers(1, 5)))
        for n in range(count)
    ]
    odd = chance(rng, 0.5)
    return beeps(rng, rhythm, log_uniform(rng, 1000, 3000), timbre(rng, odd=odd))


def _end_jingle(rng: np.random.Generator) -> Signal:
    notes = int(rng.integers(4, 17))
    return tune(rng, notes=notes, note_s=log_uniform(rng, 0.1, 0.45), lowest_hz=700)


def _quartz_bursts(rng: np.random.Generator) -> Signal:
    """Bursts of two to five beeps, as from the divided frequency of a watch crystal."""
    beep_s = log_uniform(rng, 0.03, 0.09)
    beat_s = beep_s * rng.uniform(1.6, 2.4)
    count = 4 if chance(rng, 0.7) else int(rng.integers(2, 6))
    period_s = count * beat_s + rng.uniform(0.25, 0.7)
    bursts = int(rng.integers(3, 9))
    rhythm = [
        (burst * period_s + n * beat_s, beep_s) for burst in range(bursts) for n in range(count)
    ]
    hz = 2048.0 if chance(rng, 0.3) else log_uniform(rng, 1700, 4100)
    return beeps(rng, rhythm, hz, timbre(rng, odd=True))


def _twin_bells(rng: np.random.Generator) -> Signal:
    """A hammer between two bells on top of the clock."""
    low_hz = log_uniform(rng, 1400, 3200)
    bells = [struck_bell(rng, low_hz, 0.5), struck_bell(rng, around(rng, 1.1 * low_hz, 0.06), 0.5)]
    rate_hz = rng.uniform(11, 24)
    strikes = round(rate_hz * rng.uniform(2, 8))
    return summed(
        [
            (rng.uniform(0.7, 1.0) * bells[n % 2], (n + rng.uniform(0, 0.15)) / rate_hz)
            for n in range(strikes)
        ]
    )


def _slow_beeps(rng: np.random.Generator) -> Signal:
    while True:
        period_s = rng.uniform(0.4, 1.6)
        beep_s = period_s * rng.uniform(0.2, 0.7)
        if not _of_an_alarm(beep_s, period_s - beep_s):
            break
    rhythm = _regular(int(rng.integers(4, 13)), period_s, beep_s)
    odd = chance(rng, 0.6)
    return beeps(rng, rhythm, log_uniform(rng, 800, 3200), timbre(rng, odd=odd))


def _radio_buzz(rng: np.random.Generator) -> Signal:
    """The harsh low buzz of an alarm radio, in pulses or without end."""
    hz = log_uniform(rng, 100, 480)
    amplitudes = np.asarray(np.arange(1, 32) ** -rng.uniform(0.3, 1.0), np.float64)
    if chance(rng, 0.3):
        return faded(voiced(steady(hz, rng.uniform(2, 8)), amplitudes), 0.01, 0.01)
    period_s = rng.uniform(0.3, 1.2)
    rhythm = _regular(int(rng.integers(4, 13)), period_s, period_s * rng.uniform(0.3, 0.7))
    return beeps(rng, rhythm, hz, amplitudes)


def _regular(count: int, period_s: float, beep_s: float) -> list[Beat]:
    """So many beeps of that period, as far as 10 s last."""
    onsets = [n * period_s for n in range(count)]
    return [(onset_s, beep_s) for onset_s in onsets if onset_s + beep_s <= LONGEST_S]


def _irregular(rng: np.random.Generator, count: int) -> list[Beat]:
    """Beeps and gaps of random lengths, no gap twice, none with the beat of an alarm."""
    rhythm: list[Beat] = []
    gaps: list[float] = []
    onset_s = 0.0
    while len(rhythm) < count:
        beep_s, gap_s = log_uniform(rng, 0.05, 1.5), log_uniform(rng, 0.06, 1.4)
        repeats = any(abs(np.log(gap_s / before)) < 0.2 for before in gaps)
        if 0.35 < beep_s < 0.65 or _of_an_alarm(beep_s, gap_s) or repeats:
            continue
        rhythm.append((onset_s, beep_s))
        gaps.append(gap_s)
        onset_s += beep_s + gap_s
    return rhythm


def _of_an_alarm(beep_s: float, gap_s: float) -> bool:
    """Whether such beeps could be taken for temporal three (0.5 s) or temporal four (0.1 s)."""
    return any(
        0.7 * beat_s < beep_s < 1.3 * beat_s and 0.7 * beat_s < gap_s < 1.3 * beat_s
        for beat_s in (0.1, 0.5)
    )


def _cut(signal: Signal, start_s: float) -> Signal:
    """The signal from `start_s` on, as if the device was already sounding."""
    return faded(signal[length(start_s) :], 0.003, 0.003)
