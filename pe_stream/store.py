"""Events on disk, and what the broker does not have of them yet.

An event's phase and the message about it are written in one transaction before anything is sent;
the message goes when the broker has acknowledged it. What a crash or an outage left behind is
found at the next start. A database that cannot be used (full disk, no right to write, damage)
stops nothing: it is tried again every few seconds, and until then events are only in memory.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pe_stream.config import StoreSettings
from pe_stream.core.messages import Message
from pe_stream.core.types import Event, Phase, Reason
from pe_stream.database import Database, Kind, state_folder

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""A database that failed is tried again after this long."""

_WARNING_S = 10.0

_MIGRATIONS = (
    """
    CREATE TABLE events (
        id TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        label TEXT NOT NULL,
        onset TEXT NOT NULL,
        ended INTEGER NOT NULL,
        event TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX events_by_onset ON events (onset);
    CREATE INDEX events_open ON events (ended) WHERE ended = 0;
    CREATE TABLE outbox (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        payload TEXT NOT NULL,
        stored REAL NOT NULL
    );
    -- Rows of a database that was begun anew differ from those of the one before.
    INSERT INTO sqlite_sequence
        VALUES ('outbox', CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER));
    """,
    """
    CREATE INDEX events_by_source ON events (source, onset);
    CREATE INDEX events_by_label ON events (label, onset);
    CREATE INDEX events_by_both ON events (source, label, onset);
    CREATE TABLE verdicts (
        id TEXT PRIMARY KEY,
        verdict TEXT NOT NULL,
        note TEXT NOT NULL,
        given TEXT NOT NULL
    ) WITHOUT ROWID;
    -- How many events began in each quarter of an hour: every time zone differs by whole quarters.
    CREATE TABLE quarters (
        start TEXT NOT NULL,
        source TEXT NOT NULL,
        label TEXT NOT NULL,
        events INTEGER NOT NULL,
        PRIMARY KEY (start, label, source)
    ) WITHOUT ROWID;
    INSERT INTO quarters
        SELECT substr(onset, 1, 14) || substr('00153045', substr(onset, 15, 2) / 15 * 2 + 1, 2),
            source, label, count(*) FROM events GROUP BY 1, 2, 3;
    CREATE TRIGGER event_counted AFTER INSERT ON events BEGIN
        INSERT INTO quarters VALUES (
            substr(new.onset, 1, 14)
                || substr('00153045', substr(new.onset, 15, 2) / 15 * 2 + 1, 2),
            new.source, new.label, 1
        ) ON CONFLICT DO UPDATE SET events = events + 1;
    END;
    CREATE TRIGGER event_forgotten AFTER DELETE ON events BEGIN
        UPDATE quarters SET events = events - 1
            WHERE source = old.source AND label = old.label AND start = substr(old.onset, 1, 14)
                || substr('00153045', substr(old.onset, 15, 2) / 15 * 2 + 1, 2);
    END;
    """,
)

_KIND = Kind(
    what="events",
    meanwhile="events are only in memory",
    key="store.path",  # two daemons on one would send each other's messages
    migrations=_MIGRATIONS,
)


def default_path() -> Path:
    """Where events are if nobody says otherwise: in systemd's state directory, or the user's."""
    return state_folder() / "events.db"


def path_of(settings: StoreSettings) -> Path:
    """Where these settings have events."""
    return Path(settings.path) if settings.path else default_path()


class Store(Database):
    """The events of one daemon; safe to use from several threads.

    dropped: messages that were too many or too old to be kept for the broker.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float,
        limit: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or make it; does not fail: see `trouble`.

        keep_days: of ended events, and of messages. limit: messages kept for the broker.
        """
        self.dropped = 0
        self._keep_s = keep_days * 86_400
        self._limit = limit
        self._clock = clock
        self._next_warning_s = 0.0
        super().__init__(path, _KIND)

    def record(self, event: Event, messages: Sequence[Message]) -> list[Message]:
        """Write a phase of an event and its messages; returns these as they are to be sent.

        Only events among the messages are kept; states are sent as they are then.
        """

        def write(database: sqlite3.Connection) -> list[Message]:
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
            return [self._keep(database, m) if m.is_event else m for m in messages]

        return self._try(write, list(messages))

    def delivered(self, row: int) -> None:
        """The broker has the message kept in `row`."""
        self._try(lambda db: db.execute("DELETE FROM outbox WHERE row = ?", (row,)), None)

    def judge(self, event_id: str, verdict: str | None, note: str = "") -> bool:
        """Keep whether an event was right; None takes that back. False where it cannot be.

        What was judged is kept for good, to tune with, however old it gets.
        """

        def write(database: sqlite3.Connection) -> bool:
            if verdict is None:
                database.execute("DELETE FROM verdicts WHERE id = ?", (event_id,))
                return True
            given = _utc(datetime.fromtimestamp(self._clock(), UTC))
            made = database.execute(
                "INSERT INTO verdicts SELECT id, ?, ?, ? FROM events WHERE id = ? "
                "ON CONFLICT DO UPDATE SET verdict = excluded.verdict, note = excluded.note, "
                "given = excluded.given",
                (verdict, note, given, event_id),
            )
            return made.rowcount == 1

        return self._try(write, otherwise=False)

    def judged(self) -> set[str]:
        """The ids of all events that somebody judged."""
        query = "SELECT id FROM verdicts"
        rows: list[Any] = self._try(lambda db: db.execute(query).fetchall(), [])
        return {event_id for (event_id,) in rows}

    def no_clip(self, event_id: str) -> None:
        """There will be no clip of this event after all."""

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "UPDATE events SET event = json_set(event, '$.clip', NULL) WHERE id = ?",
                (event_id,),
            )

        self._try(write, None)

    def waiting(self) -> list[Message]:
        """What the broker has not acknowledged, oldest first, as it is after an outage."""
        query = "SELECT row, topic, payload FROM outbox ORDER BY row"
        rows: list[Any] = self._try(lambda db: db.execute(query).fetchall(), [])
        return [Message(topic, said, qos=1, retain=False, row=row) for row, topic, said in rows]

    def unfinished(self) -> list[Event]:
        """The end, with reason "restart", of every event that a crash has left open."""
        query = "SELECT event FROM events WHERE NOT ended"
        rows: list[Any] = self._try(lambda db: db.execute(query).fetchall(), [])
        events = sorted((_event(text) for (text,) in rows), key=lambda event: event.onset)
        return [_closed(event) for event in events]

    def look(self) -> None:
        """Try it again, if it failed and it is time to."""
        if self.trouble is not None:
            self._try(_probe, None)

    def _keep(self, database: sqlite3.Connection, message: Message) -> Message:
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
        return replace(message, row=row)

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

    def _pause_s(self) -> float:
        return RETRY_S

    def _tidy(self, database: sqlite3.Connection) -> None:
        oldest_s = self._clock() - self._keep_s
        onset = _utc(datetime.fromtimestamp(oldest_s, UTC))
        database.execute(
            "DELETE FROM events WHERE ended AND onset < ? AND id NOT IN (SELECT id FROM verdicts)",
            (onset,),
        )
        database.execute("DELETE FROM quarters WHERE events <= 0")
        gone = database.execute("DELETE FROM outbox WHERE stored < ?", (oldest_s,))
        self._drop(gone.rowcount)


def _probe(database: sqlite3.Connection) -> None:
    """Write something: on a full disk, a transaction that writes nothing succeeds."""
    database.execute("INSERT INTO outbox (topic, payload, stored) VALUES ('', '', 0)")
    database.execute("DELETE FROM outbox WHERE topic = ''")


def _event(text: str) -> Event:
    told = json.loads(text)
    known = {field.name: told.get(field.name) for field in fields(Event)}
    known["phase"] = Phase(known["phase"])
    known["reason"] = None if known["reason"] is None else Reason(known["reason"])
    return Event(**known)


def _closed(event: Event) -> Event:
    onset = datetime.fromisoformat(event.onset)
    return replace(
        event,
        phase=Phase.END,
        offset=_utc(onset + timedelta(seconds=event.duration_s)),
        offset_s=round(event.onset_s + event.duration_s, 3),
        late=True,
        reason=Reason.RESTART,
        clip=None,  # it was not complete
    )


def _utc(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
