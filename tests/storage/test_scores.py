"""Scores kept: what was added comes back, from memory and disk, whatever happens to either."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mosquitto import Mosquitto, wait_until
from numpy.typing import NDArray
from processes import Daemon, level_config, pe_stream
from sounds import noise, write_float_wav
from stand_ins import eventually

from pe_stream.config import HistorySettings
from pe_stream.core.replay import replay
from pe_stream.core.scorecode import ERROR
from pe_stream.core.types import FRAME_NS, FrameScores, LabelRule, ScoreRun
from pe_stream.errors import UnavailableError
from pe_stream.storage import scores_db, write_queue
from pe_stream.storage.database import reading
from pe_stream.storage.event_queries import EventFilter, EventQueries
from pe_stream.storage.scores import ScoreStore, path_of, read_runs
from pe_stream.storage.scores_db import CHUNK, ScoresDb

NOON = 1_795_262_400 * 10**9
"""UTC (ns) of the first frame here."""

EVER = (0, 2**62)
DAY = 86_400 * 10**9
NAMES = ("dog", "cat")
KEYS = {"dog": "d1", "cat": "c1"}


def made(frames: int, seed: int = 0) -> FrameScores:
    """Scores of `dog` and `cat`."""
    rng = np.random.default_rng(seed)
    scores: FrameScores = rng.uniform(0, 1, (frames, 2)).astype(np.float32)
    return scores


def near(run: ScoreRun, scores: NDArray[np.float32]) -> bool:
    return run.scores.shape == scores.shape and bool(np.abs(run.scores - scores).max() <= ERROR)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "scores.db"


Open = Callable[..., ScoreStore]


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Starts histories, and stops them in the end; a failure of theirs fails the test."""
    errors: list[BaseException] = []
    with contextlib.ExitStack() as stack:

        def open_(*, clock_ns: int = NOON, **keys: Any) -> ScoreStore:
            history = ScoreStore(
                HistorySettings(path=str(path), **keys),
                clock=lambda: clock_ns / 1e9,
                on_failure=errors.append,
            )
            history.relabel(KEYS)
            history.start()
            stack.callback(history.stop)
            return history

        yield open_
    assert errors == []


def add(
    history: ScoreStore,
    scores: FrameScores,
    at_ns: int = NOON,
    *,
    hop: int = 12,
    source: str = "kitchen",
    names: Sequence[str] = NAMES,
) -> int:
    """Add them hop by hop; returns where they end (ns)."""
    for first in range(0, len(scores), hop):
        part = scores[first : first + hop]
        history.add(source, names, set(names), at_ns + first * FRAME_NS, part)
    return at_ns + len(scores) * FRAME_NS


def written(history: ScoreStore) -> bool:
    return eventually(lambda: not history._queue.waiting)


def test_scores_come_back_from_memory_at_once(opened: Open) -> None:
    history = opened()
    scores = made(100)
    add(history, scores)
    (run,) = history.runs("kitchen", "cat", *EVER)
    assert run.start_ns == NOON
    assert (run.scores == scores[:, 1]).all()  # not even rounded yet
    assert history.runs("porch", "cat", *EVER) == []
    assert history.runs("kitchen", "cow", *EVER) == []


@pytest.mark.parametrize("hop", [1, 7, 12, 250, 1500, 3700])
def test_scores_come_back_from_memory_and_disk_as_one(opened: Open, hop: int) -> None:
    history = opened()
    scores = made(2 * CHUNK + 700)
    end_ns = add(history, scores, hop=hop)
    (run,) = history.runs("kitchen", "dog", *EVER)
    assert written(history)
    (again,) = history.runs("kitchen", "dog", *EVER)
    for found in (run, again):
        assert (found.start_ns, found.end_ns) == (NOON, end_ns)
        assert near(found, scores[:, 0])


def test_a_stop_writes_everything_and_others_can_read_it(opened: Open, path: Path) -> None:
    history = opened()
    scores = made(CHUNK + 20)
    add(history, scores)
    add(history, made(10), source="Back Porch")
    history.stop()
    (run,) = read_runs(path, "kitchen", "dog", *EVER)
    assert run.start_ns == NOON
    assert near(run, scores[:, 0])
    assert len(read_runs(path, "back_porch", "DOG", *EVER)) == 1  # as in topics
    assert path.stat().st_mode & 0o077 == 0


def test_it_is_read_beside_the_daemon(opened: Open, path: Path) -> None:
    history = opened()
    add(history, made(CHUNK + 5))
    assert written(history)
    (run,) = read_runs(path, "kitchen", "cat", *EVER)
    assert len(run.scores) == CHUNK


def test_the_next_run_goes_on(opened: Open) -> None:
    first = opened()
    end_ns = add(first, made(30))
    first.stop()
    second = opened()
    add(second, made(30), end_ns + 10**9)
    second.stop()
    assert [len(run.scores) for run in opened().runs("kitchen", "dog", *EVER)] == [30, 30]


@pytest.mark.parametrize(
    ("off_ns", "runs"),
    [(0, 1), (80_000_000, 1), (-80_000_000, 1), (100_000_001, 2), (-100_000_001, 2), (10**12, 2)],
)
def test_a_tenth_of_a_second_is_no_break(opened: Open, off_ns: int, runs: int) -> None:
    """So far may a hop end from where the next begins, if the source's clock is fast or slow."""
    history = opened()
    add(history, made(30), add(history, made(30)) + off_ns)
    assert len(history.runs("kitchen", "dog", *EVER)) == runs
    history.stop()
    assert len(opened().runs("kitchen", "dog", *EVER)) == runs


@pytest.mark.parametrize("part", [0.001, -0.001, 0.03, -0.03])
def test_a_clock_that_is_fast_or_slow_parts_runs_before_they_go_astray(
    opened: Open, part: float
) -> None:
    """A second at a time: frames have their times to half a second, and no frame is left out."""
    history = opened()
    starts = [NOON + round(second * 1e9 * (1 + part)) for second in range(120)]
    for start_ns in starts:
        add(history, made(25), start_ns)
    runs = history.runs("kitchen", "dog", *EVER)
    assert sum(len(run.scores) for run in runs) == 120 * 25
    assert len(runs) <= 1 + 120 * abs(part) / 0.4
    frame = 0
    for run in runs:
        for number in range(0, len(run.scores), 25):
            said_ns = run.start_ns + number * FRAME_NS
            assert abs(said_ns - starts[frame // 25]) < 600_000_000
            frame += 25
    history.stop()
    rows = opened().runs("kitchen", "dog", *EVER)
    assert [len(run.scores) for run in rows] == [len(run.scores) for run in runs]


@hypothesis_settings(max_examples=40, deadline=None)
@given(since=st.integers(-3 * FRAME_NS, 110 * FRAME_NS), length=st.integers(-5, 120 * FRAME_NS))
def test_a_range_has_the_frames_that_begin_in_it(since: int, length: int) -> None:
    history = ScoreStore(HistorySettings())
    history.relabel(KEYS)
    scores = made(100)
    add(history, scores[:60])
    add(history, scores[60:], NOON + 70 * FRAME_NS)
    starts = [NOON + frame * FRAME_NS for frame in (*range(60), *range(70, 110))]
    since_ns, until_ns = NOON + since, NOON + since + length
    wanted = {
        at: score
        for at, score in zip(starts, scores[:, 0], strict=True)
        if since_ns <= at < until_ns
    }
    runs = history.runs("kitchen", "dog", since_ns, until_ns)
    found = {
        run.start_ns + frame * FRAME_NS: score
        for run in runs
        for frame, score in enumerate(run.scores)
    }
    assert found == wanted
    assert all(len(run.scores) for run in runs)


def test_a_range_is_cut_from_what_is_on_disk(opened: Open) -> None:
    history = opened()
    scores = made(3 * CHUNK)
    add(history, scores)
    history.stop()
    since_ns, until_ns = NOON + 1000 * FRAME_NS - 1, NOON + 3200 * FRAME_NS
    (run,) = opened().runs("kitchen", "dog", since_ns, until_ns)
    assert run.start_ns == NOON + 1000 * FRAME_NS
    assert near(run, scores[1000:3200, 0])


def test_only_what_is_wanted_is_kept(opened: Open) -> None:
    history = opened()
    history.add("kitchen", NAMES, {"cat", "gone"}, NOON, made(5))
    history.add("porch", NAMES, (), NOON, made(5))
    history.add("porch", ("cow",), {"cow"}, NOON, made(5)[:, :1])  # nobody said what makes it
    assert history.runs("kitchen", "dog", *EVER) == []
    assert len(history.runs("kitchen", "cat", *EVER)) == 1
    assert history.runs("porch", "cow", *EVER) == []


def test_scores_of_other_prompts_are_never_mixed_in(opened: Open, path: Path) -> None:
    history = opened()
    before, after = made(CHUNK + 50, 1), made(50, 2)
    end_ns = add(history, before)
    history.relabel(KEYS | {"dog": "d2"})
    assert history.runs("kitchen", "dog", *EVER) == []
    add(history, after, end_ns)
    (dog,) = history.runs("kitchen", "dog", *EVER)
    (cat,) = history.runs("kitchen", "cat", *EVER)
    assert dog.start_ns == end_ns
    assert (dog.scores == after[:, 0]).all()
    assert near(cat, np.concatenate([before, after])[:, 1])
    history.stop()
    assert [len(run.scores) for run in read_runs(path, "kitchen", "dog", *EVER)] == [50]
    (old,) = read_runs(path, "kitchen", "dog", *EVER, key="d1")
    assert near(old, before[:, 0])
    assert read_runs(path, "kitchen", "dog", *EVER, key="d3") == []
    # Back again: what the first prompts made is today's.
    back = opened()
    assert near(back.runs("kitchen", "dog", *EVER)[0], before[:, 0])


def test_other_labels_begin_another_chunk(opened: Open) -> None:
    history = opened()
    end_ns = add(history, made(20, 1))
    add(history, made(20, 2)[:, ::-1], end_ns, names=("cat", "dog"))
    (dog,) = history.runs("kitchen", "dog", *EVER)
    assert near(dog, np.concatenate([made(20, 1), made(20, 2)])[:, 0])


def test_it_can_be_off(path: Path) -> None:
    history = ScoreStore(HistorySettings(enabled=False, path=str(path)))
    history.relabel(KEYS)
    history.start()
    add(history, made(CHUNK))
    assert history.runs("kitchen", "dog", *EVER) == []
    history.stop()
    assert not path.parent.exists()
    assert (history.unavailable_reason, history.lost) == (None, 0)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert path_of(HistorySettings()) == tmp_path / "scores.db"
    assert path_of(HistorySettings(path="/x/y.db")) == Path("/x/y.db")


def test_no_database_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no scores are stored there"):
        read_runs(tmp_path / "nothing.db", "kitchen", "dog", *EVER)
    (tmp_path / "other.db").write_bytes(b"no database at all, but long enough to be looked at")
    with pytest.raises(UnavailableError, match="not a database"):
        read_runs(tmp_path / "other.db", "kitchen", "dog", *EVER)


# What is forgotten.


def test_old_scores_go(opened: Open, path: Path) -> None:
    first = opened()
    end_ns = add(first, made(CHUNK))
    history_keys = {"dog": "d2", "cat": "c1"}
    first.relabel(history_keys)
    add(first, made(CHUNK), end_ns)
    first.stop()
    later = opened(keep_days=2, clock_ns=end_ns + 2 * DAY)
    (cat,) = later.runs("kitchen", "cat", *EVER)
    assert cat.start_ns == end_ns
    later.stop()
    with contextlib.closing(sqlite3.connect(path)) as database:
        tracks = database.execute("SELECT label, key FROM tracks").fetchall()
    assert sorted(tracks) == [("cat", "c1"), ("dog", "d2")]


def test_the_oldest_go_when_there_are_too_many(opened: Open, path: Path) -> None:
    """Of each minute 5 kB: ten megabytes are reached, kept to, and hold the newest."""
    history = opened(max_gb=0.01)
    minutes(history, 3000)
    (run,) = history.runs("kitchen", "dog", *EVER)
    assert run.end_ns == NOON + 3000 * 60 * 10**9
    assert 1500 * CHUNK < len(run.scores) < 2500 * CHUNK
    assert history.lost == 0
    history.stop()
    assert 0.95e7 < path.stat().st_size < 1.02e7


def minutes(history: ScoreStore, count: int) -> None:
    """Noise, which packs badly."""
    noise = made(CHUNK)
    for minute in range(count):
        history.add("kitchen", NAMES, NAMES, NOON + minute * 60 * 10**9, noise)
        if minute % 50 == 0:
            assert written(history)
    assert written(history)


def test_a_lower_limit_cuts_the_file(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores_db, "_ROWS", 500)
    monkeypatch.setattr(scores_db, "_PAGES", 100)
    first = opened()
    minutes(first, 6000)
    first.stop()
    before = path.stat().st_size
    assert before > 2e7
    second = opened(max_gb=0.01)
    add(second, made(CHUNK), NOON + DAY * 7)
    assert written(second)
    second.stop()
    assert path.stat().st_size < 1.25e7
    assert opened().runs("kitchen", "dog", *EVER)[-1].start_ns == NOON + DAY * 7


def test_a_file_that_cannot_be_cut_is_left_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by something else: it must not be tried for ever."""
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE other (x)")
        database.executemany("INSERT INTO other VALUES (?)", [("x" * 3000,)] * 500)
        database.execute("DELETE FROM other")
        database.commit()
    monkeypatch.setattr(scores_db, "_PAGES", 10)
    store = ScoresDb(path, keep_days=1, max_gb=1)
    assert store.unavailable_reason is None
    store.forget()
    store.close()


# What may happen to the file, and to the process.


def test_nothing_waits_for_a_disk_that_stands_still(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held, writing = threading.Event(), threading.Event()
    keep = ScoresDb.keep

    def stuck(self: ScoresDb, rows: Any) -> bool:
        writing.set()
        assert held.wait(30)
        return keep(self, rows)

    monkeypatch.setattr(ScoresDb, "keep", stuck)
    monkeypatch.setattr(write_queue, "MOST_BYTES", 5 * CHUNK * 2 * 4)
    history = opened()
    scores = made(8 * CHUNK)
    end_ns = add(history, scores)
    assert writing.wait(30)
    assert history.lost == 3  # the newest: five wait
    assert "3 chunks of scores so far" not in caplog.text  # said at the first
    assert "1 chunks of scores so far are lost: writing falls behind" in caplog.text
    (run,) = history.runs("kitchen", "dog", *EVER)
    assert len(run.scores) == 5 * CHUNK
    held.set()
    assert written(history)
    add(history, made(CHUNK), end_ns)
    assert written(history)
    assert [len(r.scores) for r in history.runs("kitchen", "dog", *EVER)] == [5 * CHUNK, CHUNK]
    assert history.lost == 3


def test_a_stop_does_not_wait_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = threading.Event()
    monkeypatch.setattr(write_queue, "STOP_S", 0.1)
    monkeypatch.setattr(ScoresDb, "keep", lambda self, rows: held.wait(30))
    history = ScoreStore(HistorySettings(path=str(path)))
    history.relabel(KEYS)
    history.start()
    add(history, made(20))
    history.stop()
    assert "1 chunks of scores could not be written in time" in caplog.text
    held.set()
    assert history._queue._worker is not None
    history._queue._worker.join(10)
    assert history._queue._disk is not None
    history._queue._disk.close()


def test_where_nothing_can_be_written_scores_wait_until_it_works(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scores_db, "RETRY_S", 0.0)
    monkeypatch.setattr(write_queue, "RETRY_S", 0.01)
    caplog.set_level("INFO")
    path.parent.write_text("a file where a folder should be")
    history = opened()
    assert history.unavailable_reason is not None
    scores = made(2 * CHUNK)
    add(history, scores)
    (run,) = history.runs("kitchen", "dog", *EVER)
    assert (run.scores == scores[:, 0]).all()
    path.parent.unlink()
    assert written(history)
    assert history.unavailable_reason is None
    assert caplog.text.count("scores are only in memory until it works") == 1
    assert "scores are stored again" in caplog.text
    assert near(history.runs("kitchen", "dog", *EVER)[0], scores[:, 0])
    assert history.lost == 0


def test_what_the_disk_refuses_to_the_end_is_lost_and_counted(
    path: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.write_text("a file where a folder should be")
    history = opened()
    add(history, made(2 * CHUNK + 1))
    history.stop()
    assert history.lost == 3
    assert "3 chunks of scores so far are lost: [Errno" in caplog.text


def test_a_full_disk_loses_nothing_that_was_stored(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores_db, "RETRY_S", 0.0)
    monkeypatch.setattr(write_queue, "RETRY_S", 0.01)
    history = opened()
    scores = made(20 * CHUNK)
    end_ns = add(history, scores[:CHUNK])
    assert written(history)
    store = history._queue._disk
    assert isinstance(store, ScoresDb)
    with store._lock:
        assert store._database is not None
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages}")  # the disk is full now
    add(history, scores[CHUNK:], end_ns)
    assert written(history)  # with the next connection, space came back
    (run,) = read_runs(path, "kitchen", "dog", *EVER)
    assert near(run, scores[:, 0])


@pytest.mark.parametrize("damage", ["garbage", "cut in the middle"])
def test_a_damaged_database_is_set_aside(
    damage: str, opened: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened()
    add(first, made(30 * CHUNK))
    first.stop()
    content = path.read_bytes()
    half = b"x" * len(content) if damage == "garbage" else content[: len(content) // 2 + 100]
    path.write_bytes(half)
    after = opened()
    add(after, made(40 * CHUNK), NOON + DAY)
    assert eventually(lambda: not after._queue.waiting, 30)
    assert after.unavailable_reason is None
    [aside] = path.parent.glob("scores.db.damaged-*")
    assert aside.read_bytes() == half
    assert "set aside" in caplog.text
    assert after.runs("kitchen", "dog", *EVER)[-1].end_ns == NOON + DAY + 40 * CHUNK * FRAME_NS


def test_a_damaged_minute_is_left_out_and_said(
    opened: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = opened()
    add(history, made(3 * CHUNK))
    assert written(history)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(
            "UPDATE chunks SET scores = substr(scores, 1, 100) WHERE start_ns = ?",
            (NOON + CHUNK * FRAME_NS,),
        )
        database.commit()
    runs = history.runs("kitchen", "dog", *EVER)
    assert [len(run.scores) for run in runs] == [CHUNK, CHUNK]
    assert "a minute of dog at kitchen: scores that are damaged" in caplog.text


def test_two_daemons_do_not_share_one(opened: Open) -> None:
    first, second = opened(), opened()
    assert second.unavailable_reason == "another pe-stream uses it: set another history.path"
    add(first, made(CHUNK))
    assert written(first)
    assert second.runs("kitchen", "dog", *EVER) == []  # they are not its own


def test_a_fault_of_ours_is_told(path: Path) -> None:
    told: list[BaseException] = []
    history = ScoreStore(HistorySettings(path=str(path)), on_failure=told.append)
    history.relabel(KEYS)
    history.start()
    add(history, made(CHUNK) + 1)  # no scores
    assert eventually(lambda: told)
    assert isinstance(told[0], ValueError)
    history.stop()


def test_reading_while_writing_finds_every_frame_once(opened: Open) -> None:
    history = opened()
    scores = made(60 * CHUNK)
    done = threading.Event()

    def write() -> None:
        add(history, scores, hop=125)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    rounds = 0
    while not done.is_set() or not rounds:
        runs = history.runs("kitchen", "dog", *EVER)
        rounds += 1
        assert len(runs) <= 1
        if runs:
            assert near(runs[0], scores[: len(runs[0].scores), 0])
    writer.join()
    (run,) = history.runs("kitchen", "dog", *EVER)
    assert near(run, scores[:, 0])


KILLED = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
from storage.test_scores import CHUNK, EVER, NOON, HistorySettings, ScoreStore, KEYS
from storage.test_scores import add, made, written
history = ScoreStore(HistorySettings(path=sys.argv[1], keep_days=30000), clock=lambda: NOON / 1e9)
history.relabel(KEYS)
history.start()
at_ns = int(sys.argv[2])
while True:
    at_ns = add(history, made(CHUNK), at_ns)
    if written(history):
        print(at_ns, flush=True)
"""


@pytest.mark.heavy
def test_a_kill_costs_only_what_was_in_memory(opened: Open, path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parents[1]))
    at_ns = NOON
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(at_ns)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(15)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines(keepends=True)
        at_ns = int([line for line in lines if line.endswith("\n")][-1])
        history = opened()
        assert history.unavailable_reason is None
        (run,) = history.runs("kitchen", "dog", 0, at_ns)
        assert (run.start_ns, run.end_ns) == (NOON, at_ns)
        history.stop()
    assert list(path.parent.glob("*damaged*")) == []


# In the daemon.


@pytest.mark.realtime
def test_the_daemon_keeps_what_detect_finds(tmp_path: Path, level: Path, broker: Mosquitto) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((1.0, 0.001), (1.03, 0.2), (2.0, 0.02)))
    labels = "labels: {loud: {min_on_s: 0.12}, idle: {enabled: false}, away: {sources: [porch]}}"
    quiet = write_float_wav(tmp_path / "quiet.wav", noise((1.0, 0.001)))
    text = level_config(level, broker.port, f"{{url: {wav}}}\n  porch: {{url: {quiet}}}", labels)
    with Daemon(tmp_path, text) as daemon:
        assert daemon.exit_code() == 0
        daemon.wait_for_log("kitchen: loud end")
    path = tmp_path / "state" / "pe-stream" / "scores.db"
    (run,) = read_runs(path, "kitchen", "loud", *EVER)
    assert pe_stream("detect", "-c", daemon.config, "--scores", tmp_path, wav).returncode == 0
    with np.load(tmp_path / "sound.npz") as found:
        expected = found["scores"][:, 0]
    assert run.scores.shape == expected.shape
    assert np.abs(run.scores - expected).max() <= ERROR + 1e-6
    assert run.scores.max() > 0.9
    assert run.scores.min() < 0.1
    timeline = EventQueries(tmp_path / "state" / "pe-stream" / "events.db")
    (event,) = (entry.event for entry in timeline.events(EventFilter()))
    onset_ns = datetime.fromisoformat(event["onset"]).timestamp() * 1e9
    assert run.start_ns == pytest.approx(onset_ns - event["onset_s"] * 1e9, abs=2e6)
    (replayed,) = replay([run], LabelRule("loud", 0.5, 0.4, min_on=3, min_off=10))
    assert replayed.onset_ns == pytest.approx(onset_ns, abs=2e6)
    (idle,) = read_runs(path, "kitchen", "idle", *EVER)
    assert len(idle.scores) == len(run.scores)  # what it would have heard is known
    assert read_runs(path, "kitchen", "away", *EVER) == []
    assert len(read_runs(path, "porch", "away", *EVER)) == 1


@pytest.mark.realtime
def test_a_reload_keeps_scores_of_other_prompts_apart(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    wav = write_float_wav(tmp_path / "sound.wav", noise((0.5, 0.001), (90.0, 0.2)))
    labels = "labels: {loud: {min_on_s: 0.12}, same: }"
    text = level_config(level, broker.port, wav, labels)
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_for_log("loud start")
        path = tmp_path / "state" / "pe-stream" / "scores.db"
        daemon.config.write_text(text.replace("min_on_s: 0.12", "prompts: a bang"), "utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("reloaded: 2 labels")
        assert eventually(lambda: len(keys_of(path, "loud")) == 1)
        heard = daemon.log.count("loud update")
        wait_until(lambda: daemon.log.count("loud update") > heard, "scores of the other prompt")
        daemon.config.write_text(text, "utf-8")
        daemon.send(signal.SIGHUP)
        assert eventually(lambda: len(keys_of(path, "loud")) == 2)
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    first, second = (
        read_runs(path, "kitchen", "loud", *EVER, key=key) for key in keys_of(path, "loud")
    )
    assert len(first) == 2 or len(second) == 2  # before and after
    parts = sorted([*first, *second], key=lambda run: run.start_ns)
    (same,) = read_runs(path, "kitchen", "same", *EVER)
    assert sum(len(run.scores) for run in parts) == len(same.scores)  # and nothing is lost
    assert len(keys_of(path, "same")) == 1


def keys_of(path: Path, label: str) -> list[str]:
    """What made the scores stored of a label."""
    try:
        with reading(path, "scores") as database:
            rows = database.execute("SELECT key FROM tracks WHERE label = ?", (label,))
            return [key for (key,) in rows]
    except UnavailableError:  # not yet
        return []
