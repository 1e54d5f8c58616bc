"""What an engine for other machines has done: counts, and how long it took."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

RECENT = 512
"""Batches that the times are of."""


class Work:
    """Counts since the start; written by the thread that scores, read by any.

    windows: that were scored. wanted_whole: that were not, as what was known of their streams did
    not reach. refused: requests for which there was no room or time, or that were wrong.
    """

    def __init__(self) -> None:
        """Begin with nothing done."""
        self.windows = self.batches = self.wanted_whole = self.refused = 0
        self._times_s: deque[float] = deque(maxlen=RECENT)

    def scored(self, windows: int, seconds: float) -> None:
        """So many windows were scored together."""
        if windows:
            self.windows += windows
            self.batches += 1
            self._times_s.append(seconds)

    def counts(self) -> dict[str, int]:
        """What is counted, without times and batches."""
        return {
            "windows": self.windows,
            "wanted_whole": self.wanted_whole,
            "refused": self.refused,
        }

    def as_dict(self) -> dict[str, Any]:
        """All of it; times of the last batches in ms, None before the first."""
        times = np.asarray(list(self._times_s))
        p50, p99 = (
            [round(1000 * float(each), 1) for each in np.percentile(times, (50, 99))]
            if len(times)
            else (None, None)
        )
        return {
            **self.counts(),
            "batches": self.batches,
            "batch_p50_ms": p50,
            "batch_p99_ms": p99,
        }
