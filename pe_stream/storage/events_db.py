"""The database of events: each as it was last told, messages for the broker, verdicts."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pe_stream.core.messages import Message
from pe_stream.core.opinion_vectors import STORED, VECTOR_KINDS, OpinionVectors
from pe_stream.core.types import Event, Phase, Reason, SecondOpinion
from pe_stream.core.utc import utc_text
from pe_stream.storage.database import Database, Kind, Write
from pe_stream.storage.events_schema import MIGRATIONS
from pe_stream.storage.retained import RetainedTopics

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""A database that failed is tried again after this long."""

_WARNING_S = 10.0

T = TypeVar("T")

_KIND = Kind(
    what="events",
    meanwhile="events are only in memory",
    key="store.path",  # two daemons on one would send each other's messages
    migrations=MIGRATIONS,
)


class EventsDb(Database):
    """The events of one daemon; see Database. What takes a connection is for `use`.

    dropped: messages that were too many or too old to be kept for the broker.
    left: what was waiting and unfinished when it was first opened; None before.
    retained: topics that brokers retain something on; of earlier runs, too, once `left` is known.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float,
        limit: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or make it; does not fail: see `unavailable_reason`.

        keep_days: of ended events, and of messages. limit: messages kept for the broker.
        """
        self.dropped = 0
        self.left: tuple[list[Message], list[Event]] | None = None
        self.retained = RetainedTopics()
        self._keep_s = keep_days * 86_400
        self._limit = limit
        self._clock = clock
        self._next_warning_s = 0.0
        super().__init__(path, _KIND)
        if self.unavailable_reason is None:
            self.forget()

    def use(self, use: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `use` returns, in a transaction of its own; `otherwise` where that fails."""

        def first(database: sqlite3.Connection) -> T:
            if self.left is None:  # nothing of this run is in it yet
                self.retained.read(database)
                self.left = waiting(database), unfinished(database)
            return use(database)

        return self._try(first, otherwise)

    def forget(self) -> None:
        """Forget what is old, now and then."""
        self.use(lambda _: None, None)

    def record(
        self, database: sqlite3.Connection, event: Event, messages: Sequence[Message]
    ) -> dict[int, int]:
        """Write a phase and its messages; returns their rows by the numbers that they have."""
        database.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, event = excluded.event",
            (
                event.id,
                event.source,
                event.label,
                event.onset,
                event.phase is Phase.END,
                event.to_json(),
            ),
        )
        return self._kept(database, messages)

    def record_opinion(
        self, database: sqlite3.Connection, event: Event, messages: Sequence[Message]
    ) -> dict[int, int]:
        """Write an event's second opinion, where it is still there, and messages; as `record`."""
        if event.second_opinion is not None:
            database.execute(
                "UPDATE events SET event = json_set(event, '$.second_opinion', json(?)) "
                "WHERE id = ?",
                (json.dumps(event.second_opinion.to_dict()), event.id),
            )
        return self._kept(database, messages)

    def record_vectors(
        self, database: sqlite3.Connection, event_id: str, made: OpinionVectors
    ) -> None:
        """Write the vectors of an event's second opinion, where the event is still there."""
        blobs = [
            None if kind not in made.vectors else made.vectors[kind].astype(STORED).tobytes()
            for kind in VECTOR_KINDS
        ]
        database.execute(
            "INSERT OR REPLACE INTO vectors SELECT id, ?, ?, ?, ?, ? FROM events WHERE id = ?",
            (made.checkpoint, made.identity, *blobs, event_id),
        )

    def delivered(self, database: sqlite3.Connection, row: int) -> None:
        """The broker has the message kept in `row`."""
        database.execute("DELETE FROM outbox WHERE row = ?", (row,))

    def no_clip(self, database: sqlite3.Connection, event_id: str) -> None:
        """There will be no clip of this event."""
        database.execute(
            "UPDATE events SET event = json_set(event, '$.clip', NULL) WHERE id = ?", (event_id,)
        )

    def missing_clips(
        self, database: sqlite3.Connection, has: Callable[[Mapping[str, Any]], bool]
    ) -> list[str]:
        """Ids of the events that tell of a clip, and of which `has` says that there is none."""
        rows = database.execute(
            "SELECT id, event FROM events "
            "WHERE CASE WHEN json_valid(event) THEN json_extract(event, '$.clip') END IS NOT NULL"
        )
        missing = []
        for event_id, text in rows:
            with suppress(KeyError, TypeError, AttributeError):  # of a row that is damaged
                if not has(json.loads(text)):
                    missing.append(event_id)
        return missing

    def judge(self, event_id: str, verdict: str | None, note: str) -> bool:
        """Keep whether an event was right; None takes that back. False where it cannot be."""

        def write(database: sqlite3.Connection) -> bool:
            if verdict is None:
                database.execute("DELETE FROM verdicts WHERE id = ?", (event_id,))
                return True
            given = utc_text(datetime.fromtimestamp(self._clock(), UTC))
            made = database.execute(
                "INSERT INTO verdicts SELECT id, ?, ?, ? FROM events WHERE id = ? "
                "ON CONFLICT DO UPDATE SET verdict = excluded.verdict, note = excluded.note, "
                "given = excluded.given",
                (verdict, note, given, event_id),
            )
            return made.rowcount == 1

        return self.use(write, otherwise=False)

    def judged(self) -> set[str] | None:
        """The ids of all events that somebody judged; None where that cannot be told."""
        rows: list[Any] | None = self.use(
            lambda database: database.execute("SELECT id FROM verdicts").fetchall(), None
        )
        return None if rows is None else {event_id for (event_id,) in rows}

    def _kept(self, database: sqlite3.Connection, messages: Sequence[Message]) -> dict[int, int]:
        return {message.row or 0: self._keep(database, message) for message in messages}

    def _keep(self, database: sqlite3.Connection, message: Message) -> int:
        done = database.execute(
            "INSERT INTO outbox (topic, payload, stored) VALUES (?, ?, ?)",
            (message.topic, message.delayed.payload, self._clock()),
        )
        row = done.lastrowid
        # All but the newest `limit` rows.
        gone = database.execute(
            "DELETE FROM outbox WHERE row <= (SELECT row FROM outbox ORDER BY row DESC "
            "LIMIT 1 OFFSET ?)",
            (self._limit,),
        )
        self._drop(gone.rowcount)
        return row or 0

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        self.dropped += count
        now_s = time.monotonic()
        if now_s >= self._next_warning_s:
            self._next_warning_s = now_s + _WARNING_S
            log.warning(
                "%d messages so far will not reach the broker: too many or too old", self.dropped
            )

    def _carry(self, database: sqlite3.Connection) -> Write:
        """Messages that the broker does not have, and events that are open, with their vectors."""
        messages = database.execute("SELECT * FROM outbox").fetchall()
        events = database.execute("SELECT * FROM events WHERE NOT ended").fetchall()
        vectors = database.execute(
            "SELECT * FROM vectors WHERE id IN (SELECT id FROM events WHERE NOT ended)"
        ).fetchall()

        def write(new: sqlite3.Connection) -> None:
            new.executemany("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?)", messages)
            new.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", events)
            new.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?, ?, ?)", vectors)

        return write

    def _set_up(self, database: sqlite3.Connection) -> None:
        super()._set_up(database)
        self.retained.write(database)  # it may be another than before

    def _pause_s(self) -> float:
        return RETRY_S

    def _tidy(self, database: sqlite3.Connection) -> None:
        oldest_s = self._clock() - self._keep_s
        onset = utc_text(datetime.fromtimestamp(oldest_s, UTC))
        database.execute(
            "DELETE FROM events WHERE ended AND onset < ? AND id NOT IN (SELECT id FROM verdicts)",
            (onset,),
        )
        database.execute("DELETE FROM quarters WHERE events <= 0")
        gone = database.execute("DELETE FROM outbox WHERE stored < ?", (oldest_s,))
        self._drop(gone.rowcount)


def probe(database: sqlite3.Connection) -> None:
    """Write something: on a full disk, a transaction that writes nothing succeeds."""
    database.execute("INSERT INTO outbox (topic, payload, stored) VALUES ('', '', 0)")
    database.execute("DELETE FROM outbox WHERE topic = ''")


def waiting(database: sqlite3.Connection) -> list[Message]:
    """Messages that the broker has not acknowledged, oldest first, as after an outage."""
    rows = database.execute("SELECT row, topic, payload FROM outbox ORDER BY row")
    return [Message(topic, said, qos=1, retain=False, row=row) for row, topic, said in rows]


def unfinished(database: sqlite3.Connection) -> list[Event]:
    """The end, with reason "restart", of every event that is open."""
    rows = database.execute("SELECT event FROM events WHERE NOT ended").fetchall()
    closed = [end for (text,) in rows if (end := _end(text)) is not None]
    return sorted(closed, key=lambda event: event.onset)


def _end(text: str) -> Event | None:
    """The end of an event as it is stored; None where that is damaged."""
    try:
        told = json.loads(text)
        known = {field.name: told.get(field.name) for field in fields(Event)}
        known["phase"] = Phase(known["phase"])
        known["reason"] = None if known["reason"] is None else Reason(known["reason"])
        if known["second_opinion"] is not None:
            known["second_opinion"] = SecondOpinion.from_dict(known["second_opinion"])
        return _closed(Event(**known))
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        log.error("an event that was open is damaged, and stays so: %s", error)  # noqa: TRY400 - expected
        return None


def _closed(event: Event) -> Event:
    onset = datetime.fromisoformat(event.onset)
    return replace(
        event,
        phase=Phase.END,
        offset=utc_text(onset + timedelta(seconds=event.duration_s)),
        offset_s=round(event.onset_s + event.duration_s, 3),
        late=True,
        reason=Reason.RESTART,
        clip=None,  # it was not complete
    )
