"""Short recordings made longer without an audible seam."""

from __future__ import annotations

import numpy as np

from pe_stream.core.types import SAMPLE_RATE, Samples

_CROSSFADE_S = 0.25


def repeated(samples: Samples, count: int) -> Samples:
    """The first `count` samples of the recording (n,) repeated.

    Each repetition is crossfaded into the next at constant power, over 0.25 s or a third of the
    recording where that is shorter.
    """
    fade = min(round(_CROSSFADE_S * SAMPLE_RATE), len(samples) // 3)
    step = len(samples) - fade
    times = 1 + max(0, -(-(count - len(samples)) // step))
    out = np.zeros(len(samples) + (times - 1) * step, np.float32)
    angle = np.linspace(0, np.pi / 2, fade, dtype=np.float32)
    for n in range(times):
        piece = samples.copy()
        if n > 0:
            piece[:fade] *= np.sin(angle)
        if n < times - 1:
            piece[len(piece) - fade :] *= np.cos(angle)
        out[n * step : n * step + len(piece)] += piece
    return out[:count]
