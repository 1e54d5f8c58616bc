"""Pictures that come with the sound: where they lie, and that no fault of theirs touches it."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from audio.camera_films import CameraFilm, shown_s
from audio.stream_servers import http_file
from timing import within

from pe_stream.audio import camera_pictures, limits, network, picture_thread
from pe_stream.audio.camera_pictures import CameraPictures
from pe_stream.audio.network import NetworkStream
from pe_stream.audio.numbering import Numbering
from pe_stream.audio.picture_decoder import NO_KEY, PictureDecoder
from pe_stream.audio.still import MOST_KEPT_PIXELS, encode_rgb, from_jpeg
from pe_stream.config import PictureSettings
from pe_stream.config.worker import Worker
from pe_stream.core import stream_clock
from pe_stream.core.picture_ring import FROZEN_S, PictureStatus
from pe_stream.core.types import AudioChunk, Samples
from pe_stream.errors import UnavailableError

EVER = 1 << 60
S = 48_000


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film that comes at once ends before its pictures are decoded, and none of them is late."""
    monkeypatch.setattr(camera_pictures, "_FINISH_S", within(20))
    monkeypatch.setattr(picture_thread, "PICTURE_BEHIND_S", 3600.0)
    monkeypatch.setattr(picture_thread, "_MOST_TAKEN", 1000)


@contextlib.contextmanager
def coming_at_once() -> Iterator[None]:
    """What is received meanwhile has come at one time, however long that takes a busy machine."""
    at_s, utc_ns = time.monotonic(), time.time_ns()
    stopped = SimpleNamespace(
        monotonic=lambda: at_s, time_ns=lambda: utc_ns, thread_time=time.thread_time
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "time", stopped)
        patch.setattr(stream_clock, "QUIET_S", 3600.0)
        yield


def receive(
    data: bytes,
    pictures: CameraPictures | None = None,
    first_sample: int = 0,
    lasts_s: float = 0.0,
) -> list[AudioChunk]:
    """What is heard of a stream until it ends; it comes at once, and its own clock is the time.

    lasts_s: or it comes live.
    """
    chunks: list[AudioChunk] = []
    arriving = contextlib.nullcontext() if lasts_s else coming_at_once()
    with http_file(data, live=True, lasts_s=lasts_s) as url, arriving:
        stream = NetworkStream(
            url, pictures=pictures, first_sample=first_sample, timeout_s=within(10)
        )
        with pytest.raises(UnavailableError, match="the stream ended"):
            chunks.extend(stream)
    return chunks


def sound(chunks: list[AudioChunk]) -> Samples:
    return np.concatenate([each.samples for each in chunks])


def seen(pictures: CameraPictures) -> list[tuple[float, float]]:
    """When pictures were made (s), by the samples, and by what they show."""
    return [
        (each.sample / S, shown_s(from_jpeg(each.jpeg))) for each in pictures.between(-EVER, EVER)
    ]


def seen_of(film: CameraFilm, path: Path, **settings: Any) -> list[tuple[float, float]]:
    """Of a film, whose sound is the same with its pictures as without, and the loud second where
    it is."""
    data = film.save(path)
    pictures = CameraPictures(PictureSettings(**settings))
    heard = sound(receive(data, pictures))
    assert np.array_equal(heard, sound(receive(data)))
    assert len(heard) >= film.seconds * S
    loud_s = np.flatnonzero(np.abs(heard) > 0.1)[0] / S
    assert loud_s == pytest.approx(film.loud, abs=0.05)
    return seen(pictures)


def assert_in_time(found: list[tuple[float, float]], within_s: float = 0.06) -> None:
    assert [at_s for at_s, _ in found] == pytest.approx([at_s for _, at_s in found], abs=within_s)


def ended(status: PictureStatus) -> bool:
    return status.reason == "there is no connection"


@pytest.mark.parametrize(
    ("codec", "size"), [("libx264", (480, 64)), ("libx265", (480, 64)), ("mpeg2video", (480, 270))]
)
def test_pictures_lie_where_their_sound_does(
    codec: str, size: tuple[int, int], tmp_path: Path
) -> None:
    found = seen_of(CameraFilm(codec=codec, size=size), tmp_path / "a.ts", fps=2.0)
    assert_in_time(found)
    assert [at_s for _, at_s in found][:23] == pytest.approx(np.arange(23) / 2, abs=0.06)


def test_on_another_connection_they_lie_further_on(tmp_path: Path) -> None:
    film = CameraFilm(seconds=3.0, loud=1.0)
    pictures = CameraPictures(PictureSettings())
    data = film.save(tmp_path / "a.ts")
    receive(data, pictures)
    receive(data, pictures, first_sample=10 * S)
    found = seen(pictures)
    assert [at_s for at_s, _ in found[6:]] == pytest.approx(10 + np.arange(6) / 2, abs=0.06)
    assert len(found) == 12
    assert ended(pictures.status)
    assert pictures.status.kept == 12


def test_so_many_seconds_and_so_many_a_second_are_kept(tmp_path: Path) -> None:
    found = seen_of(CameraFilm(seconds=14.0), tmp_path / "a.ts", fps=5.0, keep_s=10.0)
    assert len(found) == 51
    assert_in_time(found)
    found = seen_of(CameraFilm(seconds=14.0), tmp_path / "a.ts", fps=0.2)
    assert [at_s for _, at_s in found] == pytest.approx([0.0, 5.0, 10.0], abs=0.11)


def test_key_frames_alone_come_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    decode = PictureDecoder._decoded

    def noted(*those: Any) -> list[av.VideoFrame]:
        decoded.append(those)
        return decode(*those)

    monkeypatch.setattr(PictureDecoder, "_decoded", noted)
    film = CameraFilm(key=20, reorders=True)
    found = seen_of(film, tmp_path / "a.ts", keyframes=True, fps=5.0)
    assert_in_time(found)
    assert [at_s for _, at_s in found] == pytest.approx([0, 2, 4, 6, 8, 10], abs=0.06)
    assert len(decoded) == 6


FAULTS: dict[str, tuple[CameraFilm, list[float]]] = {
    "only sound": (CameraFilm(picture=False), []),
    "a kind that is not read": (CameraFilm(codec="huffyuv", container="nut", seconds=7.0), []),
    "no key frame for 20 s": (
        CameraFilm(seconds=22.0, key=200, begins=1),
        [20.0, 20.5, 21.0, 21.5],
    ),
    "it stands still": (CameraFilm(seconds=16.0, key=1000, stands_still=1.2), [0.0, 0.5, 1.0, 1.2]),
    "it has another size": (
        CameraFilm(seconds=8.0, resized=(5.0, 320, 128)),
        [*np.arange(16) / 2],
    ),
}
"""Films, and the times that the pictures show which are kept."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_picture_leaves_the_sound(fault: str, tmp_path: Path) -> None:
    film, expected = FAULTS[fault]
    found = seen_of(film, tmp_path / "a")
    assert [at_s for _, at_s in found] == pytest.approx(expected, abs=0.06)
    assert_in_time(found[:3])


@pytest.mark.parametrize("jump_s", [100.0, 5.0])
def test_pictures_whose_stamps_jump_lie_where_they_come(jump_s: float, tmp_path: Path) -> None:
    def stamp_s(time_s: float) -> float:
        return time_s if time_s < 5 else time_s + jump_s

    found = seen_of(CameraFilm(stamp_s=stamp_s), tmp_path / "a.ts")
    assert len(found) == 24
    assert_in_time([each for each in found if each[1] < 5])
    assert_in_time(found, within_s=0.4)


def test_damaged_pictures_leave_the_sound(tmp_path: Path) -> None:
    data = CameraFilm(damages=0.5).save(tmp_path / "a.ts")
    pictures = CameraPictures(PictureSettings())
    heard = sound(receive(data, pictures))
    assert np.array_equal(heard, sound(receive(data)))
    assert pictures.status.damaged > 3


def test_without_sound_there_is_no_source(tmp_path: Path) -> None:
    data = CameraFilm(sound=False, seconds=2.0).save(tmp_path / "a.ts")
    pictures = CameraPictures(PictureSettings())
    with http_file(data, live=True) as url, pytest.raises(UnavailableError, match="no audio track"):
        list(NetworkStream(url, pictures=pictures))


@pytest.mark.parametrize(
    "broken",
    [
        "pe_stream.audio.picture_decoder.to_jpeg",
        "pe_stream.core.picture_clock.PictureClock.position_s",
    ],
)
def test_an_error_of_ours_leaves_the_sound(
    broken: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("so it is")

    monkeypatch.setattr(broken, fail)
    assert seen_of(CameraFilm(seconds=7.0), tmp_path / "a.ts") == []
    assert caplog.text.count("the picture is given up until the next connection") == 1


def test_a_picture_that_costs_too_much_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PICTURE_CPU_BURST_S", 0.02)
    monkeypatch.setattr(limits, "PICTURE_CPU_SHARE", 0.001)
    found = seen_of(CameraFilm(size=(480, 640)), tmp_path / "a.ts", fps=5.0)
    assert 0 < len(found) < 30
    assert_in_time(found)


def wait(seconds: float) -> None:
    """On a machine that is busy: no CPU time is taken."""
    time.sleep(seconds)


def compute(seconds: float) -> None:
    """As a decoder does, which leaves Python to others."""
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        hashlib.pbkdf2_hmac("sha256", b"picture", b"camera", 5000)


def dearly(spend: Callable[[float], None], seconds: float) -> Callable[..., list[av.VideoFrame]]:
    """`PictureDecoder._decoded` that takes so long for each picture (s)."""
    decode = PictureDecoder._decoded

    def decoded(*those: Any) -> list[av.VideoFrame]:
        spend(seconds)
        return decode(*those)

    return decoded


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("spend", "seconds", "said"),
    [
        (wait, 0.3, "it falls behind the sound"),
        (wait, 2.0, "it falls behind the sound"),
        (compute, 0.3, ""),
    ],
)
def test_a_picture_that_is_dear_leaves_the_sound_in_time(
    spend: Callable[[float], None],
    seconds: float,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film = CameraFilm()
    data = film.save(tmp_path / "a.ts")
    whole = sound(receive(data))
    monkeypatch.setattr(picture_thread, "PICTURE_BEHIND_S", limits.PICTURE_BEHIND_S)
    monkeypatch.setattr(PictureDecoder, "_decoded", dearly(spend, seconds))
    pictures = CameraPictures(PictureSettings())
    reasons = set()
    hear = pictures.hear

    def noted(*those: Any) -> None:
        reasons.add(pictures.status.reason)
        hear(*those)

    monkeypatch.setattr(pictures, "hear", noted)
    chunks = receive(data, pictures, lasts_s=film.seconds)
    assert np.array_equal(sound(chunks), whole)
    assert [each.start for each in chunks if each.anchor_ns is not None] == [0]
    assert [each.start for each in chunks[1:]] == [each.end for each in chunks[:-1]]
    late_s = np.array([each.captured_s - each.end / S for each in chunks])
    assert np.ptp(late_s) < within(0.25)
    assert len(seen(pictures)) >= 1
    assert any(f"too expensive to decode: {said}" in (reason or "") for reason in reasons)


def test_too_many_packets_that_wait_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And pictures begin again with one that stands for itself."""
    monkeypatch.setattr(picture_thread, "_MOST_BYTES", 2000)
    monkeypatch.setattr(limits, "PICTURE_REST_S", 0.2)
    monkeypatch.setattr(PictureDecoder, "_decoded", dearly(wait, 0.05))
    pictures = CameraPictures(PictureSettings(fps=5.0))
    film = CameraFilm(seconds=4.0, loud=1.0, size=(480, 270))
    heard = receive(film.save(tmp_path / "a.ts"), pictures, lasts_s=film.seconds)
    assert len(sound(heard)) >= film.seconds * S
    found = seen(pictures)
    assert 0 < len(found) < 20
    assert_in_time(found)
    assert pictures.status.damaged == 0


def test_where_no_thread_can_be_had_there_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Worker.start

    def none_left(worker: Worker) -> None:
        if worker._thread.name == "picture":
            raise UnavailableError("no thread can be started")
        start(worker)

    monkeypatch.setattr(Worker, "start", none_left)
    assert seen_of(CameraFilm(seconds=7.0), tmp_path / "a.ts") == []


def test_a_connection_that_is_left_is_of_no_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same stream is opened again, in another way, while a picture is being decoded."""
    decode, left = PictureDecoder._decoded, threading.Event()

    def decoded(*those: Any) -> list[av.VideoFrame]:
        left.wait(within(20))
        return decode(*those)

    monkeypatch.setattr(PictureDecoder, "_decoded", decoded)
    CameraFilm(seconds=3.0, loud=1.0).save(tmp_path / "a.ts")
    beside = CameraPictures(PictureSettings()).beside_sound()
    assert beside is not None
    with av.open(str(tmp_path / "a.ts")) as container:
        beside.begin(container)
        beside.hear(0.0, 0.0)
        for packet in container.demux(container.streams.video[0]):
            beside.take(packet)
        before = beside._thread
    assert before is not None
    with av.open(str(tmp_path / "a.ts")) as container:
        beside.begin(container)
        left.set()
        assert before._worker.join(within(5))
        assert len(before.taken) <= 1
        assert beside._thread is not before
        assert beside._thread is not None
        beside._thread.leave()


def test_what_a_picture_takes_is_not_the_sounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large picture, which takes longer than the sound may."""
    data = CameraFilm(seconds=4.0, loud=1.0).save(tmp_path / "a.ts")

    def slow(*_: Any) -> bytes:
        until_s = time.thread_time() + 0.1
        while time.thread_time() < until_s:
            pass
        return b""

    monkeypatch.setattr("pe_stream.audio.picture_decoder.to_jpeg", slow)
    monkeypatch.setattr(limits, "CPU_BURST_S", 1.0)
    monkeypatch.setattr(limits, "CPU_SHARE", 0.01)
    pictures = CameraPictures(PictureSettings(fps=5.0))
    heard = receive(data, pictures)
    assert len(sound(heard)) >= 4 * S


def test_pictures_that_nobody_numbers_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_thread, "_MOST_TAKEN", 3)
    data = CameraFilm(seconds=7.0).save(tmp_path / "a.ts")
    pictures = CameraPictures(PictureSettings())
    beside = pictures.beside_sound()
    assert beside is not None
    monkeypatch.setattr(pictures, "beside_sound", lambda: beside)
    monkeypatch.setattr(beside, "place", lambda _: None)
    receive(data, pictures)
    assert beside._thread is not None
    assert len(beside._thread.taken) == 3
    assert seen(pictures) == []


def play(path: Path, pictures: CameraPictures) -> None:
    """A connection that goes on, with the time that its sound shows."""
    beside = pictures.beside_sound()
    assert beside is not None
    numbering = cast("Numbering", SimpleNamespace(numbered=EVER, sample_at=lambda at: at))
    container = av.open(str(path))
    beside.begin(container)
    for packet in container.demux():
        if packet.stream.type == "video":
            beside.take(packet)
        for frame in packet.decode() if packet.stream.type == "audio" else ():
            assert isinstance(frame, av.AudioFrame)
            assert frame.time is not None
            beside.hear(frame.time, frame.time)
    if beside._thread is not None:
        beside._thread.finish(within(20))
    beside.place(numbering)


def test_how_it_does_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(camera_pictures, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    pictures = CameraPictures(PictureSettings(fps=0.25))
    assert pictures.status == PictureStatus("there is no connection yet")
    CameraFilm(seconds=3.0, loud=1.0).save(tmp_path / "a.ts")
    play(tmp_path / "a.ts", pictures)
    status = pictures.status
    assert replace(status, fps=None) == PictureStatus(None, "h264", 480, 64, None, 1, 0)
    for late_s, said in ((11.0, None), (13.0, "none has come for 12 s")):
        clock[0] = 1000.0 + late_s
        assert pictures.status.reason == said


@pytest.mark.parametrize(
    ("film", "said"),
    [
        (CameraFilm(seconds=3.0, loud=1.0, picture=False), "it has no moving picture"),
        (CameraFilm(seconds=3.0, loud=1.0, key=100, begins=1), NO_KEY),
        (
            CameraFilm(seconds=13.0, key=1000, stands_still=1.0),
            f"it has stood still for {FROZEN_S:g} s, to the last bit",
        ),
    ],
)
def test_why_there_is_none_is_told(film: CameraFilm, said: str, tmp_path: Path) -> None:
    pictures = CameraPictures(PictureSettings())
    film.save(tmp_path / "a.ts")
    play(tmp_path / "a.ts", pictures)
    assert pictures.status.reason == said


@pytest.mark.parametrize("size", [(64, 48), (1919, 1081), (720, 1280), (3840, 2160), (2, 2)])
def test_pictures_are_kept_small_and_true(size: tuple[int, int]) -> None:
    width, height = size
    drawn = np.zeros((height, width, 3), np.uint8)
    drawn[:, : width // 2] = (200, 60, 20)
    drawn[:, width // 2 :] = (20, 90, 220)
    back = from_jpeg(encode_rgb(drawn))
    assert back.shape[0] * back.shape[1] <= min(width * height, MOST_KEPT_PIXELS)
    assert back.shape[1] / back.shape[0] == pytest.approx(width / height, rel=0.02)
    if width > 2:
        for part, colour in ((0.25, (200, 60, 20)), (0.75, (20, 90, 220))):
            there = back[back.shape[0] // 2, int(part * back.shape[1])]
            assert there.astype(int).tolist() == pytest.approx(colour, abs=6)
    assert encode_rgb(drawn) == encode_rgb(drawn.copy())


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xd9"])
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no JPEG"):
        from_jpeg(data)


def test_without_pictures_wanted_none_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(camera_pictures, "PictureDecoder", lambda *those, **_: made.append(those))
    assert len(receive(CameraFilm(seconds=3.0, loud=1.0).save(tmp_path / "a.ts"))) > 0
    assert made == []
