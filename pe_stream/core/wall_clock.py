"""UTC against a clock that only goes on, as both were read with what arrived."""

from __future__ import annotations

_CLOCK_SET_S = 0.5
"""A larger change (s) between UTC and the monotonic clock, twice in a row: the clock was set."""

_AGREE_S = 0.1


class WallClock:
    """Notices where UTC was set, and has one line of time on which nothing else steps.

    The line is the monotonic clock, but for steps of UTC that are small: they are on it.
    Single-threaded, pure.
    """

    def __init__(self) -> None:
        """Begin with the line as the monotonic clock."""
        self._offset_s: float | None = None
        self._shift_s = 0.0
        self._odd_s: float | None = None

    def read(self, at_s: float, utc_ns: int) -> bool:
        """Take both clocks, read together; whether UTC was set since."""
        offset_s = utc_ns / 1e9 - at_s
        if self._offset_s is None:
            self._offset_s = offset_s
        shift_s = offset_s - self._offset_s
        if abs(shift_s - self._shift_s) <= _CLOCK_SET_S:
            self._shift_s, self._odd_s = shift_s, None
            return False
        if self._odd_s is None or abs(offset_s - self._odd_s) > _AGREE_S:
            self._odd_s = offset_s  # or the machine paused between the two
            return False
        self._offset_s, self._odd_s = offset_s - self._shift_s, None
        return True

    def on_line(self, at_s: float) -> float:
        """Where a monotonic time (s) is on the line."""
        return at_s + self._shift_s

    def monotonic_s(self, line_s: float) -> float:
        """The monotonic time (s) of a time on the line."""
        return line_s - self._shift_s

    def from_utc(self, utc_s: float) -> float:
        """Where UTC (s) is on the line."""
        return utc_s - (self._offset_s or 0.0)

    def utc_ns(self, line_s: float) -> int:
        """UTC (ns) of a time on the line."""
        return round((line_s + (self._offset_s or 0.0)) * 1e9)
