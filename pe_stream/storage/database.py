"""A SQLite file of one daemon: held by it alone, mended as far as possible, never in the way.

A database that cannot be used (full disk, no right to write, damage) stops nothing: it is tried
again later, and until then whoever uses it goes on without. One that another process locks for a
while, as a backup does, stays open. In either case it stays this daemon's. One that others have
overwritten, truncated or robbed of a file is set aside, and a new one is begun: see `file_watch`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from pe_stream.errors import UnavailableError
from pe_stream.storage import file_watch
from pe_stream.storage.file_watch import FileState, FileWatch, Harm
from pe_stream.storage.locks import hold, holds, make_private

log = logging.getLogger(__name__)

_TIDY_S = 3600.0
_BUSY_S = 1.0
"""A database that another process locks is waited for so long at a time."""

_BUSY_PAUSE_S = 0.05
"""And left alone for so long, before it is waited for again."""

TOLD_S = 600.0
"""That a database was set aside is told for so long (s), as it works again at once."""

T = TypeVar("T")

Write = Callable[[sqlite3.Connection], None]


@contextmanager
def reading(path: Path, what: str) -> Iterator[sqlite3.Connection]:
    """The database at `path`, to read, also beside a daemon; `what` it holds, for people.

    Raises UnavailableError where there is none or it cannot be read.
    """
    if not path.is_file():
        raise UnavailableError(f"{path}: no {what} are stored there")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise UnavailableError(f"{path} cannot be read as pe_stream's: {error}") from error


@dataclass(frozen=True, slots=True)
class Kind:
    """Schema and identity of a database.

    what: it holds, and meanwhile: what becomes of it while the file cannot be used; for people.
    key: of the configuration, that has its path.
    migrations: from each version of the schema to the next; PRAGMA user_version counts them.
    pragmas: that have to come before anything is in the file.
    """

    what: str
    meanwhile: str
    key: str
    migrations: Sequence[str]
    pragmas: Sequence[str] = ()


class Database:
    """The file, to be used by several threads; what uses it is made of `_try`.

    unavailable_reason: why it cannot be used at present, in words; None while it can.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        """Open or make it; does not fail: see `unavailable_reason`."""
        self.unavailable_reason: str | None = None
        self._path = path
        self._kind = kind
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._held: IO[str] | None = None
        self._watch: FileWatch | None = None
        self._state: FileState | None = None
        self._carried: Write | None = None
        self._set_aside = ("", 0.0)
        self._busy = False
        self._retry_s = self._tidy_s = 0.0
        self._try(lambda _: None, None)

    @property
    def told_reason(self) -> str | None:
        """`unavailable_reason`, or what has been set aside lately; None where there is neither."""
        what, until_s = self._set_aside
        lately = what if time.monotonic() < until_s else None
        return self.unavailable_reason or lately

    def close(self) -> None:
        """Leave it to others."""
        with self._lock:
            self._shut()
            self._release()

    def look(self) -> None:
        """See whether its files are still there as they were left, and mend that."""
        with self._lock:
            harmed = self._database is not None and self._harm() is not None
        if harmed:
            self._try(lambda _: None, None)

    def pause_s(self) -> float:
        """How long it is to be left alone, after it failed (s)."""
        return _BUSY_PAUSE_S if self._busy else self._pause_s()

    def _tidy(self, database: sqlite3.Connection) -> None:
        """Forget what is old; called now and then, in a transaction."""

    def _carry(self, database: sqlite3.Connection) -> Write | None:  # noqa: ARG002 - for others
        """What of a database that is set aside goes into the new one."""
        return None

    def _pause_s(self) -> float:
        """The same, where it is not only locked."""
        raise NotImplementedError

    def _try(self, use: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `use` returns, in a transaction of its own; `otherwise` where that fails."""
        with self._lock:
            if self._database is None and time.monotonic() < self._retry_s:
                return otherwise
            try:
                self._begin_anew_if_harmed()
                try:
                    made = self._use(use)
                except sqlite3.Error:
                    if not self._begin_anew_if_harmed():
                        raise
                    made = self._use(use)
            except (sqlite3.Error, OSError, UnavailableError) as error:
                self._fail(error)
                return otherwise
            if self._watch is not None:
                self._state = self._watch.look()
            if self.unavailable_reason is not None:
                log.info("%s are stored again in %s", self._kind.what, self._path)
                self.unavailable_reason, self._busy = None, False
            return made

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        database = self._database = self._database or self._open()
        now_s = time.monotonic()
        with _transaction(database):
            if now_s >= self._tidy_s:
                self._tidy(database)
                self._tidy_s = now_s + _TIDY_S
            return use(database)

    def _fail(self, error: Exception) -> None:
        unavailable_reason = str(error)
        if unavailable_reason != self.unavailable_reason:
            log.error(
                "%s: %s; %s until it works", self._path, unavailable_reason, self._kind.meanwhile
            )
        self.unavailable_reason = unavailable_reason
        self._busy = _locked(error)
        if self._busy:
            return
        self._retry_s = time.monotonic() + self._pause_s()
        self._shut()
        if isinstance(error, UnavailableError):  # it is somebody else's, or will never be ours
            self._release()
        if isinstance(error, sqlite3.DatabaseError) and _damaged(error):
            self._note("is damaged", file_watch.set_aside(self._path))
            self._retry_s = 0.0

    def _open(self) -> sqlite3.Connection:
        make_private(self._path.parent)
        self._hold()
        # The name and the rights of a file that holds what happened in a house.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._set_up(database)
            if self._carried is not None:
                with _transaction(database):
                    self._carried(database)
                self._carried = None
            self._watch = FileWatch(self._path)
            self._state = self._watch.look()
        except BaseException:
            database.close()
            self._shut()
            raise
        return database

    def _set_up(self, database: sqlite3.Connection) -> None:
        for pragma in self._kind.pragmas:
            database.execute(f"PRAGMA {pragma}")
        database.execute("PRAGMA journal_mode = WAL")
        # The system's crash may cost the last of it, never the database; ours costs nothing.
        database.execute("PRAGMA synchronous = NORMAL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        migrations = self._kind.migrations
        if version > len(migrations):
            raise UnavailableError(f"made by a newer pe_stream (schema {version})")
        for number, script in enumerate(migrations[version:], version + 1):
            database.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")

    def _harm(self) -> Harm | None:
        """What others did to the files since the last transaction, if it did any harm."""
        if self._state is None or self._watch is None:
            return None
        return file_watch.harm(self._state, self._watch.look())

    def _begin_anew_if_harmed(self) -> bool:
        """Set aside what was harmed; the next use opens, or makes, another. Whether that was so."""
        harm = None if self._database is None else self._harm()
        if harm is None:
            return False
        if self._watch is not None and self._state is not None and self._state.shm is not None:
            with contextlib.suppress(OSError):
                self._watch.keep_index_long(self._state.shm.size)
        with contextlib.suppress(sqlite3.Error):
            if harm.readable and self._database is not None:
                self._carried = self._carry(self._database)
                if not harm.another:  # what is in a WAL without a name would be lost
                    self._database.execute("PRAGMA wal_checkpoint(FULL)")
        name = file_watch.set_aside(self._path, stale=self._state if harm.another else None)
        self._shut()  # which leaves a file that was renamed as it is
        self._note(harm.what, name)
        return True

    def _note(self, what: str, name: str) -> None:
        kept = f"what was left is set aside as {name}; " if name else ""
        told = f"{self._path} {what}: {kept}a new one is begun"
        log.error("%s", told)
        self._set_aside = told, time.monotonic() + TOLD_S

    def _hold(self) -> None:
        """Be the only daemon that uses it."""
        path = self._path.with_name(self._path.name + ".lock")
        if not holds(self._held, path):
            self._release()
            self._held = hold(path)
            if self._held is None:
                raise UnavailableError(f"another pe-stream uses it: set another {self._kind.key}")

    def _shut(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
        if self._watch is not None:
            self._watch.close()
        self._database = self._watch = self._state = None

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


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


def _locked(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
