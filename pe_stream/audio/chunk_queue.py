"""Chunks on their way from one thread to another, bounded by how long they play."""

from __future__ import annotations

import threading
from collections import deque

from pe_stream.core.types import SAMPLE_RATE, AudioChunk


class ChunkQueue:
    """Chunks in order, then None for the end or what ended it; safe to use from any thread."""

    def __init__(self, most_s: float) -> None:
        """most_s: audio (s) that may wait. Where it does, `put` waits: the sender has to."""
        self._most = round(most_s * SAMPLE_RATE)
        self._changed = threading.Condition()
        self._items: deque[AudioChunk | BaseException | None] = deque()
        self._samples = 0
        self._closed = False

    def put(self, item: AudioChunk | BaseException | None) -> bool:
        """Add an item once there is room; False where it was closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._samples < self._most)
            if self._closed:
                return False
            self._items.append(item)
            self._samples += _samples(item)
            self._changed.notify_all()
            return True

    def get(self) -> AudioChunk | None:
        """The next chunk once it is there; None at the end, and where it was closed.

        Raises what ended it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            if self._closed:
                return None
            item = self._items.popleft()
            self._samples -= _samples(item)
            self._changed.notify_all()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Nobody takes any more: whoever waits goes on at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _samples(item: AudioChunk | BaseException | None) -> int:
    return len(item.samples) if isinstance(item, AudioChunk) else 0
