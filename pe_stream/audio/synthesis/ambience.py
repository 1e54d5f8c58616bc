"""What a microphone hears all the time, outdoors or by a fireplace: wind, fire, surf.

What sounds for hours must not be taken for a siren, an engine or a shot. Every function makes one
instance of 10 s, (n,) float32 at 48 kHz, peak 1.
"""

from __future__ import annotations

import numpy as np

from pe_stream.audio.synthesis.signals import (
    Signal,
    faded,
    length,
    phase_of,
    shaped_noise,
    smooth_noise,
)
from pe_stream.audio.synthesis.variation import LONGEST_S, chance, finished, log_uniform
from pe_stream.core.types import Samples

_COUNT = length(LONGEST_S)

Band = tuple[float, float, float]
"""Of noise: lowest and highest frequency (Hz), and the order of its edges."""


def wind(rng: np.random.Generator) -> Samples:
    """Gusts of broad noise; often it whistles or howls at edges, in tones that wander."""
    depth, quick_hz = rng.uniform(0.2, 0.7), log_uniform(rng, 0.1, 2)
    gust = np.exp(depth * np.clip(smooth_noise(rng, _COUNT, quick_hz), -2, 2))
    slope, highest_hz = rng.uniform(0.5, 1.6), log_uniform(rng, 300, 6000)
    signal = gust * shaped_noise(
        rng, _COUNT, lambda hz: np.maximum(hz, 20) ** -slope / (1 + (hz / highest_hz) ** 2)
    )
    for _ in range(int(rng.choice(4, p=[0.3, 0.3, 0.2, 0.2]))):
        signal += log_uniform(rng, 0.1, 2) * gust ** rng.uniform(1, 3) * _howl(rng)
    if chance(rng, 0.3):  # on the microphone itself
        buffet = np.maximum(smooth_noise(rng, _COUNT, 4) - rng.uniform(0.3, 1.5), 0)
        signal += rng.uniform(2, 8) * buffet * _noise(rng, (20, log_uniform(rng, 60, 250), 2))
    return finished(rng, signal)


def crackling_fire(rng: np.random.Generator) -> Samples:
    """Flames that flutter low, hiss, and many small cracks, some of them loud."""
    flutter = np.exp(rng.uniform(0.1, 0.6) * smooth_noise(rng, _COUNT, rng.uniform(2, 12)))
    signal = rng.uniform(0.1, 1) * flutter * _noise(rng, (20, log_uniform(rng, 100, 600), 1))
    signal += log_uniform(rng, 0.01, 0.2) * _noise(rng, (1000, 9000, 1))
    spread = rng.uniform(0.5, 1.4)
    for _ in range(int(rng.poisson(LONGEST_S * log_uniform(rng, 1.5, 30)))):
        fall_s = log_uniform(rng, 0.0004, 0.012)
        lowest_hz = log_uniform(rng, 300, 4000)
        crack = shaped_noise(
            rng,
            length(0.06),
            lambda hz, at=lowest_hz: (  # type: ignore[misc]
                1 / (1 + (at / np.maximum(hz, 20)) ** 2) / (1 + (hz / (6 * at)) ** 2)
            ),
        )
        crack *= np.exp(-np.arange(len(crack)) / length(fall_s))
        at = int(rng.integers(_COUNT - len(crack)))
        signal[at : at + len(crack)] += 0.7 * rng.lognormal(0, spread) * crack
    return finished(rng, signal)


def sea_waves(rng: np.random.Generator) -> Samples:
    """Waves that rise, break and run out; the nearer to breaking, the brighter."""
    swell = np.zeros(_COUNT)
    period_s = rng.uniform(3, 9)
    crest_s = rng.uniform(-period_s, 0)
    time_s = np.arange(_COUNT) / length(1.0)
    while crest_s < LONGEST_S + period_s:
        rise_s, fall_s = period_s * rng.uniform(0.08, 0.3), period_s * rng.uniform(0.15, 0.5)
        since = time_s - crest_s
        swell += rng.uniform(0.4, 1) * np.exp(-np.where(since < 0, -since / rise_s, since / fall_s))
        crest_s += period_s * rng.uniform(0.6, 1.5)
    ground = rng.uniform(0.02, 0.4)
    signal = (ground + swell) * _noise(rng, (30, log_uniform(rng, 400, 1500), 1))
    signal += log_uniform(rng, 0.05, 0.6) * swell**2 * _noise(rng, (800, 8000, 1))
    return finished(rng, signal)


def _howl(rng: np.random.Generator) -> Signal:
    """A tone as wind makes it: its pitch wanders, and it is nearly as rough as noise."""
    hz = log_uniform(rng, 120, 2500)
    wander = rng.uniform(0.02, 0.3) * smooth_noise(rng, _COUNT, log_uniform(rng, 0.15, 2))
    phase = phase_of(hz * np.exp(np.clip(wander, -0.9, 0.9)))
    width_hz = log_uniform(rng, 3, 0.15 * hz)
    return faded(
        smooth_noise(rng, _COUNT, width_hz) * np.cos(phase)
        + smooth_noise(rng, _COUNT, width_hz) * np.sin(phase),
        0.01,
        0.01,
    )


def _noise(rng: np.random.Generator, band: Band) -> Signal:
    lowest_hz, highest_hz, order = band
    return shaped_noise(
        rng,
        _COUNT,
        lambda hz: (
            1
            / (1 + (lowest_hz / np.maximum(hz, 1)) ** (2 * order))
            / (1 + (hz / highest_hz) ** (2 * order))
        ),
    )
