"""How loud a sound is in bands of frequency, a row a frame: what a spectrogram is drawn of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples

LOWEST_HZ, HIGHEST_HZ = 50.0, 16_000.0
_FFT = 2048
FLOOR_DB = -120.0
"""The level of silence (dBFS)."""


class Bands:
    """Bands of equal ratio between 50 Hz and 16 kHz. edges_hz: (count + 1,)."""

    def __init__(self, count: int) -> None:
        """Make `count` bands."""
        self.edges_hz = np.geomspace(LOWEST_HZ, HIGHEST_HZ, count + 1)
        bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
        self._starts = np.searchsorted(bins, self.edges_hz[:-1])
        self._window = np.hanning(FRAME).astype(np.float32)
        # A sine of amplitude 1 has half of the window's sum in its bin.
        self._full = (self._window.sum() / 2) ** 2

    def decibels(self, samples: Samples) -> NDArray[np.float32]:
        """(frames * FRAME,) samples to (frames, count): the loudest bin of each band, in dBFS.

        A sine of full scale is 0 dBFS. Raises ValueError where these are not whole frames.
        """
        frames = samples.reshape(-1, FRAME) * self._window
        power = np.abs(np.fft.rfft(frames, _FFT)) ** 2
        loudest = np.maximum.reduceat(power, self._starts, axis=1)
        decibels: NDArray[np.float64] = 10 * np.log10(loudest / self._full + 10 ** (FLOOR_DB / 10))
        return decibels.astype(np.float32)
