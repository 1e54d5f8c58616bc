"""Audio on its way from one thread to another, bounded by how long it plays."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from pe_stream.core.stream_clock import Arrival
from pe_stream.core.types import SAMPLE_RATE, Samples


@dataclass(frozen=True, slots=True)
class ArrivedAudio:
    """A run of audio as it came.

    samples: (n,) at 48 kHz; arrival: None for what a resampler still had of the audio before.
    """

    samples: Samples
    arrival: Arrival | None


class ReceivedQueue:
    """Runs of audio, then None for the end or what ended it; safe to use from any thread."""

    def __init__(self, most_s: float) -> None:
        """most_s: audio (s) that may wait. Where it does, `put` waits: the sender has to."""
        self._most = round(most_s * SAMPLE_RATE)
        self._changed = threading.Condition()
        self._items: deque[ArrivedAudio | BaseException | None] = deque()
        self._samples = 0
        self._closed = False

    def put(self, item: ArrivedAudio | BaseException | None) -> bool:
        """Add an item once there is room; False where it was closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._samples < self._most)
            if self._closed:
                return False
            self._items.append(item)
            self._samples += _samples(item)
            self._changed.notify_all()
            return True

    def get(self, until_s: float | None = None) -> ArrivedAudio | None:
        """The next run once it is there; None at the end, and where it was closed.

        until_s: how long it is waited for (monotonic); None is for ever. Raises what ended it, and
        TimeoutError.
        """
        with self._changed:
            patience_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            if not self._changed.wait_for(lambda: self._closed or self._items, patience_s):
                raise TimeoutError
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


def _samples(item: ArrivedAudio | BaseException | None) -> int:
    return len(item.samples) if isinstance(item, ArrivedAudio) else 0
