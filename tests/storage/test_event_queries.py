from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from stand_ins import ONSET, event

from pe_stream.core.types import Event, Phase
from pe_stream.core.utc import utc_text
from pe_stream.errors import UnavailableError
from pe_stream.storage.event_queries import EventFilter, EventQueries, EventRecord
from pe_stream.storage.events import EventStore
from pe_stream.storage.events_schema import MIGRATIONS

BERLIN = ZoneInfo("Europe/Berlin")


def tell(store: EventStore, *events: Event) -> None:
    for each in events:
        store.record(each, [])


def ids(entries: Iterator[EventRecord] | list[EventRecord]) -> list[str]:
    return [entry.event["id"] for entry in entries]


def at(moment: str, number: int = 0, **fields: Any) -> Event:
    return event(number, onset=moment, **fields)


def test_events_are_read_beside_the_daemon(store: EventStore, path: Path) -> None:
    tell(store, *(event(number) for number in range(4)), event(1, Phase.END))
    timeline = EventQueries(path)
    assert ids(timeline.events(EventFilter())) == [f"id-{number:04}" for number in range(4)]
    since = next(timeline.events(EventFilter(since=event(1).onset)))
    assert since.event["phase"] == "end"
    assert (since.verdict, since.note) == (None, None)
    assert ids(timeline.events(EventFilter(until=event(1).onset))) == ["id-0000"]
    assert ids(timeline.events(EventFilter(source="kitchen"))) == ["id-0001", "id-0003"]
    assert ids(timeline.events(EventFilter(label="dog"))) == []


def test_a_source_or_label_may_be_as_in_topics(store: EventStore, path: Path) -> None:
    tell(store, event(1, source="Front Door", label="Dog Bark"), event(2))
    for source, label in (("Front Door", None), ("front_door", None), (None, "dog_bark")):
        (found,) = EventQueries(path).events(EventFilter(source=source, label=label))
        assert found.event["source"] == "Front Door"


def test_pages_go_back_in_time_and_miss_none(store: EventStore, path: Path) -> None:
    same = event(3).onset
    tell(store, *(event(n) for n in range(3)), *(at(same, n) for n in range(3, 8)))
    timeline, seen, before = EventQueries(path), list[str](), None
    while True:
        entries, before = timeline.page(EventFilter(), limit=3, before=before)
        seen += ids(entries)
        if before is None:
            break
    assert seen == [f"id-{number:04}" for number in reversed(range(8))]
    first, _ = timeline.page(EventFilter(until=same), limit=3)
    assert ids(first) == ["id-0002", "id-0001", "id-0000"]


@pytest.mark.parametrize(
    "before", ["", "x", "2026-11-21T02:15:49.320Z", "2026-11-21T02:15:49.320Z_' OR 1", "_id"]
)
def test_a_cursor_of_ones_own_is_refused(store: EventStore, path: Path, before: str) -> None:
    with pytest.raises(ValueError, match="not what a page of events gave"):
        EventQueries(path).page(EventFilter(), limit=3, before=before)


def test_one_event_and_its_neighbours(store: EventStore, path: Path) -> None:
    tell(store, *(event(number) for number in range(3)))
    timeline = EventQueries(path)
    middle = timeline.one("id-0001")
    assert middle is not None
    assert timeline.beside(middle.event) == ("id-0000", "id-0002")
    last = timeline.one("id-0002")
    assert last is not None
    assert timeline.beside(last.event) == ("id-0001", None)
    assert timeline.one("id-0009") is None


def test_verdicts_are_kept_changed_and_taken_back(store: EventStore, path: Path) -> None:
    tell(store, *(event(number) for number in range(4)))
    assert store.judge("id-0001", "right")
    assert store.judge("id-0002", "right", "the neighbour's")
    assert store.judge("id-0002", "wrong", "the radio")
    assert not store.judge("id-0009", "right")  # there is none
    timeline = EventQueries(path)
    marked = list(timeline.events(EventFilter(verdict="any")))
    assert [(e.event["id"], e.verdict, e.note) for e in marked] == [
        ("id-0001", "right", ""),
        ("id-0002", "wrong", "the radio"),
    ]
    assert ids(timeline.page(EventFilter(verdict="wrong"), limit=9)[0]) == ["id-0002"]
    assert ids(timeline.page(EventFilter(verdict="none"), limit=9)[0]) == ["id-0003", "id-0000"]
    assert store.judge("id-0001", None)
    assert ids(timeline.events(EventFilter(verdict="any"))) == ["id-0002"]


def test_what_was_judged_outlives_the_rest(store: EventStore, path: Path) -> None:
    tell(store, *(event(number, Phase.END) for number in range(3)))
    store.judge("id-0001", "wrong")
    store.close()
    later = EventStore(path, keep_days=30, limit=5, clock=(ONSET + timedelta(days=31)).timestamp)
    assert ids(EventQueries(path).events(EventFilter())) == ["id-0001"]
    (bucket,) = EventQueries(path).counts(EventFilter(), by="day", zone=UTC)
    assert bucket.labels == {"smoke_alarm": 1}
    later.close()


def test_a_clip_that_was_not_kept_is_told_no_more(store: EventStore, path: Path) -> None:
    tell(store, event(1, clip="/clips/a.flac"), event(2, clip="/clips/b.flac"))
    store.no_clip("id-0001")
    assert [e.event["clip"] for e in EventQueries(path).events(EventFilter())] == [
        None,
        "/clips/b.flac",
    ]


def test_counts_are_by_local_hour_and_day(store: EventStore, path: Path) -> None:
    tell(
        store,
        at("2026-11-21T22:59:59.999Z", 1, source="a", label="dog"),
        at("2026-11-21T23:00:00.000Z", 2, source="a", label="dog"),  # midnight in Berlin
        at("2026-11-21T23:59:00.000Z", 3, source="b", label="cat"),
    )
    tell(store, at("2026-11-21T23:59:00.000Z", 3, source="b", label="cat", phase=Phase.END))
    timeline = EventQueries(path)
    days = timeline.counts(EventFilter(), by="day", zone=BERLIN)
    assert [(b.start, b.labels) for b in days] == [
        (datetime(2026, 11, 20, 23, tzinfo=UTC), {"dog": 1}),
        (datetime(2026, 11, 21, 23, tzinfo=UTC), {"dog": 1, "cat": 1}),
    ]
    hours = timeline.counts(EventFilter(source="a"), by="hour", zone=ZoneInfo("Asia/Kolkata"))
    assert [b.start for b in hours] == [
        datetime(2026, 11, 21, 22, 30, tzinfo=UTC),  # 4:00 there
    ]
    assert [b.labels for b in hours] == [{"dog": 2}]
    later = timeline.counts(
        EventFilter(
            since="2026-11-21T23:07:00.000Z", until="2026-11-22T00:00:00.000Z", label="cat"
        ),
        by="hour",
        zone=UTC,
    )
    assert [(b.start.hour, b.labels) for b in later] == [(23, {"cat": 1})]


def test_the_quarter_that_is_not_over_counts(store: EventStore, path: Path) -> None:
    tell(store, at("2026-11-21T10:16:00.000Z", 1), at("2026-11-21T10:31:00.000Z", 2))

    def counted(until: str) -> int:
        counts = EventQueries(path).counts(EventFilter(until=until), by="day", zone=UTC)
        return sum(sum(bucket.labels.values()) for bucket in counts)

    assert counted("2026-11-21T10:17:00.000Z") == 1
    assert counted("2026-11-21T10:30:00.000Z") == 1
    assert counted("2026-11-21T10:30:00.001Z") == 2
    assert counted("2026-11-21T10:15:00.000Z") == 0


def test_the_hour_that_there_is_twice_is_two(store: EventStore, path: Path) -> None:
    tell(store, at("2026-10-25T00:10:00.000Z", 1), at("2026-10-25T01:10:00.000Z", 2))
    hours = EventQueries(path).counts(EventFilter(), by="hour", zone=BERLIN)
    assert [b.start.hour for b in hours] == [0, 1]
    (day,) = EventQueries(path).counts(EventFilter(), by="day", zone=BERLIN)
    assert day.start == datetime(2026, 10, 24, 22, tzinfo=UTC)


def test_counts_are_of_the_events_there_are(store: EventStore, path: Path) -> None:
    """The slow twin: count every event."""
    starts = [ONSET + timedelta(seconds=977 * n) for n in range(300)]
    for number, start in enumerate(starts):
        onset = utc_text(start)
        tell(store, at(onset, number, label=f"l{number % 3}"))
    found = {
        b.start: b.labels for b in EventQueries(path).counts(EventFilter(), by="hour", zone=UTC)
    }
    expected: dict[datetime, dict[str, int]] = {}
    for number, start in enumerate(starts):
        hour = expected.setdefault(start.replace(minute=0, second=0, microsecond=0), {})
        hour[f"l{number % 3}"] = hour.get(f"l{number % 3}", 0) + 1
    assert found == expected


def test_a_database_of_before_is_brought_up(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.executescript(MIGRATIONS[0])
        database.execute("PRAGMA user_version = 1")
        for each in (event(1), event(2), at("2026-11-21T02:29:59.999Z", 3)):
            row = (each.id, each.source, each.label, each.onset, 0, each.to_json())
            database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
    database.close()
    store = EventStore(path, keep_days=30, limit=5, clock=ONSET.timestamp)
    assert store.unavailable_reason is None
    (bucket,) = EventQueries(path).counts(EventFilter(), by="hour", zone=UTC)
    assert bucket.labels == {"smoke_alarm": 3}
    store.close()


def test_a_database_of_before_is_read_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.executescript(MIGRATIONS[0])
        each = event(1)
        row = (each.id, each.source, each.label, each.onset, 0, each.to_json())
        database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
    database.close()
    for asked in (EventFilter(), EventFilter(verdict="none"), EventFilter(label="smoke_alarm")):
        (found,) = EventQueries(path).events(asked)
        assert (found.event["id"], found.verdict) == ("id-0001", None)
    assert list(EventQueries(path).events(EventFilter(verdict="any"))) == []


ASKED = [
    EventFilter(),
    EventFilter(since="2026-01-01T00:00:00.000Z"),
    EventFilter(source="kitchen"),
    EventFilter(label="smoke_alarm"),
    EventFilter(source="kitchen", label="smoke_alarm"),
    EventFilter(verdict="right"),
    EventFilter(verdict="none"),
]


@pytest.mark.parametrize("asked", ASKED, ids=repr)
def test_no_question_looks_at_every_event(
    store: EventStore, path: Path, monkeypatch: pytest.MonkeyPatch, asked: EventFilter
) -> None:
    tell(store, *(event(number) for number in range(4)))
    plans: list[str] = []
    connect = sqlite3.connect

    def watched(address: str, **options: bool) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(address, **options)  # type: ignore[call-overload]
        explained = connect(address, **options)  # type: ignore[call-overload]

        class Watched:
            def execute(self, query: str, values: list[object] = []) -> sqlite3.Cursor:  # noqa: B006
                rows = explained.execute(f"EXPLAIN QUERY PLAN {query}", values)
                plans.extend(row[3] for row in rows)
                return database.execute(query, values)

            def close(self) -> None:
                explained.close()
                database.close()

        return Watched()  # type: ignore[return-value]

    monkeypatch.setattr(sqlite3, "connect", watched)
    timeline = EventQueries(path)
    timeline.counts(asked, by="day", zone=UTC)
    assert not [step for step in plans if step.startswith("SCAN events") and "INDEX" not in step]
    plans.clear()
    timeline.page(asked, limit=2)
    timeline.beside(event(1).to_dict())
    assert plans
    for step in plans:
        if step.startswith("SCAN events"):  # in order, as far as the page goes
            assert "USING INDEX events_by_onset" in step or "USING COVERING INDEX" in step
        if "TEMP B-TREE FOR ORDER BY" in step:
            assert asked.verdict in ("right", "wrong")


def test_no_database_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no events are stored there"):
        list(EventQueries(tmp_path / "nothing.db").events(EventFilter()))
    (tmp_path / "other.db").write_bytes(b"no database at all, but long enough to be looked at")
    with pytest.raises(UnavailableError, match="not a database"):
        list(EventQueries(tmp_path / "other.db").events(EventFilter()))


def test_damaged_events_are_left_out_and_said(store: EventStore, path: Path) -> None:
    tell(store, *(event(number) for number in range(6)))
    with sqlite3.connect(path) as database:
        for number, damaged in ((1, "{nope"), (2, b"\xff\x00"), (4, "[1]")):
            database.execute(
                "UPDATE events SET event = ? WHERE id = ?", (damaged, event(number).id)
            )
    queries = EventQueries(path)
    with pytest.raises(UnavailableError, match="3 events in it are damaged: left out"):
        list(queries.events(EventFilter()))
    entries = queries.events(EventFilter())
    assert [next(entries).event["id"] for _ in range(3)] == ["id-0000", "id-0003", "id-0005"]
    newest, before = queries.page(EventFilter(), limit=2)
    assert ids(newest) == ["id-0005"]
    rest, last = queries.page(EventFilter(), limit=4, before=before)
    assert (ids(rest), last) == (["id-0003", "id-0000"], None)
    assert queries.one("id-0001") is None
    # Nor does one that was open keep the daemon from starting.
    assert [each.id for each in store.unfinished()] == ["id-0000", "id-0003", "id-0005"]
