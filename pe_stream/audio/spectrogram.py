"""Spectrograms of recordings, and pictures of them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pe_stream.core.bands import FLOOR_DB, Bands
from pe_stream.core.types import FRAME, AudioChunk, Samples

_BANDS = 96
RANGE_DB = 70.0
"""From black to the brightest colour."""

_QUIETEST_TOP_DB = FLOOR_DB + RANGE_DB
"""The brightest colour is no quieter than that (dBFS), so that silence is black."""

_FINE = FRAME // 4
_MAX_COLUMNS = 3000

_MAGMA = np.array(
    [
        list(bytes.fromhex(color))
        for color in (
            *("000004", "090720", "1a1042", "311165", "4a1079", "621980", "792282", "912b81"),
            *("aa337d", "c23b75", "d9466b", "ec5860", "f7725c", "fc8e64", "feaa74", "fec68a"),
            *("fde2a3", "fcfdbf"),
        )
    ]
)
"""Colours from silent to loud, (18, 3) of 0..255: matplotlib's magma, within 3 of it between."""


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
        columns = np.array(self._columns or np.full((1, _BANDS), FLOOR_DB), np.float32)
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
    decibels = np.repeat(spectrogram.decibels[::-1], 2, axis=0)
    path.write_bytes(_png(_colors(decibels)))


def shown_db(decibels: NDArray[np.float32]) -> tuple[float, float]:
    """The levels (dBFS) to draw black and in the brightest colour: of the loudest, mostly."""
    top = max(float(decibels.max()), _QUIETEST_TOP_DB)
    return top - RANGE_DB, top


def _colors(decibels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(rows, columns) in dBFS to (rows, columns, 3)."""
    black, _ = shown_db(decibels)
    at = np.clip((decibels - black) / RANGE_DB, 0, 1) * (len(_MAGMA) - 1)
    steps = np.arange(len(_MAGMA))
    channels = [np.interp(at, steps, channel) for channel in _MAGMA.T]
    colors: NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colors


def _png(colors: NDArray[np.uint8]) -> bytes:
    """A picture of (height, width, 3) in RGB."""
    codec = av.VideoCodecContext.create("png", "w")
    codec.height, codec.width, _ = colors.shape
    codec.pix_fmt = "rgb24"
    codec.time_base = Fraction(1)  # it must have one
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(colors), format="rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
