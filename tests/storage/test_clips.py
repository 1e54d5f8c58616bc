"""Clips on disk: by themselves, and of the real daemon."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mosquitto import Mosquitto, wait_until
from processes import Daemon, MosquittoSub, level_config, pe_stream
from sounds import noise, write_float_wav
from stand_ins import event
from timing import within

from pe_stream.audio.media import read
from pe_stream.config import ClipSettings
from pe_stream.config.local_time import now
from pe_stream.core.clipper import ClipOutcome, Piece
from pe_stream.core.types import Phase
from pe_stream.core.utc import utc_text
from pe_stream.storage import clips as clips_module
from pe_stream.storage.clips import Clips
from pe_stream.storage.events import EventStore

EVENTS = "pe_stream/test_node/kitchen/events"


def piece(fate: ClipOutcome = ClipOutcome.OPEN, seconds: float = 0.5, number: int = 1) -> Piece:
    return Piece(f"id-{number:04}", 0, noise((seconds, 0.1)), fate, onset=12_000)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is written when it has stopped, however slow the machine is."""
    monkeypatch.setattr(clips_module, "STOP_S", within(10))


def running(folder: Path, **settings: Any) -> Clips:
    clips = Clips(ClipSettings(enabled=True, folder=str(folder), **settings))
    clips.start()
    return clips


def files(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


def name(clip: str, form: str = "flac") -> str:
    return f"20261121T021549.320Z-{clip}.{form}"


def heard(path: Path) -> Any:
    return np.concatenate([chunk.samples for chunk in read(str(path))])


@pytest.mark.parametrize("form", ["flac", "opus"])
def test_a_clip_appears_once_it_is_complete(tmp_path: Path, form: Any) -> None:
    clips = running(tmp_path, format=form)
    start = clips.named(event(1))
    assert start.clip is not None
    assert clips.named(event(1, Phase.END)).clip == start.clip
    clips.take([piece()])
    wait_until(lambda: len(files(tmp_path)) == 1, "begun")
    assert not Path(start.clip).exists()
    clips.take([piece(ClipOutcome.KEPT)])
    clips.stop()
    assert Path(start.clip).suffix == f".{form}"
    assert len(heard(Path(start.clip))) == pytest.approx(48_000, abs=10)
    assert files(tmp_path) == [Path(start.clip).name]


def test_a_withheld_or_unfinished_clip_leaves_nothing(tmp_path: Path) -> None:
    clips = running(tmp_path)
    for number in (1, 2):
        clips.named(event(number))
        clips.take([piece(number=number)])
    wait_until(lambda: len(files(tmp_path)) == 2, "begun")
    clips.take([piece(ClipOutcome.WITHHELD)])
    clips.stop()
    assert files(tmp_path) == []


class Done:
    """Keeps what `on_done` is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Path | None]] = []

    def __call__(self, event_id: str, path: Path | None) -> None:
        assert path is None or path.exists()
        self.told.append((event_id, path))


def test_the_fate_of_every_clip_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Done()
    clips = Clips(ClipSettings(enabled=True, folder=str(tmp_path)), on_done=done)
    clips.start()
    named = {number: clips.named(event(number)) for number in range(1, 6)}
    clips.named(event(1, Phase.END))
    clips.take([piece(), piece(ClipOutcome.KEPT)])
    clips.take([piece(number=2), piece(ClipOutcome.WITHHELD, number=2)])
    wait_until(lambda: len(done.told) == 2, "kept and withheld")
    monkeypatch.setattr(clips_module, "AudioWriter", lambda *_: (tmp_path / "a" / "b").open())
    clips.take([piece(number=3), piece(ClipOutcome.KEPT, number=3)])
    wait_until(lambda: len(done.told) == 3, "lost to the disk")
    monkeypatch.undo()
    clips.take([piece(number=4)])
    clips.stop()
    assert done.told[:3] == [
        ("id-0001", Path(str(named[1].clip))),
        ("id-0002", None),
        ("id-0003", None),
    ]
    assert sorted(done.told[3:]) == [("id-0004", None), ("id-0005", None)], "what was not complete"


def test_the_fate_of_what_a_slow_disk_loses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips_module, "MOST_PIECES", 1)
    monkeypatch.setattr(clips_module, "STOP_S", 0.1)
    go_on, done = threading.Event(), Done()
    clips = Clips(ClipSettings(enabled=True, folder=str(tmp_path)), on_done=done)
    write = clips._write
    monkeypatch.setattr(clips, "_write", lambda each: (go_on.wait(10), write(each)))
    clips.start()
    for number in (1, 2):
        clips.named(event(number))
    clips.take([piece()])
    wait_until(clips._queue.empty, "it is being written")
    clips.take([piece(), piece(number=2), piece(ClipOutcome.KEPT, number=2)])
    clips.stop()  # the thread is stuck
    assert sorted(done.told) == [("id-0001", None), ("id-0002", None)]
    go_on.set()
    clips._worker.join(10)
    assert len(done.told) == 2


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "kitchen" / "dog"
    folder.mkdir(parents=True)
    (folder / f".{name('a')}.part").write_bytes(b"x")
    (folder / name("b")).write_bytes(b"x")
    (folder / f".{name('c')}.part").mkdir()  # cannot be unlinked
    clips = running(tmp_path)
    clips.stop()
    assert files(tmp_path) == [name("b")]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """Whatever folder somebody names."""
    album = tmp_path / "artist" / "album"
    album.mkdir(parents=True)
    for theirs in ("song.flac", ".hidden.part", ".song.flac.part"):
        (album / theirs).write_bytes(b"x" * 1000)
        os.utime(album / theirs, (0, 0))
    running(tmp_path, keep_days=1.0, max_gb=1e-9).stop()
    assert len(files(tmp_path)) == 3


def test_a_folder_belongs_to_one_daemon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = running(tmp_path)
    first.named(event(1))
    first.take([piece()])
    wait_until(lambda: len(files(tmp_path)) == 1, "begun")
    second = running(tmp_path)
    assert "another pe-stream writes clips" in caplog.text
    assert second.named(event(2)).clip is None
    first.take([piece(ClipOutcome.KEPT)])
    first.stop()
    assert first.lost == 0
    third = running(tmp_path)
    assert third.named(event(3)).clip is not None
    third.stop()


def test_a_fault_in_the_thread_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[BaseException] = []
    clips = Clips(ClipSettings(enabled=True, folder=str(tmp_path)), on_failure=failures.append)

    def bug(_: Piece) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(clips, "_write", bug)
    clips.start()
    clips.take([piece()])
    wait_until(lambda: len(failures) == 1, "told")
    clips.stop()


def test_without_them_nothing_is_named_or_written(tmp_path: Path) -> None:
    clips = Clips(ClipSettings(folder=str(tmp_path)))
    clips.start()
    assert clips.named(event(1)).clip is None
    clips.stop()
    assert files(tmp_path) == []
    only = Clips(ClipSettings(enabled=True, labels=("glass",), folder=str(tmp_path)))
    assert only.named(event(1)).clip is None


def test_an_address_is_told_instead_of_the_path(tmp_path: Path) -> None:
    clips = Clips(ClipSettings(enabled=True, folder=str(tmp_path), url="https://house/clips/"))
    told = clips.named(event(1)).clip
    path = Clips(ClipSettings(enabled=True, folder=str(tmp_path))).named(event(1)).clip
    assert path is not None
    assert told == f"https://house/clips/{Path(path).relative_to(tmp_path)}"


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    clips = Clips(ClipSettings(enabled=True, folder=str(tmp_path)))
    path = clips.named(event(1, source="../../etc", label="../x")).clip
    assert path is not None
    assert Path(os.path.normpath(path)).is_relative_to(tmp_path)


def test_the_old_and_the_too_many_are_deleted(tmp_path: Path) -> None:
    now_s = time.time()
    for label, clip, days in (
        ("dog", name("a"), 1.5),
        ("dog", name("b"), 2.5),
        ("cat", name("c"), 2.5),
        ("cat", name("d"), 4.5),
        ("cat", name("e", "opus"), 3.5),  # written under other settings
    ):
        path = tmp_path / "kitchen" / label / clip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
        os.utime(path, (now_s - days * 86_400,) * 2)
    running(tmp_path, keep_days=4.0, keep_days_of={"dog": 2.0}).stop()
    assert files(tmp_path) == [name("a"), name("c"), name("e", "opus")]
    running(tmp_path, keep_days=4.0, max_gb=2e-6).stop()
    assert files(tmp_path) == [name("a"), name("c")]


def test_too_many_are_deleted_as_they_come(tmp_path: Path) -> None:
    clips = running(tmp_path, max_gb=0.0002)  # 200 kB: one clip of 100,000 samples, not two
    for number in (1, 2, 3):
        clips.named(event(number))
        clips.take([piece(ClipOutcome.KEPT, seconds=2.0, number=number)])
        wait_until(lambda number=number: clips.kept == number, "written")  # type: ignore[misc]
    wait_until(lambda: len(files(tmp_path)) == 1, "the others are gone")
    assert files(tmp_path)[0].endswith("id-0003.flac")
    clips.stop()


def test_a_folder_that_cannot_be_written_costs_clips_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "blocked").write_text("a file")
    clips = running(tmp_path / "blocked" / "clips")
    assert "clips.folder" in caplog.text
    assert "cannot be written: Not a directory" in caplog.text
    assert clips.named(event(1)).clip is None
    clips.take([piece(ClipOutcome.KEPT)])
    clips.stop()


def test_a_clip_that_cannot_be_written_is_lost_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = running(tmp_path)
    (tmp_path / "porch").write_text("a file")
    clips.named(event(1, source="porch"))
    clips.take([piece(), piece(), piece(ClipOutcome.KEPT)])
    wait_until(lambda: clips.lost == 1, "lost")
    again = clips.named(event(2, source="kitchen"))
    clips.take([piece(ClipOutcome.KEPT, number=2)])
    clips.stop()
    assert again.clip is not None
    assert Path(again.clip).exists()
    assert caplog.text.count("a clip is lost") == 1


def test_clips_of_judged_events_and_no_picture_without_a_clip_are_kept(tmp_path: Path) -> None:
    old_s = time.time() - 40 * 86_400
    settings = ClipSettings(enabled=True, folder=str(tmp_path))
    clips = Clips(settings, judged=lambda: {"id-0001"})
    for number in (1, 2):
        path = clips._place("kitchen", "dog", "2026-11-21T02:15:49.320Z", f"id-{number:04}", "flac")
        path.parent.mkdir(parents=True, exist_ok=True)
        for made in (path, path.with_suffix(".png"), path.with_name(f".{path.stem}.png.part")):
            made.write_bytes(b"x")
            os.utime(made, (old_s, old_s))
    orphan = path.with_name("20261121T021549.320Z-gone.png")
    mine = path.with_name("my own.png")
    for made in (orphan, mine):
        made.write_bytes(b"x")
    clips.start()
    wait_until(lambda: not orphan.exists(), "tidied")
    clips.stop()
    left = sorted(p.name for p in path.parent.iterdir())
    kept = "20261121T021549.320Z-id-0001"
    assert left == [f"{kept}.flac", f"{kept}.png", "my own.png"]


def test_nothing_is_deleted_while_nobody_knows_what_was_judged(tmp_path: Path) -> None:
    known: list[frozenset[str] | None] = [None]
    old = tmp_path / "kitchen" / "dog" / "20261121T021549.320Z-id-0001.flac"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"clip")
    os.utime(old, (0, 0))
    clips = Clips(ClipSettings(enabled=True, folder=str(tmp_path)), judged=lambda: known[0])
    clips._tidy()
    assert old.exists()
    known[0] = frozenset({"id-0001"})
    clips._tidy()
    assert old.exists()
    known[0] = frozenset()
    clips._tidy()
    assert not old.exists()


def test_a_slow_disk_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips_module, "MOST_PIECES", 3)
    go_on = threading.Event()
    clips = Clips(ClipSettings(enabled=True, folder=str(tmp_path)))
    write = clips._write
    monkeypatch.setattr(clips, "_write", lambda each: (go_on.wait(10), write(each)))
    clips.start()
    began_s = time.monotonic()
    named = [clips.named(event(number)) for number in (1, 2)]
    clips.take([piece()] * 10)
    clips.take([piece(ClipOutcome.KEPT)])
    assert time.monotonic() - began_s < within(1)
    assert clips.lost == 1
    go_on.set()
    wait_until(clips._queue.empty, "written")
    clips.take(
        [piece(ClipOutcome.KEPT, number=3)]
    )  # of which nothing is known; the thread goes round
    wait_until(lambda: not clips._open and not clips._given_up, "nothing is held of what is lost")
    assert not clips._spoilt
    clips.take([piece(ClipOutcome.KEPT, number=2)])
    clips.stop()
    assert files(tmp_path) == [Path(str(named[1].clip)).name]


@pytest.mark.realtime
def test_a_clip_holds_the_sound_where_the_event_says(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    samples = noise((3.0, 0.001), (1.0, 0.2), (4.0, 0.001), (1.0, 0.2), (0.5, 0.001))
    sound = write_float_wav(tmp_path / "sound.wav", samples)
    text = level_config(
        level, broker.port, sound, f"clips: {{enabled: true, folder: {tmp_path}/clips}}"
    )
    with MosquittoSub(broker.port) as house, Daemon(tmp_path, text) as daemon:
        assert daemon.exit_code() == 0
        house.wait_for("pe_stream/test_node/status", "offline")
    told = house.events(EVENTS)
    starts = [each for each in told if each["phase"] == "start"]
    ends = [each for each in told if each["phase"] == "end"]
    assert [each["clip"] for each in starts] == [each["clip"] for each in ends]
    for start, end, burst_s in zip(starts, ends, (3.0, 8.0), strict=True):
        path = Path(start["clip"])
        clip = heard(path)
        loud = np.flatnonzero(np.abs(clip) > 0.05) / 48_000
        assert loud[0] == pytest.approx(2.0 + burst_s - start["onset_s"], abs=0.001)
        assert loud[0] == pytest.approx(2.0, abs=0.0401)  # a frame
        assert loud[-1] - loud[0] == pytest.approx(1.0, abs=0.001)
        after_s = min(2.0, 9.5 - end["offset_s"])
        assert len(clip) / 48_000 == pytest.approx(2.0 + end["duration_s"] + after_s, abs=0.01)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(files(tmp_path / "clips")) == 2


@pytest.mark.realtime
def test_no_audio_is_written_unless_it_is_asked_for(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (1, 0.001)))
    with (
        MosquittoSub(broker.port) as house,
        Daemon(tmp_path, level_config(level, broker.port, sound)) as daemon,
    ):
        assert daemon.exit_code() == 0
        house.wait_for("pe_stream/test_node/status", "offline")
    assert {each["clip"] for each in house.events(EVENTS)} == {None}
    assert not list(tmp_path.rglob("*.flac*"))


@pytest.mark.realtime
def test_a_killed_daemon_leaves_no_half_a_clip(
    tmp_path: Path, level: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (60, 0.2)))
    text = level_config(
        level, broker.port, sound, f"clips: {{enabled: true, folder: {tmp_path}/clips}}"
    )
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_for_log("loud start")
        wait_until(lambda: len(files(tmp_path / "clips")) == 1, "it is being written")
        daemon.send(signal.SIGKILL)
        daemon.exit_code()
    # One that had ended, whose clip was still to be written.
    ended = tmp_path / "clips" / "kitchen" / "loud" / "20261121T021549.320Z-id-0001.flac"
    store = EventStore(tmp_path / "state" / "pe-stream" / "events.db", keep_days=30, limit=5)
    store.record(replace(event(1, Phase.END), onset=utc_text(now()), clip=str(ended)), [])
    store.close()
    with MosquittoSub(broker.port) as house, Daemon(tmp_path, text) as daemon:
        house.wait_for(EVENTS, '"restart"')
        daemon.wait_for_log("loud start")
        daemon.send(signal.SIGTERM)
        daemon.exit_code()
    closed = [each for each in house.events(EVENTS) if each["reason"] == "restart"]
    assert closed[0]["clip"] is None
    listed = pe_stream("events", "-c", daemon.config).stdout.splitlines()
    told = {each["id"]: each["clip"] for each in map(json.loads, listed)}
    assert told["id-0001"] is None
    assert [clip for clip in told.values() if clip and not Path(clip).is_file()] == []
    assert sum(clip is not None for clip in told.values()) == 1
    (kept,) = files(tmp_path / "clips")  # the second run's, which ended in good order
    assert kept.endswith(".flac")
    assert not kept.startswith(".")


def test_a_folder_that_clips_were_written_to_is_known_from_one_that_is_not_mounted(
    tmp_path: Path,
) -> None:
    clips = running(tmp_path)
    assert not clips.used
    told = clips.named(event(1)).to_dict()
    assert not clips.has(told)
    clips.take([piece(ClipOutcome.KEPT)])
    clips.stop()
    assert clips.used
    assert clips.has(told)
    assert clips.has(told | {"clip": "https://house/clips/x.flac"})  # by its name
    assert not clips.has(told | {"id": "id-0002", "clip": "https://house/clips/x.flac"})
    elsewhere = tmp_path / "elsewhere.flac"
    elsewhere.touch()
    assert clips.has(told | {"id": "id-0002", "clip": str(elsewhere)})
