"""Stored events as they are asked for: lists, counts by hour and day, single ones.

Reads beside the daemon that writes, each question on a connection of its own, so that any thread
may ask.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Literal

from pe_stream.core.messages import slug
from pe_stream.errors import UnavailableError
from pe_stream.storage.database import reading

MOST = 500
"""Events of one page."""

Verdict = Literal["right", "wrong"]
"""A user's verdict on an event."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for; None is all.

    since, until: UTC as events have it, of the onset; `until` is exclusive.
    source, label: as configured, or as in topics.
    verdict: also "any" (judged) and "none" (not judged).
    """

    since: str | None = None
    until: str | None = None
    source: str | None = None
    label: str | None = None
    verdict: Verdict | Literal["any", "none"] | None = None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as it was last told, and what somebody said of it."""

    event: dict[str, Any]
    verdict: Verdict | None
    note: str | None


@dataclass(frozen=True, slots=True)
class EventCount:
    """How many events began from `start` (UTC, on a local hour or day) on, by label."""

    start: datetime
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Vectors of an event's second opinion: bytes, in the order of VECTOR_KINDS; None of some.

    checkpoint, identity: as of OpinionVectors.
    """

    event_id: str
    checkpoint: str
    identity: str
    vectors: tuple[bytes | None, ...]


class EventQueries:
    """Queries to one database of events.

    Every method raises UnavailableError where it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        """Take the path; nothing is opened yet."""
        self._path = path

    def events(self, asked: EventFilter) -> Iterator[EventRecord]:
        """All of them, in the order of their onsets.

        Raises UnavailableError at the end where some are damaged, which are left out.
        """
        damaged = 0
        with self._database() as database:
            clauses, values = _where(database, asked)
            query = (
                f"SELECT event, verdict, note FROM {_tables(database, asked)} {clauses} "  # noqa: S608
                "ORDER BY onset, id"
            )
            for row in database.execute(query, values):
                if (entry := _entry(*row)) is None:
                    damaged += 1
                else:
                    yield entry
        if damaged:
            raise UnavailableError(f"{self._path}: {damaged} events in it are damaged: left out")

    def page(
        self, asked: EventFilter, *, limit: int, before: str | None = None
    ) -> tuple[list[EventRecord], str | None]:
        """The newest first, at most `limit`, and where to go on (`before`); None at the end.

        Raises ValueError where `before` is not what a page gave.
        """
        with self._database() as database:
            clauses, values = _where(database, asked, _cursor(before))
            tables = _tables(database, asked)
            query = (
                f"SELECT event, verdict, note, onset, id FROM {tables} {clauses} "  # noqa: S608 - ours
                "ORDER BY onset DESC, id DESC LIMIT ?"
            )
            rows = database.execute(query, [*values, limit + 1]).fetchall()
        entries = [entry for row in rows[:limit] if (entry := _entry(*row[:3])) is not None]
        if len(rows) <= limit:
            return entries, None
        return entries, "_".join(rows[limit - 1][3:])

    def one(self, event_id: str) -> EventRecord | None:
        """A single event, None where there is none of that id."""
        with self._database() as database:
            query = (
                "SELECT event, verdict, note FROM events LEFT JOIN verdicts USING (id) WHERE id = ?"
            )
            row = database.execute(query, (event_id,)).fetchone()
        return None if row is None else _entry(*row)

    def beside(self, event: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The ids of the events before and after one, in time."""
        found: list[str | None] = []
        with self._database() as database:
            for sign, order in (("<", "DESC"), (">", "ASC")):
                query = (
                    f"SELECT id FROM events WHERE (onset, id) {sign} (?, ?) "  # noqa: S608 - ours
                    f"ORDER BY onset {order}, id {order} LIMIT 1"
                )
                row = database.execute(query, (event["onset"], event["id"])).fetchone()
                found.append(row and row[0])
        return found[0], found[1]

    def counts(
        self, asked: EventFilter, *, by: Literal["hour", "day"], zone: tzinfo
    ) -> list[EventCount]:
        """How many began in each local hour or day; those without any are left out.

        Counted in whole quarters of an hour, also those that `since` and `until` lie in. Verdicts
        are not looked at.
        """
        found: dict[datetime, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        with self._database() as database:
            clauses, values = _where(database, replace(asked, verdict=None), column="start")
            query = (
                f"SELECT start, label, sum(events) FROM quarters {clauses} "  # noqa: S608 - ours
                "GROUP BY start, label HAVING sum(events) > 0 ORDER BY start"
            )
            starts: dict[str, datetime] = {}
            for start, label, count in database.execute(query, values):
                if start not in starts:
                    starts[start] = _bucket(start, by, zone)
                found[starts[start]][label] += count
        return [EventCount(start, dict(labels)) for start, labels in found.items()]

    def vectors(self, asked: EventFilter) -> Iterator[StoredVectors]:
        """Of all such events that have some; in no order."""
        with self._database() as database:
            if not database.execute(_HAS.format("vectors")).fetchone():  # of a daemon of before
                return
            clauses, values = _where(database, asked)
            query = (
                f"SELECT id, checkpoint, identity, sound, picture, both FROM "  # noqa: S608 - ours
                f"{_tables(database, asked)} JOIN vectors USING (id) {clauses}"
            )
            for event_id, checkpoint, identity, *found in database.execute(query, values):
                yield StoredVectors(event_id, checkpoint, identity, tuple(found))

    def _database(self) -> AbstractContextManager[sqlite3.Connection]:
        return reading(self._path, "events")


_HAS = "SELECT 1 FROM sqlite_master WHERE name = '{}'"
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def _cursor(before: str | None) -> tuple[str, str] | None:
    if before is None:
        return None
    onset, _, event_id = before.partition("_")
    if not _UTC.fullmatch(onset) or not _ID.fullmatch(event_id):
        raise ValueError(f"before: {before[:80]!r} is not what a page of events gave")
    return onset, event_id


def _tables(database: sqlite3.Connection, asked: EventFilter) -> str:
    if not database.execute(_HAS.format("verdicts")).fetchone():  # of a daemon of before
        return "(SELECT *, NULL AS verdict, NULL AS note FROM events)"
    if asked.verdict in ("right", "wrong", "any"):
        # The few that were judged first: else all events would be looked at for them.
        return "verdicts CROSS JOIN events USING (id)"
    return "events LEFT JOIN verdicts USING (id)"


def _where(
    database: sqlite3.Connection,
    asked: EventFilter,
    cursor: tuple[str, str] | None = None,
    *,
    column: Literal["onset", "start"] = "onset",
) -> tuple[str, list[str]]:
    """The clauses for what is asked, and their values."""
    clauses: list[str] = []
    values: list[str] = []
    for kind, wanted in (("source", asked.source), ("label", asked.label)):
        if wanted is not None:
            names = _named(database, kind, wanted)
            clauses.append(f"{kind} IN ({', '.join('?' * len(names))})")
            values += names
    for sign, moment in ((">=", asked.since), ("<", asked.until)):
        if moment is not None:
            clauses.append(f"{column} {sign} ?")
            values.append(moment if column == "onset" else _quarter(moment, up=sign == "<"))
    if cursor is not None:
        clauses.append("(onset, id) < (?, ?)")
        values += cursor
    if asked.verdict in ("right", "wrong"):
        clauses.append("verdict = ?")
        values.append(asked.verdict)
    elif asked.verdict is not None:
        clauses.append(f"verdict IS {'NOT ' if asked.verdict == 'any' else ''}NULL")
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), values


def _named(database: sqlite3.Connection, kind: str, wanted: str) -> list[str]:
    """The names of sources or labels that are `wanted` in topics, or as it is written."""
    rows = database.execute(_DISTINCT.format(kind=kind)).fetchall()
    return [name for (name,) in rows if slug(name) == slug(wanted)]


# One look-up in the index for each name, instead of one for each event.
_DISTINCT = """
    WITH RECURSIVE names(name) AS (
        SELECT min({kind}) FROM events
        UNION ALL SELECT (SELECT min({kind}) FROM events WHERE {kind} > name) FROM names
            WHERE name IS NOT NULL
    ) SELECT name FROM names WHERE name IS NOT NULL
"""


def _quarter(moment: str, *, up: bool) -> str:
    """The quarter that a moment is in; up: what no quarter before or around it comes after."""
    start = f"{moment[:14]}{int(moment[14:16]) // 15 * 15:02d}"
    return moment if up and moment != f"{start}:00.000Z" else start


def _bucket(start: str, by: Literal["hour", "day"], zone: tzinfo) -> datetime:
    local = datetime.fromisoformat(f"{start}:00+00:00").astimezone(zone)
    if by == "day":
        local = local.replace(hour=0, minute=0, fold=0)
        return local.astimezone(UTC)
    # Not by replacing the minute: of the hour that there is twice, this would take the first.
    return local.astimezone(UTC) - timedelta(minutes=local.minute)


def _entry(event: object, verdict: Verdict | None, note: str | None) -> EventRecord | None:
    """A row; None where it is damaged."""
    try:
        told = json.loads(event) if isinstance(event, str) else None
    except ValueError:
        return None
    return EventRecord(told, verdict, note) if isinstance(told, dict) else None
