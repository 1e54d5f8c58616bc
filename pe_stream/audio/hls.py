"""What an HLS playlist says of its segments: when they were made, and how long they are.

FFmpeg's demuxer leaves both out. It asks for every playlist and segment, though, and so it can be
seen what it reads and in which order.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

_MOST_TEXT = 2**20
"""Bytes of a playlist that are looked at."""

_ENCRYPTED = "crypto+"

_SEGMENTS = 10
"""Segments over which the least difference counts."""

_LEAST_SEGMENTS = 5

_LEFT_S = 0.25
"""Sound of the segment before that may still come once the next is opened (s)."""

_STEP_S = 1.0
"""A larger step (s) between a playlist's time and its segments' is another stretch of either."""

_BACK_S, _ON_S = 0.1, 2.0
"""Stamps that go back by more (s), or on, between two blocks, have begun anew."""

Opens = Callable[[str, int, Mapping[str, str]], Any]


class HlsTimes:
    """The times of one stream's segments. One thread's.

    target_s: the longest that a segment may be (s): so much comes together.
    """

    def __init__(self) -> None:
        """Begin with no playlist read."""
        self.target_s = 0.0
        self._made: dict[str, dict[tuple[str, int], float]] = {}
        self._opened: list[float] = []
        self._last_made_s: float | None = None  # of the segment that was opened last
        self._last_time_s: float | None = None
        self._offset_s: float | None = None
        self._offsets: deque[float] = deque(maxlen=_SEGMENTS)

    def watching(self, opens: Opens) -> Opens:
        """The same function for PyAV's `io_open`, with what it opens looked at."""

        def open_(url: str, flags: int, options: Mapping[str, str]) -> WatchedBody:
            address = url.removeprefix(_ENCRYPTED)
            self._open(address, int(options.get("offset", 0)))
            return WatchedBody(opens(url, flags, options), self, address)

        return open_

    def read(self, text: str, address: str) -> None:
        """Take a playlist that is at an address, instead of what was there before."""
        made: dict[tuple[str, int], float] = {}
        at_s: float | None = None
        duration_s, first, end = 0.0, 0, 0
        for line in map(str.strip, text.splitlines()):
            tag, _, value = line.partition(":")
            if tag == "#EXT-X-TARGETDURATION":
                self.target_s = min(60.0, _number(value))
            elif tag == "#EXT-X-PROGRAM-DATE-TIME":
                at_s = _utc_s(value)
            elif tag == "#EXTINF":
                duration_s = _number(value)
            elif tag == "#EXT-X-BYTERANGE":
                length, _, offset = value.partition("@")
                first = int(_number(offset)) if offset else end
                end = first + int(_number(length))
            elif line and not line.startswith("#"):
                if at_s is not None:
                    made[urljoin(address, line), first] = at_s
                    at_s += duration_s
                first = 0
        self._made[address] = made

    def utc_of(self, time_s: float) -> float | None:
        """UTC (s) of the sound that has this time on FFmpeg's clock (s); None where nobody says.

        To be asked for all sound, in order.
        """
        last_s, self._last_time_s = self._last_time_s, time_s
        jumped = last_s is not None and not last_s - _BACK_S <= time_s <= last_s + _ON_S
        if jumped and self._last_made_s is not None:
            # Stamps begin anew in the middle of the sound (EXT-X-DISCONTINUITY): with a segment.
            self._offset_s = self._last_made_s - time_s
            self._opened.clear()
            self._offsets.clear()
        elif self._opened:
            # The first that was opened is the first that is heard. Later on a little of the segment
            # before comes after the next was opened, so that the least difference is the right one.
            made_s = self._opened[0 if self._offset_s is None else -1]
            self._opened.clear()
            offset_s = made_s - time_s
            if self._offset_s is None or abs(offset_s - self._offset_s) > _STEP_S:
                self._offset_s = offset_s
                self._offsets.clear()
            self._offsets.append(offset_s)
            if len(self._offsets) >= _LEAST_SEGMENTS:
                least_s = min(self._offsets)
                self._offset_s = min(max(self._offset_s, least_s - _LEFT_S), least_s)
        return None if self._offset_s is None else time_s + self._offset_s

    def _open(self, address: str, offset: int) -> None:
        """FFmpeg asks for what is there."""
        for made in self._made.values():
            if (at_s := made.get((address, offset))) is not None:
                self._opened.append(at_s)
                self._last_made_s = at_s
                return


class WatchedBody:
    """A body, of which a playlist is read along."""

    def __init__(self, body: Any, times: HlsTimes, address: str) -> None:
        self._body, self._times, self._address = body, times, address
        self._text: bytes | None = b""

    def __getattr__(self, name: str) -> Any:
        """Everything but reading is the body's."""
        return getattr(self._body, name)

    def read(self, size: int) -> bytes:
        """As of the body."""
        data: bytes = self._body.read(size)
        if self._text is not None:
            if data:
                self._text += data
                if not self._text[:7].startswith(b"#EXTM3U"[: len(self._text)]):
                    self._text = None
                elif len(self._text) > _MOST_TEXT:
                    self._tell()
            else:
                self._tell()
        return data

    def _tell(self) -> None:
        if self._text:
            self._times.read(self._text.decode(errors="replace"), self._address)
        self._text = None


def _number(text: str) -> float:
    found = re.match(r"\s*\d{1,12}(?:\.\d{1,9})?", text)
    return float(found[0]) if found else 0.0


def _utc_s(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
