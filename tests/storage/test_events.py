"""Events on disk: nothing told is lost, whatever happens to the process or to the file."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stand_ins import ONSET, event, eventually
from timing import within

from pe_stream.config.local_time import moment
from pe_stream.core.messages import Message, Topics, event_message
from pe_stream.core.types import Event, Phase, Reason, SecondOpinion
from pe_stream.errors import UsageError
from pe_stream.storage import database as database_module
from pe_stream.storage import events as events_module
from pe_stream.storage import events_db, write_queue
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.events import EventStore

TOPICS = Topics("pe_stream", "node")


def tell(store: EventStore, told: Event) -> Message:
    [message] = store.record(told, [event_message(TOPICS, told)])
    return message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "events.db"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    opened = EventStore(path, keep_days=30, limit=5, clock=ONSET.timestamp)
    assert opened.unavailable_reason is None
    yield opened
    opened.close()


def again(path: Path, **options: float) -> EventStore:
    settings = {"keep_days": 30, "limit": 5} | options
    return EventStore(path, clock=ONSET.timestamp, **settings)  # type: ignore[arg-type]


def test_what_the_broker_has_not_acknowledged_waits_in_order(store: EventStore, path: Path) -> None:
    first, second = tell(store, event(1)), tell(store, event(1, Phase.END))
    assert first.row is not None
    assert first.payload == event(1).to_json()  # as it is now: not late
    assert second.row is not None
    store.delivered(first.row)
    store.close()
    after = again(path)
    [waiting] = after.waiting()
    assert waiting == Message(second.topic, waiting.payload, qos=1, retain=False, row=second.row)
    assert json.loads(waiting.payload) == event(1, Phase.END).to_dict() | {"late": True}
    after.delivered(second.row)
    assert after.waiting() == []
    after.close()


def test_states_are_not_kept(store: EventStore) -> None:
    state = Message("t", "ON", qos=1, retain=True)
    kept, same = store.record(event(), [event_message(TOPICS, event()), state])
    assert kept.row is not None
    assert same is state
    assert len(store.waiting()) == 1


def test_events_left_open_end_where_they_were_last_told(store: EventStore, path: Path) -> None:
    tell(store, event(2))
    opinion = SecondOpinion(0.7, None, None, None, 0, (1.2, 9.2), "pe-av", 735)
    tell(store, event(2, Phase.UPDATE, duration_s=1.5, second_opinion=opinion))
    tell(store, event(1))
    tell(store, event(3))
    tell(store, event(3, Phase.END))
    store.close()
    after = again(path)
    one, two = after.unfinished()
    assert (one.id, two.id) == ("id-0001", "id-0002")
    assert two == replace(
        event(2, duration_s=1.5, second_opinion=opinion),
        phase=Phase.END,
        offset="2026-11-21T02:15:52.820Z",
        offset_s=6.74,
        late=True,
        reason=Reason.RESTART,
    )
    tell(after, one)
    tell(after, two)
    assert after.unfinished() == []
    after.close()


def test_too_many_messages_lose_the_oldest_and_are_counted(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(8):
        tell(store, event(number))
    assert [json.loads(m.payload)["id"] for m in store.waiting()] == [
        f"id-{number:04}" for number in range(3, 8)
    ]
    assert store.dropped == 3
    assert "will not reach the broker" in caplog.text
    assert len(list(read_all(store))) == 8  # the history has them all


def read_all(store: EventStore) -> list[dict[str, object]]:
    return stored(store._disk._path)


def stored(path: Path) -> list[dict[str, object]]:
    return [entry.event for entry in EventQueries(path).events(EventFilter())]


def test_old_events_and_messages_go(path: Path) -> None:
    first = again(path)
    for number in (0, 1):
        tell(first, event(number))
        tell(first, event(number, Phase.END))
    tell(first, event(2))  # open: stays, however old
    first.close()
    days = timedelta(days=31)
    later = EventStore(path, keep_days=30, limit=5, clock=(ONSET + days).timestamp)
    assert [told["id"] for told in stored(path)] == ["id-0002"]
    assert later.waiting() == []
    assert later.dropped == 5
    later.close()


def test_only_the_user_may_read_it(store: EventStore, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_clips_that_are_not_there_are_told_of_no_more(
    store: EventStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, clip in enumerate(["there.flac", "gone.flac", None, "lost.flac"], 1):
        tell(store, replace(event(number, Phase.END), clip=clip))
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO events VALUES ('x', 'k', 'l', '0', 1, 'no JSON')")
    with caplog.at_level("INFO"):
        store.forget_missing_clips(lambda told: told["clip"] == "there.flac")
        tell(store, event(5))
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM events WHERE id = 'x'")
    assert [told["clip"] for told in read_all(store)] == ["there.flac", None, None, None, None]
    assert "2 events no longer tell of clips that are not there" in caplog.text


# What may happen to the file.


def test_a_database_that_is_deleted_is_begun_again(
    store: EventStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tell(store, event(1))
    for left in path.parent.iterdir():
        left.unlink()
    tell(store, event(2))
    # What is open goes into the new one.
    assert [told["id"] for told in read_all(store)] == ["id-0001", "id-0002"]
    assert "events.db is gone: a new one is begun" in caplog.text
    second = again(path)
    assert "another pe-stream uses it" in str(second.unavailable_reason)
    second.close()


def broken(store: EventStore, number: int = 7) -> bool:
    """Whether an event is now only in memory; nothing stops."""
    return is_waiting(tell(store, event(number)))


def is_waiting(told: Message) -> bool:
    """Whether it is not written yet."""
    assert told.row is not None
    return told.row < 0


def test_where_nothing_can_be_written_events_are_in_memory_until_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events_db, "RETRY_S", 0.01)
    caplog.set_level("INFO")
    (tmp_path / "state").write_text("a file where a folder should be")
    store = again(tmp_path / "state" / "events.db")
    assert store.unavailable_reason is not None
    assert broken(store)
    assert store.waiting() == []
    assert store.unfinished() == []
    store.delivered(3)
    assert caplog.text.count("only in memory") == 1  # told once
    (tmp_path / "state").unlink()
    assert eventually(lambda: store.unavailable_reason is None)
    assert "stored again" in caplog.text
    assert not broken(store, 8)
    assert [told["id"] for told in read_all(store)] == ["id-0007", "id-0008"]
    store.close()


def test_it_is_not_tried_at_every_event(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    store = again(tmp_path / "state" / "events.db")
    (tmp_path / "state").unlink()
    assert broken(store)
    assert store.unavailable_reason is not None
    store.close()


def test_a_full_disk_loses_nothing_that_was_stored(
    store: EventStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_db, "RETRY_S", 0.2)
    kept = tell(store, event(1))
    connection = store._disk._database
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")  # the disk is full now
    full = [number for number in range(2, 60) if broken(store, number)]
    assert full
    # Space comes back with the next connection.
    assert eventually(lambda: store.unavailable_reason is None and not store._queue.waiting)
    assert not broken(store, 60)
    assert [told["id"] for told in stored(path)] == [f"id-{number:04}" for number in range(1, 61)]
    assert kept.row is not None


@pytest.mark.parametrize("how", ["written", "judged"])
def test_a_disk_that_stays_full_is_not_said_to_work_again(
    how: str, store: EventStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events_db, "RETRY_S", 0.01)
    caplog.set_level("INFO")
    tell(store, event(1))
    really_open = store._disk._open
    full, opened = threading.Event(), threading.Semaphore(0)
    full.set()

    def opening() -> sqlite3.Connection:
        connection = really_open()
        if full.is_set():  # nothing can be written
            connection.execute("PRAGMA query_only = ON")
        opened.release()
        return connection

    monkeypatch.setattr(store._disk, "_open", opening)
    store._disk._shut()
    with monkeypatch.context() as impatient:
        impatient.setattr(events_module, "WAIT_S", 0.2)
        if how == "written":
            assert broken(store)
        else:
            assert not store.judge("id-0001", "right")
            store.retry()
    for _ in range(3):
        assert opened.acquire(timeout=within(10))
        assert store.unavailable_reason is not None
    full.clear()
    assert eventually(lambda: store.unavailable_reason is None)
    assert caplog.text.count("only in memory") == caplog.text.count("stored again") == 1
    assert not broken(store, 3)


@pytest.mark.parametrize("damage", ["garbage", "cut in the middle"])
def test_a_damaged_database_is_set_aside(
    damage: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = EventStore(path, keep_days=30, limit=500)
    for number in range(300):
        tell(first, event(number))
    first.close()
    content = path.read_bytes()
    half = b"x" * len(content) if damage == "garbage" else content[: len(content) // 2 + 100]
    path.write_bytes(half)
    after = again(path)
    assert not any(broken(after, number) for number in range(400, 420))
    assert after.unavailable_reason is None
    [aside] = path.parent.glob("events.db.damaged-*")
    assert aside.read_bytes() == half
    assert "set aside" in caplog.text
    after.close()


def test_a_database_of_a_newer_version_is_left_alone(store: EventStore, path: Path) -> None:
    tell(store, event())
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    after = again(path)
    assert after.unavailable_reason == "made by a newer pe_stream (schema 99)"
    assert broken(after)
    after.close()
    assert path.read_bytes() == before
    assert list(path.parent.glob("*damaged*")) == []


def test_two_daemons_do_not_share_one(store: EventStore, path: Path) -> None:
    other = again(path)
    assert other.unavailable_reason is not None
    assert "another pe-stream uses it" in other.unavailable_reason
    assert broken(other)
    assert not broken(store)
    other.close()


# Who else uses the file, and a disk that takes its time.


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process writes, as a backup or a repair does; ends early with `rollback`."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        if other.in_transaction:
            other.rollback()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a daemon; and the database is waited for a little at a time."""
    monkeypatch.setattr(events_module, "WAIT_S", 0.05)
    monkeypatch.setattr(database_module, "_BUSY_S", 0.1)


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_busy_is_not_lost_to_another_daemon(path: Path) -> None:
    store = again(path)
    tell(store, event(1))
    with locked(path):
        assert broken(store, 2)
        assert eventually(lambda: store.unavailable_reason)
        assert "locked" in str(store.unavailable_reason)
    second = again(path)
    try:
        assert "another pe-stream uses it" in str(second.unavailable_reason)
        assert eventually(lambda: store.unavailable_reason is None and not store._queue.waiting)
    finally:
        second.close()
    assert [told["id"] for told in read_all(store)] == ["id-0001", "id-0002"]
    store.close()


@pytest.mark.usefixtures("impatient")
def test_what_came_while_it_was_busy_is_written_in_order_and_nobody_waited(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EventStore(path, keep_days=30, limit=1000, clock=ONSET.timestamp)
    before = tell(store, event(0))
    rows: list[int] = []
    with locked(path):
        longest_s = total_s = 0.0
        for number in range(1, 41):
            for phase in (Phase.START, Phase.END):
                begun_s = time.monotonic()
                rows.append(tell(store, event(number, phase)).row or 0)
                longest_s = max(longest_s, time.monotonic() - begun_s)
                total_s += time.monotonic() - begun_s
        for row in rows[:-4]:  # the broker has them before the disk does
            store.delivered(row)
        assert before.row is not None
        store.delivered(before.row)
    assert len(set(rows)) == 80
    assert max(rows) < 0
    assert longest_s < within(0.5)  # 0.05 s, and what a busy machine adds
    assert total_s < within(1.0)
    assert eventually(lambda: not store._queue.waiting)
    assert [told["id"] for told in read_all(store)] == [f"id-{n:04}" for n in range(41)]
    assert [event.id for event in store.unfinished()] == ["id-0000"]
    waiting = [json.loads(message.payload) for message in store.waiting()]
    assert [(told["id"], told["phase"]) for told in waiting] == [
        ("id-0039", "start"),
        ("id-0039", "end"),
        ("id-0040", "start"),
        ("id-0040", "end"),
    ]
    for row in rows[-4:]:  # numbers that were given out stay good
        store.delivered(row)
    assert eventually(lambda: not store.waiting())
    monkeypatch.setattr(events_module, "WAIT_S", 20)
    assert not broken(store, 41)
    store.close()


def test_a_slow_disk_is_waited_for_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "WAIT_S", 0.05)
    store = again(path)
    go_on = threading.Event()
    record = store._disk.record

    def slowly(*given: Any) -> dict[int, int]:
        assert go_on.wait(20)
        return record(*given)

    monkeypatch.setattr(store._disk, "record", slowly)
    begun_s = time.monotonic()
    assert all(broken(store, number) for number in range(100))
    assert time.monotonic() - begun_s < within(1.0)
    assert store.unavailable_reason is None
    go_on.set()
    assert eventually(lambda: len(read_all(store)) == 100)
    store.close()


@pytest.mark.parametrize("other", ["delivered", "no_clip"])
def test_what_is_written_for_another_thread_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """A write that is under way is no disk that is behind."""
    monkeypatch.setattr(events_module, "WAIT_S", 20)
    store = again(path)
    before = tell(store, event(1))
    begun, go_on = threading.Event(), threading.Event()
    write = getattr(store._disk, other)

    def slowly(*given: Any) -> None:
        begun.set()
        assert go_on.wait(20)
        write(*given)

    monkeypatch.setattr(store._disk, other, slowly)
    what = before.row if other == "delivered" else "id-0001"
    thread = threading.Thread(target=getattr(store, other), args=(what,))
    thread.start()
    assert begun.wait(20)
    later = threading.Timer(0.2, go_on.set)
    later.start()
    row = tell(store, event(1, Phase.END)).row or 0
    thread.join()
    later.join()
    assert row > 0
    store.close()


def test_what_has_waited_for_long_is_waited_for_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it: acknowledgements, clips and events."""
    monkeypatch.setattr(events_module, "WAIT_S", 0.05)
    store = again(path)
    go_on = threading.Event()
    monkeypatch.setattr(store._disk, "no_clip", lambda *_: go_on.wait(20))
    store.no_clip("id-0001")
    begun_s = time.monotonic()
    for number in range(100):
        store.delivered(number)
    assert time.monotonic() - begun_s < within(1.0)  # each for 50 ms: 5 s
    go_on.set()
    store.close()


def test_a_disk_that_is_somewhat_slow_costs_no_more_than_one_that_stands_still(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "WAIT_S", 0.05)
    store = again(path)
    record = store._disk.record

    def slowly(*given: Any) -> dict[int, int]:
        time.sleep(0.03)
        return record(*given)

    monkeypatch.setattr(store._disk, "record", slowly)
    begun_s = time.monotonic()
    for number in range(20):
        tell(store, event(number))
    assert time.monotonic() - begun_s < within(0.4)  # one by one: 0.6 s
    assert eventually(lambda: len(read_all(store)) == 20)
    store.close()


@pytest.mark.usefixtures("impatient")
def test_what_the_last_run_left_is_told_once_the_store_can_be_read(path: Path) -> None:
    first = again(path)
    tell(first, event(1))
    first.close()
    with locked(path):
        after = again(path)
        assert after.left() is None
        assert broken(after, 2)  # of this run: neither left nor unfinished
    assert eventually(lambda: not after._queue.waiting)
    left = after.left()
    assert left is not None
    assert [json.loads(message.payload)["id"] for message in left[0]] == ["id-0001"]
    assert [event.id for event in left[1]] == ["id-0001"]
    assert after.left() == ([], [])
    after.close()


@pytest.mark.usefixtures("impatient")
def test_at_a_stop_a_busy_store_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_queue, "STOP_S", within(5))
    store = again(path)
    with locked(path) as other:
        assert broken(store, 1)
        over = threading.Timer(0.5, other.rollback)
        over.start()
        store.close()
        over.join()
    assert [told["id"] for told in stored(path)] == ["id-0001"]


@pytest.mark.usefixtures("impatient")
def test_who_was_judged_is_not_known_while_it_is_busy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = again(path)
    with monkeypatch.context() as patient:
        patient.setattr(events_module, "WAIT_S", 10.0)
        tell(store, event(1))
        assert store.judge("id-0001", "right")
    with locked(path):
        assert store.judged() is None
    assert store.judged() == {"id-0001"}
    store.close()


def test_what_is_too_much_for_memory_is_only_sent(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(write_queue, "MOST_BYTES", 20_000)
    (path.parent).write_text("a file where a folder should be")
    store = again(path)
    told = [tell(store, event(number)) for number in range(100)]
    assert told[0].row is not None
    assert told[-1].row is None
    assert told[-1].payload == event(99).to_json()
    assert "events so far are lost" in caplog.text
    store.close()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from storage.test_events import event, tell
from pe_stream.core.types import Phase
from pe_stream.storage import events
events.WAIT_S = 60
store = events.EventStore(Path(sys.argv[1]), keep_days=1e4, limit=10**6)
for number in range(int(sys.argv[2]), 10**6):
    for phase in (Phase.START, Phase.END):
        message = tell(store, event(number, phase))
        print(number, phase, message.row, flush=True)
"""


@pytest.mark.heavy
def test_nothing_that_was_stored_is_lost_to_kill_9(tmp_path: Path) -> None:
    """Killed at any moment: what was reported as stored is there, and the file is whole."""
    path = tmp_path / "events.db"
    script = KILLED.format(tests=str(Path(__file__).parents[1]))
    rows: list[int] = []
    first = 0
    for round_ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(20 + 13 * round_)]
            time.sleep(0.003 * round_)
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines(keepends=True)
        whole = [line.split() for line in lines if line.endswith("\n")]
        rows += [int(row) for _, _, row in whole]
        first = int(whole[-1][0]) + 2
        after = EventStore(path, keep_days=1e4, limit=10**6)
        assert after.unavailable_reason is None
        waiting = [message.row for message in after.waiting()]
        assert set(rows) <= set(waiting)
        assert len(waiting) == len(set(waiting))
        assert len(after.unfinished()) <= 1
        for left in after.unfinished():
            rows.append(tell(after, left).row or 0)
        after.close()
    assert list(tmp_path.glob("*damaged*")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", "2026-11-20T12:00:00.000Z"),
        ("90m", "2026-11-21T10:30:00.000Z"),
        ("7d", "2026-11-14T12:00:00.000Z"),
        ("2026-11-21T08:00Z", "2026-11-21T08:00:00.000Z"),
        ("2026-11-21T08:00+01:00", "2026-11-21T07:00:00.000Z"),
    ],
)
def test_since_is_a_time_or_a_length(text: str, expected: str) -> None:
    assert moment(text, datetime(2026, 11, 21, 12, tzinfo=UTC)) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "5x", "99999999999d", "2026-13-01"])
def test_since_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        moment(text, datetime(2026, 11, 21, 12, tzinfo=UTC))
