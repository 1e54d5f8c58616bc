"""The background level of a room: L90, the level that is exceeded nine tenths of the time.

That is what acousticians call background (ISO 1996-1; BS 4142 has LA90). Whatever sounds for less
than nine tenths of the time does not raise it, however loud. A fan that goes on becomes
background after four and a half minutes, and is none half a minute after it has gone off.

Time here is sound that was heard: over a break the room stays as it was known.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import FRAME, SAMPLE_RATE

FRACTION = 0.1
"""Part of the frames that are at or below the background level."""

MINUTES = 5
"""Of sound that counts."""

FIRST_S = 10
"""Seconds of sound before there is a background level."""

QUIETEST_DBFS = -90.0
"""A lower background counts as this: it is the last bit of 16."""

_LOWEST_DB, _HIGHEST_DB, _STEP_DB = -120.0, 40.0, 0.1
_STEPS = round((_HIGHEST_DB - _LOWEST_DB) / _STEP_DB)
_SECOND = SAMPLE_RATE // FRAME


class BackgroundLevel:
    """Follows one source, frame by frame; renewed with each second of frames that count."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._seconds: deque[NDArray[np.int64]] = deque()
        """Counts of levels, by steps, of each of the last minutes' seconds."""
        self._counts = np.zeros(_STEPS, np.int64)
        self._second: list[int] = []
        self._power = float("nan")

    @property
    def power(self) -> float:
        """Mean square of the background, 1 is full scale; NaN while it is not known."""
        return self._power

    def hear(self, power: float) -> None:
        """Take the mean square of a frame, above 0. Digital silence is not the room's: left out."""
        step = (10 * float(np.log10(power)) - _LOWEST_DB) / _STEP_DB
        self._second.append(min(_STEPS - 1, max(0, int(step))))
        if len(self._second) == _SECOND:
            self._renew()

    def _renew(self) -> None:
        counts = np.bincount(self._second, minlength=_STEPS)
        self._second.clear()
        self._seconds.append(counts)
        self._counts += counts
        if len(self._seconds) > 60 * MINUTES:
            self._counts -= self._seconds.popleft()
        if len(self._seconds) >= FIRST_S:
            rank = FRACTION * len(self._seconds) * _SECOND
            step = int(np.searchsorted(np.cumsum(self._counts), rank))
            level_db = max(QUIETEST_DBFS, _LOWEST_DB + (step + 0.5) * _STEP_DB)
            self._power = 10 ** (level_db / 10)
