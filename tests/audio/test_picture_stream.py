"""Pictures from a connection of their own: connecting again, and what reading them may cost."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio.camera_films import CameraFilm
from audio.cameras import Camera, ticks
from audio.cameras import serving as serving_camera
from audio.hostile_servers import Handler, head, serving
from mosquitto import wait_until
from ports import free_port
from timing import within

from pe_stream.audio import limits, picture_stream
from pe_stream.audio.camera_pictures import CameraPictures
from pe_stream.audio.feed import COSTLY_FIRST_S, COSTLY_S
from pe_stream.audio.limits import MOST_SILENT_BYTES, TooCostlyError
from pe_stream.audio.opening import open_picture
from pe_stream.audio.picture_decoder import PictureDecoder
from pe_stream.audio.picture_stream import LONGEST_PAUSE_S, NO_LIVE_STREAM, PictureStream
from pe_stream.audio.still import encode_rgb
from pe_stream.config import PictureSettings
from pe_stream.core import picture_clock

LIVE = head("video/mp2t")


@dataclass
class Fetched:
    """What comes of an address. pauses: attempt, longest and first pause, and what was said then.

    With `paused`, nothing is fetched again before it is told to be.
    """

    stream: PictureStream
    pictures: CameraPictures
    failures: list[BaseException] = field(default_factory=list)
    pauses: list[tuple[int, float, float, str | None]] = field(default_factory=list)

    def why(self, count: int = 1) -> str:
        """Why a connection was given up, the one of that number."""
        wait_until(lambda: len(self.pauses) >= count, "a connection is over", 20.0)
        return self.pauses[count - 1][3] or ""

    def ends(self) -> None:
        self.stream.stop()
        assert self.stream._worker.join(within(5.0))
        assert self.failures == []


Fetch = Callable[..., "contextlib.AbstractContextManager[Fetched]"]


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> Fetch:
    """Fetches an address; pauses between connections take `pause_s` (s).

    A server that is slow to answer, or sound that is old by the time a picture comes, is none of
    what is tested.
    """
    monkeypatch.setattr(picture_clock, "OLD_S", 3600.0)

    @contextlib.contextmanager
    def fetching(url: str, pause_s: float = 60.0, timeout_s: float = 60.0) -> Iterator[Fetched]:
        pictures = CameraPictures(PictureSettings(fps=5.0))
        pictures.hear(0, time.monotonic())
        failures: list[BaseException] = []
        stream = PictureStream("porch", url, pictures, failures.append, timeout_s=timeout_s)
        fetched = Fetched(stream, pictures, failures)

        def delay_s(attempt: int, longest_s: float, _: float, *, first_s: float = 1.0) -> float:
            fetched.pauses.append((attempt, longest_s, first_s, pictures.status.reason))
            return pause_s

        monkeypatch.setattr(picture_stream, "delay_s", delay_s)
        stream.start()
        try:
            yield fetched
        finally:
            fetched.ends()

    return fetching


def sending(data: bytes, *, kind: bytes = LIVE, ending: threading.Event | None = None) -> Handler:
    """That, and then the end, or nothing more until `ending`."""

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(kind + data)
        if ending is not None:
            ending.wait(60)

    return answer


def film(path: Path, **settings: Any) -> bytes:
    made: dict[str, Any] = {"seconds": 2.0, "loud": 1.0, "sound": False, **settings}
    return CameraFilm(**made).save(path / "a")


def test_what_ends_is_opened_again_after_growing_pauses(
    fetch: Fetch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(sending(film(tmp_path))) as server,
        fetch(server.url(), pause_s=0.01) as fetched,
    ):
        fetched.why(3)
    assert fetched.pauses[:3] == [
        (number, LONGEST_PAUSE_S, 1.0, f"{server.url()}: the stream ended") for number in (1, 2, 3)
    ]
    assert fetched.pictures.status.kept >= 1
    assert len(server.paths) >= 3
    assert caplog.text.count("porch: no picture: ") == 1


def test_after_a_good_connection_the_pauses_begin_anew(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_stream, "GOOD_S", 0.0)
    with (
        serving(sending(film(tmp_path))) as server,
        fetch(server.url(), pause_s=0.01) as fetched,
    ):
        fetched.why(3)
    assert [attempt for attempt, *_ in fetched.pauses[:3]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"picture": False, "sound": True}, LIVE, ": it has no moving picture"),
        ({}, head(status="404 Not Found"), ": Server returned 404 Not Found"),
    ],
)
def test_why_there_is_none_is_told(
    settings: dict[str, bool], kind: bytes, said: str, fetch: Fetch, tmp_path: Path
) -> None:
    answer = sending(film(tmp_path, **settings), kind=kind)
    with serving(answer) as server, fetch(server.url()) as fetched:
        assert fetched.why() == f"{server.url()}{said}"


def test_no_password_is_told(fetch: Fetch, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with fetch(f"http://me:geheim@127.0.0.1:{port}/live?token=streng", pause_s=0.01) as fetched:
        said = fetched.why(3)
    assert said.startswith("http://********@127.0.0.1:")
    assert said.endswith(": Connection refused")
    assert caplog.text.count(f"porch: no picture: {said}; trying again") == 1
    for secret in ("geheim", "streng"):
        assert secret not in caplog.text + said


@pytest.mark.parametrize("silent", [False, True])
def test_it_stops_while_it_reads(
    fetch: Fetch, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, silent: bool
) -> None:
    """By the time limit at the latest, where nothing more comes."""
    ending = threading.Event()
    with (
        serving(sending(film(tmp_path, seconds=8.0), ending=ending)) as server,
        fetch(server.url(), timeout_s=within(2.0) if silent else 60.0) as fetched,
    ):
        wait_until(lambda: fetched.pictures.status.kept > 0, "a picture has come")
        fetched.stream.stop()
        said = caplog.messages[:], fetched.pauses[:]
        if not silent:
            assert said == ([], [])
            ending.set()
        fetched.ends()
        ending.set()
    assert (caplog.messages, fetched.pauses) == said


def test_it_stops_in_a_pause(fetch: Fetch) -> None:
    with fetch(f"http://127.0.0.1:{free_port()}/live") as fetched:
        fetched.why()
        fetched.ends()


@pytest.mark.parametrize("container", ["mpegts", "matroska"])
def test_a_recording_is_refused_and_left_alone(
    container: str, fetch: Fetch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the length that the server states, or the one in the file."""
    data = film(tmp_path, container=container)
    answer = sending(data, kind=head(length=len(data) if container == "mpegts" else None))
    with serving(answer) as server, fetch(server.url()) as fetched:
        assert fetched.why() == f"{server.url()}: {NO_LIVE_STREAM}"
    assert fetched.pauses[0][:3] == (1, COSTLY_S, COSTLY_FIRST_S)
    assert fetched.pictures.status.kept == 0
    assert len(caplog.messages) == 1


def motion_jpeg(seconds: float) -> bytes:
    jpeg = encode_rgb(np.full((48, 64, 3), 90, np.uint8))
    part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
        len(jpeg),
        jpeg,
    )
    return part * round(25 * seconds)


def endless(data: bytes, hung_up: threading.Event | None = None) -> Handler:
    """The same again and again, as fast as it is read."""

    def answer(connection: socket.socket, _: str) -> None:
        try:
            connection.sendall(LIVE)
            while True:
                connection.sendall(data)
        except OSError:
            if hung_up is not None:
                hung_up.set()

    return answer


@pytest.mark.parametrize(("kind", "most_per_s"), [("stamps", 10), ("no stamps", 120)])
def test_what_comes_faster_than_it_plays_is_read_as_it_plays(
    kind: str, most_per_s: int, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BURST_S", 2.0)
    read: list[int] = []
    frames = PictureDecoder.frames

    def counted(self: PictureDecoder, packet: Any) -> list[Any]:
        read.append(packet.size)
        return frames(self, packet)

    monkeypatch.setattr(PictureDecoder, "frames", counted)
    data = film(tmp_path, seconds=10.0) if kind == "stamps" else motion_jpeg(4.0)
    begun_s = time.monotonic()
    with serving(endless(data)) as server, fetch(server.url()):
        wait_until(lambda: len(read) > 2 * most_per_s, "the first come at once")
        more = len(read) + (0 if kind == "stamps" else 80)
        wait_until(lambda: len(read) > more, "a camera that sends as many is not held up", 2.0)
        time.sleep(2.0)
        after, passed_s = len(read), time.monotonic() - begun_s
    assert after <= (2.0 + 1.25 * passed_s) * most_per_s + 2


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading takes more than a picture may, at whatever speed; decoding takes nothing."""
    monkeypatch.setattr(limits, "BURST_S", 1e9)
    monkeypatch.setattr(limits, "PICTURE_CPU_BURST_S", 0.1)
    monkeypatch.setattr(PictureDecoder, "frames", lambda *_: [])


@pytest.mark.usefixtures("costly")
def test_what_reading_takes_counts_and_ends_the_connection(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PICTURE_CPU_SHARE", 0.001)
    monkeypatch.setattr(limits, "PICTURE_REST_S", 3600.0)
    hung_up = threading.Event()
    with serving(endless(film(tmp_path), hung_up)) as server, fetch(server.url()) as fetched:
        assert hung_up.wait(within(10.0))
        said = f"{server.url()}: too expensive to decode: "
        wait_until(lambda: (fetched.pictures.status.reason or "").startswith(said), "it is told")
        time.sleep(0.5)
        assert len(server.paths) == 1
        assert fetched.pauses == []


@pytest.mark.parametrize("closing_s", [0.0, 0.5], ids=["at once", "longer than the rest"])
@pytest.mark.usefixtures("costly")
def test_after_a_rest_it_is_opened_again(
    closing_s: float, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long closing the connection takes: on a busy machine the rest is over by then."""
    monkeypatch.setattr(limits, "PICTURE_REST_S", 0.3)
    monkeypatch.setattr(limits, "PICTURE_CPU_SHARE", 0.05)  # less than a busy machine leaves it
    ended = CameraPictures.ended

    def ends(*args: Any) -> None:
        time.sleep(closing_s)
        ended(*args)

    monkeypatch.setattr(CameraPictures, "ended", ends)
    monkeypatch.setattr(picture_stream, "_LOOK_S", 0.05)
    begun_s = time.monotonic()
    with serving(endless(film(tmp_path))) as server, fetch(server.url()) as fetched:
        wait_until(lambda: len(server.paths) >= 3, "it is opened again")
        assert time.monotonic() - begun_s >= 0.6
    assert fetched.pauses == []


def test_an_error_of_ours_is_told_and_it_is_opened_again(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("so it is")

    monkeypatch.setattr(PictureDecoder, "frames", fail)
    caplog.set_level(logging.ERROR)
    with serving(sending(film(tmp_path))) as server, fetch(server.url(), 0.01) as fetched:
        assert fetched.why(2) == "it failed: RuntimeError('so it is')"
    assert "porch: its picture" in caplog.text


def test_a_camera_may_not_send_without_end_what_is_no_picture() -> None:
    with serving_camera(Camera(ticks(5))) as camera:
        opened = open_picture(camera.url(), timeout_s=within(2.0))
        with opened.container, pytest.raises(TooCostlyError, match="no picture in 64 MB"):
            opened.came(MOST_SILENT_BYTES + 1)
