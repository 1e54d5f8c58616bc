"""Scores on disk: a row for each source, label and minute, the oldest forgotten first.

Rows lie in the order of time, so that what is forgotten leaves whole pages, which the next rows
fill; where many are left over (a limit was lowered), the file is cut.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_stream.config.paths import state_folder
from pe_stream.core.messages import slug
from pe_stream.core.scorecode import decode
from pe_stream.core.types import FRAME_NS
from pe_stream.storage.database import Database, Kind, reading
from pe_stream.storage.write_queue import RETRY_S

log = logging.getLogger(__name__)

CHUNK = 1500
"""Frames in a row at most: a minute."""

_SLACK = 0.02
"""A database over its limit is cut this far below it, so that not every row cuts again."""

_ROWS = 20_000
"""Rows forgotten at once, about 25 MB, so that nobody waits long for the file."""

_PAGES = 2500
"""Pages that the file is cut by at once (20 MB), and that may lie idle beside a tenth of it."""

_MIGRATIONS = (
    """
    CREATE TABLE tracks (
        track INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        label TEXT NOT NULL,
        key TEXT NOT NULL,
        newest_ns INTEGER NOT NULL,
        UNIQUE (source, label, key)
    );
    -- Time first: a minute of all labels then ends both the table and the index; with the track
    -- first it would change a page for each label. A day of one label is found as fast.
    CREATE TABLE chunks (
        row INTEGER PRIMARY KEY,
        start_ns INTEGER NOT NULL,
        track INTEGER NOT NULL,
        scores BLOB NOT NULL,
        UNIQUE (start_ns, track)
    );
    """,
)

_KIND = Kind(
    what="scores",
    meanwhile="scores are only in memory",
    key="history.path",
    migrations=_MIGRATIONS,
    pragmas=("page_size = 8192", "auto_vacuum = INCREMENTAL"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Encoded scores of up to CHUNK frames; `key` says what made them."""

    source: str
    label: str
    key: str
    start_ns: int
    scores: bytes


def default_path() -> Path:
    """Default database of scores: beside the events."""
    return state_folder() / "scores.db"


class ScoresDb(Database):
    """The scores of one daemon; see Database."""

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float,
        max_gb: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or make it; does not fail: see `unavailable_reason`."""
        self._keep_s = keep_days * 86_400
        self._max_bytes = max_gb * 1e9
        self._clock = clock
        self._aged = False
        super().__init__(path, _KIND)

    def keep(self, rows: Sequence[Row]) -> bool:
        """Write rows, all or none; whether that was done. Forgets what is then too much."""

        def write(database: sqlite3.Connection) -> bool:
            database.executemany(
                "INSERT INTO tracks (source, label, key, newest_ns) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET newest_ns = max(newest_ns, excluded.newest_ns)",
                [(row.source, row.label, row.key, row.start_ns) for row in rows],
            )
            database.executemany(
                "INSERT OR REPLACE INTO chunks (start_ns, track, scores) "
                "SELECT ?, track, ? FROM tracks WHERE source = ? AND label = ? AND key = ?",
                [(row.start_ns, row.scores, row.source, row.label, row.key) for row in rows],
            )
            return True

        done = self._try(write, False)
        self.forget()
        return done

    def forget(self) -> None:
        """Forget what is too old or too much, little by little."""
        while self._try(self._forget, False):
            pass

    def _pause_s(self) -> float:
        return RETRY_S

    def _tidy(self, database: sqlite3.Connection) -> None:
        self._aged = self._forget_old(database)

    def _forget(self, database: sqlite3.Connection) -> bool:
        """Forget some of it; whether there may be more to forget."""
        if self._aged:
            self._aged = self._forget_old(database)
        used, idle, page = self._pages(database)
        if used * page > self._max_bytes:
            low, high = database.execute("SELECT min(row), max(row) FROM chunks").fetchone()
            if low is not None:
                share = 1 - self._max_bytes * (1 - _SLACK) / (used * page)
                count = min(_ROWS, ceil(share * (high + 1 - low)))
                database.execute("DELETE FROM chunks WHERE row < ?", (low + count,))
                used, idle, page = self._pages(database)
                if used * page > self._max_bytes:
                    return True
        if idle > _PAGES + (used + idle) // 10:
            for _ in range(min(idle, _PAGES)):
                database.execute("PRAGMA incremental_vacuum(1)")  # of more, Python does but one
            return self._aged or self._pages(database)[1] < idle
        return self._aged

    def _forget_old(self, database: sqlite3.Connection) -> bool:
        """Forget some of what is too old; whether there may be more of it."""
        oldest_ns = int((self._clock() - self._keep_s) * 1e9)
        gone = database.execute(
            "DELETE FROM chunks WHERE row IN "
            "(SELECT row FROM chunks WHERE start_ns < ? ORDER BY start_ns LIMIT ?)",
            (oldest_ns, _ROWS),
        )
        if gone.rowcount < _ROWS:
            database.execute("DELETE FROM tracks WHERE newest_ns < ?", (oldest_ns,))
        return gone.rowcount == _ROWS

    @staticmethod
    def _pages(database: sqlite3.Connection) -> tuple[int, int, int]:
        """Pages in use, pages that lie idle, bytes of one."""
        pages, idle, size = (
            int(database.execute(f"PRAGMA {what}").fetchone()[0])
            for what in ("page_count", "freelist_count", "page_size")
        )
        return pages - idle, idle, size


def stored(
    path: Path, source: str, label: str, since_ns: int, until_ns: int, *, key: str | None
) -> dict[int, NDArray[np.float32]]:
    """Scores (n,) by the UTC (ns) they begin at, of what may lie in since_ns..until_ns.

    source, label: as configured, or as in topics. key: None is that of the newest. What is damaged
    is left out, and said. Raises UnavailableError where there is no such database.
    """
    found: dict[int, NDArray[np.float32]] = {}
    with reading(path, "scores") as database:
        database.create_function("slug", 1, slug)
        tracks = database.execute(
            "SELECT key, track FROM tracks WHERE slug(source) = slug(?) AND slug(label) = slug(?) "
            "ORDER BY newest_ns",
            (source, label),
        ).fetchall()
        if key is None and tracks:
            key = tracks[-1][0]
        for track in (track for of, track in tracks if of == key):
            rows = database.execute(
                "SELECT start_ns, scores FROM chunks "
                "WHERE track = ? AND start_ns > ? AND start_ns < ?",
                (track, since_ns - CHUNK * FRAME_NS, until_ns),
            )
            for start_ns, code in rows:
                try:
                    found[start_ns] = decode(code)
                except ValueError as error:
                    log.warning("%s: a minute of %s at %s: %s", path, label, source, error)
    return found
