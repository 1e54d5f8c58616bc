"""A threshold that follows the room: a quantile of the scores of the last hour, and a margin.

Scores are counted in bins of their logit, a histogram a minute: an hour of a label is 60 of them,
not 90,000 scores. Frames of what reaches the threshold are left out: a sound that lasts does not
raise it.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from pe_stream.core.types import FRAME, SAMPLE_RATE, Follow

MINUTE = 60 * SAMPLE_RATE // FRAME
"""Frames of a minute."""

STEP = 0.02
"""Width of a bin, in units of the logit: at most 0.005 of a score."""

LEAST = 0.01
"""Smallest change of a threshold that takes effect."""

_EDGE = 12.0
"""Logits beyond it count as this."""

_BINS = round(2 * _EDGE / STEP)


class AdaptiveThreshold:
    """The background of one label. Frames must be given in order; scores are in 0..1."""

    def __init__(self, follow: Follow) -> None:
        """Begin without any."""
        self._follow = follow
        self._scores: list[float] = []
        self._frames = 0
        self._minutes: deque[NDArray[np.int64]] = deque(maxlen=follow.minutes)
        self._quantile: float | None = None

    @property
    def follow(self) -> Follow:
        """Its settings."""
        return self._follow

    @property
    def quantile(self) -> float | None:
        """Logit of the quantile over whole minutes; None while there are too few frames for it.

        It is at most STEP above the exact one (the least score that such a part does not exceed).
        """
        return self._quantile

    def step(self, score: float, *, counts: bool) -> bool:
        """Take a frame; says whether a minute is full and `threshold` may be another."""
        self._frames += 1
        if counts:
            self._scores.append(score)
        if self._frames < MINUTE:
            return False
        self._minutes.append(np.bincount(_bins(np.array(self._scores)), minlength=_BINS))
        self._scores, self._frames = [], 0
        self._quantile = self._upper_edge()
        return True

    def threshold(self, configured: float) -> float:
        """The threshold to go by, at least the configured one, to three digits."""
        if self._quantile is None:
            return configured
        raised = 1 / (1 + np.exp(-(self._quantile + self._follow.margin)))
        return max(configured, min(round(float(raised), 3), self._follow.highest))

    def _upper_edge(self) -> float | None:
        counts = np.sum(self._minutes, axis=0)
        total, part = int(counts.sum()), self._follow.quantile
        if total * (1 - part) < 1 - 1e-9:
            return None
        wanted = np.ceil(round(part * total, 6))
        return float(int(np.searchsorted(np.cumsum(counts), wanted)) + 1) * STEP - _EDGE


def _bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    with np.errstate(divide="ignore"):
        logits = np.log(scores) - np.log1p(-scores)
    # A bin holds its upper edge, not its lower one.
    numbers = np.ceil((np.clip(logits, -_EDGE, _EDGE) + _EDGE) / STEP) - 1
    return np.asarray(np.clip(numbers, 0, _BINS - 1), np.int64)
