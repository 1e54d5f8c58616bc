"""When pictures of a camera were made, counted in samples of its sound; pure.

Sound decides what time it is (`stream_clock`). A picture that comes with it in one connection has
a stamp on the same clock, mostly, and lies where the sound of that stamp lies. Where the stamps are
no use, and in a connection of its own, it lies where it came.
"""

from __future__ import annotations

import math

from pe_stream.core.types import SAMPLE_RATE

APART_S = 3.0
"""Stamps of sound and picture that come together and are further apart (s) are of two clocks."""

OLD_S = 10.0
"""Where the latest sound is older (s), nobody knows where a picture lies."""

_ROUNDING = 1e-3


class PicturePace:
    """Which of many pictures are kept: so many a second, at most, by whatever clock."""

    def __init__(self, per_second: float) -> None:
        """Begin with none kept."""
        self._per_second = per_second
        self._slot: int | None = None

    def takes(self, time_s: float) -> bool:
        """Whether to keep a picture; asked of all, as they come. Times that go back are none."""
        slot = math.floor(time_s * self._per_second + _ROUNDING)
        if self._slot is not None and slot <= self._slot:
            return False
        self._slot = slot
        return True


class PictureClock:
    """Places the pictures of one connection among the sound that comes with them."""

    def __init__(self) -> None:
        """Begin before any sound."""
        self._heard_s: float | None = None
        self._stamp_s: float | None = None

    def hear(self, heard_s: float, stamp_s: float | None) -> None:
        """So much sound has come (s), counted in samples; stamp_s: of its end, where it has one."""
        self._heard_s, self._stamp_s = heard_s, stamp_s

    def position_s(self, stamp_s: float | None) -> float | None:
        """Where a picture lies, counted as the sound (s); None before there is any."""
        if self._heard_s is None:
            return None
        if stamp_s is None or self._stamp_s is None:
            return self._heard_s
        ahead_s = stamp_s - self._stamp_s
        return self._heard_s + ahead_s if abs(ahead_s) <= APART_S else self._heard_s


class ArrivalClock:
    """Places pictures among sound that comes in another connection: by when both came."""

    def __init__(self) -> None:
        """Begin before any sound."""
        self._end: int | None = None
        self._captured_s = 0.0

    def hear(self, end: int, captured_s: float) -> None:
        """Sound has come up to a sample (exclusive), which was made then (monotonic)."""
        self._end, self._captured_s = end, captured_s

    def sample(self, at_s: float) -> int | None:
        """Of a picture that came then (monotonic); None where there is no sound to go by."""
        if self._end is None or at_s - self._captured_s > OLD_S:
            return None
        return self._end + round((at_s - self._captured_s) * SAMPLE_RATE)
