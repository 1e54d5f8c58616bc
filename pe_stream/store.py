"""Events on disk, and what the broker does not have of them yet.

An event's phase and the message about it are written in one transaction before anything is sent;
the message goes when the broker has acknowledged it. What a crash or an outage left behind is
found at the next start. A database that cannot be used (full disk, no right to write, damage)
stops nothing: it is tried again every few seconds, and until then events are only in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

from platformdirs import user_state_dir

from pe_stream.core.messages import Message
from pe_stream.core.types import Event, Phase, Reason
from pe_stream.errors import UnavailableError

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""A database that failed is tried again after this long."""

_TIDY_S = 3600.0
_WARNING_S = 10.0
_BUSY_S = 1.0
"""How long another process may hold the database, as a backup does."""

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
"""From each version of the schema to the next; PRAGMA user_version counts those that were done."""

T = TypeVar("T")


def default_path() -> Path:
    """Where events are if nobody says otherwise: in systemd's state directory, or the user's."""
    folder = os.environ.get("STATE_DIRECTORY") or user_state_dir("pe-stream")
    return Path(folder) / "events.db"


class Store:
    """The database of one daemon; safe to use from several threads.

    trouble: why it cannot be used at present, in words; None while it can.
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
        self.trouble: str | None = None
        self.dropped = 0
        self._path = path
        self._keep_s = keep_days * 86_400
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._held: IO[str] | None = None
        self._retry_s = self._tidy_s = self._next_warning_s = 0.0
        self._try(lambda _: None, None)

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

    def close(self) -> None:
        """Leave it as others can use it."""
        with self._lock:
            self._shut()

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

    def _try(self, use: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `use` returns, in a transaction of its own; `otherwise` where that fails."""
        with self._lock:
            now_s = time.monotonic()
            if self._database is None and now_s < self._retry_s:
                return otherwise
            try:
                if self._database is None:
                    self._open()
                database = self._database
                assert database is not None  # noqa: S101 - for the type checker
                with _transaction(database):
                    if now_s >= self._tidy_s:
                        self._tidy(database)
                        self._tidy_s = now_s + _TIDY_S
                    made = use(database)
            except (sqlite3.Error, OSError, UnavailableError) as error:
                self._fail(error)
                return otherwise
            if self.trouble is not None:
                log.info("events are stored again in %s", self._path)
                self.trouble = None
            return made

    def _fail(self, error: Exception) -> None:
        trouble = str(error)
        if trouble != self.trouble:
            log.error("%s: %s; events are only in memory until it works", self._path, trouble)
        self.trouble = trouble
        self._retry_s = time.monotonic() + RETRY_S
        self._shut()
        if isinstance(error, sqlite3.DatabaseError) and _damaged(error):
            _set_aside(self._path)
            self._retry_s = 0.0

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._hold()
        # The name and the rights of a file that holds what happened in a house.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._database = database
        database.execute("PRAGMA journal_mode = WAL")
        # The system's crash may cost the last events, never the database; ours costs nothing.
        database.execute("PRAGMA synchronous = NORMAL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise UnavailableError(f"made by a newer pe_stream (schema {version})")
        for number, script in enumerate(_MIGRATIONS[version:], version + 1):
            database.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")

    def _hold(self) -> None:
        """Be the only daemon that uses it: two would send each other's messages."""
        if self._held is None:
            lock = self._path.with_name(self._path.name + ".lock").open("w", encoding="utf-8")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                raise UnavailableError(
                    "another pe-stream uses it: set another store.path"
                ) from None
            self._held = lock

    def _shut(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None
        if self._held is not None:
            self._held.close()
            self._held = None

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


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }


def _set_aside(path: Path) -> None:
    """Keep a damaged database for whoever wants to mend it, and out of the way."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        with contextlib.suppress(OSError):
            part.replace(path.with_name(f"{path.name}.damaged-{stamp}{suffix}"))
    log.error("%s is damaged: set aside as %s.damaged-%s, and begun anew", path, path.name, stamp)


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
