"""Knowing a recording again: copied, cut, or in another format, as long as that loses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pe_stream.core.types import Samples

AROUND = 2400
"""Samples before and after a peak: 0.1 s in all, which no two recordings share."""

PEAKS = 3
"""The loudest ones: rounded, two that are as loud may change places."""

_ROUNDING = 2 / 32768
"""Samples differ by this at most where one file has them as floats and another in 16 bits."""

_FAINT = 1e-3
"""Peaks below this (-60 dBFS) tell nothing apart."""


def trace(samples: Samples) -> Samples:
    """Samples (PEAKS, 2 * AROUND + 1) around the loudest of (n,); zeros where there are none."""
    padded = np.pad(samples.clip(-1, 1), AROUND)  # as it is when written with 16 bits
    left = np.abs(padded)
    found = np.zeros((PEAKS, 2 * AROUND + 1), np.float32)
    for row in found:
        at = int(left.argmax())
        if left[at] < _FAINT:
            break
        around = slice(at - AROUND, at + AROUND + 1)
        row[:] = padded[around]
        left[max(0, at - AROUND) : at + AROUND + 1] = 0
    return found


def trace_of(pieces: Iterable[Samples]) -> Samples:
    """The same of a recording that comes piece by piece: of the peaks of all pieces the loudest."""
    found = np.zeros((0, 2 * AROUND + 1), np.float32)
    for samples in pieces:
        found = np.concatenate([found, trace(samples)])
        found = found[np.argsort(-np.abs(found[:, AROUND]), kind="stable")[:PEAKS]]
    return found


def same_recording(first: Samples, second: Samples) -> bool:
    """Whether two traces are of one recording. Not if it was made louder, or lost something."""
    return any(
        np.abs(one - other).max() <= _ROUNDING
        for one in first
        for other in second
        if abs(one[AROUND]) >= _FAINT
    )


def find_trace(pieces: Iterable[Samples], traces: Sequence[Samples]) -> int | None:
    """Which of the traces' recordings is in one that comes piece by piece; None is none of them."""
    before = np.zeros(AROUND, np.float32)
    for samples in pieces:
        block = np.concatenate([before, samples.clip(-1, 1)])
        for number, peaks in enumerate(traces):
            if any(_holds(block, peak) for peak in peaks):  # one may be clipped, or at an end
                return number
        before = block[-2 * AROUND :]
    return None


def _holds(block: Samples, wanted: Samples) -> bool:
    inside = np.flatnonzero(wanted)
    if not len(inside):
        return False
    part = wanted[inside[0] : inside[-1] + 1]
    if len(block) < len(part):
        return False
    windows = np.lib.stride_tricks.sliding_window_view(block, len(part))
    peak = AROUND - inside[0]  # hardly any other sample comes near it
    near = np.flatnonzero(np.abs(windows[:, peak] - part[peak]) <= _ROUNDING)
    # Clipped recordings have many as loud: a few samples of each tell most of them apart.
    near = near[np.abs(windows[near, ::501] - part[::501]).max(axis=1) <= _ROUNDING]
    return any(np.abs(windows[at] - part).max() <= _ROUNDING for at in near)
