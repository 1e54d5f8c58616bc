"""PCM of any sample format, channel count and rate, made into what the core takes.

The one place where audio is scaled, mixed down and resampled: files, network streams and
microphones all come through here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from pe_stream.core.types import SAMPLE_RATE, Samples

CHUNK = 4800
"""Samples in a chunk of a file (0.1 s)."""

LOUDEST = 1e6
"""Values beyond this (120 dB over full scale) are damage, as NaN and infinity are."""


def to_float(samples: NDArray[Any]) -> NDArray[np.float32]:
    """PCM as float32 in -1..1, shape kept. uint8 is centred on 128, as in WAV and FFmpeg."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # float64 beyond float32 is damage, dealt with in `mix`
            return samples.astype(np.float32, copy=False)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))


class Mixed(NamedTuple):
    """Mono samples, shape (n,), and how many of the values they came from were no number."""

    samples: Samples
    nonfinite: int


def mix(planes: NDArray[np.float32], channel: int | None) -> Mixed:
    """One channel, or the mean of all, of `planes`: (channels, n).

    The plain mean, not FFmpeg's surround matrix: a microphone array is not a cinema. Values
    that are NaN, infinite or absurdly large count as 0.
    """
    taken = planes if channel is None else planes[channel : channel + 1]
    usable = np.abs(taken) < LOUDEST
    nonfinite = usable.size - int(np.count_nonzero(usable))
    if nonfinite:
        taken = np.where(usable, taken, np.float32(0))
    return Mixed(taken[0] if len(taken) == 1 else taken.mean(axis=0), nonfinite)


class Resampler:
    """Mono audio of any rate to 48 kHz, in pieces of any size.

    soxr's linear-phase filters: output sample n lies exactly at n / 48000 s, so there is no
    delay to make up for; some input is held back until `flush`. Audio at 48 kHz passes untouched.
    """

    def __init__(self, rate: float) -> None:
        self._stream = (
            None
            if rate == SAMPLE_RATE
            else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        )

    def feed(self, samples: Samples) -> Samples:
        """More input, (n,); returns the output that is decided by now."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), np.float32)

    def flush(self) -> Samples:
        """The rest, after the last input."""
        rest = np.empty(0, np.float32)
        if self._stream is None:
            return rest
        return np.asarray(self._stream.resample_chunk(rest, last=True), np.float32)


def regroup(pieces: Iterable[Samples], size: int = CHUNK) -> Iterator[Samples]:
    """The same samples in arrays of `size`, the last one shorter; copied from the pieces."""
    waiting: list[Samples] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        if count < size:
            continue
        joined = np.concatenate(waiting)
        whole = count - count % size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        waiting = [joined[whole:]]
        count -= whole
    if count:
        yield np.concatenate(waiting)
