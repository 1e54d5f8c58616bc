"""What was heard is kept: it comes back from memory and disk, whatever happens to either."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mosquitto import Mosquitto, wait_until
from processes import Daemon, level_config, pe_stream
from sounds import noise, write_float_wav
from stand_ins import eventually

from pe_stream.config import SearchSettings
from pe_stream.core.pooling import POOL, row_type
from pe_stream.core.types import FRAME_NS, FrameEmbeddings
from pe_stream.errors import UnavailableError
from pe_stream.storage import embedding_files, write_queue
from pe_stream.storage.embedding_files import HEADER, stored
from pe_stream.storage.embeddings import CHUNK, EmbeddingStore, folder_of
from pe_stream.storage.locks import hold

NOON = 1_795_262_400 * 10**9
"""UTC (ns) of the first frame here: a whole hour."""

HOUR = 3600 * 10**9
DAY = 24 * HOUR
MINUTE = CHUNK * POOL
"""Frames of a chunk."""

EVER = (0, 2**62)
WIDTH = 16
IDENTITY = "ab" * 32
OTHER = "cd" * 32


def made(frames: int, seed: int = 0, width: int = WIDTH) -> FrameEmbeddings:
    found: FrameEmbeddings = np.random.default_rng(seed).normal(0, 3, (frames, width)).astype("f2")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "heard"


Open = Callable[..., EmbeddingStore]


@pytest.fixture
def opened(folder: Path) -> Iterator[Open]:
    """Starts memories, and stops them in the end; a failure of theirs fails the test."""
    errors: list[BaseException] = []
    with contextlib.ExitStack() as stack:

        def open_(*, clock_ns: int = NOON, identity: str = IDENTITY, **keys: Any) -> EmbeddingStore:
            settings = SearchSettings.model_validate(
                {"enabled": True, "folder": str(folder)} | keys
            )
            memory = EmbeddingStore(
                settings, clock=lambda: clock_ns / 1e9, on_failure=errors.append
            )
            memory.start(identity, "embedded")
            stack.callback(memory.stop)
            return memory

        yield open_
    assert errors == []


def add(
    memory: EmbeddingStore,
    embeddings: FrameEmbeddings,
    at_ns: int = NOON,
    *,
    hop: int = 12,
    source: str = "kitchen",
) -> int:
    """Add them hop by hop; returns where they end (ns)."""
    for first in range(0, len(embeddings), hop):
        memory.add(source, at_ns + first * FRAME_NS, embeddings[first : first + hop])
    return at_ns + len(embeddings) * FRAME_NS


def written(memory: EmbeddingStore) -> bool:
    return eventually(lambda: not memory._queue.waiting)


def starts(
    memory: EmbeddingStore, since_ns: int = 0, until_ns: int = 2**62, *, source: str | None = None
) -> list[int]:
    pieces = memory.pieces(since_ns, until_ns, source)
    return sorted({int(at) for piece in pieces for at in piece.rows["start_ns"]})


def on_disk(
    folder: Path, since_ns: int = 0, until_ns: int = 2**62, *, source: str | None = None
) -> list[int]:
    pieces = stored(folder, since_ns, until_ns, source=source)
    return [int(at) for piece in pieces for at in piece.rows["start_ns"]]


def rows_of(count: int, at_ns: int = NOON) -> list[int]:
    return [at_ns + i * POOL * FRAME_NS for i in range(count)]


def test_rows_come_back_from_memory_and_disk(opened: Open, folder: Path) -> None:
    memory = opened()
    add(memory, made(2 * MINUTE + 70))
    assert starts(memory) == rows_of(2 * CHUNK + 7)  # at once
    assert written(memory)
    assert on_disk(folder) == rows_of(2 * CHUNK)  # also beside the daemon
    assert starts(memory) == rows_of(2 * CHUNK + 7)
    assert starts(memory, source="porch") == []


def test_a_stop_writes_everything(opened: Open, folder: Path) -> None:
    memory = opened()
    add(memory, made(MINUTE + 25))
    add(memory, made(10), source="Back Porch")
    memory.stop()
    assert on_disk(folder, source="kitchen") == rows_of(CHUNK + 3)
    (piece,) = stored(folder, *EVER, source="back_porch")  # as in topics
    assert (piece.made.source, piece.made.identity) == ("Back Porch", IDENTITY)
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.name == ".lock", path


def test_no_more_is_on_disk_than_is_said(opened: Open, folder: Path) -> None:
    """45 MB and 225 MB a day, as the configuration says."""
    memory = opened()
    for source, width in (("kitchen", 192), ("porch", 1024)):
        add(memory, made(3 * MINUTE, width=width), source=source, hop=MINUTE)
    memory.stop()
    for source, day_mb in (("kitchen", 45), ("porch", 225)):
        (path,) = (folder / source).iterdir()
        assert (path.stat().st_size - HEADER) * 480 / 1e6 == pytest.approx(day_mb, rel=0.01)


def test_every_hour_has_its_file(opened: Open, folder: Path) -> None:
    memory = opened()
    at_ns = NOON + HOUR - 10 * POOL * FRAME_NS
    add(memory, made(20 * POOL), at_ns)
    memory.stop()
    names = sorted(path.name for path in (folder / "kitchen").iterdir())
    assert names == [f"20261121T{hour}Z-{IDENTITY[:16]}.heard" for hour in (12, 13)]
    assert on_disk(folder) == rows_of(20, at_ns)


@pytest.mark.parametrize(
    ("since", "until", "rows"), [(0, 1, 1), (1, POOL * FRAME_NS, 0), (1, 10**12, 29), (-5, 0, 0)]
)
def test_a_range_has_the_rows_that_begin_in_it(
    opened: Open, folder: Path, since: int, until: int, rows: int
) -> None:
    memory = opened()
    add(memory, made(30 * POOL))
    assert len(starts(memory, NOON + since, NOON + until)) == rows
    memory.stop()
    assert len(on_disk(folder, NOON + since, NOON + until)) == rows


def test_the_next_run_goes_on_in_the_same_file(opened: Open, folder: Path) -> None:
    first = opened()
    end_ns = add(first, made(30))
    first.stop()
    second = opened()
    add(second, made(30), end_ns + 10**9)
    second.stop()
    assert on_disk(folder) == rows_of(3) + rows_of(3, end_ns + 10**9)
    assert len(list((folder / "kitchen").iterdir())) == 1


def test_another_checkpoint_has_its_own_file(opened: Open, folder: Path) -> None:
    first = opened()
    add(first, made(30))
    first.stop()
    second = opened(identity=OTHER)
    add(second, made(30, width=8), NOON + 10**10)
    second.stop()
    assert sorted(piece.made.identity for piece in stored(folder, *EVER)) == [IDENTITY, OTHER]


@pytest.mark.parametrize("torn", [1, 40])
def test_a_torn_row_is_ignored_and_then_overwritten(
    opened: Open, folder: Path, torn: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As a crash leaves it, or a reader sees it that is faster than the writer."""
    first = opened()
    end_ns = add(first, made(50))
    first.stop()
    (path,) = (folder / "kitchen").iterdir()
    with path.open("ab") as file:
        file.write(b"\x07" * min(torn, row_type(WIDTH).itemsize - 1))
    assert on_disk(folder) == rows_of(5)
    second = opened()
    add(second, made(50), end_ns)
    second.stop()
    assert on_disk(folder) == rows_of(10)
    assert caplog.text == ""


@pytest.mark.parametrize("damage", ["garbage", "cut", "zeros"])
def test_a_damaged_file_is_told_left_out_and_set_aside(
    opened: Open, folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened()
    end_ns = add(first, made(50))
    add(first, made(50), source="porch")
    first.stop()
    (path,) = (folder / "kitchen").iterdir()
    content = path.read_bytes()
    path.write_bytes(
        {"garbage": b"x" * len(content), "cut": content[:100], "zeros": bytes(len(content))}[damage]
    )
    assert len(on_disk(folder)) == 5  # the porch's
    assert f"{path} is left out: it is damaged" in caplog.text
    second = opened()
    add(second, made(50), end_ns)
    second.stop()
    assert second.unavailable_reason is None
    assert on_disk(folder, source="kitchen") == rows_of(5, end_ns)
    assert len(list((folder / "kitchen").glob("*.damaged-*"))) == 1
    assert "set aside" in caplog.text


def test_damaged_rows_are_left_out(
    opened: Open, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = opened()
    add(memory, made(50))
    memory.stop()
    (path,) = (folder / "kitchen").iterdir()
    size = row_type(WIDTH).itemsize
    with path.open("r+b") as file:
        file.seek(HEADER + 2 * size)
        file.write(bytes(size))
    assert len(on_disk(folder)) == 4
    assert "1 damaged rows are left out" in caplog.text


def test_files_of_others_are_left_alone(opened: Open, folder: Path) -> None:
    (folder / "kitchen").mkdir(parents=True)
    strange = folder / "kitchen" / "20200101T00Z-mine.heard"
    strange.write_bytes(b"mine")
    memory = opened(max_gb=0.01)
    add(memory, made(50))
    memory.stop()
    assert strange.read_bytes() == b"mine"
    assert len(on_disk(folder)) == 5


def test_an_hour_that_no_clock_shows_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "kitchen").mkdir(parents=True)
    (folder / "kitchen" / f"20261199T99Z-{IDENTITY[:16]}.heard").write_bytes(b"")
    assert on_disk(folder) == []
    assert "is left out" in caplog.text


def test_old_hours_go(opened: Open, folder: Path) -> None:
    first = opened()
    add(first, made(50))
    add(first, made(50), NOON + DAY)
    add(first, made(50), source="attic")
    first.stop()
    second = opened(clock_ns=NOON + 3 * DAY + HOUR + 1, keep_days=3.0)
    second.stop()
    assert on_disk(folder) == rows_of(5, NOON + DAY)
    assert not (folder / "attic").exists()


def test_the_oldest_hours_go_when_there_are_too_many(opened: Open, folder: Path) -> None:
    memory = opened(clock_ns=NOON, max_gb=0.01)
    for hour in range(12):  # of 2.2 MB
        add(memory, made(13 * MINUTE, width=1024), NOON + hour * HOUR, hop=13 * MINUTE)
        assert written(memory)
    memory.stop()
    files = sorted((folder / "kitchen").iterdir())
    assert sum(file.stat().st_size for file in files) <= 10e6
    assert files[-1].name.startswith("20261121T23Z")
    assert 3 <= len(files) <= 4


def test_it_can_be_off(opened: Open, folder: Path) -> None:
    memory = opened(enabled=False)
    add(memory, made(2 * MINUTE))
    memory.stop()
    assert starts(memory) == []
    assert not folder.exists()
    assert SearchSettings() == SearchSettings(enabled=False, keep_days=7, max_gb=2)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert folder_of(SearchSettings()) == tmp_path / "heard"
    assert folder_of(SearchSettings(folder="/there")) == Path("/there")


def test_where_nothing_can_be_written_it_waits_until_it_works(
    opened: Open, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "RETRY_S", 0.01)
    caplog.set_level("INFO")
    folder.parent.write_text("a file where a folder should be")
    memory = opened()
    add(memory, made(2 * MINUTE))
    assert eventually(lambda: memory.unavailable_reason)
    assert starts(memory) == rows_of(2 * CHUNK)  # from memory
    folder.parent.unlink()
    assert written(memory)
    assert memory.unavailable_reason is None
    assert memory.lost == 0
    assert on_disk(folder) == rows_of(2 * CHUNK)
    assert "is not stored until it works" in caplog.text
    assert "is stored again" in caplog.text


def test_a_disk_that_refuses_leaves_the_folder_to_no_other_daemon(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "RETRY_S", 0.01)
    write = embedding_files._write
    full = threading.Event()
    full.set()

    def to_a_full_disk(file: Any, content: bytes) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        write(file, content)

    monkeypatch.setattr(embedding_files, "_write", to_a_full_disk)
    memory = opened()
    add(memory, made(2 * MINUTE))
    assert eventually(lambda: memory.unavailable_reason)
    assert hold(folder / ".lock") is None
    full.clear()
    assert written(memory)
    (folder / ".lock").unlink()  # who deletes it has it held again
    full.set()
    add(memory, made(2 * MINUTE))
    assert eventually(lambda: memory.unavailable_reason)
    assert hold(folder / ".lock") is None


def test_a_full_disk_is_told_and_what_was_cut_off_comes_again(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(write_queue, "RETRY_S", 0.01)
    full = [True]
    write = embedding_files._write

    def to_a_full_disk(file: Any, content: bytes) -> None:
        if full:
            full.pop()
            write(file, content[: len(content) // 2])  # a part of it, in the middle of a row
            raise OSError(28, "No space left on device")
        write(file, content)

    monkeypatch.setattr(embedding_files, "_write", to_a_full_disk)
    memory = opened()
    add(memory, made(MINUTE + 20))
    assert written(memory)
    memory.stop()
    assert "No space left on device; what is heard is not stored" in caplog.text
    assert memory.lost == 0
    assert sorted(set(on_disk(folder))) == rows_of(CHUNK + 2)  # some of it twice


def test_what_the_disk_refuses_to_the_end_is_lost_and_counted(
    opened: Open, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.write_text("a file where a folder should be")
    memory = opened()
    add(memory, made(2 * MINUTE + 1))
    memory.stop()
    assert memory.lost == 3
    assert "3 minutes of what was heard so far are lost: [Errno" in caplog.text


def test_nothing_waits_for_a_disk_that_stands_still(
    opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    going = threading.Event()
    keep = embedding_files.EmbeddingFiles.keep

    def stuck(store: Any, piece: Any) -> bool:
        going.wait(30)
        return keep(store, piece)

    monkeypatch.setattr(embedding_files.EmbeddingFiles, "keep", stuck)
    size = CHUNK * row_type(WIDTH).itemsize
    monkeypatch.setattr(write_queue, "MOST_BYTES", 3 * size)
    memory = opened()
    add(memory, made(5 * MINUTE))
    assert memory.lost == 2
    assert "writing falls behind" in caplog.text
    going.set()
    assert written(memory)
    assert starts(memory) == rows_of(3 * CHUNK)


def test_two_daemons_do_not_share_one(opened: Open, folder: Path) -> None:
    first = opened()
    add(first, made(MINUTE))
    assert written(first)
    second = opened()
    assert eventually(lambda: second.unavailable_reason)
    assert second.unavailable_reason == "another pe-stream uses it: set another search.folder"
    assert on_disk(folder) == rows_of(CHUNK)


def test_a_fault_of_ours_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException] = []
    memory = EmbeddingStore(
        SearchSettings(enabled=True, folder=str(folder)), on_failure=told.append
    )
    monkeypatch.setattr(embedding_files, "_header", lambda _: 1 / 0)
    memory.start(IDENTITY, "embedded")
    add(memory, made(MINUTE))
    assert eventually(lambda: told)
    assert isinstance(told[0], ZeroDivisionError)
    memory.stop()


def test_a_folder_that_cannot_be_read_is_told(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file")
    with pytest.raises(UnavailableError, match="cannot be read: Not a directory"):
        on_disk(folder)


def test_the_longest_names_fit_into_the_header(opened: Open, folder: Path) -> None:
    memory = EmbeddingStore(SearchSettings(enabled=True, folder=str(folder)))
    memory.start(IDENTITY, "\N{DOG FACE}" * 3000)
    add(memory, made(20), source="a" + "\N{DOG FACE}" * 99)
    memory.stop()
    assert len(on_disk(folder)) == 2


@pytest.mark.realtime
def test_the_daemon_keeps_it(tmp_path: Path, level: Path, broker: Mosquitto) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (120, 0.001)))
    heard = tmp_path / "heard"
    text = level_config(level, broker.port, wav, f"search: {{enabled: true, folder: {heard}}}")
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_for_log("kitchen: loud end")
        wait_until((heard / ".lock").exists, "the folder")
        daemon.send(signal.SIGTERM)
        daemon.exit_code()
    at = on_disk(heard, source="kitchen")
    assert len(at) >= 5
    assert np.diff(at).tolist() == [POOL * FRAME_NS] * (len(at) - 1)
    done = pe_stream("check", "-c", daemon.config)
    assert f"search: {heard} can be written" in done.stdout
