"""A bounded queue of items for the disk, and the thread that writes them in order.

A disk that refuses, or is busy, is tried again; what does not fit meanwhile is lost, and said.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from pe_stream.config.worker import Worker

log = logging.getLogger(__name__)

MOST_BYTES = 32 * 2**20
"""Bytes that may wait to be written."""

RETRY_S = 5.0
"""A disk that failed is tried again after this long."""

STOP_S = 2.0
"""At a stop, what waits gets this long to be written."""

LOOK_S = 2.0
"""What lies on the disk is looked at this often (s), also where nothing is written."""

_TIDY_S = 3600.0
_WARNING_S = 600.0

T = TypeVar("T")


class Disk(Protocol):
    """Destination of the items; used on the writing thread."""

    unavailable_reason: str | None
    """Why nothing can be written at present, in words; None while it can."""

    def pause_s(self) -> float:
        """How long it is to be left alone, after it failed (s)."""

    def forget(self) -> None:
        """Delete what is too old or too much."""

    def look(self) -> None:
        """See whether its files are as they were left, and mend that."""

    def close(self) -> None:
        """Leave it to others."""


class WriteQueue(Generic[T]):
    """Has things written, oldest first; safe to use from any thread.

    lost: things that could not be kept.
    """

    def __init__(
        self,
        name: str,
        things: str,
        size: Callable[[T], int],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Prepare; nothing is written before `start`.

        name: of the thread. things: what they are, for people. size: of one (bytes). on_failure:
        called with what ended the thread, if that was an error of ours.
        """
        self.lost = 0
        self._name = name
        self._things = things
        self._size = size
        self._changed = threading.Condition()
        self._stopping = False
        self._stopped_s = 0.0
        # Full (MOST_BYTES) when the disk stands still or refuses: what comes then is lost.
        self._waiting: deque[T] = deque()
        self._bytes = 0
        self._next_warning_s = 0.0
        self._on_failure = on_failure
        self._disk: Disk | None = None
        self._worker: Worker | None = None

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be written at present, in words; None while it can."""
        return self._disk.unavailable_reason if self._disk else None

    @property
    def writes(self) -> bool:
        """Whether it has begun to, and nothing is in the way."""
        return self._disk is not None and self._disk.unavailable_reason is None

    @property
    def waiting(self) -> list[T]:
        """Items that are not yet written, oldest first."""
        with self._changed:
            return list(self._waiting)

    @property
    def oldest(self) -> T | None:
        """What is written next, or just now; None where nothing waits."""
        with self._changed:
            return self._waiting[0] if self._waiting else None

    def start(self, disk: Disk, keep: Callable[[T], bool]) -> None:
        """Begin to write. keep: writes one there; whether that was done."""
        self._disk = disk
        self._worker = Worker(self._name, partial(self._work, disk, keep), self._on_failure)
        self._worker.start()

    def put(self, thing: T) -> bool:
        """Have it written, in turn; whether there is room. Never waits for the disk."""
        with self._changed:
            size = self._size(thing)
            if self._bytes + size > MOST_BYTES:
                self._lose(1)
                return False
            self._bytes += size
            self._waiting.append(thing)
            self._changed.notify()
            return True

    def stop(self) -> None:
        """Write all there is, for a while; what the disk does not take then is lost."""
        with self._changed:
            self._stopping = True
            self._stopped_s = time.monotonic() + STOP_S
            self._changed.notify()
        if self._disk is None or self._worker is None:
            return
        if self._worker.join(STOP_S):
            self._disk.close()
        else:  # it may hold the disk for ever
            log.warning("%d %s could not be written in time", len(self._waiting), self._things)

    def _lose(self, count: int) -> None:
        self.lost += count
        now_s = time.monotonic()
        if now_s >= self._next_warning_s:
            self._next_warning_s = now_s + _WARNING_S
            why = self.unavailable_reason or "writing falls behind"
            log.warning("%d %s so far are lost: %s", self.lost, self._things, why)

    def _work(self, disk: Disk, keep: Callable[[T], bool]) -> None:
        disk.forget()
        tidy_s = time.monotonic() + _TIDY_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping, LOOK_S)
                if not self._waiting and self._stopping:
                    return
                thing = self._waiting[0] if self._waiting else None
            if thing is None:
                disk.look()
                if time.monotonic() >= tidy_s:
                    disk.forget()
                    tidy_s = time.monotonic() + _TIDY_S
                continue
            done = keep(thing)
            with self._changed:
                if done:
                    self._bytes -= self._size(thing)
                    self._waiting.popleft()
                    continue
                pause_s = disk.pause_s()
                if not self._stopping:
                    self._changed.wait_for(lambda: self._stopping, pause_s)
                elif time.monotonic() + pause_s > self._stopped_s:
                    self._lose(len(self._waiting))
                    return
                else:
                    self._changed.wait(pause_s)
