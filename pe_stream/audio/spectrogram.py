"""Spectrograms of recordings, and pictures of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from pe_stream.core.bands import Bands
from pe_stream.core.types import FRAME, AudioChunk, Samples

_BANDS = 96
RANGE_DB = 70.0
_FINE = FRAME // 4
_MAX_COLUMNS = 3000


class Spectrogram:
    """Log-frequency spectrogram of a recording that comes in chunks.

    step: samples from one column to the next; each is of a frame of sound.
    """

    def __init__(self, *, step: int = FRAME) -> None:
        self._rest: Samples = np.empty(0, np.float32)
        self._columns: list[NDArray[np.float16]] = []
        self._bands = Bands(_BANDS)
        self._step = step

    def add(self, samples: Samples) -> None:
        """Take the next (n,) samples at 48 kHz."""
        rest = np.concatenate([self._rest, samples])
        if len(rest) >= FRAME:
            windows = np.lib.stride_tricks.sliding_window_view(rest, FRAME)[:: self._step]
            self._columns += list(self._bands.decibels(windows.ravel()).astype(np.float16))
            rest = rest[len(windows) * self._step :]
        self._rest = rest

    @property
    def decibels(self) -> NDArray[np.float32]:
        """(bands, columns) in dB, loudest of neighbours where there are too many to draw."""
        columns = np.array(self._columns or np.zeros((1, _BANDS)), np.float32)
        pooled = -(-len(columns) // _MAX_COLUMNS)
        starts = np.arange(0, len(columns), pooled)
        return np.maximum.reduceat(columns, starts, axis=0).T

    @property
    def edges_hz(self) -> NDArray[np.float64]:
        """Edges of the bands, (bands + 1,) in Hz."""
        return self._bands.edges_hz


def save_clip(path: Path, audio: Iterable[AudioChunk], *, fine: bool) -> None:
    """Write a PNG of a recording's spectrogram and nothing else: its edges are those of the sound.

    fine: a column every 10 ms, else every 40; at most 3000 in any case.

    From left to right time, evenly; from bottom to top 50 Hz to 16 kHz, logarithmically.
    """
    step = _FINE if fine else FRAME
    spectrogram = Spectrogram(step=step)
    around = np.zeros((FRAME - step) // 2, np.float32)  # a column is of what is around its middle
    spectrogram.add(around)
    for chunk in audio:
        spectrogram.add(chunk.samples)
    spectrogram.add(around)
    decibels = spectrogram.decibels
    loudest = float(decibels.max())
    imsave(
        path,
        np.repeat(decibels[::-1], 2, axis=0),
        cmap="magma",
        vmin=loudest - RANGE_DB,
        vmax=loudest,
        format="png",
    )
