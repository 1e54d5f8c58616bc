"""Events on disk, and what the broker does not have of them yet.

    record (scoring thread)  ->  what waits  ->  this thread: a transaction each, in order

An event's phase and the message about it are written in one transaction before anything is sent;
the message goes when the broker has acknowledged it. What a crash or an outage left behind is
found at the next start. A database that cannot be used (full disk, no right to write, damage),
is locked by somebody, or is slow, stops nothing: what it does not take within WAIT_S is sent from
memory, and written as soon as it can be.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pe_stream.config import StoreSettings
from pe_stream.config.paths import state_folder
from pe_stream.core.messages import Message
from pe_stream.core.opinion_vectors import OpinionVectors
from pe_stream.core.store_status import StoreStatus
from pe_stream.core.types import Event
from pe_stream.storage.events_db import EventsDb, probe, unfinished, waiting
from pe_stream.storage.retained import BrokerAddress
from pe_stream.storage.write_queue import WriteQueue

log = logging.getLogger(__name__)

WAIT_S = 0.05
"""Whoever tells of events waits for the disk so long in a second, and not at all while it is
behind: what it is to write next was tried and failed, or has waited that long."""

_LEAST_BYTES = 500
"""Of something that waits, beside what it says."""


def default_path() -> Path:
    """Where events are if nobody says otherwise: in systemd's state directory, or the user's."""
    return state_folder() / "events.db"


def path_of(settings: StoreSettings) -> Path:
    """Where these settings have events."""
    return Path(settings.path) if settings.path else default_path()


Use = Callable[[sqlite3.Connection], Mapping[int, int] | None]


@dataclass(slots=True, eq=False)
class _Write:
    """Something to be written, and what became of it.

    use: writes it; returns the rows of messages, if there are any, by the numbers that they had
        until then.
    """

    use: Use
    size: int
    since_s: float = field(default_factory=time.monotonic)
    """From when on it has waited (monotonic)."""
    tried: threading.Event = field(default_factory=threading.Event)
    rows: Mapping[int, int] | None = None
    """None until it is written."""
    given: bool = False
    """Whether the numbers were handed out, as it was not written in time."""


class EventStore:
    """The events of one daemon; safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float,
        limit: int,
        clock: Callable[[], float] = time.time,
        on_failure: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        """Open or make it, and begin to write; does not fail: see `unavailable_reason`.

        keep_days: of ended events, and of messages. limit: messages kept for the broker.
        on_failure: called with what ended the thread, if that was an error of ours.
        """
        self._limit = limit
        self._disk = EventsDb(path, keep_days=keep_days, limit=limit, clock=clock)
        # Both and `_rows` under the guard: several threads record and write.
        self._second_s = self._waited_s = 0.0
        self._guard = threading.Lock()
        # Of messages that were sent before they were written: below 0, so as to be no row.
        self._numbers = itertools.count(-1, -1)
        self._rows: dict[int, int] = {}
        # Full (32 MB) when the disk refuses for long: what comes then is only sent.
        self._queue = WriteQueue[_Write]("events", "events", lambda write: write.size, on_failure)
        self._queue.start(self._disk, self._write)

    @property
    def unavailable_reason(self) -> str | None:
        """Why it cannot be used at present, in words; None while it can."""
        return self._disk.unavailable_reason

    @property
    def told_reason(self) -> str | None:
        """For health: the same, or what became of the database lately."""
        return self._disk.told_reason

    @property
    def dropped(self) -> int:
        """Messages that were too many or too old to be kept for the broker."""
        return self._disk.dropped

    def status(self) -> StoreStatus:
        """How it does."""
        return StoreStatus(self.unavailable_reason, self.dropped)

    def close(self) -> None:
        """Write what waits, for a while, and leave it to others."""
        self._queue.stop()

    def record(self, event: Event, messages: Sequence[Message]) -> list[Message]:
        """Write a phase of an event and its messages; returns these as they are to be sent.

        Only events among the messages are kept; states are sent as they are then. Waits for WAIT_S
        at most, all calls of a second together.
        """
        return self._recorded(
            lambda database, kept: self._disk.record(database, event, kept), messages
        )

    def record_opinion(self, event: Event, messages: Sequence[Message]) -> list[Message]:
        """Write an event's second opinion, and messages; all else of it stays. As `record`."""
        return self._recorded(
            lambda database, kept: self._disk.record_opinion(database, event, kept), messages
        )

    def record_vectors(self, event_id: str, made: OpinionVectors) -> None:
        """Write the vectors of the second opinion on an event that was told; does not wait.

        They are kept as long as the event is.
        """
        self._soon(
            lambda database: self._disk.record_vectors(database, event_id, made),
            size=sum(each.nbytes for each in made.vectors.values()),
            patience_s=0.0,
        )

    def _recorded(
        self,
        record: Callable[[sqlite3.Connection, Sequence[Message]], dict[int, int]],
        messages: Sequence[Message],
    ) -> list[Message]:
        begun_s = time.monotonic()
        patience_s = self._patience_s(begun_s)
        numbered = [
            replace(message, row=next(self._numbers)) if message.is_event else message
            for message in messages
        ]
        kept = [message for message in numbered if message.row is not None]
        write = self._soon(
            lambda database: record(database, kept),
            size=sum(len(message.payload) for message in kept) * 2,
            patience_s=patience_s,
        )
        with self._guard:
            self._waited_s += time.monotonic() - begun_s
            if write is None:
                return list(messages)
            rows = write.rows
            write.given = rows is None
        if rows is None:
            return numbered
        return [
            message if message.row is None else replace(message, row=rows[message.row])
            for message in numbered
        ]

    def retains(self, broker: BrokerAddress, topics: Collection[str]) -> None:
        """Remember topics before the broker retains anything on them; waits as `record` does."""
        begun_s = time.monotonic()
        patience_s = self._patience_s(begun_s)
        self._soon(
            lambda database: self._disk.retained.add(database, broker, topics),
            size=sum(map(len, topics)),
            patience_s=patience_s,
        )
        with self._guard:
            self._waited_s += time.monotonic() - begun_s

    def cleared(self, broker: BrokerAddress, topic: str) -> None:
        """Forget a topic that the broker retains nothing on any more; does not wait."""
        self._soon(
            lambda database: self._disk.retained.remove(database, broker, topic), patience_s=0.0
        )

    def retained_earlier(self, broker: BrokerAddress) -> set[str] | None:
        """Topics that earlier runs left at the broker; None where that cannot be told yet."""
        return None if self._disk.left is None else self._disk.retained.earlier(broker.host)

    def delivered(self, row: int) -> None:
        """The broker has the message kept in `row`."""

        def forget(database: sqlite3.Connection) -> None:
            with self._guard:
                kept = self._rows.get(row, row)
            self._disk.delivered(database, kept)

        self._soon(forget, patience_s=WAIT_S)

    def no_clip(self, event_id: str) -> None:
        """There will be no clip of this event after all."""
        self._soon(lambda database: self._disk.no_clip(database, event_id), patience_s=WAIT_S)

    def forget_missing_clips(self, has: Callable[[Mapping[str, Any]], bool]) -> None:
        """Have no event tell of a clip that is not there; does not wait.

        has: whether there is the clip of a stored event; called on the writing thread.
        """

        def forget(database: sqlite3.Connection) -> None:
            missing = self._disk.missing_clips(database, has)
            for event_id in missing:
                self._disk.no_clip(database, event_id)
            if missing:
                log.info("%d events no longer tell of clips that are not there", len(missing))

        self._soon(forget, patience_s=0.0)

    def judge(self, event_id: str, verdict: str | None, note: str = "") -> bool:
        """Keep whether an event was right; None takes that back. False where it cannot be.

        What was judged is kept for good, to tune with, however old it gets.
        """
        return self._disk.judge(event_id, verdict, note)

    def judged(self) -> set[str] | None:
        """The ids of all events that somebody judged; None where that cannot be told at present."""
        return self._disk.judged()

    def waiting(self) -> list[Message]:
        """What the broker has not acknowledged, oldest first, as it is after an outage."""
        return self._disk.use(waiting, [])

    def unfinished(self) -> list[Event]:
        """The end, with reason "restart", of every event that is open."""
        return self._disk.use(unfinished, [])

    def left(self) -> tuple[list[Message], list[Event]] | None:
        """What was waiting and unfinished when it was opened, of the last run; told once.

        None where that cannot be told yet.
        """
        left = self._disk.left
        if left is not None:
            self._disk.left = [], []
        return left

    def retry(self) -> None:
        """Have it tried again, if it failed; does not wait."""
        if self.unavailable_reason is not None and self._queue.oldest is None:
            self._queue.put(_Write(probe, _LEAST_BYTES))

    def _patience_s(self, now_s: float) -> float:
        """How long the disk may still be waited for in this second."""
        with self._guard:
            if now_s - self._second_s >= 1.0:
                self._second_s, self._waited_s = now_s, 0.0
            return max(0.0, WAIT_S - self._waited_s)

    def _soon(self, use: Use, *, patience_s: float, size: int = 0) -> _Write | None:
        """Have something written in turn, and wait for it a little; None where too much waits."""
        behind = self._behind()
        write = _Write(use, size + _LEAST_BYTES)
        if not self._queue.put(write):
            return None
        if not behind:
            write.tried.wait(patience_s)
        return write

    def _behind(self) -> bool:
        """Whether the disk fails or takes its time, rather than being at work for somebody."""
        oldest = self._queue.oldest
        if oldest is None or oldest.rows is not None:  # that is done
            return False
        return oldest.tried.is_set() or time.monotonic() - oldest.since_s > WAIT_S

    def _write(self, write: _Write) -> bool:
        """Whether that was done; on the thread."""
        rows = self._disk.use(lambda database: write.use(database) or {}, None)
        with self._guard:
            write.rows = rows
            if rows and write.given:
                self._rows.update(rows)
                while len(self._rows) > self._limit:  # no more are kept
                    del self._rows[next(iter(self._rows))]
        write.tried.set()
        return rows is not None
