"""A database that others touch while it is open: overwritten, cut, robbed, or only read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mosquitto import wait_until
from stand_ins import ONSET, event
from timing import within

from pe_stream.core.messages import Message, Topics, event_message
from pe_stream.core.types import Event, Phase
from pe_stream.storage import database as database_module
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.events import EventStore

TOPICS = Topics("pe_stream", "node")


def tell(store: EventStore, told: Event) -> Message:
    [message] = store.record(told, [event_message(TOPICS, told)])
    return message


def stored(path: Path) -> list[str]:
    return [entry.event["id"] for entry in EventQueries(path).events(EventFilter())]


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "events.db"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    """One that has been written to, also into its main file, and a backup of before."""
    opened = EventStore(path, keep_days=30, limit=50, clock=ONSET.timestamp)
    tell(opened, event(1, Phase.END))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(FULL)")
    # By another process: to close the file in this one would take SQLite's locks away.
    subprocess.run(["cp", str(path), str(backup_of(path))], check=True)
    for number in range(2, 7):
        tell(opened, event(number, Phase.END))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(FULL)")
    tell(opened, event(7, Phase.END))
    tell(opened, event(8))  # open
    yield opened
    opened.close()


def backup_of(path: Path) -> Path:
    return path.parent.parent / "backup.db"


def overwritten(path: Path) -> None:
    shutil.copyfile(backup_of(path), path)  # as `cp` does, into the file that is there


def filled(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


def scribbled(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(30_000))


def truncated(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def without_wal(path: Path) -> None:
    beside(path, "-wal").unlink()


def without_shm(path: Path) -> None:
    beside(path, "-shm").unlink()


def without_both(path: Path) -> None:
    without_wal(path)
    without_shm(path)


def with_empty_wal(path: Path) -> None:
    os.truncate(beside(path, "-wal"), 0)


def with_empty_index(path: Path) -> None:
    os.truncate(beside(path, "-shm"), 0)  # SQLite has it in memory: SIGBUS for who touches it


WRITTEN_OVER = [overwritten, filled, scribbled, truncated, cut, with_empty_wal]
ROBBED = [without_wal, without_shm, without_both, with_empty_index]


@pytest.mark.parametrize("harm", [*WRITTEN_OVER, *ROBBED])
def test_it_is_set_aside_and_begun_anew_although_nothing_is_written(
    harm: Callable[[Path], None],
    store: EventStore,
    path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert store.told_reason is None
    harm(path)
    wait_until(lambda: any(path.parent.glob("events.db.damaged-*")), "it is set aside", 5)
    wait_until(lambda: path.exists() and beside(path, "-wal").exists(), "a new one is begun", 5)
    wait_until(lambda: store.unavailable_reason is None, "it is stored again", 5)
    assert "set aside as events.db.damaged-" in str(store.told_reason)
    assert str(store.told_reason) in caplog.text
    tell(store, event(9, Phase.END))
    assert stored(path)[-1] == "id-0009"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(list(path.parent.glob("events.db.damaged-*[0-9]"))) == 1


@pytest.mark.parametrize("harm", ROBBED)
def test_what_is_pending_goes_into_the_new_one_and_the_rest_is_kept(
    harm: Callable[[Path], None], store: EventStore, path: Path
) -> None:
    before = store.waiting()
    assert len(before) == 8
    harm(path)
    store._disk.look()
    assert store.waiting() == before
    assert [each.id for each in store.unfinished()] == ["id-0008"]
    store.delivered(before[0].row or 0)
    assert store.waiting() == before[1:]
    [aside] = path.parent.glob("events.db.damaged-*[0-9]")
    assert stored(aside) == [f"id-{number:04}" for number in range(1, 9)]


@pytest.mark.parametrize("harm", [overwritten, scribbled, truncated, cut])
def test_what_others_wrote_into_it_is_kept_as_they_left_it(
    harm: Callable[[Path], None], store: EventStore, path: Path
) -> None:
    harm(path)
    left = path.read_bytes()
    tell(store, event(9))
    [aside] = path.parent.glob("events.db.damaged-*[0-9]")
    assert aside.read_bytes() == left
    assert stored(path) == ["id-0009"]
    assert store.waiting()[0].row is not None


def test_the_next_event_goes_into_the_new_one_at_once(store: EventStore, path: Path) -> None:
    truncated(path)
    began_s = time.monotonic()
    tell(store, event(9))
    assert time.monotonic() - began_s < within(1)
    assert stored(path) == ["id-0009"]
    tell(store, event(9, Phase.END))
    assert store.unfinished() == []


def test_it_is_told_for_a_while(
    store: EventStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "TOLD_S", within(0.5))
    truncated(path)
    store._disk.look()
    assert store.told_reason is not None
    wait_until(lambda: store.told_reason is None, "it is over", 2)


def test_another_database_in_its_place_is_not_mixed_with_what_was_left(
    store: EventStore, path: Path
) -> None:
    """`mv backup.db events.db`: the old WAL would be taken for that one's."""
    backup_of(path).replace(path)
    tell(store, event(9, Phase.END))
    assert stored(path) == ["id-0001", "id-0008", "id-0009"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def reader(path: Path) -> None:
    assert len(stored(path)) == 8


def writer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM events WHERE id = 'id-0001'")


def checkpoint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def vacuum(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def backup(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, closing(sqlite3.connect(":memory:")) as copy:
        database.backup(copy)


def nothing(_: Path) -> None:
    pass


def midway(path: Path) -> None:
    """As another's checkpoint leaves it for a moment: pages are written, the index not yet."""
    index = beside(path, "-shm").read_bytes()
    attempted = int.from_bytes(index[128:132], sys.byteorder) + 1
    script = f"""
import os, sys
with open(sys.argv[1] + "-shm", "r+b") as index:
    index.seek(128)
    index.write(({attempted}).to_bytes(4, sys.byteorder))
os.utime(sys.argv[1])
"""
    # By another process, for the locks' sake.
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


@pytest.mark.parametrize("use", [midway, reader, writer, checkpoint, vacuum, backup, nothing])
def test_who_keeps_to_the_rules_does_no_harm(
    use: Callable[[Path], None], store: EventStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use(path)
    store._disk.look()
    use(path)
    tell(store, event(9))
    store._disk.look()
    assert list(path.parent.glob("*damaged*")) == []
    assert caplog.text == ""
    assert len(stored(path)) == (8 if use is writer else 9)


def test_looking_at_the_files_gives_up_no_lock(store: EventStore, path: Path) -> None:
    """Whoever closes a file loses all locks that his process has on it (POSIX).

    Another process would then be the last to use the database, and remove its WAL.
    """
    use = "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]); "
    use += "print(database.execute('SELECT count(*) FROM events').fetchone()); database.close()"
    for number in range(10, 13):
        store._disk.look()
        tell(store, event(number, Phase.END))
        subprocess.run([sys.executable, "-c", use, str(path)], check=True, capture_output=True)
        assert beside(path, "-wal").exists()
    assert list(path.parent.glob("*damaged*")) == []


def test_our_own_checkpoints_do_no_harm(store: EventStore, path: Path) -> None:
    size = path.stat().st_size
    for number in range(1000, 1700):
        tell(store, event(number, Phase.END))
        store._disk.look()
    assert path.stat().st_size > size  # SQLite moved the WAL into it on its own
    assert list(path.parent.glob("*damaged*")) == []


def test_a_stop_leaves_one_whole_file(store: EventStore, path: Path) -> None:
    store.close()
    assert not beside(path, "-wal").exists()
    assert len(stored(path)) == 8


def test_folders_and_locks_are_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "events.db"
    lock = path.with_name("events.db.lock")
    mask = os.umask(0)
    try:
        EventStore(path, keep_days=30, limit=5).close()
        assert {oct(each.stat().st_mode & 0o777) for each in (path, lock)} == {"0o600"}
        for folder in (path.parent, path.parent.parent):
            assert oct(folder.stat().st_mode & 0o777) == "0o700"
        lock.chmod(0o644)  # as versions before left it
        EventStore(path, keep_days=30, limit=5).close()
        assert oct(lock.stat().st_mode & 0o777) == "0o600"
    finally:
        os.umask(mask)
