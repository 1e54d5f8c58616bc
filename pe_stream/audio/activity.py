"""Active stretches of a clip: clips are padded with silence, and sounds pause."""

from __future__ import annotations

import numpy as np

from pe_stream.core.types import SAMPLE_RATE, Samples

_STEP = SAMPLE_RATE // 100
_BELOW_PEAK_DB = 32.0
"""A sound ends where it has fallen by this much (or into the clip's own noise)."""

_ABOVE_FLOOR_DB = 8.0
_TEXTURE_DB = 14.0
"""A clip whose quiet tenth is this near to its loudest frame sounds throughout."""

_SILENT_DB = -100.0
"""Level of silence and below: less than a step of 16-bit audio."""

_BRIDGED_S = 0.4
_SHORTEST_S = 0.02


def active(samples: Samples) -> list[tuple[int, int]]:
    """The stretches (start, end), in samples, in which `samples` (n,) at 48 kHz are not quiet.

    By energy in steps of 10 ms; gaps of up to 0.4 s are bridged. Empty where nothing is above
    -100 dBFS. What is shorter than a step is one stretch.
    """
    count = len(samples) // _STEP
    if count == 0:
        return [(0, len(samples))] if np.any(samples) else []
    energy = np.square(samples[: count * _STEP], dtype=np.float64).reshape(count, _STEP).mean(1)
    level = 10 * np.log10(energy + 1e-12)
    peak = level.max()
    if peak <= _SILENT_DB:
        return []
    sounding = level[level > _SILENT_DB]
    floor = float(np.percentile(sounding, 10))
    if floor > peak - _TEXTURE_DB:
        threshold = peak - _BELOW_PEAK_DB
    else:
        threshold = max(peak - _BELOW_PEAK_DB, min(floor + _ABOVE_FLOOR_DB, peak - _TEXTURE_DB))
    loud = np.flatnonzero(level > threshold)
    breaks = np.flatnonzero(np.diff(loud) > _BRIDGED_S * 100)
    starts = loud[np.concatenate([[0], breaks + 1])]
    ends = loud[np.concatenate([breaks, [len(loud) - 1]])] + 1
    spans = [(int(a) * _STEP, int(b) * _STEP) for a, b in zip(starts, ends, strict=True)]
    long_enough = [span for span in spans if span[1] - span[0] >= _SHORTEST_S * SAMPLE_RATE]
    return long_enough or spans
