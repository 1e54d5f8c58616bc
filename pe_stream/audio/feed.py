"""One thread per source: from the source into a bounded queue, opening it again when it breaks."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from enum import Enum, auto

from pe_stream.audio.limits import TooCostlyError
from pe_stream.audio.microphone import Absent
from pe_stream.audio.source import Source
from pe_stream.config.worker import Worker
from pe_stream.core.backoff import delay_s
from pe_stream.core.timebase import Segment
from pe_stream.core.types import SAMPLE_RATE, AudioChunk
from pe_stream.errors import RefusedError, UnavailableError

log = logging.getLogger(__name__)

QUEUE_S = 30.0
"""Audio that may wait to be scored (s)."""

Opener = Callable[[int, float | None], Source]
"""Opens a source whose first sample gets the absolute index given, or one further on by what was
lost since the time given (monotonic), when that sample was due; raises UnavailableError."""

LONGEST_S = 4.0
"""The longest pause before a lost source is opened again."""

REFUSED_S = 60.0
"""The same where a server will not have us: cameras lock out who tries too often."""


COSTLY_S = 300.0
"""The same where a source costs more than it may, whose first pause is COSTLY_FIRST_S."""

COSTLY_FIRST_S = 30.0

FIRST_S = 1.0
"""A source that cannot be opened the first time is not tried again within this time (s), in which
whoever waits for it may give up."""

LONG_S = 600.0
"""Audio without a break (s) after which that is forgiven."""


class Mark(Enum):
    """Items of a feed's queue that are not audio."""

    LOST = auto()
    """Nothing comes until the source was opened again."""
    ENDED = auto()
    """Nothing comes any more."""


class Feed:
    """Reads a source on its own thread until it ends or `stop` is called.

    error: why it has ended, where it cannot go on: the others do.
    arrived: called after each thing put in the queue, from the feed's thread.
    failed: called with what ended the thread, if that was an error of ours.
    """

    def __init__(
        self,
        name: str,
        opener: Opener,
        *,
        arrived: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.name = name
        self.error: UnavailableError | None = None
        self._opener = opener
        self._arrived = arrived
        # Bounded by QUEUE_S, which is full when scoring stood still: the newest audio is then
        # dropped, as a gap. The detector drops the oldest long before.
        self._queue: queue.SimpleQueue[AudioChunk | Mark] = queue.SimpleQueue()
        self._put_samples = self._taken_samples = 0
        self._stopping = threading.Event()
        self._source: Source | None = None
        self._opening: Future[str] | None = None
        self._segment = Segment(0, 0)
        self._dropping = False
        self._next = 0
        self._captured_s = time.monotonic()
        self._missing: str | None = ""
        self._worker = Worker(f"source {name}", self._read_until_ended, failed)

    def open(self) -> str:
        """Open the source for the first time and say what it is; raises UnavailableError."""
        try:
            self._source = self._opener(0, None)
        except UnavailableError as error:
            raise UnavailableError(f"{self.name}: {error}") from error
        return self._source.describe

    def open_soon(self) -> Future[str]:
        """Begin to read, opening the source on the feed's thread; returns what it is, once open.

        The future raises UnavailableError where it could not be opened at first; unless `stop` is
        called, it is then tried again as one that was lost.
        """
        self._opening = Future()
        self._worker.start()
        return self._opening

    def start(self) -> None:
        """Begin to read, where that has not begun."""
        if self._opening is None:
            self._worker.start()

    def stop(self) -> None:
        """End the reading; may be called more than once, from any thread."""
        self._stopping.set()
        source = self._source
        if source is not None:
            source.close()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end, if it was started."""
        self._worker.join(timeout_s)

    @property
    def delivered(self) -> int:
        """Absolute index one past the last sample that came."""
        return self._next

    @property
    def missed(self) -> int:
        """Samples there was time for since the last one that came."""
        return max(0, round((time.monotonic() - self._captured_s) * SAMPLE_RATE))

    @property
    def lost_reason(self) -> str | None:
        """Why nothing comes at present, in words; None while something does; from any thread."""
        if self._opening is not None and not self._opening.done():
            return "it is still being opened"
        return self._missing or None

    @property
    def waiting(self) -> int:
        """Samples that were not taken yet."""
        return self._put_samples - self._taken_samples

    def take(self) -> Iterator[AudioChunk | Mark]:
        """Everything that has arrived, oldest first, without waiting."""
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if not isinstance(item, Mark):
                self._taken_samples += len(item.samples)
            yield item

    def _read_until_ended(self) -> None:
        failures = costly = 0
        while not self._stopping.is_set():
            before = self._next
            try:
                self._read()
            except _GoneError as error:
                self._missing = str(error)
                self.error = UnavailableError(f"{self.name}: {error}")
                log.error("%s", self.error)  # noqa: TRY400 - one line for the user
                self._mark(Mark.LOST)
                self._mark(Mark.ENDED)
                return
            except UnavailableError as error:
                if self._stopping.is_set():
                    return
                failures = failures + 1 if self._next == before else 1
                if self._next - before > LONG_S * SAMPLE_RATE:
                    costly = 0
                chance = random.random()  # noqa: S311 - no secret is made of it
                if isinstance(error, TooCostlyError):
                    costly += 1
                    pause_s = delay_s(costly, COSTLY_S, chance, first_s=COSTLY_FIRST_S)
                    self._miss(f"{error}; trying again in {pause_s:.0f} s", str(error))
                else:
                    longest_s = REFUSED_S if isinstance(error, RefusedError) else LONGEST_S
                    pause_s = delay_s(failures, longest_s, chance)
                    self._miss(f"{error}; trying again", str(error))
                self._stopping.wait(pause_s)
            else:
                self._mark(Mark.ENDED)
                return

    def _read(self) -> None:
        """Read the source to its end; raises UnavailableError when it is lost."""
        if self._source is None:
            self._source = self._open()
        source = self._source
        if self._stopping.is_set():  # `stop` came while it was being opened
            source.close()
        try:
            for item in source:
                if isinstance(item, Absent):
                    self._miss(f"{item.reason}; waiting for it", item.reason)
                    continue
                if self._missing is not None:
                    log.info("%s: receiving audio from %s", self.name, source.describe)
                    self._missing = None
                self._put(item)
        except UnavailableError as error:
            if source.returns:
                raise
            raise _GoneError(str(error)) from error
        finally:
            source.close()
            self._source = None

    def _open(self) -> Source:
        opening = self._opening
        if opening is None or opening.done():
            return self._opener(self._next, self._captured_s)
        try:
            source = self._opener(0, None)
        except UnavailableError as error:
            opening.set_exception(UnavailableError(f"{self.name}: {error}"))
            self._stopping.wait(FIRST_S)
            raise
        except BaseException as error:
            opening.set_exception(error)
            raise
        opening.set_result(source.describe)
        return source

    def _put(self, chunk: AudioChunk) -> None:
        if chunk.anchor_ns is not None:
            self._segment = Segment(chunk.start, chunk.anchor_ns)
        elif self._dropping:
            chunk = replace(chunk, anchor_ns=self._segment.utc_ns(chunk.start))
        if chunk.mark is not None:
            self._segment.clock.pass_through(*chunk.mark)
        self._next, self._captured_s = chunk.end, chunk.captured_s
        if self.waiting > QUEUE_S * SAMPLE_RATE:
            if not self._dropping:
                log.warning("%s: scoring stands still; audio is lost", self.name)
            self._dropping = True
            return
        self._dropping = False
        self._put_samples += len(chunk.samples)
        self._queue.put(chunk)
        self._arrived()

    def _miss(self, said: str, why: str) -> None:
        """Nothing comes at present; it is said once."""
        if why != self._missing:
            log.warning("%s: %s", self.name, said)
            self._mark(Mark.LOST)
        self._missing = why

    def _mark(self, mark: Mark) -> None:
        self._queue.put(mark)
        self._arrived()


class _GoneError(UnavailableError):
    """A source has failed that would fail again: a file that cannot be read on."""
