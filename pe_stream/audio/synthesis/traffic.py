"""Random sirens, horns, whistles and steady tones.

The public sounds make one instance: 1 to 10 s, (n,) float32 at 48 kHz, peak 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    chance,
    finished,
    log_uniform,
    steady,
    timbre,
    voiced,
)
from pe_stream.core.types import SAMPLE_RATE, Samples


def siren(rng: np.random.Generator) -> Samples:
    """Wail, yelp, hi-lo or phaser of an emergency vehicle; many drive past."""
    lasts_s = rng.uniform(3, 10)
    sweeps: Sequence[Callable[[np.random.Generator, Signal], Signal]] = (
        _wail,
        _yelp,
        _hi_lo,
        _phaser,
    )
    kind = int(rng.choice(len(sweeps), p=(0.35, 0.25, 0.3, 0.1)))
    pitch = sweeps[kind](rng, times(lasts_s))
    if chance(rng, 0.2):  # the driver changes from one to another
        other = sweeps[int(rng.integers(len(sweeps)))](rng, times(lasts_s))
        at = int(len(pitch) * rng.uniform(0.3, 0.7))
        pitch = np.concatenate([pitch[:at], other[at:]])
    passing = np.ones(len(pitch))
    if chance(rng, 0.5):
        pitch, passing = _driving_past(rng, pitch)
    odd = chance(rng, 0.4)
    signal = voiced(pitch, timbre(rng, odd=odd))
    signal = np.tanh(log_uniform(rng, 0.3, 4) * signal / np.abs(signal).max()) * passing
    return finished(rng, faded(signal, rng.uniform(0.01, 0.5), rng.uniform(0.01, 0.5)))


def car_horn(rng: np.random.Generator) -> Samples:
    """One or two horns, about a third apart, blown short, long, or in a rhythm."""
    low_hz = log_uniform(rng, 280, 520)
    horns = [low_hz] if chance(rng, 0.2) else [low_hz, low_hz * rng.uniform(1.15, 1.35)]
    timbres = [timbre(rng, odd=False) ** 0.6 for _ in horns]
    drive = log_uniform(rng, 0.8, 4)
    parts: list[Part] = []
    onset_s = 0.0
    for _ in range(int(rng.choice([1, 1, 2, 2, 3, 4]))):
        blast_s = log_uniform(rng, 0.12, 3.0)
        attack = 1 - 0.03 * np.exp(-times(blast_s) / 0.02)  # the membranes take a moment
        blown = sum(
            (voiced(hz * attack, harmonics) for hz, harmonics in zip(horns, timbres, strict=True)),
            np.zeros(length(blast_s)),
        )
        blown = np.tanh(drive * blown / np.abs(blown).max())
        parts.append((faded(blown, rng.uniform(0.008, 0.03), 0.03), onset_s))
        onset_s += blast_s + log_uniform(rng, 0.08, 0.8)
    return finished(rng, summed(parts))


def whistle(rng: np.random.Generator) -> Samples:
    """Lips or fingers that glide or follow a tune, or the pea whistle of a referee."""
    if chance(rng, 0.35):
        return finished(rng, _pea_whistle(rng))
    parts: list[Part] = []
    onset_s = 0.0
    base_hz = log_uniform(rng, 700, 2000)
    for _ in range(int(rng.integers(1, 9))):
        note_s = log_uniform(rng, 0.12, 1.2)
        position = np.linspace(0, 1, length(note_s))
        from_hz, to_hz = (base_hz * 2 ** rng.uniform(-0.4, 0.9) for _ in range(2))
        glide = from_hz * (to_hz / from_hz) ** (position ** rng.uniform(0.4, 2.5))
        jitter = 1 + 0.004 * smooth_noise(rng, len(position), 12.0)
        tone = voiced(glide * jitter, np.array([1.0, rng.uniform(0, 0.15), rng.uniform(0, 0.05)]))
        breath = rng.uniform(0.005, 0.06) * shaped_noise(
            rng, len(tone), lambda hz: 1 / (1 + ((hz - 3000) / 2500) ** 4)
        )
        parts.append((faded(tone + breath, 0.02, 0.04), onset_s))
        onset_s += note_s + rng.uniform(0.02, 0.3)
    return finished(rng, summed(parts))


def tone(rng: np.random.Generator) -> Samples:
    """Something steady: mains hum, one tone, or a few that beat against each other."""
    lasts_s = rng.uniform(1, 10)
    if chance(rng, 0.35):
        mains_hz = float(rng.choice([50.0, 60.0])) * rng.uniform(0.999, 1.001)
        amplitudes = np.arange(1, 24) ** -rng.uniform(0.2, 1.6) * rng.uniform(0.1, 1, 23)
        signal = voiced(steady(mains_hz, lasts_s), amplitudes)
    else:
        signal = np.zeros(length(lasts_s))
        hz = log_uniform(rng, 80, 9000)
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            odd = chance(rng, 0.5)
            amplitudes = timbre(rng, odd=odd) if chance(rng, 0.5) else np.ones(1)
            signal += voiced(steady(hz, lasts_s), amplitudes)
            hz *= rng.uniform(1.001, 1.6)
    if chance(rng, 0.3):
        depth, rate_hz = rng.uniform(0.05, 0.6), log_uniform(rng, 0.3, 12)
        signal *= 1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * rate_hz * times(lasts_s)))
    return finished(rng, faded(signal, log_uniform(rng, 0.01, 0.4), log_uniform(rng, 0.01, 0.4)))


def _wail(rng: np.random.Generator, time_s: Signal) -> Signal:
    """Up and down every few seconds, the rise often faster than the fall."""
    position = (time_s / rng.uniform(2.5, 8) + rng.uniform()) % 1
    rise = rng.uniform(0.25, 0.6)
    height = np.where(position < rise, position / rise, (1 - position) / (1 - rise))
    return _between(rng, height ** rng.uniform(0.6, 1.2))


def _yelp(rng: np.random.Generator, time_s: Signal) -> Signal:
    position = (time_s * rng.uniform(2.2, 4.5) + rng.uniform()) % 1
    rise = rng.uniform(0.4, 0.8)
    height = np.where(position < rise, position / rise, (1 - position) / (1 - rise))
    return _between(rng, height)


def _hi_lo(rng: np.random.Generator, time_s: Signal) -> Signal:
    """Two tones in exchange, about a fourth apart, as in most of Europe."""
    turn = ((time_s / rng.uniform(0.35, 0.8)).astype(int) + int(rng.integers(2))) % 2
    low_hz = log_uniform(rng, 360, 700)
    return np.where(turn == 0, low_hz, low_hz * rng.uniform(1.2, 1.5))


def _phaser(rng: np.random.Generator, time_s: Signal) -> Signal:
    return _between(rng, (time_s * rng.uniform(8, 20)) % 1)


def _between(rng: np.random.Generator, height: Signal) -> Signal:
    low_hz, span = log_uniform(rng, 350, 800), rng.uniform(1.6, 3.0)
    return np.asarray(low_hz * span**height, np.float64)


def _driving_past(rng: np.random.Generator, pitch: Signal) -> tuple[Signal, Signal]:
    """The pitch as heard from the roadside, and the level: at 8 to 25 m/s, 5 to 40 m away."""
    speed, distance = rng.uniform(8, 25), rng.uniform(5, 40)
    time_s = np.arange(len(pitch)) / SAMPLE_RATE
    along = speed * (time_s - time_s[-1] * rng.uniform(-0.2, 1.2))
    away = np.hypot(along, distance)
    approaching = -speed * along / away
    return pitch * 343 / (343 - approaching), np.asarray(away.min() / away, np.float64)


def _pea_whistle(rng: np.random.Generator) -> Signal:
    """Two chambers that nearly agree, and a ball that chops the air."""
    base_hz = log_uniform(rng, 2000, 4200)
    chambers = [base_hz * rng.uniform(1.0, 1.12) for _ in range(2)]
    rate_hz, depth = rng.uniform(20, 65), rng.uniform(0.1, 0.7)
    parts: list[Part] = []
    onset_s = 0.0
    for _ in range(int(rng.integers(1, 5))):
        blow_s = log_uniform(rng, 0.15, 1.8)
        chop = np.sin(2 * np.pi * around(rng, rate_hz, 0.1) * times(blow_s))
        blown = sum(
            (voiced(hz * (1 + 0.01 * chop), np.array([1.0, 0.1, 0.05])) for hz in chambers),
            np.zeros(len(chop)),
        )
        blown *= 1 - depth * (0.5 + 0.5 * chop)
        blown += 0.1 * rng.standard_normal(len(blown))
        parts.append((faded(blown, 0.015, 0.04), onset_s))
        onset_s += blow_s + log_uniform(rng, 0.06, 0.8)
    return summed(parts)
