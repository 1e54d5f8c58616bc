"""How late audio comes at the soonest: a line under the times of its arrival.

A sender's sound card counts samples, the network brings them later by a delay that is never
negative. So the least that arrivals lie behind the count is the sender's own clock against ours,
and its slope is how much faster or slower that runs.
"""

from __future__ import annotations

import math
from collections import deque

_WINDOW_S = 2.0
"""The least of so much time (s) is a point of the line."""

_POINTS = 30
"""From which the slope is taken: a minute."""

_LEAST_POINTS = 5

_LEVEL_POINTS = 2
"""And the level from so many, besides the window that is not full yet."""

_STEEPEST = 0.05
"""Sound cards are off by so much at most: 3 % has been reported of cameras."""

_SURE = 0.005
"""A slope with a larger standard error says nothing."""


class ArrivalLine:
    """Follows the least lateness of arrivals, and how it changes; single-threaded, pure."""

    def __init__(self, batch_s: float = 0.0) -> None:
        """Begin with no arrival. batch_s: audio that comes together, its end in time (s)."""
        self._window_s = _WINDOW_S + 10 * batch_s
        self._slope = 0.0
        self._points: deque[tuple[float, float]] = deque(maxlen=_POINTS)
        self._lowest = (0.0, math.inf)
        self._level = self._now = math.inf
        self._until_s = -math.inf

    def restart(self) -> None:
        """Forget the level: it was another one before. The slope is the sound card's and stays."""
        self._points.clear()
        self._level = self._now = math.inf
        self._until_s = -math.inf

    def add(self, at_s: float, late_s: float) -> None:
        """Take an arrival. at_s: when it came; late_s: that, less the audio counted (s)."""
        if at_s >= self._until_s:
            self._close()
            self._until_s = at_s + self._window_s
        height = late_s - self._slope * at_s
        if height < self._now:
            self._now, self._lowest = height, (at_s, late_s)

    def at(self, at_s: float) -> float:
        """How late what comes then is at the soonest (s); infinite before the first arrival."""
        return min(self._level, self._now) + self._slope * at_s

    def _close(self) -> None:
        """A window is full: its lowest arrival is a point of the line."""
        if self._now == math.inf:
            return
        self._points.append(self._lowest)
        self._slope = self._fitted() if len(self._points) >= _LEAST_POINTS else self._slope
        last = list(self._points)[-_LEVEL_POINTS:]
        self._level = min(late_s - self._slope * at_s for at_s, late_s in last)
        self._now = math.inf

    def _fitted(self) -> float:
        """The slope by least squares; 0 where it cannot be told from chance."""
        count = len(self._points)
        mean_at = sum(at for at, _ in self._points) / count
        mean_late = sum(late for _, late in self._points) / count
        wide = sum((at - mean_at) ** 2 for at, _ in self._points)
        slope = sum((at - mean_at) * (late - mean_late) for at, late in self._points) / wide
        off = sum((late - mean_late - slope * (at - mean_at)) ** 2 for at, late in self._points)
        if math.sqrt(off / (count - 2) / wide) > _SURE:
            return 0.0
        return max(-_STEEPEST, min(_STEEPEST, slope))
