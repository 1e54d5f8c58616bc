"""Events by words: the best of their vectors decides, and none of another checkpoint."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from stand_ins import ONSET, event

from pe_stream.core.opinion_vectors import STORED, OpinionProbe, OpinionVectors, VectorKind
from pe_stream.core.types import Phase
from pe_stream.errors import UnavailableError
from pe_stream.storage import event_search
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.event_search import search_events
from pe_stream.storage.events import EventStore
from pe_stream.storage.events_schema import MIGRATIONS

IDENTITY, OTHER = "ab" * 32, "cd" * 32
ROWS: dict[VectorKind, np.ndarray[tuple[int], np.dtype[np.float32]]] = {
    "sound": np.array([1, 0, 0], np.float32),
    "picture": np.array([0, 1, 0], np.float32),
    "both": np.array([0, 0, 1], np.float32),
}
PROBE = OpinionProbe(IDENTITY, ROWS, {"sound": -1.0, "picture": 0.0, "both": 1.0})


def made(identity: str = IDENTITY, **logits: float) -> OpinionVectors:
    """Vectors with these products with the probe's rows."""
    vectors = {
        kind: (row * logits[kind]).astype(STORED) for kind, row in ROWS.items() if kind in logits
    }
    return OpinionVectors(f"checkpoint {identity[0]}", identity, vectors)


def tell(
    store: EventStore, number: int, vectors: OpinionVectors | None, label: str = "smoke_alarm"
) -> None:
    store.record(event(number, Phase.END, label=label), [])
    if vectors is not None:
        store.record_vectors(f"id-{number:04}", vectors)
    written_by_now(store)


def written_by_now(store: EventStore) -> None:
    """Wait until all that was told is written, which happens in turn."""
    store.no_clip("no event's")


def ids(path: Path, asked: EventFilter | None = None, limit: int = 9) -> list[str]:
    found = search_events(EventQueries(path), asked or EventFilter(), PROBE, limit)
    return [each.record.event["id"] for each in found.events]


def written(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        ((count,),) = database.execute("SELECT count(*) FROM vectors").fetchall()
    return int(count)


def test_the_best_of_the_vectors_decides(
    store: EventStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "_TOGETHER", 2)
    tell(store, 1, made(sound=0.5))
    tell(store, 2, made(sound=-3, picture=2, both=-2))
    tell(store, 3, made(sound=3, picture=-1, both=0.25))
    tell(store, 4, made(sound=-3, both=1.5))
    tell(store, 5, None)
    found = search_events(EventQueries(path), EventFilter(), PROBE, 3)
    assert [each.record.event["id"] for each in found.events] == ["id-0004", "id-0003", "id-0002"]
    assert found.searched == 4
    assert found.others == {}
    best, second, third = found.events
    assert best.scores == {
        "sound": pytest.approx(1 / (1 + np.exp(4))),
        "picture": None,
        "both": pytest.approx(1 / (1 + np.exp(-2.5))),
    }
    assert best.score == best.scores["both"]
    assert second.score == second.scores["sound"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert third.score == third.scores["picture"]
    assert ids(path) == ["id-0004", "id-0003", "id-0002", "id-0001"]


def test_only_what_is_asked_for_is_searched(store: EventStore, path: Path) -> None:
    for number, label in enumerate(("dog", "cat", "dog")):
        tell(store, number, made(sound=number), label=label)
    assert ids(path, EventFilter(source="Kitchen")) == ["id-0001"]
    assert ids(path, EventFilter(label="dog")) == ["id-0002", "id-0000"]
    since = event(1).onset
    assert ids(path, EventFilter(since=since)) == ["id-0002", "id-0001"]
    assert ids(path, EventFilter(until=since)) == ["id-0000"]
    assert store.judge("id-0001", "right")
    assert ids(path, EventFilter(verdict="right")) == ["id-0001"]


def test_vectors_of_another_checkpoint_are_left_out_and_counted(
    store: EventStore, path: Path
) -> None:
    tell(store, 1, made(sound=1))
    tell(store, 2, made(OTHER, sound=50))
    tell(store, 3, made(OTHER, sound=50))
    found = search_events(EventQueries(path), EventFilter(), PROBE, 9)
    assert [each.record.event["id"] for each in found.events] == ["id-0001"]
    assert (found.searched, found.others) == (1, {"checkpoint c": 2})


def test_damaged_vectors_are_left_out(store: EventStore, path: Path) -> None:
    """Also numbers that are none, and kinds that a text of a checkpoint for sound has not."""
    tell(store, 1, made(sound=1))
    tell(store, 2, made(sound=2))
    infinite = np.full(3, np.inf, STORED)
    tell(store, 3, OpinionVectors("a", IDENTITY, {"sound": infinite}))
    tell(store, 4, made(picture=9))
    store.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE vectors SET sound = x'00' WHERE id = 'id-0002'")
    hears = OpinionProbe(IDENTITY, {"sound": ROWS["sound"]}, {"sound": 0.0})
    found = search_events(EventQueries(path), EventFilter(), hears, 9)
    assert [each.record.event["id"] for each in found.events] == ["id-0001"]
    assert (found.searched, found.others) == (1, {})


def test_vectors_are_stored_as_they_are_and_go_with_their_event(
    store: EventStore, path: Path
) -> None:
    numbers = np.array([0.1, -65504, 6e-8], np.float16)
    store.record(event(1, Phase.END), [])
    store.record_vectors("id-0001", OpinionVectors("a", IDENTITY, {"sound": numbers}))
    store.record_vectors("id-0009", made(sound=1))  # of no event
    store.record(event(2, Phase.END), [])
    store.record_vectors("id-0002", made(sound=1))
    assert store.judge("id-0002", "wrong")  # and is kept for good
    store.close()
    (one, two) = sorted(EventQueries(path).vectors(EventFilter()), key=lambda row: row.event_id)
    assert (one.event_id, one.checkpoint, one.identity) == ("id-0001", "a", IDENTITY)
    assert one.vectors == (numbers.tobytes(), None, None)
    assert two.event_id == "id-0002"
    assert written(path) == 2
    later = ONSET + timedelta(days=31)
    EventStore(path, keep_days=30, limit=5, clock=later.timestamp).close()
    assert [row.event_id for row in EventQueries(path).vectors(EventFilter())] == ["id-0002"]
    assert written(path) == 1, "it takes no room either"


def test_vectors_of_an_event_that_goes_on_are_kept_where_the_file_is_begun_anew(
    store: EventStore, path: Path
) -> None:
    tell(store, 1, made(sound=1))
    store.record(event(2), [])
    store.record_vectors("id-0002", made(sound=2))
    written_by_now(store)
    path.unlink()
    store.record(event(3, Phase.END), [])
    assert ids(path) == ["id-0002"]


def test_a_database_of_before_is_brought_up(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for script in MIGRATIONS[:-1]:
            database.executescript(script)
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
        each = event(1)
        row = (each.id, each.source, each.label, each.onset, 1, each.to_json())
        database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
    assert ids(path) == [], "it is read as it is"
    store = EventStore(path, keep_days=30, limit=5, clock=ONSET.timestamp)
    assert store.unavailable_reason is None
    store.record_vectors("id-0001", made(sound=2))
    store.record(replace(event(1, Phase.END), peak=0.7), [])
    store.close()
    assert ids(path) == ["id-0001"]


def test_a_store_that_is_not_there_is_said(path: Path) -> None:
    with pytest.raises(UnavailableError, match="no events are stored there"):
        search_events(EventQueries(path), EventFilter(), PROBE, 9)
